//! How long what other nodes tell was on its way, by clocks that have nothing in common but their pace.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::socket::messages::recovery::Origin;

/// What this node knows of the clocks of others.
#[derive(Debug)]
pub(crate) struct Lateness {
    began: Instant,
    /// By how much the clock of each was behind this one when something came the quickest, and when that was.
    quickest: HashMap<Origin, (i128, Instant)>,
}

impl Lateness {
    /// This clock begins now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, quickest: HashMap::new() }
    }

    /// What this node's clock says.
    pub(crate) fn clock(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// For how much longer than usual something was on its way which comes now and was sent when the clock of its node said that.
    pub(crate) fn of(&mut self, from: Origin, clock: Duration, now: Instant) -> Duration {
        let behind = self.clock(now).as_micros().cast_signed() - clock.as_micros().cast_signed();
        let (quickest, at) = *self.quickest.entry(from).or_insert((behind, now));
        // Clocks drift, by far less than this.
        let drift = now.saturating_duration_since(at).as_micros() / DRIFT;
        let late = behind - quickest - drift.cast_signed();
        if late <= 0 {
            self.quickest.insert(from, (behind, now));
        }
        u64::try_from(late).map_or(Duration::ZERO, Duration::from_micros)
    }

    /// Forgets the clocks of nodes that are gone.
    pub(crate) fn retain(&mut self, lives: impl Fn(Origin) -> bool) {
        self.quickest.retain(|from, _| lives(*from));
    }
}

/// One second in so many.
const DRIFT: u128 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_comes_later_than_usual_is_known_to_whatever_the_clocks_say() {
        let now = Instant::now();
        let mut lateness = Lateness::new(now);
        let (one, other) = (Origin::from_u64(1), Origin::from_u64(2));
        assert_eq!(lateness.of(one, seconds(1_000_000), now), Duration::ZERO);
        assert_eq!(lateness.of(other, seconds(0), now + seconds(9)), Duration::ZERO);
        let late = lateness.of(one, seconds(1_000_010), now + seconds(13));
        assert!(late > Duration::from_millis(2980) && late <= seconds(3), "{late:?}");
        assert_eq!(lateness.of(one, seconds(1_000_020), now + seconds(20)), Duration::ZERO);
        assert_eq!(lateness.of(other, seconds(11), now + seconds(20)), Duration::ZERO);
        assert_eq!(lateness.of(other, Duration::MAX, now + seconds(21)), Duration::ZERO, "whatever it says");
    }

    #[test]
    fn a_clock_that_is_slow_makes_nothing_late() {
        let now = Instant::now();
        let mut lateness = Lateness::new(now);
        for hour in 0..1000 {
            let slow = seconds(3600 * hour).mul_f64(0.9995);
            assert_eq!(lateness.of(Origin::from_u64(1), slow, now + seconds(3600 * hour)), Duration::ZERO);
        }
        lateness.retain(|_| false);
        assert!(lateness.quickest.is_empty());
    }
}
