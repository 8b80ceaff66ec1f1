//! The clients of a run: those of the harness, which stay at their node, and the official ones, which come through load
//! balancers.

pub mod official;
pub mod resident;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::dice::Dice;

/// What clients do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The time between two emits of a client; `None` while they are quiet.
    pub every: Option<Duration>,
    /// They also emit to single clients. Only where nothing may be lost: a node that is cut off is sent what it may not
    /// want, so nobody could tell from outside how much was sent to it.
    pub direct: bool,
    /// They also join and leave a room all the time.
    pub storm: bool,
}

impl Pace {
    /// Nobody says anything.
    pub const QUIET: Self = Self { every: None, direct: false, storm: false };
}

/// The ids of the clients that are connected.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug, Clone)]
struct Entry {
    client: usize,
    cluster: usize,
    id: String,
}

impl Directory {
    fn enter(&self, client: usize, cluster: usize, id: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { client, cluster, id });
    }

    fn leave(&self, client: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|entry| entry.client != client);
    }

    /// Somebody else in the same cluster.
    fn somebody(&self, cluster: usize, but: usize, dice: &mut Dice) -> Option<(usize, String)> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: Vec<_> =
            entries.iter().filter(|entry| entry.cluster == cluster && entry.client != but).collect();
        let chosen = others.get(dice.below(0..others.len().max(1)))?;
        Some((chosen.client, chosen.id.clone()))
    }
}

/// The length of the filling of an emit: most are short, some take several packets.
#[must_use]
pub fn filling(number: usize) -> usize {
    match number % 20 {
        0 => 6000,
        1..=3 => 2000,
        _ => 100,
    }
}

/// The room that everybody is in.
pub const ALL: &str = "all";
/// The room that clients join and leave.
pub const STORM: &str = "storm";
