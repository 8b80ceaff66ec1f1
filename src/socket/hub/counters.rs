//! What happened in the namespaces of one description on this node.

use std::time::Duration;

use crate::counter::{Counter, PerThread};
use crate::socket::recovery::Unrecovered;

/// Counted where it happens, read when metrics are asked for.
#[derive(Debug, Default)]
pub(crate) struct NamespaceCounters(PerThread<Counters>);

#[derive(Debug, Default)]
struct Counters {
    events_received: Counter,
    events_limited: Counter,
    events_sent: Counter,
    events_unknown: Counter,
    acks_awaited: Counter,
    /// Acks that nobody awaits any more.
    acks_ended: Counter,
    acks_timed_out: Counter,
    acks_too_late: Counter,
    handlers_failed: Counter,
    handlers_panicked: Counter,
    sessions_recovered: Counter,
    packets_replayed: Counter,
    /// By the reason.
    sessions_refused: [Counter; Unrecovered::ALL.len()],
    sessions_lost: Counter,
    gaps_met: Counter,
    /// How many calls took no longer than each of [`BOUNDS`], and longer than the one before it; then all others.
    calls: [Counter; BOUNDS.len() + 1],
    nanoseconds: Counter,
}

/// The counts so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NamespaceCounts {
    /// Events of clients that wait for their handlers or were handled.
    pub(crate) events_received: u64,
    /// Events of clients that were beyond a limit.
    pub(crate) events_limited: u64,
    /// Events that are on their way to clients, counted for each of them.
    pub(crate) events_sent: u64,
    /// Events of clients that no handler was found for.
    pub(crate) events_unknown: u64,
    /// Acks of clients that are awaited now.
    pub(crate) acks_pending: u64,
    /// Acks that had not come when their time was over or their caller stopped to wait.
    pub(crate) acks_timed_out: u64,
    /// Acks for clients that had left before.
    pub(crate) acks_too_late: u64,
    /// Handlers that returned an error.
    pub(crate) handlers_failed: u64,
    /// Handlers and observers that panicked.
    pub(crate) handlers_panicked: u64,
    /// Clients that came back to their sockets.
    pub(crate) sessions_recovered: u64,
    /// What they had missed.
    pub(crate) packets_replayed: u64,
    /// Clients that asked for their sockets and got others, in the order of the reasons.
    pub(crate) sessions_refused: [u64; Unrecovered::ALL.len()],
    /// Sessions whose clients did not come back in time.
    pub(crate) sessions_lost: u64,
    /// How often all clients had to come again, because something of another node was lost.
    pub(crate) gaps_met: u64,
    /// How long handlers of events took.
    pub(crate) calls: Durations,
}

/// How long something took that happened often.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Durations {
    /// How many took no longer than this many seconds, and longer than the bound before it.
    pub(crate) buckets: [(f64, u64); BOUNDS.len() + 1],
    pub(crate) count: u64,
    /// In seconds.
    pub(crate) sum: f64,
}

impl NamespaceCounters {
    /// A client sent an event.
    pub(crate) fn event_received(&self) {
        self.0.here().events_received.increment();
    }

    /// A client sent an event beyond a limit.
    pub(crate) fn event_limited(&self) {
        self.0.here().events_limited.increment();
    }

    /// An event is on its way to that many clients.
    pub(crate) fn events_sent(&self, count: u64) {
        self.0.here().events_sent.add(count);
    }

    /// A client sent an event that no handler was found for.
    pub(crate) fn event_unknown(&self) {
        self.0.here().events_unknown.increment();
    }

    /// A client is to answer.
    pub(crate) fn ack_awaited(&self) {
        self.0.here().acks_awaited.increment();
    }

    /// Clients have answered, or are gone.
    pub(crate) fn acks_ended(&self, count: u64) {
        self.0.here().acks_ended.add(count);
    }

    /// The time of an answer is over.
    pub(crate) fn ack_timed_out(&self) {
        let counters = self.0.here();
        counters.acks_ended.increment();
        counters.acks_timed_out.increment();
    }

    /// The client that was to get an ack has left.
    pub(crate) fn ack_too_late(&self) {
        self.0.here().acks_too_late.increment();
    }

    /// A handler returned an error.
    pub(crate) fn handler_failed(&self) {
        self.0.here().handlers_failed.increment();
    }

    /// A handler or an observer panicked.
    pub(crate) fn handler_panicked(&self) {
        self.0.here().handlers_panicked.increment();
    }

    /// A client came back, and had missed that many packets.
    pub(crate) fn session_recovered(&self, missed: u64) {
        let counters = self.0.here();
        counters.sessions_recovered.increment();
        counters.packets_replayed.add(missed);
    }

    /// A client asked for its socket and gets another.
    pub(crate) fn session_refused(&self, why: Unrecovered) {
        self.0.here().sessions_refused.get(why as usize).into_iter().for_each(Counter::increment);
    }

