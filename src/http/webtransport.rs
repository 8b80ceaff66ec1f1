//! WebTransport sessions: a QUIC listener of its own, and from each session's stream to a session of Engine.IO, on this
//! node or another (engine.io protocol v4, "WebTransport").
//!
//! ```text
//!   CONNECT ──► path ──► middleware ──► stream ──► first packet ── 0 ──► allow_request ──► engine
//!                                                       └── 0{"sid"} ──► whose? ── ours ──► engine
//!                                                                           └── another node's ──► carried there
//! ```

mod carried;
mod stream;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use quinn::{TransportConfig, VarInt};
use tokio::net::{ToSocketAddrs, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use wtransport::endpoint::endpoint_side::Server as ServerSide;
use wtransport::endpoint::{IncomingSession, SessionRequest};
use wtransport::{Endpoint, ServerConfig};

use self::stream::ClientStream;
use super::certificate::Certificate;
use super::tls::Tls;
use super::{Parts, RemoteAddr, Secure, Service, Shared, middleware};
use crate::cluster::SessionOwner;
use crate::engine::webtransport::{self, Wish};
use crate::engine::{Application, Handshake, HandshakeError, Query, Transport};
use crate::id::SessionId;

pub(crate) use carried::{adopt, disown, is_carried};

/// Where a node takes WebTransport sessions: a UDP address of its own, and a certificate that browsers accept.
///
/// Browsers go to the host and port of the page's Socket.IO server, over UDP. They need a certificate of an authority
/// they trust, or the hash of one that is valid for 14 days at most ([`Certificate::self_signed`]).
///
/// ```no_run
/// use socketmesh::engine::{self, Transport};
/// use socketmesh::http::{Certificate, WebTransportListener};
/// use socketmesh::Node;
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let transports = vec![Transport::Polling, Transport::WebSocket, Transport::WebTransport];
/// let node = Node::builder().engine(engine::Config { transports, ..Default::default() }).start().await?;
/// let certificate = Certificate::from_pem_files("chain.pem", "key.pem")?;
/// let listener = WebTransportListener::bind("0.0.0.0:3000", &certificate).await?;
/// tokio::join!(
///     node.serve(tokio::net::TcpListener::bind("0.0.0.0:3000").await?),
///     node.serve_webtransport(listener),
/// );
/// # Ok(()) }
/// ```
#[must_use = "a listener is nothing until a node serves it"]
pub struct WebTransportListener {
    endpoint: Endpoint<ServerSide>,
    address: SocketAddr,
    max_sessions: usize,
    max_opening: usize,
}

impl WebTransportListener {
    /// Binds a UDP address; clients are not answered well until a node serves it.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or the certificate and its key do not fit: use others.
    pub async fn bind(address: impl ToSocketAddrs, certificate: &Certificate) -> io::Result<Self> {
        Self::bind_with(address, &Tls::new(certificate).map_err(io::Error::other)?).await
    }

    /// The same with the certificate of `tls`, and with each it is renewed by.
    ///
    /// # Errors
    ///
    /// The address cannot be bound: use another.
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

    /// The address it is bound to.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Most WebTransport sessions at once; further ones are refused. Default 10 000. Each takes about 90 KB while it
    /// is idle, nearly all of it QUIC's.
    pub const fn max_sessions(mut self, most: usize) -> Self {
        self.max_sessions = most;
        self
    }

    /// Most sessions at once that have not sent their first packet; further ones are refused. Default 256.
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

/// A listener with the node behind it.
pub(crate) struct Server<A: Application> {
    service: Service<A>,
    path: String,
    sessions: Arc<Semaphore>,
    opening: Arc<Semaphore>,
}

impl<A: Application> Server<A> {
    /// Takes sessions until `stop` resolves; then those that are ending have a second.
    pub(crate) async fn serve(
        service: Service<A>,
        path: &str,
        listener: WebTransportListener,
        stop: impl Future<Output = ()>,
    ) {
        let server = Arc::new(Self {
            service,
            path: path.to_owned(),
            sessions: Arc::new(Semaphore::new(listener.max_sessions)),
            opening: Arc::new(Semaphore::new(listener.max_opening)),
        });
        let serving = watch::Sender::new(());
        let accepting = async {
            loop {
                server.take(listener.endpoint.accept().await, serving.subscribe());
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop => {}
        }
        // Each session holds a receiver.
        let _late = timeout(FAREWELL, serving.closed()).await;
        listener.endpoint.close(DONE.into(), b"");
        let _late = timeout(FAREWELL, listener.endpoint.wait_idle()).await;
    }

    /// Begins with one client, if there is room.
    fn take(self: &Arc<Self>, incoming: IncomingSession, serving: watch::Receiver<()>) {
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        let (Some(session), Some(opening)) = (permit(&self.sessions), permit(&self.opening)) else {
            tracing::warn!("a WebTransport session was refused: there are too many");
            return incoming.refuse();
        };
        let server = Arc::clone(self);
        tokio::spawn(async move {
            server.session(incoming, opening).await;
            drop((session, serving));
        });
    }

    /// One WebTransport session, from its handshake to its end.
    async fn session(&self, incoming: IncomingSession, opening: OwnedSemaphorePermit) {
        let patience = self.service.shared.engine.config().upgrade_timeout;
        let Ok(Some((asked, wish, stream))) = timeout(patience, self.open(incoming)).await else { return };
        drop(opening);
        let shared = &self.service.shared;
        let refused = match wish {
            Wish::Open => shared.begin(asked, stream).await,
            Wish::Upgrade(sid) => shared.upgrade(sid, stream).await,
        };
        if let Err((mut stream, reason)) = refused {
            tracing::debug!(reason, "a WebTransport session was refused");
            stream.close(reason);
        }
    }

    /// What comes before the session of Engine.IO is known. Dropping it ends the WebTransport session.
    async fn open(&self, incoming: IncomingSession) -> Option<(Asked, Wish, ClientStream)> {
        let request = incoming.await.ok()?;
        let shared = &self.service.shared;
        let Some(asked) = Asked::of(&request).filter(|asked| asked.0.uri.path().starts_with(&self.path))
        else {
            request.not_found().await;
            return None;
        };
        if !shared.engine.config().transports.contains(&Transport::WebTransport) {
            shared.hear(&asked, &HandshakeError::UnknownTransport { given: "webtransport".to_owned() });
            request.not_found().await;
            return None;
        }
        let mut added = HeaderMap::new();
        if let Some(refusal) = middleware::run(&shared.config.middleware, &asked.0, &mut added).await {
            if let Some(hearer) = &shared.config.on_connection_error {
                hearer.hear(&asked.0, &refusal);
            }
            refuse(request, refusal.status()).await;
            return None;
        }
        let added = added.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let connection = request.accept_with_headers(added).await.ok()?;
        let mut stream = ClientStream::new(connection.accept_bi().await.ok()?, connection);
        let admitted = match Wish::read(&mut stream).await {
            Some(Wish::Open) => shared.admit(&asked).await.map(|()| Wish::Open),
            Some(upgrade) => Ok(upgrade),
            None => Err("no first packet"),
        };
        match admitted {
            Ok(wish) => Some((asked, wish, stream)),
            Err(reason) => {
                tracing::debug!(reason, "a WebTransport session was refused");
                stream.close(reason);
                None
            }
        }
    }
}

/// Answers a CONNECT with a status, or with 403 where QUIC's library knows none such.
async fn refuse(request: SessionRequest, status: StatusCode) {
    match status {
        StatusCode::NOT_FOUND => request.not_found().await,
        StatusCode::TOO_MANY_REQUESTS => request.too_many_requests().await,
        _ => request.forbidden().await,
    }
}

/// What a CONNECT request says of its client, as middleware sees it.
struct Asked(Arc<Parts>);

impl Asked {
    /// `None` if its path is none.
    fn of(request: &SessionRequest) -> Option<Self> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::CONNECT;
        parts.uri = request.path().parse().ok()?;
        parts.version = Version::HTTP_3;
        parts.extensions.insert(RemoteAddr(request.remote_address()));
        parts.extensions.insert(Secure(true));
        let pairs = request.headers().iter().filter(|(name, _)| !name.starts_with(':'));
        let host = (HOST.as_str(), request.authority());
        parts.headers = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain([host])
            .filter_map(|(name, value)| {
                Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
            })
            .collect();
        Some(Self(Arc::new(parts)))
    }

    fn handshake(&self) -> Handshake {
        let Parts { headers, uri, extensions, .. } = &*self.0;
        let query = Query::of_webtransport(uri.query().unwrap_or_default());
        let address = extensions.get::<RemoteAddr>().map(|address| address.0);
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that dates a handshake over WebTransport"
        )]
        let issued = SystemTime::now();
        Handshake::new(headers.clone(), uri.to_string(), query, address, true, issued)
    }
}

