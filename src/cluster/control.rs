//! The membership of one node as a state machine: who is dialled, which connection is the link to a node, who is alive, when
//! this node is ready (docs/protocol/mesh.md, "Hello", "Links", "Death needs two witnesses", "Relay").
//!
//! It has no task, no clock and no socket. The control actor says what happened and when, and carries out in order what
//! [`Control::poll_output`] returns, until there is nothing more. Every [`LinkId`] that the actor offers is refused, or
//! closed in the end.

mod dial;
mod link_choice;
mod liveness;
mod remote_node;
mod seeds;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::replay_log::MAX_AGE;
use super::hello::{Greeting, KnownMember, LinkId, LocalNode};
use super::view::{LinkState, MemberView, NodeState};
use super::wire::{CloseCode, pb};
use crate::id::{Incarnation, NodeId};
use crate::log_limit::LogLimit;
use dial::DialSchedule;
pub(crate) use dial::{DialError, DialTarget};
use link_choice::ActiveLink;
pub(crate) use link_choice::Path;
pub(crate) use liveness::TICK;
use liveness::{Death, LinkHealth, Liveness, Verdict};
use pb::refusal::Reason;
use remote_node::RemoteNode;
use seeds::Seeds;

/// What the control actor has to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Dial this address and say hello. [`Control::handle_dialled`] hears what came of it.
    Dial(DialTarget, SocketAddr),
    /// Say hello to a node through the direct link to another one. [`Control::handle_dialled`] hears what came of it.
    DialThrough { to: NodeId, relay: LinkId },
    /// Look up the addresses of a seed. [`Control::handle_resolved`] gets them.
    Resolve { seed: usize, name: String },
    /// Make this the link to its node: accept the hello if the other node said it, and start to carry messages.
    Adopt(LinkId),
    /// Answer the hello with a refusal. The link ends by that.
    Refuse(LinkId, Reason, &'static str),
    /// End the link now, and its connection if it has one.
    Close(LinkId, CloseCode),
    /// Ask the other end of a direct link for a sign of life.
    Ping(LinkId),
    /// Tell the other tasks of this node what changed.
    Publish(Publication),
    /// Gossip this node's state and the nodes to which it has a direct link.
    Announce { state: NodeState, neighbours: Vec<NodeId> },
    /// Gossip at once with the node at this address, which was just linked.
    GossipWith(SocketAddr),
    /// A node has been away for so long that its messages are not kept any more. From now on they are only numbered.
    DropLog(NodeId),
    /// A life of a node is over. Its log and everything else about it goes.
    Forget(NodeId),
    /// Send what is queued for a node, then a goodbye.
    SayGoodbye(NodeId),
    /// Every link has ended after its goodbye, or took too long. Happens once, after [`Control::handle_leave`].
    Left,
}

/// What the other tasks of a node may know about the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    /// The state of this node.
    pub(crate) state: NodeState,
    /// The members of the ring, this node included, sorted by id.
    pub(crate) members: Vec<MemberView>,
    /// The lives of nodes that get broadcasts.
    pub(crate) roster: Vec<(NodeId, Incarnation)>,
    /// How to reach each node that can be reached.
    pub(crate) routes: Vec<(NodeId, Route<LinkId>)>,
    /// The direct links by the address from which their nodes gossip.
    pub(crate) gossip: Vec<(SocketAddr, LinkId)>,
}

/// How to reach a node: over connections of the type `C`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route<C> {
    Direct(C),
    /// Through one of the nodes at the other ends of these, the best one first. There is at least one.
    Through(Vec<C>),
}

/// A stream on which another node said hello, or answered this node's hello.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) link: LinkId,
    pub(crate) greeting: Greeting,
    pub(crate) path: Path,
}

/// What gossip says about one living node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GossipMember {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: SocketAddr,
    pub(crate) state: NodeState,
    /// The nodes to which it has a direct link.
    pub(crate) neighbours: Vec<NodeId>,
}

