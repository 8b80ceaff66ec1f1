//! Where axum listens: as this library does where a node listens itself, as far as that is not axum's work.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::counters::HttpCounters;
use super::listener::{ConnectionLimits, left_over};
use super::opening::OpeningConnections;
use super::proxy_protocol::{self, Introduction};
use super::trusted_proxies::TrustedProxies;
use crate::log_limit::LogLimits;

/// A listener for `axum::serve`, which [`Node::listener`](crate::Node::listener) makes. It sets `TCP_NODELAY`, reads what
/// [proxies](Self::proxy_protocol) say of a connection, and hands on whose each one is as a [`ClientAddr`].
///
/// When the node stops it closes its port a moment before axum is [told](crate::Node::stopped) to end: the connections that the system
/// has made by then are served, where a listener that is dropped would reset them, with the requests that load balancers have sent.
#[derive(Debug)]
#[must_use = "a listener does nothing until axum serves it"]
pub struct AxumListener {
    port: Port,
    proxies: TrustedProxies,
    /// Whether these say whose each connection is.
    proxy_protocol: bool,
    opening: Arc<OpeningConnections>,
    /// The connections that have not said it yet. Dropping the listener ends them.
    introducing: JoinSet<Option<(TcpStream, ClientAddr)>>,
    patience: Duration,
    warnings: Arc<LogLimits>,
}

/// Where connections come from, until the node stops.
#[derive(Debug)]
struct Port {
    /// `None` when it is closed.
    tcp: Option<TcpListener>,
    left_over: Vec<(TcpStream, SocketAddr)>,
    stopping: CancellationToken,
}

/// Where the client of a connection is, as far as the listener knows: in axum, `ConnectInfo<ClientAddr>`.
///
/// ```
/// use axum::extract::ConnectInfo;
/// use socketmesh::http::ClientAddr;
///
/// async fn whoami(ConnectInfo(client): ConnectInfo<ClientAddr>) -> String {
///     client.address.to_string()
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientAddr {
    /// The other end of the connection, or whom its proxy names there.
    pub address: SocketAddr,
    /// Whether its proxy says that the client speaks TLS.
    pub secure: bool,
}

impl AxumListener {
    pub(crate) fn new(
        tcp: TcpListener,
        proxies: TrustedProxies,
        counters: &HttpCounters,
        stopping: CancellationToken,
    ) -> Self {
        let ConnectionLimits { opening, head, .. } = ConnectionLimits::default();
        Self {
            port: Port { tcp: Some(tcp), left_over: Vec::new(), stopping },
            proxies,
            proxy_protocol: false,
            opening: OpeningConnections::new(opening, Arc::clone(&counters.given_up)),
            introducing: JoinSet::new(),
            patience: head,
            warnings: Arc::default(),
        }
    }

    /// The [trusted proxies](super::Config::trusted_proxies) of the node forward connections, and begin each with a header of the PROXY
    /// protocol, version 1 or 2: what [`Listener::proxy_protocol`](super::Listener::proxy_protocol) is where the node listens
    /// itself, with the same bounds.
    ///
    /// From a trusted proxy a connection without such a header is closed, after 10 s at most, and so is one whose header is longer than
    /// 4 KiB. Headers are read side by side, so that a slow proxy keeps nobody waiting, of 4096 connections at once: beyond that the
    /// oldest one of the proxy that has most of them is closed, and counted (`socketmesh_http_connections_given_up_total`). From
    /// anybody else a header is a malformed request. Default: nobody sends one.
    pub const fn proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// How long a proxy may take for its header. Default, and at most, 10 s.
    pub const fn header_timeout(mut self, most: Duration) -> Self {
        self.patience = most;
        self
    }

    /// Reads the header of a connection beside the others.
    fn introduce(&mut self, mut stream: TcpStream, proxy: SocketAddr) {
        let (opening, warnings) = (Arc::clone(&self.opening), Arc::clone(&self.warnings));
        let patience = self.patience;
        self.introducing.spawn(async move {
            let said = proxy_protocol::introduction(&mut stream, proxy.ip(), &opening, patience, &warnings);
            Some(match said.await? {
                Introduction { client: Some(address), secure } => (stream, ClientAddr { address, secure }),
                Introduction { client: None, .. } => (stream, ClientAddr { address: proxy, secure: false }),
            })
        });
    }
}

impl Port {
    /// The next connection, also of those that were made before the port was closed.
    async fn next(&mut self) -> (TcpStream, SocketAddr) {
        if let Some(tcp) = &mut self.tcp {
            tokio::select! {
                accepted = Listener::accept(tcp) => return accepted,
                () = self.stopping.cancelled() => {}
            }
        }
        if let Some(tcp) = self.tcp.take() {
            self.left_over = left_over(tcp);
        }
        match self.left_over.pop() {
            Some(accepted) => accepted,
            None => pending().await,
        }
    }
}

impl Listener for AxumListener {
    type Io = TcpStream;
    type Addr = ClientAddr;

    async fn accept(&mut self) -> (TcpStream, ClientAddr) {
        loop {
            let (stream, address) = tokio::select! {
                biased;
                Some(introduced) = self.introducing.join_next() => match introduced {
                    Ok(Some(introduced)) => return introduced,
                    _ended => continue,
                },
                accepted = self.port.next() => accepted,
            };
            // Or the client has gone away already.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            if !self.proxy_protocol || !self.proxies.contain(address.ip()) {
                return (stream, ClientAddr { address, secure: false });
            }
            self.introduce(stream, address);
        }
    }

    fn local_addr(&self) -> io::Result<ClientAddr> {
        let tcp = self.port.tcp.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(ClientAddr { address: tcp.local_addr()?, secure: false })
    }
}

impl Connected<IncomingStream<'_, AxumListener>> for ClientAddr {
    fn connect_info(connection: IncomingStream<'_, AxumListener>) -> Self {
        *connection.remote_addr()
    }
}
