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

/// Allows one log line per interval, kind and target, so that what is wrong with one target hides nothing else.
///
/// A kind has [`MAX_TARGETS`] at a time: strangers come from many addresses. Lines about more of them are not allowed.
#[derive(Debug, Default)]
pub(crate) struct LogLimits(Mutex<HashMap<&'static str, HashMap<String, Instant>>>);

impl LogLimits {
    /// Whether a line of this kind about this target may be written at `now`: the first one at once, the next one after
    /// `interval`.
    pub(crate) fn allows(
        &self,
        kind: &'static str,
        target: impl Display,
        interval: Duration,
        now: Instant,
    ) -> bool {
        let mut kinds = self.0.lock();
        let targets = kinds.entry(kind).or_default();
        targets.retain(|_, until| now < *until);
        let target = target.to_string();
        let allowed = targets.len() < MAX_TARGETS && !targets.contains_key(&target);
        if allowed {
            targets.insert(target, now + interval);
        }
        allowed
    }
}

/// The interval of a condition that lasts until somebody mends it.
pub(crate) const SELDOM: Duration = Duration::from_secs(300);
const MAX_TARGETS: usize = 32;

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
    fn what_is_said_about_one_target_or_kind_hides_no_other() {
        let (limits, now) = (LogLimits::default(), Instant::now());
        let allows = |kind, target| limits.allows(kind, target, SELDOM, now);
        assert!(allows("dial", "a") && allows("dial", "b") && allows("refused", "a"));
        assert!(!allows("dial", "a") && !allows("dial", "b") && !allows("refused", "a"));
        assert!(limits.allows("dial", "a", SELDOM, now + SELDOM));
    }

    #[test]
    fn a_flood_of_targets_is_bounded_and_hides_no_other_kind() {
        let (limits, now) = (LogLimits::default(), Instant::now());
        let lines = (0..10_000).filter(|target| limits.allows("stranger", target, SELDOM, now)).count();
        assert_eq!(lines, MAX_TARGETS);
        assert!(limits.allows("dial", "a", SELDOM, now));
        assert!(limits.allows("stranger", "another", SELDOM, now + SELDOM));
    }
}
