//! The links of a node: which are adopted, refused, retired and lost.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::dial::DialSchedule;
use super::link_choice::{ActiveLink, Path};
use super::liveness::LinkHealth;
use super::output::{Offer, Output};
use super::{Control, Farewell};
use crate::cluster::address::{gossip_address, may_be_told};
use crate::cluster::hello::{Greeting, LinkId};
use crate::cluster::wire::CloseCode;
use crate::cluster::wire::pb::refusal::Reason;
use crate::id::NodeId;

impl Control {
    /// Why an offered link is not taken, if so.
    pub(super) fn objection(
        &mut self,
        offer: &Offer,
        dialled: bool,
        now: Instant,
    ) -> Option<(Reason, &'static str)> {
        let Greeting { id, incarnation, .. } = &offer.greeting;
        if self.farewell != Farewell::Staying {
            Some((Reason::Leaving, "this node is leaving"))
        } else if self.is_outdated(id, *incarnation) {
            Some((Reason::Stale, "a newer life of this node is a member; is its clock right?"))
        } else if let Some(why) = self.implausible(offer) {
            self.warn_implausible(offer, why, now);
            Some((Reason::Identity, why))
        } else if self.is_outdated_by(offer, now) {
            Some((Reason::Identity, "an older life of the node answers here"))
        } else if !self.prefers(offer, dialled, now) {
            Some((Reason::Duplicate, "another connection is preferred"))
        } else {
            None
        }
    }

    /// Whether to take an offered link, although there may be one to that node.
    fn prefers(&self, offer: &Offer, dialled: bool, now: Instant) -> bool {
        let Greeting { id, incarnation, .. } = &offer.greeting;
        let same_life = self.nodes.get(id).filter(|node| node.incarnation == *incarnation);
        let link = same_life.and_then(|node| node.link);
        // Nobody answers for a node that answers for itself.
        let answers = |link: &ActiveLink| !offer.path.is_direct() && link.is_healthy(now);
        link.is_none_or(|link| !answers(&link) && link.gives_way(offer.path, dialled, self.me.id < *id, now))
    }

    pub(super) fn adopt(&mut self, offer: &Offer, dialled: bool, now: Instant) {
        let Offer { link: id, path, source, ref greeting, .. } = *offer;
        let Some(verdicts) = self.liveness.handle_hello(now, &greeting.id, greeting.incarnation) else {
            // The callers have asked `is_outdated` before.
            return self.retire(id, now);
        };
        self.apply(verdicts, now);
        let told = Some(greeting.address).filter(|told| self.can_use(*told, path.remote()));
        let heard = told.filter(|_| !path.is_direct());
        let node = self.confirm(greeting.id.clone(), greeting.incarnation, heard, now);
        if let Path::Direct(remote) = path {
            node.addresses.handle_hello(told, remote, now);
            node.trouble = None;
        }
        // A node that answered has this node in its ring. A node that asked has it once it got the answer, see `handle_started`.
        if node.heard.is_none() {
            // Later gossip knows better: a hello may have been on its way for long.
            node.state = greeting.state;
        }
        node.differing.clone_from(&greeting.differing);
        node.recovers = greeting.recovers;
        node.greeted |= dialled;
        node.refusals.clear();
        let link = ActiveLink { id, path, dialled, since: now, answered: now, pinged: None, closed: false };
        let replaced = node.link.replace(link);
        self.completeness.handle_linked(&greeting.id);
        self.learn_address(source);
        // Before the answer to the hello goes out: it promises a place in the ring and every broadcast from now on.
        self.publish(now);
        self.announce(now);
        self.note_news(now);
        self.changed = false;
        self.outputs.push_back(Output::Adopt(id));
        if let Some(replaced) = replaced {
            self.retire(replaced.id, now);
        }
        tracing::info!(node = %self.me.id, peer = %greeting.id, relayed = !path.is_direct(), "linked");
        if path.is_direct() {
            let name = gossip_address(&greeting.id, greeting.incarnation);
            self.outputs.push_back(Output::GossipWith(name));
        }
    }

