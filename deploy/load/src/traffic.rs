//! What is under way and what has arrived. Shared by all threads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::packet::Stamp;
use crate::plan::Plan;

/// The state of a run.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// By number of the source.
    pub(crate) flows: Vec<Flow>,
    /// How many members each room has that read.
    pub(crate) members: Vec<AtomicU32>,
    /// What each thread has counted.
    pub(crate) counts: Vec<Arc<Counts>>,
    /// From when on stamps are of the measurement, and until when.
    pub(crate) from: AtomicU64,
    pub(crate) until: AtomicU64,
    /// The first problem, in words.
    problem: Mutex<Option<String>>,
}

/// The messages of a source.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// The number of the address of the source.
    home: usize,
    /// The id of whom it sends to, once that is known.
    pub(crate) receiver: OnceLock<String>,
    pub(crate) sent: AtomicU64,
    /// How many deliveries there should be of them.
    pub(crate) expected: AtomicU64,
    /// How many messages have arrived everywhere, or were given up.
    pub(crate) finished: AtomicU64,
    pub(crate) progress: Notify,
    /// For every message under way its number and how many deliveries are missing.
    missing: Box<[AtomicU64]>,
}

/// What a thread has counted: written by it alone, and not in one cache line with that of another.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counts {
    pub(crate) connected: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) disconnected: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) out_of_order: AtomicU64,
}

impl Traffic {
    pub(crate) fn new(plan: &Plan, threads: usize) -> Self {
        Self {
            flows: plan.sources.iter().map(|source| Flow::new(source.home)).collect(),
            members: (0..plan.rooms).map(|_| AtomicU32::new(0)).collect(),
            counts: (0..threads).map(|_| Arc::default()).collect(),
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            problem: Mutex::new(None),
        }
    }

    /// The sum over all threads.
    pub(crate) fn total(&self, of: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        self.counts.iter().map(|counts| of(counts).load(Relaxed)).sum()
    }

    /// The sum over all sources.
    pub(crate) fn sum(&self, of: impl Fn(&Flow) -> &AtomicU64) -> u64 {
        self.flows.iter().map(|flow| of(flow).load(Relaxed)).sum()
    }

    /// Keeps the first problem.
    pub(crate) fn complain(&self, problem: impl FnOnce() -> String) {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(problem);
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a message of that time is of the measurement.
    pub(crate) fn is_measured(&self, at: u64) -> bool {
        (self.from.load(Relaxed)..self.until.load(Relaxed)).contains(&at)
    }
}

impl Flow {
    fn new(home: usize) -> Self {
        Self { home, missing: (0..UNDER_WAY).map(|_| AtomicU64::new(0)).collect(), ..Self::default() }
    }

    pub(crate) fn under_way(&self) -> u64 {
        self.sent.load(Relaxed).saturating_sub(self.finished.load(Relaxed))
    }

    /// A message is sent that so many will receive.
    pub(crate) fn begin(&self, number: u32, receivers: u32) {
        if let Some(slot) = self.slot(number) {
            slot.store(u64::from(number) << 32 | u64::from(receivers), Relaxed);
        }
        self.sent.fetch_add(1, Relaxed);
        self.expected.fetch_add(receivers.into(), Relaxed);
        if receivers == 0 {
            self.finished.fetch_add(1, Relaxed);
        }
    }

    /// A message has arrived somewhere.
    fn arrive(&self, number: u32) {
        let Some(slot) = self.slot(number) else { return };
        // Of a message that was given up the slot may have another by now.
        let arrived = slot.fetch_update(Relaxed, Relaxed, |slot| {
            (slot >> 32 == u64::from(number) && slot & MISSING > 0).then(|| slot - 1)
        });
        if arrived.is_ok_and(|slot| slot & MISSING == 1) {
            self.finished.fetch_add(1, Relaxed);
            self.progress.notify_one();
        }
    }

    /// What is under way will not arrive.
    pub(crate) fn give_up(&self) {
        self.finished.store(self.sent.load(Relaxed), Relaxed);
    }

