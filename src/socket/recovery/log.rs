//! The packets of one origin in one namespace that clients may have missed, bounded by age and bytes.
//!
//! What is dropped because of its age is missed by nobody: a client that may still come back was there, and got it. What is dropped
//! because there was too much may be missed, for as long as it would have been kept.
//!
//! All logs of a node share one bound. Whoever pushes beyond it drops its own, up to what it pushed: so the bound holds however many
//! logs there are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::membership::Membership;
use crate::counter::Counter;
use crate::engine::{Budget, Charge};
use crate::socket::messages::{Broadcast, KeptPacket};

/// Packets with numbers that have no holes.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<(Instant, KeptPacket)>,
    /// The number of the next packet.
    next: u64,
    /// The bytes, among those of all logs.
    kept: Charge,
    cut: Option<Cut>,
    limits: LogLimits,
    room: Arc<LogRoom>,
}

/// What all logs of a node share.
#[derive(Debug)]
pub(crate) struct LogRoom {
    bytes: Arc<Budget>,
    dropped: Counter,
}

/// What was dropped too early.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Everything up to this number.
    to: u64,
    /// From then on it would not be kept anyway.
    until: Instant,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLimits {
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

/// A part of a log, for a node that is to answer for it.
#[derive(Debug)]
pub(crate) struct LogPart {
    /// With the age of each.
    pub(crate) packets: Vec<(Duration, KeptPacket)>,
    /// The largest number so far.
    pub(crate) last: u64,
    /// What was dropped too early.
    pub(crate) cut: Option<(u64, Duration)>,
    /// Whether there are packets behind it already.
    pub(crate) more: bool,
}

/// Why a log cannot say what a client missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl LogRoom {
    /// For so many bytes.
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes: Budget::new(bytes), dropped: Counter::default() })
    }

    /// How many bytes are kept.
    pub(crate) fn used(&self) -> usize {
        self.bytes.used()
    }

    /// Whether an eighth is free.
    pub(crate) fn has_slack(&self) -> bool {
        self.bytes.has_slack()
    }

    /// How many packets were dropped too early.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

impl Log {
    /// Nothing was sent yet.
    pub(crate) fn new(limits: LogLimits, room: &Arc<LogRoom>) -> Self {
        let (kept, room) = (Arc::clone(&room.bytes).charge(), Arc::clone(room));
        Self { entries: VecDeque::new(), next: 1, kept, cut: None, limits, room }
    }

    /// Goes on behind this number, which another log of this origin ended with. Until then something up to it may be missed.
    pub(crate) fn resume(&mut self, last: u64, until: Option<Instant>) {
        self.next = last.saturating_add(1);
        self.cut = until.map(|until| Cut { to: last, until });
    }

    /// The number of the next packet.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The number of the last packet, 0 if there was none.
    pub(crate) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Appends the next packet.
    pub(crate) fn push(&mut self, packet: KeptPacket, now: Instant) {
        self.expire(now);
        self.kept.set(self.kept.bytes() + cost(&packet));
        self.entries.push_back((now, packet));
        // What another node says of its numbers may be anything.
        self.next = self.next.saturating_add(1);
        while self.kept.bytes() > self.limits.bytes && self.entries.len() > 1 {
            self.drop_oldest();
        }
        while self.kept.is_exceeded() && self.drop_oldest() {}
    }

    /// Keeps no more bytes than these.
    pub(crate) fn shed(&mut self, most: usize) {
        while self.kept.bytes() > most && self.drop_oldest() {}
    }

