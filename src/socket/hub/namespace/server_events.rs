//! Events that other nodes send to this one (Socket.IO server API: `serverSideEmit`). Those of one namespace are handled
//! one after another.

use std::sync::Arc;

use super::super::counters::NamespaceCounters;
use super::super::responder::ServerEvent;
use super::super::work_queue::QueueLimits;
use super::LocalNamespace;
use crate::catch_panic;
use crate::excerpt::Excerpt;
use crate::socket::messages::ResponsePart;
use crate::trace::Span;

impl LocalNamespace {
    /// Handles an event of another node after those before it.
    pub(crate) fn receive_server_event(self: &Arc<Self>, event: ServerEvent) {
        let mut events = self.server_events.lock();
        let queued = events.try_push(event, SERVER_EVENTS);
        let start = events.start();
        drop(events);
        if start {
            self.tasks().spawn(Arc::clone(self).handle_server_events());
        }
        if let Err(dropped) = queued {
            if self.may_warn() {
                tracing::warn!(ns = %Excerpt::name(&self.path), event = %Excerpt::name(&dropped.event.name), "too many server events wait: one was dropped");
            }
            dropped.fail();
        }
    }

    async fn handle_server_events(self: Arc<Self>) {
        while let Some(event) = self.next_server_event() {
            if catch_panic::future(self.handle_server_event(&event)).await.is_none() {
                self.count(NamespaceCounters::handler_panicked);
                tracing::error!(ns = %Excerpt::name(&self.path), event = %Excerpt::name(&event.event.name), "the handler of a server event panicked");
                event.fail();
            }
        }
    }

    fn next_server_event(&self) -> Option<ServerEvent> {
        self.server_events.lock().next()
    }

    async fn handle_server_event(self: &Arc<Self>, server_event: &ServerEvent) {
        let ServerEvent { event, responder, trace } = server_event;
        let Some(result) = self.handlers().on_server_event(Arc::clone(self), event) else {
            tracing::debug!(ns = %Excerpt::name(&self.path), event = %Excerpt::name(&event.name), "there is no handler for a server event");
            return server_event.fail();
        };
        let span = Span::handler(trace, self.node().as_str(), &self.path, &event.name, || true);
        let result = span.scope(result).await;
        if result.is_err() {
            span.failed();
        }
        match (result, responder) {
            (Ok(reply), Some(responder)) => responder.done(Some(ResponsePart::Replies(vec![reply]))),
            (Ok(_), None) => {}
            (Err(error), _) => {
                self.count(NamespaceCounters::handler_failed);
                let (ns, name) = (Excerpt::name(&self.path), Excerpt::name(&event.name));
                let error = Excerpt::reason(format!("{error:?}"));
                tracing::warn!(%ns, event = %name, %error, "the handler of a server event failed");
                server_event.fail();
            }
        }
    }
}

/// What may wait for the handlers of one namespace: in bytes as much as a link keeps for a peer.
const SERVER_EVENTS: QueueLimits = QueueLimits { items: 1024, bytes: 16 << 20 };
