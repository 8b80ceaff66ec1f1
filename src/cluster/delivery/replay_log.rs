//! The numbered messages from one node to another (docs/protocol/mesh.md, "Replay log"): they outlive the links that carry them.
//!
//! The sender keeps what is not acknowledged, bounded by bytes and age, and writes it again on the next connection; the
//! receiver drops what it had. What had to be dropped is counted at that moment, and told as a gap when the receiver is reached,
//! so nothing is lost silently. Then the receiver tells how many it never got, and both ends agree on the number.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::peer_counters::OutgoingCounts;

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
    /// The largest number that was written on any connection.
    written: u64,
    /// The peer has confirmed every number up to here. What is not kept any more and beyond this was dropped.
    acked: u64,
    /// The first number pushed since the peer counts as dead.
    verdict: Option<u64>,
    counts: OutgoingCounts,
    settlement: Settlement,
    limits: Limits,
}

/// Which of the dropped bodies had arrived: the peer tells how many of all it never got.
#[derive(Debug, Default)]
struct Settlement {
    /// How many dropped bodies have a number that the peer has confirmed since.
    dropped: u64,
    /// How many of them were lost before the peer began to count.
    before: u64,
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

/// Why a body is dropped.
#[derive(Debug, Clone, Copy)]
enum Reason {
    Expired,
    Overflow,
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
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            next: 1,
            cursor: 1,
            written: 0,
            acked: 0,
            verdict: None,
            counts: OutgoingCounts::default(),
            settlement: Settlement::default(),
            limits,
        }
    }

    /// Appends a body. The oldest bodies are dropped when the log gets too large or they are too old.
    pub(crate) fn push(&mut self, body: Bytes, now: Instant) {
        self.expire(now);
        self.bytes += cost(&body);
        self.entries.push_back(Entry { body, pushed: now });
        self.next += 1;
        self.counts.sent += u64::from(self.verdict.is_none());
        while self.bytes > self.limits.bytes && self.entries.len() > 1 {
            self.drop_oldest(Reason::Overflow);
        }
    }

    /// The number of the body pushed last.
    pub(crate) fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Drops what is too old to be kept.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|entry| now >= entry.pushed + self.limits.age) {
            self.drop_oldest(Reason::Expired);
        }
    }

    /// Sets whether the peer counts as dead. What is pushed for the dead is kept as long as anything else, because from here a
    /// partition looks like a death. But nobody living wants it, so it counts only if the peer turns out to be alive.
    pub(crate) fn set_dead(&mut self, dead: bool) {
        match self.verdict {
            None if dead => self.verdict = Some(self.next),
            Some(first) if !dead => {
                self.verdict = None;
                self.counts.sent += self.next - first;
                self.counts.lost.dead += std::mem::take(&mut self.counts.withheld);
            }
            None | Some(_) => {}
        }
    }

    /// Drops everything: the life of the peer is over. `left`: it left in good order, so it had no clients any more.
    pub(crate) fn end(&mut self, left: bool) {
        let unconfirmed = self.waiting();
        if left {
            self.counts.unneeded += unconfirmed;
        } else {
            self.counts.lost.dead += unconfirmed;
        }
        self.counts.withheld = 0;
        self.verdict.get_or_insert(self.next);
        self.entries.clear();
        self.bytes = 0;
    }

    /// The life of the peer was not over. What was sent while it counted as dead is lost, and as many bodies since the end.
    pub(crate) fn go_on(&mut self, since: u64) {
        let Some(first) = self.verdict.take() else { return };
        self.next = self.next.saturating_add(since);
        self.counts.sent += self.next - first;
        self.counts.lost.dead += self.next - first;
    }

    /// What to write next on the current link. Each call moves on.
    pub(crate) fn next_write(&mut self) -> Option<Write> {
        let first = self.first();
        if self.cursor < first {
            self.cursor = first;
            self.counts.gaps += 1;
            return Some(Write::Gap { to: first - 1 });
        }
        let at = usize::try_from(self.cursor - first).ok()?;
        let (seq, body) = (self.cursor, self.entries.get(at)?.body.clone());
        self.counts.replayed += u64::from(seq <= self.written);
        self.written = self.written.max(seq);
        self.cursor += 1;
        Some(Write::Body { seq, body })
    }

    /// The peer has everything up to `seq`, or knows that it is lost.
    pub(crate) fn acked(&mut self, seq: u64) {
        let seq = seq.min(self.next - 1);
        self.prove_alive(seq);
        self.settlement.dropped += seq.min(self.given_up()).saturating_sub(self.acked);
        while self.first() <= seq && self.pop().is_some() {
            self.counts.confirmed += 1;
        }
        self.acked = self.acked.max(seq);
        self.cursor = self.cursor.max(seq + 1);
    }

    /// A peer that counts as dead has confirmed up to `seq`: a node that hangs keeps its links. What was pushed up to there counts.
    fn prove_alive(&mut self, seq: u64) {
        let Some(first) = self.verdict.filter(|first| *first <= seq) else { return };
        let dropped = self.counts.withheld.min(seq + 1 - first);
        let kept = (seq + 1).saturating_sub(first.max(self.first()));
        self.counts.withheld -= dropped;
        self.counts.lost.dead += dropped;
        self.counts.sent += dropped + kept;
        self.verdict = Some(first + dropped + kept);
    }

    /// The peer tells how many bodies of this log it never got, in all. The other dropped ones had arrived, but their
    /// acknowledgement had not.
    pub(crate) fn settle(&mut self, never_got: u64) {
        let Settlement { dropped, before } = self.settlement;
        self.counts.arrived =
            self.counts.arrived.max(dropped.saturating_sub(before.saturating_add(never_got)));
    }

    /// A new link to the same peer, which has everything up to `after`; `None` if it does not know this log, or not any more.
    pub(crate) fn resume(&mut self, after: Option<u64>) {
        match after {
            Some(after) => self.acked(after),
            None => self.settlement.before = self.settlement.dropped - self.counts.arrived,
        }
        self.cursor = self.acked + 1;
    }

    /// The first number that the peer has not confirmed.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.acked + 1
    }

    /// Bodies up to this number are not kept any more, acknowledged or not.
    pub(crate) fn given_up(&self) -> u64 {
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

    /// What became of the bodies.
    pub(crate) fn counts(&self) -> OutgoingCounts {
        OutgoingCounts { waiting: self.waiting(), waiting_bytes: self.bytes as u64, ..self.counts }
    }

    /// The bodies that are kept and count.
    fn waiting(&self) -> u64 {
        self.verdict.unwrap_or(self.next).saturating_sub(self.first())
    }

    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    fn drop_oldest(&mut self, reason: Reason) {
        let seq = self.first();
        if self.pop().is_none() {
            return;
        }
        let OutgoingCounts { lost, withheld, .. } = &mut self.counts;
        let count = match (self.verdict, reason) {
            (Some(first), _) if seq >= first => withheld,
            (Some(_), _) => &mut lost.dead,
            (None, Reason::Expired) => &mut lost.expired,
            (None, Reason::Overflow) => &mut lost.overflow,
        };
        *count += 1;
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= cost(&entry.body);
        Some(entry)
    }
}

