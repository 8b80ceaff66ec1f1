//! The QUIC endpoint: one UDP port for everything between nodes.
//!
//! Connections are driven by the runtime on which they are made, so this is used on the mesh's own runtime only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use quinn::{
    AckFrequencyConfig, ClientConfig, ConnectError, Connection, ConnectionError, Incoming, ServerConfig,
    TransportConfig, VarInt,
};
use tokio::time::timeout;

use super::congestion::WithFloor;
use super::connection::{PeerConnection, code};
use super::network::BoundSocket;
use super::refused_packets::RefusedPackets;
use super::runtime::MeshRuntime;
use super::stream_limits::{FIRST, MAX_UNI, STREAM_WINDOW, window};
use crate::cluster::control::DialError;
use crate::cluster::error::StartError;
use crate::cluster::identity::{Identity, IdentityError, MESH_NAME, peer_id};
use crate::cluster::wire::CloseCode;
use crate::id::NodeId;

/// Dials and accepts nodes of the same cluster, and nobody else.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    quic: quinn::Endpoint,
    /// What this node shows when it dials; shared by all clones, because it is renewed.
    client: Arc<RwLock<ClientConfig>>,
    /// What it is bound to.
    pub(crate) bound: SocketAddr,
    /// How long the other end of a connection may be silent before it is lost.
    silence: Duration,
    has_other_ports: bool,
    refused: Arc<dyn RefusedPackets>,
}

impl Endpoint {
    /// Takes the socket over. Must be called on the mesh's runtime.
    ///
    /// # Errors
    /// When the certificates cannot be used, or the socket is refused.
    pub(crate) fn new(
        socket: BoundSocket,
        identity: &Identity,
        silence: Duration,
    ) -> Result<Self, StartError> {
        let (server, client) = configs(identity, silence)?;
        let BoundSocket { local: bound, rng_seed, open, has_other_ports, refused } = socket;
        let mut config = identity.endpoint_config();
        config.rng_seed(rng_seed);
        let runtime = Arc::new(MeshRuntime);
        let quic = open()
            .and_then(|socket| {
                quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
            })
            .map_err(|error| StartError::Mesh(error.to_string()))?;
        let client = Arc::new(RwLock::new(client));
        Ok(Self { quic, client, bound, silence, has_other_ports, refused })
    }

    /// Shows and accepts another identity of the same node from the next handshake on. Connections go on. What answers for the
    /// last life of the node stays that of the identity it started with.
    ///
    /// # Errors
    /// When the certificates cannot be used. Then nothing changes.
    pub(crate) fn renew(&self, identity: &Identity) -> Result<(), IdentityError> {
        let (server, client) = configs(identity, self.silence)?;
        self.quic.set_server_config(Some(server));
        *self.client.write() = client;
        Ok(())
    }

    /// Connects to the node at an address. Returns which one it is, as its certificate says.
    ///
    /// # Errors
    /// When nobody answers there who belongs to the cluster.
    pub(crate) async fn dial(&self, address: SocketAddr) -> Result<(Connection, NodeId), DialError> {
        connect(&self.quic, self.shown(), address).await
    }

    /// The same from another port. What stands in front of several nodes, such as the address of a service, sends all
    /// packets of one port to the same node, and may send those of another port to another one.
    ///
    /// # Errors
    /// Those of [`dial`](Self::dial), and when there is no port.
    pub(crate) async fn dial_from_another_port(
        &self,
        address: SocketAddr,
    ) -> Result<(Connection, NodeId), DialError> {
        if !self.has_other_ports {
            return self.dial(address).await;
        }
        let any_port = SocketAddr::new(self.bound.ip(), 0);
        let no_port = |error: std::io::Error| DialError::Address(error.to_string());
        let quic = quinn::Endpoint::client(any_port).map_err(no_port)?;
        // The connection keeps the port for as long as it lasts.
        connect(&quic, self.shown(), address).await
    }

    /// What a connection to a node is to the rest of the mesh.
    pub(crate) fn peer_connection(&self, quic: Connection, peer: NodeId) -> Arc<PeerConnection> {
        PeerConnection::new(quic, peer, Arc::clone(&self.refused))
    }

    /// Waits for the next connection attempt. `None` when the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        self.quic.accept().await
    }

    fn shown(&self) -> ClientConfig {
        self.client.read().clone()
    }

    /// Ends it as a fault would.
    #[cfg(test)]
    pub(crate) fn end(&self) {
        self.quic.close(code(CloseCode::Silent), b"");
    }

    /// Closes every connection as one that leaves the cluster, and gives the packets a moment to go out.
    pub(crate) async fn close(&self) {
        self.quic.close(code(CloseCode::Left), b"");
        // When it takes longer, the peers find out by themselves.
        let _late = timeout(CLOSE, self.quic.wait_idle()).await;
    }
}

