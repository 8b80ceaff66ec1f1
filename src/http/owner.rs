//! The owner: what the node does that owns a session, whichever node its requests reach.

use std::sync::Arc;

use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::{Request, Response, StatusCode};
use tokio::time::Instant;

use super::body::Body;
use super::config::Config;
use super::counters::HttpCounters;
use super::drain_body::DrainBody;
use super::node_request::NodeRequest;
use super::refusal::Refusal;
use super::request::{self, ClientRequest};
use super::{forwarded_stream, middleware, polling, reply, upgrade};
use crate::engine::{
    Application, Engine, Handshake, HandshakeError, NotAdmitted, Opening, Place, RequestHead, Transport,
    Verified, Way, verify,
};
use crate::id::NodeId;
use crate::log_limit::{LogLimit, SELDOM};

/// Serves the sessions of this node and opens new ones. Limits, overlapping requests and heartbeats are decided here, so
/// they do not depend on the edges that the requests of a client take.
pub(crate) struct Owner<A: Application> {
    node: NodeId,
    engine: Arc<Engine<A>>,
    config: Arc<Config>,
    counters: Arc<HttpCounters>,
    log: LogLimit,
}

/// Why a client may not open a session.
pub(crate) enum Denied {
    /// There is no place for it.
    NotAdmitted(NotAdmitted),
    /// `allow_request` refused with this message.
    Refused(HandshakeError),
    /// `allow_request` panicked.
    Panicked,
}

impl<A: Application> Owner<A> {
    pub(crate) fn new(node: NodeId, engine: Arc<Engine<A>>, config: Arc<Config>) -> Self {
        Self { node, engine, config, counters: Arc::default(), log: LogLimit::default() }
    }

    pub(crate) fn engine(&self) -> &Engine<A> {
        &self.engine
    }

    pub(crate) const fn counters(&self) -> &Arc<HttpCounters> {
        &self.counters
    }

    /// Answers a request that another node forwarded; that node did the work of the edge. `refuses` says why no session may be opened
    /// now. Dropping the future is the client's abort, or the loss of its way.
    pub(crate) async fn respond_to_forwarded(
        &self,
        request: Request<DrainBody>,
        way: Arc<dyn Way>,
        refuses: impl FnOnce() -> Option<&'static str>,
    ) -> Response<Body> {
        let listener = self.config.on_connection_error.as_ref();
        let listener = listener.map(|listener| (listener, middleware::head(&request)));
        let asked = NodeRequest::of(request.headers());
        let request = ClientRequest::new(request, Some(way));
        let (opens, address) = (asked.is_none() && request.opens(), request.address());
        let response = match (asked, opens.then(refuses).flatten()) {
            (Some(NodeRequest::Stream), _) => forwarded_stream::accept(&self.engine, *request),
            (Some(NodeRequest::Release), _) => return self.release(&request),
            (None, Some(why)) => reply::refused(reply::unavailable(why), Refusal::NotReady),
            (None, None) => self.respond_traced(request).await,
        };
        if let Some((listener, head)) = listener {
            listener.report_refusal(&head, &response);
        }
        if let Some(reason) = response.extensions().get() {
            self.counters.refuse(*reason, opens, address);
        }
        response
    }

    async fn respond_traced(&self, request: Box<ClientRequest>) -> Response<Body> {
        let span = request::span(&request.http, self.node.as_str());
        let response = span.scope(self.respond(request)).await;
        span.answered(response.status());
        response
    }

    /// Answers the waiting GET of a session, for the node that carries it and stops.
    fn release(&self, request: &ClientRequest) -> Response<Body> {
        if let Some(session) = request.query.sid().ok().flatten().and_then(|sid| self.engine.find(sid)) {
            session.release();
        }
        reply::empty(StatusCode::NO_CONTENT)
    }

    /// Answers a request for a session of this node, or for a new one.
    pub(crate) async fn respond(&self, request: Box<ClientRequest>) -> Response<Body> {
        let (http, query, upgrade) = (&request.http, &request.query, request.is_upgrade());
        let head = RequestHead { query, method: http.method(), upgrade };
        let find = |sid| self.engine.find(sid).map(|session| (session.clone(), session.live()));
        match verify(&head, self.engine.config(), find) {
            Ok(Verified::Open(opening)) => self.open(opening, request).await,
            Ok(Verified::Resume(session)) if upgrade => upgrade::resume(&session, *request),
            Ok(Verified::Resume(session)) => polling::respond(&session, request).await,
            Ok(Verified::Misplaced) => upgrade::misplaced(*request, self.engine.config()),
            Err(error) => reply::refusal(&error, upgrade),
        }
    }

    /// Takes a place for a session, then asks the application whether the client may open it.
    pub(crate) async fn admit(&self, handshake: &Arc<Handshake>) -> Result<Place, Denied> {
        if handshake.address().is_none()
            && self.engine.config().limits_addresses()
            && self.log.allows(SELDOM, Instant::now())
        {
            tracing::warn!("the host does not say where its clients are: no limit per address counts");
        }
        let place = self.engine.admit(handshake.address()).map_err(Denied::NotAdmitted)?;
        let Some(allow) = &self.config.allow_request else { return Ok(place) };
        match allow.ask(Arc::clone(handshake)).await {
            Some(Ok(())) => Ok(place),
            Some(Err(forbidden)) => {
                let message = forbidden.message().to_owned();
                Err(Denied::Refused(HandshakeError::Forbidden { message }))
            }
            None => Err(Denied::Panicked),
        }
    }

    async fn open(&self, opening: Opening, request: Box<ClientRequest>) -> Response<Body> {
        let upgrade = opening.transport() == Transport::WebSocket;
        let handshake = Arc::new(request.handshake());
        let place = match self.admit(&handshake).await {
            Ok(place) => place,
            Err(Denied::NotAdmitted(why)) => return reply::not_admitted(why),
            Err(Denied::Refused(error)) => return reply::refusal(&error, upgrade),
            Err(Denied::Panicked) => {
                return reply::refused(reply::empty(StatusCode::INTERNAL_SERVER_ERROR), Refusal::Failed);
            }
        };
        match opening.admit(self.engine.config()) {
            Ok(Transport::Polling) => self.open_polling(place, handshake, request).await,
            Ok(_) => upgrade::open(&self.engine, place, handshake, request.http),
            Err(error) => reply::refusal(&error, upgrade),
        }
    }

    async fn open_polling(
        &self,
        place: Place,
        handshake: Arc<Handshake>,
        request: Box<ClientRequest>,
    ) -> Response<Body> {
        let opened = match self.engine.open(place, handshake, Transport::Polling) {
            Ok(opened) => opened,
            Err(error) => return reply::not_opened(&error),
        };
        let mut response = polling::poll(&opened.session, request).await;
        if let Some(cookie) = &self.config.cookie
            && let Ok(cookie) = HeaderValue::from_str(&cookie.header(opened.session.id()))
        {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}