    /// Drops a packet that somebody may miss. Returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let to = self.first();
        let Some(sent) = self.pop() else { return false };
        self.cut = Some(Cut { to, until: sent + self.limits.age });
        self.room.dropped.increment();
        true
    }

    /// Appends packets of another log, with the age of each. `last` is its last number so far, and `cut` what it dropped too early.
    pub(crate) fn extend(
        &mut self,
        packets: Vec<(Duration, KeptPacket)>,
        last: u64,
        cut: Option<(u64, Duration)>,
        now: Instant,
    ) {
        let older = cut.map(|(to, left)| Cut { to, until: now + left.min(self.limits.age) });
        if older.is_some_and(|older| self.cut.is_none_or(|known| older.to > known.to)) {
            self.cut = older;
        }
        for (age, packet) in packets {
            let number = packet.number.map_or(0, |number| number.number);
            if number < self.next {
                continue;
            }
            if number > self.next {
                self.skip_to(number, now);
            }
            self.push(packet, now.checked_sub(age).unwrap_or(now));
        }
        if last >= self.next {
            self.skip_to(last.saturating_add(1), now);
        }
    }

    /// The next packet has this number. If there were packets before it, something between them is missing.
    fn skip_to(&mut self, number: u64, now: Instant) {
        if self.next > 1 {
            self.cut = Some(Cut { to: number - 1, until: now + self.limits.age });
        }
        self.entries.clear();
        self.kept.set(0);
        self.next = number;
    }

    /// What is behind this number and for that socket, in order.
    ///
    /// # Errors
    /// When something behind that number was dropped too early, or it is more than so many bytes.
    pub(crate) fn after(
        &mut self,
        number: u64,
        membership: &Membership,
        now: Instant,
        limit: usize,
    ) -> Result<Vec<KeptPacket>, TooMuch> {
        self.expire(now);
        if self.cut.is_some_and(|cut| number < cut.to) {
            return Err(TooMuch);
        }
        let missed = self.entries.iter().skip(self.skipped(number));
        let missed = missed.filter(|(sent, packet)| membership.is_selected(packet, *sent));
        let missed: Vec<_> = missed.map(|(_, packet)| Arc::clone(packet)).collect();
        let bytes: usize = missed.iter().map(|packet| cost(packet)).sum();
        if bytes <= limit { Ok(missed) } else { Err(TooMuch) }
    }

    /// What is behind this number, or about so many bytes of it.
    pub(crate) fn part(&mut self, after: u64, most: usize, now: Instant) -> LogPart {
        self.expire(now);
        let mut part = LogPart { packets: Vec::new(), last: self.last(), cut: self.cut(now), more: false };
        let (skipped, mut bytes) = (self.skipped(after), 0);
        for (at, (sent, packet)) in self.entries.iter().enumerate().skip(skipped) {
            bytes += cost(packet);
            if bytes > most && !part.packets.is_empty() {
                (part.last, part.more) = (self.first() + at as u64 - 1, true);
                break;
            }
            part.packets.push((now.saturating_duration_since(*sent), Arc::clone(packet)));
        }
        part
    }

    /// How many packets are kept that are behind this number.
    pub(crate) fn count_behind(&self, number: u64) -> usize {
        self.entries.len().saturating_sub(self.skipped(number))
    }

    /// How many of the first packets have this number, or a smaller one.
    fn skipped(&self, number: u64) -> usize {
        usize::try_from(number.saturating_add(1).saturating_sub(self.first())).unwrap_or(usize::MAX)
    }

    /// Up to which number packets were dropped too early, and for how long that matters.
    pub(crate) fn cut(&self, now: Instant) -> Option<(u64, Duration)> {
        self.cut.map(|cut| (cut.to, cut.until.saturating_duration_since(now)))
    }

    /// Drops what is too old.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|(sent, _)| now >= *sent + self.limits.age) {
            self.pop();
        }
        // A busy hour is over.
        if self.entries.capacity() > SPARE + 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
        self.cut.take_if(|cut| now >= cut.until);
    }

    /// Whether nothing is kept, and nothing is known to be missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.cut.is_none()
    }

    /// How many bytes are kept.
    pub(crate) const fn bytes(&self) -> usize {
        self.kept.bytes()
    }

    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    fn pop(&mut self) -> Option<Instant> {
        let (sent, packet) = self.entries.pop_front()?;
        self.kept.set(self.kept.bytes() - cost(&packet));
        Some(sent)
    }
}

/// About how much memory a packet takes.
pub(crate) fn cost(packet: &Broadcast<'_>) -> usize {
    packet.content_size() + OVERHEAD
}

