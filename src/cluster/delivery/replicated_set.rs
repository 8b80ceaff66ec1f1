//! A set of hashes that one node owns and its peers follow: snapshots, changes, and the version up to which a peer has confirmed.
//!
//! What a peer has not heard of may be in the set. So a follower takes the set for too large for a moment, never for too
//! small.
//!
//! A set may have a million items, and is locked by everybody who emits or joins. So nothing that is done while it is locked
//! touches more than a small part of it: the items lie in many small tables, a snapshot shares the tables and is read later,
//! and a table is copied only when it changes while a snapshot of it is still being read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The set that this node owns, and how it changed lately.
#[derive(Debug)]
pub(crate) struct OwnSet {
    /// How often each item was added. It is in the set until it was removed as often.
    tables: Vec<Arc<HashMap<u64, u32>>>,
    items: usize,
    version: u64,
    /// The items that came or went, the oldest change first. The last one made `version`.
    changes: VecDeque<u64>,
    limits: SetLimits,
}

/// How much an [`OwnSet`] remembers and tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SetLimits {
    /// How many changes are remembered. A peer that is further behind gets a snapshot.
    pub(crate) changes: usize,
    /// How many items a snapshot lists.
    pub(crate) items: usize,
}

/// What the owner of a set tells a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetUpdate {
    /// The version of the set after this update.
    pub(crate) version: u64,
    /// Whether `added` is the whole set, so that what was told before does not count any more.
    pub(crate) snapshot: bool,
    /// Whether there are too many items to list: every item may be in the set.
    pub(crate) everything: bool,
    pub(crate) added: Vec<u64>,
    pub(crate) removed: Vec<u64>,
}

/// What to tell a peer, taken while the set is locked, to be made an update of when it is not locked any more.
#[derive(Debug)]
pub(crate) enum News {
    Changes(SetUpdate),
    /// The whole set of that version; `None` if there are too many items to list.
    Snapshot(u64, Option<Vec<Arc<HashMap<u64, u32>>>>),
}

impl OwnSet {
    pub(crate) fn new(limits: SetLimits) -> Self {
        Self {
            tables: (0..TABLES).map(|_| Arc::default()).collect(),
            items: 0,
            version: 0,
            changes: VecDeque::new(),
            limits,
        }
    }

    /// Adds an item once more.
    pub(crate) fn add(&mut self, item: u64) {
        let Some(table) = self.tables.get_mut(table_of(item)) else { return };
        let count = Arc::make_mut(table).entry(item).or_default();
        *count = count.saturating_add(1);
        if *count == 1 {
            self.items += 1;
            self.record(item);
        }
    }

    /// Takes back one [`add`](Self::add) of an item.
    pub(crate) fn remove(&mut self, item: u64) {
        let Some(table) = self.tables.get_mut(table_of(item)).filter(|table| table.contains_key(&item))
        else {
            return;
        };
        let table = Arc::make_mut(table);
        let Some(count) = table.get_mut(&item) else { return };
        *count -= 1;
        if *count == 0 {
            table.remove(&item);
            self.items -= 1;
            self.record(item);
        }
    }

    /// How many changes there were.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What to tell a peer that was told up to version `known`, if there is anything; `None` for a peer that was told nothing.
    /// Many changes are told in several updates.
    pub(crate) fn since(&self, known: Option<u64>) -> Option<News> {
        let behind = known.and_then(|known| self.version.checked_sub(known)).map(usize::try_from);
        match behind {
            Some(Ok(0)) => None,
            Some(Ok(behind)) if behind <= self.changes.len() => Some(News::Changes(self.changes(behind))),
            _ => {
                let listed = self.items <= self.limits.items;
                Some(News::Snapshot(self.version, listed.then(|| self.tables.clone())))
            }
        }
    }

    fn record(&mut self, item: u64) {
        self.version += 1;
        self.changes.push_back(item);
        if self.changes.len() > self.limits.changes {
            self.changes.pop_front();
        }
    }

    /// The oldest of the last `behind` changes, as the items are now: one that changed again meanwhile is only told earlier.
    fn changes(&self, behind: usize) -> SetUpdate {
        let told = behind.min(CHANGES_AT_ONCE);
        let changed: HashSet<u64> =
            self.changes.iter().rev().take(behind).rev().take(told).copied().collect();
        let (added, removed) = changed.into_iter().partition(|item| self.contains(*item));
        let version = self.version - (behind - told) as u64;
        SetUpdate { version, snapshot: false, everything: false, added, removed }
    }

    fn contains(&self, item: u64) -> bool {
        self.tables.get(table_of(item)).is_some_and(|table| table.contains_key(&item))
    }
}

