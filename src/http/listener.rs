//! Where a node that serves its clients itself listens, and the limits of its connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::client_stream::Patience;
use super::trusted_proxies::TrustedProxies;
use crate::engine::stream_task::ByteStream;

/// A TCP listener with the limits of its connections and, with the feature `tls`, TLS. Clients choose HTTP/1.1 or HTTP/2.
/// A [`TcpListener`] converts into one without TLS and with the default limits.
///
/// ```no_run
/// use std::time::Duration;
/// use socketmesh::http::Listener;
///
/// # async fn f(node: socketmesh::Node) -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
/// node.serve(Listener::new(listener).head_timeout(Duration::from_secs(5))).await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a listener does nothing until a node serves it"]
pub struct Listener {
    pub(crate) tcp: TcpListener,
    pub(crate) encryption: Option<Arc<dyn Encryption>>,
    pub(crate) limits: ConnectionLimits,
    /// Their connections do not count for the limit of one address.
    pub(crate) proxies: TrustedProxies,
    /// Whether these say whose each connection is.
    pub(crate) proxy_protocol: bool,
}

/// Encrypts the connections of a listener.
pub(crate) trait Encryption: fmt::Debug + Send + Sync {
    /// Does the server's part of the handshake.
    fn handshake(&self, connection: TcpStream) -> EncryptionHandshake;
}

/// A handshake in progress, and the encrypted stream at its end.
pub(crate) type EncryptionHandshake = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;

/// How many connections there may be, and how long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    pub(crate) connections: usize,
    pub(crate) opening: usize,
    pub(crate) per_address: Option<usize>,
    pub(crate) head: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) write: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            opening: OPENING,
            per_address: None,
            head: HEAD_TIMEOUT,
            keep_alive: KEEP_ALIVE_TIMEOUT,
            write: WRITE_TIMEOUT,
        }
    }
}

impl ConnectionLimits {
    pub(crate) const fn patience(&self) -> Patience {
        Patience { head: self.head, keep_alive: self.keep_alive, write: self.write }
    }
}

impl Listener {
    /// Listens at `tcp` without TLS.
    pub fn new(tcp: TcpListener) -> Self {
        let limits = ConnectionLimits::default();
        Self { tcp, encryption: None, limits, proxies: TrustedProxies::default(), proxy_protocol: false }
    }

    /// The [trusted proxies](super::Config::trusted_proxies) forward connections, and begin each with a header of the PROXY protocol
    /// (version 1 or 2, `send-proxy` of HAProxy, `proxy_protocol` of nginx and of load balancers in clouds): the client that it names
    /// is the one of the handshake and of all limits per address, and came over TLS where the header says so.
    ///
    /// From a trusted proxy a connection without such a header is closed, after 10 s at most, and so is one whose header is longer than
    /// 4 KiB. From anybody else a header is a malformed request. Default: nobody sends one.
    pub const fn proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// How many HTTP connections are served at once; further ones wait to be accepted. WebSockets do not count. Default
    /// 100 000.
    pub const fn max_connections(mut self, most: usize) -> Self {
        self.limits.connections = most;
        self
    }

    /// How many connections may be open at once that have not brought their first request, TLS handshakes included. Beyond that,
    /// and where file descriptors run out, the oldest one of the client address that has most of them is closed for the next
    /// one, and counted (`socketmesh_http_connections_given_up_total`). Default 4096.
    pub const fn max_opening(mut self, most: usize) -> Self {
        self.limits.opening = most;
        self
    }

    /// How many connections one client address may have at once; further ones are closed and counted
    /// (`socketmesh_http_connections_refused_total`). WebSockets do not count. A network of 64 bits counts as one address of IPv6,
    /// and [trusted proxies](super::Config::trusted_proxies) do not count. Default: no limit, because behind a proxy all clients
    /// have its address.
    pub const fn max_connections_per_address(mut self, most: usize) -> Self {
        self.limits.per_address = Some(most);
        self
    }

    /// How long a client may take to send the head of a request, from its first byte on, or if that came while the request before
    /// it was answered, from the next one after the answer. Default 30 s. Node: `headersTimeout`, 60 s.
    pub const fn head_timeout(mut self, most: Duration) -> Self {
        self.limits.head = most;
        self
    }

    /// How long a connection may idle between two requests. Default 75 s: longer than load balancers keep theirs, which
    /// would send a request just when it is closed. Node: `keepAliveTimeout`, 5 s.
    pub const fn keep_alive_timeout(mut self, most: Duration) -> Self {
        self.limits.keep_alive = most;
        self
    }

    /// How long a client may take nothing of its answer before its connection is closed. Default 30 s. For
    /// WebSockets see [`max_buffered`](crate::engine::Config::max_buffered).
    pub const fn write_timeout(mut self, most: Duration) -> Self {
        self.limits.write = most;
        self
    }
}

impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self::new(tcp)
    }
}

/// Closes the port, and takes the connections that the system has made before: load balancers may have sent a request on them,
/// and would not know whether it was handled if they were reset.
pub(super) fn left_over(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let mut left = Vec::new();
    // Of the runtime one only learns what was there when it asked last.
    let Ok(listener) = listener.into_std() else { return left };
    for _ in 0..BACKLOG {
        let Ok((stream, address)) = listener.accept() else { break };
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            left.push((stream, address));
        }
    }
    left
}

/// How long a connection may be without its first request when the node stops.
pub(crate) const FIRST_REQUEST: Duration = Duration::from_millis(200);

/// More connections than the system keeps for a port.
const BACKLOG: usize = 4096;

/// WebSockets do not count; file descriptors bound them.
const CONNECTIONS: usize = 100_000;

const OPENING: usize = 4096;

const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// As nginx for its clients; towards a node nginx keeps connections for 60 s, and so do others.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// nginx's `send_timeout` is 60 s. A client that takes nothing of a poll for longer than this has lost its session to the
/// heartbeat.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
