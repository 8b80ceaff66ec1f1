//! Which node cares about which room (docs/protocol/mesh.md, "Interest").
//!
//! Rooms are compared by a 64-bit hash. A set may be too large for a moment, never too small: what a node has not heard
//! about a peer counts as "everything".

use std::collections::{HashMap, HashSet, VecDeque};

/// The fixed hash of a room: FNV-1a over namespace, `0xff`, room, then the finalizer of MurmurHash3.
pub(crate) fn room_hash(namespace: &str, room: &str) -> u64 {
    let bytes = namespace.bytes().chain([0xff]).chain(room.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// What this node tells its peers: the rooms with a member here, and how they changed.
#[derive(Debug)]
pub(crate) struct LocalInterest {
    /// Members are rooms, not sockets: two rooms with one hash count twice.
    rooms: HashMap<u64, u32>,
    version: u64,
    /// The rooms that changed, oldest first; the last one made `version`.
    changes: VecDeque<u64>,
    limits: Limits,
}

/// One message about the rooms of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Update {
    pub version: u64,
    /// Forget what was said before.
    pub snapshot: bool,
    /// Too many rooms to name: everything is of interest.
    pub everything: bool,
    pub added: Vec<u64>,
    pub removed: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    changes: usize,
    rooms: usize,
}

impl LocalInterest {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits { changes: MAX_CHANGES, rooms: MAX_ROOMS })
    }

    fn with_limits(limits: Limits) -> Self {
        Self { rooms: HashMap::new(), version: 0, changes: VecDeque::new(), limits }
    }

    /// A room got its first member here, or lost its last. Returns the version that contains it.
    pub(crate) fn set(&mut self, room: u64, present: bool) -> u64 {
        let count = self.rooms.entry(room).or_default();
        let before = *count;
        *count = if present { before.saturating_add(1) } else { before.saturating_sub(1) };
        let after = *count;
        if after == 0 {
            self.rooms.remove(&room);
        }
        if (before == 0) != (after == 0) {
            self.record(room);
        }
        self.version
    }

    /// What a peer that knows `known` needs to hear, if anything; `None` for `known` asks for a snapshot.
    pub(crate) fn since(&self, known: Option<u64>) -> Option<Update> {
        let behind = known.and_then(|known| self.version.checked_sub(known)).map(usize::try_from);
        match behind {
            Some(Ok(0)) => None,
            Some(Ok(behind)) if behind <= self.changes.len() => Some(self.delta(behind)),
            _ => Some(self.snapshot()),
        }
    }

    /// How many changes there were.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn record(&mut self, room: u64) {
        self.version += 1;
        self.changes.push_back(room);
        if self.changes.len() > self.limits.changes {
            self.changes.pop_front();
        }
    }

    fn delta(&self, behind: usize) -> Update {
        let changed: HashSet<u64> = self.changes.iter().rev().take(behind).copied().collect();
        let (added, removed) = changed.into_iter().partition(|room| self.rooms.contains_key(room));
        Update { version: self.version, added, removed, ..Update::default() }
    }

    fn snapshot(&self) -> Update {
        let everything = self.rooms.len() > self.limits.rooms;
        let added = if everything { Vec::new() } else { self.rooms.keys().copied().collect() };
        Update { version: self.version, snapshot: true, everything, added, removed: Vec::new() }
    }
}

/// What a peer told about its rooms. Starts as "everything", until its snapshot arrived.
#[derive(Debug, Default)]
pub(crate) struct PeerInterest {
    /// `None`: unknown, so everything.
    rooms: Option<HashSet<u64>>,
    version: u64,
    /// Rooms that its sockets will have joined when it has got our body of that number.
    presumed: HashMap<u64, u64>,
}

impl PeerInterest {
    /// Applies a message; one that needs a snapshot which is not there is ignored (everything is still of interest).
    pub(crate) fn apply(&mut self, update: Update) {
        if update.everything {
            self.rooms = None;
        } else if update.snapshot {
            self.rooms = Some(update.added.into_iter().collect());
        } else if let Some(rooms) = &mut self.rooms {
            rooms.extend(update.added);
            for room in update.removed {
                rooms.remove(&room);
            }
        }
        self.version = update.version;
    }

    /// The peer may have rooms that it could not tell: everything is of interest again.
    pub(crate) fn forget(&mut self) {
        (self.rooms, self.version) = (None, 0);
    }

