//! Whom to dial and when: seeds, members without a link, and relays.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::{Message, Node, State, TICKS_PER_SECOND, Target};
use crate::cluster::connection::{self, Answer, PeerConnection};
use crate::cluster::endpoint::DialError;
use crate::cluster::hello::Hint;
use crate::cluster::view::NodeState;
use crate::cluster::wire::pb::refusal::Reason;
use crate::id::{Incarnation, NodeId};

/// Where a cluster is looked for.
#[derive(Debug)]
pub(super) struct Seeds {
    all: Vec<Seed>,
    /// Addresses that turned out to be this node.
    own: HashSet<SocketAddr>,
    /// Addresses behind which a linked node answered, a balancer's perhaps: not dialled again before then.
    aliases: HashMap<SocketAddr, Instant>,
}

#[derive(Debug)]
struct Seed {
    name: String,
    resolving: bool,
    /// Every address was tried at least once.
    tried: bool,
    addresses: Vec<SocketAddr>,
    answered: bool,
}

impl Seeds {
    pub(super) fn new(names: Vec<String>) -> Self {
        let seed =
            |name| Seed { name, resolving: false, tried: false, addresses: Vec::new(), answered: false };
        Self { all: names.into_iter().map(seed).collect(), own: HashSet::new(), aliases: HashMap::new() }
    }

    /// Whether a seed answered; with `serve_alone`, whether all were tried.
    pub(super) fn found(&self, serve_alone: bool) -> bool {
        self.all.iter().any(|seed| seed.answered) || serve_alone && self.all.iter().all(|seed| seed.tried)
    }

    /// Whether there is no seed but this node itself.
    pub(super) fn none_but_own(&self) -> bool {
        let own =
            |seed: &Seed| !seed.addresses.is_empty() && seed.addresses.iter().all(|at| self.own.contains(at));
        self.all.iter().all(own)
    }

    /// Those that do not answer.
    pub(super) fn silent(&self) -> Vec<&str> {
        self.all.iter().filter(|seed| !seed.answered).map(|seed| seed.name.as_str()).collect()
    }

    fn answered(&mut self, at: SocketAddr) {
        self.all.iter_mut().filter(|seed| seed.addresses.contains(&at)).for_each(|seed| seed.answered = true);
    }
}

/// The next attempt to reach a node.
#[derive(Debug)]
pub(super) struct Dial {
    due: Instant,
    began: Instant,
    failures: u32,
    running: bool,
    /// The next attempt through a relay; `None` while one is made.
    relay: Option<Instant>,
}

impl Dial {
    /// Of two nodes the one with the smaller id dials at once, the other when nothing came of it.
    pub(super) fn new(now: Instant, me: &NodeId, other: &NodeId) -> Self {
        Self { due: if me < other { now } else { now + COURTESY }, ..Self::at(now) }
    }

    fn at(now: Instant) -> Self {
        Self { due: now, began: now, failures: 0, running: false, relay: Some(now) }
    }

    /// The pause counts from the beginning: an attempt that nobody answers takes longer than the pause.
    fn failed(&mut self, now: Instant) {
        self.running = false;
        self.due = now.max(self.began + (BACKOFF * 2_u32.pow(self.failures.min(3))).min(MAX_BACKOFF));
        self.failures += 1;
    }
}

impl State {
    /// Starts what is due: members first, a relay where they stay out of reach.
    pub(super) fn dial_due(&mut self, now: Instant) {
        if self.leaving {
            return;
        }
        let due: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| self.is_due(id, node, now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            (node.dial.running, node.dial.began) = (true, now);
            let address = node.address;
            self.dial(Target::Member(id, address), address);
        }
    }

    fn is_due(&self, id: &NodeId, node: &Node, now: Instant) -> bool {
        let wanted = self.liveness.incarnation(id).is_some() || node.wanted.is_some_and(|until| now < until);
        wanted
            && !node.has_direct_link()
            && !node.dial.running
            && now >= node.dial.due
            && !self.dialling.contains(&node.address)
    }

    /// Looks the seeds up, once a second, and dials those without a link.
    pub(super) fn dial_seeds(&mut self) {
        if self.leaving || self.ticks % TICKS_PER_SECOND != 1 {
            return;
        }
        for (seed, entry) in self.seeds.all.iter_mut().enumerate().filter(|(_, entry)| !entry.resolving) {
            entry.resolving = true;
            let (name, control) = (entry.name.clone(), self.ports.control.clone());
            tokio::spawn(async move {
                let addresses = resolve(&name).await;
                // Fails only while the mesh stops.
                drop(control.cast(Message::Resolved { seed, addresses }));
            });
        }
    }