    fn slot(&self, number: u32) -> Option<&AtomicU64> {
        self.missing.get(usize::try_from(number).ok()? % UNDER_WAY)
    }
}

/// More than the largest window. At a rate there may be more under way, and then it is not told when one has arrived everywhere.
const UNDER_WAY: usize = 4096;
const MISSING: u64 = u32::MAX as u64;

/// What one client has received.
#[derive(Debug)]
pub(crate) struct Receiver {
    home: usize,
    /// The highest number of each source.
    last: Vec<u32>,
}

/// How long things took, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Durations {
    /// Deliveries at the address of the sender.
    pub(crate) same: Histogram<u64>,
    /// Deliveries at other addresses.
    pub(crate) other: Histogram<u64>,
    /// Until a client had joined the namespace.
    pub(crate) connect: Histogram<u64>,
    /// How much later a message was sent than it was to be.
    pub(crate) late: Histogram<u64>,
}

impl Default for Durations {
    fn default() -> Self {
        // Of three digits, and growing with the longest.
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Self { same: histogram(), other: histogram(), connect: histogram(), late: histogram() }
    }
}

impl Durations {
    pub(crate) fn add(&mut self, others: &Self) {
        let both = [
            (&mut self.same, &others.same),
            (&mut self.other, &others.other),
            (&mut self.connect, &others.connect),
            (&mut self.late, &others.late),
        ];
        for (sum, other) in both {
            sum.add(other).expect("a histogram that grows takes everything");
        }
    }
}

/// Adds a duration.
pub(crate) fn record(histogram: &mut Histogram<u64>, nanoseconds: u64) {
    histogram.record(nanoseconds).expect("a histogram that grows takes everything");
}

impl Receiver {
    pub(crate) const fn new(home: usize) -> Self {
        Self { home, last: Vec::new() }
    }

    /// A message has arrived here.
    pub(crate) fn receive(
        &mut self,
        stamp: Stamp,
        now: u64,
        (traffic, counts): (&Traffic, &Counts),
        durations: &mut Durations,
    ) {
        let source = usize::from(stamp.source);
        let Some(flow) = traffic.flows.get(source) else { return };
        if self.last.len() <= source {
            self.last.resize(source + 1, 0);
        }
        if let Some(last) = self.last.get_mut(source) {
            // A number that was received before counts, too.
            if stamp.number <= *last {
                counts.out_of_order.fetch_add(1, Relaxed);
            }
            *last = stamp.number.max(*last);
        }
        counts.delivered.fetch_add(1, Relaxed);
        if traffic.is_measured(stamp.at) {
            let histogram = if flow.home == self.home { &mut durations.same } else { &mut durations.other };
            record(histogram, now.saturating_sub(stamp.at));
        }
        flow.arrive(stamp.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Source, To};

    fn traffic(sources: usize) -> Traffic {
        let source = |_| Source { home: 0, to: To::Itself };
        Traffic::new(&Plan { sources: (0..sources).map(source).collect(), ..Plan::default() }, 1)
    }

    fn receive(receiver: &mut Receiver, traffic: &Traffic, number: u32) {
        let stamp = Stamp { source: 0, number, at: 5 };
        receiver.receive(stamp, 10, (traffic, &traffic.counts[0]), &mut Durations::default());
    }

    #[test]
    fn a_message_is_under_way_until_it_has_arrived_everywhere() {
        let traffic = traffic(1);
        let flow = &traffic.flows[0];
        flow.begin(1, 2);
        flow.begin(2, 1);
        let mut receivers = [Receiver::new(0), Receiver::new(1)];
        for (receiver, number, under_way) in [(0, 1, 2), (1, 2, 1), (1, 1, 0), (1, 1, 0)] {
            receive(&mut receivers[receiver], &traffic, number);
            assert_eq!(flow.under_way(), under_way);
        }
        assert_eq!(traffic.sum(|flow| &flow.expected), 3);
    }

    #[test]
    fn a_number_that_is_not_higher_than_the_last_is_out_of_order() {
        let traffic = traffic(1);
        let mut receiver = Receiver::new(0);
        for (number, out_of_order) in [(1, 0), (3, 0), (2, 1), (3, 2), (4, 2)] {
            receive(&mut receiver, &traffic, number);
            assert_eq!(traffic.total(|counts| &counts.out_of_order), out_of_order, "{number}");
        }
        assert_eq!(traffic.total(|counts| &counts.delivered), 5);
    }

    #[test]
    fn what_arrives_after_it_was_given_up_is_no_other_message() {
        let traffic = traffic(1);
        let flow = &traffic.flows[0];
        flow.begin(1, 1);
        flow.give_up();
        flow.begin(1 + 4096, 1);
        receive(&mut Receiver::new(0), &traffic, 1);
        assert_eq!(flow.under_way(), 1);
    }
}
