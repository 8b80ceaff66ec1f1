//! The order and the moments in which a node lets go of its sessions.

use std::cmp::Reverse;
use std::time::Duration;

/// What a node lets go of, one after another: at first those for which nothing waits, and at last those for which most does.
#[derive(Debug)]
pub(crate) struct Releases<S> {
    untried: Vec<S>,
    /// Something waited for these when it was their turn, so the others came first.
    busy: Vec<S>,
    is_sorted: bool,
    /// How much waits for one.
    waits: fn(&S) -> usize,
}

impl<S> Releases<S> {
    pub(crate) fn new(all: Vec<S>, waits: fn(&S) -> usize) -> Self {
        Self { untried: all, busy: Vec::new(), is_sorted: false, waits }
    }

    pub(crate) fn len(&self) -> usize {
        self.untried.len() + self.busy.len()
    }

    /// Whose turn it is.
    pub(crate) fn next(&mut self) -> Option<S> {
        while let Some(next) = self.untried.pop() {
            if (self.waits)(&next) == 0 {
                return Some(next);
            }
            self.busy.push(next);
        }
        if !std::mem::replace(&mut self.is_sorted, true) {
            self.busy.sort_by_cached_key(|one| Reverse((self.waits)(one)));
        }
        self.busy.pop()
    }
}

/// When the one with this number goes, of so many within `time`: each at a random moment of its own part of the time, so that no part
/// has more than its share. `random` is from 0 to 1.
pub(crate) fn moment(number: usize, of: usize, time: Duration, random: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "nobody has so many sessions")]
    let part = (number as f64 + random) / of.max(1) as f64;
    time.mul_f64(part.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_for_whom_nothing_waits_go_first_and_the_slowest_last() {
        let waiting = vec![("slow", 900), ("idle", 0), ("a bit", 3), ("quiet", 0), ("slower", 5000)];
        let mut releases = Releases::new(waiting, |(_, waits)| *waits);
        assert_eq!(releases.len(), 5);
        let mut order: Vec<_> = std::iter::from_fn(|| releases.next()).map(|(name, _)| name).collect();
        order[..2].sort_unstable();
        assert_eq!(order, ["idle", "quiet", "a bit", "slow", "slower"]);
    }

    proptest! {
        #[test]
        fn no_tenth_of_the_time_has_more_than_its_share(count in 1..3000_usize, random: Vec<u32>) {
            let random = |n: usize| random.get(n).map_or(0.5, |random| f64::from(*random) / 2f64.powi(32));
            let time = Duration::from_secs(10);
            let moments: Vec<_> = (0..count).map(|n| moment(n, count, time, random(n))).collect();
            prop_assert!(moments.is_sorted());
            for tenth in 0..10 {
                let tenth = Duration::from_secs(tenth)..Duration::from_secs(tenth + 1);
                let here = moments.iter().filter(|moment| tenth.contains(*moment)).count();
                prop_assert!(here <= count.div_ceil(10) + 1, "{here} of {count}");
            }
        }
    }
}
