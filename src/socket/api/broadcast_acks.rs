//! The acks of many sockets on every node (Socket.IO server API: `emitWithAck` of a broadcast).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::timeout;

use super::target::{MESSAGE, Target};
use crate::excerpt::Excerpt;
use crate::id::{NodeId, SocketId};
use crate::socket::messages::{EmittedEvent, RequestKind, ResponsePart, Responses};
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs, RawArgs, encode_event};
use crate::trace::Span;

impl Target {
    /// Sends an event to the selected sockets and waits for the acks of all of them, at most 5 seconds
    /// ([`Target::timeout`] changes that). Node: `timeout(ms).emitWithAck()`.
    ///
    /// It ends as soon as every socket has answered or left: a socket that disconnects, or a node that dies, is reported as
    /// missing and not waited for. Each node says at once which sockets it asks, so those that do not answer are known by name.
    /// The event is never volatile, because a dropped packet would only be a timeout.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
    /// let lobby = node.of("/chat").to("lobby").timeout(Duration::from_secs(2));
    /// let votes: socketmesh::Acks<bool> = lobby.emit_with_ack("vote", "pizza?").await?;
    /// let yes = votes.replies.iter().filter(|yes| **yes).count();
    /// println!("{yes} yes");
    /// for missing in votes.missing {
    ///     println!("{} on {} did not vote", missing.socket, missing.node);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> impl Future<Output = Result<Acks<R>, EncodeError>> + Send + use<R, A> {
        let args = RawArgs::encode(args);
        let event = args.map(|args| EmittedEvent { name: event.into(), args });
        self.clone().decoded_acks(event)
    }

    /// Sends the event `message` and waits for the acks of all, as [`Target::emit_with_ack`] does.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub fn send_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        args: &A,
    ) -> impl Future<Output = Result<Acks<R>, EncodeError>> + Send + use<R, A> {
        self.emit_with_ack(MESSAGE, args)
    }

    /// Sends a typed event and waits for the acks of all, as [`Target::emit_with_ack`] does.
    ///
    /// # Errors
    ///
    /// As [`Target::emit_event`]; nothing was sent then.
    pub fn emit_event_with_ack<R: FromArgs, E: serde::Serialize + ?Sized>(
        &self,
        event: &E,
    ) -> impl Future<Output = Result<Acks<R>, EncodeError>> + Send + use<R, E> {
        let event = encode_event(event);
        let event = event.map(|(name, args)| EmittedEvent { name: name.into(), args });
        self.clone().decoded_acks(event)
    }

    async fn decoded_acks<R: FromArgs>(
        self,
        event: Result<EmittedEvent, EncodeError>,
    ) -> Result<Acks<R>, EncodeError> {
        let (path, event) = (Arc::clone(&self.namespace.path), event?);
        let name = event.name.clone();
        let CollectedAcks { replies, mut asked, missing_nodes, .. } = self.call(event).await?;
        let mut decoded = Vec::with_capacity(replies.len());
        for (socket, reply) in replies {
            match R::from_args(&reply) {
                Ok(reply) => {
                    decoded.push(reply);
                    if let Some(socket) = socket {
                        asked.remove(&socket);
                    }
                }
                Err(error) => {
                    tracing::warn!(ns = %Excerpt::name(&path), event = %Excerpt::name(&name), error = %Excerpt::reason(error), "an ack does not decode");
                }
            }
        }
        let missing = asked.into_iter().map(|(socket, node)| MissingAck { socket, node }).collect();
        Ok(Acks { replies: decoded, missing, missing_nodes })
    }

    /// Sends the event and collects the undecoded acks.
    pub(super) async fn call(self, event: EmittedEvent) -> Result<CollectedAcks, EncodeError> {
        let compress = self.flags.compress;
        let request = self.event_request(RequestKind::Acks { event: event.clone(), compress })?;
        let span = Span::emit(&self.namespace.path, &event.name);
        let acks = self.namespace.broadcast_with_ack(&self.selection, &event, compress)?;
        let remote = {
            let _within = span.enter();
            self.ask(request)
        };
        let mut replies = Vec::new();
        let here = async {
            while let Some(more) = acks.next().await {
                replies.extend(more.into_iter().map(|(socket, ack)| (Some(socket), ack)));
            }
        };
        let (here, responses) = tokio::join!(timeout(self.timeout, here), remote);
        let timed_out = here.is_err() || !responses.late.is_empty();
        let asked = acks.asked().map(|socket| (socket, self.namespace.node().clone())).collect();
        let mut collected = CollectedAcks { replies, asked, missing_nodes: Vec::new(), timed_out };
        collected.add(responses);
        Ok(collected)
    }
}

/// The acks of many sockets: what [`Target::emit_with_ack`] collected.
///
/// See [`Target::emit_with_ack`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acks<R> {
    /// The answers, in no particular order.
    pub replies: Vec<R>,
    /// The sockets that are known to have been sent the event, but did not answer, or answered with something that is not an
    /// `R`, sorted by id.
    pub missing: Vec<MissingAck>,
    /// Nodes that did not say which sockets they sent the event to, or left before all of those had answered.
    pub missing_nodes: Vec<NodeId>,
}

