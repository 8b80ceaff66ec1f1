//! What operators ask a node: whether it lives, whether it takes clients, what it counts, and what it sees of its cluster.

mod answer;
mod cluster_state;
mod health;
mod metrics;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use self::answer::{body, text};
use self::health::Health;
use self::metrics::Format;
use crate::engine::Application;
use crate::http::server::Server;
use crate::http::{Body, Listener};
use crate::node::Node;

/// The admin surface of a node: a tower service for axum, hyper or any server that uses the `http` crate.
///
/// | Path | Answer |
/// | --- | --- |
/// | `/healthz` | 200 as long as the process answers |
/// | `/readyz` | 200 if the node takes new clients, else 503 with the reason: text, or JSON to who accepts that |
/// | `/metrics` | everything that is measured, for Prometheus or any reader of OpenMetrics |
/// | `/cluster` | what the node sees of its cluster, as JSON |
///
/// It answers GET and HEAD. Everybody who reaches it may read everything, so mount it where only operators do, or give it a
/// [token](Self::token). It has to be mounted at the root, or where the prefix is stripped (axum: `nest_service`).
///
/// ```
/// # fn f(node: socketmesh::Node) {
/// let service = node.admin(); // axum: Router::new().nest_service("/admin", node.admin())
/// # drop(service) }
/// ```
#[derive(Clone)]
pub struct Admin {
    node: Arc<dyn Observed>,
    token: Option<Arc<str>>,
}

/// A node whose application does not matter.
trait Observed: Send + Sync {
    fn health(&self) -> Health;
    fn metrics(&self, format: Format) -> Result<String, fmt::Error>;
    fn cluster(&self) -> serde_json::Value;
}

impl<A: Application> Observed for Node<A> {
    fn health(&self) -> Health {
        Health::of(self)
    }

    fn metrics(&self, format: Format) -> Result<String, fmt::Error> {
        metrics::encode(self, format)
    }

    fn cluster(&self) -> serde_json::Value {
        cluster_state::describe(self)
    }
}

impl<A: Application> Node<A> {
    /// What operators ask this node, as a service that is mounted wherever only they reach it.
    pub fn admin(&self) -> Admin {
        Admin { node: Arc::new(self.clone()), token: None }
    }

    /// Serves `admin` at a listener of its own until [`shutdown`](Self::shutdown), at its very end: a node that drains can be asked.
    pub async fn serve_admin(&self, admin: Admin, listener: impl Into<Listener>) {
        let counters = Arc::default();
        let answer = Arc::new(move |request: &Request<hyper::body::Incoming>| {
            admin.answer(request.method(), request.uri().path(), request.headers())
        });
        Server::serve(None, answer, counters, listener.into(), self.stopped()).await;
    }
}

impl Admin {
    /// Answers only those who bring this token (`Authorization: Bearer …`), but for `/healthz` and `/readyz`, which probes ask.
    #[must_use]
    pub fn token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => return text(StatusCode::OK, "ok"),
            "/readyz" => return self.node.health().answer(accepts(headers, "application/json")),
            _ if !self.admits(headers) => {
                let mut response = text(StatusCode::UNAUTHORIZED, "a token is needed");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                return response;
            }
            _ => {}
        }
        match path {
            "/metrics" => self.metrics(headers),
            "/cluster" => body(StatusCode::OK, "application/json", self.node.cluster().to_string()),
            _ => text(StatusCode::NOT_FOUND, "/healthz, /readyz, /metrics or /cluster"),
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Body> {
        let format = if accepts(headers, "application/openmetrics-text") {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        };
        match self.node.metrics(format) {
            Ok(metrics) => body(StatusCode::OK, format.content_type(), metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let brought = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        brought.is_some_and(|brought| is_equal(brought, token.as_bytes()))
    }
}

/// Compares in a time that depends on the lengths alone.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let different = one.iter().zip(other).fold(0, |different, (a, b)| different | (a ^ b));
    one.len() == other.len() && different == 0
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|item| item.trim().starts_with(media_type))
}

impl<B> tower_service::Service<Request<B>> for Admin {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path(), request.headers())))
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("has_token", &self.token.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole() {
        for (one, other, equal) in
            [("", "", true), ("abc", "abc", true), ("abc", "abd", false), ("ab", "abc", false)]
        {
            assert_eq!(is_equal(one.as_bytes(), other.as_bytes()), equal, "{one} {other}");
        }
    }
}
