//! What the tasks of a mesh share: written by the control actor, read by everyone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::warn;

use crate::cluster::connection::PeerConnection;
use crate::cluster::hello::{Hint, Me, Resume};
use crate::cluster::interest::LocalInterest;
use crate::cluster::peer::{Peer, Pushed};
use crate::cluster::requests::PendingRequests;
use crate::cluster::view::{NodeState, View};
use crate::cluster::wire::{WireError, encode_response, pb};
use crate::counter::Counter;
use crate::id::NodeId;
use crate::socket::messages::{Requester, Response};

/// The state of one node's mesh that more than one task sees.
#[derive(Debug)]
pub(crate) struct Shared {
    pub me: Me,
    /// What the sockets here are interested in.
    pub interest: Mutex<LocalInterest>,
    pub view: watch::Sender<Arc<View>>,
    /// What this node does; also in every hello.
    pub state: watch::Sender<NodeState>,
    /// Ticks when a peer has applied our interest.
    pub confirmations: watch::Sender<()>,
    /// What this node has asked the others.
    pub requests: Mutex<PendingRequests<Arc<Notify>>>,
    pub counters: Counters,
    /// Every life of a node that a sequence is kept for.
    pub peers: RwLock<HashMap<NodeId, Arc<Peer>>>,
    roster: RwLock<Arc<[Arc<Peer>]>>,
    routes: RwLock<HashMap<NodeId, Route>>,
    gossip: RwLock<HashMap<SocketAddr, Arc<PeerConnection>>>,
    #[cfg(test)]
    denied: Mutex<std::collections::HashSet<NodeId>>,
}

/// How to reach a node.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    Direct(Arc<PeerConnection>),
    /// Connections to nodes that reach it, best first; never empty.
    Via(Vec<Arc<PeerConnection>>),
}

/// What happened, for metrics; all of them only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Bodies queued for a peer.
    pub sent: Counter,
    /// Bodies delivered here.
    pub received: Counter,
    /// Bodies that came again after a reconnect.
    pub duplicates: Counter,
    /// Bodies that peers gave up before they came here.
    pub lost: Counter,
    /// Bodies that peers were told they will not get.
    pub given_up: Counter,
    /// Bodies that a peer may have wanted, dropped because it was away for too long.
    pub abandoned: Counter,
    /// Frames skipped because they made no sense.
    pub malformed: Counter,
    /// Bodies too large for a frame.
    pub oversized: Counter,
    /// Awaited joins and commands that a member did not confirm in time.
    pub unconfirmed: Counter,
    /// Volatile bodies dropped because a link was down or behind.
    pub volatile_dropped: Counter,
    /// Gossip messages dropped because there was no link or the inbox was full.
    pub gossip_dropped: Counter,
    /// Streams carried from one node to another.
    pub relayed: Counter,
}

impl Counters {
    /// Counts what became of a body.
    pub(crate) fn pushed(&self, pushed: Pushed) {
        let counter = match pushed {
            Pushed::Queued => &self.sent,
            Pushed::Dropped => &self.volatile_dropped,
            Pushed::Abandoned => &self.abandoned,
        };
        counter.increment();
    }

    /// Each with the name of its metric.
    pub(crate) fn named(&self) -> [(&'static str, u64); 12] {
        [
            ("socketmesh_cluster_messages_sent_total", &self.sent),
            ("socketmesh_cluster_messages_received_total", &self.received),
            ("socketmesh_cluster_messages_duplicate_total", &self.duplicates),
            ("socketmesh_cluster_messages_lost_total", &self.lost),
            ("socketmesh_cluster_messages_given_up_total", &self.given_up),
            ("socketmesh_cluster_messages_abandoned_total", &self.abandoned),
            ("socketmesh_cluster_messages_malformed_total", &self.malformed),
            ("socketmesh_cluster_messages_oversized_total", &self.oversized),
            ("socketmesh_cluster_joins_unconfirmed_total", &self.unconfirmed),
            ("socketmesh_cluster_volatile_messages_dropped_total", &self.volatile_dropped),
            ("socketmesh_cluster_gossip_dropped_total", &self.gossip_dropped),
            ("socketmesh_cluster_streams_relayed_total", &self.relayed),
        ]
        .map(|(name, counter)| (name, counter.get()))
    }
}

impl Shared {
    pub(crate) fn new(me: Me) -> Self {
        Self {
            me,
            interest: Mutex::new(LocalInterest::new()),
            view: watch::Sender::default(),
            state: watch::Sender::new(NodeState::Joining),
            confirmations: watch::Sender::new(()),
            requests: Mutex::new(PendingRequests::new()),
            counters: Counters::default(),
            peers: RwLock::default(),
            roster: RwLock::new(Arc::from([])),
            routes: RwLock::default(),
            gossip: RwLock::default(),
            #[cfg(test)]
            denied: Mutex::default(),
        }
    }

