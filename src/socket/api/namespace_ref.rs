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
use crate::socket::room::IntoRooms;

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
    /// socket.nsp().of("/admin").emit("joined", &socket.id())?;
    /// # Ok(()) }
    /// ```
    pub fn of(&self, path: &str) -> Self {
        Self(self.0.sibling(path))
    }

    /// Selects all sockets of the namespace, on every node.
    pub fn all(&self) -> Target {
        Target::new(Arc::clone(&self.0))
    }

    /// Selects the sockets in a room, or in any of several, on every node.
    pub fn to(&self, rooms: impl IntoRooms) -> Target {
        self.all().to(rooms)
    }

    /// Selects all sockets except those in a room, or in any of several, on every node.
    pub fn except(&self, rooms: impl IntoRooms) -> Target {
        self.all().except(rooms)
    }

    /// Selects all sockets of the namespace on this node.
    pub fn local(&self) -> Target {
        self.all().local()
    }

    /// Lets the next packet to all sockets be dropped, as [`Target::volatile`].
    pub fn volatile(&self) -> Target {
        self.all().volatile()
    }

    /// With `false`, does not compress the next packet to all sockets, as [`Target::compress`].
    pub fn compress(&self, compress: bool) -> Target {
        self.all().compress(compress)
    }

    /// Sets how long the next operation on all sockets waits, as [`Target::timeout`].
    pub fn timeout(&self, timeout: impl Into<Option<Duration>>) -> Target {
        self.all().timeout(timeout)
    }

    /// Has the next fetch find handshakes, as [`Target::with_handshake`].
    pub fn with_handshake(&self) -> Target {
        self.all().with_handshake()
    }

    /// Sends an event to all sockets of the namespace, as [`Target::emit`].
    ///
    /// # Errors
    ///
    /// As [`Target::emit`].
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        self.all().emit(event, args)
    }

    /// Sends the event `message` to all sockets of the namespace, as [`Target::send`]. Node: `io.send()`.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`].
    pub fn send<A: IntoArgs + ?Sized>(&self, args: &A) -> Result<(), EncodeError> {
        self.all().send(args)
    }

    /// Sends a typed event to all sockets of the namespace, as [`Target::emit_event`].
    ///
    /// # Errors
    ///
    /// As [`Target::emit_event`].
    pub fn emit_event<E: serde::Serialize + ?Sized>(&self, event: &E) -> Result<(), EncodeError> {
        self.all().emit_event(event)
    }

    /// As [`Target::emit_with_ack`], to all sockets of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> impl Future<Output = Result<Acks<R>, EncodeError>> + Send + use<R, A> {
        self.all().emit_with_ack(event, args)
    }

    /// As [`Target::send_with_ack`], to all sockets of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`]; nothing was sent then.
    pub fn send_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        args: &A,
    ) -> impl Future<Output = Result<Acks<R>, EncodeError>> + Send + use<R, A> {
        self.all().send_with_ack(args)
    }

    /// As [`Target::emit_event_with_ack`], to all sockets of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::emit_event`]; nothing was sent then.
    pub fn emit_event_with_ack<R: FromArgs, E: serde::Serialize + ?Sized>(
        &self,
        event: &E,
    ) -> impl Future<Output = Result<Acks<R>, EncodeError>> + Send + use<R, E> {
        self.all().emit_event_with_ack(event)
    }

    /// As [`Target::join`], for all sockets of the namespace.
    pub fn join(&self, rooms: impl IntoRooms) -> Applying {
        self.all().join(rooms)
    }

    /// As [`Target::leave`], for all sockets of the namespace.
    pub fn leave(&self, rooms: impl IntoRooms) -> Applying {
        self.all().leave(rooms)
    }

    /// As [`Target::disconnect`], for all sockets of the namespace.
    pub fn disconnect(&self) -> Applying {
        self.all().disconnect()
    }

    /// As [`Target::close`], for all sockets of the namespace.
    pub fn close(&self) -> Applying {
        self.all().close()
    }

    /// As [`Target::update`], for all sockets of the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::update`].
    pub fn update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<Applying, EncodeError> {
        self.all().update(update)
    }

    /// As [`Target::fetch_sockets`], of all sockets of the namespace.
    pub fn fetch_sockets(&self) -> impl Future<Output = Sockets> + Send + use<> {
        self.all().fetch_sockets()
    }

    /// As [`Target::count`], of all sockets of the namespace. For those of this node alone there is
    /// [`local_count`](Self::local_count).
    pub fn count(&self) -> impl Future<Output = Counted> + Send + use<> {
        self.all().count()
    }

    /// Finds every room of the namespace that a socket is in on any node, as [`Target::all_rooms`].
    pub fn all_rooms(&self) -> impl Future<Output = Rooms> + Send + use<> {
        self.all().all_rooms()
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
}