/// A socket that owes an ack. See [`Target::emit_with_ack`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingAck {
    /// Its id.
    pub socket: SocketId,
    /// The node that it is, or was, on.
    pub node: NodeId,
}

/// The undecoded acks of many sockets.
#[derive(Debug)]
pub(super) struct CollectedAcks {
    /// Each with its socket, unless a node of an earlier version sent it.
    pub(super) replies: Vec<(Option<SocketId>, RawArgs)>,
    /// The sockets that were sent the event, those that answered included.
    asked: BTreeMap<SocketId, NodeId>,
    missing_nodes: Vec<NodeId>,
    pub(super) timed_out: bool,
}

impl CollectedAcks {
    /// Adds what the other nodes collected.
    fn add(&mut self, Responses { parts, lost, late }: Responses) {
        // How many sockets a node has still to name.
        let mut unnamed: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (node, part) in parts {
            match part {
                ResponsePart::ExpectedAcks(count) => {
                    unnamed.insert(node, count);
                }
                ResponsePart::Asked(sockets) => {
                    if let Some(unnamed) = unnamed.get_mut(&node) {
                        *unnamed = unnamed.saturating_sub(sockets.len() as u64);
                    }
                    self.asked.extend(sockets.into_iter().map(|socket| (socket, node.clone())));
                }
                ResponsePart::Acks(acks) => {
                    self.replies.extend(acks.into_iter().map(|(socket, ack)| (Some(socket), ack)));
                }
                ResponsePart::Replies(acks) => {
                    self.replies.extend(acks.into_iter().map(|ack| (None, ack)));
                }
                ResponsePart::Sockets(_)
                | ResponsePart::Rooms(_)
                | ResponsePart::Count(_)
                | ResponsePart::Session(_) => {}
            }
        }
        // Of a node that named all of its sockets, only the acks are missing.
        self.missing_nodes.extend(late.into_iter().filter(|node| !unnamed.contains_key(node)));
        self.missing_nodes.extend(unnamed.into_iter().filter(|(_, count)| *count > 0).map(|(node, _)| node));
        self.missing_nodes.extend(lost);
        self.missing_nodes.sort_unstable();
        self.missing_nodes.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn socket(n: u8) -> SocketId {
        SocketId::new(Key::from_hash(0), [n; 10])
    }

    fn answer() -> RawArgs {
        RawArgs::encode(&true).unwrap()
    }

    /// Of the sockets 1 and 2 here the first one answered. Each case is what other nodes responded, and what is expected then: how
    /// many replies, which sockets were asked, which nodes are missing.
    #[test]
    fn sockets_are_known_by_name_and_nodes_that_did_not_name_theirs_are_missing() {
        let expects = |name: &str, count| (node(name), ResponsePart::ExpectedAcks(count));
        let asked = |name: &str, sockets: &[u8]| {
            (node(name), ResponsePart::Asked(sockets.iter().map(|n| socket(*n)).collect()))
        };
        let acked = |name: &str, n| (node(name), ResponsePart::Acks(vec![(socket(n), answer())]));
        let unnamed = |name: &str| (node(name), ResponsePart::Replies(vec![answer()]));
        let here = [(1, "a"), (2, "a")];
        let both = [(1, "a"), (2, "a"), (3, "b"), (4, "b")];
        for (parts, lost, late, expected) in [
            (vec![], vec![], vec![], (1, &here[..], vec![])),
            (
                vec![expects("b", 2), asked("b", &[3, 4]), acked("b", 4)],
                vec![],
                vec![],
                (2, &both[..], vec![]),
            ),
            (
                vec![expects("b", 2), asked("b", &[3]), asked("b", &[4]), acked("b", 3)],
                vec![],
                vec!["b"],
                (2, &both, vec![]),
            ),
            (vec![expects("b", 2), asked("b", &[3, 4])], vec!["b"], vec![], (1, &both, vec!["b"])),
            (vec![expects("b", 0)], vec!["d"], vec!["c"], (1, &here, vec!["c", "d"])),
            (vec![expects("b", u64::MAX), asked("b", &[3])], vec![], vec!["b"], (1, &both[..3], vec!["b"])),
            // Of an earlier version.
            (vec![expects("b", 2), unnamed("b"), unnamed("b")], vec![], vec![], (3, &here, vec!["b"])),
        ] {
            let nodes = |names: &[&str]| names.iter().map(|name| node(name)).collect::<Vec<_>>();
            let mut collected = CollectedAcks {
                replies: vec![(Some(socket(1)), answer())],
                asked: here.iter().map(|(n, name)| (socket(*n), node(name))).collect(),
                missing_nodes: Vec::new(),
                timed_out: false,
            };
            collected.add(Responses { parts, lost: nodes(&lost), late: nodes(&late) });
            let (replies, asked, missing_nodes) = expected;
            assert_eq!(collected.replies.len(), replies);
            assert_eq!(
                collected.asked,
                asked.iter().map(|(n, name)| (socket(*n), node(name))).collect::<BTreeMap<_, _>>()
            );
            assert_eq!(collected.missing_nodes, nodes(&missing_nodes));
        }
    }
}