/// How far one node has received the log of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiveLog {
    last: u64,
    /// One less than `last` while a body is being delivered.
    delivered: u64,
    missed: u64,
}

/// What to do with a body that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    Accept,
    /// It arrived before.
    Duplicate,
}

impl ReceiveLog {
    /// Nothing was received yet. `first` is the first number that will come.
    pub(crate) fn starting_at(first: u64) -> Self {
        let last = first.saturating_sub(1);
        Self { last, delivered: last, missed: 0 }
    }

    /// A body arrived, and is to be delivered. Those before it that did not are lost: links keep the order.
    pub(crate) fn arrived(&mut self, seq: u64) -> Arrival {
        if seq <= self.last {
            return Arrival::Duplicate;
        }
        self.gave_up(seq - 1);
        self.last = seq;
        Arrival::Accept
    }

    /// The body that arrived has been delivered. Nothing else happens before.
    pub(crate) fn delivered(&mut self) {
        self.delivered = self.last;
    }

    /// The sender gave up everything up to `to`. What has not arrived by now is lost.
    pub(crate) fn gave_up(&mut self, to: u64) {
        self.missed = self.missed.saturating_add(to.saturating_sub(self.last));
        self.last = self.last.max(to);
        self.delivered = self.last;
    }

    /// Everything up to here has arrived or is known to be lost.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Everything up to here has been delivered or is known to be lost.
    pub(crate) fn last_delivered(&self) -> u64 {
        self.delivered
    }

