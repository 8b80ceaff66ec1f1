//! The tower service of a node, for axum, hyper and the listeners of the node itself.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{Request, Response, StatusCode};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::body::Body;
use super::drain_body::{BoxError, DrainBody};
use super::edge::Edge;
use super::reply;
use crate::engine::Application;
use crate::id::NodeId;

/// Answers the requests of Engine.IO clients: a tower service for axum, hyper or any server that uses the `http` crate.
///
/// It answers every request it is given, whatever the path: the path is where it is mounted. It never fails and is
/// always ready. Its host has to support HTTP upgrades, as `axum::serve` does; without them no client gets a WebSocket.
/// Dropping the future of a request counts as the client's abort.
///
/// # In axum
///
/// With the feature `axum` the application sees of a client what it sees where the node listens itself, if axum says it:
///
/// ```no_run
/// # async fn f(node: socketmesh::Node) -> std::io::Result<()> {
/// use socketmesh::http::ClientAddr;
///
/// let app = axum::Router::new().nest_service("/socket.io", node.service());
/// let listener = node.listener(tokio::net::TcpListener::bind("0.0.0.0:3000").await?);
/// let app = app.into_make_service_with_connect_info::<ClientAddr>();
/// // Its end is that of the node, which waits for what is answered then: await `node.drain(…)` when the process has to stop.
/// axum::serve(listener, app).with_graceful_shutdown(node.stopped()).await
/// # }
/// ```
///
/// - `into_make_service_with_connect_info::<ClientAddr>()` tells the address of the client; with another listener than
///   `Node::listener` it is `SocketAddr`. Without it, `Handshake::address` is `None`, no limit per address counts, and no
///   [trusted proxy](super::Config::trusted_proxies) is known.
/// - `nest_service("/socket.io", …)` serves `/socket.io/` and everything below it, as Node does; `/socket.io` is answered with 404.
///   `route_service("/socket.io", …)` is Node's `addTrailingSlash: false`. `Handshake::url` is the whole URL.
/// - What layers put into the extensions of a request reaches the application:
///   [`Handshake::extensions`](crate::engine::Handshake::extensions).
/// - `Node::listener` sets `TCP_NODELAY`: otherwise what is small waits for what came before it, up to 40 ms (Nagle's algorithm). It
///   closes its port without a connection that is reset, and reads what proxies say by the PROXY protocol.
/// - Where axum is served over TLS, a layer `Extension(Secure(true))` says so ([`Secure`](super::Secure)).
///
/// Other hosts put [`RemoteAddr`](super::RemoteAddr) and [`Secure`](super::Secure) into the extensions themselves, and need not be axum
/// for layers to reach the application.
#[derive(Clone)]
pub struct Service {
    edge: Arc<dyn Respond>,
    /// The node waits for its hosts when it stops; `None` where it serves itself.
    host: Option<TaskTrackerToken>,
}

/// The answer to one request, to be awaited.
type Responding = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// An edge whose application does not matter.
trait Respond: Send + Sync {
    fn node(&self) -> &NodeId;

    /// The host serves as long as the request.
    fn respond(self: Arc<Self>, request: Request<DrainBody>, host: Option<TaskTrackerToken>) -> Responding;
}

impl<A: Application> Respond for Edge<A> {
    fn node(&self) -> &NodeId {
        self.node()
    }

    fn respond(self: Arc<Self>, request: Request<DrainBody>, host: Option<TaskTrackerToken>) -> Responding {
        let request = self.receive(request);
        Box::pin(async move {
            let response = match request {
                Some(request) => Self::respond(&self, request).await,
                None => reply::empty(StatusCode::NOT_FOUND),
            };
            drop(host);
            Ok(response)
        })
    }
}

impl Service {
    pub(crate) fn new<A: Application>(edge: Arc<Edge<A>>) -> Self {
        Self { edge, host: None }
    }

    /// For a host, which has this as long as it serves.
    pub(crate) fn hosted<A: Application>(edge: Arc<Edge<A>>, host: TaskTrackerToken) -> Self {
        Self { edge, host: Some(host) }
    }
}

impl<B> tower_service::Service<Request<B>> for Service
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Responding;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Arc::clone(&self.edge).respond(request.map(DrainBody::new), self.host.clone())
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("node", self.edge.node()).finish_non_exhaustive()
    }
}
