//! What the tasks of a mesh share. The control actor writes it, everyone reads it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, SetOnce, watch};
use tokio::time::Instant;

use super::address::may_be_told;
use super::control::{MembershipChanges, Publication, Route};
use super::delivery::interest::{LocalInterest, local_interest};
use super::delivery::past_lives::PastLives;
use super::delivery::peer::Peer;
use super::delivery::peer_counters::{LossCounts, Losses, PeerCounters};
use super::delivery::pending_requests::PendingRequests;
use super::hello::{Greeting, KnownMember, LinkId, LocalNode, Resume};
use super::ring::Ring;
use super::transport::connection::PeerConnection;
use super::transport::network::source_towards;
use super::view::{MemberView, NodeState, View};
use super::wire::{WireError, encode_response, pb};
use crate::counter::{Count, Counter};
use crate::excerpt::Excerpt;
use crate::id::{Incarnation, NodeId};
use crate::log_limit::{LogLimits, SELDOM};
use crate::random;
use crate::socket::messages::{Requester, Response};

/// The state of one node's mesh that more than one task sees.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) me: LocalNode,
    differing: LogLimits,
    /// The rooms with a member on this node.
    pub(crate) interest: Mutex<LocalInterest>,
    pub(crate) view: watch::Sender<Arc<View>>,
    /// The state of this node, which every hello tells.
    pub(crate) state: watch::Sender<NodeState>,
    /// Why this node has to end: a part of the mesh did, which cannot be started anew.
    pub(crate) failure: SetOnce<String>,
    /// Why this node takes no clients, for people; `None` when it does.
    pub(crate) obstacle: RwLock<Option<String>>,
    /// The members that were without a link for so long that nothing of them is on its way.
    pub(crate) unreached: RwLock<Vec<NodeId>>,
    /// How often other nodes came and went.
    changes: RwLock<MembershipChanges>,
    /// Notifies when a peer has confirmed something, and when the members changed.
    pub(crate) confirmations: watch::Sender<()>,
    /// The requests of this node that wait for answers of others.
    pub(crate) requests: Mutex<PendingRequests<Arc<Notify>>>,
    pub(crate) counters: Counters,
    /// Broadcasts and commands for whoever wants them, without volatile ones.
    emitted: Counter,
    /// The lives of nodes that are over. Where it is locked together with others, it comes first.
    past: Mutex<PastLives>,
    /// Every life of a node for which a log is kept.
    peers: RwLock<HashMap<NodeId, Arc<Peer>>>,
    roster: RwLock<Arc<[Arc<Peer>]>>,
    routes: RwLock<HashMap<NodeId, Route<Arc<PeerConnection>>>>,
    gossip: RwLock<HashMap<SocketAddr, Arc<PeerConnection>>>,
}

/// What happened and concerns no single peer, for metrics. All of them only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Frames skipped because they made no sense.
    pub(crate) malformed: Counter,
    /// Messages too large for a frame, refused.
    pub(crate) oversized: Counter,
    /// Awaited joins and commands that a member did not confirm in time.
    pub(crate) unconfirmed: Counter,
    /// Gossip messages dropped because there was no link or the inbox was full.
    pub(crate) gossip_dropped: Counter,
    /// Gossip messages that were refused, and what was left out of others.
    pub(crate) gossip_refused: Counter,
    /// Streams carried from one node to another.
    pub(crate) relayed: Counter,
}

impl Counters {
    /// All of them.
    fn counts(&self) -> [Count; 6] {
        [
            self.malformed.as_count(
                "socketmesh_cluster_messages_malformed_total",
                "Messages of other nodes that made no sense and were skipped",
            ),
            self.oversized.as_count(
                "socketmesh_cluster_messages_oversized_total",
                "Messages that were too large for other nodes and refused",
            ),
            self.unconfirmed.as_count(
                "socketmesh_cluster_joins_unconfirmed_total",
                "Awaited joins and commands that a member did not confirm in time",
            ),
            self.gossip_dropped
                .as_count("socketmesh_cluster_gossip_dropped_total", "Gossip messages that were dropped"),
            self.gossip_refused.as_count(
                "socketmesh_cluster_gossip_refused_total",
                "Gossip messages that broke the protocol, and parts that were beyond the bounds",
            ),
            self.relayed.as_count(
                "socketmesh_cluster_streams_relayed_total",
                "Streams carried for two other nodes that do not reach each other",
            ),
        ]
    }
}