/// The membership of one node.
#[derive(Debug)]
pub(crate) struct Control {
    me: LocalNode,
    state: NodeState,
    nodes: BTreeMap<NodeId, RemoteNode>,
    liveness: Liveness,
    seeds: Seeds,
    serve_alone: bool,
    started: Instant,
    /// Addresses with a dial in progress.
    dialling: HashSet<SocketAddr>,
    /// Links that another one replaced, with the time at which they are closed.
    retired: Vec<(Instant, LinkId)>,
    /// A member refused this node as an older life of itself. That is believed until this time.
    outdated_until: Option<Instant>,
    farewell: Farewell,
    ticks: u64,
    /// Whether something changed that the other tasks or the other nodes must know.
    changed: bool,
    announced: Option<(NodeState, Vec<NodeId>)>,
    warnings: LogLimit,
    outputs: VecDeque<Output>,
}

/// How far this node is in leaving the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Staying,
    /// The goodbyes may take until then.
    Leaving {
        until: Instant,
    },
    Left,
}

impl Control {
    /// A node that just started and is bound to `local`.
    pub(crate) fn new(
        me: LocalNode,
        local: SocketAddr,
        seeds: Vec<String>,
        serve_alone: bool,
        now: Instant,
    ) -> Self {
        Self {
            state: NodeState::Joining,
            nodes: BTreeMap::new(),
            liveness: Liveness::default(),
            seeds: Seeds::new(seeds, [me.address, local]),
            serve_alone,
            started: now,
            dialling: HashSet::new(),
            retired: Vec::new(),
            outdated_until: None,
            farewell: Farewell::Staying,
            ticks: 0,
            changed: true,
            announced: None,
            warnings: LogLimit::default(),
            outputs: VecDeque::new(),
            me,
        }
    }

    /// What to do next.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The link to a node, if it has one.
    pub(crate) fn link_to(&self, id: &NodeId) -> Option<LinkId> {
        Some(self.nodes.get(id)?.link?.id)
    }
}

// What happens.
impl Control {
    /// Another node said hello and waits for the answer.
    pub(crate) fn handle_hello(&mut self, offer: Offer, now: Instant) {
        let Greeting { id, incarnation, .. } = &offer.greeting;
        if self.farewell != Farewell::Staying {
            self.refuse(&offer, Reason::Leaving, "this node is leaving");
        } else if self.is_outdated(id, *incarnation) {
            self.refuse(&offer, Reason::Stale, "a newer life of this node is a member; is its clock right?");
        } else if !self.prefers(&offer, false, now) {
            self.refuse(&offer, Reason::Duplicate, "another connection is preferred");
        } else {
            self.adopt(&offer, false, now);
            self.follow(offer.greeting.members, now);
        }
        self.settle(now);
    }

    /// A dial ended: the other node answered this node's hello, or there is no link.
    pub(crate) fn handle_dialled(
        &mut self,
        target: &DialTarget,
        outcome: Result<Offer, DialError>,
        now: Instant,
    ) {
        self.end_dial(target, &outcome, now);
        match outcome {
            Ok(offer) => {
                let outdated = self.is_outdated(&offer.greeting.id, offer.greeting.incarnation);
                if outdated || self.farewell != Farewell::Staying || !self.prefers(&offer, true, now) {
                    self.retire(offer.link, now);
                } else {
                    self.adopt(&offer, true, now);
                }
                self.follow(offer.greeting.members, now);
            }
            Err(error) => self.handle_dial_error(target, &error, now),
        }
        self.settle(now);
    }

    /// The other end of a link has begun to speak: it has the answer to its hello, so both have each other in the ring.
    pub(crate) fn handle_started(&mut self, id: &NodeId, link: LinkId, now: Instant) {
        if let Some(node) = self.nodes.get_mut(id).filter(|node| node.has_link(link)) {
            node.greeted = true;
        }
        self.settle(now);
    }

