//! Whom a node dials, directly and through others, and what comes of it.

use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::dial::{DialError, DialSchedule, DialTarget};
use super::output::{Offer, Output};
use super::remote_node::RemoteNode;
use super::{Control, Farewell, WARNING_INTERVAL};
use crate::cluster::hello::{KnownMember, LinkId};
use crate::cluster::view::NodeState;
use crate::cluster::wire::pb::refusal::Reason;
use crate::id::NodeId;

impl Control {
    pub(super) fn dial(&mut self, target: DialTarget, address: SocketAddr) {
        self.dialling.insert(address);
        self.outputs.push_back(Output::Dial(target, address));
    }

    pub(super) fn look_up_seeds(&mut self) {
        if self.farewell == Farewell::Staying {
            let lookups = self.seeds.begin_lookups().into_iter();
            self.outputs.extend(lookups.map(|(seed, name)| Output::Resolve { seed, name }));
        }
    }

    /// Dials members without a direct link, and nodes that are sought.
    pub(super) fn dial_due_nodes(&mut self, now: Instant) {
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
    pub(super) fn relays(&self, to: &NodeId) -> Vec<LinkId> {
        // What is relayed passes through the application's runtime.
        let runs = |node: &RemoteNode| node.state != NodeState::Hung;
        let nodes =
            self.nodes.iter().filter(|(id, node)| *id != to && runs(node) && node.neighbours.contains(to));
        nodes.filter_map(|(_, node)| node.direct_link()).collect()
    }

    pub(super) fn end_dial(&mut self, target: &DialTarget, outcome: &Result<Offer, DialError>, now: Instant) {
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

    pub(super) fn handle_dial_error(&mut self, target: &DialTarget, error: &DialError, now: Instant) {
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
    pub(super) fn follow(&mut self, members: Vec<KnownMember>, now: Instant) {
        for KnownMember { id, incarnation, address } in members {
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
                    let node = vacant.insert(RemoteNode::new(incarnation, address, dial, now));
                    node.sought_until = Some(now + UNCONFIRMED);
                }
                Entry::Occupied(mut known) => known.get_mut().handle_newer_life(incarnation, address, dial),
            }
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

/// How long a living member must be without a link before a relay is asked.
const RELAY_DELAY: Duration = Duration::from_secs(1);
/// How long a node that was only named is dialled, and waited for before this node is ready.
const UNCONFIRMED: Duration = Duration::from_secs(5);
