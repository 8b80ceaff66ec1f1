//! What goes into the membership of a node, and what comes out of it.

use std::net::{IpAddr, SocketAddr};

use super::dial::DialTarget;
use super::link_choice::Path;
use crate::cluster::hello::{Greeting, LinkId};
use crate::cluster::view::{MemberView, NodeState};
use crate::cluster::wire::CloseCode;
use crate::cluster::wire::pb::refusal::Reason;
use crate::id::{Incarnation, NodeId};

/// What the control actor has to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Dial this address and say hello. [`super::Control::handle_dialled`] hears what came of it.
    Dial(DialTarget, SocketAddr),
    /// Say hello to a node through the direct link to another one. [`super::Control::handle_dialled`] hears what came of it.
    DialThrough { to: NodeId, relay: LinkId },
    /// Look up the addresses of a seed. [`super::Control::handle_resolved`] gets them, or
    /// [`super::Control::handle_unresolved`] why there are none.
    Resolve { seed: usize, name: String },
    /// Ask who answers at an address of a seed, from another port: it may stand for several nodes. [`super::Control::handle_asked`]
    /// hears the answer.
    Ask { seed: usize, address: SocketAddr },
    /// Tell the node at the other end of a direct link that it is not reached at the address that it advertises.
    ReportUnreachable { link: LinkId, address: SocketAddr, reason: String },
    /// Make this the link to its node: accept the hello if the other node said it, and start to carry messages.
    Adopt(LinkId),
    /// Answer the hello with a refusal. The link ends by that.
    Refuse(LinkId, Reason, &'static str),
    /// End the link now, and its connection if it has one.
    Close(LinkId, CloseCode),
    /// Ask the other end of a direct link for a sign of life.
    Ping(LinkId),
    /// See whether nobody listens any more where a direct link leads, which does not answer. Then
    /// [`super::Control::handle_refused`] hears of it.
    Examine(LinkId),
    /// Tell the nodes at the other ends of direct links that this node does not reach that life of a node any more.
    TellRefused { links: Vec<LinkId>, id: NodeId, incarnation: Incarnation },
    /// Let the application's runtime run a task. [`super::Control::handle_application_runs`] hears when it has.
    AskApplication,
    /// Tell the other tasks of this node what changed.
    Publish(Publication),
    /// Gossip what this node says about itself.
    Announce(Announcement),
    /// Gossip at once with the node of this name, which was just linked.
    GossipWith(SocketAddr),
    /// A life of a node is over. Its log and everything else about it goes.
    Forget(NodeId),
    /// Send what is queued for a node, then a goodbye.
    SayGoodbye(NodeId),
    /// Every link has ended after its goodbye, or took too long. The answer to each
    /// [`super::Control::handle_leave`] so far.
    Left,
}

/// What the other tasks of a node may know about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    /// The state of this node.
    pub(crate) state: NodeState,
    /// Why it takes no clients, for people; `None` when it does.
    pub(crate) obstacle: Option<String>,
    /// The members of the ring, this node included, sorted by id.
    pub(crate) members: Vec<MemberView>,
    /// The lives of nodes that get broadcasts.
    pub(crate) roster: Vec<(NodeId, Incarnation)>,
    /// How to reach each node that can be reached.
    pub(crate) routes: Vec<(NodeId, Route<LinkId>)>,
    /// The direct links by the names of their nodes in gossip.
    pub(crate) gossip: Vec<(SocketAddr, LinkId)>,
    /// The members that were without a link for so long that they hold no end of one either.
    pub(crate) unreached: Vec<NodeId>,
    /// What happened to the membership since the start.
    pub(crate) changes: MembershipChanges,
}

/// How often other nodes came and went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MembershipChanges {
    pub(crate) joined: u64,
    /// Said goodbye.
    pub(crate) left: u64,
    /// Went without a goodbye, or a newer life took its place.
    pub(crate) died: u64,
}

/// What a node says about itself by gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) state: NodeState,
    /// The members to which it has had no direct link for a while.
    pub(crate) misses: Vec<NodeId>,
    /// Where everybody reaches it, if there is such an address.
    pub(crate) address: Option<SocketAddr>,
    /// How many sessions it owns, about.
    pub(crate) sessions: Option<u64>,
}

/// How to reach a node: over connections of the type `C`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route<C> {
    Direct(C),
    /// Through one of the nodes at the other ends of these, the best one first. There is at least one.
    Through(Vec<C>),
}

/// A stream on which another node said hello, or answered this node's hello.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) link: LinkId,
    pub(crate) greeting: Greeting,
    pub(crate) path: Path,
    /// The address of this machine that its packets to the other node carry, if the link is direct.
    pub(crate) source: Option<IpAddr>,
}

/// What gossip says about one living node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GossipMember {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) state: NodeState,
    /// The members to which it has had no direct link for a while.
    pub(crate) misses: Vec<NodeId>,
    /// How many sessions it owns, about.
    pub(crate) sessions: Option<u64>,
}
