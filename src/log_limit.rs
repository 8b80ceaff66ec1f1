//! Limits on repeated log lines, for warnings with which clients, peers or strangers could fill a log.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Allows one log line per interval.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<Option<Instant>>);

impl LogLimit {
    /// Whether a line may be written at `now`. Returns `false` when one was allowed less than `interval` ago.
    pub(crate) fn allows(&self, interval: Duration, now: Instant) -> bool {
        let mut last = self.0.lock();
        let allowed = last.is_none_or(|last| now >= last + interval);
        if allowed {
            *last = Some(now);
        }
        allowed
    }
}

/// Allows a line per kind and target, so that what is wrong with one target hides nothing else: one at once, and the same again
/// after pauses that double up to [`SELDOM`].
///
/// A kind has [`TARGETS`] at a time. Lines about more of them, as of strangers with many addresses, are not allowed.
#[derive(Debug, Default)]
pub(crate) struct LogLimits(Mutex<HashMap<&'static str, HashMap<String, Allowed>>>);

#[derive(Debug, Clone, Copy)]
struct Allowed {
    next: Instant,
    pause: Duration,
}

impl LogLimits {
    /// Whether a line of this kind about that target may be written at `now`. `first` is the first pause.
    pub(crate) fn allows(
        &self,
        kind: &'static str,
        target: impl Display,
        first: Duration,
        now: Instant,
    ) -> bool {
        let mut kinds = self.0.lock();
        let targets = kinds.entry(kind).or_default();
        // After quiet for a whole pause the next line is news.
        targets.retain(|_, line| now < line.next + line.pause);
        let target = target.to_string();
        let pause = match targets.get(&target) {
            Some(line) if now < line.next => return false,
            Some(line) => (line.pause * 2).min(SELDOM),
            None if targets.len() >= TARGETS => return false,
            None => first,
        };
        targets.insert(target, Allowed { next: now + pause, pause });
        true
    }
}

/// A condition that lasts until somebody mends it is said once in this time.
pub(crate) const SELDOM: Duration = Duration::from_secs(300);
/// How many targets of a kind are told from each other.
const TARGETS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_line_is_allowed_only_after_the_interval() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(limit.allows(second, start));
        assert!(!limit.allows(second, start + second / 2));
        assert!(limit.allows(second, start + second));
    }

    #[test]
    fn a_line_is_repeated_seldom_and_hides_no_other() {
        let (limits, start, second) = (LogLimits::default(), Instant::now(), Duration::from_secs(1));
        let allows = |kind, target, at| limits.allows(kind, target, second, start + second * at);
        let lines: Vec<u32> = (0..1000).filter(|at| allows("a", "x", *at)).collect();
        assert_eq!(lines, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]);
        assert!(allows("a", "y", 0) && allows("b", "x", 0));
        assert!(allows("a", "x", 2000) && allows("a", "x", 2001), "after a long quiet it is news");
    }

    #[test]
    fn a_flood_of_targets_is_bounded_and_hides_no_other_kind() {
        let (limits, now) = (LogLimits::default(), Instant::now());
        let allows = |kind, target: u32, now| limits.allows(kind, target, SELDOM, now);
        assert_eq!((0..10_000).filter(|target| allows("stranger", *target, now)).count(), TARGETS);
        assert!(allows("dial", 1, now));
        assert!(allows("stranger", 10_001, now + 2 * SELDOM));
    }
}
