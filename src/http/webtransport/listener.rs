//! The QUIC listener for WebTransport sessions.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::{TransportConfig, VarInt};
use tokio::net::{ToSocketAddrs, UdpSocket};
use wtransport::endpoint::endpoint_side::Server as ServerSide;
use wtransport::{Endpoint, ServerConfig};

use crate::http::certificate::Certificate;
use crate::http::tls::Tls;

/// A UDP address at which a node accepts WebTransport sessions, with the certificate that it presents.
///
/// Browsers connect to the host and port of the page's Socket.IO server, over UDP. They need a certificate of an authority
/// they trust, or the hash of one that is valid for 14 days at most ([`Certificate::self_signed`]).
///
/// ```no_run
/// use socketmesh::engine::{self, Transport};
/// use socketmesh::http::{Certificate, WebTransportListener};
/// use socketmesh::Node;
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let transports = vec![Transport::Polling, Transport::WebSocket, Transport::WebTransport];
/// let node = Node::builder().engine(engine::Config::default().transports(transports)).start().await?;
/// let certificate = Certificate::from_pem_files("chain.pem", "key.pem")?;
/// let listener = WebTransportListener::bind("0.0.0.0:3000", &certificate).await?;
/// tokio::join!(
///     node.serve(tokio::net::TcpListener::bind("0.0.0.0:3000").await?),
///     node.serve_webtransport(listener),
/// );
/// # Ok(()) }
/// ```
#[must_use = "a listener does nothing until a node serves it"]
pub struct WebTransportListener {
    pub(super) endpoint: Endpoint<ServerSide>,
    address: SocketAddr,
    pub(super) max_sessions: usize,
    pub(super) max_opening: usize,
}

impl WebTransportListener {
    /// Binds a UDP address. Clients wait until a node serves the listener.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be bound, or if the key does not belong to the certificate.
    pub async fn bind(address: impl ToSocketAddrs, certificate: &Certificate) -> io::Result<Self> {
        Self::bind_with(address, &Tls::new(certificate).map_err(io::Error::other)?).await
    }

    /// Binds a UDP address and presents the certificate of `tls`, also after that is [renewed](Tls::renew).
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be bound.
    pub async fn bind_with(address: impl ToSocketAddrs, tls: &Tls) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?.into_std()?;
        let address = socket.local_addr()?;
        let mut config = ServerConfig::builder()
            .with_bind_socket(socket)
            .with_custom_tls_and_transport(tls.http3().map_err(io::Error::other)?, quic())
            .build();
        config.quic_config_mut().max_incoming(MAX_INCOMING);
        let endpoint = Endpoint::server(config)?;
        Ok(Self { endpoint, address, max_sessions: MAX_SESSIONS, max_opening: MAX_OPENING })
    }

    /// The address that the listener is bound to.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The most WebTransport sessions at once; further ones are refused. Default 10 000. An idle session takes about 90 KB
    /// of memory, nearly all of it for QUIC.
    pub const fn max_sessions(mut self, most: usize) -> Self {
        self.max_sessions = most;
        self
    }

    /// The most sessions at once that have not sent their first packet. Beyond that clients have to prove their address first
    /// (a Retry of QUIC). As many that did may open at once; then the oldest of the address that has most of them is given up,
    /// as in [`Listener::max_opening`](crate::http::Listener::max_opening). Default 256.
    pub const fn max_opening(mut self, most: usize) -> Self {
        self.max_opening = most;
        self
    }
}

impl fmt::Debug for WebTransportListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebTransportListener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// QUIC never ends an idle connection here, because the heartbeat of Engine.IO does that. It only keeps connections alive:
/// the idle timeouts of clients (30 s in browsers) are hardly longer than the time between two pings.
fn quic() -> TransportConfig {
    let mut quic = TransportConfig::default();
    quic.max_idle_timeout(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(MAX_STREAMS)
        .max_concurrent_uni_streams(MAX_STREAMS)
        .stream_receive_window(WINDOW)
        .receive_window(WINDOW)
        .send_window(WINDOW.into_inner())
        .datagram_receive_buffer_size(Some(DATAGRAMS));
    quic
}

/// How often an idle connection is kept alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// HTTP/3 needs three unidirectional streams and a bidirectional one; streams beyond those are ignored.
const MAX_STREAMS: VarInt = VarInt::from_u32(8);

/// Bytes in flight to or from one client, which take memory beside what its session counts.
const WINDOW: VarInt = VarInt::from_u32(256 * 1024);

/// Datagrams are ignored, but a browser only opens sessions with a server that accepts them.
const DATAGRAMS: usize = 4096;

/// QUIC handshakes that wait to be accepted.
const MAX_INCOMING: usize = 1024;

const MAX_SESSIONS: usize = 10_000;

const MAX_OPENING: usize = 256;
