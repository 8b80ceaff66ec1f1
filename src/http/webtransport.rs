//! WebTransport sessions: from the stream of each one to a session of Engine.IO, on this node or another (engine.io
//! protocol v4, "WebTransport").
//!
//! ```text
//!   CONNECT ──► path ──► middleware ──► stream ──► first packet ── 0 ──► allow_request ──► engine
//!                                                       └── 0{"sid"} ──► owner? ── this node ──► engine
//!                                                                           └── another node ──► forwarded_stream
//! ```

mod connect_request;
mod listener;
mod session_stream;

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use wtransport::endpoint::IncomingSession;

use self::connect_request::{ConnectRequest, refuse};
use self::session_stream::{NORMAL_END, SessionStream};
use super::edge::Edge;
use super::forwarded_stream;
use super::middleware::{self, Pass};
use super::opening::{OpeningConnections, OpeningPlace};
use super::owner::Denied;
use super::refusal::Refusal;
use crate::cluster::SessionOwner;
use crate::engine::stream_task::serve_webtransport;
use crate::engine::{Application, FirstPacket, Handshake, HandshakeError, Place, Transport};
use crate::id::SessionId;
use crate::log_limit::LogLimit;
use crate::trace::Span;

pub use listener::WebTransportListener;

/// The WebTransport sessions of one listener, and the edge behind it.
pub(crate) struct WebTransportServer<A: Application> {
    edge: Arc<Edge<A>>,
    path: String,
    /// One permit per session.
    sessions: Arc<Semaphore>,
    /// One permit per session whose first packet has not arrived and whose client did not prove its address. That may be forged:
    /// while none is left, others prove theirs first.
    unproved: Arc<Semaphore>,
    /// A place per session whose first packet has not arrived and whose client did.
    opening: Arc<OpeningConnections>,
    log: LogLimit,
}

/// What the first packet of a session asks for.
enum Asked {
    /// A session, for which there is a place.
    Open(Place, Arc<Handshake>),
    /// The upgrade of one.
    Upgrade(SessionId),
}

/// What a session holds until its first packet.
enum Opening {
    Unproved { _permit: OwnedSemaphorePermit },
    Proved(OpeningPlace),
}

impl Opening {
    /// Resolves when another client needs the place.
    async fn given_up(&self) {
        match self {
            Self::Unproved { .. } => std::future::pending().await,
            Self::Proved(place) => place.given_up().await,
        }
    }
}

