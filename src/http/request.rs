//! A request of a client on its way through this layer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::header::{COOKIE, HOST, HeaderValue, UPGRADE};
use hyper::http::Extensions;
use hyper::{HeaderMap, Request, Uri};

use super::drain_body::DrainBody;
use crate::engine::websocket::asks_for_websocket;
use crate::engine::{Handshake, Query, Way};
use crate::trace::Span;

/// The address of a client. The server that takes the connection puts it into the extensions of each request.
///
/// ```
/// # fn f<B>(mut request: hyper::Request<B>, peer: std::net::SocketAddr) {
/// request.extensions_mut().insert(socketmesh::http::RemoteAddr(peer));
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RemoteAddr(pub SocketAddr);

/// Whether a client came over TLS. The server that takes the connection puts it into the extensions of each request;
/// without it, the scheme of the request's URI decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secure(pub bool);

/// A request for a session, with its query parsed once.
pub(crate) struct ClientRequest {
    pub(crate) http: Request<DrainBody>,
    pub(crate) query: Query,
    /// The way through another node; `None` if the client is connected to this one.
    pub(crate) way: Option<Arc<dyn Way>>,
}

impl ClientRequest {
    /// In a box: it is large, and what answers it is made of many futures, each of which would have room for it.
    pub(crate) fn new(http: Request<DrainBody>, way: Option<Arc<dyn Way>>) -> Box<Self> {
        let query = Query::parse(http.uri().query().unwrap_or_default());
        Box::new(Self { http, query, way })
    }

    /// Whether the request asks to become a WebSocket.
    pub(crate) fn is_upgrade(&self) -> bool {
        asks_for_websocket(&self.http)
    }

    /// The address that the connection came from, if it is known.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.http.extensions().get::<RemoteAddr>().map(|address| address.0)
    }

    /// Whether the client came over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        is_secure(self.http.uri(), self.http.extensions())
    }

    /// What the application may know of the request.
    pub(crate) fn handshake(&self) -> Handshake {
        let http = &self.http;
        handshake(http.headers(), http.uri(), http.extensions(), &self.query)
    }
}

/// What the application may know of a request that opens a session.
pub(crate) fn handshake(headers: &HeaderMap, uri: &Uri, extensions: &Extensions, query: &Query) -> Handshake {
    let address = extensions.get::<RemoteAddr>().map(|address| address.0);
    let secure = is_secure(uri, extensions);
    let url = uri.path_and_query().map_or("", |url| url.as_str());
    #[expect(clippy::disallowed_methods, reason = "the one place that dates a handshake")]
    let issued = SystemTime::now();
    Handshake::new(headers, url, query, address, secure, issued)
}

fn is_secure(uri: &Uri, extensions: &Extensions) -> bool {
    extensions.get::<Secure>().map_or_else(|| uri.scheme_str() == Some("https"), |secure| secure.0)
}

/// The span of a request at this node.
pub(crate) fn span<B>(request: &Request<B>, node: &str) -> Span {
    Span::request(request.method(), request.uri(), request.version(), request.headers(), node)
}

/// Decides where a request arrives whether it upgrades its connection, so that the answer is the same whichever node owns the
/// session: what does not ask for a WebSocket is an ordinary request.
pub(crate) fn settle_upgrade<B>(request: &mut Request<B>) {
    if !asks_for_websocket(request) {
        request.headers_mut().remove(UPGRADE);
    }
}

/// Rewrites what HTTP/2 expresses in its own way to the form of HTTP/1.1 (RFC 9113, sections 8.3.1 and 8.2.3), so that
/// nothing behind it has to know the difference.
pub(crate) fn normalize_http2<B>(request: &mut Request<B>) {
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let headers = request.headers_mut();
    if let Some(host) = host {
        headers.insert(HOST, host);
    }
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}
