//! HTTP: routes each request to the session it is for, on this node or another.
//!
//! ```text
//!   request ──► CORS ──► client files
//!                  └──► middleware ──► whose sid? ── another node's ──► forward (HTTP over a stream of the mesh)
//!                                           └── ours, or none ──► verify ──► polling | upgrade ──► engine
//! ```
//!
//! The node that a request reaches is its edge: it applies CORS and
//! middleware. The node that owns the session interprets it: limits,
//! overlaps and heartbeats are decided there, so they do not depend on which edges a client's requests take.

pub(crate) mod body;
mod certificate;
mod client_files;
mod compression;
mod config;
mod cors;
pub(crate) mod exchange;
mod forward;
mod jsonp;
mod linger;
mod listener;
mod middleware;
mod polling;
mod reply;
pub(crate) mod server;
pub(crate) mod stream;
mod streams;
mod tls;
mod upgrade;
pub(crate) mod webtransport;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::{COOKIE, HOST, HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};

use crate::cluster::{Mesh, SessionOwner};
use crate::engine::{
    self, Application, Engine, Handshake, HandshakeError, Opening, Query, SessionRef, Transport, Verified,
    verify,
};
use crate::id::NodeId;
use linger::Lingering;

pub use body::Body;
pub use certificate::{Certificate, CertificateError};
pub use client_files::CLIENT_VERSION;
pub use config::{AllowRequest, ClientFiles, Config, Cookie, SameSite};
pub use cors::Cors;
pub use hyper::http::request::Parts;
pub use listener::Listener;
pub use middleware::{ConnectionError, Headers, Middleware, OnConnectionError, Rejection};
pub use server::not_found;
pub use tls::Tls;
pub use webtransport::WebTransportListener;

/// Any error of a request's body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers the requests of Engine.IO clients: a tower service for axum, hyper or anything that speaks `http`.
///
/// It answers every request it is given, whatever the path: the path is where it is mounted. It needs HTTP upgrades,
/// which axum's `serve` provides.
///
/// ```
/// # fn f(node: socketmesh::Node) {
/// let service = node.service(); // axum: Router::new().nest_service("/socket.io", node.service())
/// # drop(service) }
/// ```
pub struct Service<A: Application> {
    shared: Arc<Shared<A>>,
    /// Serves what other nodes forward: their edge did what an edge does.
    forwarded: bool,
}

struct Shared<A: Application> {
    node: NodeId,
    engine: Arc<Engine<A>>,
    cluster: Option<Arc<Mesh>>,
    config: Config,
}

/// The address of the client, if whoever serves the connection puts it into a request's extensions.
///
/// ```
/// # fn f<B>(mut request: hyper::Request<B>, peer: std::net::SocketAddr) {
/// request.extensions_mut().insert(socketmesh::http::RemoteAddr(peer));
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RemoteAddr(pub SocketAddr);

/// Whether the client came over TLS, if whoever serves the connection puts it into a request's extensions; otherwise the
/// request's URI says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secure(pub bool);

impl<A: Application> Service<A> {
    pub(crate) fn new(
        node: NodeId,
        engine: Arc<Engine<A>>,
        cluster: Option<Arc<Mesh>>,
        config: Config,
    ) -> Self {
        Self { shared: Arc::new(Shared { node, engine, cluster, config }), forwarded: false }
    }

    /// The same service for requests that another node forwarded here.
    pub(crate) fn for_forwarded(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), forwarded: true }
    }

    /// A reference that keeps nothing alive.
    pub(crate) fn downgrade(&self) -> WeakService<A> {
        WeakService(Arc::downgrade(&self.shared))
    }

    /// Answers one request. Dropping the future is the client's abort.
    pub(crate) async fn respond<B>(self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let mut request = request.map(Lingering::new);
        if request.version() == Version::HTTP_2 {
            say_as_http1(&mut request);
        }
        if !self.forwarded {
            webtransport::disown(request.headers_mut());
        }
        let config = &self.shared.config;
        let seen = config.watches().then(|| middleware::head(&request));
        let response = match &seen {
            _ if self.forwarded && webtransport::is_carried(request.headers()) => {
                webtransport::adopt(&self.shared.engine, request)
            }
            _ if self.forwarded => self.shared.own(request).await,
            seen => self.shared.edge(request, seen.as_ref()).await,
        };
        if let (Some(seen), Some(hearer)) = (&seen, &config.on_connection_error) {
            hearer.hear(seen, &response);
        }
        response
    }
}

impl<A: Application> Shared<A> {
    /// What the node does that the client's connection ends at.
    async fn edge<B>(&self, request: Request<B>, seen: Option<&Arc<Parts>>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let headers = self.config.cors.as_ref().map(|_| request.headers().clone());
        let mut response = match (&self.config.cors, &headers) {
            (Some(cors), Some(headers)) if request.method() == Method::OPTIONS => {
                return cors.preflight(headers);
            }
            _ => {
                let (method, path) = (request.method(), request.uri().path());
                let file = client_files::serve(&self.config.client, method, path, request.headers()).await;
                match (file, seen) {
                    (Some(file), _) => file,
                    (None, Some(seen)) => self.watched(request, seen).await,
                    (None, None) => self.route(request).await,
                }
            }
        };
        if let (Some(cors), Some(headers)) = (&self.config.cors, &headers) {
            cors.apply(headers, response.headers_mut());
        }
        if self.config.expose_node
            && let Ok(node) = HeaderValue::from_str(self.node.as_str())
        {
            response.headers_mut().insert("x-socketmesh-node", node);
        }
        response
    }

