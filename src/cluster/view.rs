//! What a node knows about its cluster at one moment.

use std::net::SocketAddr;

use crate::cluster::hello::Hint;
use crate::cluster::ring::Ring;
use crate::id::{Incarnation, NodeId};

/// Who is in the cluster, as one node sees it. Published anew with every change.
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
pub struct View {
    /// Grows with every change; comparable on one node only.
    pub epoch: u64,
    /// Everyone in the ring, this node included, sorted by id.
    pub members: Vec<MemberView>,
    /// Who owns which session.
    pub ring: Ring,
}

/// One node of the cluster.
///
/// ```
/// use socketmesh::cluster::{LinkState, NodeState, View};
///
/// /// Whether a node takes clients and is reached without a detour.
/// fn is_well(view: &View, id: &socketmesh::id::NodeId) -> bool {
///     view.member(id).is_some_and(|node| node.state == NodeState::Ready && node.link == LinkState::Up)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Its name.
    pub id: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// Where the mesh reaches it.
    pub address: SocketAddr,
    /// What it does.
    pub state: NodeState,
    /// How this node reaches it.
    pub link: LinkState,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It takes no clients yet: not everyone knows it.
    Joining,
    /// It takes clients.
    Ready,
    /// It keeps its clients, but takes no new ones.
    Draining,
}

/// How a node reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Directly (or it is the node itself).
    Up,
    /// Through one other node.
    Relayed,
    /// Not at the moment; what is sent waits.
    Down,
}

impl View {
    /// The member of that name.
    pub fn member(&self, id: &NodeId) -> Option<&MemberView> {
        let at = self.members.binary_search_by(|member| member.id.cmp(id)).ok()?;
        self.members.get(at)
    }
}

impl NodeState {
    /// As gossip spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Joining, Self::Ready, Self::Draining].into_iter().find(|state| state.as_str() == text)
    }
}

impl From<&MemberView> for Hint {
    fn from(member: &MemberView) -> Self {
        Self { id: member.id.clone(), incarnation: member.incarnation, address: member.address }
    }
}
