//! Carries requests of clients to the nodes that own their sessions, over streams of the mesh.
//!
//! A poll outlives the way that it takes: it is sent again when that way is lost, and its owner recognises it. Any other request
//! is sent once, because its owner may have handled it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::UPGRADE;
use hyper::{Method, Response, StatusCode};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::body::Body;
use super::counters::{Forwarded, HttpCounters};
use super::drain_body::DrainBody;
use super::node_request::NodeRequest;
use super::proxy::Splice;
use super::request::ClientRequest;
use super::retirement::{Carried, Retirement};
use super::{proxy, reply};
use crate::cluster::{MAX_PRELUDE, Mesh, NodeState, OpenError, REACH, SessionOwner};
use crate::counter::Counter;
use crate::engine::HandshakeError;
use crate::excerpt::Excerpt;
use crate::id::{NodeId, SessionId};
use crate::trace::Span;

/// Carries requests to other nodes, until this one stops.
pub(crate) struct Forwarder {
    mesh: Arc<Mesh>,
    retirement: Retirement,
    /// Has a token for each request that is carried, until its answer is passed on.
    carried: TaskTracker,
    /// Has a token for each WebSocket and each stream of WebTransport that is carried.
    spliced: TaskTracker,
    started: Instant,
    counters: Arc<HttpCounters>,
}

/// Counts how a request ended, when it has.
struct Ending<'a>(&'a Counter);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.increment();
    }
}

impl Forwarder {
    pub(crate) fn new(mesh: Arc<Mesh>, counters: Arc<HttpCounters>) -> Self {
        let (carried, spliced) = (TaskTracker::new(), TaskTracker::new());
        Self { mesh, retirement: Retirement::default(), carried, spliced, started: Instant::now(), counters }
    }

    pub(crate) const fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Whose session this is. A node that joins does not know everybody at first, and asks again when it does, for [`REACH`] at most.
    pub(crate) async fn owner(&self, sid: SessionId) -> SessionOwner {
        let owner = self.mesh.owner(sid.key());
        if owner != SessionOwner::Nobody || !self.is_joining() {
            return owner;
        }
        // Boxed, because hardly a request waits for it.
        let _late = Box::pin(timeout(REACH, self.mesh.ready())).await;
        self.mesh.owner(sid.key())
    }

    /// Waits for a node that was started a moment ago until it has joined, which hardly takes longer than its clients need to come.
    pub(crate) async fn joined(&self) {
        let _late = timeout_at(self.started + REACH, self.mesh.ready()).await;
    }

    /// Whether there may be members that this node does not know.
    pub(crate) fn is_joining(&self) -> bool {
        *self.mesh.state().borrow() == NodeState::Joining
    }

    /// Answers `request` with what `owner` answers, which owns the session `sid`. When that node cannot be reached, the answer
    /// says so within a second.
    pub(crate) async fn forward(
        &self,
        sid: SessionId,
        owner: NodeId,
        mut request: ClientRequest,
    ) -> Response<Body> {
        let span = Span::forward(owner.as_str(), request.http.headers_mut());
        // Boxed, so that a request that waits at its owner has no room for this.
        let response = Box::pin(self.carry(sid, owner, request)).await;
        span.answered(response.status());
        response
    }

