//! The HTTP server of a node that serves its clients itself, and of the requests that other nodes forward.

use std::convert::Infallible;
#[cfg(feature = "fuzzing")]
use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
#[cfg(feature = "fuzzing")]
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::body::Body;
use super::client_stream::{ClientStream, HttpVersion};
use super::counters::HttpCounters;
use super::drain_body::BoxError;
use super::http2_progress::Http2Progress;
use super::listener::{ConnectionLimits, Encryption, FIRST_REQUEST, Listener, left_over};
use super::opening::{OpeningConnections, OpeningPlace};
use super::plain_connection::{self, After};
use super::plain_http::MAX_HEAD;
use super::proxy_protocol::{self, Introduction};
use super::reply;
use super::request::{RemoteAddr, Secure};
use super::service::Service;
use super::trusted_proxies::TrustedProxies;
use super::upgraded::{self, Bare, Taker};
use crate::engine::websocket::asks_for_websocket;
use crate::excerpt::Excerpt;
use crate::log_limit::LogLimits;
use crate::per_address::{PerAddress, Share};

/// Answers the requests outside the path of the service.
pub(crate) type Fallback = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// An answer that is being made.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// One listener: the service at its path, and the application's fallback for other paths.
pub(crate) struct Server {
    /// The service and a prefix of its path, as in Node: with `/socket.io/`, `/socket.io/anything` is served and `/socket.io` is
    /// not.
    service: Option<(Service, String)>,
    fallback: Fallback,
    encryption: Option<Arc<dyn Encryption>>,
    limits: ConnectionLimits,
    opening: Arc<OpeningConnections>,
    per_address: Option<Arc<PerAddress>>,
    proxies: TrustedProxies,
    /// The connections of these proxies begin with a header that says whose they are.
    proxy_protocol: bool,
    counters: Arc<HttpCounters>,
    warnings: LogLimits,
    stopping: CancellationToken,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Client {
    address: SocketAddr,
    /// It speaks TLS, with this node or with a proxy.
    secure: bool,
}

/// What comes after the plain requests of a connection.
enum Rest {
    /// It has ended.
    Nothing,
    /// Something else, which is in the stream.
    Other,
    /// Another protocol, after this answer.
    Switch(Taker, Bytes),
}

impl Server {
    /// Accepts connections until `stop` resolves. Then answers the requests in flight, for a second at most.
    pub(crate) async fn serve(
        service: Option<(Service, String)>,
        fallback: Fallback,
        counters: Arc<HttpCounters>,
        listener: Listener,
        stop: impl Future<Output = ()>,
    ) {
        let Listener { tcp, encryption, limits, proxies, proxy_protocol } = listener;
        let stopping = CancellationToken::new();
        let server = Arc::new(Self {
            service,
            fallback,
            encryption,
            limits,
            opening: OpeningConnections::new(limits.opening, Arc::clone(&counters.given_up)),
            per_address: limits.per_address.map(PerAddress::new),
            proxies,
            proxy_protocol,
            counters,
            warnings: LogLimits::default(),
            stopping: stopping.clone(),
        });
        // If this future is dropped, the connections stop as well.
        let stop_connections = stopping.drop_guard();
        let connections = TaskTracker::new();
        tokio::select! {
            never = Arc::clone(&server).accept(&tcp, &connections) => match never {},
            () = stop => {}
        }
        server.close(tcp, &connections);
        drop(stop_connections);
        connections.close();
        // Clients that do not take their answer in time are left behind.
        let _late = timeout(SHUTDOWN_TIMEOUT, connections.wait()).await;
    }

