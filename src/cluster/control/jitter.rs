//! Chance without a generator of the operating system: nodes that started together do not act together for ever, and a
//! simulation repeats.

use std::time::Duration;

use crate::id::{Incarnation, NodeId};

/// Numbers that differ from node to node, and from one life of a node to the next (SplitMix64).
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(id: &NodeId, incarnation: Incarnation) -> Self {
        Self(spread(id.as_str().bytes().chain(incarnation.0.to_be_bytes())))
    }

    /// A time between none and this.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(GAMMA);
        let part = u32::try_from(mix(self.0) % 1001).unwrap_or_default();
        limit * part / 1000
    }
}

/// A number for these bytes; similar ones have numbers that are far apart.
pub(crate) fn spread(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0, |number, byte| mix(number ^ u64::from(byte)))
}

fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(GAMMA);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nodes_with_similar_names_wait_for_different_times() {
        let second = Duration::from_secs(1);
        let times: BTreeSet<_> = (0..60)
            .map(|n| Jitter::new(&format!("node-{n}").parse().unwrap(), Incarnation(7)).up_to(second))
            .collect();
        assert!(times.len() > 50 && times.last().is_some_and(|longest| *longest <= second), "{times:?}");
        let mut node = Jitter::new(&"a".parse().unwrap(), Incarnation(7));
        let spread: BTreeSet<_> = (0..100).map(|_| node.up_to(second).as_millis() / 100).collect();
        assert!(spread.len() >= 10, "{spread:?}");
    }
}
