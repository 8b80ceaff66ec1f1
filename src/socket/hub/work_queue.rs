//! A queue whose items one task handles, one after another. The task exists only while there is something to handle.
//!
//! The owner keeps the queue in a lock. After a push it asks [`WorkQueue::start`] whether to spawn the task, which takes
//! items with [`WorkQueue::next`] and ends when there is none.

use std::collections::VecDeque;

/// Items that wait for the task that handles them.
#[derive(Debug)]
pub(crate) struct WorkQueue<T> {
    items: VecDeque<T>,
    bytes: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// The task exists, or is about to.
    Running,
    /// What is next has to wait. There is no task until [`WorkQueue::resume`].
    Paused,
}

/// What can wait in a [`WorkQueue`].
pub(crate) trait Work {
    /// About how much memory it holds, in bytes.
    fn bytes(&self) -> usize;
}

/// How much may wait in a [`WorkQueue`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) items: usize,
    /// One larger item is taken when nothing else waits.
    pub(crate) bytes: usize,
}

impl<T: Work> WorkQueue<T> {
    /// Appends an item; gives it back if the queue is full.
    pub(crate) fn try_push(&mut self, item: T, limits: QueueLimits) -> Result<(), T> {
        let too_large = self.bytes + item.bytes() > limits.bytes && !self.items.is_empty();
        if self.items.len() >= limits.items || too_large {
            return Err(item);
        }
        self.push(item);
        Ok(())
    }

    /// Appends an item to a queue whose limits are kept elsewhere.
    pub(crate) fn push(&mut self, item: T) {
        self.bytes += item.bytes();
        self.items.push_back(item);
    }

    /// Puts an item before all others.
    pub(crate) fn push_front(&mut self, item: T) {
        self.bytes += item.bytes();
        self.items.push_front(item);
    }

    /// Whether the owner has to spawn the task now.
    #[must_use = "nothing is handled without the task"]
    pub(crate) fn start(&mut self) -> bool {
        let starts = self.state == State::Idle && !self.items.is_empty();
        if starts {
            self.state = State::Running;
        }
        starts
    }

    /// The item that [`next`](Self::next) would return.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.items.front()
    }

    /// The next item cannot be handled yet: the task must end, and none is started until [`resume`](Self::resume).
    pub(crate) fn pause(&mut self) {
        self.state = State::Paused;
    }

    /// The next item may have become possible to handle.
    pub(crate) fn resume(&mut self) {
        if self.state == State::Paused {
            self.state = State::Idle;
        }
    }

    /// The next item for the task; after `None` the task must end.
    pub(crate) fn next(&mut self) -> Option<T> {
        let Some(item) = self.items.pop_front() else {
            *self = Self::default();
            return None;
        };
        self.bytes = self.bytes.saturating_sub(item.bytes());
        Some(item)
    }

    /// Removes the items that `is_unwanted` says yes to; returns how many they were, and their bytes.
    pub(crate) fn remove(&mut self, is_unwanted: impl Fn(&T) -> bool) -> (usize, usize) {
        let before = (self.items.len(), self.bytes);
        self.items.retain(|item| !is_unwanted(item));
        self.bytes = self.items.iter().map(T::bytes).sum();
        (before.0 - self.items.len(), before.1 - self.bytes)
    }
}

impl<T> Default for WorkQueue<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0, state: State::Idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Work for &'static str {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    const LIMITS: QueueLimits = QueueLimits { items: 3, bytes: 10 };

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes() {
        let mut queue = WorkQueue::default();
        for item in ["a", "b", "c"] {
            assert_eq!(queue.try_push(item, LIMITS), Ok(()));
        }
        assert_eq!(queue.try_push("d", LIMITS), Err("d"));
        while queue.next().is_some() {}
        assert_eq!(queue.try_push("larger than the limit", LIMITS), Ok(()), "when nothing else waits");
        assert_eq!(queue.try_push("a", LIMITS), Err("a"));
        queue.next();
        assert_eq!(queue.try_push("a", LIMITS), Ok(()));
    }

    #[test]
    fn the_task_is_started_once_and_ends_when_nothing_waits() {
        let mut queue = WorkQueue::default();
        assert!(!queue.start(), "without an item there is no task");
        queue.push("second");
        queue.push_front("first");
        assert!(queue.start());
        assert!(!queue.start(), "it runs");
        assert_eq!([queue.next(), queue.next()], [Some("first"), Some("second")]);
        queue.push("third");
        assert!(!queue.start(), "it still runs");
        assert_eq!([queue.next(), queue.next()], [Some("third"), None]);
        queue.push("fourth");
        assert!(queue.start(), "it had ended");
    }

    #[test]
    fn a_paused_queue_starts_no_task_until_it_is_resumed() {
        let mut queue = WorkQueue::default();
        queue.push("first");
        queue.resume();
        assert!(queue.start());
        queue.resume();
        assert!(!queue.start(), "it runs");
        assert_eq!(queue.peek(), Some(&"first"));
        queue.pause();
        queue.push("second");
        assert!(!queue.start());
        queue.resume();
        assert!(queue.start());
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some("first"), Some("second"), None]);
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_the_items(steps in proptest::collection::vec(0..5_u8, 0..40)) {
            let mut queue = WorkQueue::default();
            for step in steps {
                match step {
                    0 => queue.push("ab"),
                    1 => queue.push_front("c"),
                    2 => drop(queue.try_push("def", LIMITS)),
                    3 => drop(queue.next()),
                    _ => {
                        let removed = queue.remove(|item| item.len() == 2);
                        prop_assert_eq!(removed.1, 2 * removed.0);
                    }
                }
                prop_assert_eq!(queue.bytes, queue.items.iter().map(|item| item.len()).sum::<usize>());
            }
        }
    }
}
