//! Whom a node dials, directly and through others, and what comes of it.

use std::collections::HashSet;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Addresses;
use super::dial::{DialError, DialSchedule, DialTarget};
use super::jitter::spread;
use super::output::{Offer, Output};
use super::remote_node::RemoteNode;
use super::seeds::{Calls, Linked};
use super::{Control, Farewell, WARNING_INTERVAL};
use crate::cluster::hello::{KnownMember, LinkId};
use crate::cluster::view::NodeState;
use crate::cluster::wire::pb::refusal::Reason;
use crate::excerpt::Excerpt;
use crate::id::NodeId;

impl Control {
    /// Dials the addresses of a seed, or asks who answers there.
    pub(super) fn call_seed(&mut self, seed: usize, calls: Calls) {
        if self.farewell != Farewell::Staying {
            return;
        }
        let busy: HashSet<_> = self.nodes.values().filter_map(RemoteNode::dialled_address).collect();
        for address in calls.dial.into_iter().filter(|address| !busy.contains(address)) {
            if self.dialling.insert(address) {
                self.outputs.push_back(Output::Dial(DialTarget::Seed(seed, address), address));
            }
        }
        for address in calls.ask {
            if self.dialling.insert(address) {
                self.outputs.push_back(Output::Ask { seed, address });
            }
        }
    }

    /// What this node is linked with.
    pub(super) fn linked(&self) -> Linked {
        let linked = self.nodes.iter().filter(|(_, node)| node.link.is_some());
        Linked {
            reached: self.nodes.values().flat_map(RemoteNode::linked_addresses).collect(),
            homes: self.nodes.values().filter_map(RemoteNode::home).collect(),
            nodes: linked.map(|(id, _)| id.clone()).collect(),
        }
    }

    /// Asks who else is at the addresses that lead to several nodes.
    pub(super) fn ask_seeds_again(&mut self, now: Instant) {
        for (seed, address) in self.seeds.due_at_once(now) {
            self.call_seed(seed, Calls { ask: vec![address], ..Calls::default() });
        }
    }

    pub(super) fn look_up_seeds(&mut self, now: Instant) {
        if self.farewell == Farewell::Staying {
            // A node on its own goes on looking.
            let found = self.nodes.values().any(|node| node.link.is_some()) && self.has_found_cluster(now);
            let lookups = self.seeds.begin_lookups(found, now).into_iter();
            self.outputs.extend(lookups.map(|(seed, name)| Output::Resolve { seed, name }));
        }
    }

