//! Events that nodes send each other (Socket.IO server API: `serverSideEmit`): a bounded queue per namespace, drained by
//! one task that exists only while there is something to handle.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::answering::Answering;
use super::handle::NamespaceRef;
use super::messages::{EmittedEvent, ResponsePart};
use super::raw::run_to_end;
use super::state::NamespaceState;

/// What waits for the handlers of one namespace.
#[derive(Debug, Default)]
pub(crate) struct ServerEvents {
    queue: VecDeque<Handling>,
    bytes: usize,
    draining: bool,
}

/// One event, and the node that waits for the answer.
#[derive(Debug)]
pub(crate) struct Handling {
    event: EmittedEvent,
    answering: Option<Answering>,
}

impl Handling {
    pub(crate) fn told(event: EmittedEvent) -> Self {
        Self { event, answering: None }
    }

    pub(crate) fn asked(event: EmittedEvent, answering: Answering) -> Self {
        Self { event, answering: Some(answering) }
    }

    fn bytes(&self) -> usize {
        self.event.bytes()
    }

    fn refuse(&self) {
        if let Some(answering) = &self.answering {
            answering.failed();
        }
    }
}

impl ServerEvents {
    /// Queues an event; gives it back if there is no room.
    fn push(&mut self, handling: Handling) -> Option<Handling> {
        let bytes = self.bytes + handling.bytes();
        if self.queue.len() >= MAX_EVENTS || bytes > MAX_BYTES && !self.queue.is_empty() {
            return Some(handling);
        }
        self.bytes = bytes;
        self.queue.push_back(handling);
        None
    }

    /// The next event; `None` ends the draining.
    fn next(&mut self) -> Option<Handling> {
        let Some(handling) = self.queue.pop_front() else {
            *self = Self::default();
            return None;
        };
        self.bytes = self.bytes.saturating_sub(handling.bytes());
        Some(handling)
    }
}

impl NamespaceState {
    /// Handles an event of another node after those before it.
    pub(crate) fn receive_server_event(self: &Arc<Self>, handling: Handling) {
        let mut events = self.server_events().lock();
        if let Some(refused) = events.push(handling) {
            drop(events);
            tracing::warn!(ns = %self.path, event = %refused.event.name, "too many server events wait: one was dropped");
            return refused.refuse();
        }
        if !std::mem::replace(&mut events.draining, true) {
            self.runtime().spawn(Arc::clone(self).drain_server_events());
        }
    }

    async fn drain_server_events(self: Arc<Self>) {
        while let Some(handling) = next(self.server_events()) {
            if !run_to_end(self.handle_server_event(&handling)).await {
                tracing::error!(ns = %self.path, event = %handling.event.name, "the handler of a server event panicked");
                handling.refuse();
            }
        }
    }

    async fn handle_server_event(self: &Arc<Self>, handling: &Handling) {
        let event = &handling.event;
        let namespace = NamespaceRef(Arc::clone(self));
        let Some(result) = self.behaviour().server_event(namespace, event) else {
            tracing::debug!(ns = %self.path, event = %event.name, "nobody handles a server event");
            return handling.refuse();
        };
        match (result.await, &handling.answering) {
            (Ok(reply), Some(answering)) => answering.done(Some(ResponsePart::Replies(vec![reply]))),
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::warn!(ns = %self.path, event = %event.name, ?error, "the handler of a server event failed");
                handling.refuse();
            }
        }
    }
}

fn next(events: &Mutex<ServerEvents>) -> Option<Handling> {
    events.lock().next()
}

/// Server events that may wait for the handlers of one namespace,
const MAX_EVENTS: usize = 1024;
/// and their bytes: as much as a link keeps. One larger event is taken when nothing else waits.
const MAX_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::args::RawArgs;

    fn event(size: usize) -> Handling {
        Handling::told(EmittedEvent { name: "e".into(), args: RawArgs::encode(&"x".repeat(size)).unwrap() })
    }

    #[test]
    fn events_that_wait_are_bounded_in_number_and_bytes() {
        let mut events = ServerEvents::default();
        assert!((0..MAX_EVENTS).all(|_| events.push(event(1)).is_none()));
        assert!(events.push(event(1)).is_some());
        while events.next().is_some() {}
        assert!(events.push(event(MAX_BYTES)).is_none());
        assert!(events.push(event(1)).is_some());
        events.next();
        assert!(events.push(event(1)).is_none());
    }
}
