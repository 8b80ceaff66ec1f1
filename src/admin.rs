//! What operators ask a node: whether it lives, whether it takes clients, what it counts, and what it sees of its cluster; as text
//! for programs, and as a page for people.

mod answer;
mod cluster_state;
mod cross_site;
mod health;
mod metrics;
mod page;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::answer::{body, json, text};
use self::health::Health;
use self::metrics::Format;
use crate::engine::Application;
use crate::http::server::{Answering, Server};
use crate::http::{Body, Listener, RemoteAddr};
use crate::id::SocketId;
use crate::node::operators::NoAnswer;
use crate::node::{Node, OnDrain};

/// The admin surface of a node: a tower service for axum, hyper or any server that uses the `http` crate.
///
/// | Path | Answer |
/// | --- | --- |
/// | `/` | a page that shows the cluster to people |
/// | `/healthz` | 200 as long as the process answers |
/// | `/readyz` | 200 if the node takes new clients, else 503 with the reason: text, or JSON to who accepts that |
/// | `/metrics` | everything that is measured, for Prometheus or any reader of OpenMetrics |
/// | `/cluster` | what the node sees of its cluster, and what each member says of itself, as JSON |
/// | `/rooms` | the largest rooms of the cluster, as JSON |
/// | `/sockets/ID` | what is known about a socket, whichever node has it, as JSON |
///
/// It answers GET and HEAD, and POST where operators may [stop nodes](Self::drain). Everybody who reaches it may read
/// everything, so mount it where only operators do, or give it a [token](Self::token). It has to be mounted at the root, or
/// where the prefix is stripped (axum: `nest_service`).
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
    drain: Option<Arc<OnDrain>>,
    /// The last state of the cluster and its time: one is collected at a time, for all who ask.
    cluster: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A node whose application does not matter.
trait Observed: Send + Sync {
    fn name(&self) -> String;
    fn health(&self) -> Health;
    fn metrics(&self, format: Format) -> Result<String, fmt::Error>;
    fn cluster(&self) -> Pending<Value>;
    fn largest_rooms(&self, most: usize) -> Pending<Value>;
    fn socket(&self, id: SocketId) -> Pending<Result<Value, NoAnswer>>;
    fn drain(&self, node: String, by: String) -> Pending<Result<Value, (StatusCode, String)>>;
    fn on_drain(&self, drain: &Arc<OnDrain>);
}

impl<A: Application> Observed for Node<A> {
    fn name(&self) -> String {
        self.id().to_string()
    }

    fn health(&self) -> Health {
        Health::of(self)
    }

    fn metrics(&self, format: Format) -> Result<String, fmt::Error> {
        metrics::encode(self, format)
    }

    fn cluster(&self) -> Pending<Value> {
        let node = self.clone();
        Box::pin(async move { cluster_state::describe(&node).await })
    }

    fn largest_rooms(&self, most: usize) -> Pending<Value> {
        let node = self.clone();
        Box::pin(async move { cluster_state::largest_rooms(&node, most).await })
    }

    fn socket(&self, id: SocketId) -> Pending<Result<Value, NoAnswer>> {
        let node = self.clone();
        Box::pin(async move { cluster_state::socket(&node, id).await })
    }

    fn drain(&self, name: String, by: String) -> Pending<Result<Value, (StatusCode, String)>> {
        let node = self.clone();
        Box::pin(async move { cluster_state::drain(&node, &name, by).await })
    }

    fn on_drain(&self, drain: &Arc<OnDrain>) {
        Self::on_drain(self, drain);
    }
}

impl<A: Application> Node<A> {
    /// What operators ask this node, as a service that is mounted wherever only they reach it.
    pub fn admin(&self) -> Admin {
        Admin { node: Arc::new(self.clone()), token: None, drain: None, cluster: Arc::default() }
    }

    /// Serves `admin` at a listener of its own until [`shutdown`](Self::shutdown), at its very end: a node that drains can be asked.
    pub async fn serve_admin(&self, admin: Admin, listener: impl Into<Listener>) {
        let counters = Arc::default();
        let answer = Arc::new(move |request: Request<hyper::body::Incoming>| {
            let (admin, (asked, _body)) = (admin.clone(), request.into_parts());
            Box::pin(async move { admin.answer(asked).await }) as Answering
        });
        Server::serve(None, answer, counters, listener.into(), self.stopped()).await;
    }
}