    /// The other end of a direct link gave a sign of life at that time. Belongs before the tick that it counts for.
    pub(crate) fn handle_sign_of_life(&mut self, id: &NodeId, link: LinkId, at: Instant) {
        let link =
            self.nodes.get_mut(id).filter(|node| node.has_link(link)).and_then(|node| node.link.as_mut());
        if let Some(link) = link {
            link.answered = link.answered.max(at);
        }
    }

    /// A link ended.
    pub(crate) fn handle_lost(&mut self, id: &NodeId, link: LinkId, now: Instant) {
        self.lose(id, link, now);
        self.settle(now);
    }

    /// A node left the cluster.
    pub(crate) fn handle_goodbye(&mut self, id: &NodeId, incarnation: Incarnation, now: Instant) {
        let verdicts = self.liveness.handle_goodbye(now, id, incarnation);
        self.apply(verdicts, now);
        self.settle(now);
    }

    /// The living nodes, as gossip sees them; of each the newest life.
    pub(crate) fn handle_gossip(&mut self, members: Vec<GossipMember>, now: Instant) {
        let alive = members.iter().map(|member| (member.id.clone(), member.incarnation)).collect();
        let verdicts = self.liveness.handle_gossip(now, &alive);
        self.apply(verdicts, now);
        for GossipMember { id, incarnation, address, state, neighbours } in members {
            if self.liveness.incarnation(&id) == Some(incarnation) {
                let node = self.confirm(id, incarnation, address, now);
                (node.state, node.neighbours) = (state, neighbours.into_iter().collect());
            }
        }
        self.changed = true;
        self.settle(now);
    }

    /// The addresses of a seed; none if its name was not found.
    pub(crate) fn handle_resolved(&mut self, seed: usize, addresses: Vec<SocketAddr>, now: Instant) {
        let linked = self.nodes.values().flat_map(RemoteNode::linked_addresses).collect();
        for address in self.seeds.handle_resolved(seed, addresses, &linked, now) {
            if !self.dialling.contains(&address) {
                self.dial(DialTarget::Seed(seed, address), address);
            }
        }
        self.settle(now);
    }

    /// Time passes. To be called every [`TICK`].
    pub(crate) fn handle_tick(&mut self, now: Instant) {
        self.ticks += 1;
        // The first step, because it notices whether this node itself stood still.
        let verdicts = self.liveness.handle_tick(now);
        self.apply(verdicts, now);
        self.examine_links(now);
        self.close_retired(now);
        self.forget_expired(now);
        if self.ticks % TICKS_PER_SECOND == 1 {
            self.look_up_seeds();
        }
        self.dial_through_relays(now);
        if self.ticks.is_multiple_of(WARNING_TICKS) {
            self.warn_while_waiting(now);
        }
        self.settle(now);
    }

    /// This node takes no new clients any more.
    pub(crate) fn handle_drain(&mut self, now: Instant) {
        self.state = NodeState::Draining;
        self.changed = true;
        self.settle(now);
    }

    /// This node leaves: it says goodbye on every link and takes no other.
    pub(crate) fn handle_leave(&mut self, now: Instant) {
        if self.farewell == Farewell::Staying {
            self.farewell = Farewell::Leaving { until: now + LEAVE };
            let linked = self.nodes.iter().filter(|(_, node)| node.link.is_some());
            self.outputs.extend(linked.map(|(id, _)| Output::SayGoodbye(id.clone())));
        }
        self.settle(now);
    }

    /// What follows from the new state, after every input.
    fn settle(&mut self, now: Instant) {
        self.dial_due_nodes(now);
        self.become_ready(now);
        if std::mem::take(&mut self.changed) {
            self.publish(now);
            self.announce();
        }
        self.finish_leaving(now);
    }
}

// Links.
impl Control {
    /// Whether to take an offered link, although there may be one to that node.
    fn prefers(&self, offer: &Offer, dialled: bool, now: Instant) -> bool {
        let Greeting { id, incarnation, .. } = &offer.greeting;
        let same_life = self.nodes.get(id).filter(|node| node.incarnation == *incarnation);
        let link = same_life.and_then(|node| node.link);
        link.is_none_or(|link| link.gives_way(offer.path, dialled, self.me.id < *id, now))
    }

