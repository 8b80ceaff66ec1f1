//! When a node takes clients (docs/protocol/mesh.md, "Hello", "Complete views").

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::completeness::Links;
use super::output::{Offer, Output};
use super::pulse::Beat;
use super::remote_node::RemoteNode;
use super::{Control, Farewell, WARNING_INTERVAL};
use crate::cluster::view::NodeState;
use crate::excerpt::Excerpt;
use crate::id::NodeId;

/// Why a node that does not stop takes no clients.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Obstacle {
    /// A newer life of it is a member.
    Outdated,
    /// It has not found its cluster.
    NotFound,
    /// These members have not answered, or it has lost them.
    Missing(BTreeSet<NodeId>),
}

impl Control {
    /// A node is ready when it has found its cluster and is in the ring of every member, and for as long as it reaches them.
    pub(super) fn decide_readiness(&mut self, now: Instant) {
        if self.farewell != Farewell::Staying
            || self.told_state() != self.state
            || self.state == NodeState::Draining
        {
            return;
        }
        let obstacle = self.obstacle(now);
        match (self.state, obstacle) {
            (NodeState::Joining, None) if self.missed.is_none_or(|missed| now >= missed + RECOVERY) => {
                self.missed = None;
                self.change_state(NodeState::Ready);
                tracing::info!(node = %self.me.id, members = self.liveness.members().count() + 1, "ready");
            }
            (NodeState::Ready, Some(obstacle)) => {
                self.change_state(NodeState::Joining);
                if let Obstacle::Missing(missing) = obstacle {
                    self.missed = Some(now);
                    let missing = Excerpt::list(self.in_words(&missing));
                    tracing::warn!(node = %self.me.id, %missing, "not ready any more: others reach members that this node does not");
                }
            }
            (NodeState::Joining, Some(Obstacle::Missing(_))) if self.missed.is_some() => {
                self.missed = Some(now);
            }
            _ => {}
        }
    }

    /// What others are told of this node. One whose application hangs is of no use to clients, whatever else it is.
    pub(super) fn told_state(&self) -> NodeState {
        if self.pulse.is_hung() { NodeState::Hung } else { self.state }
    }

    /// Asks the application's runtime whether it runs.
    pub(super) fn ask_application(&mut self, late: Duration, now: Instant) {
        match self.pulse.handle_tick(late, now) {
            Beat::Wait => {}
            Beat::Ask => self.outputs.push_back(Output::AskApplication),
            Beat::Hung => {
                self.changed = true;
                tracing::warn!(node = %self.me.id, "the application's runtime has run nothing for 10 s: this node is not \
                    ready and no member until it runs again. Does something block its threads? Work that blocks belongs \
                    into tokio's `spawn_blocking`");
            }
        }
    }

    pub(super) fn answer_for_application(&mut self) {
        if self.pulse.handle_answer() {
            self.changed = true;
            tracing::warn!(node = %self.me.id, "the application's runtime runs again: this node is a member again");
        }
    }

    /// Says when the application of another node begins or ends to hang.
    pub(super) fn note_hanging(&self, id: &NodeId, state: NodeState) {
        let hung = self.nodes.get(id).is_some_and(|node| node.state == NodeState::Hung);
        let node = &self.me.id;
        match (hung, state) {
            (false, NodeState::Hung) => {
                tracing::warn!(%node, peer = %id, "the application of the peer hangs: it is no member until it runs");
            }
            (true, NodeState::Joining | NodeState::Ready | NodeState::Draining) => {
                tracing::info!(%node, peer = %id, "the application of the peer runs again: it is a member again");
            }
            (true, NodeState::Hung) | (false, _) => {}
        }
    }

    fn change_state(&mut self, state: NodeState) {
        self.state = state;
        self.changed = true;
    }

