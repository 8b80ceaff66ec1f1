//! The tower service of a node, for axum, hyper and the listeners of the node itself.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{Request, Response};

use super::body::Body;
use super::drain_body::{BoxError, DrainBody};
use super::edge::Edge;
use crate::engine::Application;
use crate::id::NodeId;

/// Answers the requests of Engine.IO clients: a tower service for axum, hyper or any server that uses the `http` crate.
///
/// It answers every request it is given, whatever the path: the path is where it is mounted. It never fails and is
/// always ready. Its host has to support HTTP upgrades, as `axum::serve` does; without them no client gets a WebSocket.
/// Dropping the future of a request counts as the client's abort.
///
/// ```
/// # fn f(node: socketmesh::Node) {
/// let service = node.service(); // axum: Router::new().nest_service("/socket.io", node.service())
/// # drop(service) }
/// ```
#[derive(Clone)]
pub struct Service(Arc<dyn Respond>);

/// The answer to one request, to be awaited.
type Responding = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// An edge whose application does not matter.
trait Respond: Send + Sync {
    fn node(&self) -> &NodeId;

    fn respond(self: Arc<Self>, request: Request<DrainBody>) -> Responding;
}

impl<A: Application> Respond for Edge<A> {
    fn node(&self) -> &NodeId {
        self.node()
    }

    fn respond(self: Arc<Self>, request: Request<DrainBody>) -> Responding {
        let request = self.receive(request);
        Box::pin(async move { Ok(Self::respond(&self, request).await) })
    }
}

impl Service {
    pub(crate) fn new<A: Application>(edge: Arc<Edge<A>>) -> Self {
        Self(edge)
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
        Arc::clone(&self.0).respond(request.map(DrainBody::new))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("node", self.0.node()).finish_non_exhaustive()
    }
}