/// A stream that is not served, and why.
type Refused = (ClientStream, &'static str);

impl<A: Application> Shared<A> {
    /// Whether the client may open a session here, and why not.
    async fn admit(&self, asked: &Asked) -> Result<(), &'static str> {
        if self.cluster.as_ref().is_some_and(|cluster| !cluster.is_ready()) {
            return Err("this node is joining its cluster");
        }
        let Some(allow) = &self.config.allow_request else { return Ok(()) };
        match allow.ask(Arc::new(asked.handshake())).await {
            Some(Ok(())) => Ok(()),
            Some(Err(message)) => {
                self.hear(asked, &HandshakeError::Forbidden { message });
                Err("forbidden")
            }
            None => Err("forbidden"),
        }
    }

    /// Tells whoever wants to hear of refusals.
    fn hear(&self, asked: &Asked, error: &HandshakeError) {
        if let Some(hearer) = &self.config.on_connection_error {
            hearer.tell(&asked.0, error);
        }
    }

    /// A new session of this node; returns when it has left the stream.
    async fn begin(&self, asked: Asked, stream: ClientStream) -> Result<(), Refused> {
        match self.engine.open(Arc::new(asked.handshake()), Transport::WebTransport).await {
            Ok(opened) => {
                if let Some((conn, line)) = opened.socket {
                    webtransport::serve(Box::new(stream), opened.session, conn, line).await;
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "no session could be opened");
                Err((stream, "no session could be opened"))
            }
        }
    }

    /// A stream for a session that exists somewhere: the probe of an upgrade.
    async fn upgrade(&self, sid: SessionId, stream: ClientStream) -> Result<(), Refused> {
        if let Some(cluster) = &self.cluster
            && let SessionOwner::There(owner) = cluster.owner(sid.key())
        {
            return carried::carry(cluster, &owner, sid, stream).await;
        }
        let Some(session) = self.engine.find(sid) else { return Err((stream, "Session ID unknown")) };
        let (conn, line) = session.attach(Transport::WebTransport);
        webtransport::serve(Box::new(stream), session, conn, line).await;
        Ok(())
    }
}

/// The heartbeat of Engine.IO decides who is gone, so QUIC never does; it only keeps the ways to clients open, whose
/// own idle timeouts (30 s in browsers) are as long as the pause between two pings.
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

/// How often a way that carries nothing is kept open.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// HTTP/3 takes three of one direction and one of both; the rest are ignored.
const MAX_STREAMS: VarInt = VarInt::from_u32(8);

/// What may be on its way to or from one client, and so in memory for it beside what the session counts.
const WINDOW: VarInt = VarInt::from_u32(256 * 1024);

/// Ignored, but without any a browser takes the server for none of WebTransport.
const DATAGRAMS: usize = 4096;

/// QUIC handshakes that wait to be looked at.
const MAX_INCOMING: usize = 1024;

const MAX_SESSIONS: usize = 10_000;

const MAX_OPENING: usize = 256;

/// How long sessions may take to end when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// The code of an end that is none of an error.
const DONE: u32 = 0;
