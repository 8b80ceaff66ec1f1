//! The acks of many sockets on every node (Socket.IO server API: `emitWithAck` of a broadcast).

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::timeout;

use super::target::Target;
use crate::excerpt::Excerpt;
use crate::id::NodeId;
use crate::socket::messages::{EmittedEvent, RequestKind, ResponsePart, Responses};
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs, RawArgs, encode_event};
use crate::trace::Span;

impl Target {
    /// Sends an event to the selected sockets and waits for the acks of all of them, at most 5 seconds
    /// ([`Target::timeout`] changes that). Node: `timeout(ms).emitWithAck()`.
    ///
    /// It ends as soon as every socket has answered or left: a socket that disconnects, or a node that dies, is reported as
    /// missing and not waited for. The event is never volatile, because a dropped packet would only be a timeout.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
    /// let lobby = node.of("/chat").to("lobby").timeout(Duration::from_secs(2));
    /// let votes: socketmesh::Acks<bool> = lobby.emit_with_ack("vote", "pizza?").await?;
    /// let yes = votes.replies.iter().filter(|yes| **yes).count();
    /// println!("{yes} yes, {} did not vote", votes.missing);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        self,
        event: &str,
        args: &A,
    ) -> Result<Acks<R>, EncodeError> {
        self.decoded_acks(event, RawArgs::encode(args)?).await
    }

    /// Sends a typed event and waits for the acks of all, as [`Target::emit_with_ack`] does.
    ///
    /// # Errors
    ///
    /// As [`Target::send`]; nothing was sent then.
    pub async fn send_with_ack<R: FromArgs, E: serde::Serialize>(
        self,
        event: &E,
    ) -> Result<Acks<R>, EncodeError> {
        let (name, args) = encode_event(event)?;
        self.decoded_acks(name, args).await
    }

    async fn decoded_acks<R: FromArgs>(self, event: &str, args: RawArgs) -> Result<Acks<R>, EncodeError> {
        let path = Arc::clone(&self.namespace.path);
        let CollectedAcks { replies, mut missing, missing_nodes, .. } = self.call(event, args).await?;
        let decoded = replies.iter().filter_map(|reply| match R::from_args(reply) {
            Ok(reply) => Some(reply),
            Err(error) => {
                tracing::warn!(ns = %Excerpt::name(&path), event, error = %Excerpt::reason(error), "an ack does not decode");
                missing += 1;
                None
            }
        });
        let replies = decoded.collect();
        Ok(Acks { replies, missing, missing_nodes })
    }

    /// Sends the event and collects the undecoded acks.
    pub(super) async fn call(self, event: &str, args: RawArgs) -> Result<CollectedAcks, EncodeError> {
        let event = EmittedEvent { name: event.into(), args };
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
                replies.extend(more);
            }
        };
        let (here, responses) = tokio::join!(timeout(self.timeout, here), remote);
        let timed_out = here.is_err() || !responses.late.is_empty();
        let expected = acks.expected();
        Ok(CollectedAcks::new(replies, expected, responses, timed_out))
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
    /// How many sockets are known to have been sent the event, but did not answer, or answered with something that is not
    /// an `R`.
    pub missing: usize,
    /// Nodes that did not respond with the number of sockets that they sent the event to, or left before all of those had
    /// answered.
    pub missing_nodes: Vec<NodeId>,
}

/// The undecoded acks of many sockets.
#[derive(Debug)]
pub(super) struct CollectedAcks {
    pub(super) replies: Vec<RawArgs>,
    pub(super) missing: usize,
    pub(super) missing_nodes: Vec<NodeId>,
    pub(super) timed_out: bool,
}

impl CollectedAcks {
    /// Adds what the other nodes collected to the acks of this one, which expected that many.
    fn new(mut replies: Vec<RawArgs>, expected: usize, responses: Responses, timed_out: bool) -> Self {
        let Responses { parts, lost: mut missing_nodes, late } = responses;
        let mut expected = expected;
        let mut counted = BTreeSet::new();
        for (node, part) in parts {
            match part {
                ResponsePart::ExpectedAcks(count) => {
                    expected = expected.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
                    counted.insert(node);
                }
                ResponsePart::Replies(more) => replies.extend(more),
                ResponsePart::Sockets(_) | ResponsePart::Rooms(_) => {}
            }
        }
        // Of a node that said how many acks it expects, only the acks are missing.
        missing_nodes.extend(late.into_iter().filter(|node| !counted.contains(node)));
        missing_nodes.sort_unstable();
        Self { missing: expected.saturating_sub(replies.len()), replies, missing_nodes, timed_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn replies(count: u8) -> Vec<RawArgs> {
        (0..count).map(|n| RawArgs::encode(&n).unwrap()).collect()
    }

    /// Of two sockets here one answered. Each case is what other nodes responded, and the expected replies, missing acks
    /// and missing nodes.
    #[test]
    fn missing_acks_and_missing_nodes_are_told_apart() {
        let expects = |name: &str, count| (node(name), ResponsePart::ExpectedAcks(count));
        let replied = |name: &str, count| (node(name), ResponsePart::Replies(replies(count)));
        for (parts, lost, late, expected) in [
            (vec![], vec![], vec![], (1, 1, vec![])),
            (vec![expects("b", 2), replied("b", 2)], vec![], vec![], (3, 1, vec![])),
            (vec![expects("b", 2), replied("b", 1)], vec![], vec!["b"], (2, 2, vec![])),
            (vec![expects("b", 2), replied("b", 1)], vec!["b"], vec![], (2, 2, vec!["b"])),
            (vec![expects("b", 0)], vec!["d"], vec!["c"], (1, 1, vec!["c", "d"])),
            (vec![expects("b", u64::MAX)], vec![], vec![], (1, usize::MAX - 1, vec![])),
        ] {
            let nodes = |names: &[&str]| names.iter().map(|name| node(name)).collect::<Vec<_>>();
            let responses = Responses { parts, lost: nodes(&lost), late: nodes(&late) };
            let called = CollectedAcks::new(replies(1), 2, responses, false);
            let (count, missing, missing_nodes) = expected;
            assert_eq!((called.replies.len(), called.missing), (count, missing));
            assert_eq!(called.missing_nodes, nodes(&missing_nodes));
        }
    }
}
