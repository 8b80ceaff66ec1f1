//! What a node tells its own tasks and the other nodes.

use std::time::Duration;

use tokio::time::Instant;

use super::Control;
use super::output::{Announcement, Output, Publication, Route};
use crate::cluster::address::{gossip_address, may_be_told, unknown};
use crate::cluster::hello::LocalNode;
use crate::cluster::view::{LinkState, MemberView, NodeState};

impl Control {
    pub(super) fn publish(&mut self, now: Instant) {
        let (mut roster, mut routes, mut gossip) = (Vec::new(), Vec::new(), Vec::new());
        for (id, node) in &self.nodes {
            let member = self.liveness.incarnation(id).is_some();
            // This may be a partition: what a node misses while it is sought is kept for a while, and numbered.
            if node.confirmed && (member || node.is_sought(now)) {
                roster.push((id.clone(), node.incarnation));
            }
            if let Some(link) = node.direct_link() {
                gossip.push((gossip_address(id, node.incarnation), link));
                routes.push((id.clone(), Route::Direct(link)));
            } else if let Some(relays) = Some(self.relays(id)).filter(|relays| member && !relays.is_empty()) {
                routes.push((id.clone(), Route::Through(relays)));
            }
        }
        let (state, members, obstacle) = (self.told_state(), self.members(), self.obstacle_in_words(now));
        let unreached = self.unreached.iter().cloned().collect();
        let changes = self.changes;
        let publication =
            Publication { state, obstacle, members, roster, routes, gossip, unreached, changes };
        self.outputs.push_back(Output::Publish(publication));
    }

    pub(super) fn members(&self) -> Vec<MemberView> {
        let LocalNode { id, incarnation, .. } = self.me.clone();
        let address = self.address;
        let (state, link) = (self.told_state(), LinkState::Up);
        let sessions = self.sessions;
        let (recovers, differing) = (true, Vec::new());
        let own = MemberView { id, incarnation, address, state, link, sessions, recovers, differing };
        let others = self.liveness.members().filter_map(|(id, incarnation)| {
            let node = self.nodes.get(id).filter(|node| node.state != NodeState::Hung)?;
            let address = node.addresses.current().unwrap_or_else(|| unknown(0));
            let (id, state, link) = (id.clone(), node.state, node.link_state());
            let (sessions, recovers, differing) = (node.sessions, node.recovers, node.differing.clone());
            Some(MemberView { id, incarnation, address, state, link, sessions, recovers, differing })
        });
        let mut members: Vec<_> = others.chain([own]).collect();
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        members
    }

    pub(super) fn announce(&mut self, now: Instant) {
        // Those that are missed and not those that are linked: in a cluster where all is well nothing is told, however large it is.
        let misses = self.missing_links.iter().cloned().collect();
        // Who hears of a loopback address by gossip may be on any machine.
        let address = Some(self.address).filter(|address| may_be_told(*address, self.me.address.bound));
        let news = Announcement { state: self.told_state(), misses, address, sessions: self.sessions };
        if self.announced.as_ref() == Some(&news) {
            return;
        }
        self.outputs.push_back(Output::Announce(news.clone()));
        let before = self.announced.replace(news.clone());
        // How many sessions there are may spread with the gossip of quiet times.
        if before.is_none_or(|before| Announcement { sessions: news.sessions, ..before } != news) {
            self.note_news(now);
        }
    }

    /// Something changed that others should hear of soon.
    pub(super) fn note_news(&mut self, now: Instant) {
        self.restless_until = now + RESTLESS;
    }

    /// Gossips with some of the linked nodes, each time with the next ones: while something changes it spreads faster so than by the
    /// gossip of quiet times.
    pub(super) fn spread_news(&mut self) {
        let linked = self.nodes.iter().filter(|(_, node)| node.direct_link().is_some());
        let names: Vec<_> = linked.map(|(id, node)| gossip_address(id, node.incarnation)).collect();
        let told = names.iter().cycle().skip(self.spread).take(SPREAD.min(names.len())).copied();
        self.outputs.extend(told.map(Output::GossipWith));
        self.spread = (self.spread + SPREAD) % names.len().max(1);
    }
}

/// How long news are spread.
const RESTLESS: Duration = Duration::from_secs(2);
/// To so many nodes at once.
const SPREAD: usize = 3;
