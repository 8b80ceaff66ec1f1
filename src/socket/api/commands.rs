//! What can be done to many sockets on every node (Socket.IO server API: `socketsJoin`, `socketsLeave`,
//! `disconnectSockets`).
//!
//! It happens on this node at once, and on the others in the order of emits. A node that does not confirm is reported,
//! and makes nothing fail.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::target::Target;
use crate::excerpt::Excerpt;
use crate::id::NodeId;
use crate::socket::hub::LocalNamespace;
use crate::socket::messages::{Command, CommandKind, RequestKind};
use crate::socket::protocol::{EncodeError, IntoArgs, RawArgs};
use crate::socket::room::{self, IntoRooms};

impl Target {
    /// Makes the selected sockets join a room, or several. Node: `socketsJoin(rooms)`.
    ///
    /// They have joined on this node when this returns, and on the others in the order of emits, so what this node emits to
    /// the rooms afterwards reaches them. Await the result to wait for the other nodes: from then on what any node emits
    /// reaches them.
    ///
    /// ```
    /// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
    /// socket.to("blue").join("paint");
    /// socket.to("paint").emit("welcome", &())?; // reaches them, wherever they are
    /// # Ok(()) }
    /// ```
    pub fn join(&self, rooms: impl IntoRooms) -> Applying {
        self.apply(CommandKind::Join(room::rooms(rooms).into_vec()))
    }

    /// Makes the selected sockets leave a room, or several: on this node at once, on the others in the order of emits. A
    /// socket's own room is not left. Node: `socketsLeave(rooms)`.
    pub fn leave(&self, rooms: impl IntoRooms) -> Applying {
        self.apply(CommandKind::Leave(room::rooms(rooms).into_vec()))
    }

    /// Disconnects the selected clients from the namespace; what was emitted to them before still reaches them. Node:
    /// `disconnectSockets()`.
    pub fn disconnect(&self) -> Applying {
        self.apply(CommandKind::Disconnect { close: false })
    }

    /// Disconnects the selected clients from every namespace, and closes their connections; what was emitted to them before
    /// still reaches them. Node: `disconnectSockets(true)`.
    pub fn close(&self) -> Applying {
        self.apply(CommandKind::Disconnect { close: true })
    }

    /// Changes the data of the selected sockets by [`on_update`](super::Namespace::on_update) of the namespace: on this node
    /// at once, on the others in the order of emits. A value that does not decode there changes nothing and is logged.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `update` cannot be written as JSON, has more than 10 attachments, or is too large for other nodes
    /// ([`EncodeError::TooLarge`]). Nothing was changed then, on no node.
    pub fn update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<Applying, EncodeError> {
        let update = RawArgs::encode(update)?;
        self.try_apply(CommandKind::Update(update))
    }

    /// Names of rooms alone are hardly ever too large. If they are, nothing is changed, and whoever waits for it learns that.
    fn apply(&self, kind: CommandKind) -> Applying {
        self.try_apply(kind).unwrap_or_else(|error| {
            let namespace = Arc::clone(&self.namespace);
            tracing::error!(ns = %Excerpt::name(&namespace.path), %error, "a change of sockets is too large: it is made nowhere");
            Applying { namespace, version: None, local: true, timeout: self.timeout }
        })
    }

    fn try_apply(&self, kind: CommandKind) -> Result<Applying, EncodeError> {
        let Self { namespace, selection, local, timeout, .. } = self;
        let command = Command { namespace: Arc::clone(&namespace.path), selection: selection.clone(), kind };
        if !local {
            namespace.check_size(command.size())?;
        }
        namespace.apply(&command);
        if !local {
            namespace.peers().command(&command);
        }
        let version = Some(namespace.peers().version());
        Ok(Applying { namespace: Arc::clone(namespace), version, local: *local, timeout: *timeout })
    }
}

/// A change of many sockets, which has happened on this node and is on its way to the others. Await it to wait until it
/// has happened everywhere. Dropping it undoes nothing.
///
/// ```
/// # async fn f(node: socketmesh::Node) {
/// let closed = node.of("/chat").to("lobby").close().await;
/// assert!(closed.missing.is_empty(), "{:?} did not confirm", closed.missing);
/// # }
/// ```
#[derive(Debug)]
pub struct Applying {
    namespace: Arc<LocalNamespace>,
    /// The version of this node's interest after the change; `None` if it was made nowhere.
    version: Option<u64>,
    local: bool,
    timeout: Duration,
}

impl Applying {
    /// Sets how long to wait for the other nodes, as [`Target::timeout`].
    #[must_use = "the change has been made; await this to wait for it"]
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { timeout: timeout.into().unwrap_or(Duration::MAX), ..self }
    }

    /// A change that is for the nodes themselves, whichever sockets they have.
    pub(super) fn of_nodes(namespace: &Arc<LocalNamespace>, kind: CommandKind) -> Self {
        Target::new(Arc::clone(namespace)).apply(kind)
    }
}

/// A change of many sockets that has happened everywhere, as far as nodes confirmed it.
///
/// See [`Applying`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Nodes that did not confirm the change in time, or left the cluster. This node is named if the change was too large for
    /// other nodes (16 MiB of room names): then it was made nowhere.
    pub missing: Vec<NodeId>,
}

impl IntoFuture for Applying {
    type Output = Applied;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Waits until every node of the cluster has made the change and knows the rooms that came of it, at most 5 seconds
    /// ([`Applying::timeout`] says otherwise).
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { namespace, version, local, timeout } = self;
            let Some(version) = version else { return Applied { missing: vec![namespace.node().clone()] } };
            let target = Target { local, timeout, ..Target::new(Arc::clone(&namespace)) };
            let (mut missing, responses) = tokio::join!(
                namespace.peers().confirmed(version, timeout),
                target.ask(target.request(RequestKind::RoomsConfirmed))
            );
            missing.extend(responses.missing());
            missing.sort_unstable();
            missing.dedup();
            Applied { missing }
        })
    }
}
