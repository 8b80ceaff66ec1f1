//! What a node tells its own tasks and the other nodes.

use tokio::time::Instant;

use super::Control;
use super::output::{Output, Publication, Route};
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
                gossip.push((node.address, link));
                routes.push((id.clone(), Route::Direct(link)));
            } else if let Some(relays) = Some(self.relays(id)).filter(|relays| member && !relays.is_empty()) {
                routes.push((id.clone(), Route::Through(relays)));
            }
        }
        let (state, members) = (self.told_state(), self.members());
        self.outputs.push_back(Output::Publish(Publication { state, members, roster, routes, gossip }));
    }

    pub(super) fn members(&self) -> Vec<MemberView> {
        let LocalNode { id, incarnation, address, .. } = self.me.clone();
        let own = MemberView { id, incarnation, address, state: self.told_state(), link: LinkState::Up };
        let others = self.liveness.members().filter_map(|(id, incarnation)| {
            let node = self.nodes.get(id).filter(|node| node.state != NodeState::Hung)?;
            let (id, address, state, link) = (id.clone(), node.address, node.state, node.link_state());
            Some(MemberView { id, incarnation, address, state, link })
        });
        let mut members: Vec<_> = others.chain([own]).collect();
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        members
    }

    pub(super) fn announce(&mut self) {
        let linked = self.nodes.iter().filter(|(_, node)| node.direct_link().is_some());
        let neighbours: Vec<_> = linked.map(|(id, _)| id.clone()).collect();
        let news = (self.told_state(), neighbours);
        if self.announced.as_ref() != Some(&news) {
            let (state, neighbours) = news.clone();
            self.outputs.push_back(Output::Announce { state, neighbours });
            self.announced = Some(news);
        }
    }
}
