//! A request of a client on its way through this layer.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::header::{COOKIE, HOST, HeaderValue, UPGRADE};
use hyper::http::Extensions;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Uri};

use super::drain_body::DrainBody;
use super::upgraded::Handover;
use crate::engine::websocket::asks_for_websocket;
use crate::engine::{Handshake, Query, Way};
use crate::trace::Span;

/// The address of a client. The server that takes the connection puts it into the extensions of each request. In axum, with the
/// feature `axum`, its own `ConnectInfo<SocketAddr>` does as well.
///
/// ```
/// # fn f<B>(mut request: hyper::Request<B>, peer: std::net::SocketAddr) {
/// request.extensions_mut().insert(socketmesh::http::RemoteAddr(peer));
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RemoteAddr(pub SocketAddr);

/// Whether a client came over TLS. The server that takes the connection puts it into the extensions of each request; without
/// it the client did not: what a request says itself is the word of its client.
///
/// ```
/// # fn f<B>(mut request: hyper::Request<B>) {
/// request.extensions_mut().insert(socketmesh::http::Secure(true));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secure(pub bool);

/// A request for a session, with its query parsed once.
pub(crate) struct ClientRequest {
    pub(crate) http: Request<DrainBody>,
    pub(crate) query: Query,
    /// The way through another node; `None` if the client is connected to this one.
    pub(crate) way: Option<Arc<dyn Way>>,
    /// It asks for more than an answer over HTTP, for a page that may not have that.
    pub(crate) trespasses: bool,
}

impl ClientRequest {
    /// In a box: it is large, and what answers it is made of many futures, each of which would have room for it.
    pub(crate) fn new(http: Request<DrainBody>, way: Option<Arc<dyn Way>>) -> Box<Self> {
        let query = Query::parse(http.uri().query().unwrap_or_default());
        Box::new(Self { http, query, way, trespasses: false })
    }

    /// What `look` makes of the head.
    pub(crate) fn with_head<T>(&mut self, look: impl FnOnce(&Parts) -> T) -> T {
        let (head, body) = mem::take(&mut self.http).into_parts();
        let seen = look(&head);
        self.http = Request::from_parts(head, body);
        seen
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
        is_secure(self.http.extensions())
    }

    /// Whether it asks for a session.
    pub(crate) fn opens(&self) -> bool {
        self.query.sid() == Ok(None)
    }

    /// Whether another node can open the session that it asks for: what layers and middleware said of it cannot travel, which matters
    /// where the application asks for that.
    pub(crate) fn may_travel(&self) -> bool {
        *self.http.method() == Method::GET
            && (!Handshake::extensions_matter() || said(self.http.extensions()).is_empty())
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
    let secure = is_secure(extensions);
    let url = uri.path_and_query().map_or("", |url| url.as_str());
    #[expect(clippy::disallowed_methods, reason = "the one place that dates a handshake")]
    let issued = SystemTime::now();
    Handshake::new(headers, url, query, address, secure, issued).with_extensions(said(extensions))
}

fn is_secure(extensions: &Extensions) -> bool {
    extensions.get() == Some(&Secure(true))
}

/// What layers and middleware said of a request. What this layer knows is not part of it; the upgrade stays with the request.
fn said(extensions: &Extensions) -> Extensions {
    let known = [
        extensions.get::<RemoteAddr>().is_some(),
        extensions.get::<Secure>().is_some(),
        extensions.get::<OnUpgrade>().is_some(),
        extensions.get::<Handover>().is_some(),
    ];
    // Nothing takes no memory.
    if extensions.len() == known.into_iter().filter(|is_there| *is_there).count() {
        return Extensions::new();
    }
    let mut said = extensions.clone();
    said.remove::<RemoteAddr>();
    said.remove::<Secure>();
    said.remove::<OnUpgrade>();
    said.remove::<Handover>();
    said
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_gets_what_layers_said_and_nothing_of_this_one() {
        let mut extensions = Extensions::new();
        extensions.insert(RemoteAddr(([192, 0, 2, 1], 1).into()));
        extensions.insert(Secure(true));
        assert!(said(&extensions).is_empty());
        extensions.insert("a user");
        let said = said(&extensions);
        assert_eq!((said.len(), said.get::<&str>()), (1, Some(&"a user")));
        assert!(is_secure(&extensions) && !is_secure(&said));
    }
}
