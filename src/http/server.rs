//! The listener of a node that serves itself, and of the streams on which other nodes forward requests.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::{Body, RemoteAddr, Service, reply};
use crate::engine::Application;

/// What a node that serves itself answers outside the path of its service.
pub(crate) type Elsewhere = Arc<dyn Fn(&Request<Incoming>) -> Response<Body> + Send + Sync>;

/// One listener: the service at its path, and whatever the application answers elsewhere.
pub(crate) struct Server<A: Application> {
    pub(crate) service: Service<A>,
    /// With its trailing slash. A prefix of the path, as in Node: `/socket.io/anything` is served, `/socket.io` is not.
    pub(crate) path: String,
    pub(crate) elsewhere: Elsewhere,
    /// Connections served at once; further ones wait to be accepted.
    pub(crate) max_connections: usize,
}

impl<A: Application> Server<A> {
    /// Accepts connections until `stop` resolves; then answers the requests under way, within a second.
    pub(crate) async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let stopping = watch::Sender::new(());
        let accepting = Arc::new(self).accept(listener, &stopping);
        tokio::select! {
            never = accepting => match never {},
            () = stop => {}
        }
        stopping.send_replace(());
        // Each connection holds a receiver. Those that do not take their answer are left behind.
        let _late = tokio::time::timeout(FAREWELL, stopping.closed()).await;
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, stopping: &watch::Sender<()>) -> Infallible {
        let permits = Arc::new(Semaphore::new(self.max_connections));
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

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        mut stopping: watch::Receiver<()>,
    ) {
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(RemoteAddr(address));
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let mut connection = pin!(http().serve_connection(TokioIo::new(stream), answer).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // A client that breaks off or speaks no HTTP concerns nobody else.
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path().starts_with(&self.path) {
            self.service.clone().respond(request).await
        } else {
            (self.elsewhere)(&request)
        }
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
    let connection = http().keep_alive(false).serve_connection(TokioIo::new(stream), answer).with_upgrades();
    if let Err(error) = connection.await {
        tracing::trace!(%error, "a forwarded request ended");
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD);
    http
}

/// An accept that fails for want of file descriptors would spin.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// How long a client may take to send a request's head: Node's `headersTimeout` is 60 s.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest head of a request, as Node's default: each session keeps the head that opened it.
const MAX_HEAD: usize = 16 * 1024;

/// How long requests under way may take to be answered when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
