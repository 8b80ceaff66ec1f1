//! What one node knows about another.

use std::collections::HashSet;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::dial::DialSchedule;
use super::link_choice::{ActiveLink, Path};
use crate::cluster::hello::LinkId;
use crate::cluster::view::{LinkState, NodeState};
use crate::id::{Incarnation, NodeId};

/// One life of another node: a member, a node that another member named, or a dead node that may come back.
#[derive(Debug)]
pub(crate) struct RemoteNode {
    pub(crate) incarnation: Incarnation,
    pub(crate) address: SocketAddr,
    pub(crate) state: NodeState,
    /// The nodes to which it has a direct link, as it gossips.
    pub(crate) neighbours: HashSet<NodeId>,
    /// Whether its hello or gossip spoke for it. Until then another member only named it.
    pub(crate) confirmed: bool,
    pub(crate) link: Option<ActiveLink>,
    /// Whether a hello was exchanged with this life of the node, so that both have each other in the ring.
    pub(crate) greeted: bool,
    /// When it was last without a link.
    pub(crate) unlinked: Instant,
    pub(crate) dial: DialSchedule,
    /// Until then the messages for a dead node are kept.
    pub(crate) kept_until: Option<Instant>,
    /// Until then a node that is no member is dialled.
    pub(crate) sought_until: Option<Instant>,
}

impl RemoteNode {
    pub(crate) fn new(
        incarnation: Incarnation,
        address: SocketAddr,
        dial: DialSchedule,
        now: Instant,
    ) -> Self {
        Self {
            incarnation,
            address,
            state: NodeState::Joining,
            neighbours: HashSet::new(),
            confirmed: false,
            link: None,
            greeted: false,
            unlinked: now,
            dial,
            kept_until: None,
            sought_until: None,
        }
    }

    pub(crate) fn is_sought(&self, now: Instant) -> bool {
        self.sought_until.is_some_and(|until| now < until)
    }

    pub(crate) fn has_link(&self, link: LinkId) -> bool {
        self.link.is_some_and(|active| active.id == link)
    }

    pub(crate) fn direct_link(&self) -> Option<LinkId> {
        self.link.filter(ActiveLink::is_direct).map(|link| link.id)
    }

    /// The addresses at which a dial would reach this node, which has a direct link.
    pub(crate) fn linked_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let remote = match self.link.map(|link| link.path) {
            Some(Path::Direct(remote)) => Some(remote),
            Some(Path::Relayed) | None => None,
        };
        remote.into_iter().chain(remote.map(|_| self.address))
    }

    pub(crate) fn link_state(&self) -> LinkState {
        match self.link.map(|link| link.path) {
            None => LinkState::Down,
            Some(Path::Direct(_)) => LinkState::Up,
            Some(Path::Relayed) => LinkState::Relayed,
        }
    }

    /// Another member knows a newer life of this node. It is dialled at its new address, where its hello confirms that.
    pub(crate) fn handle_newer_life(
        &mut self,
        incarnation: Incarnation,
        address: SocketAddr,
        dial: DialSchedule,
    ) {
        if incarnation > self.incarnation && self.link.is_none() && address != self.address {
            (self.address, self.dial) = (address, dial);
        }
    }
}
