//! The CONNECT request of a WebTransport session.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Version};
use wtransport::endpoint::SessionRequest;

use crate::engine::{Handshake, Query};
use crate::http::request::{self, RemoteAddr, Secure};
use crate::trace::Span;

/// The head of a CONNECT request, in the form in which middleware sees every request.
pub(super) struct ConnectRequest(pub(super) Arc<Parts>);

impl ConnectRequest {
    /// `None` if the path is not a URI.
    pub(super) fn new(request: &SessionRequest) -> Option<Self> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::CONNECT;
        parts.uri = request.path().parse().ok()?;
        parts.version = Version::HTTP_3;
        parts.extensions.insert(RemoteAddr(request.remote_address()));
        parts.extensions.insert(Secure(true));
        let pairs = request.headers().iter().filter(|(name, _)| !name.starts_with(':'));
        let host = (HOST.as_str(), request.authority());
        parts.headers = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain([host])
            .filter_map(|(name, value)| {
                Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
            })
            .collect();
        Some(Self(Arc::new(parts)))
    }

    pub(super) fn span(&self, node: &str) -> Span {
        let Parts { method, uri, version, headers, .. } = &*self.0;
        Span::request(method, uri, *version, headers, node)
    }

    pub(super) fn path(&self) -> &str {
        self.0.uri.path()
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.extensions.get::<RemoteAddr>().map(|address| address.0)
    }

    /// What the application may know of the request.
    pub(super) fn handshake(&self) -> Arc<Handshake> {
        let query = Query::of_webtransport(self.0.uri.query().unwrap_or_default());
        Arc::new(request::handshake(&self.0.headers, &self.0.uri, &self.0.extensions, &query))
    }
}

/// Refuses the session with `status`, or with 403 where the QUIC library does not offer it.
pub(super) async fn refuse(request: SessionRequest, status: StatusCode) {
    match status {
        StatusCode::NOT_FOUND => request.not_found().await,
        StatusCode::TOO_MANY_REQUESTS => request.too_many_requests().await,
        _ => request.forbidden().await,
    }
}