    /// A node that is bound to every address of its machine learns from its first link which of them others reach.
    fn learn_address(&mut self, source: Option<IpAddr>) {
        let own = self.me.address;
        let source = source.filter(|ip| own.fixed().is_none() && !ip.is_loopback());
        if let Some(ip) = source.filter(|_| !self.has_learned_address) {
            self.has_learned_address = true;
            self.address = SocketAddr::new(ip, own.bound.port());
        }
    }

    /// Whether this node can use an address that a node at `from` told. What is relayed or gossiped is from anywhere: then a
    /// loopback address is of use only to a node that is bound to one.
    pub(super) fn can_use(&self, address: SocketAddr, from: Option<SocketAddr>) -> bool {
        may_be_told(address, from.unwrap_or(self.me.address.bound))
    }

    pub(super) fn refuse(&mut self, offer: &Offer, reason: Reason, detail: &'static str) {
        tracing::debug!(node = %self.me.id, peer = %offer.greeting.id, reason = detail, "refused a hello");
        self.outputs.push_back(Output::Refuse(offer.link, reason, detail));
    }

    /// Closes a link that is not needed a little later: requests that use its connection may end, and the other end, which
    /// may not have seen the link that replaces it, does not take its end for a loss.
    pub(super) fn retire(&mut self, link: LinkId, now: Instant) {
        self.retired.push((now + RETIREMENT, link));
    }

    pub(super) fn close_retired(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.retired).into_iter().partition(|(due, _)| now >= *due);
        self.retired = later;
        let due: Vec<_> = due;
        self.outputs.extend(due.into_iter().map(|(_, link)| Output::Close(link, CloseCode::Superseded)));
    }

    pub(super) fn lose(&mut self, id: &NodeId, link: LinkId, now: Instant) {
        let Some(node) = self.nodes.get_mut(id).filter(|node| node.has_link(link)) else { return };
        tracing::info!(node = %self.me.id, peer = %id, "link lost");
        node.unlinked = now;
        node.dial = DialSchedule::in_turn(now, &self.me.id, id);
        self.unlink(id, CloseCode::Silent);
        self.liveness.handle_link(id, LinkHealth::Lost);
        self.changed = true;
    }

    /// Ends the link to a node, if it has one. What the node has not confirmed stays in the log.
    pub(super) fn unlink(&mut self, id: &NodeId, code: CloseCode) {
        let link = self.nodes.get_mut(id).and_then(|node| node.link.take());
        self.outputs.extend(link.map(|link| Output::Close(link.id, code)));
    }

    /// Pings direct links, and gives up those that do not answer. The smaller id pings, the other one only when it hears no
    /// ping.
    pub(super) fn examine_links(&mut self, ping: bool, now: Instant) {
        let stalled = self.liveness.doubts(now);
        let mut silent = Vec::new();
        for (id, node) in &mut self.nodes {
            // Relayed links have no datagrams. Their relay notices when they break.
            let Some(link) = node.link.as_mut().filter(|link| link.is_direct()) else { continue };
            if link.owes_an_answer(now) {
                self.outputs.push_back(Output::Examine(link.id));
            }
            let is_late = now >= link.late_at();
            if ping && self.me.id < *id || is_late && (ping || !link.is_asked()) {
                link.pinged = Some(now);
                self.outputs.push_back(Output::Ping(link.id));
            }
            let silence = now.saturating_duration_since(link.answered);
            let health = if link.is_healthy(now) { LinkHealth::Healthy } else { LinkHealth::Silent };
            self.liveness.handle_link(id, health);
            if silence > self.silence && !stalled {
                silent.push((id.clone(), link.id));
            }
        }
        for (id, link) in silent {
            self.lose(&id, link, now);
        }
    }
}

/// How long a link that was replaced stays open.
const RETIREMENT: Duration = Duration::from_millis(500);