    fn adopt(&mut self, offer: &Offer, dialled: bool, now: Instant) {
        let Offer { link: id, path, ref greeting } = *offer;
        let Some(verdicts) = self.liveness.handle_hello(now, &greeting.id, greeting.incarnation) else {
            // The callers have asked `is_outdated` before.
            return self.retire(id, now);
        };
        self.apply(verdicts, now);
        let node = self.confirm(greeting.id.clone(), greeting.incarnation, greeting.address, now);
        // A node that answered has this node in its ring. A node that asked has it once it got the answer, see `handle_started`.
        (node.state, node.greeted) = (greeting.state, node.greeted || dialled);
        let replaced = node.link.replace(ActiveLink { id, path, dialled, since: now, answered: now });
        // Before the answer to the hello goes out: it promises a place in the ring and every broadcast from now on.
        self.publish(now);
        self.outputs.push_back(Output::Adopt(id));
        if let Some(replaced) = replaced {
            self.retire(replaced.id, now);
        }
        tracing::info!(node = %self.me.id, peer = %greeting.id, relayed = !path.is_direct(), "linked");
        self.changed = true;
        if path.is_direct() {
            self.outputs.push_back(Output::GossipWith(greeting.address));
        }
    }

    fn refuse(&mut self, offer: &Offer, reason: Reason, detail: &'static str) {
        tracing::debug!(node = %self.me.id, peer = %offer.greeting.id, reason = detail, "refused a hello");
        self.outputs.push_back(Output::Refuse(offer.link, reason, detail));
    }

    /// Closes a link that is not needed a little later: requests that use its connection may end, and the other end, which
    /// may not have seen the link that replaces it, does not take its end for a loss.
    fn retire(&mut self, link: LinkId, now: Instant) {
        self.retired.push((now + RETIREMENT, link));
    }

    fn close_retired(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.retired).into_iter().partition(|(due, _)| now >= *due);
        self.retired = later;
        let due: Vec<_> = due;
        self.outputs.extend(due.into_iter().map(|(_, link)| Output::Close(link, CloseCode::Superseded)));
    }

    fn lose(&mut self, id: &NodeId, link: LinkId, now: Instant) {
        let Some(node) = self.nodes.get_mut(id).filter(|node| node.has_link(link)) else { return };
        tracing::info!(node = %self.me.id, peer = %id, "link lost");
        node.unlinked = now;
        node.dial = DialSchedule::in_turn(now, &self.me.id, id);
        self.unlink(id, CloseCode::Silent);
        self.liveness.handle_link(id, LinkHealth::Lost);
        self.changed = true;
    }

    /// Ends the link to a node, if it has one. What the node has not confirmed stays in the log.
    fn unlink(&mut self, id: &NodeId, code: CloseCode) {
        let link = self.nodes.get_mut(id).and_then(|node| node.link.take());
        self.outputs.extend(link.map(|link| Output::Close(link.id, code)));
    }

    /// Pings every direct link, and gives up those that do not answer.
    fn examine_links(&mut self, now: Instant) {
        let stalled = self.liveness.doubts(now);
        let ping = self.ticks.is_multiple_of(PING_TICKS);
        let mut silent = Vec::new();
        for (id, node) in &self.nodes {
            // Relayed links have no datagrams. Their relay notices when they break.
            let Some(link) = node.link.filter(ActiveLink::is_direct) else { continue };
            if ping {
                self.outputs.push_back(Output::Ping(link.id));
            }
            let silence = now.saturating_duration_since(link.answered);
            let health = if silence < HEALTHY { LinkHealth::Healthy } else { LinkHealth::Silent };
            self.liveness.handle_link(id, health);
            if silence > SILENT && !stalled {
                silent.push((id.clone(), link.id));
            }
        }
        for (id, link) in silent {
            self.lose(&id, link, now);
        }
    }

    fn finish_leaving(&mut self, now: Instant) {
        let Farewell::Leaving { until } = self.farewell else { return };
        let late = now >= until;
        if late || self.nodes.values().all(|node| node.link.is_none()) {
            if late {
                tracing::debug!(node = %self.me.id, "some nodes did not confirm the goodbye in time");
            }
            self.farewell = Farewell::Left;
            self.outputs.push_back(Output::Left);
        }
    }
}

