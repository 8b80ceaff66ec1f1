//! The handle of a namespace.

use std::sync::Arc;
use std::time::Duration;

use super::broadcast_acks::Acks;
use super::commands::Applying;
use super::fetch::{Counted, Rooms, Sockets};
use super::target::Target;
use super::user::UserRef;
use crate::id::NodeId;
use crate::socket::hub::LocalNamespace;
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs};
use crate::socket::room::Room;

/// A namespace to emit to from anywhere, and to look up its sockets: what [`Socket::nsp`](super::Socket::nsp) gives a handler, and
/// [`Node::of`](crate::Node::of) any other code. Node: `io.of(path)`.
///
/// It is a handle: clone it into any task. Everything about this node alone is there at once, and about all nodes can be
/// awaited.
///
/// ```
/// # use socketmesh::Socket;
/// # async fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
/// let chat = node.of("/chat");
/// chat.emit("news", &"to everybody")?;
/// chat.to("lobby").except("muted").emit("news", &"to some")?;
/// println!("{} of {} sockets are here", chat.local_count(), chat.count().await.sockets);
/// let here: Vec<Socket> = chat.room("lobby").sockets()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct NamespaceRef(pub(crate) Arc<LocalNamespace>);

impl NamespaceRef {
    /// The path of the namespace.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The name of this node.
    pub fn node(&self) -> &NodeId {
        self.0.node()
    }

    /// Another namespace, as [`Node::of`](crate::Node::of): for handlers, which have no [`Node`](crate::Node) at hand. Node:
    /// `io.of(path)`.
    ///
    /// ```
    /// # fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
    /// socket.nsp().of("/admin").emit("joined", &socket.id().to_string())?;
    /// # Ok(()) }
    /// ```
    pub fn of(&self, path: &str) -> Self {
        Self(self.0.sibling(path))
    }

    /// Selects all sockets of the namespace, on every node.
    pub fn all(&self) -> Target {
        Target::new(Arc::clone(&self.0))
    }

    /// Selects the sockets in a room, on every node.
    pub fn to(&self, room: impl Into<Room>) -> Target {
        self.all().to(room)
    }

    /// Selects all sockets except those in a room, on every node.
    pub fn except(&self, room: impl Into<Room>) -> Target {
        self.all().except(room)
    }

    /// Selects all sockets of the namespace on this node.
    pub fn local(&self) -> Target {
        self.all().local()
    }

    /// Sends an event to all sockets of the namespace, as [`Target::emit`].
    ///
    /// # Errors
    ///
    /// As [`Target::emit`].
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        self.all().emit(event, args)
    }

    /// With `false`, does not compress the next packet to all sockets, as [`Target::compress`].
    pub fn compress(&self, compress: bool) -> Target {
        self.all().compress(compress)
    }

    /// Sets how long the next operation on all sockets waits, as [`Target::timeout`].
    pub fn timeout(&self, timeout: Duration) -> Target {
        self.all().timeout(timeout)
    }

    /// The user with this key, in all namespaces: [`Node::user`](crate::Node::user), for handlers.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use socketmesh::{EventError, Socket};
    /// async fn ban(socket: Socket, user: String) -> Result<(), EventError> {
    ///     socket.nsp().user(user).block(Duration::from_secs(600)).await;
    ///     Ok(())
    /// }
    /// ```
    pub fn user(&self, key: impl Into<Arc<str>>) -> UserRef {
        UserRef::new(Arc::clone(&self.0), key.into())
    }

    /// As [`Target::count`], of all sockets of the namespace. For those of this node alone there is
    /// [`local_count`](Self::local_count).
    pub async fn count(&self) -> Counted {
        self.all().count().await
    }

    /// As [`Target::fetch_sockets`], of all sockets of the namespace.
    pub async fn fetch_sockets(&self) -> Sockets {
        self.all().fetch_sockets().await
    }

    /// Has the next fetch find handshakes, as [`Target::with_handshake`].
    pub fn with_handshake(&self) -> Target {
        self.all().with_handshake()
    }

    /// Finds every room of the namespace that a socket has joined on any node, as [`Target::all_rooms`].
    pub async fn all_rooms(&self) -> Rooms {
        self.all().all_rooms().await
    }

    /// As [`Target::sockets_join`], for all sockets of the namespace.
    pub fn sockets_join<N: Into<Room>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.all().sockets_join(rooms)
    }

    /// As [`Target::sockets_leave`], for all sockets of the namespace.
    pub fn sockets_leave<N: Into<Room>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.all().sockets_leave(rooms)
    }

    /// As [`Target::disconnect_sockets`], for all sockets of the namespace.
    pub fn disconnect_sockets(&self, close: bool) -> Applying {
        self.all().disconnect_sockets(close)
    }

    /// As [`Target::sockets_update`], for all sockets of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::sockets_update`].
    pub fn sockets_update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<Applying, EncodeError> {
        self.all().sockets_update(update)
    }

    /// As [`Target::emit_with_ack`], to all sockets of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<Acks<R>, EncodeError> {
        self.all().emit_with_ack(event, args).await
    }
}