    pub(super) fn handle_resolved(&mut self, seed: usize, addresses: Vec<SocketAddr>, now: Instant) {
        self.seeds.aliases.retain(|_, until| now < *until);
        let linked: HashSet<_> = self.nodes.values().flat_map(Node::linked_addresses).collect();
        let own = [self.shared.me.address, self.endpoint.local_addr()];
        self.seeds.own.extend(own.iter().filter(|own| addresses.contains(own)));
        let Some(entry) = self.seeds.all.get_mut(seed) else { return };
        entry.resolving = false;
        entry.tried |= addresses.is_empty();
        entry.answered |= addresses.iter().any(|at| linked.contains(at));
        entry.addresses.clone_from(&addresses);
        for address in addresses {
            let known = linked.contains(&address)
                || self.seeds.own.contains(&address)
                || self.seeds.aliases.contains_key(&address);
            if !known && !self.dialling.contains(&address) {
                self.dial(Target::Seed(seed, address), address);
            }
        }
    }

    fn dial(&mut self, target: Target, address: SocketAddr) {
        self.dialling.insert(address);
        let (endpoint, ports) = (self.endpoint.clone(), Arc::clone(&self.ports));
        tokio::spawn(async move {
            let control = ports.control.clone();
            let outcome = Box::new(connection::dial(endpoint, ports, address).await);
            drop(control.cast(Message::Dialled { target, outcome }));
        });
    }

    /// Where a living member stays out of reach, the node with the smaller id links through another one.
    pub(super) fn relay_due(&mut self, now: Instant) {
        if self.leaving {
            return;
        }
        let apart: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| {
                self.liveness.incarnation(id).is_some()
                    && self.shared.me.id < **id
                    && node.link.is_none()
                    && node.dial.relay.is_some_and(|due| now >= due)
                    && now >= node.apart + APART
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in apart {
            let Some(relay) = self.relays(&id).into_iter().next() else { continue };
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            node.dial.relay = None;
            let ports = Arc::clone(&self.ports);
            tokio::spawn(async move {
                let control = ports.control.clone();
                let outcome = Box::new(connection::dial_through(ports, relay, id.clone()).await);
                drop(control.cast(Message::Dialled { target: Target::Relayed(id), outcome }));
            });
        }
    }

    /// Direct connections to members that have a direct link to `to`; in a fixed order, so that they are not changed for
    /// no reason.
    pub(super) fn relays(&self, to: &NodeId) -> Vec<Arc<PeerConnection>> {
        let mut relays: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| *id != to && node.links.contains(to))
            .filter_map(|(id, node)| Some((id, node.link.as_ref()?.connection.as_ref()?)))
            .collect();
        relays.sort_unstable_by_key(|(id, _)| *id);
        relays.into_iter().map(|(_, connection)| Arc::clone(connection)).collect()
    }

