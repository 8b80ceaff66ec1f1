//! The application's part in answering requests: Node's `io.engine.use`, and its events `initial_headers` and `headers`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use hyper::header::UPGRADE;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::body::Body;
use super::reply;
use crate::catch_panic;
use crate::engine::HandshakeError;

/// Runs for every request of a client, upgrades included, on the node that the request reaches and before the engine sees
/// it. It lets the request pass, with or without headers for the answer, or refuses it. Node: `io.engine.use(...)`.
///
/// CORS comes first, so that pages can read a refusal. Requests for the files of the browser client do not pass through
/// middleware. A middleware may take its time, because only its request waits. A panic is answered with status 500.
///
/// For a WebTransport session it runs once, for the CONNECT request, and within
/// [`upgrade_timeout`](crate::engine::Config::upgrade_timeout). A refusal with status 404 or 429 is sent as it is; any other
/// is sent as 403. Node runs no middleware there.
///
/// ```
/// use std::sync::Arc;
///
/// use hyper::HeaderMap;
/// use socketmesh::http::{Config, Middleware, Parts, Rejection};
///
/// let known = Middleware::new(async |request: Arc<Parts>| match request.headers.get("x-api-key") {
///     Some(_) => Ok(HeaderMap::from_iter([("x-frame-options".parse().unwrap(), "DENY".parse().unwrap())])),
///     None => Err(Rejection::new("no key")),
/// });
/// let config = Config::default().middleware([known]);
/// ```
#[derive(Clone)]
pub struct Middleware(Arc<Run>);

type Run =
    dyn Fn(Arc<Parts>) -> Pin<Box<dyn Future<Output = Result<HeaderMap, Rejection>> + Send>> + Send + Sync;

impl Middleware {
    /// Runs `run`, which returns headers to add to the answer, or the refusal.
    pub fn new<F, Fut>(run: F) -> Self
    where
        F: FnOnce(Arc<Parts>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderMap, Rejection>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin((run.clone())(request))))
    }
}

/// The refusal of a request by a [`Middleware`].
#[derive(Debug)]
pub struct Rejection(RejectionKind);

#[derive(Debug)]
enum RejectionKind {
    BadRequest(String),
    Response(Box<Response<Body>>),
}

impl Rejection {
    /// Refuses with HTTP 400 and code 3, `Bad request`, like an error of a middleware in Node. `reason` is not sent to the
    /// client; [`OnConnectionError`](super::OnConnectionError) receives it.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(RejectionKind::BadRequest(reason.into()))
    }

    fn into_response(self, upgrade: bool) -> Response<Body> {
        match self.0 {
            RejectionKind::BadRequest(reason) => {
                reply::refusal(&HandshakeError::Middleware { reason }, upgrade)
            }
            RejectionKind::Response(response) => *response,
        }
    }
}

/// Refuses with a response of your own, such as 401 or a redirect.
impl From<Response<Body>> for Rejection {
    fn from(response: Response<Body>) -> Self {
        Self(RejectionKind::Response(Box::new(response)))
    }
}

/// Adds headers to answers. It must not block. A panic is logged.
#[derive(Clone)]
pub struct Headers(Arc<Add>);

type Add = dyn Fn(&mut HeaderMap, &Parts) + Send + Sync;

impl Headers {
    /// Calls `add` with the headers of the answer and the request.
    pub fn new(add: impl Fn(&mut HeaderMap, &Parts) + Send + Sync + 'static) -> Self {
        Self(Arc::new(add))
    }

    pub(crate) fn add(&self, response: &mut HeaderMap, request: &Parts) {
        if catch_panic::call(|| (self.0)(response, request)).is_none() {
            tracing::error!("a function that adds headers panicked");
        }
    }
}

/// A copy of a request's head for the application. The upgrade stays with the request.
pub(crate) fn head<B>(request: &Request<B>) -> Arc<Parts> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    parts.extensions = request.extensions().clone();
    parts.extensions.remove::<OnUpgrade>();
    Arc::new(parts)
}

/// Runs one middleware after another, until one refuses. `added` gets the headers of those that let the request pass.
pub(crate) async fn run(
    all: &[Middleware],
    request: &Arc<Parts>,
    added: &mut HeaderMap,
) -> Option<Response<Body>> {
    for middleware in all {
        match catch_panic::future(async { (middleware.0)(Arc::clone(request)).await }).await {
            Some(Ok(headers)) => added.extend(headers),
            Some(Err(rejection)) => {
                return Some(rejection.into_response(request.headers.contains_key(UPGRADE)));
            }
            None => {
                tracing::error!("a middleware panicked");
                return Some(reply::empty(StatusCode::INTERNAL_SERVER_ERROR));
            }
        }
    }
    None
}

impl fmt::Debug for Middleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Middleware")
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers")
    }
}
