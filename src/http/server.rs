//! The listener of a node that serves itself, and of the streams on which other nodes forward requests.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsAcceptor;

use super::listener::{Limits, Listener};
use super::stream::{ClientStream, Spoken, Transport};
use super::streams::Streams;
use super::{Body, BoxError, RemoteAddr, Secure, Service, reply, upgrade};
use crate::engine::Application;

/// What a node that serves itself answers outside the path of its service.
pub(crate) type Elsewhere = Arc<dyn Fn(&Request<Incoming>) -> Response<Body> + Send + Sync>;

/// One listener: the service at its path, and whatever the application answers elsewhere.
pub(crate) struct Server<A: Application> {
    service: Service<A>,
    /// A prefix of the path, as in Node: of `/socket.io/`, `/socket.io/anything` is served and `/socket.io` is not.
    path: String,
    elsewhere: Elsewhere,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    /// Handshakes of TLS under way.
    handshakes: Semaphore,
}

impl<A: Application> Server<A> {
    /// Accepts connections until `stop` resolves; then answers the requests under way, within a second.
    pub(crate) async fn serve(
        service: Service<A>,
        path: &str,
        elsewhere: Elsewhere,
        listener: Listener,
        stop: impl Future<Output = ()>,
    ) {
        let Listener { tcp, tls, limits } = listener;
        let server = Self {
            service,
            path: path.to_owned(),
            elsewhere,
            tls: tls.map(|tls| tls.acceptor()),
            limits,
            handshakes: Semaphore::new(HANDSHAKES),
        };
        let stopping = watch::Sender::new(());
        let accepting = Arc::new(server).accept(tcp, &stopping);
        tokio::select! {
            never = accepting => match never {},
            () = stop => {}
        }
        stopping.send_replace(());
        // Each connection holds a receiver. Those that do not take their answer are left behind.
        let _late = timeout(FAREWELL, stopping.closed()).await;
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, stopping: &watch::Sender<()>) -> Infallible {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { continue };
            match listener.accept().await {
                Ok((stream, address)) if stream.set_nodelay(true).is_ok() => {
                    let connection = Arc::clone(&self).connection(stream, address, stopping.subscribe());
                    tokio::spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                // Gone already.
                Ok(_) => {}
                Err(error) => pause(&error).await,
            }
        }
    }

    /// Serves one client. Whatever it does or fails to do concerns nobody else.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        mut stopping: watch::Receiver<()>,
    ) {
        let opened = tokio::select! {
            opened = Box::pin(self.open(stream)) => opened,
            _ = stopping.changed() => return,
        };
        let ended: Result<(), BoxError> = match opened {
            // Each in a box of its own, so that neither has room for the other.
            Ok((stream, Spoken::Http1)) => Box::pin(self.http1(stream, address, stopping)).await,
            Ok((stream, Spoken::Http2)) => Box::pin(self.http2(stream, address, stopping)).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended");
        }
    }

    /// What comes before HTTP: TLS, and the bytes that say which HTTP it is.
    async fn open(&self, stream: TcpStream) -> io::Result<(ClientStream, Spoken)> {
        let transport = match &self.tls {
            None => Transport::Tcp(stream),
            Some(tls) => {
                // A flood of handshakes is turned away instead of kept waiting.
                let _permit = self.handshakes.try_acquire().map_err(io::Error::other)?;
                Transport::Tls(Box::new(
                    timeout(self.limits.head.min(HANDSHAKE_TIMEOUT), tls.accept(stream)).await??,
                ))
            }
        };
        timeout(self.limits.head, ClientStream::open(transport, self.limits.write)).await?
    }

    async fn http1(
        self: Arc<Self>,
        stream: ClientStream,
        address: SocketAddr,
        mut stopping: watch::Receiver<()>,
    ) -> Result<(), BoxError> {
        let http = http(self.limits.head);
        let answer = service_fn(move |request: Request<Incoming>| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request, address).await) }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => Ok(ended?),
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                Ok(connection.await?)
            }
        }
    }

    async fn http2(
        self: Arc<Self>,
        stream: ClientStream,
        address: SocketAddr,
        mut stopping: watch::Receiver<()>,
    ) -> Result<(), BoxError> {
        let Limits { head, write, .. } = self.limits;
        let streams = Streams::new(Instant::now());
        let underway = streams.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let (server, request_underway) = (Arc::clone(&self), underway.begin());
            async move {
                let response = server.answer(request, address).await;
                Ok::<_, Infallible>(response.map(|body| request_underway.answer(body)))
            }
        });
        let mut connection = pin!(multiplexed().serve_connection(TokioIo::new(stream), answer));
        let mut looks = interval((head.min(write) / LOOKS).max(SHORTEST));
        let mut leaving = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return Ok(ended?),
                _ = stopping.changed(), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                now = looks.tick() => {
                    if streams.stalled(now, write) {
                        return Err("answers are not taken".into());
                    }
                    if streams.idle(now, head) {
                        if leaving {
                            return Err("it was told to leave, and stays".into());
                        }
                        leaving = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, address: SocketAddr) -> Response<Body> {
        request.extensions_mut().insert(RemoteAddr(address));
        request.extensions_mut().insert(Secure(self.tls.is_some()));
        if request.uri().path().starts_with(&self.path) {
            return self.service.clone().respond(request).await;
        }
        let mut response = (self.elsewhere)(&request);
        // Whoever wanted a WebSocket here waits for nothing else (Node's `destroyUpgrade`).
        if request.version() == Version::HTTP_11 && upgrade::is_asked_for(request.headers()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Answers 404: what a listener without an application says elsewhere.
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

/// Serves one stream of another node: a single request, or a WebSocket.
pub(crate) async fn serve_forwarded<A, S>(service: Service<A>, stream: S)
where
    A: Application,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.respond(request).await) }
    });
    let connection =
        http(HEADER_TIMEOUT).keep_alive(false).serve_connection(TokioIo::new(stream), answer).with_upgrades();
    if let Err(error) = connection.await {
        tracing::trace!(%error, "a forwarded request ended");
    }
}

fn http(head_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(MAX_HEAD);
    http
}

fn multiplexed() -> http2::Builder<TokioExecutor> {
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

/// An accept that fails for want of file descriptors would spin.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// How long another node may take to send the head of a request that it forwards.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest head of a request, as Node's default: each session keeps the head that opened it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: u32 = 16 * 1024;

/// How long a client may take for the handshake of TLS, and how many may be in it at once.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 4096;

/// Requests under way on one HTTP/2 connection: RFC 9113 recommends no fewer than 100.
const STREAMS: u32 = 100;

/// Bytes of bodies that one request, and all of a connection, may send before they are read.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of one answer that wait for a client of HTTP/2, beyond what is still the session's.
const STREAM_BUFFER: usize = 64 * 1024;

/// How often a client of HTTP/2 is asked whether it is there; it has 20 s to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How often a connection of HTTP/2 is looked at within the shortest of its timeouts.
const LOOKS: u32 = 4;
const SHORTEST: Duration = Duration::from_millis(1);

/// How long requests under way may take to be answered when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
