//! Answers without a payload: refusals and errors.

use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::refusal::Refusal;
use crate::engine::{HandshakeError, NotAdmitted, OpenSessionError};
use crate::excerpt::Excerpt;

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Marks an answer as the refusal of a request, in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) HandshakeError);

/// Refuses a request: with JSON over HTTP, and with status 400 and the bare message if it asked for a WebSocket.
pub(crate) fn refusal(error: &HandshakeError, upgrade: bool) -> Response<Body> {
    tracing::debug!(error = %Excerpt::reason(error), "request refused");
    refused(error_response(error, upgrade), error.into())
}

/// Says in the answer why it refuses.
pub(crate) fn refused(mut response: Response<Body>, why: Refusal) -> Response<Body> {
    response.extensions_mut().insert(why);
    response
}

fn error_response(error: &HandshakeError, upgrade: bool) -> Response<Body> {
    if upgrade {
        let mut response = Response::new(Body::from(error.message().to_owned()));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response.extensions_mut().insert(Refused(error.clone()));
        return response;
    }
    let mut response = Response::new(Body::from(error.body()));
    *response.status_mut() = StatusCode::from_u16(error.status_http()).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(Refused(error.clone()));
    response
}

/// This node takes no new clients now: a load balancer should lead this one to another node.
pub(crate) fn unavailable(why: &'static str) -> Response<Body> {
    try_again(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// The owner of the session cannot be reached. Whether its session still exists is not known yet.
///
/// Load balancers and outlier detection count 5xx against the node that answers (nginx: `proxy_next_upstream`, HAProxy:
/// `observe layer7`, Envoy: `consecutive_5xx`, Traefik: `ResponseCodeRatio`), and this one is well. Of the 4xx, 404 and 410 may
/// be cached, and 408, 421 and 425 are sent again by some clients on their own. To an Engine.IO client all of them are a
/// `transport error`, so it opens a new session.
pub(crate) fn unreachable() -> Response<Body> {
    try_again(StatusCode::FAILED_DEPENDENCY, "the node that owns this session cannot be reached")
}

fn try_again(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(why));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A client that may not open a session now. Another node may have a place, where this one is full; of the limits of an address
/// a load balancer is not to think that they are about this node.
pub(crate) fn not_admitted(why: NotAdmitted) -> Response<Body> {
    let status = match why {
        NotAdmitted::NodeIsFull => StatusCode::SERVICE_UNAVAILABLE,
        NotAdmitted::AddressIsFull | NotAdmitted::TooOften => StatusCode::TOO_MANY_REQUESTS,
    };
    refused(try_again(status, why.as_str()), why.into())
}

/// No session could be opened, which is no fault of the client.
pub(crate) fn not_opened(error: &OpenSessionError) -> Response<Body> {
    tracing::error!(%error, "no session could be opened");
    refused(unavailable("no session could be opened"), Refusal::Failed)
}
