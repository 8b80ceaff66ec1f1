//! One socket as another node describes it (Node: `RemoteSocket` of `fetchSockets`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::args::{FromArgs, IntoArgs, RawArgs};
use super::broadcast::Target;
use super::error::{AckError, EncodeError};
use super::handle::ACK_TIMEOUT;
use super::handshake::Handshake;
use super::messages::{RemoteHandshake, SocketSummary};
use super::operators::Applying;
use super::room::Room;
use super::state::NamespaceState;
use crate::id::{NodeId, SocketId};

/// One socket of the cluster, on whichever node: what [`Target::fetch_sockets`] finds.
///
/// The fields are what its node knew when it was asked, and do not change. The methods reach the socket wherever it is;
/// if it is gone, nothing happens.
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
    /// What the client said when it connected.
    pub handshake: RemoteHandshake,
    /// The rooms it had joined. Its own room is not listed.
    pub rooms: Vec<Room>,
    /// What the [`describe`](super::Namespace::describe) of its namespace says about it; `null` without one.
    pub data: Value,
    namespace: Arc<NamespaceState>,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: &Arc<NamespaceState>, node: NodeId, summary: SocketSummary) -> Self {
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

    /// Sends an event and waits for the client's ack, at most 10 seconds ([`RemoteSocket::timeout`] says otherwise).
    ///
    /// # Errors
    ///
    /// [`AckError`]: no answer in time, the socket or its node gone before it came, an answer that is not an `R`.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        self.timeout(ACK_TIMEOUT).emit_with_ack(event, args).await
    }

    /// How long the next [`RemoteEmitter::emit_with_ack`] waits.
    pub fn timeout(&self, timeout: Duration) -> RemoteEmitter<'_> {
        RemoteEmitter { socket: self, timeout }
    }

    /// Has the socket join rooms, as [`Target::sockets_join`] does.
    pub fn join<N: AsRef<str>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.target().sockets_join(rooms)
    }

    /// Has the socket leave rooms.
    pub fn leave<N: AsRef<str>>(&self, rooms: impl IntoIterator<Item = N>) -> Applying {
        self.target().sockets_leave(rooms)
    }

    /// Disconnects the client from the namespace, or with `close` its whole connection, as
    /// [`Target::disconnect_sockets`] does.
    pub fn disconnect(&self, close: bool) -> Applying {
        self.target().disconnect_sockets(close)
    }

    /// Changes the socket's data where it is, as [`Target::sockets_update`] does; [`RemoteSocket::data`] here stays what
    /// it was.
    ///
    /// # Errors
    ///
    /// As [`Target::sockets_update`].
    pub fn update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<Applying, EncodeError> {
        self.target().sockets_update(update)
    }

    fn target(&self) -> Target {
        Target::new(Arc::clone(&self.namespace)).to(self.id.to_string())
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
            Some(reply) => Ok(R::from_args(reply)?),
            None if outcome.timed_out => Err(AckError::Timeout),
            None => Err(AckError::Disconnected),
        }
    }
}

impl From<&Handshake> for RemoteHandshake {
    fn from(handshake: &Handshake) -> Self {
        let request = handshake.request();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = request.headers().iter();
        Self {
            headers: headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
            query: request.query().map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
            url: request.url().to_owned(),
            address: request.address(),
            secure: request.secure(),
            issued: Self::issued_at(Self::issued_millis(request.issued())),
            auth: handshake.auth().unwrap_or_default(),
        }
    }
}