    /// A client did not come back in time.
    pub(crate) fn session_lost(&self) {
        self.0.here().sessions_lost.increment();
    }

    /// Something of another node was lost, so clients have to come again.
    pub(crate) fn gap_met(&self) {
        self.0.here().gaps_met.increment();
    }

    /// The handler of an event has ended.
    pub(crate) fn event_handled(&self, took: Duration) {
        let counters = self.0.here();
        let bucket = BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS.len());
        counters.calls.iter().skip(bucket).take(1).for_each(Counter::increment);
        counters.nanoseconds.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> NamespaceCounts {
        // In this order, so that no ack has ended that was not awaited.
        let acks_ended = self.0.sum(|counters| counters.acks_ended.get());
        let acks_awaited = self.0.sum(|counters| counters.acks_awaited.get());
        NamespaceCounts {
            events_received: self.0.sum(|counters| counters.events_received.get()),
            events_limited: self.0.sum(|counters| counters.events_limited.get()),
            events_sent: self.0.sum(|counters| counters.events_sent.get()),
            events_unknown: self.0.sum(|counters| counters.events_unknown.get()),
            acks_pending: acks_awaited.saturating_sub(acks_ended),
            acks_timed_out: self.0.sum(|counters| counters.acks_timed_out.get()),
            acks_too_late: self.0.sum(|counters| counters.acks_too_late.get()),
            handlers_failed: self.0.sum(|counters| counters.handlers_failed.get()),
            handlers_panicked: self.0.sum(|counters| counters.handlers_panicked.get()),
            sessions_recovered: self.0.sum(|counters| counters.sessions_recovered.get()),
            packets_replayed: self.0.sum(|counters| counters.packets_replayed.get()),
            sessions_refused: Unrecovered::ALL.map(|why| {
                self.0.sum(|counters| counters.sessions_refused.get(why as usize).map_or(0, Counter::get))
            }),
            sessions_lost: self.0.sum(|counters| counters.sessions_lost.get()),
            gaps_met: self.0.sum(|counters| counters.gaps_met.get()),
            calls: self.durations(),
        }
    }

    fn durations(&self) -> Durations {
        let mut durations = Durations::default();
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::MAX]);
        for (index, (bucket, bound)) in durations.buckets.iter_mut().zip(bounds).enumerate() {
            let count = self.0.sum(|counters| counters.calls.get(index).map_or(0, Counter::get));
            *bucket = (bound, count);
            durations.count += count;
        }
        let nanoseconds = self.0.sum(|counters| counters.nanoseconds.get());
        durations.sum = Duration::from_nanos(nanoseconds).as_secs_f64();
        durations
    }
}

impl NamespaceCounts {
    /// Adds those of another description.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { events_received, events_sent, acks_pending, acks_timed_out, .. } = other;
        self.events_received += events_received;
        self.events_limited += other.events_limited;
        self.events_sent += events_sent;
        self.events_unknown += other.events_unknown;
        self.acks_pending += acks_pending;
        self.acks_timed_out += acks_timed_out;
        self.acks_too_late += other.acks_too_late;
        self.handlers_failed += other.handlers_failed;
        self.handlers_panicked += other.handlers_panicked;
        self.sessions_recovered += other.sessions_recovered;
        self.packets_replayed += other.packets_replayed;
        self.sessions_refused.iter_mut().zip(other.sessions_refused).for_each(|(count, more)| *count += more);
        self.sessions_lost += other.sessions_lost;
        self.gaps_met += other.gaps_met;
        self.calls.add(other.calls);
    }
}

impl Durations {
    fn add(&mut self, other: Self) {
        for ((bound, count), (same, more)) in self.buckets.iter_mut().zip(other.buckets) {
            (*bound, *count) = (same, *count + more);
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

/// What the durations of handlers are told apart by.
const BOUNDS: [Duration; 5] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let counters = NamespaceCounters::default();
        for micros in [0, 100, 101, 999_999, 1_000_000, 1_000_001, 60_000_000] {
            counters.event_handled(Duration::from_micros(micros));
        }
        let Durations { buckets, count, sum } = counters.counts().calls;
        assert_eq!(buckets.map(|(_, count)| count), [2, 1, 0, 0, 2, 2]);
        assert_eq!((count, buckets[0].0, buckets[5].0), (7, 0.0001, f64::MAX));
        assert!((sum - 63.000_201).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn an_ack_is_pending_until_it_has_come_or_its_time_is_over() {
        let counters = NamespaceCounters::default();
        (0..5).for_each(|_| counters.ack_awaited());
        counters.acks_ended(2);
        counters.ack_timed_out();
        let NamespaceCounts { acks_pending, acks_timed_out, .. } = counters.counts();
        assert_eq!((acks_pending, acks_timed_out), (2, 1));
    }
}