    /// Serves one connection in memory, as those of a listener.
    #[cfg(feature = "fuzzing")]
    pub(crate) async fn serve_in_memory(service: Service, stream: DuplexStream) -> Result<(), BoxError> {
        let limits = ConnectionLimits::default();
        let counters = Arc::<HttpCounters>::default();
        let server = Arc::new(Self {
            service: Some((service, "/socket.io/".to_owned())),
            fallback: Arc::new(|_| Box::pin(ready(reply::empty(StatusCode::NOT_FOUND)))),
            encryption: None,
            limits,
            opening: OpeningConnections::new(limits.opening, Arc::clone(&counters.given_up)),
            per_address: None,
            proxies: TrustedProxies::default(),
            proxy_protocol: false,
            counters,
            warnings: LogLimits::default(),
            stopping: CancellationToken::new(),
        });
        let client = Client { address: SocketAddr::from(([192, 0, 2, 1], 1)), secure: false };
        let place = Arc::new(server.opening.enter(client.address.ip()));
        let (mut stream, _http1) =
            ClientStream::open(Either::Right(Box::new(stream)), limits.patience()).await?;
        match server.plain(&mut stream, client, &place).await? {
            Rest::Nothing => {}
            Rest::Other => server.http1(stream, client, place).await?,
            Rest::Switch(taker, answer) => give(stream, taker, answer),
        }
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: &TcpListener, connections: &TaskTracker) -> Infallible {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { continue };
            match listener.accept().await {
                Ok((stream, address)) => self.spawn(stream, address, permit, connections),
                Err(error) => self.make_room_after(&error).await,
            }
        }
    }

    /// Closes the port, and serves what is left over.
    fn close(self: Arc<Self>, listener: TcpListener, connections: &TaskTracker) {
        for (stream, address) in left_over(listener) {
            self.spawn(stream, address, (), connections);
        }
    }

    fn spawn(
        self: &Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        permit: impl Send + 'static,
        connections: &TaskTracker,
    ) {
        // Or the client has gone away already.
        if stream.set_nodelay(true).is_ok()
            && let Some(share) = self.share(address.ip())
        {
            let connection = Arc::clone(self).connection(stream, address);
            connections.spawn(async move {
                connection.await;
                drop((permit, share));
            });
        }
    }

    /// The share of a connection in what its address may have, if there is a limit. `None` if it has that already.
    #[expect(clippy::option_option, reason = "whether it may, and what it holds")]
    fn share(&self, address: IpAddr) -> Option<Option<Share>> {
        let limit = self.per_address.as_ref().filter(|_| !self.proxies.contain(address));
        let Some(limit) = limit else { return Some(None) };
        let share = limit.take(address);
        if share.is_none() {
            self.counters.refused.increment();
        }
        share.map(Some)
    }

    /// Waits after an accept that failed, because one that fails for lack of file descriptors would fail at once again. A
    /// connection that brought nothing yet gives way.
    async fn make_room_after(&self, error: &io::Error) {
        let lacks_descriptors = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
        let pause = if lacks_descriptors && self.opening.give_up() { CLOSE_PAUSE } else { ACCEPT_PAUSE };
        if self.warnings.allows("accept", error.kind(), WARNING_PAUSE, Instant::now()) {
            let remedy = if lacks_descriptors {
                "no file descriptors are left, so clients wait: raise the limit (`ulimit -n`, LimitNOFILE of systemd) or \
                    lower max_connections"
            } else {
                "the client is gone, or the system has no room"
            };
            tracing::warn!(%error, remedy, "a connection could not be accepted");
        }
        sleep(pause).await;
    }

    /// Serves one client. A failure ends its connection and nothing else.
    async fn connection(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr) {
        let mut client = Client { address: peer, secure: self.encryption.is_some() };
        let mut introduced = None;
        if self.proxy_protocol && self.proxies.contain(peer.ip()) {
            let Some((of, share)) = Box::pin(self.introduction(&mut stream, client)).await else { return };
            (client, introduced) = (of, share);
        }
        let place = Arc::new(self.opening.enter(client.address.ip()));
        let ended = tokio::select! {
            ended = self.serve_connection(stream, client, Arc::clone(&place)) => ended,
            () = place.given_up() => Err("its place was needed".into()),
        };
        drop(introduced);
        if let Err(error) = ended {
            tracing::trace!(error = %Excerpt::reason(error), "a connection ended");
        }
    }

