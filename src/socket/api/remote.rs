//! The handle of a socket on any node.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::commands::Applying;
use super::emitter::Emitter;
use super::target::Target;
use crate::id::{NodeId, SocketId};
use crate::socket::hub::{AckError, LocalNamespace};
use crate::socket::messages::{RemoteHandshake, SocketSummary};
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs};
use crate::socket::room::{IntoRooms, Room};

/// One socket, on whichever node of the cluster: what [`Target::fetch_sockets`] finds. Node: `RemoteSocket`.
///
/// The fields are what its node knew when it responded, and do not change. The methods reach the socket wherever it is. If
/// the socket is gone, they do nothing.
///
/// ```
/// # async fn f(lobby: socketmesh::Target) -> socketmesh::Result<()> {
/// for socket in lobby.fetch_sockets().await.found {
///     if socket.data["role"] == "guest" {
///         socket.emit("bye", "members only")?;
///         socket.to("lobby").emit("left", &socket.id)?; // the others there
///         socket.leave("lobby");
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemoteSocket {
    /// Its public id.
    pub id: SocketId,
    /// The node it is on.
    pub node: NodeId,
    /// What the client said when it connected, if it was asked for ([`Target::with_handshake`]).
    pub handshake: Option<RemoteHandshake>,
    /// The rooms that it was in: its own, which its id names, and those that it had joined.
    pub rooms: Vec<Room>,
    /// What the [`describe`](super::Namespace::describe) of its namespace made of its data; `null` without one.
    pub data: Value,
    namespace: Arc<LocalNamespace>,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: &Arc<LocalNamespace>, node: NodeId, summary: SocketSummary) -> Self {
        let SocketSummary { id, rooms, data, handshake } = summary;
        let rooms = std::iter::once(Room::Own(id)).chain(rooms).collect();
        Self { id, node, handshake, rooms, data, namespace: Arc::clone(namespace) }
    }

    /// Whether the socket was in a room when its node responded.
    pub fn is_in(&self, room: impl Into<Room>) -> bool {
        self.rooms.contains(&room.into())
    }

    /// Makes the socket join a room, or several, as [`Target::join`].
    pub fn join(&self, rooms: impl IntoRooms) -> Applying {
        self.target().join(rooms)
    }

    /// Makes the socket leave a room, or several, as [`Target::leave`].
    pub fn leave(&self, rooms: impl IntoRooms) -> Applying {
        self.target().leave(rooms)
    }

    /// Disconnects the client from the namespace, as [`Target::disconnect`] does. Node: `disconnect()`.
    pub fn disconnect(&self) -> Applying {
        self.target().disconnect()
    }

    /// Disconnects the client from every namespace and closes its connection, as [`Target::close`] does. Node:
    /// `disconnect(true)`.
    pub fn close(&self) -> Applying {
        self.target().close()
    }

    /// Changes the socket's data where it is, as [`Target::update`] does. The field [`RemoteSocket::data`] does not change.
    ///
    /// # Errors
    ///
    /// As [`Target::update`].
    pub fn update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<Applying, EncodeError> {
        self.target().update(update)
    }

    /// As [`Socket::emit`](super::Socket::emit).
    ///
    /// # Errors
    ///
    /// As [`Socket::emit`](super::Socket::emit).
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        self.emitter().emit(event, args)
    }

    /// As [`Socket::send`](super::Socket::send).
    ///
    /// # Errors
    ///
    /// As [`Socket::send`](super::Socket::send).
    pub fn send<A: IntoArgs + ?Sized>(&self, args: &A) -> Result<(), EncodeError> {
        self.emitter().send(args)
    }

    /// As [`Socket::emit_event`](super::Socket::emit_event).
    ///
    /// # Errors
    ///
    /// As [`Socket::emit_event`](super::Socket::emit_event).
    pub fn emit_event<E: serde::Serialize + ?Sized>(&self, event: &E) -> Result<(), EncodeError> {
        self.emitter().emit_event(event)
    }

    /// As [`Socket::emit_with_ack`](super::Socket::emit_with_ack).
    ///
    /// # Errors
    ///
    /// As [`Socket::emit_with_ack`](super::Socket::emit_with_ack).
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        self.emitter().emit_with_ack(event, args).await
    }

    /// As [`Socket::send_with_ack`](super::Socket::send_with_ack).
    ///
    /// # Errors
    ///
    /// As [`Socket::send_with_ack`](super::Socket::send_with_ack).
    pub async fn send_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(&self, args: &A) -> Result<R, AckError> {
        self.emitter().send_with_ack(args).await
    }

    /// As [`Socket::emit_event_with_ack`](super::Socket::emit_event_with_ack).
    ///
    /// # Errors
    ///
    /// As [`Socket::emit_event_with_ack`](super::Socket::emit_event_with_ack).
    pub async fn emit_event_with_ack<R: FromArgs, E: serde::Serialize + ?Sized>(
        &self,
        event: &E,
    ) -> Result<R, AckError> {
        self.emitter().emit_event_with_ack(event).await
    }

    /// As [`Socket::timeout`](super::Socket::timeout).
    pub fn timeout(&self, timeout: impl Into<Option<Duration>>) -> Emitter<'_> {
        self.emitter().timeout(timeout)
    }

    /// As [`Socket::volatile`](super::Socket::volatile).
    pub fn volatile(&self) -> Emitter<'_> {
        self.emitter().volatile()
    }

    /// As [`Socket::compress`](super::Socket::compress).
    pub fn compress(&self, compress: bool) -> Emitter<'_> {
        self.emitter().compress(compress)
    }

    /// As [`Socket::to`](super::Socket::to).
    pub fn to(&self, rooms: impl IntoRooms) -> Target {
        self.emitter().to(rooms)
    }

    /// As [`Socket::except`](super::Socket::except).
    pub fn except(&self, rooms: impl IntoRooms) -> Target {
        self.emitter().except(rooms)
    }

    /// As [`Socket::broadcast`](super::Socket::broadcast).
    pub fn broadcast(&self) -> Target {
        self.emitter().broadcast()
    }

    /// As [`Socket::local`](super::Socket::local).
    pub fn local(&self) -> Target {
        self.emitter().local()
    }

    fn emitter(&self) -> Emitter<'_> {
        Emitter::anywhere(&self.namespace, self.id)
    }

    /// This socket alone.
    fn target(&self) -> Target {
        Target::new(Arc::clone(&self.namespace)).to(self.id)
    }
}
