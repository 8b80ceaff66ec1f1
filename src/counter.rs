//! The counter type of all layers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts something that happened, for [`Node::counters`](crate::Node::counters). It only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The count so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The same, with what a metric needs.
    pub(crate) fn as_count(&self, name: &'static str, help: &'static str) -> Count {
        Count { name, help, value: self.get() }
    }
}

/// A count, with the name of its metric and what it means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: u64,
}
