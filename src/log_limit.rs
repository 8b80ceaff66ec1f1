//! A limit on repeated log lines, for warnings with which clients or strangers could fill a log.

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
}