impl Published {
    pub(crate) fn new(me: LocalNode) -> Self {
        Self {
            me,
            differing: LogLimits::default(),
            interest: Mutex::new(local_interest()),
            view: watch::Sender::default(),
            state: watch::Sender::new(NodeState::Joining),
            failure: SetOnce::new(),
            obstacle: RwLock::new(Some(JOINING.to_owned())),
            unreached: RwLock::default(),
            changes: RwLock::default(),
            confirmations: watch::Sender::new(()),
            requests: Mutex::new(PendingRequests::new()),
            counters: Counters::default(),
            emitted: Counter::default(),
            past: Mutex::default(),
            peers: RwLock::default(),
            roster: RwLock::new(Arc::from([])),
            routes: RwLock::default(),
            gossip: RwLock::default(),
        }
    }

    /// Replaces what the others see. `connection` gives the connection of a direct link.
    pub(crate) fn publish(
        &self,
        publication: Publication,
        connection: impl Fn(LinkId) -> Option<Arc<PeerConnection>>,
    ) {
        let Publication { state, obstacle, members, roster, routes, gossip, unreached, changes } =
            publication;
        // While this is locked nothing is emitted, so it is known what a life missed that is in no roster yet.
        let mut current = self.roster.write();
        let roster: Vec<_> = roster.into_iter().map(|(id, life)| self.ensure_peer(id, life)).collect();
        for peer in &roster {
            let is_member =
                |member: &MemberView| member.id == peer.id && member.incarnation == peer.incarnation;
            peer.set_dead(!members.iter().any(is_member));
        }
        *current = roster.into();
        drop(current);
        let route = |route| match route {
            Route::Direct(link) => connection(link).map(Route::Direct),
            Route::Through(links) => {
                let relays: Vec<_> = links.into_iter().filter_map(&connection).collect();
                (!relays.is_empty()).then_some(Route::Through(relays))
            }
        };
        let routes = routes.into_iter().filter_map(|(id, links)| Some((id, route(links)?))).collect();
        let gossip = gossip.into_iter().filter_map(|(from, link)| Some((from, connection(link)?))).collect();
        *self.routes.write() = routes;
        *self.gossip.write() = gossip;
        *self.unreached.write() = unreached;
        *self.changes.write() = changes;
        *self.obstacle.write() = obstacle;
        self.view.send_if_modified(|view| {
            let changed = view.members != members;
            if changed {
                let lives = |members: &[MemberView]| -> Vec<_> {
                    members.iter().map(|member| (member.id.clone(), member.incarnation)).collect()
                };
                let all = lives(&members);
                let ring = if lives(&view.members) == all { view.ring.clone() } else { Ring::new(all) };
                *view = Arc::new(View { epoch: view.epoch + 1, members, ring });
            }
            changed
        });
        // Who waits for a node that is gone waits no longer.
        self.confirmations.send_replace(());
        // After the view, so that who waits for ready finds this node in the ring.
        self.state.send_replace(state);
    }

    /// Forgets how other nodes are reached: the mesh has stopped.
    pub(crate) fn unpublish(&self) {
        *self.roster.write() = Arc::from([]);
        self.routes.write().clear();
        self.gossip.write().clear();
    }

    /// The mesh failed: this node hears of no change any more, so it takes no clients.
    pub(crate) fn publish_failure(&self, reason: String) {
        *self.obstacle.write() = Some(format!("this node failed, restart it: {reason}"));
        self.state.send_replace(NodeState::Joining);
        // It fails once.
        let _before = self.failure.set(reason);
    }

    /// The peer for a life of a node. It is made when there is none.
    fn ensure_peer(&self, id: NodeId, incarnation: Incarnation) -> Arc<Peer> {
        let known = self.peer(&id);
        if let Some(peer) = known.filter(|peer| peer.incarnation == incarnation) {
            return peer;
        }
        self.forget_peer(&id);
        let known = self.past.lock().take(&id, incarnation, self.emitted.get());
        let new = || Arc::new(Peer::new(id.clone(), incarnation, log_id(), Instant::now()));
        let peer = known.unwrap_or_else(new);
        self.peers.write().insert(id, Arc::clone(&peer));
        peer
    }

