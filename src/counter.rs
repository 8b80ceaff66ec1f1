//! The counter type of all layers.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

/// Counters that every message touches. Threads that count at the same time write to different cache lines.
#[derive(Debug, Default)]
pub(crate) struct PerThread<T>([Lines<T>; COPIES]);

/// As much as a processor fetches at once: two cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lines<T>(T);

impl<T> PerThread<T> {
    /// Those of this thread.
    pub(crate) fn here(&self) -> &T {
        let [first, others @ ..] = &self.0;
        let lines = others.get(copy_of_this_thread()).unwrap_or(first);
        &lines.0
    }

    /// What all threads have counted.
    pub(crate) fn sum(&self, count: impl Fn(&T) -> u64) -> u64 {
        self.0.iter().map(|Lines(counters)| count(counters)).sum()
    }
}

fn copy_of_this_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Made without code, so that reading it takes no check whether it is there.
        static COPY: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let known = COPY.get();
    if known < COPIES {
        return known;
    }
    let copy = THREADS.fetch_add(1, Ordering::Relaxed) % COPIES;
    COPY.set(copy);
    copy
}

/// More threads than that share.
const COPIES: usize = 16;

/// A count, with the name of its metric and what it means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_is_counted_once_and_whole() {
        let counts = PerThread::<[Counter; 2]>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * COPIES {
                scope.spawn(|| (0..1000).for_each(|_| counts.here()[1].increment()));
            }
        });
        assert_eq!([counts.sum(|[one, _]| one.get()), counts.sum(|[_, two]| two.get())], [0, 32_000]);
    }
}
