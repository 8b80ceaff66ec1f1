//! The handle of a socket on any node.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::commands::Applying;
use super::target::{ACK_TIMEOUT, Target};
use crate::id::{NodeId, SocketId};
use crate::socket::hub::{AckError, LocalNamespace};
use crate::socket::messages::{RemoteHandshake, SocketSummary};
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs, RawArgs};
use crate::socket::room::Room;

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
///         socket.leave(["lobby"]);
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
    /// The rooms that it had joined. Its own room is not listed.
    pub rooms: Vec<Room>,
    /// What the [`describe`](super::Namespace::describe) of its namespace made of its data; `null` without one.
    pub data: Value,
    namespace: Arc<LocalNamespace>,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: &Arc<LocalNamespace>, node: NodeId, summary: SocketSummary) -> Self {
        let SocketSummary { id, rooms, data, handshake } = summary;
        Self { id, node, handshake, rooms, data, namespace: Arc::clone(namespace) }
    }

    /// Sends an event to this client, as [`Target::emit`] does.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`].
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        self.target().emit(event, args)
    }

    /// Sends an event and waits for the client's ack, at most 10 seconds ([`RemoteSocket::timeout`] changes that).
    ///
    /// # Errors
    ///
    /// [`AckError`]: there was no ack in time, the socket or its node went away first, or the ack is not an `R`.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        self.timeout(ACK_TIMEOUT).emit_with_ack(event, args).await
    }

    /// Sets how long the next [`RemoteEmitter::emit_with_ack`] waits.
    pub fn timeout(&self, timeout: Duration) -> RemoteEmitter<'_> {
        RemoteEmitter { socket: self, timeout }
    }

    /// Makes the socket join rooms, as [`Target::sockets_join`].
    pub fn join<N: Into<Room>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.target().sockets_join(rooms)
    }

    /// Makes the socket leave rooms, as [`Target::sockets_leave`].
    pub fn leave<N: Into<Room>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.target().sockets_leave(rooms)
    }

    /// Disconnects the client from the namespace, or with `close` its whole connection, as
    /// [`Target::disconnect_sockets`] does.
    pub fn disconnect(&self, close: bool) -> Applying {
        self.target().disconnect_sockets(close)
    }

    /// Changes the socket's data where it is, as [`Target::sockets_update`] does. The field [`RemoteSocket::data`] does not
    /// change.
    ///
    /// # Errors
    ///
    /// As [`Target::sockets_update`].
    pub fn update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<Applying, EncodeError> {
        self.target().sockets_update(update)
    }

    fn target(&self) -> Target {
        Target::new(Arc::clone(&self.namespace)).to(self.id)
    }
}

/// One socket and how long its ack may take: what [`RemoteSocket::timeout`] returns.
///
/// ```
/// # use std::time::Duration;
/// # async fn f(socket: socketmesh::RemoteSocket) -> socketmesh::Result<()> {
/// let ready: bool = socket.timeout(Duration::from_secs(1)).emit_with_ack("ready?", &()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "an emitter does nothing until something is emitted"]
pub struct RemoteEmitter<'a> {
    socket: &'a RemoteSocket,
    timeout: Duration,
}

impl RemoteEmitter<'_> {
    /// As [`RemoteSocket::emit_with_ack`].
    ///
    /// # Errors
    ///
    /// As [`RemoteSocket::emit_with_ack`].
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        let target = self.socket.target().timeout(self.timeout);
        let outcome = target.call(event, RawArgs::encode(args)?).await?;
        match outcome.replies.first() {
            Some((_, reply)) => Ok(R::from_args(reply)?),
            None if outcome.timed_out => Err(AckError::Timeout),
            None => Err(AckError::Disconnected),
        }
    }
}