// Dialling.
impl Control {
    fn dial(&mut self, target: DialTarget, address: SocketAddr) {
        self.dialling.insert(address);
        self.outputs.push_back(Output::Dial(target, address));
    }

    fn look_up_seeds(&mut self) {
        if self.farewell == Farewell::Staying {
            let lookups = self.seeds.begin_lookups().into_iter();
            self.outputs.extend(lookups.map(|(seed, name)| Output::Resolve { seed, name }));
        }
    }

    /// Dials members without a direct link, and nodes that are sought.
    fn dial_due_nodes(&mut self, now: Instant) {
        if self.farewell != Farewell::Staying {
            return;
        }
        let is_due = |(id, node): &(&NodeId, &mut RemoteNode)| {
            let wanted = self.liveness.incarnation(id).is_some() || node.is_sought(now);
            wanted && node.direct_link().is_none() && node.dial.is_due(now)
        };
        for (id, node) in self.nodes.iter_mut().filter(is_due) {
            if self.dialling.insert(node.address) {
                node.dial.begin(now);
                let target = DialTarget::Node(id.clone(), node.address);
                self.outputs.push_back(Output::Dial(target, node.address));
            }
        }
    }

    /// Where a living member stays out of reach, the node with the smaller id links to it through another one.
    fn dial_through_relays(&mut self, now: Instant) {
        if self.farewell != Farewell::Staying {
            return;
        }
        let is_cut_off = |(id, node): &(&NodeId, &RemoteNode)| {
            self.liveness.incarnation(id).is_some()
                && self.me.id < **id
                && node.link.is_none()
                && node.dial.is_relay_due(now)
                && now >= node.unlinked + RELAY_DELAY
        };
        let cut_off: Vec<_> =
            self.nodes.iter().filter(is_cut_off).map(|(id, _)| (id.clone(), self.relays(id))).collect();
        for (to, relays) in cut_off {
            if let (Some(node), Some(relay)) = (self.nodes.get_mut(&to), relays.first()) {
                node.dial.begin_relay();
                self.outputs.push_back(Output::DialThrough { to, relay: *relay });
            }
        }
    }

    /// Direct links to nodes that have a direct link to `to`; in a fixed order, so that they do not change without a reason.
    fn relays(&self, to: &NodeId) -> Vec<LinkId> {
        let nodes = self.nodes.iter().filter(|(id, node)| *id != to && node.neighbours.contains(to));
        nodes.filter_map(|(_, node)| node.direct_link()).collect()
    }