    /// A request, with what the application says to it before and after.
    async fn watched<B>(&self, request: Request<B>, seen: &Arc<Parts>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let mut added = HeaderMap::new();
        let mut response = match middleware::run(&self.config.middleware, seen, &mut added).await {
            Some(refusal) => refusal,
            None => self.route(request).await,
        };
        // As in Node, what the engine says overrides.
        added.extend(std::mem::take(response.headers_mut()));
        *response.headers_mut() = added;
        if matches!(response.status(), StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS) {
            let opens = Query::parse(seen.uri.query().unwrap_or_default()).sid() == Ok(None);
            let initial = self.config.initial_headers.as_ref().filter(|_| opens);
            for headers in initial.into_iter().chain(&self.config.headers) {
                headers.add(response.headers_mut(), seen);
            }
        }
        response
    }

    async fn route<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        if let Some(cluster) = &self.cluster {
            match query.sid() {
                Ok(Some(sid)) => {
                    if let SessionOwner::There(owner) = cluster.owner(sid.key()) {
                        if self.is_too_large(&request) {
                            return reply::empty(StatusCode::PAYLOAD_TOO_LARGE);
                        }
                        return forward::forward(cluster, &owner, request).await;
                    }
                }
                Ok(None) if !cluster.is_ready() => {
                    return reply::unavailable("this node is joining its cluster");
                }
                Ok(None) | Err(_) => {}
            }
        }
        self.own(request).await
    }

    /// Whether a request announces a body that its owner would refuse. Said at the edge, because an owner that stops
    /// reading early breaks the stream that carries it.
    fn is_too_large<B: HttpBody>(&self, request: &Request<B>) -> bool {
        request.body().size_hint().lower() > self.engine.config().max_payload as u64
    }

    /// A request for a session of this node, or for a new one.
    async fn own<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let upgrade = upgrade::is_asked_for(request.headers());
        let asked =
            engine::Request { query: &query, method: request.method(), headers: request.headers(), upgrade };
        let mut found = None;
        let find = |sid| {
            found = self.engine.find(sid);
            found.as_ref().map(SessionRef::known)
        };
        match verify(&asked, self.engine.config(), find) {
            Ok(Verified::Open(opening)) => self.open(opening, query, request).await,
            Ok(Verified::Resume(_)) => match found {
                Some(session) if upgrade => upgrade::resume(&session, request, query.b64()),
                Some(session) => polling::respond(&session, request).await,
                None => reply::refusal(&HandshakeError::UnknownSession, upgrade),
            },
            Ok(Verified::Misplaced) => upgrade::misplaced(request),
            Err(error) => reply::refusal(&error, upgrade),
        }
    }

    async fn open<B: Send>(&self, opening: Opening, query: Query, request: Request<B>) -> Response<Body> {
        let upgrade = opening.transport() == Transport::WebSocket;
        let handshake = Arc::new(handshake(&request, query));
        if let Some(allow) = &self.config.allow_request {
            match allow.ask(Arc::clone(&handshake)).await {
                Some(Ok(())) => {}
                Some(Err(message)) => {
                    let message = if message.is_empty() { "Forbidden".to_owned() } else { message };
                    return reply::refusal(&HandshakeError::Forbidden { message }, upgrade);
                }
                None => return reply::empty(StatusCode::INTERNAL_SERVER_ERROR),
            }
        }
        let transport = match opening.admit(self.engine.config()) {
            Ok(transport) => transport,
            Err(error) => return reply::refusal(&error, upgrade),
        };
        if upgrade {
            return upgrade::open(&self.engine, handshake, request).await;
        }
        let headers = request.headers();
        match self.engine.open(handshake, transport).await {
            Ok(opened) => {
                let mut response = polling::poll(&opened.session, headers).await;
                if let Some(cookie) = &self.config.cookie
                    && let Ok(cookie) = HeaderValue::from_str(&cookie.header(opened.session.id()))
                {
                    response.headers_mut().insert(SET_COOKIE, cookie);
                }
                response
            }
            Err(error) => {
                tracing::error!(%error, "no session could be opened");
                reply::unavailable("no session could be opened")
            }
        }
    }
}

/// A [`Service`] that may be gone.
pub(crate) struct WeakService<A: Application>(Weak<Shared<A>>);

impl<A: Application> WeakService<A> {
    pub(crate) fn upgrade(&self) -> Option<Service<A>> {
        Some(Service { shared: self.0.upgrade()?, forwarded: false })
    }
}

/// What HTTP/2 says in other words (RFC 9113, sections 8.3.1 and 8.2.3): nobody else has to know.
fn say_as_http1<B>(request: &mut Request<B>) {
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let headers = request.headers_mut();
    if let Some(host) = host {
        headers.entry(HOST).or_insert(host);
    }
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}

/// What applications may know of the request that opens a session.
fn handshake<B>(request: &Request<B>, query: Query) -> Handshake {
    let address = request.extensions().get::<RemoteAddr>().map(|address| address.0);
    let url = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let secure = request.extensions().get::<Secure>();
    let secure = secure.map_or_else(|| request.uri().scheme_str() == Some("https"), |secure| secure.0);
    #[expect(clippy::disallowed_methods, reason = "the one place that dates a handshake")]
    let issued = SystemTime::now();
    Handshake::new(request.headers().clone(), url, query, address, secure, issued)
}

impl<A, B> tower_service::Service<Request<B>> for Service<A>
where
    A: Application,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.respond(request).await) })
    }
}

impl<A: Application> Clone for Service<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), forwarded: self.forwarded }
    }
}

impl<A: Application> fmt::Debug for Service<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("node", &self.shared.node).finish_non_exhaustive()
    }
}