impl<A: Application> WebTransportServer<A> {
    /// Accepts sessions until `stop` resolves. Then the sessions have a second to end.
    pub(crate) async fn serve(
        edge: Arc<Edge<A>>,
        path: &str,
        listener: WebTransportListener,
        stop: impl Future<Output = ()>,
    ) {
        let given_up = Arc::clone(&edge.counters().given_up);
        let server = Arc::new(Self {
            edge,
            path: path.to_owned(),
            sessions: Arc::new(Semaphore::new(listener.max_sessions)),
            unproved: Arc::new(Semaphore::new(listener.max_opening)),
            opening: OpeningConnections::new(listener.max_opening, given_up),
            log: LogLimit::default(),
        });
        let tasks = TaskTracker::new();
        let accepting = async {
            loop {
                server.accept(listener.endpoint.accept().await, &tasks);
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop => {}
        }
        tasks.close();
        let _late = timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await;
        listener.endpoint.close(NORMAL_END.into(), b"");
        let _late = timeout(SHUTDOWN_TIMEOUT, listener.endpoint.wait_idle()).await;
    }

    /// Serves a session in a task of its own, if there is room.
    fn accept(self: &Arc<Self>, incoming: IncomingSession, tasks: &TaskTracker) {
        let counters = self.edge.counters();
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        let Some(session) = permit(&self.sessions) else {
            counters.webtransport_refused.increment();
            if self.log.allows(LOG_PAUSE, Instant::now()) {
                let refused = counters.webtransport_refused.get();
                tracing::warn!(refused, "WebTransport sessions are refused: there are too many");
            }
            return incoming.refuse();
        };
        let opening = match permit(&self.unproved) {
            _ if incoming.remote_address_validated() => {
                Opening::Proved(self.opening.enter(incoming.remote_address().ip()))
            }
            Some(permit) => Opening::Unproved { _permit: permit },
            None => {
                counters.webtransport_retries.increment();
                return incoming.retry();
            }
        };
        let server = Arc::clone(self);
        tasks.spawn(async move {
            server.session(incoming, opening).await;
            drop(session);
        });
    }

    /// Serves one WebTransport session, from its QUIC handshake to its end.
    async fn session(&self, incoming: IncomingSession, opening: Opening) {
        let time_limit = self.edge.owner().engine().config().upgrade_timeout;
        let opened = tokio::select! {
            opened = timeout(time_limit, self.open(incoming)) => opened,
            () = opening.given_up() => return,
        };
        drop(opening);
        let Ok(Some((asked, stream, span))) = opened else { return };
        let refused = match asked {
            Asked::Open(place, handshake) => self.open_session(place, handshake, stream, span).await,
            Asked::Upgrade(sid) => self.upgrade(sid, stream).await,
        };
        if let Err((stream, reason)) = refused {
            stream.refuse(reason);
        }
    }

    /// Does everything up to the first packet of the stream. Dropping the future ends the WebTransport session.
    async fn open(&self, incoming: IncomingSession) -> Option<(Asked, SessionStream, Span)> {
        let session = incoming.await.ok()?;
        let Some(mut request) =
            ConnectRequest::new(&session).filter(|request| request.path().starts_with(&self.path))
        else {
            session.not_found().await;
            return None;
        };
        if !self.edge.owner().engine().config().transports.contains(&Transport::WebTransport) {
            self.report(&request, &HandshakeError::UnknownTransport { given: "webtransport".to_owned() });
            self.refuse(&request, Refusal::UnknownTransport);
            session.not_found().await;
            return None;
        }
        let cors = self.edge.config().cors.as_ref().and_then(|cors| cors.of(&request.0));
        if cors.is_some_and(|cors| !cors.admits(&request.0.headers, true)) {
            self.report(&request, &HandshakeError::other_origin());
            self.refuse(&request, Refusal::OtherOrigin);
            refuse(session, StatusCode::FORBIDDEN).await;
            return None;
        }
        let config = self.edge.config();
        let span = request.span(self.edge.node().as_str());
        let mut added = Pass::default();
        let run = middleware::run(&config.middleware, &mut request.0, &mut added);
        if let Some(refusal) = span.scope(run).await {
            if let Some(listener) = &config.on_connection_error {
                listener.report_refusal(&request.0, &refusal);
            }
            self.refuse(&request, Refusal::Middleware);
            refuse(session, refusal.status()).await;
            return None;
        }
        let added =
            added.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let connection = session.accept_with_headers(added).await.ok()?;
        let mut stream = SessionStream::new(connection.accept_bi().await.ok()?, connection);
        let allowed = match FirstPacket::read(&mut stream).await {
            Some(FirstPacket::Open) => span.scope(self.admit(&request)).await,
            Some(FirstPacket::Upgrade(sid)) => Ok(Asked::Upgrade(sid)),
            None => Err("no first packet"),
        };
        match allowed {
            Ok(asked) => Some((asked, stream, span)),
            Err(reason) => {
                stream.refuse(reason);
                None
            }
        }
    }

    /// Whether the client may open a session here. An error is the reason.
    async fn admit(&self, request: &ConnectRequest) -> Result<Asked, &'static str> {
        // Another node could not take over the WebTransport session, so a node that drains opens what upgrades from nothing here.
        if let Some(why) = self.edge.refuses_strays() {
            self.refuse(request, Refusal::NotReady);
            return Err(why);
        }
        let handshake = request.handshake();
        match self.edge.owner().admit(&handshake).await {
            Ok(place) => Ok(Asked::Open(place, handshake)),
            Err(Denied::NotAdmitted(why)) => {
                self.refuse(request, why.into());
                Err(why.as_str())
            }
            Err(Denied::Refused(error)) => {
                self.report(request, &error);
                self.refuse(request, Refusal::Forbidden);
                Err("forbidden")
            }
            Err(Denied::Panicked) => {
                self.refuse(request, Refusal::Failed);
                Err("forbidden")
            }
        }
    }

    /// Counts a refused handshake.
    fn refuse(&self, request: &ConnectRequest, why: Refusal) {
        self.edge.counters().refuse(why, true, request.address());
    }

    /// Tells the application of a refused request.
    fn report(&self, request: &ConnectRequest, error: &HandshakeError) {
        if let Some(listener) = &self.edge.config().on_connection_error {
            listener.report(&request.0, error);
        }
    }

    /// Opens a session of this node. Returns when the session has left the stream.
    async fn open_session(
        &self,
        place: Place,
        handshake: Arc<Handshake>,
        stream: SessionStream,
        span: Span,
    ) -> Result<(), RefusedStream> {
        let opening = async { self.edge.owner().engine().open(place, handshake, Transport::WebTransport) };
        // The span ends here: the session may last.
        match span.run(opening).await {
            Ok(opened) => {
                if let Some((conn, stage)) = opened.stream {
                    serve_webtransport(Box::new(stream), opened.session, conn, stage).await;
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "no session could be opened");
                Err((stream, "no session could be opened"))
            }
        }
    }

    /// Gives the stream to a session that exists on this node or another: the probe of an upgrade.
    async fn upgrade(&self, sid: SessionId, stream: SessionStream) -> Result<(), RefusedStream> {
        if let Some(forwarder) = self.edge.forwarder()
            && let SessionOwner::There(owner) = forwarder.mesh().owner(sid.key())
        {
            return match forwarded_stream::open(forwarder.mesh(), &owner, sid).await {
                Ok(splice) => {
                    let (retired, counted) = forwarder.carry_stream();
                    splice.run_for(stream, retired, counted).await;
                    Ok(())
                }
                Err(reason) => Err((stream, reason)),
            };
        }
        let Some(session) = self.edge.owner().engine().find(sid) else {
            return Err((stream, "Session ID unknown"));
        };
        let (conn, stage) = session.attach(Transport::WebTransport, None);
        serve_webtransport(Box::new(stream), session, conn, stage).await;
        Ok(())
    }
}

/// A stream that is not served, and the reason.
type RefusedStream = (SessionStream, &'static str);

/// How long sessions, and then their connections, may take to end when the node stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// From one line about refused sessions to the next.
const LOG_PAUSE: Duration = Duration::from_secs(10);
