//! The membership of one node as a state machine: who is dialled, which connection is the link to a node, who is alive, when
//! this node is ready (docs/protocol/mesh.md, "Hello", "Links", "Death", "Relay").
//!
//! It has no task, no clock and no socket. The control actor says what happened and when, and carries out in order what
//! [`Control::poll_output`] returns, until there is nothing more. Every [`LinkId`] that the actor offers is refused, or
//! closed in the end.

mod addresses;
mod completeness;
mod dial;
mod dialling;
mod jitter;
mod link_choice;
mod links;
mod liveness;
mod lookup;
mod members;
mod output;
mod publishing;
mod pulse;
mod readiness;
mod refusals;
mod refused;
mod remote_node;
mod rhythm;
mod seeds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::hello::{Greeting, KnownMember, LinkId, LocalNode};
use super::view::NodeState;
use crate::id::{Incarnation, NodeId};
use crate::log_limit::LogLimits;
use completeness::Completeness;
pub(crate) use dial::{DialError, DialTarget};
use jitter::Jitter;
pub(crate) use link_choice::Path;
use liveness::{Liveness, STALL};
pub(crate) use lookup::LookupError;
pub(crate) use output::{Announcement, GossipMember, MembershipChanges, Offer, Output, Publication, Route};
use pulse::Pulse;
use remote_node::RemoteNode;
use rhythm::Rhythm;
use seeds::Seeds;

/// The membership of one node.
#[derive(Debug)]
pub(crate) struct Control {
    me: LocalNode,
    /// Where everybody reaches this node, as far as it knows.
    address: SocketAddr,
    has_learned_address: bool,
    state: NodeState,
    /// How many sessions this node owns, about.
    sessions: Option<u64>,
    nodes: BTreeMap<NodeId, RemoteNode>,
    liveness: Liveness,
    pulse: Pulse,
    seeds: Seeds,
    jitter: Jitter,
    serve_alone: bool,
    /// After this silence a link is given up: six lost pings, where it is the usual one.
    silence: Duration,
    started: Instant,
    /// Addresses of seeds with a dial in progress.
    dialling: HashSet<SocketAddr>,
    /// Links that another one replaced, with the time at which they are closed.
    retired: Vec<(Instant, LinkId)>,
    /// A member refused this node as an older life of itself. That is believed until this time.
    outdated_until: Option<Instant>,
    completeness: Completeness,
    /// What gossip says about lives of nodes that this node knows better. It counts when this node does not any more.
    refuted: Vec<GossipMember>,
    /// This node missed members and is not ready because of that. When it missed some last.
    missed: Option<Instant>,
    /// Members without a direct link that others are told of.
    missing_links: BTreeSet<NodeId>,
    /// Members that were without a link for so long that they hold no end of one either.
    unreached: BTreeSet<NodeId>,
    changes: MembershipChanges,
    farewell: Farewell,
    rhythm: Rhythm,
    /// Whether something changed that the other tasks or the other nodes must know.
    changed: bool,
    announced: Option<Announcement>,
    /// Until then news are spread.
    restless_until: Instant,
    /// Which of the linked nodes hear them next.
    spread: usize,
    warnings: LogLimits,
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
    /// A node that just started.
    pub(crate) fn new(
        me: LocalNode,
        seeds: Vec<String>,
        serve_alone: bool,
        silence: Duration,
        now: Instant,
    ) -> Self {
        Self {
            address: me.address.first,
            has_learned_address: false,
            state: NodeState::Joining,
            sessions: None,
            nodes: BTreeMap::new(),
            silence,
            liveness: Liveness::new(silence),
            pulse: Pulse::default(),
            seeds: Seeds::new(
                seeds,
                me.address.bound,
                me.address.advertised,
                Jitter::new(&me.id, me.incarnation),
            ),
            jitter: Jitter::new(&me.id, me.incarnation),
            serve_alone,
            started: now,
            dialling: HashSet::new(),
            retired: Vec::new(),
            outdated_until: None,
            completeness: Completeness::default(),
            refuted: Vec::new(),
            missed: None,
            missing_links: BTreeSet::new(),
            unreached: BTreeSet::new(),
            changes: MembershipChanges::default(),
            farewell: Farewell::Staying,
            rhythm: Rhythm::new(now),
            changed: true,
            announced: None,
            restless_until: now,
            spread: 0,
            warnings: LogLimits::default(),
            outputs: VecDeque::new(),
            me,
        }
    }