    pub(super) fn handle_dialled(
        &mut self,
        target: &Target,
        outcome: Result<Answer, DialError>,
        now: Instant,
    ) {
        match target {
            Target::Seed(seed, address) => self.settle_seed(*seed, *address, &outcome, now),
            Target::Member(id, address) => {
                self.dialling.remove(address);
                self.settle_member(id, &outcome, now);
            }
            Target::Relayed(id) => {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.dial.relay = Some(now + BACKOFF);
                }
            }
        }
        match outcome {
            Ok(answer) => {
                let hints = answer.greeting.members.clone();
                self.handle_answer(answer, now);
                self.follow(hints, now);
            }
            Err(error) => {
                self.report(target, &error);
                if let DialError::Refused { peer, reason: Reason::Stale, .. } = &error {
                    self.stand_back(peer, now);
                }
            }
        }
    }

    fn settle_seed(
        &mut self,
        seed: usize,
        address: SocketAddr,
        outcome: &Result<Answer, DialError>,
        now: Instant,
    ) {
        self.dialling.remove(&address);
        if let Some(entry) = self.seeds.all.get_mut(seed) {
            entry.tried = true;
        }
        match outcome {
            Ok(_) | Err(DialError::Refused { reason: Reason::Duplicate, .. }) => self.seeds.answered(address),
            Err(DialError::Known(_)) => {
                self.seeds.answered(address);
                self.seeds.aliases.insert(address, now + ALIAS);
            }
            Err(DialError::Myself) => drop(self.seeds.own.insert(address)),
            Err(_) => {}
        }
    }

    fn settle_member(&mut self, id: &NodeId, outcome: &Result<Answer, DialError>, now: Instant) {
        let member = self.liveness.incarnation(id).is_some();
        let Some(node) = self.nodes.get_mut(id) else { return };
        if !member && answers_as_another(id, outcome) {
            // Its address is taken: where it lives now, if at all, it says itself.
            node.wanted = None;
        }
        match outcome {
            Ok(answer) if answer.greeting.id == *id => {
                (node.dial.failures, node.dial.running) = (0, false);
                // Due only when the answer is not taken after all.
                node.dial.due = now + BACKOFF;
            }
            // Somebody else lives there now, or nobody.
            Ok(_) | Err(_) => node.dial.failed(now),
        }
    }

    fn report(&self, target: &Target, error: &DialError) {
        let node = &self.shared.me.id;
        match error {
            DialError::Refused { reason: Reason::Duplicate, .. }
            | DialError::Silence
            | DialError::Broken(_) => {
                debug!(%node, ?target, %error, "could not link");
            }
            // `stand_back` says so.
            DialError::Refused { reason: Reason::Stale, .. } => {}
            DialError::Myself | DialError::Known(_) => {}
            _ if !self.ports.may_warn() => debug!(%node, ?target, %error, "could not link"),
            DialError::Refused { .. }
            | DialError::Stranger(_)
            | DialError::Nameless
            | DialError::Address(_) => {
                warn!(%node, ?target, %error, "could not link");
            }
        }
    }

    /// Dials those whom another member knows and this node does not: so it is in everybody's ring before it is ready.
    pub(super) fn follow(&mut self, hints: Vec<Hint>, now: Instant) {
        for Hint { id, incarnation, address } in hints {
            if id == self.shared.me.id || self.liveness.has_left(&id, incarnation) {
                continue;
            }
            let dial = match self.state {
                // The other one has not heard of this node yet: nothing to be courteous about.
                NodeState::Joining => Dial::at(now),
                NodeState::Ready | NodeState::Draining => Dial::new(now, &self.shared.me.id, &id),
            };
            match self.nodes.entry(id) {
                Entry::Vacant(vacant) => {
                    let node = vacant.insert(Node::new(incarnation, address, dial, now));
                    node.wanted = Some(now + HEARSAY);
                }
                Entry::Occupied(mut known) => known.get_mut().moved(incarnation, address, dial),
            }
        }
    }

    /// Whom a hello named and who has not answered yet.
    pub(super) fn hearsay(&self, now: Instant) -> impl Iterator<Item = &NodeId> {
        let waiting = move |node: &Node| node.peer.is_none() && node.wanted.is_some_and(|until| now < until);
        self.nodes.iter().filter(move |(_, node)| waiting(node)).map(|(id, _)| id)
    }
}

impl Node {
    /// Another node has seen a newer life of this one: it is dialled there, and will say so itself.
    fn moved(&mut self, incarnation: Incarnation, address: SocketAddr, dial: Dial) {
        if incarnation > self.incarnation && self.link.is_none() && address != self.address {
            (self.address, self.dial) = (address, dial);
        }
    }
}

/// Whether somebody else answered where that node was dialled.
fn answers_as_another(id: &NodeId, outcome: &Result<Answer, DialError>) -> bool {
    match outcome {
        Ok(answer) => answer.greeting.id != *id,
        Err(DialError::Known(other) | DialError::Refused { peer: other, .. }) => other != id,
        Err(DialError::Myself) => true,
        Err(_) => false,
    }
}

async fn resolve(name: &str) -> Vec<SocketAddr> {
    match timeout(RESOLVE, lookup_host(name)).await {
        Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES).collect(),
        Ok(Err(error)) => {
            debug!(seed = name, %error, "the name of a seed was not found");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// How long the node with the larger id lets the other one dial.
const COURTESY: Duration = Duration::from_millis(300);
const BACKOFF: Duration = Duration::from_millis(250);
/// At most one dial a second and address: after a partition the mesh is whole again within three seconds.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// How long a living member must be without a link before a relay is asked.
const APART: Duration = Duration::from_secs(1);
/// How long a node that was only named is dialled, and waited for before being ready.
const HEARSAY: Duration = Duration::from_secs(5);
/// How long an address is left alone when a node that is linked already answered there.
const ALIAS: Duration = Duration::from_secs(30);
const RESOLVE: Duration = Duration::from_secs(3);
/// A headless service with more nodes names enough of them.
const MAX_ADDRESSES: usize = 64;
