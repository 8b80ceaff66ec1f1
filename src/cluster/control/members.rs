//! Who is a member: the records of nodes, and what follows from their lives and deaths.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Addresses;
use super::dial::DialSchedule;
use super::liveness::{Death, Verdict};
use super::output::{GossipMember, Offer, Output};
use super::remote_node::RemoteNode;
use super::{Control, WARNING_INTERVAL};
use crate::cluster::delivery::replay_log::MAX_AGE;
use crate::cluster::hello::Greeting;
use crate::cluster::wire::CloseCode;
use crate::id::{Incarnation, NodeId};

impl Control {
    /// Whether a newer life of the node is a member.
    pub(super) fn is_outdated(&self, id: &NodeId, incarnation: Incarnation) -> bool {
        self.liveness.incarnation(id).is_some_and(|known| known > incarnation)
    }

    /// Why a hello cannot be what it says, if so. A member that relays one could say anything: it speaks for a life only that
    /// is a member anyway.
    pub(super) fn implausible(&self, offer: &Offer) -> Option<&'static str> {
        let Greeting { id, incarnation, .. } = &offer.greeting;
        let unknown = self.liveness.incarnation(id) != Some(*incarnation);
        (unknown && !offer.path.is_direct()).then_some("a member relays a life of the node that is no member")
    }

    /// Whether this node knows better than gossip: it speaks of another life of a node than the one that answers on a link,
    /// which any member could say, or of one that has just ended.
    pub(super) fn is_refuted(&self, member: &GossipMember, now: Instant) -> bool {
        let answers = |node: &RemoteNode| node.link.is_some_and(|link| link.is_healthy(now));
        let known = self.nodes.get(&member.id);
        known.is_some_and(|node| node.incarnation != member.incarnation && answers(node))
            || self.liveness.is_refused(&member.id, member.incarnation, now)
    }

    /// A link does not answer any more, so another life of its node may have been right; or gossip insists.
    pub(super) fn reconsider_gossip(&mut self, now: Instant) {
        let (right, still) =
            std::mem::take(&mut self.refuted).into_iter().partition(|member| !self.is_refuted(member, now));
        self.refuted = still;
        let right: Vec<GossipMember> = right;
        for member in right {
            let verdicts = self.liveness.handle_rumour(&member.id, member.incarnation);
            self.apply(verdicts, now);
            self.hear_of(member, now);
        }
    }

    /// Takes what a node says about itself by gossip, if it is the life that is a member.
    pub(super) fn hear_of(&mut self, member: GossipMember, now: Instant) {
        let GossipMember { id, incarnation, address, state, misses, sessions } = member;
        if self.liveness.incarnation(&id) == Some(incarnation) {
            self.note_hanging(&id, state);
            let address = address.filter(|address| self.can_use(*address, None));
            let node = self.confirm(id, incarnation, address, now);
            (node.state, node.misses, node.sessions) = (state, misses.into_iter().collect(), sessions);
            node.heard.get_or_insert(now);
        }
    }

    pub(super) fn warn_implausible(&self, offer: &Offer, why: &'static str, now: Instant) {
        let (node, Greeting { id, incarnation, .. }) = (&self.me.id, &offer.greeting);
        if self.warnings.allows("implausible", id.as_str(), WARNING_INTERVAL, now) {
            let (incarnation, relayed) = (incarnation.0, !offer.path.is_direct());
            tracing::warn!(%node, peer = %id, incarnation, relayed, why, "refused a hello");
        }
    }

    /// The record of a life of a node that is certain to exist. It replaces that of another life. `heard` is the address that
    /// the node tells everybody.
    pub(super) fn confirm(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        heard: Option<SocketAddr>,
        now: Instant,
    ) -> &mut RemoteNode {
        if self.nodes.get(&id).is_some_and(|node| node.incarnation != incarnation) {
            self.forget(&id);
        }
        let dial = DialSchedule::in_turn(now, &self.me.id, &id);
        let new = || RemoteNode::new(incarnation, Addresses::default(), dial, now);
        let node = self.nodes.entry(id).or_insert_with(new);
        node.confirmed = true;
        node.addresses.handle_heard(heard);
        node
    }

    pub(super) fn forget(&mut self, id: &NodeId) {
        self.unlink(id, CloseCode::Superseded);
        if self.nodes.remove(id).is_some() {
            self.outputs.push_back(Output::Forget(id.clone()));
            self.changed = true;
        }
    }

    /// Carries out what gossip and links agreed on.
    pub(super) fn apply(&mut self, verdicts: Vec<Verdict>, now: Instant) {
        for verdict in verdicts {
            self.changed = true;
            self.note_news(now);
            match verdict {
                Verdict::Alive(id, incarnation) => {
                    self.changes.joined += 1;
                    tracing::info!(node = %self.me.id, peer = %id, ?incarnation, "joined");
                    if let Some(node) = self.nodes.get_mut(&id) {
                        (node.kept_until, node.sought_until) = (None, None);
                        node.refusals.clear();
                    }
                }
                Verdict::Dead(id, incarnation, death) => {
                    match death {
                        Death::Left => self.changes.left += 1,
                        Death::Refused | Death::GossipAndLink | Death::GossipAlone | Death::Restarted => {
                            self.changes.died += 1;
                        }
                    }
                    tracing::info!(node = %self.me.id, peer = %id, ?incarnation, reason = ?death, "left");
                    self.handle_death(&id, death, now);
                }
            }
        }
    }

    pub(super) fn handle_death(&mut self, id: &NodeId, death: Death, now: Instant) {
        match death {
            // That life does not come back.
            Death::Left | Death::Restarted => self.forget(id),
            // This may be a partition. What is sent meanwhile is kept for a while, and the node is looked for.
            Death::Refused | Death::GossipAndLink | Death::GossipAlone => {
                self.unlink(id, CloseCode::Silent);
                if let Some(node) = self.nodes.get_mut(id) {
                    (node.greeted, node.heard) = (false, None);
                    (node.kept_until, node.sought_until) = (Some(now + MAX_AGE), Some(now + SEARCH));
                }
            }
        }
    }

    pub(super) fn forget_expired(&mut self, now: Instant) {
        let mut expired = Vec::new();
        for (id, node) in &mut self.nodes {
            if node.kept_until.is_some_and(|until| now >= until) {
                node.kept_until = None;
            }
            let member = self.liveness.incarnation(id).is_some();
            if !member && node.kept_until.is_none() && !node.is_sought(now) {
                expired.push(id.clone());
            }
        }
        expired.iter().for_each(|id| self.forget(id));
    }
}

/// How long a node that died without a goodbye is dialled at its address.
pub(super) const SEARCH: Duration = Duration::from_secs(600);
