//! What the observers of a namespace are told: a bounded queue per namespace, drained by one task that exists only while
//! there is something to tell (Socket.IO server API: `onAnyOutgoing`; `create-room`, `join-room`, `leave-room`,
//! `delete-room` of the adapter).
//!
//! Observers never hold up what they observe, and nothing is done for a namespace without them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::config::Parser;
use super::handle::NamespaceRef;
use super::messages::EmittedEvent;
use super::messages::Room;
use super::packet::{Decoder, Limits, Packet};
use super::raw::{RawSocket, run_to_end};
use super::room_index::{RoomIndex, Standing};
use super::state::NamespaceState;
use crate::id::SocketId;

/// What happened to a room on this node. Node: `create-room`, `join-room`, `leave-room` and `delete-room` of the adapter.
///
/// A room is created before its first member here joins, and deleted after the last one has left: another node may have
/// members of it at any time. Every socket is in the room of its own id for as long as it is connected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RoomEvent {
    /// The room had no member on this node.
    Created {
        /// Which room.
        room: Room,
    },
    /// A socket that was not in the room is now.
    Joined {
        /// Which room.
        room: Room,
        /// The socket's id.
        socket: SocketId,
    },
    /// A socket left the room, by itself or by disconnecting.
    Left {
        /// Which room.
        room: Room,
        /// The socket's id.
        socket: SocketId,
    },
    /// The room has no member on this node any more.
    Deleted {
        /// Which room.
        room: Room,
    },
}

/// What waits for the observers of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    queue: VecDeque<Observation>,
    bytes: usize,
    draining: bool,
}

#[derive(Debug)]
enum Observation {
    Room(RoomEvent),
    /// One event, and everybody here that it went to.
    Outgoing(Vec<Arc<RawSocket>>, EmittedEvent),
}

impl Observation {
    fn bytes(&self) -> usize {
        match self {
            Self::Room(event) => event.room().len(),
            Self::Outgoing(sockets, event) => event.bytes() + size_of_val(sockets.as_slice()),
        }
    }
}

impl RoomEvent {
    /// The room it happened to.
    pub fn room(&self) -> &Room {
        match self {
            Self::Created { room }
            | Self::Joined { room, .. }
            | Self::Left { room, .. }
            | Self::Deleted { room } => room,
        }
    }
}

impl Observations {
    /// Queues an observation; `false` if there is no room for it.
    fn push(&mut self, observation: Observation) -> bool {
        let bytes = self.bytes + observation.bytes();
        if self.queue.len() >= MAX_OBSERVATIONS || bytes > MAX_BYTES && !self.queue.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.queue.push_back(observation);
        true
    }

    /// The next one; `None` ends the draining.
    fn next(&mut self) -> Option<Observation> {
        let Some(observation) = self.queue.pop_front() else {
            *self = Self::default();
            return None;
        };
        self.bytes = self.bytes.saturating_sub(observation.bytes());
        Some(observation)
    }
}

impl NamespaceState {
    /// Tells of an event that was sent to these sockets.
    pub(crate) fn observe_outgoing(
        self: &Arc<Self>,
        sockets: Vec<Arc<RawSocket>>,
        text: &ByteString,
        attachments: &[Bytes],
    ) {
        if sockets.is_empty() {
            return;
        }
        if let Some(event) = decode(text, attachments) {
            self.observe(Observation::Outgoing(sockets, event));
        }
    }

    /// Changes who is in some rooms, and tells of what that did to them; the index is locked, so in the order of
    /// changes.
    pub(crate) fn observe_rooms<T>(
        self: &Arc<Self>,
        rooms: &mut RoomIndex<Arc<RawSocket>>,
        concerned: impl FnOnce(&RoomIndex<Arc<RawSocket>>) -> Vec<(SocketId, Room)>,
        change: impl FnOnce(&mut RoomIndex<Arc<RawSocket>>) -> T,
    ) -> T {
        if !self.behaviour().watches_rooms() {
            return change(rooms);
        }
        let standing = |rooms: &RoomIndex<_>, (id, room): &(SocketId, Room)| rooms.standing(id, room);
        let concerned = concerned(rooms);
        let before: Vec<_> = concerned.iter().map(|pair| standing(rooms, pair)).collect();
        let outcome = change(rooms);
        for (before, pair) in before.into_iter().zip(concerned) {
            let after = standing(rooms, &pair);
            events(before, after, pair).into_iter().for_each(|event| self.observe(Observation::Room(event)));
        }
        outcome
    }

    fn observe(self: &Arc<Self>, observation: Observation) {
        let mut observations = self.observations().lock();
        if !observations.push(observation) {
            drop(observations);
            if self.may_warn() {
                tracing::warn!(ns = %self.path, "observers are too slow: they miss something");
            }
            return;
        }
        if !std::mem::replace(&mut observations.draining, true) {
            self.runtime().spawn(Arc::clone(self).tell_observers());
        }
    }

