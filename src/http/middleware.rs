//! The application's part in answering requests: Node's `io.engine.use`, and its events `initial_headers` and `headers`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use hyper::header::{HeaderValue, IntoHeaderName, UPGRADE};
use hyper::http::Extensions;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::body::Body;
use super::reply;
use crate::catch_panic;
use crate::engine::HandshakeError;

/// Runs for every request of a client, upgrades included, on the node that the request reaches and before the engine sees
/// it. It lets the request pass, with or without headers for the answer and values for the application ([`Pass`]), or refuses
/// it. Node: `io.engine.use(...)`.
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
/// use socketmesh::http::{Config, HeaderValue, Middleware, Parts, Pass, Rejection};
///
/// #[derive(Clone)]
/// struct Customer(String);
///
/// let known = Middleware::new(async |request: Arc<Parts>| match request.headers.get("x-api-key") {
///     Some(key) => Ok(Pass::default()
///         .header("x-frame-options", HeaderValue::from_static("DENY"))
///         .extension(Customer(format!("{key:?}")))),
///     None => Err(Rejection::new("no key")),
/// });
/// let config = Config::default().middleware([known]);
/// ```
#[derive(Clone)]
pub struct Middleware(Arc<Run>);

type Run = dyn Fn(Arc<Parts>) -> Pin<Box<dyn Future<Output = Result<Pass, Rejection>> + Send>> + Send + Sync;

impl Middleware {
    /// Runs `run`, which returns a [`Pass`], or headers or extensions alone, or the refusal.
    pub fn new<F, Fut, P>(run: F) -> Self
    where
        F: FnOnce(Arc<Parts>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<P, Rejection>> + Send + 'static,
        P: Into<Pass>,
    {
        Self(Arc::new(move |request| {
            let run = (run.clone())(request);
            Box::pin(async move { run.await.map(Into::into) })
        }))
    }
}

/// What a [`Middleware`] adds to a request that it lets pass. Without anything, it is `Pass::default()`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pass {
    /// Headers for the answer. Those of the engine override them.
    pub headers: HeaderMap,
    /// Values for the middleware behind this one, and if the request opens a session for
    /// [the application](crate::engine::Handshake::extensions).
    pub extensions: Extensions,
}

impl Pass {
    /// Adds a header to the answer, in the place of another one of this name.
    #[must_use]
    pub fn header(mut self, name: impl IntoHeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a value for the application, in the place of another one of this type.
    #[must_use]
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }
}

impl From<HeaderMap> for Pass {
    fn from(headers: HeaderMap) -> Self {
        Self { headers, ..Self::default() }
    }
}

impl From<Extensions> for Pass {
    fn from(extensions: Extensions) -> Self {
        Self { extensions, ..Self::default() }
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

/// Runs one middleware after another, until one refuses. `added` gets what those add that let the request pass; each sees the
/// extensions of those before it.
pub(crate) async fn run(
    all: &[Middleware],
    request: &mut Arc<Parts>,
    added: &mut Pass,
) -> Option<Response<Body>> {
    for middleware in all {
        match catch_panic::future(async { (middleware.0)(Arc::clone(request)).await }).await {
            Some(Ok(Pass { headers, extensions })) => {
                added.headers.extend(headers);
                if !extensions.is_empty() {
                    Arc::make_mut(request).extensions.extend(extensions.clone());
                    added.extensions.extend(extensions);
                }
            }
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