    fn end_dial(&mut self, target: &DialTarget, outcome: &Result<Offer, DialError>, now: Instant) {
        match target {
            DialTarget::Seed(seed, address) => {
                self.dialling.remove(address);
                self.seeds.handle_tried(*seed);
                match outcome {
                    Ok(_) | Err(DialError::Refused { reason: Reason::Duplicate, .. }) => {
                        self.seeds.handle_answered(*address);
                    }
                    Err(DialError::AlreadyLinked(_)) => self.seeds.handle_alias(*address, now),
                    Err(DialError::ThisNode) => self.seeds.handle_own(*address),
                    Err(_) => {}
                }
            }
            DialTarget::Node(id, address) => {
                self.dialling.remove(address);
                let member = self.liveness.incarnation(id).is_some();
                let Some(node) = self.nodes.get_mut(id) else { return };
                if !member && is_answer_of_another(id, outcome) {
                    // The node does not live there any more. If it lives elsewhere, it will say so itself.
                    node.sought_until = None;
                }
                match outcome {
                    Ok(offer) if offer.greeting.id == *id => node.dial.succeeded(now),
                    Ok(_) | Err(_) => node.dial.failed(now),
                }
            }
            DialTarget::Relayed(id) => {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.dial.end_relay(now);
                }
            }
        }
    }

    fn handle_dial_error(&mut self, target: &DialTarget, error: &DialError, now: Instant) {
        let node = &self.me.id;
        match error {
            DialError::Refused { peer, reason: Reason::Stale, .. } => self.handle_outdated(peer, now),
            DialError::ThisNode | DialError::AlreadyLinked(_) => {}
            DialError::Refused { reason: Reason::Duplicate, .. }
            | DialError::Timeout
            | DialError::Broken(_) => {
                tracing::debug!(%node, ?target, %error, "no link to the other node");
            }
            DialError::Refused { .. }
            | DialError::Untrusted(_)
            | DialError::Unnamed
            | DialError::Address(_) => {
                if self.warnings.allows(WARNING_INTERVAL, now) {
                    tracing::warn!(%node, ?target, %error, "no link to the other node");
                } else {
                    tracing::debug!(%node, ?target, %error, "no link to the other node");
                }
            }
        }
    }

    /// Dials the nodes that another member knows and this node does not. So it is in every ring before it is ready.
    fn follow(&mut self, members: Vec<KnownMember>, now: Instant) {
        for KnownMember { id, incarnation, address } in members {
            if id == self.me.id || self.liveness.has_left(&id, incarnation) {
                continue;
            }
            let dial = match self.state {
                // The other node has not heard of this one, so there is no dial of its own to wait for.
                NodeState::Joining => DialSchedule::at_once(now),
                NodeState::Ready | NodeState::Draining => DialSchedule::in_turn(now, &self.me.id, &id),
            };
            match self.nodes.entry(id) {
                Entry::Vacant(vacant) => {
                    let node = vacant.insert(RemoteNode::new(incarnation, address, dial, now));
                    node.sought_until = Some(now + UNCONFIRMED);
                }
                Entry::Occupied(mut known) => known.get_mut().handle_newer_life(incarnation, address, dial),
            }
        }
    }
}

// Members.
impl Control {
    /// Whether a newer life of the node is a member.
    fn is_outdated(&self, id: &NodeId, incarnation: Incarnation) -> bool {
        self.liveness.incarnation(id).is_some_and(|known| known > incarnation)
    }

    /// The record of a life of a node that is certain to exist. It replaces that of another life.
    fn confirm(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        address: SocketAddr,
        now: Instant,
    ) -> &mut RemoteNode {
        if self.nodes.get(&id).is_some_and(|node| node.incarnation != incarnation) {
            self.forget(&id);
        }
        let dial = DialSchedule::in_turn(now, &self.me.id, &id);
        let node = self.nodes.entry(id).or_insert_with(|| RemoteNode::new(incarnation, address, dial, now));
        (node.confirmed, node.address) = (true, address);
        node
    }

    fn forget(&mut self, id: &NodeId) {
        self.unlink(id, CloseCode::Superseded);
        if self.nodes.remove(id).is_some() {
            self.outputs.push_back(Output::Forget(id.clone()));
            self.changed = true;
        }
    }

    /// Carries out what gossip and links agreed on.
    fn apply(&mut self, verdicts: Vec<Verdict>, now: Instant) {
        for verdict in verdicts {
            self.changed = true;
            match verdict {
                Verdict::Alive(id, incarnation) => {
                    tracing::info!(node = %self.me.id, peer = %id, ?incarnation, "joined");
                    if let Some(node) = self.nodes.get_mut(&id) {
                        (node.kept_until, node.sought_until) = (None, None);
                    }
                }
                Verdict::Dead(id, incarnation, death) => {
                    tracing::info!(node = %self.me.id, peer = %id, ?incarnation, reason = ?death, "left");
                    self.handle_death(&id, death, now);
                }
            }
        }
    }

