//! What every layer may use to say what happens.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets one line through now and then: for warnings that clients or strangers could fill a log with.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether a line may be written now: not if one was less than `every` ago.
    pub(crate) fn may(&self, every: Duration, now: Instant) -> bool {
        let mut last = self.0.lock();
        let may = last.is_none_or(|last| now >= last + every);
        if may {
            *last = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_line_has_to_wait() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(seldom.may(second, start));
        assert!(!seldom.may(second, start + second / 2));
        assert!(seldom.may(second, start + second));
    }
}
