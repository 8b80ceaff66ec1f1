//! Which node is interested in which room (docs/protocol/mesh.md, "Interest").
//!
//! Rooms are compared by a hash of 64 bits. Two rooms with one hash cost a message at most.

use std::collections::HashMap;

use super::replicated_set::{FollowedSet, OwnSet, SetLimits, SetUpdate};
use crate::cluster::wire::pb;

/// The rooms with a member on this node.
pub(crate) type LocalInterest = OwnSet<u64>;

/// What a node tells about its rooms.
pub(crate) type InterestUpdate = SetUpdate<u64>;

/// The hash of a room, the same on every node: FNV-1a over namespace, `0xff`, room, then the finalizer of MurmurHash3.
pub(crate) fn room_hash(namespace: &str, room: &str) -> u64 {
    let bytes = namespace.bytes().chain([0xff]).chain(room.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// No rooms yet.
pub(crate) fn local_interest() -> LocalInterest {
    OwnSet::new(SetLimits { changes: MAX_CHANGES, items: MAX_ROOMS })
}

/// The rooms of a peer. Until its snapshot has arrived, it may be interested in every room.
#[derive(Debug)]
pub(crate) struct PeerInterest {
    rooms: FollowedSet<u64>,
    /// Rooms that sockets of the peer join when it gets this node's body of that number.
    pub(super) presumed: HashMap<u64, u64>,
}

impl PeerInterest {
    pub(crate) fn unknown() -> Self {
        Self { rooms: FollowedSet::unknown(), presumed: HashMap::new() }
    }

    pub(crate) fn apply(&mut self, update: InterestUpdate) {
        self.rooms.apply(update);
    }

    /// The peer cannot tell its rooms at the moment, so it may be interested in every room again.
    pub(crate) fn forget(&mut self) {
        self.rooms = FollowedSet::unknown();
    }

    /// The body with this number makes sockets of the peer join the room. What is sent after it has to get there as well,
    /// long before the peer can tell that it has a member.
    pub(crate) fn presume(&mut self, room: u64, seq: u64) {
        self.presumed.insert(room, seq);
    }

    /// The peer has got the bodies up to `seq`, and told before which rooms it had then.
    pub(crate) fn settle(&mut self, seq: u64) {
        if !self.presumed.is_empty() {
            self.presumed.retain(|_, presumed| *presumed > seq);
        }
    }

    /// Whether the peer may have a member in the room.
    pub(crate) fn wants(&self, room: u64) -> bool {
        self.rooms.may_contain(&room) || self.presumed.contains_key(&room)
    }

    /// The version of the last update.
    pub(crate) fn version(&self) -> u64 {
        self.rooms.version()
    }
}

impl From<pb::Interest> for InterestUpdate {
    fn from(interest: pb::Interest) -> Self {
        let pb::Interest { version, snapshot, everything, added, removed } = interest;
        Self { version, snapshot, everything, added, removed }
    }
}

impl From<InterestUpdate> for pb::Interest {
    fn from(update: InterestUpdate) -> Self {
        let InterestUpdate { version, snapshot, everything, added, removed } = update;
        Self { version, snapshot, everything, added, removed }
    }
}

/// They take 512 KiB.
const MAX_CHANGES: usize = 65_536;
/// They take 8 MiB in a snapshot, half of the largest frame.
const MAX_ROOMS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_room_is_fixed() {
        for (namespace, room, hash) in GOLDEN {
            let computed = room_hash(namespace, room);
            assert_eq!(computed, hash, "{namespace} {room}: {computed:#018x}");
        }
    }

    /// Changing these loses broadcasts between versions during a rolling upgrade.
    const GOLDEN: [(&str, &str, u64); 3] = [
        ("/", "", 0xb27f_cb87_51fc_37e2),
        ("/", "lobby", 0x9c59_262c_ef6d_5051),
        ("/chat", "räum", 0xeb60_422a_36f5_f1b8),
    ];

    #[test]
    fn namespace_and_room_do_not_run_into_each_other() {
        assert_ne!(room_hash("/a", "b"), room_hash("/", "ab"));
    }

    #[test]
    fn a_room_that_is_to_be_joined_is_wanted_until_the_peer_has_told_whether_it_was() {
        let mut peer = PeerInterest::unknown();
        let snapshot = |version| InterestUpdate {
            version,
            snapshot: true,
            everything: false,
            added: Vec::new(),
            removed: Vec::new(),
        };
        peer.apply(snapshot(1));
        peer.presume(5, 10);
        peer.presume(6, 11);
        peer.forget();
        assert!(peer.wants(7), "a peer out of reach may have any room");
        peer.apply(snapshot(2));
        assert!(peer.wants(5) && !peer.wants(7), "a new link brings the join again");
        peer.settle(10);
        assert!(!peer.wants(5) && peer.wants(6));
        peer.presume(6, 12);
        peer.settle(11);
        assert!(peer.wants(6), "it was to be joined again");
    }
}
