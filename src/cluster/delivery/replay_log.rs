//! The numbered messages from one node to another (docs/protocol/mesh.md, "Replay log"): they outlive the links that carry them.
//!
//! The sender keeps what is not acknowledged, bounded by bytes and age, and writes it again on the next connection; the
//! receiver drops what it had. What had to be dropped is told as a gap, so nothing is lost silently.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// The messages that one node still has to send to another. Their numbers start at 1.
#[derive(Debug)]
pub(crate) struct SendLog {
    /// The numbers of the entries have no holes: entries leave at the front only, acknowledged or dropped.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the next body pushed.
    next: u64,
    /// The number of the next body to write on the current connection.
    cursor: u64,
    acked: u64,
    lost: u64,
    limits: Limits,
}

/// What to write next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    Body {
        seq: u64,
        body: Bytes,
    },
    /// Every body up to this number that the receiver has not got is lost.
    Gap {
        to: u64,
    },
}

#[derive(Debug)]
struct Entry {
    body: Bytes,
    pushed: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: usize,
    age: Duration,
}

impl SendLog {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits { bytes: MAX_BYTES, age: MAX_AGE })
    }

    fn with_limits(limits: Limits) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, next: 1, cursor: 1, acked: 0, lost: 0, limits }
    }

    /// Appends a body. The oldest bodies are dropped when the log gets too large or they are too old.
    pub(crate) fn push(&mut self, body: Bytes, now: Instant) {
        self.expire(now);
        self.bytes += cost(&body);
        self.entries.push_back(Entry { body, pushed: now });
        self.next += 1;
        while self.bytes > self.limits.bytes && self.entries.len() > 1 {
            self.pop();
        }
    }

    /// Numbers a body that is not kept. The peer is told of the gap. Only allowed while nothing is kept, see
    /// [`SendLog::clear`].
    pub(crate) fn skip(&mut self) {
        debug_assert!(self.entries.is_empty(), "numbers have no holes");
        self.next += 1;
    }

    /// The number of the body pushed last.
    pub(crate) fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Drops what is too old to be kept.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|entry| now >= entry.pushed + self.limits.age) {
            self.pop();
        }
    }

    /// What to write next on the current link. Each call moves on.
    pub(crate) fn next_write(&mut self) -> Option<Write> {
        let first = self.first();
        if self.cursor < first {
            self.lost += first - self.cursor;
            self.cursor = first;
            return Some(Write::Gap { to: first - 1 });
        }
        let at = usize::try_from(self.cursor - first).ok()?;
        let body = self.entries.get(at)?.body.clone();
        self.cursor += 1;
        Some(Write::Body { seq: self.cursor - 1, body })
    }

    /// The peer has everything up to `seq`.
    pub(crate) fn acked(&mut self, seq: u64) {
        let seq = seq.min(self.next - 1);
        while self.first() <= seq && !self.entries.is_empty() {
            self.pop();
        }
        self.acked = self.acked.max(seq);
        self.cursor = self.cursor.max(seq + 1);
    }

    /// A new link to the same peer, which has everything up to `after`.
    pub(crate) fn resume(&mut self, after: u64) {
        self.acked(after);
        self.cursor = self.acked + 1;
    }

    /// Drops all bodies, and returns how many. Should the peer come back, it is told of the gap.
    pub(crate) fn clear(&mut self) -> u64 {
        let forgotten = self.entries.len() as u64;
        self.entries.clear();
        self.bytes = 0;
        forgotten
    }

    /// The first number that the peer has not confirmed.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.acked + 1
    }

    /// Bodies up to this number are not kept any more, acknowledged or not.
    pub(crate) fn dropped(&self) -> u64 {
        self.first() - 1
    }

    /// Whether there is something to write.
    pub(crate) fn has_more(&self) -> bool {
        self.cursor < self.next
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bodies the peer was told that it will never get.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= cost(&entry.body);
        }
    }
}

/// How far one node has received the log of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiveLog {
    last: u64,
}

/// What to do with a body that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    Accept,
    /// It arrived before.
    Duplicate,
    /// Accept it. This many bodies before it are lost.
    Gap(u64),
}

impl ReceiveLog {
    /// Nothing was received yet. `first` is the first number that will come.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { last: first.saturating_sub(1) }
    }

    pub(crate) fn arrived(&mut self, seq: u64) -> Arrival {
        let missing = match seq.checked_sub(self.last) {
            None | Some(0) => return Arrival::Duplicate,
            Some(step) => step - 1,
        };
        self.last = seq;
        if missing == 0 { Arrival::Accept } else { Arrival::Gap(missing) }
    }

    /// The sender gave up everything up to `to`. Returns how many bodies are lost by that.
    pub(crate) fn gave_up(&mut self, to: u64) -> u64 {
        let lost = to.saturating_sub(self.last);
        self.last = self.last.max(to);
        lost
    }

    /// Everything up to here has arrived or is known to be lost.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }
}

/// The memory that a body takes in a log: its own, and 48 bytes for the entry.
fn cost(body: &Bytes) -> usize {
    body.len() + 48
}

