//! The packets of one origin in one namespace that clients may have missed, bounded by age and bytes.
//!
//! What is dropped because of its age is missed by nobody: a client that may still come back was there, and got it. What is dropped
//! because there was too much may be missed, for as long as it would have been kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::membership::Membership;
use crate::socket::messages::{Broadcast, KeptPacket};

/// Packets with numbers that have no holes.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<(Instant, KeptPacket)>,
    /// The number of the next packet.
    next: u64,
    bytes: usize,
    cut: Option<Cut>,
    limits: LogLimits,
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

/// Why a log cannot say what a client missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl Log {
    /// Nothing was sent yet.
    pub(crate) fn new(limits: LogLimits) -> Self {
        Self { entries: VecDeque::new(), next: 1, bytes: 0, cut: None, limits }
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
        self.bytes += cost(&packet);
        self.entries.push_back((now, packet));
        // What another node says of its numbers may be anything.
        self.next = self.next.saturating_add(1);
        while self.bytes > self.limits.bytes && self.entries.len() > 1 {
            let to = self.first();
            if let Some(sent) = self.pop() {
                self.cut = Some(Cut { to, until: sent + self.limits.age });
            }
        }
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

    /// The next packet has this number. If there are packets before it, something between them is missing.
    fn skip_to(&mut self, number: u64, now: Instant) {
        if !self.entries.is_empty() {
            self.cut = Some(Cut { to: number - 1, until: now + self.limits.age });
        }
        self.entries.clear();
        self.bytes = 0;
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
        let skipped =
            usize::try_from(number.saturating_add(1).saturating_sub(self.first())).unwrap_or(usize::MAX);
        let missed = self.entries.iter().skip(skipped);
        let missed = missed.filter(|(sent, packet)| membership.is_selected(&packet.selection, *sent));
        let missed: Vec<_> = missed.map(|(_, packet)| Arc::clone(packet)).collect();
        let bytes: usize = missed.iter().map(|packet| cost(packet)).sum();
        if bytes <= limit { Ok(missed) } else { Err(TooMuch) }
    }

    /// Everything that is kept, with the age of each, for a node that is to answer for this one.
    pub(crate) fn all(&mut self, now: Instant) -> Vec<(Duration, KeptPacket)> {
        self.expire(now);
        let age = |sent: Instant| now.saturating_duration_since(sent);
        self.entries.iter().map(|(sent, packet)| (age(*sent), Arc::clone(packet))).collect()
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
        self.cut.take_if(|cut| now >= cut.until);
    }

    /// Whether nothing is kept, and nothing is known to be missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.cut.is_none()
    }

    /// How many bytes are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    fn pop(&mut self) -> Option<Instant> {
        let (sent, packet) = self.entries.pop_front()?;
        self.bytes -= cost(&packet);
        Some(sent)
    }
}

/// About how much memory a packet takes.
pub(crate) fn cost(packet: &Broadcast<'_>) -> usize {
    packet.content_size() + OVERHEAD
}

/// The places of a packet, its rooms and its texts.
const OVERHEAD: usize = 200;

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
        Log::new(LogLimits { bytes, age: AGE })
    }

    #[test]
    fn the_largest_number_that_a_client_or_a_node_may_say_is_a_number() {
        let (mut log, now) = (Log::new(LogLimits { bytes: 1 << 20, age: AGE }), Instant::now());
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
        let (all, cut, later) = (log.all(now), log.cut(now), now + Duration::from_secs(1));
        let mut heir = Log::new(LogLimits { bytes: usize::MAX, age: AGE });
        let (first, second) = all.split_at(1);
        for part in [first, second, second] {
            heir.extend(part.to_vec(), if part.len() == 1 { 3 } else { 5 }, cut, later);
        }
        let everything = member(&["a"], now);
        for after in 0..7 {
            let missed = |log: &mut Log| log.after(after, &everything, later, usize::MAX);
            assert_eq!(missed(&mut heir), missed(&mut log), "after {after}");
        }
        heir.extend(Vec::new(), 9, None, later);
        assert_eq!(heir.last(), 9);
    }

    proptest! {
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
