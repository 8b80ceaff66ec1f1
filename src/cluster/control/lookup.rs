//! When the name of a seed is looked up, and why that gives no address.

use std::time::Duration;

use tokio::time::Instant;

/// The look-ups of one name: one at a time, however long it takes, because each holds a thread of the resolver.
#[derive(Debug)]
pub(crate) struct Lookup {
    running: bool,
    ended: Option<Instant>,
    failures: u32,
}

/// Why a look-up has given no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    /// It goes on.
    #[error("no name server has answered for 3 s; does this machine reach them (/etc/resolv.conf)?")]
    NoAnswerYet,
    #[error("{0}; is the name spelled right, and does this machine's resolver know it?")]
    Failed(String),
}

impl Lookup {
    pub(crate) fn new() -> Self {
        Self { running: false, ended: None, failures: 0 }
    }

    /// Whether the name is to be looked up now. A node that has found its cluster only looks for
    /// another half of it.
    pub(crate) fn begin(&mut self, found_cluster: bool, now: Instant) -> bool {
        let pause = match self.failures {
            _ if found_cluster => PAUSE_OF_FOUND,
            0 => PAUSE,
            failures => (PAUSE * 2_u32.pow(failures.min(4) - 1)).min(LONGEST_PAUSE),
        };
        let due = !self.running && self.ended.is_none_or(|ended| now >= ended + pause);
        self.running |= due;
        due
    }

    /// It ended, and found an address or did not.
    pub(crate) fn end(&mut self, found: bool, now: Instant) {
        (self.running, self.ended) = (false, Some(now));
        self.failures = if found { 0 } else { self.failures + 1 };
    }
}

/// From one look-up to the next while the cluster is not found.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest one while names are not found.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const PAUSE_OF_FOUND: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which look-ups begin that each end at once.
    fn begins(found: bool, found_cluster: bool, until: u64) -> Vec<u64> {
        let (mut lookup, start) = (Lookup::new(), Instant::now());
        let begins = |second: &u64| {
            let now = start + Duration::from_secs(*second);
            let begins = lookup.begin(found_cluster, now);
            if begins {
                lookup.end(found, now);
            }
            begins
        };
        (0..=until).filter(begins).collect()
    }

    #[test]
    fn a_name_is_looked_up_every_second_and_seldom_once_the_cluster_is_found() {
        assert_eq!(begins(true, false, 4), [0, 1, 2, 3, 4]);
        assert_eq!(begins(true, true, 30), [0, 10, 20, 30]);
    }

    #[test]
    fn a_name_that_is_not_found_is_looked_up_more_and_more_seldom() {
        assert_eq!(begins(false, false, 20), [0, 1, 3, 7, 12, 17]);
    }

    #[test]
    fn one_look_up_of_a_name_is_in_flight_however_long_it_takes() {
        let (mut lookup, now) = (Lookup::new(), Instant::now());
        assert!(lookup.begin(false, now));
        assert!(!lookup.begin(false, now + Duration::from_secs(3600)));
        lookup.end(true, now);
        assert!(lookup.begin(false, now + PAUSE));
    }
}