    fn handle_death(&mut self, id: &NodeId, death: Death, now: Instant) {
        match death {
            // That life does not come back.
            Death::Left | Death::Restarted => self.forget(id),
            // This may be a partition. What is sent meanwhile is kept for a while, and the node is looked for.
            Death::GossipAndLink | Death::GossipAlone => {
                self.unlink(id, CloseCode::Silent);
                if let Some(node) = self.nodes.get_mut(id) {
                    node.greeted = false;
                    (node.kept_until, node.sought_until) = (Some(now + MAX_AGE), Some(now + SEARCH));
                }
            }
        }
    }

    fn forget_expired(&mut self, now: Instant) {
        let mut expired = Vec::new();
        for (id, node) in &mut self.nodes {
            if node.kept_until.is_some_and(|until| now >= until) {
                node.kept_until = None;
                self.changed = true;
                self.outputs.push_back(Output::DropLog(id.clone()));
            }
            let member = self.liveness.incarnation(id).is_some();
            if !member && node.kept_until.is_none() && !node.is_sought(now) {
                expired.push(id.clone());
            }
        }
        expired.iter().for_each(|id| self.forget(id));
    }
}

// Readiness.
impl Control {
    /// A node is ready when it has found its cluster and is in the ring of every member.
    fn become_ready(&mut self, now: Instant) {
        let joining = self.farewell == Farewell::Staying && self.state == NodeState::Joining;
        if !joining || self.believes_to_be_outdated(now) || !self.has_found_cluster(now) {
            return;
        }
        let patient = !self.serve_alone || now < self.started + PATIENCE;
        if patient && self.missing(now).next().is_some() {
            return;
        }
        self.state = NodeState::Ready;
        self.changed = true;
        tracing::info!(node = %self.me.id, members = self.liveness.members().count() + 1, "ready");
    }

    fn believes_to_be_outdated(&self, now: Instant) -> bool {
        self.outdated_until.is_some_and(|until| now < until)
    }

    /// A member refused this node as an older life of itself. The others do not route to it, so it takes no clients.
    fn handle_outdated(&mut self, peer: &NodeId, now: Instant) {
        self.outdated_until = Some(now + OUTDATED);
        let was_ready = self.state == NodeState::Ready;
        if was_ready {
            self.state = NodeState::Joining;
            self.changed = true;
        }
        if was_ready || self.warnings.allows(WARNING_INTERVAL, now) {
            let (node, incarnation) = (&self.me.id, self.me.incarnation.0);
            tracing::warn!(%node, %peer, incarnation, "not ready: the peer knows a newer life of this node. Either the \
                clock of this machine was set back since then, or another process runs with the same node id");
        }
    }

    /// Whether a seed answered. A node without seeds is found by the members of its earlier life, if there are any.
    fn has_found_cluster(&self, now: Instant) -> bool {
        if self.seeds.is_only_this_node() {
            now >= self.started + WAIT_TO_BE_FOUND || self.nodes.values().any(|node| node.greeted)
        } else {
            self.seeds.is_found(self.serve_alone)
        }
    }

    /// Living members with which no hello was exchanged, and nodes that a hello named and that have not answered yet.
    fn missing(&self, now: Instant) -> impl Iterator<Item = &NodeId> {
        let is_greeted = |id: &NodeId| self.nodes.get(id).is_some_and(|node| node.greeted);
        let members = self.liveness.members().map(|(id, _)| id).filter(move |id| !is_greeted(id));
        let unconfirmed = self.nodes.iter().filter(move |(_, node)| !node.confirmed && node.is_sought(now));
        members.chain(unconfirmed.map(|(id, _)| id))
    }

    fn warn_while_waiting(&self, now: Instant) {
        let node = &self.me.id;
        if !self.seeds.is_only_this_node() && !self.seeds.is_found(false) {
            tracing::warn!(%node, seeds = ?self.seeds.unanswered(), "no seed answers");
        } else if self.state == NodeState::Joining && !self.believes_to_be_outdated(now) {
            let missing: Vec<_> = self.missing(now).collect();
            tracing::warn!(%node, ?missing, "not ready: waiting for members to answer");
        }
    }
}

