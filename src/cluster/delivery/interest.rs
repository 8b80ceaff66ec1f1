//! Which node is interested in which room (docs/protocol/mesh.md, "Interest").
//!
//! Rooms are compared by a hash of 64 bits. Two rooms with one hash cost a message at most.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use parking_lot::Mutex;

use super::batch::Batch;
use super::replicated_set::{FollowedSet, OwnSet, PreparedUpdate, SetLimits, SetUpdate};
use crate::cluster::wire::{pb, unsequenced};
use pb::envelope::Kind;

/// The rooms with a member on this node.
pub(crate) type LocalInterest = OwnSet;

/// What a node tells about its rooms.
pub(crate) type InterestUpdate = SetUpdate;

/// The same, made ready to be applied.
pub(crate) type PreparedInterest = PreparedUpdate;

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
    rooms: FollowedSet,
    /// Rooms that sockets of the peer join when it gets this node's body of that number.
    pub(super) presumed: HashMap<u64, u64>,
    /// Rooms that the peer has, and the version by which it says so itself.
    awaited: HashMap<u64, u64>,
}

impl PeerInterest {
    pub(crate) fn unknown() -> Self {
        Self { rooms: FollowedSet::unknown(), presumed: HashMap::new(), awaited: HashMap::new() }
    }

    /// Returns what a snapshot replaces, to be dropped when nobody waits for it.
    pub(crate) fn apply(&mut self, update: PreparedInterest) -> Option<FollowedSet> {
        let replaced = self.rooms.apply(update);
        if !self.awaited.is_empty() {
            let version = self.rooms.version();
            self.awaited.retain(|_, by| *by > version);
        }
        replaced
    }

    /// The peer cannot tell its rooms at the moment, so it may be interested in every room again.
    pub(crate) fn forget(&mut self) {
        self.rooms = FollowedSet::unknown();
    }

    /// The body with this number makes sockets of the peer join the room. What is sent after it has to get there as well,
    /// long before the peer can tell that it has a member. `None`: the body has no number yet.
    pub(crate) fn presume(&mut self, room: u64, seq: Option<u64>) {
        let presumed = self.presumed.entry(room).or_default();
        *presumed = match (seq, *presumed) {
            (None, _) => UNNUMBERED,
            (Some(seq), UNNUMBERED) => seq,
            (Some(seq), earlier) => earlier.max(seq),
        };
    }

    /// The peer has these rooms, and says so by that version at the latest.
    pub(crate) fn presume_until(&mut self, rooms: &[u64], version: u64) {
        if self.rooms.version() < version {
            for room in rooms {
                let by = self.awaited.entry(*room).or_default();
                *by = version.max(*by);
            }
        }
    }

    /// The peer has got the bodies up to `seq`, and told before which rooms it had then.
    pub(crate) fn settle(&mut self, seq: u64) {
        if !self.presumed.is_empty() {
            self.presumed.retain(|_, presumed| *presumed > seq);
        }
    }

    /// The bodies with these numbers were dropped.
    pub(crate) fn settle_dropped(&mut self, dropped: RangeInclusive<u64>) {
        if !self.presumed.is_empty() {
            self.presumed.retain(|_, presumed| !dropped.contains(presumed));
        }
    }

    /// Whether the peer may have a member in the room.
    pub(crate) fn wants(&self, room: u64) -> bool {
        self.rooms.may_contain(room) || self.presumed.contains_key(&room) || self.awaited.contains_key(&room)
    }

    /// The version of the last update.
    pub(crate) fn version(&self) -> u64 {
        self.rooms.version()
    }
}

/// What was told of this node's interest on a link.
pub(super) struct Told {
    pub(super) version: Option<u64>,
    /// It is everything that had happened when the batch was begun.
    pub(super) all: bool,
}

/// Appends what a peer that was told up to `known` does not know of this node's interest, as far as there is room. The interest
/// is locked for no longer than a few changes take.
pub(super) fn tell(local: &Mutex<LocalInterest>, known: Option<u64>, batch: &mut Batch) -> Told {
    let goal = local.lock().version();
    let mut version = known;
    while batch.has_room() && version.is_none_or(|version| version < goal) {
        let Some(news) = local.lock().since(version) else { break };
        let update = news.into_update();
        version = Some(update.version);
        batch.put(&unsequenced(Kind::Interest(update.into())));
    }
    Told { version, all: version.is_some_and(|version| version >= goal) }
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

/// Above every number.
const UNNUMBERED: u64 = u64::MAX;
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
        peer.apply(snapshot(1).into());
        peer.presume(5, Some(10));
        peer.presume(6, Some(11));
        peer.forget();
        assert!(peer.wants(7), "a peer out of reach may have any room");
        peer.apply(snapshot(2).into());
        assert!(peer.wants(5) && !peer.wants(7), "a new link brings the join again");
        peer.settle(10);
        assert!(!peer.wants(5) && peer.wants(6));
        peer.presume(6, Some(12));
        peer.settle(11);
        assert!(peer.wants(6), "it was to be joined again");
    }
}
