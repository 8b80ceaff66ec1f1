//! Who is a member, and what everybody is told about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{NAG, Node, PATIENCE, State, TICKS_PER_SECOND};
use crate::cluster::endpoint::Closing;
use crate::cluster::liveness::{Death, LinkHealth, Verdict};
use crate::cluster::membership::Rumour;
use crate::cluster::peer::Peer;
use crate::cluster::ring::Ring;
use crate::cluster::sequence::MAX_AGE;
use crate::cluster::shared::Route;
use crate::cluster::view::{LinkState, MemberView, NodeState, View};
use crate::id::NodeId;

impl State {
    pub(super) fn handle_gossip(&mut self, rumours: Vec<Rumour>, now: Instant) {
        let live = rumours.iter().map(|rumour| (rumour.id.clone(), rumour.incarnation)).collect();
        let verdicts = self.liveness.handle_gossip(now, &live);
        self.apply(verdicts, now);
        for rumour in rumours {
            if self.liveness.incarnation(&rumour.id) == Some(rumour.incarnation) {
                self.ensure(&rumour.id, rumour.incarnation, rumour.address, now);
                if let Some(node) = self.nodes.get_mut(&rumour.id) {
                    (node.state, node.links) = (rumour.state, rumour.links.into_iter().collect());
                }
            }
        }
        self.changed = true;
    }

    pub(super) fn handle_tick(&mut self, now: Instant) {
        self.ticks += 1;
        // First, because it notices when it was this node that stood still.
        let verdicts = self.liveness.handle_tick(now);
        self.apply(verdicts, now);
        self.examine_links(now);
        self.clear_up(now);
        self.dial_seeds();
        self.relay_due(now);
        if self.ticks.is_multiple_of(NAG) {
            self.nag(now);
        }
    }

    pub(super) fn handle_drain(&mut self) {
        self.state = NodeState::Draining;
        self.changed = true;
    }

    /// Carries out what the witnesses agreed on.
    pub(super) fn apply(&mut self, verdicts: Vec<Verdict>, now: Instant) {
        for verdict in verdicts {
            self.changed = true;
            match verdict {
                Verdict::Alive(id, incarnation) => {
                    info!(node = %self.shared.me.id, peer = %id, ?incarnation, "joined");
                    if let Some(node) = self.nodes.get_mut(&id) {
                        (node.lingers, node.wanted) = (None, None);
                    }
                }
                Verdict::Dead(id, incarnation, death) => {
                    info!(node = %self.shared.me.id, peer = %id, ?incarnation, reason = ?death, "left");
                    self.bury(&id, death, now);
                }
            }
        }
    }

