//! The port to the other nodes, and its implementation for a node without a cluster.

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::time::Duration;

use smallvec::SmallVec;

use super::messages::RecoveryMessage;
use super::messages::{Broadcast, Command, Request, Requester, Response, Responses};
use super::room::Room;
use crate::id::{Incarnation, Key, NodeId, SocketId};

/// What Socket.IO needs of the other nodes. No method blocks.
///
/// Broadcasts, commands and requests reach another node in the order of the calls.
pub(crate) trait Peers: fmt::Debug + Send + Sync + 'static {
    /// Whether a message of this size can be sent to other nodes. It is asked before anybody gets the message.
    ///
    /// # Errors
    /// When the message is too large for that.
    fn carries(&self, size: usize) -> Result<(), TooLarge>;

    /// Sends a broadcast to every other node that may have a selected socket.
    fn broadcast(&self, broadcast: &Broadcast<'_>);

    /// Sends a command to every other node that may have a selected socket.
    fn command(&self, command: &Command);

    /// Sends a request to every other member of the cluster that may have a selected socket, before it returns. The
    /// future resolves when all have responded or left, and at the request's timeout at the latest. Whoever drops it before
    /// withdraws the request.
    fn request(&self, request: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>>;

    /// Sends one message of a response, before it returns. The future resolves when there is room for the next one.
    fn respond(&self, to: &Requester, response: Response) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Resolves when the requesting node, in the life in which it asked, is not a member any more.
    fn gone(&self, requester: &Requester) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Says that a room has its first member on this node (`present`), or lost its last. Each call makes a new version
    /// of this node's interest.
    fn interest(&self, namespace: &str, room: &Room, present: bool);

    /// Whether a socket of the cluster may have this id: a member can have given it, or one that was a member not long ago, or a
    /// client came back to it on another node.
    fn may_have(&self, namespace: &str, id: SocketId) -> bool;

    /// The newest version of this node's interest.
    fn version(&self) -> u64;

    /// Resolves when every member of the cluster has applied this node's interest up to `version`, or after that time, with
    /// the nodes that have not.
    fn confirmed(
        &self,
        version: u64,
        most: Duration,
    ) -> Pin<Box<dyn Future<Output = Vec<NodeId>> + Send + '_>>;

    /// Which life of this node it is.
    fn incarnation(&self) -> Incarnation;

    /// The other members of the cluster, sorted.
    fn members(&self) -> Vec<(NodeId, Incarnation)>;

    /// Whether every member keeps the sessions of clients that may come back. One of an earlier version does not.
    fn recover(&self) -> bool;

    /// The lives of nodes that are no members, and may come back all the same.
    fn absent(&self) -> Vec<(NodeId, Incarnation)>;

    /// The members that a key belongs to, this one included: the owner first, then the others in the order in which they would
    /// inherit it. Where some of these leave, as many others that stay come behind them. Empty without a cluster.
    fn successors(&self, key: Key, most: usize) -> SmallVec<[NodeId; 3]>;

    /// Another member that a key belongs to when this node is gone. One that leaves, too, only where no other is.
    fn heir(&self, key: Key) -> Option<NodeId>;

    /// Tells another node something about sessions, in the order of broadcasts.
    fn tell(&self, to: &NodeId, message: &RecoveryMessage);

    /// Resolves when there is room for another large message to a node.
    fn has_room(&self, to: &NodeId) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Sends a request to one node, before it returns. The future resolves when it has responded or left, and at the request's
    /// timeout at the latest.
    fn ask(&self, to: &NodeId, request: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>>;

    /// A node has sockets in these rooms, and says so by this version of its interest at the latest.
    fn presume(&self, of: &NodeId, namespace: &str, rooms: &mut dyn Iterator<Item = &Room>, version: u64);
}

/// How long an awaited join takes at most, unless said otherwise.
pub(crate) const CONFIRMATION: Duration = Duration::from_millis(500);

/// A message that is too large for other nodes, and how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) size: usize,
    pub(crate) limit: usize,
}

/// The peers of a node without a cluster: there are none.
#[derive(Debug)]
pub(crate) struct NoPeers;

impl Peers for NoPeers {
    fn carries(&self, _: usize) -> Result<(), TooLarge> {
        Ok(())
    }

    fn broadcast(&self, _: &Broadcast<'_>) {}

    fn command(&self, _: &Command) {}

    fn request(&self, _: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        Box::pin(future::ready(Responses::default()))
    }

    fn respond(&self, _: &Requester, _: Response) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(future::ready(()))
    }

    fn gone(&self, _: &Requester) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(future::ready(()))
    }

    fn interest(&self, _: &str, _: &Room, _: bool) {}

    fn may_have(&self, _: &str, _: SocketId) -> bool {
        false
    }

    fn version(&self) -> u64 {
        0
    }

    fn confirmed(&self, _: u64, _: Duration) -> Pin<Box<dyn Future<Output = Vec<NodeId>> + Send + '_>> {
        Box::pin(future::ready(Vec::new()))
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(0)
    }

    fn members(&self) -> Vec<(NodeId, Incarnation)> {
        Vec::new()
    }

    fn recover(&self) -> bool {
        true
    }

    fn absent(&self) -> Vec<(NodeId, Incarnation)> {
        Vec::new()
    }

    fn successors(&self, _: Key, _: usize) -> SmallVec<[NodeId; 3]> {
        SmallVec::new()
    }

    fn heir(&self, _: Key) -> Option<NodeId> {
        None
    }

    fn tell(&self, _: &NodeId, _: &RecoveryMessage) {}

    fn has_room(&self, _: &NodeId) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(future::ready(()))
    }

    fn ask(&self, _: &NodeId, _: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        Box::pin(future::ready(Responses::default()))
    }

    fn presume(&self, _: &NodeId, _: &str, _: &mut dyn Iterator<Item = &Room>, _: u64) {}
}