    /// Reads whose a connection of a proxy is, and takes a share for it. `None` if it ends here.
    async fn introduction(&self, stream: &mut TcpStream, proxy: Client) -> Option<(Client, Option<Share>)> {
        let (opening, patience, warnings) = (&self.opening, self.limits.head, &self.warnings);
        let read = proxy_protocol::introduction(stream, proxy.address.ip(), opening, patience, warnings);
        let introduction = tokio::select! {
            introduction = read => introduction?,
            () = self.stopped() => return None,
        };
        match introduction {
            Introduction { client: None, .. } => Some((proxy, None)),
            Introduction { client: Some(address), secure } => {
                let client = Client { address, secure: secure || proxy.secure };
                Some((client, self.share(address.ip())?))
            }
        }
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        client: Client,
        place: Arc<OpeningPlace>,
    ) -> Result<(), BoxError> {
        let opened = tokio::select! {
            opened = Box::pin(self.open(stream)) => opened?,
            () = self.stopped() => return Ok(()),
        };
        // Each in a box of its own, so that none has room for another.
        match opened {
            (mut stream, HttpVersion::Http1) => {
                match Box::pin(self.plain(&mut stream, client, &place)).await? {
                    Rest::Nothing => {}
                    Rest::Other => Box::pin(self.http1(stream, client, place)).await?,
                    Rest::Switch(taker, answer) => give(stream, taker, answer),
                }
                Ok(())
            }
            (stream, HttpVersion::Http2) => Box::pin(self.http2(stream, client, place)).await,
        }
    }

    /// Resolves when the node stops, and what a new connection brings would be there.
    async fn stopped(&self) {
        self.stopping.cancelled().await;
        sleep(FIRST_REQUEST).await;
    }

    /// Does what comes before HTTP: the TLS handshake, and the detection of the HTTP version.
    async fn open(&self, stream: TcpStream) -> io::Result<(ClientStream, HttpVersion)> {
        let transport = match &self.encryption {
            None => Either::Left(stream),
            Some(encryption) => {
                let handshake_timeout = self.limits.head.min(HANDSHAKE_TIMEOUT);
                Either::Right(timeout(handshake_timeout, encryption.handshake(stream)).await??)
            }
        };
        timeout(self.limits.head, ClientStream::open(transport, self.limits.patience())).await?
    }

    /// Serves the first requests of a connection, as long as they are plain.
    async fn plain(
        &self,
        stream: &mut ClientStream,
        client: Client,
        place: &OpeningPlace,
    ) -> Result<Rest, BoxError> {
        let Some((service, prefix)) = &self.service else { return Ok(Rest::Other) };
        let (requests, mut stopping) = (stream.requests(), pin!(self.stopping.cancelled()));
        loop {
            let request = tokio::select! {
                // Asked to stop before it has read what is there, it would drop that.
                biased;
                next = plain_connection::next(stream, prefix) => next?,
                () = stopping.as_mut() => None,
            };
            let Some(request) = request else { break };
            requests.begin();
            place.leave();
            let (request, taker) = upgraded::offer(known(request, client));
            let answer = service.clone().call(request);
            let Ok(response) = plain_connection::while_open(stream, answer).await?;
            requests.end();
            match plain_connection::answer(stream, response, self.stopping.is_cancelled()).await? {
                After::GoesOn => {}
                After::Ends => return Ok(Rest::Nothing),
                // Nobody takes what nobody has asked for.
                After::Switches(answer) => {
                    return Ok(taker.map_or(Rest::Nothing, |taker| Rest::Switch(taker, answer)));
                }
            }
        }
        Ok(if stream.seen().is_empty() { Rest::Nothing } else { Rest::Other })
    }

