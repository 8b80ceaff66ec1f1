//! Who lives, as gossip has it: whose heartbeat grew within a few seconds.
//!
//! chitchat's own detector measures how often it hears of a node, and suspects it after some of these intervals. Here they are
//! short while news are spread and long afterwards, so it would suspect everybody when that ends.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The heartbeats `H` of the lives `L` of nodes, and when each of them grew last.
#[derive(Debug)]
pub(crate) struct Heartbeats<L, H>(HashMap<L, Heard<H>>);

#[derive(Debug, Clone, Copy)]
struct Heard<H> {
    heartbeat: H,
    /// `None`: it has not grown since the first one was heard, which may be that of a dead node.
    grew: Option<Instant>,
}

impl<L: Eq + Hash + Clone, H: Ord + Copy> Heartbeats<L, H> {
    pub(crate) fn new() -> Self {
        Self(HashMap::new())
    }

    /// Takes the heartbeats that are known now, and returns of whom one was heard lately.
    pub(crate) fn living<'a>(&mut self, known: &[(&'a L, H)], now: Instant) -> Vec<&'a L> {
        let mut before = std::mem::take(&mut self.0);
        let patience = patience(known.len());
        for (life, heartbeat) in known {
            let heard = match before.remove(*life) {
                Some(heard) if *heartbeat <= heard.heartbeat => heard,
                Some(_) => Heard { heartbeat: *heartbeat, grew: Some(now) },
                None => Heard { heartbeat: *heartbeat, grew: None },
            };
            self.0.insert((*life).clone(), heard);
        }
        let lives = |life: &&L| {
            let grew = self.0.get(*life).and_then(|heard| heard.grew);
            grew.is_some_and(|grew| now < grew + patience)
        };
        known.iter().map(|(life, _)| *life).filter(lives).collect()
    }
}

/// How long a node may be silent. News take one more round of gossip with each fourfold number of nodes.
fn patience(nodes: usize) -> Duration {
    let rounds = (1..).find(|rounds| 4_usize.saturating_pow(*rounds) > nodes).unwrap_or(1);
    Duration::from_secs(2) + Duration::from_secs(1) * rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_node_lives_while_its_heartbeat_grows_and_for_three_seconds_more() {
        let (mut heartbeats, start) = (Heartbeats::new(), Instant::now());
        let lives = |heartbeats: &mut Heartbeats<&str, u64>, heartbeat, at| {
            !heartbeats.living(&[(&"a", heartbeat)], at).is_empty()
        };
        assert!(!lives(&mut heartbeats, 7, start), "it may be what is left of a dead node");
        assert!(lives(&mut heartbeats, 8, start + SECOND));
        assert!(
            lives(&mut heartbeats, 8, start + 4 * SECOND - SECOND / 10),
            "however often it was heard before"
        );
        assert!(!lives(&mut heartbeats, 8, start + 4 * SECOND));
        assert!(lives(&mut heartbeats, 9, start + 5 * SECOND));
        assert!(heartbeats.living(&[], start + 5 * SECOND).is_empty());
        assert!(!lives(&mut heartbeats, 10, start + 5 * SECOND), "it was forgotten meanwhile");
    }

    #[test]
    fn in_a_larger_cluster_news_take_longer() {
        assert_eq!([3, 15, 60].map(|nodes| patience(nodes).as_secs()), [3, 4, 5]);
    }
}