    /// The known life of a node.
    pub(crate) fn peer(&self, id: &NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(id).cloned()
    }

    /// Every known life of a node.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().cloned().collect()
    }

    /// A life of a node is over: its log is of no use any more.
    pub(crate) fn forget_peer(&self, id: &NodeId) {
        let mut past = self.past.lock();
        let peer = self.peers.write().remove(id);
        if let Some(peer) = peer {
            past.add(Arc::clone(&peer), self.emitted.get());
            self.log_losses(&peer, None);
        }
    }

    /// Drops what is too old, and logs what was lost.
    pub(crate) fn expire(&self, now: Instant) {
        for peer in self.peers() {
            peer.expire(now);
            self.log_losses(&peer, Some(now));
        }
    }

    /// Logs what was lost between this node and a peer; with `None`, the last losses of a life that is over.
    fn log_losses(&self, peer: &Peer, now: Option<Instant>) {
        let Some(Losses { lost, missed }) = peer.losses_to_log(now) else { return };
        let (node, peer) = (&self.me.id, &peer.id);
        let LossCounts { expired, overflow, dead } = lost;
        if lost.total() > 0 {
            tracing::warn!(%node, %peer, expired, overflow, dead, "gave up messages for the peer");
        }
        if missed > 0 {
            tracing::warn!(%node, %peer, missed, "the peer gave up messages for this node");
        }
    }

    /// Everything that was counted.
    pub(crate) fn counts(&self) -> Vec<Count> {
        // While this is locked no life ends, so each is counted once.
        let past = self.past.lock();
        let (mut outgoing, mut incoming) = past.total();
        for peer in self.peers() {
            let counters = peer.counters();
            outgoing.add(counters.outgoing);
            incoming.add(counters.incoming);
        }
        drop(past);
        let MembershipChanges { joined, left, died } = *self.changes.read();
        let of_peers = [
            ("socketmesh_cluster_members_joined_total", "Lives of other nodes that became members", joined),
            ("socketmesh_cluster_members_left_total", "Members that left in good order", left),
            (
                "socketmesh_cluster_members_died_total",
                "Members that went without a goodbye, or were replaced by a newer life",
                died,
            ),
            ("socketmesh_cluster_messages_sent_total", "Messages queued for other nodes", outgoing.sent),
            (
                "socketmesh_cluster_messages_received_total",
                "Messages of other nodes delivered here",
                incoming.received,
            ),
            (
                "socketmesh_cluster_messages_duplicate_total",
                "Messages that came a second time and were dropped",
                incoming.duplicates,
            ),
            (
                "socketmesh_cluster_messages_given_up_total",
                "Messages that this node gave up for another one",
                outgoing.lost.total(),
            ),
            (
                "socketmesh_cluster_messages_given_up_but_arrived_total",
                "Messages that this node gave up and that had arrived all the same",
                outgoing.arrived,
            ),
            (
                "socketmesh_cluster_messages_lost_total",
                "Messages that another node gave up before they reached this one",
                incoming.missed,
            ),
            (
                "socketmesh_cluster_volatile_messages_dropped_total",
                "Volatile messages dropped because a link was down or behind",
                outgoing.volatile_dropped,
            ),
        ];
        let of_peers = of_peers.map(|(name, help, value)| Count { name, help, value });
        of_peers.into_iter().chain(self.counters.counts()).collect()
    }

    /// What was counted about each life of another node, those that are over first.
    pub(crate) fn peer_counters(&self) -> Vec<PeerCounters> {
        let past = self.past.lock();
        let present = self.peers().into_iter().map(|peer| peer.counters());
        past.last().chain(present).collect()
    }

    /// The life of a node that asked, if it is not over.
    pub(crate) fn requester(&self, requester: &Requester) -> Option<Arc<Peer>> {
        self.peer(&requester.node).filter(|peer| peer.incarnation == requester.incarnation)
    }

    /// Queues a part of a response. A part that is too large ends the response.
    pub(crate) fn respond(&self, to: &Requester, response: Response) {
        let Some(peer) = self.requester(to) else { return };
        let body = encode_response(to.request, response).or_else(|error| {
            self.count_oversized(&error);
            encode_response(to.request, Response::failed())
        });
        if let Ok(body) = body {
            peer.push(body, false, Instant::now());
        }
    }

    /// An answer, or a question that names many rooms, is too large. Whoever waits for answers learns which nodes are missing.
    pub(crate) fn count_oversized(&self, error: &WireError) {
        self.counters.oversized.increment();
        tracing::warn!(node = %self.me.id, %error, "a message is too large for other nodes");
    }

    /// The peers that get broadcasts.
    pub(crate) fn roster(&self) -> Arc<[Arc<Peer>]> {
        Arc::clone(&self.roster.read())
    }

    /// The same, for a message to whoever wants it.
    pub(crate) fn emit(&self) -> Arc<[Arc<Peer>]> {
        let roster = self.roster.read();
        self.emitted.increment();
        Arc::clone(&roster)
    }

    /// How to reach a node, if it can be reached.
    pub(crate) fn route(&self, to: &NodeId) -> Option<Route<Arc<PeerConnection>>> {
        self.routes.read().get(to).cloned()
    }

    /// The connections to other nodes than this one, which may reach it where this node does not.
    pub(crate) fn around(&self, node: &NodeId) -> Vec<(NodeId, Arc<PeerConnection>)> {
        let routes = self.routes.read();
        let others = routes.iter().filter(|(other, _)| *other != node);
        others
            .filter_map(|(id, route)| match route {
                Route::Direct(connection) => Some((id.clone(), Arc::clone(connection))),
                Route::Through(_) => None,
            })
            .collect()
    }

    /// The connection to a node, if there is one.
    pub(crate) fn connection(&self, to: &NodeId) -> Option<Arc<PeerConnection>> {
        match self.route(to)? {
            Route::Direct(connection) => Some(connection),
            Route::Through(_) => None,
        }
    }

    /// The addresses of the directly linked nodes, as gossip knows them.
    pub(crate) fn gossip_addresses(&self) -> Vec<SocketAddr> {
        self.gossip.read().keys().copied().collect()
    }

    /// The connection to the node that gossips from this address.
    pub(crate) fn gossip_connection(&self, address: SocketAddr) -> Option<Arc<PeerConnection>> {
        self.gossip.read().get(&address).cloned()
    }

    /// Says which settings of sessions another node has otherwise, once and then seldom.
    pub(crate) fn warn_of_settings(&self, greeting: &Greeting) {
        let differing = &greeting.differing;
        if !differing.is_empty() && self.differing.allows("settings", &greeting.id, SELDOM, Instant::now()) {
            let differing = differing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let differing = Excerpt::list(differing);
            tracing::warn!(node = %self.me.id, peer = %greeting.id, %differing, "the peer has other settings of sessions: \
                clients get those of the node that opens their session, and others on the way. Give all nodes the same");
        }
    }

    /// What to say to a node in a hello. Its packets come from `remote`; `None` when the hello is relayed.
    pub(crate) fn hello(&self, to: &NodeId, remote: Option<SocketAddr>) -> pb::Hello {
        // The lock on `peers` is free before that of the peer is taken: a task that receives from the peer holds the latter
        // and may want the former.
        let peer = self.peer(to);
        let resume = peer.map_or_else(Resume::default, |peer| peer.resume());
        let state = *self.state.borrow();
        let view = Arc::clone(&self.view.borrow());
        let own = &self.me.address;
        let address = match remote {
            Some(remote) => own.towards(remote, source_towards(own.bound, remote)),
            None => view.member(&self.me.id).map_or(own.first, |me| me.address),
        };
        let peer = remote.unwrap_or(own.bound);
        // The receiver first: it learns from this when a newer life of it is a member.
        let (receiver, others): (Vec<_>, Vec<_>) = view
            .members
            .iter()
            .filter(|member| member.id != self.me.id)
            .map(|member| KnownMember::from(member).for_peer(|address| may_be_told(address, peer)))
            .partition(|member| member.id == *to);
        self.me.hello(address, state, resume, receiver.into_iter().chain(others))
    }
}

const JOINING: &str = "this node is joining its cluster";

/// Names a log. No two logs have the same name.
fn log_id() -> u64 {
    // Without a random generator there is no TLS either, so this node would not run.
    random::number().map_or(1, |id| id.max(1))
}