    /// What to do next.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_tick`](Self::handle_tick) is due. What happens may move it.
    pub(crate) fn next_tick(&self) -> Instant {
        self.rhythm.next_tick()
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
        match self.objection(&offer, false, now) {
            Some((reason, detail)) => self.refuse(&offer, reason, detail),
            None => {
                self.adopt(&offer, false, now);
                self.follow(offer.greeting.members, offer.path.remote(), now);
            }
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
                match self.objection(&offer, true, now) {
                    Some(_) => self.retire(offer.link, now),
                    None => self.adopt(&offer, true, now),
                }
                self.follow(offer.greeting.members, offer.path.remote(), now);
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

    /// The connection of a link is closed, which [`handle_lost`](Self::handle_lost) will say, too. Until then the link gives way
    /// to any other. Belongs before the offer that it counts for.
    pub(crate) fn handle_closed(&mut self, id: &NodeId, link: LinkId) {
        let node = self.nodes.get_mut(id).filter(|node| node.has_link(link));
        if let Some(link) = node.and_then(|node| node.link.as_mut()) {
            link.closed = true;
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
        let (told, refuted) = members.into_iter().partition(|member| !self.is_refuted(member, now));
        let members: Vec<GossipMember> = told;
        self.refuted = refuted;
        let alive = members.iter().map(|member| (member.id.clone(), member.incarnation)).collect();
        let verdicts = self.liveness.handle_gossip(now, &alive);
        self.apply(verdicts, now);
        for member in members {
            self.hear_of(member, now);
        }
        self.changed = true;
        self.settle(now);
    }

    /// A lookup of a seed gave no address. It has ended, unless it only takes long.
    pub(crate) fn handle_unresolved(&mut self, seed: usize, error: &LookupError, now: Instant) {
        self.seeds.handle_unresolved(seed, error, now);
        self.settle(now);
    }

    /// The addresses of a seed.
    pub(crate) fn handle_resolved(&mut self, seed: usize, addresses: Vec<SocketAddr>, now: Instant) {
        let calls = self.seeds.handle_resolved(seed, addresses, &self.linked(), now);
        if !calls.skipped.is_empty() {
            let (node, bound, skipped) = (&self.me.id, self.me.address.bound, &calls.skipped);
            tracing::warn!(%node, %bound, ?skipped, "addresses of a seed that the socket of this node cannot reach");
        }
        self.call_seed(seed, calls);
        self.settle(now);
    }

    /// Who answered at an address of a seed when it was asked.
    pub(crate) fn handle_asked(
        &mut self,
        seed: usize,
        address: SocketAddr,
        answer: Result<Greeting, DialError>,
        now: Instant,
    ) {
        self.dialling.remove(&address);
        self.seeds.handle_tried(seed);
        self.seeds.handle_shared(address, answer.is_err(), self.has_found_cluster(now), now);
        if let Ok(Greeting { id, incarnation, address: told, members, .. }) = answer {
            self.seeds.handle_named(seed, id.clone());
            let answering = KnownMember { id, incarnation, address: told };
            self.follow([answering].into_iter().chain(members), Some(address), now);
        }
        self.settle(now);
    }

    /// The application's runtime has run the task that was asked for.
    pub(crate) fn handle_application_runs(&mut self, now: Instant) {
        self.answer_for_application();
        self.settle(now);
    }

    /// Every ping has an answer: nobody has to be looked after before the next one. Signs of life belong before it.
    pub(crate) fn handle_answers(&mut self, now: Instant) {
        if let Some(until) = self.calm_until(now).filter(|_| now < self.next_tick()) {
            self.rhythm.plan(Some(until), now);
        }
    }

    /// Time passes. To be called at [`next_tick`](Self::next_tick), or earlier.
    pub(crate) fn handle_tick(&mut self, now: Instant) {
        let beat = self.rhythm.handle_tick(now);
        // The first step, because it notices whether this node itself stood still.
        let verdicts = self.liveness.handle_tick(beat.late, now);
        self.apply(verdicts, now);
        self.ask_application(beat.late, now);
        self.examine_links(beat.ping, now);
        self.close_retired(now);
        self.forget_expired(now);
        self.note_missing_links(now);
        if beat.look {
            self.look_up_seeds(now);
            self.examine_view(now);
            self.reconsider_gossip(now);
        }
        self.ask_seeds_again(now);
        self.dial_through_relays(now);
        if beat.gossip && now < self.restless_until {
            self.spread_news();
        }
        if beat.warning {
            self.warn_of_trouble(now);
        }
        self.settle(now);
        self.rhythm.plan(self.calm_until(now), now);
    }

    /// This node owns about so many sessions.
    pub(crate) fn handle_sessions(&mut self, sessions: u64, now: Instant) {
        self.changed |= self.sessions.replace(sessions) != Some(sessions);
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
        match self.farewell {
            Farewell::Staying => {
                self.farewell = Farewell::Leaving { until: now + LEAVE };
                let linked = self.nodes.iter().filter(|(_, node)| node.link.is_some());
                self.outputs.extend(linked.map(|(id, _)| Output::SayGoodbye(id.clone())));
            }
            // Whoever asks again waits for the same end.
            Farewell::Leaving { .. } => {}
            Farewell::Left => self.outputs.push_back(Output::Left),
        }
        self.settle(now);
    }

    /// What follows from the new state, after every input.
    fn settle(&mut self, now: Instant) {
        self.declare_refused(now);
        self.dial_due_nodes(now);
        self.prove_addresses(now);
        self.decide_readiness(now);
        if std::mem::take(&mut self.changed) {
            self.publish(now);
            self.announce(now);
        }
        self.finish_leaving(now);
        self.rhythm.hurry(self.calm_until(now), now);
    }

    /// Whether this node stood still a moment ago, or does until the tick that is late: what it knows of the others is old.
    fn stands_still(&self, now: Instant) -> bool {
        self.liveness.doubts(now) || now > self.rhythm.next_tick() + STALL
    }

    /// Until when nothing is under way in which time matters, if no news come.
    fn calm_until(&self, now: Instant) -> Option<Instant> {
        let is_staying = self.farewell == Farewell::Staying && self.state != NodeState::Joining;
        let has_dials = !self.dialling.is_empty() || !self.retired.is_empty();
        if !is_staying || has_dials || now < self.restless_until || self.liveness.doubts(now) {
            return None;
        }
        self.nodes.values().try_fold(now + CALM, |until, node| Some(until.min(node.calm_until()?)))
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

/// Longer than anything that is done again and again.
const CALM: Duration = Duration::from_secs(1);
/// At most one warning about failed dials in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(3);
/// How long the goodbyes may take.
const LEAVE: Duration = Duration::from_millis(700);
