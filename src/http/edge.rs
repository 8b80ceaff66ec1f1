//! The edge: what the node does at which the connection of a client ends, whichever node owns the session.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Body as _;
use hyper::header::{CONNECTION, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::body::Body;
use super::config::Config;
use super::cors::Chosen;
use super::counters::HttpCounters;
use super::drain_body::DrainBody;
use super::forward::Forwarder;
use super::middleware::{self, Pass};
use super::owner::Owner;
use super::refusal::Refusal;
use super::request::{self, ClientRequest};
use super::{client_files, host, node_request, reply};
use crate::cluster::{Mesh, NodeState, SessionOwner};
use crate::engine::{Application, HandshakeError, Way};
use crate::id::NodeId;

/// Answers the requests of the clients that are connected to this node: CORS, client files and middleware here, and the
/// session here or on the node that owns it.
pub(crate) struct Edge<A: Application> {
    node: NodeId,
    forwarder: Option<Forwarder>,
    owner: Arc<Owner<A>>,
    config: Arc<Config>,
    /// Whether this node is stopping.
    draining: AtomicBool,
}

impl<A: Application> Edge<A> {
    pub(crate) fn new(
        node: NodeId,
        cluster: Option<Arc<Mesh>>,
        owner: Arc<Owner<A>>,
        config: Arc<Config>,
    ) -> Self {
        let forwarder = cluster.map(|mesh| Forwarder::new(mesh, Arc::clone(owner.counters())));
        Self { node, forwarder, owner, config, draining: AtomicBool::new(false) }
    }

    pub(crate) const fn node(&self) -> &NodeId {
        &self.node
    }

    pub(crate) fn cluster(&self) -> Option<&Arc<Mesh>> {
        self.forwarder.as_ref().map(Forwarder::mesh)
    }

    /// Who carries requests to other nodes, in a cluster.
    #[cfg_attr(not(feature = "webtransport"), expect(dead_code, reason = "only WebTransport needs it"))]
    pub(crate) const fn forwarder(&self) -> Option<&Forwarder> {
        self.forwarder.as_ref()
    }

    /// The owner of the sessions of this node.
    #[cfg_attr(not(feature = "webtransport"), expect(dead_code, reason = "only WebTransport needs it"))]
    pub(crate) const fn owner(&self) -> &Arc<Owner<A>> {
        &self.owner
    }

    pub(crate) fn counters(&self) -> &Arc<HttpCounters> {
        self.owner.counters()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Why this node opens no sessions now; `None` if it does.
    pub(crate) fn refuses_clients(&self) -> Option<&'static str> {
        let cluster = self.cluster();
        let state = match cluster {
            _ if self.is_draining() => NodeState::Draining,
            Some(cluster) if cluster.has_failed() => {
                return Some("this node has failed: it takes no clients any more");
            }
            Some(cluster) => *cluster.state().borrow(),
            None => NodeState::Ready,
        };
        match state {
            NodeState::Ready => None,
            NodeState::Joining => Some("this node is joining its cluster: it takes no clients yet"),
            NodeState::Hung => Some("the application of this node hangs: it takes no clients now"),
            NodeState::Draining => Some("this node is stopping: it takes no new clients"),
        }
    }

    /// Answers what load balancers ask, unless that is off: whether the node lives, and whether it takes new clients.
    pub(crate) fn probed<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        if !self.config.health || !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        match (request.uri().path(), self.refuses_clients()) {
            ("/healthz", _) => Some(Response::new(Body::from("ok\n"))),
            ("/readyz", None) => Some(Response::new(Body::from("ready\n"))),
            ("/readyz", Some(why)) => Some(reply::unavailable(why)),
            _ => None,
        }
    }

    /// Takes no new clients from now on, and lets load balancers go: connections end after their next answer.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        if let Some(forwarder) = &self.forwarder {
            forwarder.announce();
        }
    }

    /// Why no session is opened here even for a client that no other node takes. A node that drains opens some to the end: for such a
    /// client a session that is short is better than none.
    pub(crate) fn refuses_strays(&self) -> Option<&'static str> {
        let why = self.refuses_clients()?;
        let takes = self.is_draining() && self.forwarder.is_some() && !self.owner.engine().is_closing();
        (!takes).then_some(why)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How many requests this node carries to the owners of their sessions now.
    pub(crate) fn carried(&self) -> usize {
        self.forwarder.as_ref().map_or(0, Forwarder::carried)
    }

    /// Lets go of what this node carries for others over `time`, one after another, or until nothing is carried.
    pub(crate) async fn retire(&self, time: Duration) {
        if let Some(forwarder) = &self.forwarder {
            forwarder.retire(time).await;
        }
    }

    /// Ends the requests that this node carries for others: polls are given back to their clients, the rest is waited for.
    /// Returns how many have no answer.
    pub(crate) async fn stop(&self) -> usize {
        match &self.forwarder {
            Some(forwarder) => forwarder.stop().await,
            None => 0,
        }
    }

    /// A request of a client as everything behind this expects it; `None` if it is for somebody else.
    pub(crate) fn receive(&self, mut request: Request<DrainBody>) -> Option<Box<ClientRequest>> {
        if !host::take_over(&mut request) {
            return None;
        }
        if request.version() == Version::HTTP_2 {
            request::normalize_http2(&mut request);
        }
        request::settle_upgrade(&mut request);
        node_request::remove_tokens(request.headers_mut());
        // Its client may have come through proxies.
        let (mut head, body) = request.into_parts();
        self.config.trusted_proxies.look_behind(&mut head.headers, &mut head.extensions);
        Some(ClientRequest::new(Request::from_parts(head, body), None))
    }

    /// Answers one request of a client. Dropping the future is the client's abort.
    pub(crate) async fn respond(&self, request: Box<ClientRequest>) -> Response<Body> {
        let version = request.http.version();
        let span = request::span(&request.http, self.node.as_str());
        let mut response = span.scope(self.respond_with_cors(request)).await;
        span.answered(response.status());
        if self.is_draining()
            && version < Version::HTTP_2
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn respond_with_cors(&self, mut request: Box<ClientRequest>) -> Response<Body> {
        let Some(cors) = self.cors(&mut request) else { return self.respond_to_any_origin(request).await };
        let headers = request.http.headers();
        if request.http.method() == Method::OPTIONS {
            return cors.preflight(headers);
        }
        let origin = headers.get(ORIGIN).cloned();
        request.trespasses = request.is_upgrade() && !cors.admits(headers, request.is_secure());
        let mut response = self.respond_to_any_origin(request).await;
        cors.apply(origin.as_ref(), response.headers_mut());
        response
    }

    fn cors(&self, request: &mut ClientRequest) -> Option<Chosen<'_>> {
        let cors = self.config.cors.as_ref()?;
        if cors.is_chosen() { request.with_head(|head| cors.of(head)) } else { Some(Chosen::Same(cors)) }
    }

    async fn respond_to_any_origin(&self, request: Box<ClientRequest>) -> Response<Body> {
        let http = &request.http;
        let file = client_files::serve(&self.config.client, http.uri().path(), http.headers()).await;
        let mut response = match file {
            Some(file) => file,
            None => self.serve(request).await,
        };
        if self.config.expose_node
            && let Ok(node) = HeaderValue::from_str(self.node.as_str())
        {
            response.headers_mut().insert("x-socketmesh-node", node);
        }
        response
    }

    /// Answers a request for a session, or for a new one. A refusal is counted.
    async fn serve(&self, request: Box<ClientRequest>) -> Response<Body> {
        let (opens, address) = (request.opens(), request.address());
        let response = match self.config.observes_requests() {
            true => self.observe(request).await,
            false => self.route(request).await,
        };
        if let Some(reason) = response.extensions().get() {
            self.counters().refuse(*reason, opens, address);
        }
        response
    }

    /// Answers a request that the application has a part in: middleware before, headers and the report of a refusal after.
    async fn observe(&self, mut request: Box<ClientRequest>) -> Response<Body> {
        let mut head = middleware::head(&request.http);
        let opens = request.opens();
        let mut added = Pass::default();
        let refusal = middleware::run(&self.config.middleware, &mut head, &mut added).await;
        let Pass { mut headers, extensions } = added;
        let mut response = match refusal {
            Some(refusal) => reply::refused(refusal, Refusal::Middleware),
            None => {
                request.http.extensions_mut().extend(extensions);
                self.route(request).await
            }
        };
        // As in Node, the headers of the engine override those of a middleware.
        headers.extend(mem::take(response.headers_mut()));
        *response.headers_mut() = headers;
        if matches!(response.status(), StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS) {
            let initial = self.config.initial_headers.as_ref().filter(|_| opens);
            for headers in initial.into_iter().chain(&self.config.headers) {
                headers.add(response.headers_mut(), &head);
            }
        }
        if let Some(listener) = &self.config.on_connection_error {
            listener.report_refusal(&head, &response);
        }
        response
    }

    /// Answers a request that another node forwarded. It opens a session for a client of that node if it would for one of its own.
    pub(crate) async fn respond_to_forwarded(
        &self,
        request: Request<DrainBody>,
        way: Arc<dyn Way>,
    ) -> Response<Body> {
        self.owner.respond_to_forwarded(request, way, || self.refuses_clients()).await
    }

    /// Gives a request to the node that owns its session; a session that does not exist yet is this node's, if it takes clients.
    async fn route(&self, request: Box<ClientRequest>) -> Response<Body> {
        if request.trespasses {
            let refusal = reply::refusal(&HandshakeError::other_origin(), true);
            return reply::refused(refusal, Refusal::OtherOrigin);
        }
        match (request.query.sid(), &self.forwarder) {
            (Ok(Some(sid)), Some(forwarder)) => match forwarder.owner(sid).await {
                SessionOwner::There(_) if self.is_too_large(&request) => {
                    reply::empty(StatusCode::PAYLOAD_TOO_LARGE)
                }
                SessionOwner::There(owner) => forwarder.forward(sid, owner, *request).await,
                SessionOwner::Nobody if forwarder.is_joining() => reply::unreachable(),
                _ => self.owner.respond(request).await,
            },
            (Ok(None), _) => match self.refuses_clients() {
                Some(_) => Box::pin(self.open_elsewhere(request)).await,
                None => self.owner.respond(request).await,
            },
            _ => self.owner.respond(request).await,
        }
    }

    /// Opens a session that this node does not take yet, or, when it stops, on another one. A node that joins has it wait, but does not
    /// give it away: its clients would go with the other node.
    async fn open_elsewhere(&self, mut request: Box<ClientRequest>) -> Response<Body> {
        if let Some(forwarder) = self.forwarder.as_ref().filter(|forwarder| forwarder.is_joining()) {
            forwarder.joined().await;
            if self.refuses_clients().is_none() {
                return self.owner.respond(request).await;
            }
        }
        let gives_away = self.is_draining() && request.may_travel();
        if let Some(forwarder) = self.forwarder.as_ref().filter(|_| gives_away) {
            request = match forwarder.open(request).await {
                Ok(response) => return response,
                Err(request) => request,
            };
        }
        match self.refuses_strays() {
            Some(why) => reply::refused(reply::unavailable(why), Refusal::NotReady),
            None => self.owner.respond(request).await,
        }
    }

    /// Whether a request announces a body that the owner of the session would refuse. The edge refuses it, because an
    /// owner that stops reading early breaks the stream between the two nodes.
    fn is_too_large(&self, request: &ClientRequest) -> bool {
        request.http.body().size_hint().lower() > self.owner.engine().config().max_payload as u64
    }
}