    async fn http1(
        self: Arc<Self>,
        stream: ClientStream,
        client: Client,
        place: Arc<OpeningPlace>,
    ) -> Result<(), BoxError> {
        let mut http = http1_builder();
        // As Node spells them: some devices compare them letter by letter.
        http.title_case_headers(true);
        let (stopping, requests) = (self.stopping.clone(), stream.requests());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (server, requests) = (Arc::clone(&self), requests.clone());
            requests.begin();
            place.leave();
            async move {
                let answer = server.answer(request, client).await;
                requests.end();
                answer
            }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
        tokio::select! {
            // Asked to stop before it has read what is there, it would drop that.
            biased;
            ended = connection.as_mut() => Ok(ended?),
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                Ok(connection.await?)
            }
        }
    }

    async fn http2(
        self: Arc<Self>,
        stream: ClientStream,
        client: Client,
        place: Arc<OpeningPlace>,
    ) -> Result<(), BoxError> {
        let ConnectionLimits { keep_alive, write, .. } = self.limits;
        let stopping = self.stopping.clone();
        // The requests of this version share the connection: the progress of each is known below.
        stream.requests().begin();
        let progress = Http2Progress::new(Instant::now());
        let tracker = progress.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let (server, in_flight) = (Arc::clone(&self), tracker.begin());
            place.leave();
            async move {
                let response = server.answer(request, client).await?;
                Ok::<_, Infallible>(response.map(|body| in_flight.track(body)))
            }
        });
        let mut connection = pin!(http2_builder().serve_connection(TokioIo::new(stream), answer));
        let mut checks = interval((keep_alive.min(write) / CHECKS_PER_TIMEOUT).max(SHORTEST_CHECK));
        let mut leaving = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return Ok(ended?),
                () = stopping.cancelled(), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                now = checks.tick() => {
                    if progress.is_stalled(now, write) {
                        return Err("the client does not take its answers".into());
                    }
                    if progress.is_idle(now, keep_alive) {
                        if leaving {
                            return Err("the client stays, although it was told to leave".into());
                        }
                        leaving = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, client: Client) -> Result<Response<Body>, Infallible> {
        // As Node (RFC 9112, section 3.2): nobody can tell whom it is for.
        if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
            let mut response = reply::empty(StatusCode::BAD_REQUEST);
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        let request = known(request, client);
        if let Some((service, prefix)) = &self.service
            && request.uri().path().starts_with(prefix)
        {
            return service.clone().call(request).await;
        }
        let is_websocket = asks_for_websocket(&request);
        let mut response = (self.fallback)(request).await;
        // As Node's `destroyUpgrade`, which closes the connection of a WebSocket for another path.
        if is_websocket {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// With what is known of the client.
fn known<B>(mut request: Request<B>, client: Client) -> Request<B> {
    request.extensions_mut().insert(RemoteAddr(client.address));
    request.extensions_mut().insert(Secure(client.secure));
    request
}

/// Gives a connection to whoever is to take it.
fn give(stream: ClientStream, taker: Taker, answer: Bytes) {
    let (transport, read) = stream.into_parts();
    let _given_up = taker.send(Box::new(Bare { transport, read, answer }));
}

/// Answers 404: the fallback of a listener that serves nothing but the node. See [`Node::serve_at`](crate::Node::serve_at).
///
/// ```no_run
/// # async fn f(node: socketmesh::Node) -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// node.serve_at("/chat/", listener, socketmesh::http::not_found).await;
/// # Ok(()) }
/// ```
pub fn not_found(_: &Request<Incoming>) -> Response<Body> {
    reply::empty(StatusCode::NOT_FOUND)
}

fn http1_builder() -> http1::Builder {
    let mut http = http1::Builder::new();
    // The stream knows its limits of time: that of this library does not tell an idle connection from a slow head.
    http.header_read_timeout(None).max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
    http
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_BUFFER);
    http
}

/// How many header fields the library makes place for: so many that the size of the head decides.
const MAX_FIELDS: usize = 1024;
const MAX_HEADERS: u32 = 16 * 1024;

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests in flight on one HTTP/2 connection: RFC 9113 recommends no fewer than 100.
const STREAMS: u32 = 100;

/// Bytes of bodies that one request, and all of a connection, may send before they are read.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of one answer that wait for an HTTP/2 client.
const STREAM_BUFFER: usize = 64 * 1024;

/// How often an HTTP/2 client is pinged; it has 20 s to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How often an HTTP/2 connection is checked within the shorter of its timeouts, and the shortest time between two checks.
const CHECKS_PER_TIMEOUT: u32 = 4;
const SHORTEST_CHECK: Duration = Duration::from_millis(1);

/// How long requests in flight may take to be answered when the node stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// From the first warning about accepts to the second.
const WARNING_PAUSE: Duration = Duration::from_secs(30);
/// The process, or the system, has no file descriptor left (POSIX).
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// How long to wait after a failed accept, and until a connection that was given up is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CLOSE_PAUSE: Duration = Duration::from_millis(1);
