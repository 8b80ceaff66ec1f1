//! What the observers of a namespace see (Socket.IO server API: `onAnyOutgoing`; `create-room`, `join-room`,
//! `leave-room`, `delete-room` of the adapter).

use bytes::Bytes;
use bytestring::ByteString;

use super::room_index::Standing;
use super::work_queue::Work;
use crate::id::SocketId;
use crate::socket::messages::EmittedEvent;
use crate::socket::protocol::{Packet, PacketDecoder, PacketLimits, Parser};
use crate::socket::room::Room;

/// What happened to a room on this node. Node: `create-room`, `join-room`, `leave-room` and `delete-room` of the adapter.
///
/// A room is created on a node before the first socket there joins, and deleted after the last one has left. Other nodes
/// may have sockets in it at any time. Every socket is in the room of its own id while it is connected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RoomEvent {
    /// A room that had no socket on this node is about to have one.
    Created {
        /// Which room.
        room: Room,
    },
    /// A socket joined the room.
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
    /// The room has no socket on this node any more.
    Deleted {
        /// Which room.
        room: Room,
    },
}

impl RoomEvent {
    /// The room that it happened to.
    pub fn room(&self) -> &Room {
        match self {
            Self::Created { room }
            | Self::Joined { room, .. }
            | Self::Left { room, .. }
            | Self::Deleted { room } => room,
        }
    }
}

/// What waits for the observers of a namespace; `S` is a socket.
#[derive(Debug)]
pub(crate) enum Observation<S> {
    Room(RoomEvent),
    /// An event, and the sockets here that it was sent to.
    Outgoing(Vec<S>, EmittedEvent),
}

impl<S> Work for Observation<S> {
    fn bytes(&self) -> usize {
        match self {
            Self::Room(event) => event.room().name_length(),
            Self::Outgoing(sockets, event) => event.bytes() + size_of_val(sockets.as_slice()),
        }
    }
}

/// What happened to a room when one socket joined or left it.
pub(crate) fn changes(before: Standing, after: Standing, socket: SocketId, room: &Room) -> Vec<RoomEvent> {
    let created = !before.exists && after.exists;
    let joined = !before.member && after.member;
    let left = before.member && !after.member;
    let deleted = before.exists && !after.exists;
    let name = || room.clone();
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

/// The event in a packet that this server made.
pub(crate) fn decode_event(text: &ByteString, attachments: &[Bytes]) -> Option<EmittedEvent> {
    let limits = PacketLimits { max_attachments: attachments.len(), max_pending_bytes: usize::MAX };
    let mut decoder = PacketDecoder::new(Parser::Json, limits);
    let mut packet = decoder.text(text).ok()?;
    for attachment in attachments {
        packet = decoder.binary(attachment.clone()).ok()?;
    }
    match packet? {
        Packet::Event { event, .. } => Some(EmittedEvent { name: event.name, args: event.args }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use crate::socket::protocol::{Args, RawArgs, encode};

    #[test]
    fn a_room_is_created_before_a_join_and_deleted_after_a_leave() {
        let standing = |exists, member| Standing { exists, member };
        let room: Room = "a".into();
        let socket = SocketId::new(Key::from_hash(0), [1; 10]);
        let created = RoomEvent::Created { room: room.clone() };
        let joined = RoomEvent::Joined { room: room.clone(), socket };
        let left = RoomEvent::Left { room: room.clone(), socket };
        let deleted = RoomEvent::Deleted { room: room.clone() };
        for (before, after, expected) in [
            (standing(false, false), standing(true, true), vec![created, joined.clone()]),
            (standing(true, false), standing(true, true), vec![joined]),
            (standing(true, true), standing(true, true), vec![]),
            (standing(true, true), standing(true, false), vec![left.clone()]),
            (standing(true, true), standing(false, false), vec![left, deleted]),
            (standing(false, false), standing(false, false), vec![]),
        ] {
            assert_eq!(changes(before, after, socket, &room), expected);
        }
    }

    #[test]
    fn an_event_is_observed_as_it_was_emitted() {
        let args = RawArgs::encode(&Args(("a", Bytes::from_static(b"xyz"), 7))).unwrap();
        for id in [None, Some(3)] {
            let packet = encode::event("/ns", id, "some \"event\"", &args).unwrap();
            let event = decode_event(&packet.text, &packet.attachments).unwrap();
            assert_eq!((&*event.name, &event.args), ("some \"event\"", &args));
        }
        let none = encode::event("/", None, "e", &RawArgs::default()).unwrap();
        assert_eq!(decode_event(&none.text, &[]).unwrap().args, RawArgs::default());
    }
}