    /// The life of a node that asked, if it is not over.
    pub(crate) fn requester(&self, requester: &Requester) -> Option<Arc<Peer>> {
        let peers = self.peers.read();
        peers.get(&requester.node).filter(|peer| peer.incarnation == requester.incarnation).cloned()
    }

    /// Queues a part of an answer. One that is too large ends the answer.
    pub(crate) fn respond(&self, to: &Requester, response: Response) {
        let Some(peer) = self.requester(to) else { return };
        let body = encode_response(to.request, response).or_else(|error| {
            self.refuse(&error);
            encode_response(to.request, Response::failed())
        });
        if let Ok(body) = body {
            self.push(&peer, body);
        }
    }

    /// Queues a body that is not volatile.
    pub(crate) fn push(&self, peer: &Peer, body: Bytes) {
        self.counters.pushed(peer.push(body, false, Instant::now()));
    }

    /// Something could not be encoded.
    pub(crate) fn refuse(&self, error: &WireError) {
        self.counters.oversized.increment();
        warn!(node = %self.me.id, %error, "too large for other nodes: it stays on this one");
    }

    /// Those who get broadcasts.
    pub(crate) fn roster(&self) -> Arc<[Arc<Peer>]> {
        Arc::clone(&self.roster.read())
    }

    pub(crate) fn set_roster(&self, roster: Vec<Arc<Peer>>) {
        *self.roster.write() = roster.into();
    }

    /// How to reach a node, if at all.
    pub(crate) fn route(&self, to: &NodeId) -> Option<Route> {
        self.routes.read().get(to).cloned()
    }

    /// The connection to a node, if there is one.
    pub(crate) fn direct(&self, to: &NodeId) -> Option<Arc<PeerConnection>> {
        match self.route(to)? {
            Route::Direct(connection) => Some(connection),
            Route::Via(_) => None,
        }
    }

    pub(crate) fn set_routes(
        &self,
        routes: HashMap<NodeId, Route>,
        gossip: HashMap<SocketAddr, Arc<PeerConnection>>,
    ) {
        *self.routes.write() = routes;
        *self.gossip.write() = gossip;
    }

    /// The connection to the node that gossips from this address.
    pub(crate) fn gossips_at(&self, address: SocketAddr) -> Option<Arc<PeerConnection>> {
        self.gossip.read().get(&address).cloned()
    }

    /// What to say to a node in a hello.
    pub(crate) fn hello(&self, to: &NodeId) -> pb::Hello {
        // The lock is free again before the peer's: whoever receives from the peer holds that and may want this.
        let peer = self.peers.read().get(to).cloned();
        let resume = peer.map_or_else(Resume::default, |peer| peer.resume());
        let state = *self.state.borrow();
        let view = Arc::clone(&self.view.borrow());
        let members = view.members.iter().filter(|member| member.id != *to && member.id != self.me.id);
        self.me.hello(state, resume, members.map(Hint::from))
    }

    /// Test seam: behaves as if packets to and from that node were lost.
    #[cfg(test)]
    pub(crate) fn deny(&self, id: &NodeId, denied: bool) {
        let mut all = self.denied.lock();
        let _changed = if denied { all.insert(id.clone()) } else { all.remove(id) };
    }

    #[cfg(test)]
    pub(crate) fn denies(&self, id: &NodeId) -> bool {
        self.denied.lock().contains(id)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the test seam has a state")]
    pub(crate) fn denies(&self, _id: &NodeId) -> bool {
        false
    }
}