async fn connect(
    endpoint: &quinn::Endpoint,
    client: ClientConfig,
    address: SocketAddr,
) -> Result<(Connection, NodeId), DialError> {
    let mut connecting = endpoint.connect_with(client, address, MESH_NAME).map_err(|error| match error {
        ConnectError::EndpointStopping => DialError::Broken(error.to_string()),
        error => DialError::Address(error.to_string()),
    })?;
    // Whoever answers at all has more time for the rest: what was begun on a busy machine is not thrown away.
    let answered = timeout(FIRST_ANSWER, connecting.handshake_data()).await;
    answered.map_err(|_silent| DialError::Timeout)?.map_err(dial_error)?;
    identified(connecting.await.map_err(dial_error)?)
}

/// Completes the handshake of an incoming connection. Returns which node it is, as its certificate says.
///
/// # Errors
/// When the other end does not belong to the cluster, or the connection breaks.
pub(crate) async fn shake_hands(incoming: Incoming) -> Result<(Connection, NodeId), DialError> {
    let connecting = incoming.accept().map_err(dial_error)?;
    identified(connecting.await.map_err(dial_error)?)
}

/// Whether a connection ended because the other node left the cluster.
pub(crate) fn has_left(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == code(CloseCode::Left))
}

fn identified(connection: Connection) -> Result<(Connection, NodeId), DialError> {
    match peer_id(&connection) {
        Some(peer) => Ok((connection, peer)),
        None => {
            connection.close(code(CloseCode::Refused), b"no node name in the certificate");
            Err(DialError::Unnamed)
        }
    }
}

/// What an identity is to those who dial this node, and to those whom it dials.
fn configs(identity: &Identity, silence: Duration) -> Result<(ServerConfig, ClientConfig), IdentityError> {
    let transport = Arc::new(transport(silence));
    let (mut server, mut client) = (identity.server_config()?, identity.client_config()?);
    server.transport_config(Arc::clone(&transport)).max_incoming(MAX_HANDSHAKES * 4);
    client.transport_config(transport);
    Ok((server, client))
}

fn transport(silence: Duration) -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(UNACKNOWLEDGED);
    let mut config = TransportConfig::default();
    config
        .ack_frequency_config(Some(acks))
        .max_idle_timeout(silence.try_into().ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .congestion_controller_factory(Arc::new(WithFloor::default()))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(window(FIRST))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_UNI))
        .max_concurrent_bidi_streams(VarInt::from_u32(FIRST));
    config
}

fn dial_error(error: ConnectionError) -> DialError {
    let code = match &error {
        ConnectionError::TransportError(reason) => Some(reason.code),
        ConnectionError::ConnectionClosed(close) => Some(close.error_code),
        ConnectionError::TimedOut => return DialError::Timeout,
        _ => None,
    };
    match code.map(u64::from).and_then(remedy) {
        Some(remedy) => DialError::Untrusted(format!("{error}; {remedy}")),
        None => DialError::Broken(error.to_string()),
    }
}

/// What may help when QUIC ends a connection with the code of a TLS alert, 0x100 to 0x1ff (RFC 9001, section 4.8).
fn remedy(code: u64) -> Option<&'static str> {
    match code {
        CERTIFICATE_EXPIRED => {
            Some("is the clock of one of the machines wrong? A certificate is not valid at its time")
        }
        0x100..0x200 => Some("does the other node have the same secret?"),
        _ => None,
    }
}

/// The alert about a certificate that is not valid any more, or not yet (RFC 8446, section 6).
const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;

/// Links are pinged more often. For what else lasts: a third of the usual time of silence, so that two packets may be lost.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// How many packets the other end may leave without an acknowledgement, for 25 ms at most: a sixth of the smallest congestion
/// window. QUIC alone acknowledges every other packet, which between nodes that are near each other costs as much as the packets.
const UNACKNOWLEDGED: VarInt = VarInt::from_u32(8);
/// Nodes are near each other. With this a lost first packet is sent again after 150 ms, not after a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);
const SEND_WINDOW: u64 = 32 << 20;
const DATAGRAM_BUFFER: usize = 1 << 20;
/// Handshakes in progress. Beyond that a stranger has to prove its address first, and then is turned away.
pub(crate) const MAX_HANDSHAKES: usize = 64;
/// How long a dial waits for the first packet of the other node.
const FIRST_ANSWER: Duration = Duration::from_millis(1500);
/// From the first packet to the answer to the hello, while there are answers. A node that needs longer is dialled again.
pub(crate) const DIAL: Duration = Duration::from_secs(4);
/// How long a handshake of a stranger may take, who has a place for that time: as long as its dial.
pub(crate) const HANDSHAKE: Duration = DIAL;
const CLOSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_secret() {
        let bad_certificate = 0x100 + 42;
        assert!(remedy(CERTIFICATE_EXPIRED).is_some_and(|remedy| remedy.contains("clock")));
        assert!(remedy(bad_certificate).is_some_and(|remedy| remedy.contains("secret")));
        assert_eq!(remedy(2), None, "no alert of TLS");
    }
}