    fn obstacle(&self, now: Instant) -> Option<Obstacle> {
        if self.believes_to_be_outdated(now) {
            return Some(Obstacle::Outdated);
        }
        if self.state == NodeState::Joining && !self.has_found_cluster(now) {
            return Some(Obstacle::NotFound);
        }
        let missing = match self.state {
            NodeState::Joining if self.serve_alone && now >= self.started + PATIENCE => BTreeSet::new(),
            NodeState::Joining => self.awaited(now),
            NodeState::Ready if self.serve_alone => BTreeSet::new(),
            NodeState::Ready | NodeState::Draining | NodeState::Hung => {
                self.completeness.lasting(now).cloned().collect()
            }
        };
        let excused =
            missing.is_empty() || self.state == NodeState::Ready && self.is_on_the_serving_side(now);
        (!excused).then_some(Obstacle::Missing(missing))
    }

    /// What keeps this node from taking clients, for people.
    pub(super) fn obstacle_in_words(&self, now: Instant) -> Option<String> {
        if self.state == NodeState::Draining || self.farewell != Farewell::Staying {
            return Some("this node is shutting down".to_owned());
        }
        if self.pulse.is_hung() {
            return Some("the application of this node hangs".to_owned());
        }
        match self.obstacle(now) {
            Some(Obstacle::Outdated) => Some("a newer life of this node is a member".to_owned()),
            Some(Obstacle::NotFound) => {
                let seeds = self.seeds.unanswered();
                let why =
                    if seeds.is_empty() { String::new() } else { format!(": no seed answers: {seeds}") };
                Some(format!("this node is joining its cluster{why}"))
            }
            Some(Obstacle::Missing(missing)) if self.missed.is_some() => {
                Some(format!("this node misses members that others reach: {}", self.in_words(&missing)))
            }
            Some(Obstacle::Missing(missing)) => Some(format!(
                "this node is joining its cluster: members do not answer: {}",
                self.in_words(&missing)
            )),
            None if self.state == NodeState::Joining => Some("this node is joining its cluster".to_owned()),
            None => None,
        }
    }

    /// The names of these nodes, each with what is known about why it has no link.
    fn in_words(&self, nodes: &BTreeSet<NodeId>) -> String {
        let name = |id: &NodeId| match self.nodes.get(id).and_then(|node| node.trouble.as_deref()) {
            Some(trouble) => format!("{id} ({trouble})"),
            None => id.to_string(),
        };
        nodes.iter().take(NAMED).map(name).collect::<Vec<_>>().join(", ")
    }

    fn believes_to_be_outdated(&self, now: Instant) -> bool {
        self.outdated_until.is_some_and(|until| now < until)
    }

    /// Whether the other node knows a newer life of this one.
    pub(super) fn is_outdated_by(&mut self, offer: &Offer, now: Instant) -> bool {
        let mut named = offer.greeting.members.iter().filter(|member| member.id == self.me.id);
        let is_outdated = named.any(|member| member.incarnation > self.me.incarnation);
        if is_outdated {
            self.handle_outdated(&offer.greeting.id, now);
        }
        is_outdated
    }

    /// A member knows a newer life of this node. The others do not route to this one, so it takes no clients.
    pub(super) fn handle_outdated(&mut self, peer: &NodeId, now: Instant) {
        self.outdated_until = Some(now + OUTDATED);
        if self.warnings.allows("outdated", peer.as_str(), WARNING_INTERVAL, now) {
            let (node, incarnation) = (&self.me.id, self.me.incarnation.0);
            tracing::warn!(%node, %peer, incarnation, "not ready: the peer knows a newer life of this node. Either the \
                clock of this machine was set back since then, or another process runs with the same node id");
        }
    }

    /// Whether this node is linked with a member that is ready, or there is none: its seeds are as new as this node, or there
    /// are no others. Then the members of its earlier life, if there are any, had the time to find it. Every seed gets that
    /// time to answer: when a partition has just healed, one side does not know of the other yet. A seed that leads to several
    /// nodes is asked several times before, because nodes that start together meet some of the others there and not all.
    pub(super) fn has_found_cluster(&self, now: Instant) -> bool {
        let knows_seeds = self.seeds.is_only_this_node() || self.seeds.is_found(self.serve_alone);
        let had_time = now >= self.started + WAIT_TO_BE_FOUND;
        self.is_linked_with_a_ready_member() && (had_time || self.seeds.are_tried())
            || knows_seeds && had_time && self.seeds.are_explored()
    }

