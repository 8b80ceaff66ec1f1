//! Packets from this node to many of its sockets, with and without acks.

use std::cell::LazyCell;
use std::sync::Arc;

use bytestring::ByteString;

use super::super::broadcast_acks::AckCollector;
use super::super::member::{AckWaiter, Member};
use super::LocalNamespace;
use crate::engine::Frames;
use crate::id::SocketId;
use crate::socket::messages::{Broadcast, EmittedEvent, Flags, Selection};
use crate::socket::protocol::{EncodeError, RawArgs, encode};
use crate::socket::recovery::{OwnNumbers, Position};

impl LocalNamespace {
    /// Delivers a broadcast to the sockets of this node. Its frames are made once, at the first of them, and appended to each
    /// outbox. Their text is the one that is given.
    ///
    /// Where that has the position of this node behind it, sockets that are not as far have their own.
    pub(super) fn fan_out(
        self: &Arc<Self>,
        broadcast: &Broadcast<'_>,
        text: &ByteString,
        position: Option<&Position>,
    ) {
        let Flags { volatile, compress } = broadcast.flags;
        let frames = LazyCell::new(|| self.parser().frames(text, &broadcast.attachments, compress));
        let mut apart: Vec<(OwnNumbers, Frames)> = Vec::new();
        let mut observed = self.handlers().has_on_any_outgoing().then(Vec::new);
        let mut sent = 0;
        self.rooms.read().for_each(&broadcast.selection, |_, member| {
            let own = position.and_then(|position| Some((position, member.apart()?)));
            let is_sent = match own {
                None => member.session.send(&frames, volatile),
                Some((position, numbers)) => {
                    let known = apart.iter().position(|(known, _)| *known == numbers);
                    let at = known.unwrap_or_else(|| {
                        let position = position.but(&numbers);
                        let text =
                            encode::with_last_argument(&broadcast.text, |longer| position.write(longer));
                        apart.push((numbers, self.parser().frames(&text, &broadcast.attachments, compress)));
                        apart.len() - 1
                    });
                    apart.get(at).is_some_and(|(_, frames)| member.session.send(frames, volatile))
                }
            };
            sent += u64::from(is_sent);
            if let Some(observed) = &mut observed {
                observed.push(Arc::clone(member));
            }
        });
        self.count(|counters| counters.events_sent(sent));
        if let Some(observed) = observed {
            self.observe_outgoing(|| observed, &broadcast.text, &broadcast.attachments);
        }
    }

    /// Sends an event to the selected sockets of this node, encoded once, and begins to wait for their acks.
    pub(crate) fn broadcast_with_ack(
        self: &Arc<Self>,
        selection: &Selection,
        event: &EmittedEvent,
        compress: bool,
    ) -> Result<BroadcastAcks, EncodeError> {
        let id = self.next_ack_id();
        let encoded = encode::event(&self.path, Some(id), &event.name, &event.args)?;
        let frames = self.parser().frames(&encoded.text, &encoded.attachments, compress);
        let mut acks = BroadcastAcks { id, members: Vec::new(), collector: AckCollector::default() };
        let mut sent = 0;
        // A socket that leaves is out of the index first, then gives up its acks. So none is waited for in vain.
        self.rooms.read().for_each(selection, |_, member| {
            let expected = AckWaiter::Broadcast(acks.collector.expect(member.id));
            // A socket with too many acks pending does not get the event: its ack could not be told apart.
            if member.expect_ack(id, expected).is_ok() {
                sent += u64::from(member.session.send(&frames, false));
            }
            acks.members.push(Arc::clone(member));
        });
        self.count(|counters| counters.events_sent(sent));
        self.observe_outgoing(|| acks.members.clone(), &encoded.text, &encoded.attachments);
        Ok(acks)
    }
}

/// The acks of the sockets of this node to one event. Dropping it forgets those that have not come.
#[derive(Debug)]
pub(crate) struct BroadcastAcks {
    id: u64,
    members: Vec<Arc<Member>>,
    collector: AckCollector,
}

impl BroadcastAcks {
    /// The sockets that were selected.
    pub(crate) fn asked(&self) -> impl ExactSizeIterator<Item = SocketId> {
        self.members.iter().map(|member| member.id)
    }

    /// The acks that came since the last call, or else the next ones; `None` when every socket has answered or left.
    pub(crate) async fn next(&self) -> Option<Vec<(SocketId, RawArgs)>> {
        self.collector.next().await
    }
}

impl Drop for BroadcastAcks {
    fn drop(&mut self) {
        self.members.iter().for_each(|member| member.forget_ack(self.id));
    }
}
