//! What can be asked about many sockets on every node (Socket.IO server API: `fetchSockets`, and how many there are).

use std::collections::BTreeSet;

use super::remote::RemoteSocket;
use super::target::Target;
use crate::id::NodeId;
use crate::socket::messages::{RequestKind, ResponsePart};
use crate::socket::room::Room;

impl Target {
    /// Finds the selected sockets of all nodes, each once. Node: `fetchSockets()`.
    ///
    /// It sees the effects of everything that this node did before. It waits for every node of the cluster that may have
    /// such a socket, at most 5 seconds ([`Target::timeout`] changes that). A node that leaves meanwhile is not waited for,
    /// and is reported in [`Sockets::missing`].
    ///
    /// Of each socket travel its id, its rooms and what [`describe`](super::Namespace::describe) says; its handshake only if it is
    /// [asked for](Self::with_handshake). Who wants numbers [counts](Self::count), and who wants the sockets of this node
    /// [has them](super::NamespaceRef::sockets).
    pub fn fetch_sockets(&self) -> impl Future<Output = Sockets> + Send + use<> {
        self.clone().fetched_sockets()
    }

    async fn fetched_sockets(self) -> Sockets {
        let handshake = self.with_handshake;
        let here = self.namespace.select(&self.selection);
        let remote = self.ask(self.request(RequestKind::Sockets { handshake }));
        let namespace = &self.namespace;
        let on = |node: &NodeId, summary| RemoteSocket::new(namespace, node.clone(), summary);
        let mut found: Vec<_> =
            here.into_iter().map(|selected| on(namespace.node(), selected.summary(handshake))).collect();
        let responses = remote.await;
        let missing = responses.missing();
        for (node, part) in responses.parts {
            if let ResponsePart::Sockets(sockets) = part {
                found.extend(sockets.into_iter().map(|summary| on(&node, summary)));
            }
        }
        Sockets { found, missing }
    }

    /// Has [`fetch_sockets`](Self::fetch_sockets) find the handshakes of the sockets as well: all headers and the auth payload, most
    /// often a kilobyte of each socket.
    ///
    /// ```
    /// # async fn f(node: socketmesh::Node) {
    /// for socket in node.of("/chat").to("lobby").with_handshake().fetch_sockets().await.found {
    ///     println!("{} came from {:?}", socket.id, socket.handshake.and_then(|handshake| handshake.address));
    /// }
    /// # }
    /// ```
    pub fn with_handshake(mut self) -> Self {
        self.with_handshake = true;
        self
    }

    /// Counts the selected sockets of all nodes, each once. One number comes from each node, so it costs the same however many
    /// sockets there are, unless several rooms or excepted ones are named, which each node has to look through.
    ///
    /// It sees the effects of everything that this node did before, and waits as [`Target::fetch_sockets`] does.
    ///
    /// ```
    /// # async fn f(node: socketmesh::Node) {
    /// let lobby = node.of("/chat").to("lobby").count().await;
    /// println!("{} in the lobby; {} nodes did not respond", lobby.sockets, lobby.missing.len());
    /// # }
    /// ```
    pub fn count(&self) -> impl Future<Output = Counted> + Send + use<> {
        self.clone().counted()
    }

    async fn counted(self) -> Counted {
        let here = self.namespace.number_of(&self.selection);
        let responses = self.ask(self.request(RequestKind::Count)).await;
        let elsewhere = responses.parts.iter().map(|(_, part)| match part {
            ResponsePart::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX),
            _ => 0,
        });
        Counted { sockets: elsewhere.fold(here, usize::saturating_add), missing: responses.missing() }
    }

    /// Finds the rooms that the selected sockets of all nodes are in, their own among them. It waits as
    /// [`Target::fetch_sockets`] does. Node: `allRooms()` of the adapter.
    pub fn all_rooms(&self) -> impl Future<Output = Rooms> + Send + use<> {
        self.clone().found_rooms()
    }

    async fn found_rooms(self) -> Rooms {
        let mut found: BTreeSet<Room> =
            self.namespace.rooms_of_selected(&self.selection).into_iter().collect();
        let responses = self.ask(self.request(RequestKind::Rooms)).await;
        let missing = responses.missing();
        for (_, part) in responses.parts {
            if let ResponsePart::Rooms(rooms) = part {
                found.extend(rooms);
            }
        }
        Rooms { found: found.into_iter().collect(), missing }
    }
}

/// The sockets that [`Target::fetch_sockets`] found.
///
/// ```
/// # async fn f(node: socketmesh::Node) {
/// let lobby = node.of("/chat").to("lobby").fetch_sockets().await;
/// println!("{} there; {} nodes did not respond", lobby.found.len(), lobby.missing.len());
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sockets {
    /// The sockets, those of this node first.
    pub found: Vec<RemoteSocket>,
    /// Nodes that may have had some, but did not respond in time, or left the cluster.
    pub missing: Vec<NodeId>,
}

/// How many sockets there are: what [`Target::count`] found.
///
/// See [`Target::count`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// How many there are on this node and on those that responded.
    pub sockets: usize,
    /// Nodes that may have some more, but did not respond in time, or left the cluster.
    pub missing: Vec<NodeId>,
}

/// The rooms that [`Target::all_rooms`] found.
///
/// ```
/// # async fn f(node: socketmesh::Node) {
/// for room in node.of("/chat").all_rooms().await.found {
///     println!("{room}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rooms {
    /// The rooms, sorted.
    pub found: Vec<Room>,
    /// Nodes that may have had some, but did not respond in time, or left the cluster.
    pub missing: Vec<NodeId>,
}