    fn is_linked_with_a_ready_member(&self) -> bool {
        self.nodes.values().any(|node| node.greeted && node.link.is_some() && node.serves())
    }

    /// The nodes that a joining node waits for: living members with which no hello was exchanged, nodes that a hello named
    /// and that have not answered yet, and members that it had and lost. It does not wait for ever for a member to which
    /// there is no way, if the side on which it is goes on serving.
    fn awaited(&self, now: Instant) -> BTreeSet<NodeId> {
        let is_greeted = |id: &NodeId| {
            self.nodes.get(id).is_some_and(|node| node.greeted || node.state == NodeState::Hung)
        };
        let members = self.liveness.members().map(|(id, _)| id).filter(|id| !is_greeted(id));
        let is_unconfirmed = |node: &RemoteNode| !node.confirmed && node.is_sought(now);
        let unconfirmed = self.nodes.iter().filter(|(_, node)| is_unconfirmed(node)).map(|(id, _)| id);
        let mut awaited: BTreeSet<_> =
            members.chain(unconfirmed).chain(self.completeness.lasting(now)).cloned().collect();
        let is_given_up = |id: &NodeId| self.completeness.is_given_up(id, now) && self.relays(id).is_empty();
        if awaited.iter().any(is_given_up) && self.is_on_the_serving_side(now) {
            awaited.retain(|id| !is_given_up(id));
        }
        awaited
    }

    /// Notes of which nodes others should know that this one has no direct link to them: members, and those that it holds for dead,
    /// which others may not do yet.
    pub(super) fn note_missing_links(&mut self, now: Instant) {
        let is_known = |id: &NodeId, node: &RemoteNode| {
            node.confirmed && (self.liveness.incarnation(id).is_some() || node.is_sought(now))
        };
        let missing = self.nodes.iter().filter(|(id, node)| is_known(id, node) && node.is_missed(now));
        let missing = missing.map(|(id, _)| id.clone()).collect();
        let known = std::mem::replace(&mut self.missing_links, missing);
        self.changed |= known != self.missing_links;
    }

    /// The other members, without those whose application hangs.
    fn running_members(&self) -> impl Iterator<Item = (&NodeId, &RemoteNode)> {
        let members = self.liveness.members().filter_map(|(id, _)| Some((id, self.nodes.get(id)?)));
        members.filter(|(_, node)| node.state != NodeState::Hung)
    }

    /// Finds out whom this node misses.
    pub(super) fn examine_view(&mut self, now: Instant) {
        // A node that has never been ready, and that this node has not met, has no client that could miss anything.
        let is_missed =
            |node: &RemoteNode| node.link.is_none() && (node.greeted || node.state != NodeState::Joining);
        let is_linked_by_another = |id: &NodeId, node: &RemoteNode| {
            self.running_members()
                .any(|(other, its)| other != id && are_linked((id, node), (other, its), now))
        };
        let missed =
            self.running_members().filter(|(id, node)| is_missed(node) && is_linked_by_another(id, node));
        let missed: Vec<_> = missed.map(|(id, _)| id.clone()).collect();
        let is_unreached = |id: &&NodeId| self.nodes.get(*id).is_none_or(|node| node.is_cut_off(now));
        let unreached = self.liveness.members().map(|(id, _)| id).filter(is_unreached).cloned().collect();
        let known = std::mem::replace(&mut self.unreached, unreached);
        // What keeps it from being ready is told in words that may be other ones now.
        self.changed |= known != self.unreached || self.state == NodeState::Joining;
        self.completeness.update(missed, now);
    }

    fn is_on_the_serving_side(&self, now: Instant) -> bool {
        let mut links = Links::default();
        for (id, node) in self.running_members() {
            if node.direct_link().is_some() {
                links.insert(&self.me.id, id);
            }
            let greater = self.running_members().filter(|(other, _)| *other > id);
            let linked = greater.filter(|(other, its)| are_linked((id, node), (*other, *its), now));
            linked.for_each(|(other, _)| links.insert(id, other));
        }
        links.is_on_the_serving_side(&self.me.id)
    }

