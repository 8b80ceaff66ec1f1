//! A WebTransport stream whose session another node owns: the edge carries its bytes there, inside of an upgraded request
//! that only nodes can make.

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::Refused;
use super::stream::ClientStream;
use crate::cluster::Mesh;
use crate::engine::webtransport;
use crate::engine::{Application, Engine, HandshakeError, Query, Transport};
use crate::http::body::Body;
use crate::http::exchange::exchange;
use crate::http::reply;
use crate::id::{NodeId, SessionId};

/// Copies what comes on `stream` to `owner` and back, until both are done or one of them breaks.
pub(super) async fn carry(
    cluster: &Mesh,
    owner: &NodeId,
    sid: SessionId,
    stream: ClientStream,
) -> Result<(), Refused> {
    let Ok(there) = cluster.open(owner).await else { return Err((stream, UNREACHABLE)) };
    match exchange(there, request(sid)).await {
        Ok((_, Some(splice))) => {
            splice.run_for(stream).await;
            Ok(())
        }
        Ok((_, None)) => Err((stream, "Session ID unknown")),
        Err(error) => {
            tracing::debug!(peer = %owner, %error, "a WebTransport stream could not be carried");
            Err((stream, UNREACHABLE))
        }
    }
}

fn request(sid: SessionId) -> Request<Body> {
    let mut request = Request::new(Body::from(Bytes::new()));
    if let Ok(uri) = format!("/?sid={sid}").parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(UPGRADE, TOKEN);
    request
}

/// Whether another node carries a stream here; not to be asked about the request of a client.
pub(crate) fn is_carried(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE) == Some(&TOKEN)
}

/// A client that asks for what only nodes ask each other has asked for nothing.
pub(crate) fn disown(headers: &mut HeaderMap) {
    let named = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(TOKEN.as_bytes());
    if headers.get_all(UPGRADE).iter().any(named) {
        headers.remove(UPGRADE);
    }
}

/// Gives a carried stream to its session.
pub(crate) fn adopt<A: Application, B>(engine: &Engine<A>, mut request: Request<B>) -> Response<Body> {
    let sid = Query::parse(request.uri().query().unwrap_or_default()).sid();
    let Some(session) = sid.ok().flatten().and_then(|sid| engine.find(sid)) else {
        return reply::refusal(&HandshakeError::UnknownSession, true);
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let (conn, line) = session.attach(Transport::WebTransport);
            webtransport::serve(Box::new(TokioIo::new(upgraded)), session, conn, line).await;
        }
    });
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, TOKEN);
    response
}

const TOKEN: HeaderValue = HeaderValue::from_static("socketmesh-webtransport");

const UNREACHABLE: &str = "the node that owns this session cannot be reached";