    async fn carry(&self, sid: SessionId, owner: NodeId, request: ClientRequest) -> Response<Body> {
        let (carried, upgrade) = (self.carried.token(), request.is_upgrade());
        let Forwarded { answered, gone, unreachable, aborted } = &self.counters.forwarded;
        let mut ending = Ending(aborted);
        let target = Target { sid, owner };
        let mut outgoing = Outgoing::new(request);
        if !outgoing.fits() {
            ending.0 = unreachable;
            return reply::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        let mut until = Instant::now() + REACH;
        let mut around = false;
        loop {
            let error = match self.attempt(&target, &mut outgoing, until, around).await {
                Ok(response) => {
                    ending.0 = answered;
                    return response.map(|body| body.counted(carried));
                }
                Err(error) => error,
            };
            // The next attempt takes another way, because the links do not know yet what this one has met.
            around = !around;
            let now = Instant::now();
            if matches!(error, ForwardError::Broken(_)) && now > until {
                // The owner had the request, and the way was lost while it waited.
                (until, around) = (now + REACH, false);
            }
            if !outgoing.is_left() || now + PAUSE > until {
                tracing::debug!(peer = %target.owner, error = %Excerpt::reason(&error), "a request could not be forwarded");
                ending.0 = unreachable;
                return reply::unreachable();
            }
            sleep(PAUSE).await;
            if self.mesh.owner(target.sid.key()) != SessionOwner::There(target.owner.clone()) {
                ending.0 = gone;
                return reply::refusal(&HandshakeError::UnknownSession, upgrade);
            }
        }
    }

    /// Has another node open a session for a GET that asks for one, and answers it with what that node answers; it carries the rest
    /// as of any session that is not its own. The request comes back if no other node takes it.
    pub(crate) async fn open(
        &self,
        mut request: Box<ClientRequest>,
    ) -> Result<Response<Body>, Box<ClientRequest>> {
        let Forwarded { answered, unreachable, aborted, .. } = &self.counters.forwarded;
        let end = Instant::now() + 2 * REACH;
        let mut tried = Vec::new();
        while Instant::now() < end
            && let Some(node) = self.mesh.pick_ready(&tried)
        {
            // Each has a time of its own: one that has died a moment ago says nothing.
            let until = end.min(Instant::now() + REACH);
            let span = Span::forward(node.as_str(), request.http.headers_mut());
            if let Ok(Ok((stream, silence))) = timeout_at(until, self.mesh.open(&node)).await {
                let (carried, mut ending, loss) = (self.carried.token(), Ending(aborted), stream.loss());
                let mut outgoing = proxy::Outgoing::opening(&mut request.http);
                let sent = proxy::offer(stream, &mut outgoing);
                let answer = tokio::select! {
                    answer = sent => answer.map_err(ForwardError::from),
                    () = silence.falls(until) => {
                        loss.declare();
                        Err(ForwardError::Silent)
                    }
                };
                match answer {
                    // It is full, or has begun to stop.
                    Ok((response, None)) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                        ending.0 = answered;
                    }
                    Ok((response, splice)) => {
                        ending.0 = answered;
                        span.answered(response.status());
                        if matches!(response.status(), StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS) {
                            self.counters.opened_elsewhere.increment();
                        }
                        self.splice(splice);
                        return Ok(response.map(|body| body.counted(carried)));
                    }
                    Err(error) => {
                        tracing::debug!(peer = %node, error = %Excerpt::reason(&error), "a session was not opened there");
                        ending.0 = unreachable;
                    }
                }
                if let Some(client) = outgoing.client {
                    client.give_back(&mut request.http);
                }
            }
            tried.push(node);
        }
        Err(request)
    }

    fn splice(&self, splice: Option<Splice>) {
        let Some(splice) = splice else { return };
        let (retired, counted) = self.carry_stream();
        tokio::spawn(splice.run(self.mesh.runtime().clone(), retired, counted));
    }

    /// Resolves when a stream that is carried from now on has to go; and its token.
    pub(crate) fn carry_stream(&self) -> (impl Future<Output = ()> + Send + use<>, TaskTrackerToken) {
        let (retirement, what) = (self.retirement.clone(), Carried::Stream(Instant::now()));
        (async move { retirement.due(what).await }, self.spliced.token())
    }

    /// How many requests have no answer yet.
    pub(crate) fn carried(&self) -> usize {
        self.carried.len()
    }

    /// The other nodes are told now that this one stops.
    pub(crate) fn announce(&self) {
        self.retirement.announce(Instant::now());
    }

    /// Lets go of what this node carries over `time`: polls are answered, their owners are asked to; WebSockets and streams end, once the other
    /// nodes know that this one stops. Returns when nothing is carried, or the time is over.
    pub(crate) async fn retire(&self, time: Duration) {
        self.retirement.begin(Instant::now() + time);
        self.carried.close();
        self.spliced.close();
        let gone = async { tokio::join!(self.carried.wait(), self.spliced.wait()) };
        let _late = timeout(time, gone).await;
    }

