//! How much waits for the handlers of one client, in all of its namespaces together. A client is not read from while
//! that is too much. Sockets that have left count until their last handler has ended, so a client cannot get around the
//! limit by coming back.

use parking_lot::Mutex;

/// What waits for the handlers of one client.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: usize,
    bytes: usize,
    /// Set at the limit, and until less than half of it waits.
    full: bool,
}

impl Backlog {
    /// One more handler is to be called, for an event of this size.
    pub(crate) fn add(&self, bytes: usize) {
        let mut waiting = self.0.lock();
        waiting.calls += 1;
        waiting.bytes += bytes;
        waiting.full |= waiting.is_beyond(MAX_CALLS, MAX_BYTES);
    }

    /// These calls do not wait any more. Returns whether the client is to be read from again.
    pub(crate) fn remove(&self, calls: usize, bytes: usize) -> bool {
        let mut waiting = self.0.lock();
        waiting.calls = waiting.calls.saturating_sub(calls);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        let has_room = waiting.calls < MAX_CALLS / 2 && waiting.bytes < MAX_BYTES / 2;
        has_room && std::mem::take(&mut waiting.full)
    }

    /// Whether the client is not to be read from, unless one of its acks or pongs is awaited.
    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().full
    }

    /// Whether the client is not to be read from at all.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.0.lock().is_beyond(MAX_CALLS_AWAITED, MAX_BYTES_AWAITED)
    }
}

impl Waiting {
    const fn is_beyond(&self, calls: usize, bytes: usize) -> bool {
        self.calls >= calls || self.bytes >= bytes
    }
}

/// Calls of handlers that may wait for one client before it is not read from any more.
const MAX_CALLS: usize = 256;
/// Bytes of events that may wait for one client before it is not read from any more.
const MAX_BYTES: usize = 1 << 20;
/// How many, and how much, may wait while an ack or a pong of the client is awaited, which may come behind them.
const MAX_CALLS_AWAITED: usize = 16 * MAX_CALLS;
const MAX_BYTES_AWAITED: usize = 4 * MAX_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_full_at_the_limit_and_until_half_of_it_is_handled() {
        for (calls, each) in [(MAX_CALLS, 0), (8, MAX_BYTES / 8)] {
            let backlog = Backlog::default();
            for _ in 1..calls {
                backlog.add(each);
                assert!(!backlog.is_full(), "{backlog:?}");
            }
            backlog.add(each);
            assert!(backlog.is_full() && !backlog.is_over_limit());
            for _ in 0..calls / 2 {
                assert!(!backlog.remove(1, each), "not before half is handled: {backlog:?}");
            }
            assert!(backlog.remove(1, each) && !backlog.is_full());
            assert!(!backlog.remove(1, each), "it is said once");
        }
    }

    #[test]
    fn a_multiple_of_the_limit_is_over_the_second_limit() {
        let backlog = Backlog::default();
        (0..MAX_CALLS_AWAITED - 1).for_each(|_| backlog.add(0));
        assert!(backlog.is_full() && !backlog.is_over_limit());
        backlog.add(0);
        assert!(backlog.is_over_limit());
        assert!(backlog.remove(MAX_CALLS_AWAITED, 0) && !backlog.is_over_limit());
    }
}
