//! A set that one node owns and its peers follow: snapshots, changes, and the version up to which a peer has confirmed.
//!
//! What a peer has not heard of may be in the set. So a follower takes the set for too large for a moment, never for too
//! small.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// The set that this node owns, and how it changed lately.
#[derive(Debug)]
pub(crate) struct OwnSet<T> {
    /// How often each item was added. It is in the set until it was removed as often.
    items: HashMap<T, u32>,
    version: u64,
    /// The items that came or went, the oldest change first. The last one made `version`.
    changes: VecDeque<T>,
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
pub(crate) struct SetUpdate<T> {
    /// The version of the set after this update.
    pub(crate) version: u64,
    /// Whether `added` is the whole set, so that what was told before does not count any more.
    pub(crate) snapshot: bool,
    /// Whether there are too many items to list: every item may be in the set.
    pub(crate) everything: bool,
    pub(crate) added: Vec<T>,
    pub(crate) removed: Vec<T>,
}

impl<T: Clone + Eq + Hash> OwnSet<T> {
    pub(crate) fn new(limits: SetLimits) -> Self {
        Self { items: HashMap::new(), version: 0, changes: VecDeque::new(), limits }
    }

    /// Adds an item once more.
    pub(crate) fn add(&mut self, item: T) {
        let count = self.items.entry(item.clone()).or_default();
        *count = count.saturating_add(1);
        if *count == 1 {
            self.record(item);
        }
    }

    /// Takes back one [`add`](Self::add) of an item.
    pub(crate) fn remove(&mut self, item: T) {
        let Some(count) = self.items.get_mut(&item) else { return };
        *count -= 1;
        if *count == 0 {
            self.items.remove(&item);
            self.record(item);
        }
    }

    /// How many changes there were.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What to tell a peer that was told up to version `known`, if there is anything; `None` for a peer that was told nothing.
    pub(crate) fn since(&self, known: Option<u64>) -> Option<SetUpdate<T>> {
        let behind = known.and_then(|known| self.version.checked_sub(known)).map(usize::try_from);
        match behind {
            Some(Ok(0)) => None,
            Some(Ok(behind)) if behind <= self.changes.len() => Some(self.changes(behind)),
            _ => Some(self.snapshot()),
        }
    }

    fn record(&mut self, item: T) {
        self.version += 1;
        self.changes.push_back(item);
        if self.changes.len() > self.limits.changes {
            self.changes.pop_front();
        }
    }

    fn changes(&self, behind: usize) -> SetUpdate<T> {
        let changed: HashSet<&T> = self.changes.iter().rev().take(behind).collect();
        let (added, removed) = changed.into_iter().cloned().partition(|item| self.items.contains_key(item));
        SetUpdate { version: self.version, snapshot: false, everything: false, added, removed }
    }

    fn snapshot(&self) -> SetUpdate<T> {
        let everything = self.items.len() > self.limits.items;
        let added = if everything { Vec::new() } else { self.items.keys().cloned().collect() };
        SetUpdate { version: self.version, snapshot: true, everything, added, removed: Vec::new() }
    }
}

/// The set of a peer, as far as it was told.
#[derive(Debug)]
pub(crate) struct FollowedSet<T> {
    /// `None` while nothing is known, so that every item may be in the set.
    items: Option<HashSet<T>>,
    version: u64,
}

impl<T: Eq + Hash> FollowedSet<T> {
    /// A set of which nothing is known yet.
    pub(crate) fn unknown() -> Self {
        Self { items: None, version: 0 }
    }

    /// Applies an update. Changes without the snapshot before them are ignored: every item may still be in the set.
    pub(crate) fn apply(&mut self, update: SetUpdate<T>) {
        if update.everything {
            self.items = None;
        } else if update.snapshot {
            self.items = Some(update.added.into_iter().collect());
        } else if let Some(items) = &mut self.items {
            items.extend(update.added);
            for item in &update.removed {
                items.remove(item);
            }
        }
        self.version = update.version;
    }

    /// Whether the item may be in the set.
    pub(crate) fn may_contain(&self, item: &T) -> bool {
        self.items.as_ref().is_none_or(|items| items.contains(item))
    }

    /// The version of the last update.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own(changes: usize, items: usize) -> OwnSet<&'static str> {
        OwnSet::new(SetLimits { changes, items })
    }

    fn snapshot(version: u64, added: Vec<u64>) -> SetUpdate<u64> {
        SetUpdate { version, snapshot: true, everything: false, added, removed: Vec::new() }
    }

    #[test]
    fn every_item_may_be_in_a_set_without_a_snapshot() {
        let mut set = FollowedSet::unknown();
        assert!(set.may_contain(&1));
        set.apply(SetUpdate { snapshot: false, ..snapshot(3, vec![2]) });
        assert!(set.may_contain(&1), "changes without their snapshot narrow nothing");
        set.apply(snapshot(4, vec![2]));
        assert!(set.may_contain(&2) && !set.may_contain(&1));
        assert_eq!(set.version(), 4);
    }

    #[test]
    fn an_item_is_in_the_set_until_it_was_removed_as_often_as_added() {
        let mut set = own(9, 9);
        set.add("a");
        set.add("a");
        assert_eq!(set.version(), 1, "the second time changes nothing");
        set.remove("a");
        assert_eq!(set.since(Some(1)), None);
        set.remove("a");
        assert_eq!(set.since(Some(1)).unwrap().removed, ["a"]);
        set.remove("a");
        assert_eq!(set.version(), 2, "an item that is not in the set cannot go");
    }

    #[test]
    fn changes_are_told_batched_and_as_they_are_now() {
        let mut set = own(9, 9);
        for item in ["a", "b"] {
            set.add(item);
        }
        set.remove("a");
        let update = set.since(Some(1)).unwrap();
        assert_eq!((update.version, update.snapshot), (3, false));
        assert_eq!((update.added, update.removed), (vec!["b"], vec!["a"]));
        assert_eq!(set.since(Some(3)), None);
    }

    #[test]
    fn a_peer_too_far_behind_gets_a_snapshot() {
        let mut set = own(2, 9);
        ["a", "b", "c"].into_iter().for_each(|item| set.add(item));
        assert!(!set.since(Some(1)).unwrap().snapshot);
        let update = set.since(Some(0)).unwrap();
        assert!(update.snapshot && update.added.len() == 3);
        assert!(set.since(Some(99)).unwrap().snapshot, "a version of another life");
    }

    #[test]
    fn a_snapshot_of_too_many_items_lists_none_and_may_contain_all() {
        let mut set = own(9, 1);
        set.add("a");
        assert!(!set.since(None).unwrap().everything);
        set.add("b");
        let update = set.since(None).unwrap();
        assert!(update.everything && update.added.is_empty());
        let mut followed = FollowedSet::unknown();
        followed.apply(update);
        assert!(followed.may_contain(&"z"));
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
                if add && present.insert(item) {
                    own.add(item);
                } else if !add && present.remove(&item) {
                    own.remove(item);
                }
                if let Some(update) = own.since(known).filter(|_| talk) {
                    known = Some(update.version);
                    followed.apply(update);
                }
                if known == Some(own.version()) {
                    prop_assert!((0..12).all(|item| followed.may_contain(&item) == present.contains(&item)));
                    prop_assert_eq!(own.since(known), None);
                }
            }
        }
    }
}
