//! The handle of a namespace.

use std::sync::Arc;
use std::time::Duration;

use super::broadcast_acks::Acks;
use super::commands::Applying;
use super::fetch::{Rooms, Sockets};
use super::target::Target;
use crate::socket::hub::LocalNamespace;
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs};
use crate::socket::room::Room;

/// A namespace to emit to from anywhere: what [`Node::of`](crate::Node::of) returns. Node: `io.of(path)`.
///
/// ```
/// # fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
/// let chat = node.of("/chat");
/// chat.emit("news", &"to everybody")?;
/// chat.to("lobby").except("muted").emit("news", &"to some")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct NamespaceRef(pub(crate) Arc<LocalNamespace>);

impl NamespaceRef {
    /// The path of the namespace.
    pub fn path(&self) -> &str {
        &self.0.path
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

    /// Counts the sockets of the namespace on this node.
    pub fn local_count(&self) -> usize {
        self.0.len()
    }

    /// As [`Target::fetch_sockets`], of all sockets of the namespace.
    pub async fn fetch_sockets(&self) -> Sockets {
        self.all().fetch_sockets().await
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