impl News {
    /// Lists the items.
    pub(crate) fn into_update(self) -> SetUpdate {
        match self {
            Self::Changes(update) => update,
            Self::Snapshot(version, tables) => {
                let everything = tables.is_none();
                let tables = tables.unwrap_or_default();
                let mut added = Vec::with_capacity(tables.iter().map(|table| table.len()).sum());
                tables.iter().for_each(|table| added.extend(table.keys()));
                SetUpdate { version, snapshot: true, everything, added, removed: Vec::new() }
            }
        }
    }
}

/// The set of a peer, as far as it was told.
#[derive(Debug)]
pub(crate) struct FollowedSet {
    /// `None` while nothing is known, so that every item may be in the set.
    tables: Option<Vec<HashSet<u64>>>,
    version: u64,
}

/// What a peer told, made ready to be applied while nobody waits for it.
#[derive(Debug)]
pub(crate) enum PreparedUpdate {
    /// The whole set of that version.
    Snapshot(FollowedSet),
    Changes(SetUpdate),
}

impl FollowedSet {
    /// A set of which nothing is known yet.
    pub(crate) fn unknown() -> Self {
        Self { tables: None, version: 0 }
    }

    /// Applies an update. Changes without the snapshot before them are ignored: every item may still be in the set. Returns what
    /// was known before a snapshot, to be dropped when nobody waits for it.
    pub(crate) fn apply(&mut self, update: PreparedUpdate) -> Option<Self> {
        let SetUpdate { version, added, removed, .. } = match update {
            PreparedUpdate::Snapshot(snapshot) => return Some(std::mem::replace(self, snapshot)),
            PreparedUpdate::Changes(update) => update,
        };
        for (items, present) in [(added, true), (removed, false)] {
            for item in items {
                let table = self.tables.as_mut().and_then(|tables| tables.get_mut(table_of(item)));
                match table {
                    Some(table) if present => drop(table.insert(item)),
                    Some(table) => drop(table.remove(&item)),
                    None => {}
                }
            }
        }
        self.version = version;
        None
    }

    /// Whether the item may be in the set.
    pub(crate) fn may_contain(&self, item: u64) -> bool {
        let Some(tables) = &self.tables else { return true };
        tables.get(table_of(item)).is_none_or(|table| table.contains(&item))
    }

    /// The version of the last update.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

impl From<SetUpdate> for PreparedUpdate {
    fn from(update: SetUpdate) -> Self {
        let SetUpdate { version, snapshot, everything, added, .. } = &update;
        let tables = || {
            let mut tables = vec![HashSet::new(); TABLES];
            for item in added {
                if let Some(table) = tables.get_mut(table_of(*item)) {
                    table.insert(*item);
                }
            }
            tables
        };
        match (everything, snapshot) {
            (true, _) => Self::Snapshot(FollowedSet { tables: None, version: *version }),
            (false, true) => Self::Snapshot(FollowedSet { tables: Some(tables()), version: *version }),
            (false, false) => Self::Changes(update),
        }
    }
}

/// Items are hashes, so their first byte says which table they are in.
fn table_of(item: u64) -> usize {
    let [first, ..] = item.to_be_bytes();
    usize::from(first)
}

/// Of a million items each table has 4096: growing or copying one takes some microseconds.
const TABLES: usize = 256;
/// How many changes one update tells.
const CHANGES_AT_ONCE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: u64 = 0xa << 60;
    const B: u64 = 0xb << 60;
    const C: u64 = 0xc << 60;

    fn own(changes: usize, items: usize) -> OwnSet {
        OwnSet::new(SetLimits { changes, items })
    }

    fn told(set: &OwnSet, known: Option<u64>) -> Option<SetUpdate> {
        set.since(known).map(News::into_update)
    }

    fn snapshot(version: u64, added: Vec<u64>) -> SetUpdate {
        SetUpdate { version, snapshot: true, everything: false, added, removed: Vec::new() }
    }

    #[test]
    fn every_item_may_be_in_a_set_without_a_snapshot() {
        let mut set = FollowedSet::unknown();
        assert!(set.may_contain(1));
        set.apply(SetUpdate { snapshot: false, ..snapshot(3, vec![2]) }.into());
        assert!(set.may_contain(1), "changes without their snapshot narrow nothing");
        set.apply(snapshot(4, vec![2]).into());
        assert!(set.may_contain(2) && !set.may_contain(1));
        assert_eq!(set.version(), 4);
    }

