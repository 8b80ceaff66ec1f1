//! What is on this node, for the application: found without waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::member::Member;
use super::LocalNamespace;
use crate::id::SocketId;
use crate::socket::messages::Selection;
use crate::socket::room::Room;

impl LocalNamespace {
    /// The socket with this id.
    pub(crate) fn member(&self, id: SocketId) -> Option<Arc<Member>> {
        self.rooms.read().get(&id).cloned()
    }

    /// Whether a socket has this id, here or on another node, or may have it.
    pub(crate) fn may_have(&self, id: SocketId) -> bool {
        self.rooms.read().get(&id).is_some() || self.peers().may_have(&self.path, id)
    }

    /// The selected sockets.
    pub(crate) fn members(&self, selection: &Selection) -> Vec<Arc<Member>> {
        let rooms = self.rooms.read();
        let mut selected = Vec::new();
        rooms.for_each(selection, |_, member| selected.push(Arc::clone(member)));
        selected
    }

    /// How many sockets are selected.
    pub(crate) fn number_of(&self, selection: &Selection) -> usize {
        self.rooms.read().count(selection)
    }

    /// How many sockets are in a room.
    pub(crate) fn size_of(&self, room: &Room) -> usize {
        self.rooms.read().size(room)
    }

    /// Whether a socket is in a room.
    pub(crate) fn is_in(&self, id: SocketId, room: &Room) -> bool {
        self.rooms.read().is_in(&id, room)
    }

    /// The rooms that sockets are in, and how many are in each. The index is locked for a few thousand rooms or sockets at a
    /// time.
    pub(crate) fn room_sizes(&self) -> BTreeMap<Room, usize> {
        let mut sizes = BTreeMap::new();
        self.visit_rooms(|room, sockets| {
            sizes.insert(room.clone(), sockets);
        });
        self.visit_ids(|id| *sizes.entry(Room::Own(id)).or_default() += 1);
        sizes
    }
}
