//! Forwards a WebTransport stream to the node that owns the session, inside an upgraded HTTP request that only nodes can
//! make.

use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Response, StatusCode};
use tokio::time::Instant;

use super::body::Body;
use super::node_request::NodeRequest;
use super::proxy::{self, Splice};
use super::reply;
use super::request::ClientRequest;
use super::upgraded::Upgrading;
use crate::cluster::{Mesh, REACH};
use crate::engine::stream_task::serve_webtransport;
use crate::engine::{Application, Engine, HandshakeError, Transport};
use crate::excerpt::Excerpt;
use crate::id::{NodeId, SessionId};

/// Asks `owner` for a stream to its session `sid`. An error says why the client's stream is closed.
#[cfg_attr(not(feature = "webtransport"), expect(dead_code, reason = "only WebTransport needs it"))]
pub(crate) async fn open(cluster: &Mesh, owner: &NodeId, sid: SessionId) -> Result<Splice, &'static str> {
    let Ok((stream, silence)) = cluster.open(owner).await else { return Err(UNREACHABLE) };
    let answered = tokio::select! {
        answered = proxy::send(stream, NodeRequest::Stream.of_session(sid).into()) => answered,
        () = silence.falls(Instant::now() + REACH) => return Err(UNREACHABLE),
    };
    match answered {
        Ok((_, Some(splice))) => Ok(splice),
        Ok((_, None)) => Err("Session ID unknown"),
        Err(error) => {
            tracing::debug!(peer = %owner, error = %Excerpt::reason(error), "a WebTransport stream could not be forwarded");
            Err(UNREACHABLE)
        }
    }
}

/// Gives a stream that another node forwards to its session.
pub(crate) fn accept<A: Application>(engine: &Engine<A>, mut request: ClientRequest) -> Response<Body> {
    let sid = request.query.sid();
    let Some(session) = sid.ok().flatten().and_then(|sid| engine.find(sid)) else {
        return reply::refusal(&HandshakeError::UnknownSession, true);
    };
    let upgrading = Upgrading::of(&mut request.http);
    tokio::spawn(async move {
        if let Some((_answered, stream)) = upgrading.bare().await.map(|bare| bare.into_stream()) {
            let (conn, stage) = session.attach(Transport::WebTransport, None);
            serve_webtransport(stream, session, conn, stage).await;
        }
    });
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(NodeRequest::Stream.token()));
    response
}

const UNREACHABLE: &str = "the node that owns this session cannot be reached";
