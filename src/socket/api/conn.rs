//! The connection below a socket.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::engine::{Closed, Handshake, Protocol, Transport};
use crate::id::{SessionId, SocketId};
use crate::socket::hub::{ClientSession, request_of, sockets_of};

/// The connection of a client, which all its sockets share: what [`Socket::conn`](super::Socket::conn) returns. Node:
/// `socket.conn`, and `socket.client` for the sockets.
///
/// It is a handle: keeping it keeps no connection alive.
///
/// ```
/// use socketmesh::{DisconnectReason, Socket, namespace};
///
/// let chat = namespace("/")
///     .on_connect(async |socket: Socket| {
///         let conn = socket.conn();
///         println!("{} came over {} from {:?}", socket.id(), conn.transport(), conn.remote_address());
///         Ok(())
///     })
///     .on_disconnect(async |socket: Socket, reason: DisconnectReason| {
///         // `transport error`, and perhaps `overlap from client`.
///         let description = socket.conn().closed().and_then(|closed| closed.description);
///         println!("{} left: {reason} {}", socket.id(), description.unwrap_or_default());
///         Ok(())
///     });
/// ```
#[derive(Clone)]
pub struct Conn(ClientSession);

impl Conn {
    pub(super) fn new(session: ClientSession) -> Self {
        Self(session)
    }

    /// The id of the session (`sid`). **It is secret**: who knows it can speak and listen in the place of the client. Node:
    /// `socket.conn.id`.
    pub fn id(&self) -> SessionId {
        self.0.id()
    }

    /// The version of Engine.IO that the client speaks. Node: `socket.conn.protocol`.
    pub fn protocol(&self) -> Protocol {
        self.0.handshake().protocol()
    }

    /// The transport in use now. It changes once at most, from polling to another
    /// ([`on_upgrade`](super::Namespace::on_upgrade)). Node: `socket.conn.transport.name`.
    pub fn transport(&self) -> Transport {
        self.0.transport()
    }

    /// The address that the first request came from, as [`engine::Handshake::address`](Handshake::address). Node:
    /// `socket.conn.remoteAddress`.
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.0.handshake().address()
    }

    /// The request that carried the event that is being handled, with its headers and cookies: a POST, or the one that became its
    /// WebSocket. Outside the handler of an event, and in tasks that it spawns, it is the newest one. Only where [`keep_requests`](crate::engine::Config::keep_requests) is on; otherwise it is the first request, which
    /// [`Socket::handshake`](super::Socket::handshake) has as well.
    ///
    /// ```
    /// # use socketmesh::{EventError, Socket};
    /// async fn pay(socket: Socket, amount: u64) -> Result<(), EventError> {
    ///     let request = socket.conn().request();
    ///     let _session = request.headers().get("cookie").ok_or(EventError::new("unauthorized", "log in again"))?;
    ///     Ok(())
    /// }
    /// ```
    pub fn request(&self) -> Arc<Handshake> {
        request_of(&self.0)
    }

    /// How the connection ended; `None` while it lives, also while the server closes it. Every
    /// [`on_disconnect`](super::Namespace::on_disconnect) of it finds this when the connection was lost. Node: the event `close` of
    /// `socket.conn`, and the second argument of `disconnect`.
    pub fn closed(&self) -> Option<Closed> {
        self.0.closed()
    }

    /// The namespaces that the client is in now, each with the id of its socket there, in no order. Empty once the connection
    /// is closed. Node: `socket.client.sockets`.
    ///
    /// ```
    /// # async fn f(node: socketmesh::Node, socket: socketmesh::Socket) -> socketmesh::Result<()> {
    /// for (namespace, id) in socket.conn().sockets().await {
    ///     node.of(&namespace).to(id).emit("notice", &"you are in several places")?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn sockets(&self) -> Vec<(Arc<str>, SocketId)> {
        sockets_of(&self.0).await.into_iter().map(|socket| (socket.namespace, socket.id)).collect()
    }
}

impl fmt::Debug for Conn {
    /// Without the id, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("transport", &self.transport()).finish_non_exhaustive()
    }
}
