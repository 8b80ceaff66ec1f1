//! Forwards a WebTransport stream to the node that owns the session, inside an upgraded HTTP request that only nodes can
//! make.

use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::body::Body;
use super::drain_body::DrainBody;
use super::proxy::{self, Splice};
use super::reply;
use super::request::ClientRequest;
use crate::cluster::Mesh;
use crate::engine::stream_task::serve_webtransport;
use crate::engine::{Application, Engine, HandshakeError, Transport};
use crate::id::{NodeId, SessionId};

/// Asks `owner` for a stream to its session `sid`. An error says why the client's stream is closed.
#[cfg_attr(not(feature = "webtransport"), expect(dead_code, reason = "only WebTransport needs it"))]
pub(crate) async fn open(cluster: &Mesh, owner: &NodeId, sid: SessionId) -> Result<Splice, &'static str> {
    let Ok(stream) = cluster.open(owner).await else { return Err(UNREACHABLE) };
    match proxy::send(stream, request(sid)).await {
        Ok((_, Some(splice))) => Ok(splice),
        Ok((_, None)) => Err("Session ID unknown"),
        Err(error) => {
            tracing::debug!(peer = %owner, %error, "a WebTransport stream could not be forwarded");
            Err(UNREACHABLE)
        }
    }
}

fn request(sid: SessionId) -> Request<DrainBody> {
    let mut request = Request::new(DrainBody::default());
    if let Ok(uri) = format!("/?sid={sid}").parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(UPGRADE, TOKEN);
    request
}

/// Whether a request of another node forwards a stream. Clients could send the token as well, so the edge calls
/// [`remove_token`] on their requests.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE) == Some(&TOKEN)
}

/// Removes the token from the request of a client: only nodes may use it.
pub(crate) fn remove_token(headers: &mut HeaderMap) {
    let is_token = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(TOKEN.as_bytes());
    if headers.get_all(UPGRADE).iter().any(is_token) {
        headers.remove(UPGRADE);
    }
}

/// Gives a stream that another node forwards to its session.
pub(crate) fn accept<A: Application>(engine: &Engine<A>, mut request: ClientRequest) -> Response<Body> {
    let sid = request.query.sid();
    let Some(session) = sid.ok().flatten().and_then(|sid| engine.find(sid)) else {
        return reply::refusal(&HandshakeError::UnknownSession, true);
    };
    let upgraded = hyper::upgrade::on(&mut request.http);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let (conn, stage) = session.attach(Transport::WebTransport);
            serve_webtransport(Box::new(TokioIo::new(upgraded)), session, conn, stage).await;
        }
    });
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, TOKEN);
    response
}

/// The protocol that the request upgrades to.
const TOKEN: HeaderValue = HeaderValue::from_static("socketmesh-webtransport");

const UNREACHABLE: &str = "the node that owns this session cannot be reached";