impl Admin {
    /// Answers only those who bring this token (`Authorization: Bearer …`), but for `/healthz` and `/readyz`, which probes ask,
    /// and the page, which asks for the token itself.
    #[must_use]
    pub fn token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Lets operators ask nodes to stop, with `POST /drain?node=NAME`. What this node does then is `drain`, which is told who
    /// asks: usually what it does on SIGTERM. It must not block.
    ///
    /// A member is asked through any other one, so who may ask one node may ask all that take part in this. A node takes part
    /// as long as its surface, or a clone of it, lives.
    ///
    /// Pages of other sites must not ask. With a [token](Self::token) they cannot. Without one, only this machine may ask, by
    /// its own name or address, and with the header `x-socketmesh-operator`, which a browser sends to no other site.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tokio::sync::Notify;
    ///
    /// # fn f(node: socketmesh::Node) {
    /// let stop = Arc::new(Notify::new());
    /// let asked = Arc::clone(&stop);
    /// let admin = node.admin().drain(move |by| {
    ///     println!("{by} asks this node to stop");
    ///     asked.notify_one(); // whoever waits for `stop` calls `node.drain(…)`
    /// });
    /// # drop((admin, stop)) }
    /// ```
    #[must_use]
    pub fn drain(mut self, drain: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let drain: Arc<OnDrain> = Arc::new(drain);
        self.node.on_drain(&drain);
        self.drain = Some(drain);
        self
    }

    async fn answer(&self, asked: Parts) -> Response<Body> {
        let (headers, path) = (&asked.headers, asked.uri.path());
        let is_drain = path == "/drain" && self.drain.is_some();
        match asked.method {
            Method::POST if is_drain => {}
            Method::GET | Method::HEAD if !is_drain => {}
            _ => return not_allowed(if is_drain { "POST" } else { "GET, HEAD" }),
        }
        match path {
            "/" => return page::answer(),
            "/healthz" => return text(StatusCode::OK, "ok"),
            "/readyz" => return self.node.health().answer(accepts(headers, "application/json")),
            _ if !self.admits(headers) => {
                let mut response = text(StatusCode::UNAUTHORIZED, "a token is needed");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                return response;
            }
            _ => {}
        }
        match (path, path.strip_prefix("/sockets/")) {
            ("/metrics", _) => self.metrics(headers),
            ("/cluster", _) => self.cluster().await,
            ("/rooms", _) => {
                let most = query(&asked, "limit").and_then(|most| most.parse().ok()).unwrap_or(ROOMS);
                json(&self.node.largest_rooms(most).await)
            }
            ("/drain", _) => self.pass_on_drain(&asked).await,
            (_, Some(id)) => self.socket(id).await,
            _ => {
                text(StatusCode::NOT_FOUND, "/, /healthz, /readyz, /metrics, /cluster, /rooms or /sockets/ID")
            }
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

    async fn cluster(&self) -> Response<Body> {
        let mut last = self.cluster.lock().await;
        let state = match &*last {
            Some((at, state)) if at.elapsed() < FRESH => state.clone(),
            _ => {
                let state = Bytes::from(self.node.cluster().await.to_string());
                *last = Some((Instant::now(), state.clone()));
                state
            }
        };
        drop(last);
        body(StatusCode::OK, "application/json", state)
    }

    async fn socket(&self, id: &str) -> Response<Body> {
        let Ok(id) = id.parse() else {
            return text(StatusCode::BAD_REQUEST, "a socket id has 20 characters");
        };
        match self.node.socket(id).await {
            Ok(socket) => json(&socket),
            Err(error) => text(error.status(), error.to_string()),
        }
    }

    async fn pass_on_drain(&self, asked: &Parts) -> Response<Body> {
        if self.token.is_none()
            && let Err(why) = cross_site::refuse(asked)
        {
            return text(StatusCode::FORBIDDEN, why);
        }
        let Some(node) = query(asked, "node") else {
            return text(StatusCode::BAD_REQUEST, "which node: /drain?node=NAME");
        };
        let from = asked.extensions.get::<RemoteAddr>().map(|RemoteAddr(address)| address.to_string());
        let by = format!("{} at {}", from.as_deref().unwrap_or("somebody"), self.node.name());
        match self.node.drain(node, by).await {
            Ok(answer) => json(&answer),
            Err((status, why)) => text(status, why),
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let brought = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        brought.is_some_and(|brought| is_equal(brought, token.as_bytes()))
    }
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, methods);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// The first value of a key of the query.
fn query(asked: &Parts, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(asked.uri.query().unwrap_or_default().as_bytes());
    pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
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
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (admin, (asked, _body)) = (self.clone(), request.into_parts());
        Box::pin(async move { Ok(admin.answer(asked).await) })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("has_token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// How old a state of the cluster may be that is told once more.
const FRESH: Duration = Duration::from_millis(500);
/// How many rooms are told to who does not say it.
const ROOMS: usize = 20;

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