// What others are told.
impl Control {
    fn publish(&mut self, now: Instant) {
        let (mut roster, mut routes, mut gossip) = (Vec::new(), Vec::new(), Vec::new());
        for (id, node) in &self.nodes {
            let member = self.liveness.incarnation(id).is_some();
            // What a node misses while it is sought is numbered at least, so that it learns how much that was.
            if node.confirmed && (member || node.is_sought(now)) {
                roster.push((id.clone(), node.incarnation));
            }
            if let Some(link) = node.direct_link() {
                gossip.push((node.address, link));
                routes.push((id.clone(), Route::Direct(link)));
            } else if let Some(relays) = Some(self.relays(id)).filter(|relays| member && !relays.is_empty()) {
                routes.push((id.clone(), Route::Through(relays)));
            }
        }
        let (state, members) = (self.state, self.members());
        self.outputs.push_back(Output::Publish(Publication { state, members, roster, routes, gossip }));
    }

    fn members(&self) -> Vec<MemberView> {
        let LocalNode { id, incarnation, address, .. } = self.me.clone();
        let own = MemberView { id, incarnation, address, state: self.state, link: LinkState::Up };
        let others = self.liveness.members().filter_map(|(id, incarnation)| {
            let node = self.nodes.get(id)?;
            let (id, address, state, link) = (id.clone(), node.address, node.state, node.link_state());
            Some(MemberView { id, incarnation, address, state, link })
        });
        let mut members: Vec<_> = others.chain([own]).collect();
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        members
    }

    fn announce(&mut self) {
        let linked = self.nodes.iter().filter(|(_, node)| node.direct_link().is_some());
        let neighbours: Vec<_> = linked.map(|(id, _)| id.clone()).collect();
        let news = (self.state, neighbours);
        if self.announced.as_ref() != Some(&news) {
            let (state, neighbours) = news.clone();
            self.outputs.push_back(Output::Announce { state, neighbours });
            self.announced = Some(news);
        }
    }
}

/// Whether another node than this one answered where it was dialled.
fn is_answer_of_another(id: &NodeId, outcome: &Result<Offer, DialError>) -> bool {
    match outcome {
        Ok(offer) => offer.greeting.id != *id,
        Err(DialError::AlreadyLinked(other) | DialError::Refused { peer: other, .. }) => other != id,
        Err(DialError::ThisNode) => true,
        Err(_) => false,
    }
}

/// A second is that many times [`TICK`].
const TICKS_PER_SECOND: u64 = 10;
/// Links are pinged every half second.
const PING_TICKS: u64 = TICKS_PER_SECOND / 2;
/// A lasting condition is warned about every three seconds.
const WARNING_TICKS: u64 = 3 * TICKS_PER_SECOND;
/// At most one warning about failed dials in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(3);
/// After this silence, three lost pings, a link is not a witness of life any more.
const HEALTHY: Duration = Duration::from_millis(1700);
/// After this silence, six lost pings, a link is given up. Both ends of a cut in one direction agree after 3.5 s.
const SILENT: Duration = Duration::from_secs(3);
/// How long a link that was replaced stays open.
const RETIREMENT: Duration = Duration::from_millis(500);
/// How long a living member must be without a link before a relay is asked.
const RELAY_DELAY: Duration = Duration::from_secs(1);
/// How long a node that was only named is dialled, and waited for before this node is ready.
const UNCONFIRMED: Duration = Duration::from_secs(5);
/// How long a node that died without a goodbye is dialled at its address.
const SEARCH: Duration = Duration::from_secs(600);
/// How long a node without seeds waits for members that knew it before: they dial it every second, and a dial that began
/// before this start takes a moment to be repeated.
const WAIT_TO_BE_FOUND: Duration = Duration::from_millis(1300);
/// How long a node with `serve_alone` waits for members that do not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a refusal as an older life counts. It is repeated with each dial, about every second.
const OUTDATED: Duration = Duration::from_secs(3);
/// How long the goodbyes may take.
const LEAVE: Duration = Duration::from_millis(700);