    fn bury(&mut self, id: &NodeId, death: Death, now: Instant) {
        match death {
            // That life does not come back.
            Death::Left | Death::Restarted => self.forget(id),
            // It may be a partition: what is sent meanwhile waits, and it is looked for.
            Death::Both | Death::Gossip => {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.unlink(Closing::Silent);
                    (node.greeted, node.lingers, node.wanted) =
                        (false, Some(now + MAX_AGE), Some(now + SEARCH));
                }
            }
        }
    }

    /// Pings every direct link, and gives up those that do not answer.
    fn examine_links(&mut self, now: Instant) {
        let doubts = self.liveness.doubts(now);
        let ping = self.ticks.is_multiple_of(PING_TICKS);
        let mut silent = Vec::new();
        for (id, node) in &self.nodes {
            let Some(active) = &node.link else { continue };
            // A relayed link has no datagrams; the relay notices when it breaks.
            let Some(connection) = &active.connection else { continue };
            if ping {
                connection.ping();
            }
            let silence = now.saturating_duration_since(connection.answered());
            let health = if silence < HEALTHY { LinkHealth::Healthy } else { LinkHealth::Silent };
            self.liveness.handle_link(id, health);
            if silence > SILENT && !doubts || self.shared.denies(id) {
                silent.push((id.clone(), active.link.number));
            }
        }
        for (id, link) in silent {
            self.handle_lost(&id, link, now);
        }
    }

    fn clear_up(&mut self, now: Instant) {
        let mut forgotten = Vec::new();
        for (id, node) in &mut self.nodes {
            if let Some(peer) = &node.peer {
                peer.expire(now);
            }
            if node.lingers.is_some_and(|until| now >= until) {
                node.lingers = None;
                self.changed = true;
                let given_up = node.peer.as_ref().map_or(0, |peer| peer.abandon());
                self.shared.counters.abandoned.add(given_up);
                warn!(node = %self.shared.me.id, peer = %id, given_up, "keeps nothing more for it");
            }
            let member = self.liveness.incarnation(id).is_some();
            if !member && node.lingers.is_none() && node.wanted.is_none_or(|until| now >= until) {
                forgotten.push(id.clone());
            }
        }
        forgotten.iter().for_each(|id| self.forget(id));
    }

    pub(super) fn abandon(&self, peer: &Peer) {
        self.shared.counters.abandoned.add(peer.abandon());
    }

    /// Ready is a node that found its cluster and is in the ring of every member.
    pub(super) fn become_ready(&mut self, now: Instant) {
        if self.leaving || self.state != NodeState::Joining || !self.has_found_cluster(now) {
            return;
        }
        if self.outdated.is_some_and(|until| now < until) {
            return;
        }
        let patient = !self.serve_alone || now < self.started + PATIENCE;
        if patient && !self.missing(now).is_empty() {
            return;
        }
        self.state = NodeState::Ready;
        self.changed = true;
        info!(node = %self.shared.me.id, members = self.liveness.members().count() + 1, "ready");
    }

    /// A member refused this node for an older life of itself: others do not route to it, so it takes no clients.
    pub(super) fn stand_back(&mut self, peer: &NodeId, now: Instant) {
        self.outdated = Some(now + STALE);
        let was_ready = self.state == NodeState::Ready;
        if was_ready {
            self.state = NodeState::Joining;
            self.changed = true;
        }
        if was_ready || self.ports.may_warn() {
            let (node, incarnation) = (&self.shared.me.id, self.shared.me.incarnation.0);
            warn!(%node, %peer, incarnation, "not ready: the peer knows a newer life of this node. Either the clock of this \
                machine was set back since then, or another process runs with the same node id");
        }
    }

    /// Whether a seed answered. A node without seeds is found by the members of its earlier life instead, if there are any.
    fn has_found_cluster(&self, now: Instant) -> bool {
        if self.seeds.none_but_own() {
            now >= self.started + SOLITUDE || self.nodes.values().any(|node| node.greeted)
        } else {
            self.seeds.found(self.serve_alone)
        }
    }

    /// Living members with whom no hello was exchanged.
    fn missing(&self, now: Instant) -> Vec<&NodeId> {
        let met = |id: &NodeId| self.nodes.get(id).is_some_and(|node| node.greeted);
        let members = self.liveness.members().map(|(id, _)| id).filter(|id| !met(id));
        members.chain(self.hearsay(now)).collect()
    }

    fn nag(&self, now: Instant) {
        let node = &self.shared.me.id;
        let silent = self.seeds.silent();
        if !self.seeds.none_but_own() && !self.seeds.found(false) {
            warn!(%node, seeds = ?silent, "no seed answers");
        } else if self.state == NodeState::Joining && self.outdated.is_none_or(|until| now >= until) {
            warn!(%node, missing = ?self.missing(now), "waiting for members to answer");
        }
    }

    /// Publishes view, roster and routes when something changed, and gossips what others must know.
    pub(super) async fn publish(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let now = Instant::now();
        self.publish_routes(now);
        self.publish_view();
        // Whoever waits for a peer that is gone waits no longer.
        self.shared.confirmations.send_replace(());
        // After the view: whoever waits for ready finds itself in the ring.
        self.shared.state.send_replace(self.state);
        let mut links: Vec<_> =
            self.nodes.iter().filter(|(_, node)| node.has_direct_link()).map(|(id, _)| id.as_str()).collect();
        links.sort_unstable();
        let news = (self.state, links.join(","));
        if self.announced.as_ref() != Some(&news) {
            self.membership.announce(news.0, &news.1).await;
            self.announced = Some(news);
        }
    }

    pub(super) fn publish_view(&self) {
        let members = self.members();
        self.shared.view.send_if_modified(|view| {
            let changed = view.members != members;
            if changed {
                let ring = Ring::new(members.iter().map(|member| (member.id.clone(), member.incarnation)));
                *view = Arc::new(View { epoch: view.epoch + 1, members, ring });
            }
            changed
        });
    }

    fn members(&self) -> Vec<MemberView> {
        let me = &self.shared.me;
        let own = MemberView {
            id: me.id.clone(),
            incarnation: me.incarnation,
            address: me.address,
            state: self.state,
            link: LinkState::Up,
        };
        let others = self.liveness.members().filter_map(|(id, incarnation)| {
            let node = self.nodes.get(id)?;
            let (id, address, state, link) = (id.clone(), node.address, node.state, node.link_state());
            Some(MemberView { id, incarnation, address, state, link })
        });
        let mut members: Vec<_> = others.chain([own]).collect();
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        members
    }

    pub(super) fn publish_routes(&self, now: Instant) {
        let mut roster = Vec::new();
        let mut routes = HashMap::new();
        let mut gossip = HashMap::new();
        for (id, node) in &self.nodes {
            let member = self.liveness.incarnation(id).is_some();
            // While it is looked for, what it misses is numbered at least: it learns how much that was.
            if member || node.wanted.is_some_and(|until| now < until) {
                roster.extend(node.peer.clone());
            }
            if let Some(connection) = node.connection() {
                gossip.insert(node.address, Arc::clone(connection));
                routes.insert(id.clone(), Route::Direct(Arc::clone(connection)));
            } else if let Some(via) = Some(self.relays(id)).filter(|via| member && !via.is_empty()) {
                routes.insert(id.clone(), Route::Via(via));
            }
        }
        self.shared.set_roster(roster);
        self.shared.set_routes(routes, gossip);
    }
}

impl Node {
    fn link_state(&self) -> LinkState {
        match &self.link {
            None => LinkState::Down,
            Some(active) if active.connection.is_some() => LinkState::Up,
            Some(_) => LinkState::Relayed,
        }
    }
}

/// How long a node without seeds waits for members that knew it before: they dial it every second, and an attempt that
/// began before this start takes a moment to come again.
const SOLITUDE: Duration = Duration::from_millis(1300);
/// How long one refusal of an older life counts: it comes again with each dial, every second or so.
const STALE: Duration = Duration::from_secs(3);
/// Every half second.
const PING_TICKS: u64 = TICKS_PER_SECOND / 2;
/// Three pings may be lost before a link is not a witness of life any more,
const HEALTHY: Duration = Duration::from_millis(1700);
/// and six before it is given up: both ends of a cut in one direction agree after 3.5 s.
const SILENT: Duration = Duration::from_secs(3);
/// How long a member that died without a goodbye is dialled at its address.
const SEARCH: Duration = Duration::from_secs(600);