    async fn tell_observers(self: Arc<Self>) {
        while let Some(observation) = self.next_observation() {
            let told = match observation {
                Observation::Room(event) => {
                    let of = NamespaceRef(Arc::clone(&self));
                    // Called in there, too: who is no `async` closure may panic before there is a future.
                    run_to_end(async { self.behaviour().room(of, event).await }).await
                }
                Observation::Outgoing(sockets, event) => self.tell_outgoing(sockets, &event).await,
            };
            if !told {
                tracing::error!(ns = %self.path, "an observer panicked");
            }
        }
    }

    fn next_observation(&self) -> Option<Observation> {
        self.observations().lock().next()
    }

    async fn tell_outgoing(&self, sockets: Vec<Arc<RawSocket>>, event: &EmittedEvent) -> bool {
        let mut told = true;
        for socket in sockets {
            told &= run_to_end(self.behaviour().outgoing(socket, event)).await;
        }
        told
    }
}

/// What became of a room because of one socket.
fn events(before: Standing, after: Standing, (socket, room): (SocketId, Room)) -> Vec<RoomEvent> {
    let created = !before.exists && after.exists;
    let joined = !before.member && after.member;
    let left = before.member && !after.member;
    let deleted = before.exists && !after.exists;
    let name = || Arc::clone(&room);
    [
        created.then(|| RoomEvent::Created { room: name() }),
        joined.then(|| RoomEvent::Joined { room: name(), socket }),
        left.then(|| RoomEvent::Left { room: name(), socket }),
        deleted.then(|| RoomEvent::Deleted { room: name() }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The event that a packet of ours carries.
fn decode(text: &ByteString, attachments: &[Bytes]) -> Option<EmittedEvent> {
    let limits = Limits { max_attachments: attachments.len(), max_pending_bytes: usize::MAX };
    let mut decoder = Decoder::new(Parser::Json, limits);
    let mut packet = decoder.text(text).ok()?;
    for attachment in attachments {
        packet = decoder.binary(attachment.clone()).ok()?;
    }
    match packet? {
        Packet::Event { event, .. } => Some(EmittedEvent { name: event.name, args: event.args }),
        _ => None,
    }
}

/// Observations that may wait for the observers of one namespace,
const MAX_OBSERVATIONS: usize = 4096;
/// and their bytes; one larger event is taken when nothing else waits.
const MAX_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use crate::socket::args::{Args, RawArgs};
    use crate::socket::packet;

    fn id(n: u8) -> SocketId {
        SocketId::new(Key::from_hash(0), [n; 10])
    }

    fn deleted(room: &str) -> Observation {
        Observation::Room(RoomEvent::Deleted { room: room.into() })
    }

    #[test]
    fn observations_that_wait_are_bounded_in_number_and_bytes() {
        let mut observations = Observations::default();
        assert!((0..MAX_OBSERVATIONS).all(|_| observations.push(deleted("a"))));
        assert!(!observations.push(deleted("a")));
        while observations.next().is_some() {}
        let large = "x".repeat(MAX_BYTES);
        assert!(observations.push(deleted(&large)));
        assert!(!observations.push(deleted("a")));
        observations.next();
        assert!(observations.push(deleted("a")));
    }

    #[test]
    fn a_room_is_created_before_a_join_and_deleted_after_a_leave() {
        let standing = |exists, member| Standing { exists, member };
        let room: Room = "a".into();
        let socket = id(1);
        let created = RoomEvent::Created { room: Arc::clone(&room) };
        let joined = RoomEvent::Joined { room: Arc::clone(&room), socket };
        let left = RoomEvent::Left { room: Arc::clone(&room), socket };
        let deleted = RoomEvent::Deleted { room: Arc::clone(&room) };
        for (before, after, expected) in [
            (standing(false, false), standing(true, true), vec![created, joined.clone()]),
            (standing(true, false), standing(true, true), vec![joined]),
            (standing(true, true), standing(true, true), vec![]),
            (standing(true, true), standing(true, false), vec![left.clone()]),
            (standing(true, true), standing(false, false), vec![left, deleted]),
            (standing(false, false), standing(false, false), vec![]),
        ] {
            assert_eq!(events(before, after, (socket, Arc::clone(&room))), expected);
        }
    }

    #[test]
    fn what_was_encoded_is_observed_as_it_was_emitted() {
        let args = RawArgs::encode(&Args(("a", Bytes::from_static(b"xyz"), 7))).unwrap();
        for id in [None, Some(3)] {
            let packet = packet::event("/ns", id, "some \"event\"", &args).unwrap();
            let event = decode(&packet.text, &packet.attachments).unwrap();
            assert_eq!((&*event.name, &event.args), ("some \"event\"", &args));
        }
        let none = packet::event("/", None, "e", &RawArgs::default()).unwrap();
        assert_eq!(decode(&none.text, &[]).unwrap().args, RawArgs::default());
    }
}
