//! The QUIC endpoint: one UDP port for everything between nodes.
//!
//! Connections are driven by the runtime on which they are made, so this is used on the mesh's own runtime only.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectError, Connection, ConnectionError, Incoming, TransportConfig, VarInt};

use crate::cluster::ground::Socket;
use crate::cluster::identity::{Identity, IdentityError, MESH_NAME, peer_id};
use crate::cluster::streams::{FIRST, MAX_UNI, STREAM_WINDOW, window};
use crate::cluster::wire::pb::refusal::Reason;
use crate::id::NodeId;

/// Dials and accepts nodes of the same cluster, and nobody else.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    quic: quinn::Endpoint,
    local: SocketAddr,
}

impl Endpoint {
    /// Takes the port over. Must run on the mesh's runtime.
    pub(crate) fn new(socket: Socket, identity: &Identity) -> Result<Self, BindError> {
        let transport = Arc::new(transport());
        let (mut server, mut client) = (identity.server_config()?, identity.client_config()?);
        server.transport_config(Arc::clone(&transport)).max_incoming(MAX_HANDSHAKES * 4);
        client.transport_config(transport);
        let local = socket.local_addr()?;
        let mut config = identity.endpoint_config();
        config.rng_seed(socket.seed());
        let (socket, runtime) = (socket.into_quic()?, Arc::new(quinn::TokioRuntime));
        let mut quic = quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)?;
        quic.set_default_client_config(client);
        Ok(Self { quic, local })
    }

    /// The address it is bound to.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Connects to a node, whichever it is, and says which one it was.
    pub(crate) async fn dial(&self, address: SocketAddr) -> Result<(Connection, NodeId), DialError> {
        let connecting = self.quic.connect(address, MESH_NAME).map_err(|error| match error {
            ConnectError::EndpointStopping => DialError::Broken(error.to_string()),
            error => DialError::Address(error),
        })?;
        let connection = connecting.await.map_err(DialError::from)?;
        identified(connection)
    }

    /// The next connection attempt; `None` when the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        self.quic.accept().await
    }

    /// Says goodbye on every connection and gives the packets a moment to leave.
    pub(crate) async fn close(&self) {
        self.quic.close(Closing::Left.code(), b"");
        // When it takes longer, the peers find out by themselves.
        let _late = tokio::time::timeout(CLOSE, self.quic.wait_idle()).await;
    }

    /// Ends every connection here and now, and waits for nobody.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn abandon(&self) {
        self.quic.close(Closing::Silent.code(), b"");
    }
}

/// Finishes the handshake of an incoming connection.
pub(crate) async fn shake_hands(incoming: Incoming) -> Result<(Connection, NodeId), DialError> {
    let connection = incoming.accept()?.await?;
    identified(connection)
}

fn identified(connection: Connection) -> Result<(Connection, NodeId), DialError> {
    match peer_id(&connection) {
        Some(peer) => Ok((connection, peer)),
        None => {
            connection.close(Closing::Refused.code(), b"no node name in the certificate");
            Err(DialError::Nameless)
        }
    }
}

fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(window(FIRST))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_UNI))
        .max_concurrent_bidi_streams(VarInt::from_u32(FIRST));
    config
}

/// Why a connection is closed, as the other end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// This node leaves the cluster.
    Left,
    /// Another connection of the same two nodes took over.
    Superseded,
    /// The other end does not answer any more.
    Silent,
    /// No hello, or one that was refused.
    Refused,
}

impl Closing {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Left => 1,
            Self::Superseded => 2,
            Self::Silent => 3,
            Self::Refused => 4,
        })
    }

    /// Whether a connection ended because the other node left.
    pub(crate) fn is_left(error: &ConnectionError) -> bool {
        matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == Self::Left.code())
    }
}

/// Why a node could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The address cannot be dialled at all.
    #[error("not an address to dial")]
    Address(#[source] ConnectError),
    /// Somebody answered who does not belong to the cluster.
    #[error("the TLS handshake failed: {0}; does the other node have the same secret?")]
    Stranger(String),
    /// Nobody answered.
    #[error("no answer")]
    Silence,
    /// The connection or a stream on it broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The certificate names no node.
    #[error("the certificate of the other node names no node")]
    Nameless,
    /// The other node refused our hello.
    #[error("refused by {peer}: {why}")]
    Refused {
        /// Who refused.
        peer: NodeId,
        /// What it said.
        why: String,
        reason: Reason,
    },
    /// There is a link to that node already, by another address.
    #[error("{0} is linked already")]
    Known(NodeId),
    /// It was this node itself.
    #[error("this is the node itself")]
    Myself,
}

impl From<ConnectionError> for DialError {
    fn from(error: ConnectionError) -> Self {
        /// QUIC maps TLS alerts to the codes 0x100 to 0x1ff (RFC 9001, section 4.8).
        fn is_tls(code: quinn::TransportErrorCode) -> bool {
            (0x100..0x200).contains(&u64::from(code))
        }
        match &error {
            ConnectionError::TransportError(reason) if is_tls(reason.code) => {
                Self::Stranger(error.to_string())
            }
            ConnectionError::ConnectionClosed(close) if is_tls(close.error_code) => {
                Self::Stranger(error.to_string())
            }
            ConnectionError::TimedOut => Self::Silence,
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// Why the endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A dead peer is noticed after this. A peer that pauses for two seconds (a snapshot of its machine) is not dead.
const IDLE_MS: u32 = 3000;
/// A sixth of the idle timeout: five may be lost.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Nodes are near each other: a lost first packet is sent again after 150 ms, not after a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);
const SEND_WINDOW: u64 = 32 << 20;
const DATAGRAM_BUFFER: usize = 1 << 20;
/// Handshakes in progress; beyond that a stranger has to prove its address first, then is turned away.
pub(crate) const MAX_HANDSHAKES: usize = 64;
const CLOSE: Duration = Duration::from_millis(200);