    pub(super) fn warn_of_trouble(&mut self, now: Instant) {
        let node = &self.me.id;
        let say = |kind, target: &str| self.warnings.allows(kind, target, WARNING_INTERVAL, now);
        // A node that may serve alone says so as well: nobody else would notice.
        let answered = self.seeds.is_only_this_node()
            || self.seeds.is_found(false)
            || self.is_linked_with_a_ready_member();
        if !answered && say("not found", "") {
            tracing::warn!(%node, seeds = %Excerpt::list(self.seeds.unanswered()), "no seed answers");
        }
        match self.obstacle(now) {
            // Both were said: the one when it was learned.
            Some(Obstacle::Outdated | Obstacle::NotFound) => {}
            Some(Obstacle::Missing(missing)) if say("missing", "") => {
                let missing = Excerpt::list(self.in_words(&missing));
                tracing::warn!(%node, %missing, "not ready: waiting for members to answer");
            }
            _ => {}
        }
        let missed: BTreeSet<_> = self.completeness.lasting(now).cloned().collect();
        if self.state == NodeState::Ready && !missed.is_empty() && say("incomplete", "") {
            let missed = Excerpt::list(self.in_words(&missed));
            tracing::warn!(%node, %missed, "serves although it misses members that others reach: it is on the side of a \
                split that goes on serving");
        }
        for (id, other) in &self.nodes {
            let trouble = other.trouble.as_ref().filter(|_| other.is_hard_to_reach(now));
            if let Some(trouble) = trouble.filter(|_| self.liveness.incarnation(id).is_some()) {
                let (relayed, trouble) = (other.link.is_some(), Excerpt::reason(trouble));
                if say("no direct link", id.as_str()) {
                    tracing::warn!(%node, peer = %id, relayed, %trouble, "no direct link to the member");
                }
            }
        }
        for (address, nodes) in self.shared_addresses(now) {
            if say("shared", &address.to_string()) {
                let nodes = Excerpt::list(format!("{nodes:?}"));
                tracing::warn!(%node, %address, %nodes, "several nodes advertise the same address: give each one that \
                    leads to it alone");
            }
        }
    }

    /// Addresses that more than one living node advertises.
    fn shared_addresses(&self, now: Instant) -> BTreeMap<SocketAddr, Vec<&NodeId>> {
        let mut nodes: BTreeMap<SocketAddr, Vec<&NodeId>> =
            BTreeMap::from([(self.address, vec![&self.me.id])]);
        for (id, _) in self.liveness.members() {
            // The earlier life of a node without a name of its own is gone by then.
            let node = self.nodes.get(id).filter(|node| node.link.is_some() || node.is_hard_to_reach(now));
            if let Some(address) = node.and_then(|node| node.addresses.advertised()) {
                nodes.entry(address).or_default().push(id);
            }
        }
        nodes.retain(|_, nodes| nodes.len() > 1);
        nodes
    }
}

/// Whether two members have a direct link, as they gossip: neither of them misses the other, and they had the time to say so.
fn are_linked(
    (one, node): (&NodeId, &RemoteNode),
    (other, its): (&NodeId, &RemoteNode),
    now: Instant,
) -> bool {
    let have_told = node.has_told(now) && its.has_told(now);
    have_told && !node.misses.contains(other) && !its.misses.contains(one)
}

/// How long a node waits for members that knew it before, unless one that is ready has found it: they dial it every second, and
/// a dial that began before this start takes a moment to be repeated.
pub(super) const WAIT_TO_BE_FOUND: Duration = Duration::from_millis(1300);
/// How long a node with `serve_alone` waits for members that do not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a refusal as an older life counts. It is repeated with each dial, about every second.
pub(super) const OUTDATED: Duration = Duration::from_secs(3);
/// How long a node that missed others must reach them before it takes clients again.
const RECOVERY: Duration = Duration::from_secs(2);
/// As many nodes are named in a line.
const NAMED: usize = 16;