    /// Dials members without a direct link, and nodes that are sought.
    pub(super) fn dial_due_nodes(&mut self, now: Instant) {
        if self.farewell != Farewell::Staying {
            return;
        }
        // What is no member, such as many dead nodes, takes no place from one.
        let is_member = |id: &NodeId| self.liveness.incarnation(id).is_some();
        let running = |members: bool| {
            let dialled = self.nodes.iter().filter(|(_, node)| node.dial.is_running());
            dialled.filter(|(id, _)| is_member(id) == members).count()
        };
        let mut free = [true, false].map(|members| MAX_DIALS.saturating_sub(running(members)));
        let is_due = |(id, node): &(&NodeId, &RemoteNode)| {
            let wanted = is_member(id) || node.is_sought(now);
            wanted && node.direct_link().is_none() && node.dial.is_due(now)
        };
        // A seed that is dialled there is that node, or soon gives way.
        let free_address =
            |node: &RemoteNode| node.addresses.current().filter(|address| !self.dialling.contains(address));
        // Of the ids the next greater one first, and the smallest one after the greatest: so that one end of a pair has its turn
        // long before the other one, when many nodes meet.
        let mut due: Vec<_> = self
            .nodes
            .iter()
            .filter(is_due)
            .filter_map(|(id, node)| Some((node.dial.rank(), *id < self.me.id, id, free_address(node)?)))
            .collect();
        due.sort_unstable();
        let mut takes_place = |id: &NodeId| {
            let [members, others] = &mut free;
            let free = if is_member(id) { members } else { others };
            let is_free = *free > 0;
            *free = free.saturating_sub(1);
            is_free
        };
        let due: Vec<_> = due
            .into_iter()
            .filter(|(_, _, id, _)| takes_place(id))
            .map(|(_, _, id, address)| (id.clone(), address))
            .collect();
        for (id, address) in due {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.dial.begin(now);
                self.outputs.push_back(Output::Dial(DialTarget::Node(id, address), address));
            }
        }
    }

    /// Dials linked nodes back at the addresses that they advertise, if their packets come from elsewhere.
    pub(super) fn prove_addresses(&mut self, now: Instant) {
        if self.farewell != Farewell::Staying {
            return;
        }
        for (id, node) in self.nodes.iter_mut().filter(|(_, node)| node.direct_link().is_some()) {
            if let Some(address) = node.addresses.begin_proof(now) {
                let target = DialTarget::Advertised(id.clone(), address);
                self.outputs.push_back(Output::Dial(target, address));
            }
        }
    }

    /// What came of a dial at the address that a node advertises. If it is not reached there, both sides say so.
    fn end_proof(
        &mut self,
        id: &NodeId,
        address: SocketAddr,
        outcome: &Result<Offer, DialError>,
        now: Instant,
    ) {
        let answering = who_answered(outcome, &self.me.id);
        let Some(node) = self.nodes.get_mut(id) else { return };
        if !node.addresses.handle_proved(answering.map(|other| other == id), now) {
            return;
        }
        self.changed = true;
        let reason = match (answering, outcome) {
            (Some(other), _) => format!("{other} answers there: do several nodes advertise this address?"),
            (None, Err(error)) => error.to_string(),
            (None, Ok(_)) => return,
        };
        let (node, link) = (&self.me.id, node.direct_link());
        tracing::warn!(%node, peer = %id, %address, reason, "the peer is not reached at the address that it advertises");
        self.outputs.extend(link.map(|link| Output::ReportUnreachable { link, address, reason }));
    }

    /// Where a living member stays out of reach, the node with the smaller id links to it through another one.
    pub(super) fn dial_through_relays(&mut self, now: Instant) {
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
        let relay = |(id, node): (&NodeId, &RemoteNode)| {
            let relays = self.relays(id);
            let turn = node.dial.relay_failures().checked_rem(relays.len())?;
            Some((id.clone(), *relays.get(turn)?))
        };
        let cut_off: Vec<_> = self.nodes.iter().filter(is_cut_off).filter_map(relay).collect();
        for (to, relay) in cut_off {
            if let Some(node) = self.nodes.get_mut(&to) {
                node.dial.begin_relay();
                self.outputs.push_back(Output::DialThrough { to, relay });
            }
        }
    }

    /// Direct links to members that do not miss `to`, those that stop last. Their order stays as it is, and is another one for each
    /// pair of nodes, so that no member relays for everybody.
    pub(super) fn relays(&self, to: &NodeId) -> Vec<LinkId> {
        // What is relayed passes through the application's runtime.
        let reaches = |id: &NodeId, node: &RemoteNode| {
            node.state != NodeState::Hung
                && !node.misses.contains(to)
                && self.liveness.incarnation(id).is_some()
        };
        let mut relays: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| *id != to && reaches(id, node))
            .filter_map(|(id, node)| {
                let stops = node.state == NodeState::Draining;
                Some((stops, preference([&self.me.id, to, id]), node.direct_link()?))
            })
            .collect();
        relays.sort_unstable();
        relays.into_iter().map(|(_, _, link)| link).collect()
    }

    pub(super) fn end_dial(&mut self, target: &DialTarget, outcome: &Result<Offer, DialError>, now: Instant) {
        match target {
            DialTarget::Seed(seed, address) => {
                self.dialling.remove(address);
                self.seeds.handle_tried(*seed);
                self.end_seed_dial(*address, outcome, now);
            }
            DialTarget::Advertised(id, address) => self.end_proof(id, *address, outcome, now),
            DialTarget::Node(id, address) => {
                let member = self.liveness.incarnation(id).is_some();
                let answering = who_answered(outcome, &self.me.id);
                let Some(node) = self.nodes.get_mut(id) else { return };
                if !member && answering.is_some_and(|other| other != id) {
                    // The node does not live there any more. If it lives elsewhere, it will say so itself.
                    node.sought_until = None;
                }
                match outcome {
                    Ok(offer) if offer.greeting.id == *id => node.dial.succeeded(now),
                    Ok(_) | Err(_) => node.dial.failed(&mut self.jitter, now),
                }
                if answering != Some(id) {
                    node.addresses.handle_dial_failed();
                    node.trouble = Some(match (answering, outcome) {
                        (Some(other), _) => format!("{other} answers at {address}"),
                        (None, Err(error)) => format!("{address}: {error}"),
                        (None, Ok(_)) => return,
                    });
                }
            }
            DialTarget::Relayed(id) => {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.dial.end_relay(outcome.is_ok(), now);
                }
            }
        }
    }

    fn end_seed_dial(&mut self, address: SocketAddr, outcome: &Result<Offer, DialError>, now: Instant) {
        let found = self.has_found_cluster(now);
        match outcome {
            Ok(offer) => {
                self.seeds.handle_answered(address);
                let told = offer.greeting.address;
                if told != address && self.can_use(told, offer.path.remote()) {
                    self.seeds.handle_shared(address, false, true, now);
                }
            }
            Err(DialError::Refused { reason: Reason::Duplicate, .. }) => self.seeds.handle_answered(address),
            Err(DialError::AlreadyLinked(_)) => {
                self.seeds.handle_answered(address);
                self.seeds.handle_shared(address, false, true, now);
            }
            Err(DialError::ThisNode { bound_here: true }) => self.seeds.handle_own(address),
            Err(DialError::ThisNode { bound_here: false }) => {
                self.seeds.handle_shared(address, true, found, now);
            }
            Err(_) => {}
        }
    }

    pub(super) fn handle_dial_error(&mut self, target: &DialTarget, error: &DialError, now: Instant) {
        let (node, told) = (&self.me.id, Excerpt::list(error));
        match error {
            DialError::Refused { peer, reason: Reason::Stale, .. } => self.handle_outdated(peer, now),
            DialError::ThisNode { .. } | DialError::AlreadyLinked(_) => {}
            DialError::Refused { reason: Reason::Duplicate, .. }
            | DialError::Timeout
            | DialError::Broken(_) => {
                tracing::debug!(%node, ?target, error = %told, "no link to the other node");
            }
            DialError::Refused { .. }
            | DialError::Untrusted(_)
            | DialError::Unnamed
            | DialError::Address(_) => {
                let (kind, to) = ("no link", target.to_string());
                if self.warnings.allows(kind, &to, WARNING_INTERVAL, now) {
                    tracing::warn!(%node, ?target, error = %told, "no link to the other node");
                } else {
                    tracing::debug!(%node, ?target, error = %told, "no link to the other node");
                }
            }
        }
    }

    /// Dials the nodes that another member knows and this node does not. So it is in every ring before it is ready.
    ///
    /// `from` is where the packets of the other member come from.
    pub(super) fn follow(
        &mut self,
        members: impl IntoIterator<Item = KnownMember>,
        from: Option<SocketAddr>,
        now: Instant,
    ) {
        for KnownMember { id, incarnation, address } in members {
            let address = Some(address).filter(|address| self.can_use(*address, from));
            if id == self.me.id || self.liveness.has_left(&id, incarnation) {
                continue;
            }
            let dial = match self.state {
                // The other node has not heard of this one, so there is no dial of its own to wait for.
                NodeState::Joining => DialSchedule::at_once(now),
                NodeState::Ready | NodeState::Draining | NodeState::Hung => {
                    DialSchedule::in_turn(now, &self.me.id, &id)
                }
            };
            match self.nodes.entry(id) {
                Entry::Vacant(vacant) => {
                    let addresses = Addresses::named(address);
                    let node = vacant.insert(RemoteNode::new(incarnation, addresses, dial, now));
                    node.sought_until = Some(now + UNCONFIRMED);
                }
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.handle_newer_life(incarnation, address, dial);
                    if known.incarnation == incarnation {
                        known.addresses.handle_named(address);
                        known.dial.retry(now);
                    }
                }
            }
        }
    }
}

/// Which node answered a dial, if any did.
fn who_answered<'a>(outcome: &'a Result<Offer, DialError>, me: &'a NodeId) -> Option<&'a NodeId> {
    match outcome {
        Ok(offer) => Some(&offer.greeting.id),
        Err(DialError::AlreadyLinked(peer) | DialError::Refused { peer, .. }) => Some(peer),
        Err(DialError::ThisNode { .. }) => Some(me),
        Err(_) => None,
    }
}

/// A number that is the same in both orders of the first two, and another one for each relay.
fn preference([one, other, relay]: [&NodeId; 3]) -> u64 {
    let names = [one.min(other), one.max(other), relay].map(NodeId::as_str);
    spread(names.iter().flat_map(|name| name.bytes().chain([0xff])))
}

/// How many members are dialled at once, and as many nodes that are none. When many nodes meet, each handshake would otherwise
/// wait for all the others.
const MAX_DIALS: usize = 8;
/// How long a living member must be without a link before a relay is asked.
const RELAY_DELAY: Duration = Duration::from_secs(1);
/// How long a node that was only named is dialled, and waited for before this node is ready.
const UNCONFIRMED: Duration = Duration::from_secs(5);
