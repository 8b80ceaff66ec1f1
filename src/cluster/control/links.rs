//! Which connection is the link to a node: adopted, preferred, replaced, lost.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::dialling::Dial;
use super::{Active, Knock, Node, State};
use crate::cluster::connection::{Answer, PeerConnection, reject};
use crate::cluster::endpoint::Closing;
use crate::cluster::hello::{Greeting, refuse};
use crate::cluster::link::Link;
use crate::cluster::liveness::LinkHealth;
use crate::cluster::peer::Peer;
use crate::cluster::stream::Halves;
use crate::cluster::view::NodeState;
use crate::cluster::wire::{encode_prelude, pb};
use crate::id::{Incarnation, NodeId};
use crate::random;
use pb::refusal::Reason;

/// A link that could be.
struct Offer {
    greeting: Greeting,
    connection: Option<Arc<PeerConnection>>,
    halves: Halves,
    /// Whether this node opened it.
    dialled: bool,
}

impl State {
    /// Another node said hello.
    pub(super) fn handle_knock(&mut self, knock: Knock, now: Instant) {
        let Knock { greeting, connection, halves } = knock;
        let offer = Offer { greeting, connection, halves, dialled: false };
        if self.leaving {
            return self.refuse(offer, Reason::Leaving, "this node is leaving");
        }
        if self
            .liveness
            .incarnation(&offer.greeting.id)
            .is_some_and(|known| known > offer.greeting.incarnation)
        {
            return self.refuse(
                offer,
                Reason::Stale,
                "a newer life of this node is a member; is its clock right?",
            );
        }
        if !self.prefers(&offer, now) {
            return self.refuse(offer, Reason::Duplicate, "another connection is preferred");
        }
        let hints = offer.greeting.members.clone();
        self.adopt(offer, now);
        self.follow(hints, now);
    }

    /// Another node answered our hello.
    pub(super) fn handle_answer(&mut self, answer: Answer, now: Instant) {
        let Answer { greeting, connection, halves } = answer;
        let stale = self.liveness.incarnation(&greeting.id).is_some_and(|known| known > greeting.incarnation);
        let offer = Offer { greeting, connection, halves, dialled: true };
        if stale {
            debug!(node = %self.shared.me.id, peer = %offer.greeting.id, incarnation = ?offer.greeting.incarnation,
                "an older life than the member answered");
        }
        if stale || self.leaving || !self.prefers(&offer, now) {
            retire(offer.connection, offer.halves);
        } else {
            self.adopt(offer, now);
        }
    }

    /// Whether to take an offered link although there may be one. Both ends decide alike.
    fn prefers(&self, offer: &Offer, now: Instant) -> bool {
        let Greeting { id, incarnation, .. } = &offer.greeting;
        let Some(node) = self.nodes.get(id) else { return true };
        let Some(active) = node.link.as_ref().filter(|_| node.incarnation == *incarnation) else {
            return true;
        };
        // The other end would not have offered a new one if it still had a link of that age.
        let settled = now >= active.since + SETTLED;
        let closed = active.connection.as_ref().is_some_and(|old| old.quic.close_reason().is_some());
        let old = Way { direct: active.connection.is_some(), dialled: active.dialled };
        let new = Way { direct: offer.connection.is_some(), dialled: offer.dialled };
        settled || closed || new.replaces(old, self.shared.me.id < *id)
    }

