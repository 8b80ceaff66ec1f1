//! A queue for what mostly comes alone: the first item is in the queue itself, so that it takes no allocation.

use std::collections::VecDeque;

/// Items in the order in which they came.
#[derive(Debug)]
pub(crate) struct Fifo<T> {
    /// `None` only if there is nothing behind it.
    first: Option<T>,
    others: VecDeque<T>,
}

impl<T> Fifo<T> {
    pub(crate) const fn new() -> Self {
        Self { first: None, others: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) const fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(crate) const fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    pub(crate) fn push_back(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.others.push_back(item);
        }
    }

    pub(crate) fn push_front(&mut self, item: T) {
        if let Some(second) = self.first.replace(item) {
            self.others.push_front(second);
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        std::mem::replace(&mut self.first, self.others.pop_front())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.others)
    }

    /// Makes room for that many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.others.reserve(more.saturating_sub(usize::from(self.is_empty())));
    }

    /// Gives the memory of many items back, once there are none.
    pub(crate) fn release(&mut self) {
        if self.is_empty() && self.others.capacity() > 0 {
            self.others = VecDeque::new();
        }
    }
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> IntoIterator for Fifo<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::collections::vec_deque::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_a_deque_would_be(steps in proptest::collection::vec((0..5_u8, any::<u8>()), 0..60)) {
            let (mut fifo, mut deque) = (Fifo::new(), VecDeque::new());
            for (step, item) in steps {
                match step {
                    0 | 1 => {
                        fifo.push_back(item);
                        deque.push_back(item);
                    }
                    2 => {
                        fifo.push_front(item);
                        deque.push_front(item);
                    }
                    3 => fifo.release(),
                    _ => prop_assert_eq!(fifo.pop_front(), deque.pop_front()),
                }
                prop_assert!(fifo.iter().eq(&deque));
                prop_assert_eq!((fifo.len(), fifo.is_empty()), (deque.len(), deque.is_empty()));
                prop_assert_eq!(fifo.front(), deque.front());
            }
            prop_assert!(fifo.into_iter().eq(deque));
        }

        #[test]
        fn one_item_at_a_time_takes_no_memory(items in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut fifo = Fifo::new();
            for item in items {
                fifo.push_back(item);
                prop_assert_eq!(fifo.pop_front(), Some(item));
            }
            prop_assert_eq!(fifo.others.capacity(), 0);
        }
    }
}
