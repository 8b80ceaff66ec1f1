//! When a node takes clients.

use std::time::Duration;

use tokio::time::Instant;

use super::output::Output;
use super::pulse::Beat;
use super::{Control, Farewell, WARNING_INTERVAL};
use crate::cluster::view::NodeState;
use crate::id::NodeId;

impl Control {
    /// A node is ready when it has found its cluster and is in the ring of every member.
    pub(super) fn become_ready(&mut self, now: Instant) {
        let joining = self.farewell == Farewell::Staying && self.told_state() == NodeState::Joining;
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

    /// What others are told of this node. One whose application hangs is of no use to clients, whatever else it is.
    pub(super) fn told_state(&self) -> NodeState {
        if self.pulse.is_hung() { NodeState::Hung } else { self.state }
    }

    /// Asks the application's runtime whether it runs.
    pub(super) fn ask_application(&mut self, now: Instant) {
        match self.pulse.handle_tick(now) {
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

    pub(super) fn believes_to_be_outdated(&self, now: Instant) -> bool {
        self.outdated_until.is_some_and(|until| now < until)
    }

    /// A member refused this node as an older life of itself. The others do not route to it, so it takes no clients.
    pub(super) fn handle_outdated(&mut self, peer: &NodeId, now: Instant) {
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
    pub(super) fn has_found_cluster(&self, now: Instant) -> bool {
        if self.seeds.is_only_this_node() {
            now >= self.started + WAIT_TO_BE_FOUND || self.nodes.values().any(|node| node.greeted)
        } else {
            self.seeds.is_found(self.serve_alone)
        }
    }

    /// Living members with which no hello was exchanged, and nodes that a hello named and that have not answered yet.
    pub(super) fn missing(&self, now: Instant) -> impl Iterator<Item = &NodeId> {
        let is_greeted = |id: &NodeId| {
            self.nodes.get(id).is_some_and(|node| node.greeted || node.state == NodeState::Hung)
        };
        let members = self.liveness.members().map(|(id, _)| id).filter(move |id| !is_greeted(id));
        let unconfirmed = self.nodes.iter().filter(move |(_, node)| !node.confirmed && node.is_sought(now));
        members.chain(unconfirmed.map(|(id, _)| id))
    }

    pub(super) fn warn_while_waiting(&self, now: Instant) {
        let node = &self.me.id;
        if !self.seeds.is_only_this_node() && !self.seeds.is_found(false) {
            tracing::warn!(%node, seeds = ?self.seeds.unanswered(), "no seed answers");
        } else if self.state == NodeState::Joining && !self.believes_to_be_outdated(now) {
            let missing: Vec<_> = self.missing(now).collect();
            tracing::warn!(%node, ?missing, "not ready: waiting for members to answer");
        }
    }
}

/// How long a node without seeds waits for members that knew it before: they dial it every second, and a dial that began
/// before this start takes a moment to be repeated.
pub(super) const WAIT_TO_BE_FOUND: Duration = Duration::from_millis(1300);
/// How long a node with `serve_alone` waits for members that do not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a refusal as an older life counts. It is repeated with each dial, about every second.
pub(super) const OUTDATED: Duration = Duration::from_secs(3);