    /// How many bodies are lost.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
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
        log.resume(Some(2));
        let again = drain(&mut log);
        assert!(matches!(again[..], [Write::Body { seq: 3, .. }, Write::Body { seq: 4, .. }]), "{again:?}");
        let OutgoingCounts { lost, replayed, gaps, waiting_bytes, .. } = log.counts();
        assert_eq!((lost.total(), replayed, gaps, waiting_bytes), (0, 2, 0, 2 * cost(&body(1)) as u64));
    }

    #[test]
    fn overflow_drops_the_oldest_and_tells_once() {
        let mut log = small();
        let now = Instant::now();
        (0..5).for_each(|_| log.push(body(2), now));
        assert_eq!(log.bytes(), 150);
        let written = drain(&mut log);
        assert_eq!(written[0], Write::Gap { to: 2 });
        assert_eq!((written.len(), log.counts().lost.overflow, log.counts().gaps), (4, 2, 1));
    }

    #[test]
    fn what_was_written_and_dropped_is_a_gap_only_after_a_reconnect() {
        let mut log = small();
        let now = Instant::now();
        for _ in 0..5 {
            log.push(body(2), now);
            assert!(matches!(drain(&mut log)[..], [Write::Body { .. }]));
        }
        log.resume(Some(1));
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
        assert_eq!((log.bytes(), log.counts().lost.expired), (0, 1), "counted without a link");
        assert_eq!(drain(&mut log), [Write::Gap { to: 1 }]);
    }

    #[test]
    fn what_had_arrived_but_was_not_acknowledged_in_time_is_told_apart_from_what_was_lost() {
        let mut log = SendLog::new();
        let now = Instant::now();
        (0..5).for_each(|_| log.push(body(1), now));
        assert_eq!(drain(&mut log).len(), 5);
        log.expire(now + MAX_AGE);
        assert_eq!((log.counts().lost.expired, log.counts().arrived), (5, 0));
        // Three of them had arrived when the link was cut.
        log.resume(Some(3));
        assert_eq!(drain(&mut log), [Write::Gap { to: 5 }]);
        log.acked(5);
        log.settle(2);
        assert_eq!((log.counts().lost.expired, log.counts().arrived), (5, 3));
        log.settle(2);
        assert_eq!(log.counts().arrived, 3, "it is told again and again");
    }

    #[test]
    fn a_peer_that_forgot_the_log_counts_anew() {
        let mut log = SendLog::new();
        let now = Instant::now();
        (0..2).for_each(|_| log.push(body(1), now));
        log.expire(now + MAX_AGE);
        drain(&mut log);
        log.acked(2);
        log.settle(2);
        (0..3).for_each(|_| log.push(body(1), now));
        log.expire(now + MAX_AGE);
        log.resume(None);
        log.acked(5);
        log.settle(3);
        assert_eq!((log.counts().lost.total(), log.counts().arrived), (5, 0));
    }

    #[test]
    fn what_a_peer_confirms_that_counts_as_dead_counts_as_sent() {
        let now = Instant::now();
        let three = Limits { bytes: 3 * cost(&body(10)), age: MAX_AGE };
        let mut log = SendLog::with_limits(three);
        log.set_dead(true);
        (0..5).for_each(|_| log.push(body(10), now));
        log.acked(4);
        let OutgoingCounts { sent, confirmed, lost, withheld, waiting, .. } = log.counts();
        assert_eq!((sent, confirmed, lost.dead, withheld, waiting), (4, 2, 2, 0, 0));
        log.set_dead(false);
        let OutgoingCounts { sent, confirmed, lost, waiting, .. } = log.counts();
        assert_eq!((sent, confirmed, lost.dead, waiting), (5, 2, 2, 1));
        log.set_dead(true);
        log.end(false);
        log.acked(5);
        let OutgoingCounts { sent, confirmed, lost, .. } = log.counts();
        assert_eq!((sent, confirmed, lost.dead), (5, 2, 3), "what comes behind the end changes nothing");
    }

    #[test]
    fn what_is_sent_for_the_dead_counts_only_if_they_come_back() {
        let now = Instant::now();
        let dead = || {
            let mut log = SendLog::new();
            log.push(body(1), now);
            log.set_dead(true);
            (0..9).for_each(|_| log.push(body(1), now));
            assert_eq!((log.counts().sent, log.counts().waiting), (1, 1));
            log.expire(now + MAX_AGE);
            (0..3).for_each(|_| log.push(body(1), now + MAX_AGE));
            assert_eq!((log.counts().sent, log.counts().lost.dead, log.counts().withheld), (1, 1, 9));
            log
        };
        let mut back = dead();
        back.set_dead(false);
        let OutgoingCounts { sent, lost, withheld, waiting, .. } = back.counts();
        assert_eq!((sent, lost.dead, withheld, waiting), (13, 10, 0, 3));
        let mut over = dead();
        over.end(false);
        let OutgoingCounts { sent, lost, withheld, waiting, .. } = over.counts();
        assert_eq!((sent, lost.dead, withheld, waiting), (1, 1, 0, 0));
    }

    #[test]
    fn what_a_peer_did_not_need_any_more_is_not_lost() {
        let mut log = SendLog::new();
        log.push(body(1), Instant::now());
        log.end(true);
        let OutgoingCounts { sent, lost, unneeded, .. } = log.counts();
        assert_eq!((sent, lost.total(), unneeded), (1, 0, 1));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_harmless() {
        let mut log = SendLog::new();
        log.acked(u64::MAX);
        log.resume(Some(u64::MAX));
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
        Dead,
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
            1 => Just(Step::Dead),
        ]
    }

    /// Two ends and the pipe between them.
    struct Pair {
        log: SendLog,
        received: ReceiveLog,
        pipe: VecDeque<Write>,
        acks: VecDeque<ReceiveLog>,
        got: Vec<u64>,
    }

    impl Pair {
        fn deliver(&mut self) {
            match self.pipe.pop_front() {
                Some(Write::Body { seq, .. }) => {
                    let accepted = self.received.arrived(seq) == Arrival::Accept;
                    self.got.extend(accepted.then_some(seq));
                }
                Some(Write::Gap { to }) => self.received.gave_up(to),
                None => {}
            }
        }

        fn deliver_ack(&mut self) {
            if let Some(acknowledged) = self.acks.pop_front() {
                self.log.acked(acknowledged.last());
                self.log.settle(acknowledged.missed());
            }
        }

        fn cut(&mut self) {
            self.pipe.clear();
            self.acks.clear();
            self.log.set_dead(false);
            self.log.resume(Some(self.received.last()));
        }
    }

    proptest! {
        #[test]
        fn bodies_arrive_in_order_at_most_once_and_both_ends_count_exactly_what_is_missing(
            steps in proptest::collection::vec(step(), 1..300),
        ) {
            let mut now = Instant::now();
            let mut pair = Pair {
                log: SendLog::with_limits(Limits { bytes: 600, age: MAX_AGE }), received: ReceiveLog::starting_at(1),
                pipe: VecDeque::new(), acks: VecDeque::new(), got: Vec::new(),
            };
            let (mut pushed, mut dead) = (0, false);
            for step in steps {
                match step {
                    Step::Push(size) => { pair.log.push(body(size), now); pushed += 1; }
                    Step::Write if dead => {} // There is no link.
                    Step::Write => pair.pipe.extend(pair.log.next_write()),
                    Step::Deliver => pair.deliver(),
                    Step::Ack => pair.acks.push_back(pair.received),
                    Step::DeliverAck => pair.deliver_ack(),
                    Step::Cut => { pair.cut(); dead = false; }
                    Step::Wait(ms) => { now += Duration::from_millis(ms); pair.log.expire(now); }
                    Step::Dead => { pair.cut(); pair.log.set_dead(true); dead = true; }
                }
                prop_assert!(pair.log.bytes() <= 600 + 60 + 48);
                let OutgoingCounts { sent, confirmed, waiting, lost, arrived, .. } = pair.log.counts();
                prop_assert_eq!(sent, confirmed + waiting + lost.total());
                prop_assert!(lost.total() >= arrived);
            }
            pair.cut();
            pair.pipe.extend(drain(&mut pair.log));
            while !pair.pipe.is_empty() { pair.deliver(); }
            pair.acks.push_back(pair.received);
            pair.deliver_ack();
            prop_assert!(pair.got.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(pair.got.len() as u64 + pair.received.missed(), pushed);
            let OutgoingCounts { sent, confirmed, waiting, lost, arrived, .. } = pair.log.counts();
            prop_assert_eq!((sent, waiting), (pushed, 0));
            prop_assert_eq!(confirmed + arrived, pair.got.len() as u64);
            prop_assert_eq!(lost.total() - arrived, pair.received.missed());
        }
    }
}
