//! The memory of a node for what its clients make it hold: what waits for them, what they sent deflated and did not finish, and what
//! is kept for those that may come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all clients together, and how many there may be.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    most: usize,
}

/// Bytes that count, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    /// How many bytes are held.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether more bytes are held than may be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.used() > self.most
    }

    /// Whether an eighth of the room is free, so that the next bytes do not exceed it at once.
    pub(crate) fn has_slack(&self) -> bool {
        self.has_room(self.most / 8)
    }

    /// Whether so many more may be held. Two that ask at the same time may both get the last room.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.used().saturating_add(more) <= self.most
    }

    /// Nothing yet.
    pub(crate) const fn charge(self: Arc<Self>) -> Charge {
        Charge { budget: self, bytes: 0 }
    }
}

impl Charge {
    /// How many bytes count.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all together hold more than they may.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.budget.is_exceeded()
    }

    /// Changes how many bytes count.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.budget.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Changes how many bytes count, if half of the room stays free: clients that make the node hold what they sent must not take
    /// the room of those that are sent something.
    pub(crate) fn try_set(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let has_room = self.budget.has_room(more.saturating_add(self.budget.most / 2));
        if has_room {
            self.set(bytes);
        }
        has_room
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// So much may be held for a client, or of its message, without anybody looking.
pub(crate) const LITTLE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_comes_back() {
        let budget = Budget::new(10);
        let (mut a, mut b) = (Arc::clone(&budget).charge(), Arc::clone(&budget).charge());
        a.set(3);
        assert!(!b.try_set(3) && b.try_set(2), "half of it is for others");
        a.set(9);
        assert!(budget.is_exceeded() && !budget.has_room(0) && !budget.has_slack());
        a.set(8);
        assert!(!budget.is_exceeded() && !budget.has_slack());
        a.set(7);
        assert!(budget.has_slack());
        drop((a, b));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