    fn adopt(&mut self, offer: Offer, now: Instant) {
        let Offer { greeting, connection, halves, dialled } = offer;
        let Some(verdicts) = self.liveness.handle_hello(now, &greeting.id, greeting.incarnation) else {
            return;
        };
        self.apply(verdicts, now);
        let peer = self.ensure(&greeting.id, greeting.incarnation, greeting.address, now);
        self.links += 1;
        let number = self.links;
        // Asked before the link is attached: from here on the receive position only grows.
        let reply = (!dialled).then(|| {
            let accepted = pb::hello_reply::Answer::Accepted(self.shared.hello(&greeting.id));
            encode_prelude(&pb::HelloReply { answer: Some(accepted) })
        });
        peer.attach(number, greeting.resume);
        if let Some(node) = self.nodes.get_mut(&greeting.id) {
            // Who answered has this node in its ring. Who asked has it once the answer is there: see `handle_started`.
            (node.state, node.greeted) = (greeting.state, node.greeted || dialled);
        }
        // Before the reply goes out: what it promises, a place in the ring and every broadcast from now on, holds then.
        self.publish_routes(now);
        self.publish_view();
        let link = Link::spawn(number, &peer, halves, reply, &self.ports);
        if let Some(connection) = &connection {
            connection.admit(&greeting);
        }
        let direct = connection.is_some();
        let Some(node) = self.nodes.get_mut(&greeting.id) else { return };
        if let Some(old) = node.link.replace(Active { link, connection, dialled, since: now }) {
            retire(old.connection, old.link);
        }
        info!(node = %self.shared.me.id, peer = %greeting.id, relayed = !direct, "linked");
        self.changed = true;
        if direct {
            // The routes must know the connection before gossip uses it.
            self.publish_routes(now);
            self.membership.greet(greeting.address);
        }
    }

    /// The record of a life of a node, with its sequence; made anew when it is another life.
    pub(super) fn ensure(
        &mut self,
        id: &NodeId,
        incarnation: Incarnation,
        address: SocketAddr,
        now: Instant,
    ) -> Arc<Peer> {
        if self.nodes.get(id).is_some_and(|node| node.incarnation != incarnation) {
            self.forget(id);
        }
        let me = &self.shared.me.id;
        let node = self
            .nodes
            .entry(id.clone())
            .or_insert_with(|| Node::new(incarnation, address, Dial::new(now, me, id), now));
        node.address = address;
        let peer = node.peer.get_or_insert_with(|| {
            let peer = Arc::new(Peer::new(id.clone(), incarnation, log_id()));
            self.shared.peers.write().insert(id.clone(), Arc::clone(&peer));
            peer
        });
        Arc::clone(peer)
    }

    /// Drops everything about a node.
    pub(super) fn forget(&mut self, id: &NodeId) {
        let Some(mut node) = self.nodes.remove(id) else { return };
        node.unlink(Closing::Superseded);
        self.shared.peers.write().remove(id);
        if let Some(peer) = node.peer {
            self.abandon(&peer);
        }
        self.changed = true;
    }

    /// The other end of a link has its hello answered: both have each other in the ring.
    pub(super) fn handle_started(&mut self, id: &NodeId, link: u64) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.greeted |= node.link.as_ref().is_some_and(|active| active.link.number == link);
        }
    }

    /// A link ended.
    pub(super) fn handle_lost(&mut self, id: &NodeId, link: u64, now: Instant) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.link.as_ref().is_none_or(|active| active.link.number != link) {
            return;
        }
        info!(node = %self.shared.me.id, peer = %id, "link lost");
        node.unlink(Closing::Silent);
        node.apart = now;
        node.dial = Dial::new(now, &self.shared.me.id, id);
        self.liveness.handle_link(id, LinkHealth::Lost);
        self.changed = true;
    }

    pub(super) fn handle_goodbye(&mut self, id: &NodeId, incarnation: Incarnation, now: Instant) {
        let verdicts = self.liveness.handle_goodbye(now, id, incarnation);
        self.apply(verdicts, now);
    }

    /// Says goodbye on every link, then answers.
    pub(super) fn handle_leave(&mut self, done: oneshot::Sender<()>) {
        self.leaving = true;
        let linked: Vec<_> = self.nodes.values().filter_map(Node::linked_peer).collect();
        linked.iter().for_each(|peer| peer.leave());
        tokio::spawn(async move {
            let all_gone = async {
                while linked.iter().any(|peer| peer.is_linked()) {
                    sleep(LEAVE_CHECK).await;
                }
            };
            if timeout(LEAVE, all_gone).await.is_err() {
                debug!("some peers did not confirm the goodbye");
            }
            // The one who asked may have gone.
            let _gone = done.send(());
        });
    }

    fn refuse(&self, offer: Offer, reason: Reason, detail: &str) {
        debug!(node = %self.shared.me.id, peer = %offer.greeting.id, reason = detail, "refused a hello");
        tokio::spawn(reject(offer.halves, refuse(reason, detail)));
    }
}

