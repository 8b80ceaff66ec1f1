//! What a node counted, in a form that travels: the fixture serves it, and the checkers compare it with what was lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use socketmesh::Node;
use socketmesh::cluster::PeerCounters;
use socketmesh::engine::Application;

/// Everything that a node counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Which life of the node this is; `None` for a node without a cluster.
    pub incarnation: Option<u64>,
    /// The counters of the node, by name.
    pub total: BTreeMap<String, u64>,
    /// What it counted for each life of another node.
    pub peers: Vec<PeerCounts>,
}

/// What a node counted for one life of another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerCounts {
    /// The other node's name.
    pub node: String,
    /// Which life.
    pub incarnation: u64,
    /// Messages queued for it.
    pub sent: u64,
    /// Of these, those that it confirmed, that wait, and that it did not need any more.
    pub settled: u64,
    /// Of these, those that were given up.
    pub lost: u64,
    /// Of these, those that had arrived.
    pub arrived: u64,
    /// Its messages that did not arrive here.
    pub missed: u64,
}

impl Counters {
    /// What a node has counted by now.
    #[must_use]
    pub fn of<A: Application>(node: &Node<A>) -> Self {
        let view = node.view();
        let incarnation = view.and_then(|view| Some(view.borrow().member(node.id())?.incarnation.0));
        let total = node.counters().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        Self { incarnation, total, peers: node.peer_counters().iter().map(PeerCounts::of).collect() }
    }

    /// What it counted for this life of another node.
    #[must_use]
    pub fn peer(&self, name: &str, incarnation: u64) -> Option<&PeerCounts> {
        self.peers.iter().find(|peer| peer.node == name && peer.incarnation == incarnation)
    }

    /// A counter of the node by its name.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.total.get(name).copied().unwrap_or_default()
    }
}

impl PeerCounts {
    fn of(peer: &PeerCounters) -> Self {
        let (outgoing, lost) = (peer.outgoing, peer.outgoing.lost);
        Self {
            node: peer.node.to_string(),
            incarnation: peer.incarnation.0,
            sent: outgoing.sent,
            settled: outgoing.confirmed + outgoing.waiting + outgoing.unneeded,
            lost: lost.expired + lost.overflow + lost.dead,
            arrived: outgoing.arrived,
            missed: peer.incoming.missed,
        }
    }

    /// Messages for that life that it did not get.
    #[must_use]
    pub const fn told(&self) -> u64 {
        self.lost.saturating_sub(self.arrived)
    }
}