    /// Lets go of everything, now and from now on. Waits until every request that is carried has its answer, for [`STOP`] at most.
    /// Returns how many have none.
    pub(crate) async fn stop(&self) -> usize {
        self.retirement.begin(Instant::now());
        self.carried.close();
        self.spliced.close();
        let (answered, _ended) =
            tokio::join!(timeout(STOP, self.carried.wait()), timeout(STOP, self.spliced.wait()));
        if answered.is_ok() { 0 } else { self.carried() }
    }

    /// Sends the request once. Whatever happens to the way until the owner has given a sign of life, this ends when `until` has
    /// come.
    async fn attempt(
        &self,
        target: &Target,
        outgoing: &mut Outgoing,
        until: Instant,
        around: bool,
    ) -> Result<Response<Body>, ForwardError> {
        let until = if outgoing.again.is_some() { until.min(Instant::now() + REACH / 2) } else { until };
        let opening = async {
            match around {
                true => self.mesh.open_around(&target.owner).await,
                false => self.mesh.open(&target.owner).await,
            }
        };
        let opened = timeout_at(until, opening).await;
        let (stream, silence) = opened.map_err(|_late| ForwardError::Silent)??;
        let loss = stream.loss();
        let Some(request) = outgoing.next() else { return Err(ForwardError::Sent) };
        // Declared before the stream is dropped: the other end may hear of it.
        let silence = async {
            silence.falls(until).await;
            loss.declare();
        };
        let answered = tokio::select! {
            answered = proxy::send(stream, request) => answered,
            () = silence => return Err(ForwardError::Silent),
            never = self.release(target), if outgoing.is_poll => match never {},
        };
        let (response, splice) = answered?;
        self.splice(splice);
        Ok(response)
    }

    /// When this node stops, asks the owner of a session to answer the GET that waits. The GET may come there later than the
    /// question, so the question is repeated.
    async fn release(&self, target: &Target) -> Infallible {
        self.retirement.due(Carried::Request).await;
        loop {
            let asked = async {
                let (stream, _) = self.mesh.open(&target.owner).await?;
                proxy::send(stream, NodeRequest::Release.of_session(target.sid).into()).await?;
                Ok::<_, ForwardError>(())
            };
            // Without an answer it is asked again.
            let _asked = timeout(REACH, asked).await;
            sleep(PAUSE).await;
        }
    }
}

/// Where a request goes.
struct Target {
    sid: SessionId,
    owner: NodeId,
}

/// The request of a client, which is sent once, or as often as necessary.
struct Outgoing {
    request: Option<proxy::Outgoing>,
    /// The head of a poll that its owner recognises when it comes again.
    again: Option<Bytes>,
    is_poll: bool,
}

impl Outgoing {
    fn new(request: ClientRequest) -> Self {
        let ClientRequest { http, query, .. } = request;
        let is_poll = *http.method() == Method::GET && !http.headers().contains_key(UPGRADE);
        let request = proxy::Outgoing::from(http);
        let again = query.stamp().filter(|_| is_poll).map(|_| request.head.clone());
        Self { request: Some(request), again, is_poll }
    }

    /// Whether its head is no larger than the owner reads. Only another HTTP server than this one lets in a larger one.
    fn fits(&self) -> bool {
        self.request.as_ref().is_none_or(|request| request.head.len() <= MAX_PRELUDE)
    }

    const fn is_left(&self) -> bool {
        self.request.is_some() || self.again.is_some()
    }

    fn next(&mut self) -> Option<proxy::Outgoing> {
        self.request.take().or_else(|| {
            let head = self.again.clone()?;
            Some(proxy::Outgoing { head, body: DrainBody::default(), client: None })
        })
    }
}

/// Why the owner of the session did not answer.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the other node does not answer")]
    Silent,
    #[error("the other node did not answer: {0}")]
    Broken(#[from] io::Error),
    #[error("the request was sent already")]
    Sent,
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// How long requests in flight may take when the node stops.
const STOP: Duration = Duration::from_secs(3);
