//! How long a login holds: when its socket is warned, and when it ends.

use std::time::Duration;

use tokio::time::Instant;

/// The time of a login that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    until: Instant,
    warned: bool,
}

/// What is due of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The socket is to be warned: the login ends after that time.
    Warning(Duration),
    /// The login has ended.
    End,
}

impl Term {
    pub(crate) const fn new(until: Instant) -> Self {
        Self { until, warned: false }
    }

    /// What is left of it.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// When something is due, for sockets that are warned that long `before` the end.
    pub(crate) fn next(&self, before: Option<Duration>) -> Instant {
        let warning = before.filter(|_| !self.warned).and_then(|before| self.until.checked_sub(before));
        warning.unwrap_or(self.until)
    }

    /// What is due now, each once.
    pub(crate) fn due(&mut self, now: Instant, before: Option<Duration>) -> Option<Due> {
        if self.until <= now {
            return Some(Due::End);
        }
        if self.next(before) > now {
            return None;
        }
        self.warned = true;
        Some(Due::Warning(self.until - now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_login_warns_once_and_ends() {
        let now = Instant::now();
        let (mut term, before) = (Term::new(now + seconds(60)), Some(seconds(10)));
        assert_eq!((term.next(before), term.due(now, before)), (now + seconds(50), None));
        let late = now + seconds(51);
        assert_eq!(term.due(late, before), Some(Due::Warning(seconds(9))));
        assert_eq!((term.next(before), term.due(late, before)), (now + seconds(60), None));
        assert_eq!(term.due(now + seconds(60), before), Some(Due::End));
    }

    #[test]
    fn a_login_shorter_than_its_warning_warns_at_once_and_one_without_a_warning_just_ends() {
        let now = Instant::now();
        let mut short = Term::new(now + seconds(5));
        assert_eq!(short.due(now, Some(seconds(10))), Some(Due::Warning(seconds(5))));
        let mut silent = Term::new(now + seconds(5));
        assert_eq!((silent.next(None), silent.due(now, None)), (now + seconds(5), None));
    }
}
