//! The acks that a client has not sent yet (Socket.IO v5, §Acknowledgement). Their ids come from the namespace, and each
//! is answered at most once.

use std::collections::BTreeMap;

use super::error::AckError;

/// The pending acks of one socket, each with its waiter.
///
/// It knows no time: the waiter owns the timeout and calls [`cancel`](Self::cancel).
#[derive(Debug)]
pub(crate) struct PendingAcks<W> {
    // Ordered, so that draining wakes the waiters in the order they emitted; ids only grow.
    pending: BTreeMap<u64, W>,
    limit: usize,
}

impl<W> PendingAcks<W> {
    /// Starts with nothing pending and at most `limit` acks at a time.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { pending: BTreeMap::new(), limit }
    }

    /// Waits for the ack `id`. Ids come from the namespace's counter and are never reused while pending.
    pub(crate) fn insert(&mut self, id: u64, waiter: W) -> Result<(), AckError> {
        if self.pending.len() >= self.limit {
            return Err(AckError::TooMany);
        }
        let previous = self.pending.insert(id, waiter);
        debug_assert!(previous.is_none(), "ack id {id} is pending twice");
        Ok(())
    }

    /// Takes the waiter of an ack that has come. Unknown, late and repeated ids have none.
    pub(crate) fn take(&mut self, id: u64) -> Option<W> {
        self.pending.remove(&id)
    }

    /// Stops waiting. Returns whether the ack was still pending.
    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        self.pending.remove(&id).is_some()
    }

    /// Takes every waiter, oldest first, because the socket has left: none of them gets an ack.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = W> + use<W> {
        std::mem::take(&mut self.pending).into_values()
    }

    /// Whether no ack is pending.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl<W> Default for PendingAcks<W> {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

/// More than any client answers in a sensible time, and about a megabyte of waiters. Node has no limit.
pub(crate) const DEFAULT_LIMIT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn an_ack_is_answered_once_and_id_0_is_valid() {
        let mut acks = PendingAcks::default();
        acks.insert(0, "waiter").unwrap();
        assert_eq!(acks.take(0), Some("waiter"));
        assert_eq!(acks.take(0), None);
    }

    #[test]
    fn an_ack_that_timed_out_is_ignored() {
        let mut acks = PendingAcks::default();
        acks.insert(1, ()).unwrap();
        assert!(acks.cancel(1));
        assert!(!acks.cancel(1));
        assert_eq!(acks.take(1), None);
    }

    #[test]
    fn pending_acks_are_bounded() {
        let mut acks = PendingAcks::new(1);
        acks.insert(1, ()).unwrap();
        assert!(matches!(acks.insert(2, ()), Err(AckError::TooMany)));
        acks.take(1);
        acks.insert(3, ()).unwrap();
    }

    #[test]
    fn draining_returns_the_waiters_in_the_order_they_emitted() {
        let mut acks = PendingAcks::default();
        for id in [3, 7, 12] {
            acks.insert(id, id).unwrap();
        }
        assert_eq!(acks.drain().collect::<Vec<_>>(), [3, 7, 12]);
        assert_eq!(acks.pending.len(), 0);
    }

    proptest! {
        #[test]
        fn acks_behave_like_a_map(steps in proptest::collection::vec((0u8..3, 0u64..20), 0..200)) {
            let mut acks = PendingAcks::default();
            let mut model = HashMap::new();
            for (at, (kind, id)) in steps.into_iter().enumerate() {
                match kind {
                    0 if !model.contains_key(&id) => {
                        acks.insert(id, at).unwrap();
                        model.insert(id, at);
                    }
                    1 => prop_assert_eq!(acks.take(id), model.remove(&id)),
                    2 => prop_assert_eq!(acks.cancel(id), model.remove(&id).is_some()),
                    _ => {}
                }
                prop_assert_eq!(acks.pending.len(), model.len());
            }
        }
    }
}
