//! Random faults from a seed. The same seed gives the same faults.

use std::fmt;
use std::time::Duration;

/// A fault of one node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// It is killed without a warning, and started again at the same addresses.
    Kill { node: usize, down: Duration },
    /// It is paused, as a process that gets no CPU time.
    Pause { node: usize, pause: Duration },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node, down } => write!(f, "kill node-{node}, start it after {down:?}"),
            Self::Pause { node, pause } => write!(f, "pause node-{node} for {pause:?}"),
        }
    }
}

/// An endless list of faults.
#[derive(Debug)]
pub(super) struct Schedule {
    state: u64,
    nodes: usize,
}

impl Schedule {
    pub(super) const fn new(seed: u64, nodes: usize) -> Self {
        Self { state: seed, nodes }
    }

    /// The time until the next fault, and the fault.
    pub(super) fn next(&mut self) -> (Duration, Fault) {
        let calm = self.between(200, 2500);
        let node = usize::try_from(self.number()).unwrap_or_default() % self.nodes.max(1);
        let fault = match self.number() % 4 {
            // After a restart within a second the peers still hold the old connection.
            0 => Fault::Kill { node, down: self.between(20, 400) },
            1 => Fault::Kill { node, down: self.between(400, 4000) },
            2 => Fault::Pause { node, pause: self.between(100, 1900) },
            _ => Fault::Pause { node, pause: self.between(1900, 7000) },
        };
        (calm, fault)
    }

    fn between(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.number() % (high - low))
    }

    /// SplitMix64.
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
