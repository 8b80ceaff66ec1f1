//! The cluster as one node sees it at one moment.

use std::fmt;
use std::net::SocketAddr;

use super::ring::Ring;
use crate::id::{Incarnation, NodeId};

/// The members of a cluster as one node sees them. A new view is published with every change.
///
/// ```
/// # async fn f(node: socketmesh::Node) {
/// if let Some(mut view) = node.view() {
///     while view.changed().await.is_ok() {
///         let view = view.borrow_and_update();
///         println!("{} nodes: {:?}", view.members.len(), view.ring.members());
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// Grows with every change. Epochs of different nodes cannot be compared.
    pub epoch: u64,
    /// Every node in the ring, this one included, sorted by id.
    pub members: Vec<MemberView>,
    /// Which node owns which session.
    pub ring: Ring,
}

/// One node of the cluster.
///
/// ```
/// use socketmesh::cluster::{LinkState, NodeState, View};
///
/// /// Whether a node takes clients and is reached directly.
/// fn is_well(view: &View, id: &socketmesh::id::NodeId) -> bool {
///     view.member(id).is_some_and(|node| node.state == NodeState::Ready && node.link == LinkState::Up)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberView {
    /// The name of the node.
    pub id: NodeId,
    /// Which life of the node this is: it is larger after each restart.
    pub incarnation: Incarnation,
    /// The UDP address at which other nodes reach it.
    pub address: SocketAddr,
    /// Whether it takes clients.
    pub state: NodeState,
    /// How the node that has this view reaches it.
    pub link: LinkState,
    /// How many sessions it owns, as it said last: that is some seconds old, and 5 % off at most. `None` before it has said it.
    pub sessions: Option<u64>,
    /// Whether it keeps the sessions of clients that may come back. A node of an earlier version does not.
    pub(crate) recovers: bool,
    /// The settings of sessions that it has otherwise than the node that has this view, as its hello said. Empty where all is
    /// well: clients get the settings of the node that opens their session, and meet others on the way.
    pub differing: Vec<SettingDifference>,
}

/// A setting of sessions that two nodes of a cluster have otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingDifference {
    /// The name of the setting, as in [`engine::Config`](crate::engine::Config) or [`Cluster`](super::Cluster).
    pub name: &'static str,
    /// Its value on this node.
    pub here: String,
    /// Its value on the other one, 64 characters at most.
    pub there: String,
}

impl fmt::Display for SettingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} here and {} there", self.name, self.here, self.there)
    }
}

/// Whether a node takes clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// The node takes no clients yet, because not every member knows it.
    Joining,
    /// The node takes clients.
    Ready,
    /// The node [ends](crate::Node::drain): it serves its clients until it releases them, and other nodes open the sessions of new ones.
    Draining,
    /// The application's runtime has run nothing for ten seconds. Only the node itself sees itself so: to the others it is no
    /// member until its application runs again.
    Hung,
}

/// How a node reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// Over a connection of its own. A node also sees itself like that.
    Up,
    /// Through one other node.
    Relayed,
    /// Not at the moment. Messages to it wait for up to 10 s.
    Down,
}

impl LinkState {
    /// As labels and JSON name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Relayed => "relayed",
            Self::Down => "down",
        }
    }
}

impl View {
    /// The member with this name, or `None` if there is none.
    pub fn member(&self, id: &NodeId) -> Option<&MemberView> {
        let at = self.members.binary_search_by(|member| member.id.cmp(id)).ok()?;
        self.members.get(at)
    }

    /// The member that does what only one node should do: the one that started first of those that take clients. `None` while
    /// none does.
    ///
    /// It follows from the view alone, without a vote: nodes with the same view name the same leader, and a newcomer never takes
    /// over. It is **no lock**. Views differ for up to 3 s after a death, and for as long as a cluster is cut in two: then
    /// there are two leaders, or none that you reach. What must not happen twice in such a moment needs a database that decides.
    ///
    /// [`Node::is_leader`](crate::Node::is_leader) has an example.
    pub fn leader(&self) -> Option<&NodeId> {
        let ready = self.members.iter().filter(|member| member.state == NodeState::Ready);
        ready.min_by_key(|member| (member.incarnation, &member.id)).map(|member| &member.id)
    }

    /// Whether that life of a node is a member.
    pub(crate) fn has(&self, id: &NodeId, incarnation: Incarnation) -> bool {
        self.member(id).is_some_and(|member| member.incarnation == incarnation)
    }
}

impl NodeState {
    /// As gossip spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Hung => "hung",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Joining, Self::Ready, Self::Draining, Self::Hung]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(members: &[(&str, u64, NodeState)]) -> View {
        let members = members.iter().map(|(id, incarnation, state)| MemberView {
            id: id.parse().unwrap(),
            incarnation: Incarnation(*incarnation),
            address: SocketAddr::from(([127, 0, 0, 1], 7946)),
            state: *state,
            link: LinkState::Up,
            sessions: None,
            recovers: true,
            differing: Vec::new(),
        });
        View { members: members.collect(), ..View::default() }
    }

    #[test]
    fn the_leader_is_the_first_that_started_of_those_that_take_clients() {
        use NodeState::{Draining, Hung, Joining, Ready};
        for (members, leader) in [
            (&[][..], None),
            (&[("a", 1, Joining), ("b", 2, Draining), ("c", 3, Hung)][..], None),
            (&[("a", 3, Ready), ("b", 2, Ready), ("c", 9, Ready)], Some("b")),
            (&[("a", 3, Ready), ("b", 2, Draining), ("c", 1, Joining)], Some("a")),
            (&[("a", 2, Ready), ("b", 2, Ready)], Some("a")),
        ] {
            assert_eq!(view(members).leader().map(NodeId::as_str), leader, "{members:?}");
        }
    }
}