    /// The body with this number makes sockets there join the room: what is sent behind it has to get there as well,
    /// long before the peer can tell that it has a member.
    pub(crate) fn presume(&mut self, room: u64, seq: u64) {
        self.presumed.insert(room, seq);
    }

    /// The peer has got our bodies up to `seq`, and has told before which rooms it had then.
    pub(crate) fn settle(&mut self, seq: u64) {
        if !self.presumed.is_empty() {
            self.presumed.retain(|_, presumed| *presumed > seq);
        }
    }

    /// Whether the peer may have a member in the room.
    pub(crate) fn wants(&self, room: u64) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(&room)) || self.presumed.contains_key(&room)
    }

    /// How many rooms are presumed.
    #[cfg(test)]
    pub(crate) fn presumptions(&self) -> usize {
        self.presumed.len()
    }

    /// The last version applied.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

/// How many changes are remembered: a peer further behind gets a snapshot. 512 KiB.
const MAX_CHANGES: usize = 65_536;
/// How many rooms a snapshot names: 8 MiB, half of the largest frame.
const MAX_ROOMS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_of_a_room_is_fixed() {
        for (namespace, room, hash) in GOLDEN {
            assert_eq!(
                room_hash(namespace, room),
                hash,
                "{namespace} {room}: {:#018x}",
                room_hash(namespace, room)
            );
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
    fn an_unheard_peer_wants_everything() {
        let mut peer = PeerInterest::default();
        assert!(peer.wants(1));
        peer.apply(Update { version: 3, added: vec![2], ..Update::default() });
        assert!(peer.wants(1), "a delta without its snapshot narrows nothing");
        peer.apply(Update { version: 4, snapshot: true, added: vec![2], ..Update::default() });
        assert!(!peer.wants(1));
        peer.forget();
        assert!(peer.wants(1));
    }

    #[test]
    fn a_room_that_is_to_be_joined_is_wanted_until_the_peer_has_told_whether_it_was() {
        let mut peer = PeerInterest::default();
        let snapshot = |version| Update { version, snapshot: true, ..Update::default() };
        peer.apply(snapshot(1));
        peer.presume(5, 10);
        peer.presume(6, 11);
        peer.forget();
        peer.apply(snapshot(2));
        assert!(peer.wants(5), "a new link brings the join again");
        peer.settle(10);
        assert!(!peer.wants(5) && peer.wants(6));
        peer.presume(6, 12);
        peer.settle(11);
        assert!(peer.wants(6), "it was to be joined again");
    }

    #[test]
    fn two_rooms_with_one_hash_are_present_until_both_are_gone() {
        let mut local = LocalInterest::new();
        assert_eq!((local.set(7, true), local.set(7, true)), (1, 1));
        assert_eq!((local.set(7, false), local.set(7, false)), (1, 2));
        assert_eq!(local.since(Some(1)).unwrap().removed, [7]);
    }

    #[test]
    fn too_many_rooms_are_everything() {
        let mut local = LocalInterest::with_limits(Limits { changes: 1, rooms: 2 });
        for room in 0..3 {
            local.set(room, true);
        }
        let mut peer = PeerInterest::default();
        peer.apply(local.since(None).unwrap());
        assert!(peer.wants(99) && peer.version() == 3);
    }

    proptest! {
        /// The invariant of routing: whatever was skipped or batched, a peer that applied version v wants v's rooms.
        #[test]
        fn a_peer_that_follows_knows_exactly_the_rooms(
            steps in proptest::collection::vec((0..12_u64, any::<bool>(), any::<bool>()), 1..200), changes in 1..9_usize,
        ) {
            let mut local = LocalInterest::with_limits(Limits { changes, rooms: 1000 });
            let mut peer = PeerInterest::default();
            let mut known = None;
            let mut present = HashSet::new();
            for (room, join, talk) in steps {
                if join != present.contains(&room) {
                    local.set(room, join);
                    if join { present.insert(room) } else { present.remove(&room) };
                }
                if let Some(update) = local.since(known).filter(|_| talk) {
                    known = Some(update.version);
                    peer.apply(update);
                }
                if known == Some(local.version) {
                    prop_assert!((0..12).all(|room| peer.wants(room) == present.contains(&room)));
                    prop_assert_eq!(local.since(known), None);
                }
            }
        }
    }
}
