//! What the machine of a member says about it, and what the others say then (docs/protocol/mesh.md, "Death").
//!
//! When a process ends without a goodbye, its machine refuses what comes to its port. A node that learns that gives its link up
//! and tells the others, who see for themselves. When no member reaches the node any more, it is dead.

use tokio::time::Instant;

use super::output::Output;
use super::remote_node::RemoteNode;
use super::{Control, Farewell};
use crate::cluster::hello::LinkId;
use crate::cluster::view::NodeState;
use crate::id::{Incarnation, NodeId};

impl Control {
    /// Nobody listens any more where a link leads that does not answer.
    pub(crate) fn handle_refused(&mut self, id: &NodeId, link: LinkId, now: Instant) {
        let Some(node) = self.nodes.get_mut(id).filter(|node| node.has_link(link)) else { return };
        node.refusals.handle_own(now);
        let incarnation = node.incarnation;
        self.lose(id, link, now);
        let links = self.nodes.values().filter_map(RemoteNode::direct_link).collect();
        self.outputs.push_back(Output::TellRefused { links, id: id.clone(), incarnation });
        self.settle(now);
    }

    /// A member does not reach that life of a node any more. This node sees for itself.
    pub(crate) fn handle_told_refused(
        &mut self,
        from: &NodeId,
        id: &NodeId,
        incarnation: Incarnation,
        now: Instant,
    ) {
        let asker = self.nodes.get(from).and_then(RemoteNode::direct_link);
        let node = self.nodes.get_mut(id).filter(|node| node.incarnation == incarnation);
        let Some(node) = node.filter(|_| asker.is_some()) else { return };
        if !node.refusals.handle_told(from, now) {
            return;
        }
        match node.link.as_mut().filter(|link| link.is_direct()) {
            Some(link) if link.is_asked() => {}
            Some(link) => {
                link.pinged = Some(now);
                self.outputs.push_back(Output::Ping(link.id));
            }
            // Who is told is a witness, too, that may have none to tell.
            None => {
                let links = asker.into_iter().collect();
                self.outputs.push_back(Output::TellRefused { links, id: id.clone(), incarnation });
            }
        }
        self.settle(now);
    }

    /// Declares dead what this node does not reach because nobody listens there, and what no other member reaches.
    pub(super) fn declare_refused(&mut self, now: Instant) {
        if self.farewell != Farewell::Staying || self.stands_still(now) {
            return;
        }
        let is_dead = |(id, node): &(&NodeId, &RemoteNode)| {
            let is_member = self.liveness.incarnation(id) == Some(node.incarnation);
            node.refusals.is_own(now) && is_member && !self.is_reached_by_another(id, node, now)
        };
        let dead: Vec<_> =
            self.nodes.iter().filter(is_dead).map(|(id, node)| (id.clone(), node.incarnation)).collect();
        for (id, incarnation) in dead {
            let verdicts = self.liveness.handle_refused(now, &id, incarnation);
            self.apply(verdicts, now);
        }
    }

    /// Whether a member may reach the node that this one does not reach, as far as it says.
    fn is_reached_by_another(&self, id: &NodeId, node: &RemoteNode, now: Instant) -> bool {
        let says_otherwise = |other: &NodeId, its: &RemoteNode| {
            its.misses.contains(id) || node.refusals.is_told_by(other, now)
        };
        // What seems to be gone itself is no witness.
        let lives = |its: &RemoteNode| match its.link {
            Some(link) => !link.is_direct() || link.is_healthy(now),
            None => !its.refusals.is_own(now),
        };
        self.nodes.iter().any(|(other, its)| {
            let is_witness = other != id
                && its.state != NodeState::Hung
                && lives(its)
                && self.liveness.incarnation(other).is_some();
            is_witness && !says_otherwise(other, its)
        })
    }
}