/// A partition of 10 s at 1.6 MB/s to one peer; with ten peers cut off that is 160 MiB at most.
const MAX_BYTES: usize = 16 << 20;
/// Later than this a chat message is of no use: clients have reconnected elsewhere.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(size: usize) -> Bytes {
        Bytes::from(vec![0; size])
    }

    fn drain(log: &mut SendLog) -> Vec<Write> {
        std::iter::from_fn(|| log.next_write()).collect()
    }

    fn small() -> SendLog {
        SendLog::with_limits(Limits { bytes: 3 * 50, age: MAX_AGE })
    }

    #[test]
    fn what_is_not_acknowledged_is_written_again() {
        let mut log = SendLog::new();
        let now = Instant::now();
        (0..4).for_each(|_| log.push(body(1), now));
        assert_eq!(drain(&mut log).len(), 4);
        log.acked(1);
        log.resume(2);
        let again = drain(&mut log);
        assert!(matches!(again[..], [Write::Body { seq: 3, .. }, Write::Body { seq: 4, .. }]), "{again:?}");
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn overflow_drops_the_oldest_and_tells_once() {
        let mut log = small();
        let now = Instant::now();
        (0..5).for_each(|_| log.push(body(2), now));
        assert_eq!(log.bytes(), 150);
        let written = drain(&mut log);
        assert_eq!(written[0], Write::Gap { to: 2 });
        assert_eq!((written.len(), log.lost()), (4, 2));
    }

    #[test]
    fn what_was_written_and_dropped_is_a_gap_only_after_a_reconnect() {
        let mut log = small();
        let now = Instant::now();
        for _ in 0..5 {
            log.push(body(2), now);
            assert!(matches!(drain(&mut log)[..], [Write::Body { .. }]));
        }
        log.resume(1);
        assert_eq!(log.next_write(), Some(Write::Gap { to: 2 }));
    }

    #[test]
    fn one_body_larger_than_the_log_is_still_carried() {
        let mut log = small();
        log.push(body(2), Instant::now());
        log.push(body(1000), Instant::now());
        assert!(matches!(drain(&mut log)[..], [Write::Gap { to: 1 }, Write::Body { seq: 2, .. }]));
    }

    #[test]
    fn what_is_too_old_is_dropped() {
        let mut log = SendLog::new();
        let now = Instant::now();
        log.push(body(2), now);
        log.expire(now + MAX_AGE - Duration::from_millis(1));
        assert_ne!(log.bytes(), 0);
        log.expire(now + MAX_AGE);
        assert_eq!(log.bytes(), 0);
        assert_eq!(drain(&mut log), [Write::Gap { to: 1 }]);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_harmless() {
        let mut log = SendLog::new();
        log.acked(u64::MAX);
        log.resume(u64::MAX);
        log.push(body(1), Instant::now());
        assert!(matches!(log.next_write(), Some(Write::Body { seq: 1, .. })));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Write,
        Deliver,
        Ack,
        DeliverAck,
        Cut,
        Wait(u64),
        Clear,
        Skip,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..60_usize).prop_map(Step::Push),
            4 => Just(Step::Write),
            4 => Just(Step::Deliver),
            1 => Just(Step::Ack),
            1 => Just(Step::DeliverAck),
            1 => Just(Step::Cut),
            1 => (0..6000_u64).prop_map(Step::Wait),
            1 => Just(Step::Clear),
            1 => Just(Step::Skip),
        ]
    }

    /// Two ends and the pipe between them.
    struct Pair {
        log: SendLog,
        received: ReceiveLog,
        pipe: VecDeque<Write>,
        acks: VecDeque<u64>,
        got: Vec<u64>,
        lost: u64,
    }

    impl Pair {
        fn deliver(&mut self) {
            match self.pipe.pop_front() {
                Some(Write::Body { seq, .. }) => match self.received.arrived(seq) {
                    Arrival::Accept => self.got.push(seq),
                    Arrival::Duplicate => {}
                    Arrival::Gap(_) => unreachable!("the sender tells every gap itself"),
                },
                Some(Write::Gap { to }) => self.lost += self.received.gave_up(to),
                None => {}
            }
        }

        fn cut(&mut self) {
            self.pipe.clear();
            self.acks.clear();
            self.log.resume(self.received.last());
        }
    }

    proptest! {
        #[test]
        fn bodies_arrive_in_order_at_most_once_and_what_is_missing_was_told(
            steps in proptest::collection::vec(step(), 1..300),
        ) {
            let mut now = Instant::now();
            let mut pair = Pair {
                log: SendLog::with_limits(Limits { bytes: 600, age: MAX_AGE }), received: ReceiveLog::starting_at(1),
                pipe: VecDeque::new(), acks: VecDeque::new(), got: Vec::new(), lost: 0,
            };
            let mut pushed = 0;
            for step in steps {
                match step {
                    Step::Push(size) => { pair.log.push(body(size), now); pushed += 1; }
                    Step::Write => pair.pipe.extend(pair.log.next_write()),
                    Step::Deliver => pair.deliver(),
                    Step::Ack => pair.acks.push_back(pair.received.last()),
                    Step::DeliverAck => if let Some(seq) = pair.acks.pop_front() { pair.log.acked(seq) },
                    Step::Cut => pair.cut(),
                    Step::Wait(ms) => { now += Duration::from_millis(ms); pair.log.expire(now); }
                    Step::Clear => { pair.log.clear(); }
                    Step::Skip => { pair.log.clear(); pair.log.skip(); pushed += 1; }
                }
                prop_assert!(pair.log.bytes() <= 600 + 60 + 48);
            }
            pair.cut();
            pair.pipe.extend(drain(&mut pair.log));
            while !pair.pipe.is_empty() { pair.deliver(); }
            prop_assert!(pair.got.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(pair.got.len() as u64 + pair.lost, pushed);
        }
    }
}
