//! What becomes of the packets from one port of the switch to another. No I/O: a packet goes in with the time, and the
//! times at which it arrives come out.

use std::time::Duration;

use tokio::time::Instant;

use crate::dice::Dice;

/// How a way between two ports treats packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// Nothing passes.
    pub cut: bool,
    /// The share of packets that are lost, each by itself.
    pub loss: f64,
    /// Losses that come in a row: the chance that a row begins, and the chance that it ends.
    pub burst: (f64, f64),
    /// How long a packet takes.
    pub delay: Duration,
    /// How much longer it may take. Packets overtake each other by it.
    pub jitter: Duration,
    /// The share of packets that arrive twice.
    pub duplication: f64,
    /// How many bytes pass in a second.
    pub rate: Option<u32>,
    /// How long a packet may wait for its turn; it is lost otherwise.
    pub queue: Duration,
    /// The size of the largest packet that passes. Larger ones are lost without a word.
    pub mtu: usize,
}

impl Condition {
    /// Everything passes at once.
    pub const PERFECT: Self = Self {
        cut: false,
        loss: 0.0,
        burst: (0.0, 1.0),
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        duplication: 0.0,
        rate: None,
        queue: Duration::from_millis(400),
        mtu: usize::MAX,
    };
    /// Nothing passes.
    pub const CUT: Self = Self { cut: true, ..Self::PERFECT };
}

/// One way between two ports.
#[derive(Debug)]
pub struct Link {
    condition: Condition,
    losing: bool,
    /// When the last packet that was accepted is through, where there is a rate.
    free: Option<Instant>,
}

impl Default for Link {
    fn default() -> Self {
        Self { condition: Condition::PERFECT, losing: false, free: None }
    }
}

impl Link {
    /// From now on packets are treated like this.
    pub fn set(&mut self, condition: Condition) {
        *self = Self { condition, losing: false, free: self.free };
    }

    /// How packets are treated.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// When a packet of `size` bytes arrives that is sent now: never, once, or twice.
    pub fn send(&mut self, size: usize, now: Instant, dice: &mut Dice) -> [Option<Instant>; 2] {
        let Condition { delay, jitter, duplication, .. } = self.condition;
        if self.loses(size, dice) {
            return [None, None];
        }
        let Some(sent) = self.turn(size, now) else { return [None, None] };
        let arrival = sent + delay + dice.up_to(jitter);
        let copy = dice.chance(duplication).then(|| sent + delay + dice.up_to(jitter));
        [Some(arrival), copy]
    }

    fn loses(&mut self, size: usize, dice: &mut Dice) -> bool {
        let Condition { cut, loss, burst: (begins, ends), mtu, .. } = self.condition;
        self.losing = dice.chance(if self.losing { 1.0 - ends } else { begins });
        cut || self.losing || size > mtu || dice.chance(loss)
    }

    /// When the packet is on the wire; `None` if too many wait already.
    fn turn(&mut self, size: usize, now: Instant) -> Option<Instant> {
        let Some(rate) = self.condition.rate else { return Some(now) };
        let begins = self.free.map_or(now, |free| free.max(now));
        if begins - now > self.condition.queue {
            return None;
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let sent = begins + Duration::from_secs_f64(f64::from(size) / f64::from(rate.max(1)));
        self.free = Some(sent);
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: usize = 10_000;

    /// The delays of that many packets sent one after another in a millisecond each, in the order in which they were sent.
    fn delays(condition: Condition) -> Vec<Duration> {
        let (mut link, mut dice) = (Link::default(), Dice::new(7));
        link.set(condition);
        let start = Instant::now();
        let sent = (0..PACKETS).map(|n| start + Duration::from_micros(n as u64 * 1000));
        let arrivals = sent.flat_map(|now| link.send(1000, now, &mut dice).map(|at| at.map(|at| at - now)));
        arrivals.flatten().collect()
    }

    fn near(count: usize, expected: usize) -> bool {
        count.abs_diff(expected) < expected / 5
    }

    #[test]
    fn a_perfect_link_passes_everything_at_once() {
        assert_eq!(delays(Condition::PERFECT), vec![Duration::ZERO; PACKETS]);
    }

    #[test]
    fn a_cut_link_passes_nothing_and_neither_do_packets_above_the_mtu() {
        assert!(delays(Condition::CUT).is_empty());
        assert!(delays(Condition { mtu: 999, ..Condition::PERFECT }).is_empty());
        assert_eq!(delays(Condition { mtu: 1000, ..Condition::PERFECT }).len(), PACKETS);
    }

    #[test]
    fn losses_and_copies_have_their_share() {
        let lost = PACKETS - delays(Condition { loss: 0.2, ..Condition::PERFECT }).len();
        assert!(near(lost, PACKETS / 5), "{lost}");
        let copies = delays(Condition { duplication: 0.1, ..Condition::PERFECT }).len() - PACKETS;
        assert!(near(copies, PACKETS / 10), "{copies}");
    }

    #[test]
    fn losses_in_a_row_are_as_frequent_as_their_chances_say() {
        let lost = PACKETS - delays(Condition { burst: (0.02, 0.2), ..Condition::PERFECT }).len();
        assert!(near(lost, PACKETS / 11), "{lost}");
    }

    #[test]
    fn a_delay_with_jitter_lets_packets_overtake() {
        let (delay, jitter) = (Duration::from_millis(50), Duration::from_millis(20));
        let delays = delays(Condition { delay, jitter, ..Condition::PERFECT });
        assert!(delays.iter().all(|taken| (delay..=delay + jitter).contains(taken)));
        // They are sent a millisecond apart.
        assert!(delays.windows(2).any(|pair| pair[1] + Duration::from_millis(1) < pair[0]));
    }

    #[test]
    fn a_rate_delays_and_then_drops_what_does_not_fit_the_queue() {
        // A tenth of what is sent.
        let queue = Duration::from_millis(100);
        let delays = delays(Condition { rate: Some(100_000), queue, ..Condition::PERFECT });
        assert!(near(delays.len(), PACKETS / 10), "{}", delays.len());
        assert!(delays.iter().all(|taken| *taken <= queue + Duration::from_millis(20)));
    }
}