    #[test]
    fn an_item_is_in_the_set_until_it_was_removed_as_often_as_added() {
        let mut set = own(9, 9);
        set.add(A);
        set.add(A);
        assert_eq!(set.version(), 1, "the second time changes nothing");
        set.remove(A);
        assert!(set.since(Some(1)).is_none());
        set.remove(A);
        assert_eq!(told(&set, Some(1)).unwrap().removed, [A]);
        set.remove(A);
        assert_eq!(set.version(), 2, "an item that is not in the set cannot go");
    }

    #[test]
    fn changes_are_told_batched_and_as_they_are_now() {
        let mut set = own(9, 9);
        for item in [A, B] {
            set.add(item);
        }
        set.remove(A);
        let update = told(&set, Some(1)).unwrap();
        assert_eq!((update.version, update.snapshot), (3, false));
        assert_eq!((update.added, update.removed), (vec![B], vec![A]));
        assert!(set.since(Some(3)).is_none());
    }

    #[test]
    fn a_peer_too_far_behind_gets_a_snapshot() {
        let mut set = own(2, 9);
        [A, B, C].into_iter().for_each(|item| set.add(item));
        assert!(!told(&set, Some(1)).unwrap().snapshot);
        let update = told(&set, Some(0)).unwrap();
        assert!(update.snapshot && update.added.len() == 3);
        assert!(told(&set, Some(99)).unwrap().snapshot, "a version of another life");
    }

    #[test]
    fn a_snapshot_of_too_many_items_lists_none_and_may_contain_all() {
        let mut set = own(9, 1);
        set.add(A);
        assert!(!told(&set, None).unwrap().everything);
        set.add(B);
        let update = told(&set, None).unwrap();
        assert!(update.everything && update.added.is_empty());
        let mut followed = FollowedSet::unknown();
        followed.apply(update.into());
        assert!(followed.may_contain(C));
    }

    /// Whoever emits or joins waits for nothing that grows with the set.
    #[test]
    fn a_snapshot_shares_the_set_and_a_change_meanwhile_copies_a_small_part() {
        let mut set = own(9, usize::MAX);
        let items = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..100_000).for_each(|n| set.add(items(n)));
        let version = set.version();
        let Some(News::Snapshot(_, Some(shared))) = set.since(None) else { panic!("a snapshot") };
        let is_shared = |(own, taken): &(&Arc<_>, &Arc<_>)| Arc::ptr_eq(own, taken);
        assert_eq!(set.tables.iter().zip(&shared).filter(is_shared).count(), TABLES, "nothing was copied");
        set.add(1);
        set.remove(items(7));
        assert_eq!(set.tables.iter().zip(&shared).filter(is_shared).count(), TABLES - 2);
        assert!(set.tables.iter().all(|table| table.len() < 1000), "a hundredth of the set");
        let mut update = News::Snapshot(version, Some(shared)).into_update();
        update.added.sort_unstable();
        let mut then: Vec<_> = (0..100_000).map(items).collect();
        then.sort_unstable();
        assert_eq!((update.version, update.added), (version, then), "the set of that moment");
    }

    #[test]
    fn one_update_tells_a_bounded_number_of_changes_and_the_next_one_the_rest() {
        let mut set = own(1 << 16, usize::MAX);
        (0..5000).for_each(|item| set.add(item << 48));
        let (mut known, mut followed, mut updates) = (Some(0), FollowedSet::unknown(), 0);
        followed.apply(snapshot(0, vec![]).into());
        while let Some(update) = told(&set, known) {
            assert!(update.added.len() <= CHANGES_AT_ONCE);
            (known, updates) = (Some(update.version), updates + 1);
            followed.apply(update.into());
        }
        assert_eq!((known, updates), (Some(5000), 5));
        assert!((0..5000).all(|item| followed.may_contain(item << 48)) && !followed.may_contain(5000 << 48));
    }

    proptest! {
        /// Whatever was skipped or batched: a peer that was told of a version knows the set of that version.
        #[test]
        fn a_peer_that_follows_knows_exactly_the_items(
            steps in proptest::collection::vec((0..12_u64, any::<bool>(), any::<bool>()), 0..200),
            changes in 1..9_usize,
        ) {
            let mut own = OwnSet::new(SetLimits { changes, items: 100 });
            let (mut followed, mut known, mut present) = (FollowedSet::unknown(), None, HashSet::new());
            for (item, add, talk) in steps {
                let item = item << 58;
                if add && present.insert(item) {
                    own.add(item);
                } else if !add && present.remove(&item) {
                    own.remove(item);
                }
                if let Some(update) = told(&own, known).filter(|_| talk) {
                    known = Some(update.version);
                    followed.apply(update.into());
                }
                if known == Some(own.version()) {
                    prop_assert!((0..12).all(|item| followed.may_contain(item << 58) == present.contains(&(item << 58))));
                    prop_assert!(own.since(known).is_none());
                }
            }
        }
    }
}
