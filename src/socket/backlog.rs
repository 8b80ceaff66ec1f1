//! What waits for the handlers of one client, in all of its namespaces together: a client is not read from while that is
//! too much. Sockets that have left count until their last handler has ended, so coming back is no way around it.

use parking_lot::Mutex;

/// What waits for the handlers of one client.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: usize,
    bytes: usize,
    /// It was too much, and half of that still waits.
    full: bool,
}

impl Backlog {
    /// One more handler is to be called, with an event of this size.
    pub(crate) fn add(&self, bytes: usize) {
        let mut waiting = self.0.lock();
        waiting.calls += 1;
        waiting.bytes += bytes;
        waiting.full |= waiting.is_beyond(1);
    }

    /// These wait no longer. Returns whether there is room again, which there was not.
    pub(crate) fn remove(&self, calls: usize, bytes: usize) -> bool {
        let mut waiting = self.0.lock();
        waiting.calls = waiting.calls.saturating_sub(calls);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        let has_room = waiting.calls < MAX_CALLS / 2 && waiting.bytes < MAX_BYTES / 2;
        has_room && std::mem::take(&mut waiting.full)
    }

    /// Whether so much waits that the client should not be read from, unless an ack of it is awaited.
    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().full
    }

    /// Whether far more waits than that: the client is not read from at all.
    pub(crate) fn is_brimming(&self) -> bool {
        self.0.lock().is_beyond(BRIM)
    }
}

impl Waiting {
    const fn is_beyond(&self, times: usize) -> bool {
        self.calls >= times * MAX_CALLS || self.bytes >= times * MAX_BYTES
    }
}

/// Calls of handlers that may wait for one client before it is no longer read from,
const MAX_CALLS: usize = 256;
/// and the bytes of their events.
const MAX_BYTES: usize = 1 << 20;
/// So many times more may wait while an ack is awaited.
const BRIM: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_at_the_limit_and_until_half_of_it_is_handled() {
        for (calls, each) in [(MAX_CALLS, 0), (8, MAX_BYTES / 8)] {
            let backlog = Backlog::default();
            for _ in 1..calls {
                backlog.add(each);
                assert!(!backlog.is_full(), "{backlog:?}");
            }
            backlog.add(each);
            assert!(backlog.is_full() && !backlog.is_brimming());
            for _ in 0..calls / 2 {
                assert!(!backlog.remove(1, each), "not before half is handled: {backlog:?}");
            }
            assert!(backlog.remove(1, each) && !backlog.is_full());
            assert!(!backlog.remove(1, each), "it is said once");
        }
    }

    #[test]
    fn far_more_than_the_limit_is_brimming() {
        let backlog = Backlog::default();
        (0..BRIM * MAX_CALLS - 1).for_each(|_| backlog.add(0));
        assert!(backlog.is_full() && !backlog.is_brimming());
        backlog.add(0);
        assert!(backlog.is_brimming());
        assert!(backlog.remove(BRIM * MAX_CALLS, 0) && !backlog.is_brimming());
    }
}
