//! Where axum listens for connections of proxies, which say whose each one is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::counters::HttpCounters;
use super::listener::ConnectionLimits;
use super::opening::OpeningConnections;
use super::proxy_protocol::{self, Introduction};
use super::trusted_proxies::TrustedProxies;
use crate::log_limit::LogLimits;

/// A listener for `axum::serve` that is [behind proxies](super::Config::trusted_proxies) which begin each connection with a header of
/// the PROXY protocol: what [`Listener::proxy_protocol`](super::Listener::proxy_protocol) is where the node listens itself, with the
/// same bounds. [`Node::proxy_listener`](crate::Node::proxy_listener) makes it.
///
/// Whose a connection is axum hands on as a [`ClientAddr`]. Headers are read side by side, so that a slow proxy keeps nobody
/// waiting: for 10 s each, unless [`header_timeout`](Self::header_timeout) is shorter, and of 4096 connections at once; beyond that
/// the oldest one of the proxy that has most of them is closed, and counted (`socketmesh_http_connections_given_up_total`). It
/// also sets `TCP_NODELAY`.
#[derive(Debug)]
#[must_use = "a listener does nothing until axum serves it"]
pub struct ProxyListener {
    tcp: TcpListener,
    proxies: TrustedProxies,
    opening: Arc<OpeningConnections>,
    /// Those that have not said whose they are. Dropping the listener ends them.
    introducing: JoinSet<Option<(TcpStream, ClientAddr)>>,
    patience: Duration,
    warnings: Arc<LogLimits>,
}

/// Where the client of a connection is, as its proxy says: in axum, `ConnectInfo<ClientAddr>`.
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
    /// That of the connection, if it comes from no proxy or is the proxy's own.
    pub address: SocketAddr,
    /// Whether the client speaks TLS with the proxy.
    pub secure: bool,
}

impl ProxyListener {
    pub(crate) fn new(tcp: TcpListener, proxies: TrustedProxies, counters: &HttpCounters) -> Self {
        let ConnectionLimits { opening, head, .. } = ConnectionLimits::default();
        let opening = OpeningConnections::new(opening, Arc::clone(&counters.given_up));
        let (introducing, warnings) = (JoinSet::new(), Arc::default());
        Self { tcp, proxies, opening, introducing, patience: head, warnings }
    }

    /// How long a proxy may take to say whose its connection is. Default, and at most, 10 s.
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

impl Listener for ProxyListener {
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
                accepted = Listener::accept(&mut self.tcp) => accepted,
            };
            // Or the client has gone away already.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            if !self.proxies.contain(address.ip()) {
                return (stream, ClientAddr { address, secure: false });
            }
            self.introduce(stream, address);
        }
    }

    fn local_addr(&self) -> io::Result<ClientAddr> {
        Ok(ClientAddr { address: self.tcp.local_addr()?, secure: false })
    }
}

impl Connected<IncomingStream<'_, ProxyListener>> for ClientAddr {
    fn connect_info(connection: IncomingStream<'_, ProxyListener>) -> Self {
        *connection.remote_addr()
    }
}
