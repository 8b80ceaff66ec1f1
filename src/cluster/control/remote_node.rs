//! What one node knows about another.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::addresses::Addresses;
use super::dial::DialSchedule;
use super::link_choice::{ActiveLink, Path};
use super::refusals::Refusals;
use crate::cluster::hello::LinkId;
use crate::cluster::view::{LinkState, NodeState, SettingDifference};
use crate::id::{Incarnation, NodeId};

/// One life of another node: a member, a node that another member named, or a dead node that may come back.
#[derive(Debug)]
pub(crate) struct RemoteNode {
    pub(crate) incarnation: Incarnation,
    pub(crate) addresses: Addresses,
    pub(crate) state: NodeState,
    /// The settings of sessions that it has otherwise, as its last hello said.
    pub(crate) differing: Vec<SettingDifference>,
    /// Whether it keeps the sessions of clients that may come back, as its last hello said.
    pub(crate) recovers: bool,
    /// The members to which it has no direct link, as it gossips.
    pub(crate) misses: HashSet<NodeId>,
    /// How many sessions it owns, about, as it gossips.
    pub(crate) sessions: Option<u64>,
    /// Whether its hello or gossip spoke for it. Until then another member only named it.
    pub(crate) confirmed: bool,
    /// Since when gossip speaks for it.
    pub(crate) heard: Option<Instant>,
    pub(crate) link: Option<ActiveLink>,
    pub(crate) refusals: Refusals,
    /// Whether a hello was exchanged with this life of the node, so that both have each other in the ring.
    pub(crate) greeted: bool,
    /// When it was last without a link.
    pub(crate) unlinked: Instant,
    pub(crate) dial: DialSchedule,
    /// What came of the last dial that failed, if none succeeded since.
    pub(crate) trouble: Option<String>,
    /// Until then the messages for a dead node are kept.
    pub(crate) kept_until: Option<Instant>,
    /// Until then a node that is no member is dialled.
    pub(crate) sought_until: Option<Instant>,
}

impl RemoteNode {
    pub(crate) fn new(
        incarnation: Incarnation,
        addresses: Addresses,
        dial: DialSchedule,
        now: Instant,
    ) -> Self {
        Self {
            incarnation,
            addresses,
            state: NodeState::Joining,
            differing: Vec::new(),
            recovers: true,
            misses: HashSet::new(),
            sessions: None,
            refusals: Refusals::default(),
            confirmed: false,
            heard: None,
            link: None,
            greeted: false,
            unlinked: now,
            dial,
            trouble: None,
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
        let known = if remote.is_some() { self.addresses.all() } else { Vec::new() };
        remote.into_iter().chain(known)
    }

    /// The address that is this node's own and leads to no other, if it has a direct link.
    pub(crate) fn home(&self) -> Option<SocketAddr> {
        self.direct_link().and_then(|_| self.addresses.all().first().copied())
    }

    /// Whether it had the time to say whom it misses.
    pub(crate) fn has_told(&self, now: Instant) -> bool {
        self.heard.is_some_and(|since| now >= since + TELLING)
    }

    /// Whether it has clients, as far as it says.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.state, NodeState::Ready | NodeState::Draining)
    }

    /// Whether it has no link for so long that it holds no end of one either: both ends of a cut give up.
    pub(crate) fn is_cut_off(&self, now: Instant) -> bool {
        self.link.is_none() && now >= self.unlinked + CUT_OFF
    }

    /// Until when nothing about it is under way; `None` when something is.
    pub(crate) fn calm_until(&self) -> Option<Instant> {
        let link = self.link.filter(|link| link.is_direct() && !link.is_asked())?;
        (!self.addresses.is_proof_due()).then(|| link.late_at())
    }

    /// Whether it is worth telling others that it has no direct link.
    pub(crate) fn is_missed(&self, now: Instant) -> bool {
        self.direct_link().is_none() && now >= self.unlinked + MISSED
    }

    /// Whether it has no direct link although there was time for one.
    pub(crate) fn is_hard_to_reach(&self, now: Instant) -> bool {
        self.direct_link().is_none() && now >= self.unlinked + HARD_TO_REACH
    }

    /// Where it is being dialled now.
    pub(crate) fn dialled_address(&self) -> Option<SocketAddr> {
        self.addresses.current().filter(|_| self.dial.is_running())
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
        address: Option<SocketAddr>,
        dial: DialSchedule,
    ) {
        let Some(address) = address else { return };
        if incarnation > self.incarnation && self.link.is_none() && self.addresses.current() != Some(address)
        {
            self.addresses.handle_moved(address);
            self.dial = dial;
        }
    }
}

/// Longer than [`MISSED`], and until gossip has told of it.
const TELLING: Duration = Duration::from_secs(3);
/// Longer than it takes to link with a node that joins, or again with one whose link broke.
const MISSED: Duration = Duration::from_secs(1);
/// Longer than it takes until both ends of a link that was cut have given it up.
const CUT_OFF: Duration = Duration::from_secs(4);
const HARD_TO_REACH: Duration = Duration::from_secs(10);