/// The places of a packet, its rooms and its texts.
const OVERHEAD: usize = 200;
/// So many places may be empty.
const SPARE: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::id::{Key, SocketId};
    use crate::socket::messages::recovery::{Number, Origin};
    use crate::socket::messages::{Flags, Selection};
    use crate::socket::room::Room;
    use proptest::prelude::*;
    use std::borrow::Cow;

    pub(crate) const AGE: Duration = Duration::from_secs(100);

    pub(crate) fn packet(origin: u64, number: u64, room: &str) -> KeptPacket {
        Arc::new(Broadcast {
            namespace: "/".into(),
            selection: Cow::Owned(Selection {
                rooms: [Room::from(room)].into_iter().collect(),
                ..Selection::default()
            }),
            text: r#"2["e",1]"#.into(),
            attachments: Vec::new(),
            flags: Flags::default(),
            number: Some(Number { origin: Origin::from_u64(origin), number }),
        })
    }

    pub(crate) fn numbers(packets: &[KeptPacket]) -> Vec<u64> {
        packets.iter().map(|packet| packet.number.unwrap().number).collect()
    }

    /// It has been in these rooms for ever.
    pub(crate) fn member(rooms: &[&str], now: Instant) -> Membership {
        let ever = Duration::from_secs(1_000_000_000);
        let rooms: Vec<_> = rooms.iter().map(|room| (Room::from(room), ever)).collect();
        Membership::new(SocketId::new(Key::from_hash(1), [1; 10]), ever, &rooms, now)
    }

    fn log(bytes: usize) -> Log {
        Log::new(LogLimits { bytes, age: AGE }, &LogRoom::new(usize::MAX))
    }

    #[test]
    fn the_largest_number_that_a_client_or_a_node_may_say_is_a_number() {
        let (mut log, now) = (log(1 << 20), Instant::now());
        log.push(packet(1, 1, "a"), now);
        let membership =
            Membership::new(SocketId::new(Key::from_hash(0), [0; 10]), AGE, &[("a".into(), AGE)], now);
        assert_eq!(log.after(u64::MAX, &membership, now, 1 << 20), Ok(Vec::new()));
        log.extend(Vec::new(), u64::MAX, None, now);
        log.push(packet(1, u64::MAX, "a"), now);
        assert_eq!(log.last(), u64::MAX - 1);
    }

    #[test]
    fn what_a_socket_missed_is_what_came_behind_its_position_for_its_rooms() {
        let (mut log, now) = (log(usize::MAX), Instant::now());
        for number in 1..=6 {
            log.push(packet(1, number, if number % 2 == 0 { "even" } else { "odd" }), now);
        }
        let even = member(&["even"], now);
        let missed = |log: &mut Log, after| numbers(&log.after(after, &even, now, usize::MAX).unwrap());
        assert_eq!(missed(&mut log, 0), [2, 4, 6]);
        assert_eq!(missed(&mut log, 4), [6]);
        assert!(missed(&mut log, 6).is_empty());
        assert!(missed(&mut log, 60).is_empty());
        assert_eq!(log.after(0, &even, now, 100), Err(TooMuch));
    }

    #[test]
    fn what_is_too_old_is_missed_by_nobody_and_what_was_too_much_by_who_is_before_it() {
        let (mut log, now) = (log(4 * cost(&packet(1, 1, "a"))), Instant::now());
        let all = member(&["a"], now);
        (1..=4).for_each(|number| log.push(packet(1, number, "a"), now));
        let later = now + AGE / 2;
        log.push(packet(1, 5, "a"), later);
        assert_eq!(log.after(0, &all, later, usize::MAX), Err(TooMuch));
        assert_eq!(numbers(&log.after(1, &all, later, usize::MAX).unwrap()), [2, 3, 4, 5]);
        // The first one would be too old by now.
        assert_eq!(numbers(&log.after(0, &all, now + AGE, usize::MAX).unwrap()), [5]);
        assert_eq!(log.after(0, &all, later + AGE, usize::MAX), Ok(Vec::new()));
        assert!(log.is_empty() && log.bytes() == 0);
        assert_eq!(log.last(), 5);
    }

    #[test]
    fn a_log_that_another_node_takes_over_answers_as_before() {
        let (mut log, now) = (log(3 * cost(&packet(1, 1, "a"))), Instant::now());
        (1..=5).for_each(|number| log.push(packet(1, number, "a"), now));
        let later = now + Duration::from_secs(1);
        let mut heir = self::log(usize::MAX);
        for (after, last) in [(0, 3), (3, 4), (4, 5), (4, 5)] {
            let LogPart { packets, last: reached, cut, more } = log.part(after, 1, now);
            assert_eq!((packets.len(), reached, more), (1, last, last < 5));
            heir.extend(packets, reached, cut, later);
        }
        let everything = member(&["a"], now);
        for after in 0..7 {
            let missed = |log: &mut Log| log.after(after, &everything, later, usize::MAX);
            assert_eq!(missed(&mut heir), missed(&mut log), "after {after}");
        }
        heir.extend(Vec::new(), 9, None, later);
        assert_eq!(heir.last(), 9);
    }

    #[test]
    fn a_busy_hour_leaves_no_memory_behind() {
        let (mut log, now) = (log(usize::MAX), Instant::now());
        (1..=10_000).for_each(|number| log.push(packet(1, number, "a"), now));
        log.shed(log.bytes() / 2);
        assert_eq!(log.entries.len(), 5_000);
        log.expire(now + AGE);
        assert!(log.is_empty() && log.entries.capacity() <= SPARE);
    }

    #[test]
    fn of_a_part_that_never_came_nobody_is_told_that_there_was_nothing() {
        let (small, now) = (LogRoom::new(0), Instant::now());
        let mut heir = Log::new(LogLimits { bytes: usize::MAX, age: AGE }, &small);
        heir.extend(vec![(Duration::ZERO, packet(1, 3, "a"))], 3, None, now);
        heir.extend(vec![(Duration::ZERO, packet(1, 5, "a"))], 5, None, now);
        let everything = member(&["a"], now);
        assert_eq!(heir.after(4, &everything, now, usize::MAX), Err(TooMuch));
        assert_eq!(heir.after(5, &everything, now, usize::MAX), Ok(Vec::new()));
        assert_eq!((small.used(), small.dropped()), (0, 2));
    }

    proptest! {
        /// However many logs there are, and whatever is pushed to which: together they keep no more than they may, and an answer
        /// has everything that is not too old, or there is none.
        #[test]
        fn the_bound_of_all_logs_holds(
            pushes in proptest::collection::vec((0..40_usize, 0..20_u64), 1..200), most in 0..30_usize,
        ) {
            let (room, start) = (LogRoom::new(most * cost(&packet(1, 1, "a"))), Instant::now());
            let limits = LogLimits { bytes: usize::MAX, age: AGE };
            let mut logs: Vec<_> = (0..40).map(|_| (Log::new(limits, &room), Vec::new())).collect();
            let (mut now, all) = (start, member(&["a"], start));
            for (at, pause) in pushes {
                now += Duration::from_secs(pause);
                let (log, sent) = &mut logs[at];
                log.push(packet(1, log.next(), "a"), now);
                sent.push(now);
                prop_assert!(room.has_slack() || most > 0 || room.used() == 0);
                prop_assert!(room.used() <= most * cost(&packet(1, 1, "a")));
            }
            prop_assert_eq!(room.used(), logs.iter().map(|(log, _)| log.bytes()).sum::<usize>());
            for (log, sent) in &mut logs {
                for after in 0..=sent.len() {
                    let expected = sent.iter().skip(after).filter(|at| now < **at + AGE).count();
                    if let Ok(missed) = log.after(after as u64, &all, now, usize::MAX) {
                        prop_assert_eq!(missed.len(), expected);
                    }
                }
                prop_assert_eq!(log.after(sent.len() as u64, &all, now, usize::MAX), Ok(Vec::new()));
            }
            drop(logs);
            prop_assert_eq!(room.used(), 0);
        }

        /// Whatever is pushed when: an answer has everything that is not too old, or there is none.
        #[test]
        fn an_answer_is_complete(pauses in proptest::collection::vec(0..60_u64, 1..60), after in 0..60_u64, most in 1..20_usize) {
            let mut log = log(most * cost(&packet(1, 1, "a")));
            let (start, all) = (Instant::now(), member(&["a"], Instant::now()));
            let mut now = start;
            let mut sent = Vec::new();
            for (number, pause) in (1..).zip(pauses) {
                now += Duration::from_secs(pause);
                log.push(packet(1, number, "a"), now);
                sent.push((number, now));
            }
            let expected: Vec<u64> =
                sent.iter().filter(|(number, at)| *number > after && now < *at + AGE).map(|(number, _)| *number).collect();
            match log.after(after, &all, now, usize::MAX) {
                Ok(missed) => prop_assert_eq!(numbers(&missed), expected),
                Err(TooMuch) => prop_assert!(expected.len() > most),
            }
        }
    }
}
