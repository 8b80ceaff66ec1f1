//! What this node does with the messages of other nodes: the receiving end of [`Peers`](crate::socket::peers::Peers).

use std::future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::admission::BoxFuture;
use super::namespace::LocalNamespace;
use super::registry::NamespaceRegistry;
use super::responder::{Responder, ServerEvent};
use crate::catch_panic;
use crate::excerpt::Excerpt;
use crate::socket::messages::{
    CommandKind, Inbound, Request, RequestKind, Requester, ResponsePart, Selection,
};
use crate::socket::peers::CONFIRMATION;
use crate::trace::{Span, Trace};

impl NamespaceRegistry {
    /// Handles a message of another node. Everything that depends on the order of arrival has happened when it returns.
    pub(crate) fn handle(&self, inbound: Inbound) {
        match inbound {
            // A namespace that does not exist here has no sockets here.
            Inbound::Broadcast(broadcast) => {
                if let Some(namespace) = self.find(&broadcast.namespace) {
                    let _span = Span::delivery(namespace.node().as_str(), &namespace.path);
                    namespace.receive(broadcast);
                }
            }
            // What is for the node itself, whether it has sockets or not.
            Inbound::Command(command)
                if matches!(command.kind, CommandKind::ServerEvent(_) | CommandKind::Block(_)) =>
            {
                self.of(&command.namespace).apply(&command);
            }
            Inbound::Command(command) => {
                if let Some(namespace) = self.find(&command.namespace) {
                    namespace.apply(&command);
                }
            }
            Inbound::Request(requester, request) => self.handle_request(requester, request),
            Inbound::Withdrawn(requester) => self.requests.withdraw(&requester),
            Inbound::Recovery(node, incarnation, message) => {
                self.handle_recovery(&node, incarnation, message);
            }
            Inbound::Linked(node) => self.tell_again(&node),
            Inbound::Lost(node, incarnation) => self.handle_loss(&node, incarnation),
        }
    }

    fn handle_request(&self, requester: Requester, request: Request) {
        let namespace = self.of(&request.namespace);
        let peers = Arc::clone(namespace.peers());
        let responder = Responder::new(Arc::clone(&peers), requester.clone());
        let Some(open) = self.requests.open(requester) else {
            if namespace.may_warn() {
                tracing::warn!(ns = %Excerpt::name(&namespace.path), "too many requests of other nodes at once: some fail");
            }
            return responder.failed();
        };
        let (waited, selection) = (request.timeout, request.selection);
        let kind = match request.kind {
            RequestKind::Session { pid, question } => {
                return self.handle_session_request(&namespace, (pid, question), responder, open);
            }
            kind => kind,
        };
        let response = respond(&namespace, (kind, waited), &selection, responder.clone());
        let tasks = namespace.tasks().clone();
        // It ends when the other node does not wait any more. A node that stops waits for its responses before it says goodbye.
        tasks.spawn(async move {
            // Who sets no time cannot be waited for after its end.
            let gone = async {
                match waited {
                    Duration::MAX => peers.gone(open.requester()).await,
                    _ => future::pending().await,
                }
            };
            tokio::select! {
                ended = catch_panic::future(response) => if ended.is_none() {
                    tracing::error!(ns = %Excerpt::name(&namespace.path), "the response to another node panicked");
                    responder.failed();
                },
                () = sleep(waited) => {}
                () = open.withdrawn() => {}
                () = gone => {}
            }
        });
    }
}

/// Looks up now what the request asks for. The future makes the response of it and sends it.
fn respond(
    namespace: &Arc<LocalNamespace>,
    (kind, timeout): (RequestKind, Duration),
    selection: &Selection,
    responder: Responder,
) -> BoxFuture<'static, ()> {
    match kind {
        RequestKind::Sockets { handshake } => {
            let selected = namespace.select(selection);
            Box::pin(async move {
                responder.sockets(selected.into_iter().map(|selected| selected.summary(handshake))).await;
            })
        }
        RequestKind::Rooms => {
            let rooms = namespace.rooms_of_selected(selection);
            Box::pin(async move { responder.rooms(rooms).await })
        }
        RequestKind::Count => {
            let count = namespace.number_of(selection);
            Box::pin(async move { responder.done(Some(ResponsePart::Count(count as u64))) })
        }
        RequestKind::Acks { event, compress } => {
            let acks = {
                let _span = Span::delivery(namespace.node().as_str(), &namespace.path);
                namespace.broadcast_with_ack(selection, &event, compress)
            };
            Box::pin(async move {
                // The requesting node has encoded the event before. Only a node of another version could disagree.
                let Ok(acks) = acks else { return responder.failed() };
                responder.asked(acks.asked()).await;
                while let Some(more) = acks.next().await {
                    responder.acks(more).await;
                }
                responder.done(None);
            })
        }
        RequestKind::RoomsConfirmed => {
            let (peers, version) = (Arc::clone(namespace.peers()), namespace.peers().version());
            // Who waits as long as it takes is not told before.
            let most = if timeout == Duration::MAX { timeout } else { CONFIRMATION };
            Box::pin(async move {
                // Nodes that did not confirm in time are not reported: the requesting node may reach them.
                let _unconfirmed = peers.confirmed(version, most).await;
                responder.done(None);
            })
        }
        RequestKind::ServerEvent(event) => {
            // It is handled after the events before it, which may take longer than this future.
            let (responder, trace) = (Some(responder), Trace::current());
            namespace.receive_server_event(ServerEvent { event, responder, trace });
            Box::pin(future::ready(()))
        }
        // It is handled elsewhere.
        RequestKind::Session { .. } => Box::pin(future::ready(())),
    }
}