impl Node {
    pub(super) fn new(incarnation: Incarnation, address: SocketAddr, dial: Dial, now: Instant) -> Self {
        Self {
            incarnation,
            address,
            state: NodeState::Joining,
            links: HashSet::new(),
            peer: None,
            link: None,
            greeted: false,
            apart: now,
            dial,
            lingers: None,
            wanted: None,
        }
    }

    pub(super) fn connection(&self) -> Option<&Arc<PeerConnection>> {
        self.link.as_ref()?.connection.as_ref()
    }

    pub(super) fn has_direct_link(&self) -> bool {
        self.connection().is_some()
    }

    /// The addresses at which nobody needs to be dialled because of this node.
    pub(super) fn linked_addresses(&self) -> Vec<SocketAddr> {
        let remote = self.connection().map(|connection| connection.quic.remote_address());
        remote.into_iter().chain(remote.map(|_| self.address)).collect()
    }

    fn linked_peer(&self) -> Option<Arc<Peer>> {
        self.link.as_ref().and_then(|_| self.peer.clone())
    }

    /// Ends the link, if there is one; what is not confirmed stays in the log.
    pub(super) fn unlink(&mut self, why: Closing) {
        let Some(active) = self.link.take() else { return };
        if let Some(peer) = &self.peer {
            peer.detach(active.link.number);
        }
        if let Some(connection) = active.connection {
            connection.close(why);
        }
    }
}

/// How a link runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    direct: bool,
    /// Whether this node opened it.
    dialled: bool,
}

impl Way {
    /// Whether this way, which is new, replaces a young one. `smaller`: this node has the smaller id.
    fn replaces(self, old: Self, smaller: bool) -> bool {
        if self.direct != old.direct {
            return self.direct;
        }
        // Of two connections from the same end the later one, else that which the smaller id opened.
        self.dialled == old.dialled || self.dialled == smaller
    }
}

/// Lets requests on a connection that is not needed any more end, then closes it. Until then its link stays open too: the
/// other end may not have seen the one that replaces it, and would report a loss.
fn retire(connection: Option<Arc<PeerConnection>>, link: impl Send + 'static) {
    tokio::spawn(async move {
        sleep(GRACE).await;
        drop(link);
        if let Some(connection) = connection {
            connection.close(Closing::Superseded);
        }
    });
}

/// Names a sequence; never the same twice.
fn log_id() -> u64 {
    // Without a random generator there is no TLS either, so this node would not run.
    random::number().map_or(1, |id| id.max(1))
}

/// Longer than a dial takes: after it a second connection is no crossing of dials, but the answer to a loss.
const SETTLED: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_millis(500);
/// How long the goodbyes may take.
const LEAVE: Duration = Duration::from_millis(700);
const LEAVE_CHECK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [Way; 4] = [
        Way { direct: true, dialled: true },
        Way { direct: true, dialled: false },
        Way { direct: false, dialled: true },
        Way { direct: false, dialled: false },
    ];

    fn from_the_other_end(way: Way) -> Way {
        Way { dialled: !way.dialled, ..way }
    }

    #[test]
    fn both_ends_prefer_the_same_connection() {
        for (old, new) in WAYS.iter().flat_map(|old| WAYS.map(|new| (*old, new))) {
            for smaller in [true, false] {
                let there = from_the_other_end(new).replaces(from_the_other_end(old), !smaller);
                assert_eq!(new.replaces(old, smaller), there, "{old:?} {new:?} {smaller}");
            }
        }
    }

    #[test]
    fn of_crossing_dials_one_survives_in_whichever_order_they_are_seen() {
        let [mine, theirs, ..] = WAYS;
        for smaller in [true, false] {
            assert_ne!(mine.replaces(theirs, smaller), theirs.replaces(mine, smaller));
            assert_eq!(mine.replaces(theirs, smaller), smaller);
        }
    }

    #[test]
    fn a_direct_connection_replaces_a_relayed_one_and_not_the_other_way_round() {
        for smaller in [true, false] {
            assert!(WAYS[0].replaces(WAYS[3], smaller) && !WAYS[3].replaces(WAYS[0], smaller));
        }
    }
}
