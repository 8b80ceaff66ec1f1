//! What an application says to the requests of clients before and after the engine does: Node's `io.engine.use`, and the
//! events `connection_error`, `initial_headers` and `headers`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::body::Body;
use super::{reply, upgrade};
use crate::engine::HandshakeError;

/// Runs for every request of a client, upgrades included, at the node it reaches and before anything is decided: it lets
/// the request pass, perhaps with headers for its answer, or refuses it. Node: `io.engine.use(...)`.
///
/// CORS comes before it, so refusals can be read by pages; the files of the browser client are not asked about. It may
/// take its time: nothing but this request waits. A panic is answered 500.
///
/// A WebTransport session is asked about once, by its CONNECT, within `upgrade_timeout`; refused, it is answered 404, 429
/// or else 403. Node asks no middleware there.
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
/// let config = Config { middleware: vec![known], ..Config::default() };
/// ```
#[derive(Clone)]
pub struct Middleware(Arc<Run>);

type Run =
    dyn Fn(Arc<Parts>) -> Pin<Box<dyn Future<Output = Result<HeaderMap, Rejection>> + Send>> + Send + Sync;

impl Middleware {
    /// Runs `run`, which says `Ok` with headers to add to the answer, or why not.
    pub fn new<F, Fut>(run: F) -> Self
    where
        F: FnOnce(Arc<Parts>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderMap, Rejection>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin((run.clone())(request))))
    }
}

/// Why a [`Middleware`] refuses a request, and with what answer.
#[derive(Debug)]
pub struct Rejection(Answer);

#[derive(Debug)]
enum Answer {
    BadRequest(String),
    Own(Box<Response<Body>>),
}

impl Rejection {
    /// HTTP 400 with code 3, `Bad request`, as an error of a middleware in Node. The client is not told the reason;
    /// [`OnConnectionError`] is.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(Answer::BadRequest(reason.into()))
    }

    fn answer(self, upgrade: bool) -> Response<Body> {
        match self.0 {
            Answer::BadRequest(reason) => reply::refusal(&HandshakeError::Middleware { reason }, upgrade),
            Answer::Own(response) => *response,
        }
    }
}

/// An answer of your own, such as 401 or a redirect.
impl From<Response<Body>> for Rejection {
    fn from(response: Response<Body>) -> Self {
        Self(Answer::Own(Box::new(response)))
    }
}

/// Adds headers to answers. It must not block; what it panics with is logged.
#[derive(Clone)]
pub struct Headers(Arc<Add>);

type Add = dyn Fn(&mut HeaderMap, &Parts) + Send + Sync;

impl Headers {
    /// Calls `add` with the headers of the answer and the request.
    pub fn new(add: impl Fn(&mut HeaderMap, &Parts) + Send + Sync + 'static) -> Self {
        Self(Arc::new(add))
    }

    pub(crate) fn add(&self, response: &mut HeaderMap, request: &Parts) {
        told("an addition of headers", || (self.0)(response, request));
    }
}

/// Hears of every refused request. It must not block; what it panics with is logged. Node: the event `connection_error`
/// of `io.engine`.
///
/// ```
/// use socketmesh::http::{Config, OnConnectionError};
///
/// let log = OnConnectionError::new(|error| println!("{} {:?}", error.code(), error.context()));
/// let config = Config { on_connection_error: Some(log), ..Config::default() };
/// ```
#[derive(Clone)]
pub struct OnConnectionError(Arc<Hear>);

type Hear = dyn Fn(&ConnectionError<'_>) + Send + Sync;

impl OnConnectionError {
    /// Calls `hear` on the node that refuses: a request for a session is judged by the node that owns it.
    pub fn new(hear: impl Fn(&ConnectionError<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Passes on what `response` refuses, if it refuses anything.
    pub(crate) fn hear(&self, request: &Parts, response: &Response<Body>) {
        if let Some(Refused(error)) = response.extensions().get() {
            self.tell(request, error);
        }
    }

    pub(crate) fn tell(&self, request: &Parts, error: &HandshakeError) {
        told("a hearer of refusals", || (self.0)(&ConnectionError { request, error }));
    }
}

/// A request that was refused.
#[derive(Debug)]
pub struct ConnectionError<'a> {
    request: &'a Parts,
    error: &'a HandshakeError,
}

impl<'a> ConnectionError<'a> {
    /// The request, without its body.
    pub const fn request(&self) -> &'a Parts {
        self.request
    }

    /// Why.
    pub const fn error(&self) -> &'a HandshakeError {
        self.error
    }

    /// The code the client sees, 0 to 5.
    pub const fn code(&self) -> u8 {
        self.error.code()
    }

    /// The text the client sees.
    pub fn message(&self) -> &'a str {
        self.error.message()
    }

    /// What Node's `context` says: its most telling key, and the value.
    pub fn context(&self) -> (&'static str, String) {
        let name = |name: &str| ("name", name.to_owned());
        match self.error {
            HandshakeError::UnknownTransport { given } => ("transport", given.clone()),
            HandshakeError::UnknownSession => ("sid", self.asked_for("sid")),
            HandshakeError::BadMethod { given } => ("method", given.clone()),
            HandshakeError::InvalidOrigin => name("INVALID_ORIGIN"),
            HandshakeError::TransportMismatch => name("TRANSPORT_MISMATCH"),
            HandshakeError::ProtocolMismatch => name("PROTOCOL_MISMATCH"),
            HandshakeError::NotAnUpgrade => name("TRANSPORT_HANDSHAKE_ERROR"),
            HandshakeError::Middleware { .. } => name("MIDDLEWARE_FAILURE"),
            HandshakeError::Forbidden { message } => ("message", message.clone()),
            HandshakeError::UnsupportedProtocol => ("protocol", "3".to_owned()),
        }
    }

    fn asked_for(&self, key: &str) -> String {
        let query = self.request.uri.query().unwrap_or_default();
        let value = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key);
        value.map_or_else(String::new, |(_, value)| value.into_owned())
    }
}

/// Marks the answer that refuses a request.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) HandshakeError);

/// A request as an application may see it. The upgrade stays with the request.
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

/// Asks one after another; the first that refuses decides. What they add is in `added` even so.
pub(crate) async fn run(
    all: &[Middleware],
    request: &Arc<Parts>,
    added: &mut HeaderMap,
) -> Option<Response<Body>> {
    for middleware in all {
        match caught(|| (middleware.0)(Arc::clone(request))).await {
            Some(Ok(headers)) => added.extend(headers),
            Some(Err(rejection)) => return Some(rejection.answer(upgrade::is_asked_for(&request.headers))),
            None => return Some(reply::empty(StatusCode::INTERNAL_SERVER_ERROR)),
        }
    }
    None
}

/// Runs what a user wrote; `None` if it panicked.
pub(crate) async fn caught<T, F: Future<Output = T>>(start: impl FnOnce() -> F) -> Option<T> {
    let mut running = pin!(async move { start().await });
    let ended = std::future::poll_fn(|cx| {
        // What panicked is not polled again, so no broken state of it is seen.
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        }
    });
    let ended = ended.await;
    if ended.is_none() {
        tracing::error!("what decides about a request panicked");
    }
    ended
}

/// Tells a user's function; the panic hook has said what it panicked with.
fn told(what: &str, tell: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(tell)).is_err() {
        tracing::error!("{what} panicked");
    }
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

impl fmt::Debug for OnConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnConnectionError")
    }
}
