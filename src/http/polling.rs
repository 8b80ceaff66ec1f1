//! Long-polling: the GETs and POSTs of a session (behaviour as Node's `transports/polling.ts`).

use std::mem;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Response, StatusCode};

use super::body::Body;
use super::compression::Coding;
use super::drain_body::DrainBody;
use super::request::ClientRequest;
use super::{jsonp, reply};
use crate::engine::{
    Compression, HandshakeError, Payload, PollAnswer, PollReply, PostBody, PostReply, Protocol, SessionRef,
};

/// Answers a request of a polling session.
pub(crate) async fn respond<K: Send + 'static>(
    session: &SessionRef<K>,
    request: Box<ClientRequest>,
) -> Response<Body> {
    match *request.http.method() {
        Method::GET => poll(session, request).await,
        Method::POST => post(session, request).await,
        _ => reply::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Answers a GET with the next packets of the session; waits until there are some.
pub(crate) async fn poll<K: Send + 'static>(
    session: &SessionRef<K>,
    request: Box<ClientRequest>,
) -> Response<Body> {
    let (stamp, wishes, way) =
        (request.query.stamp(), Wishes::of(request.http.headers()), request.way.clone());
    // It may wait for long.
    drop(request);
    let (payload, compress) = match session.poll(stamp, way.as_ref()).await {
        PollAnswer::Payload { payload, compress } => (payload, compress),
        PollAnswer::Reply(PollReply::Mismatch) => {
            return reply::refusal(&HandshakeError::TransportMismatch, false);
        }
        PollAnswer::Reply(PollReply::Unknown) => {
            return reply::refusal(&HandshakeError::UnknownSession, false);
        }
        PollAnswer::Reply(_) => return reply::empty(StatusCode::BAD_REQUEST),
    };
    let mut response = match session.jsonp() {
        Some(j) => {
            let mut script = ok(wishes, "text/javascript; charset=UTF-8", jsonp::script(j, &payload.bytes));
            script.headers_mut().insert("x-xss-protection", HeaderValue::from_static("0"));
            script
        }
        None if payload.binary => ok(wishes, OCTETS, payload.bytes),
        None => ok(wishes, "text/plain; charset=UTF-8", payload.bytes),
    };
    // The owner compresses, because it knows which packets may be, and less travels to the edge.
    if let Some(compression) = session.config().http_compression.filter(|_| compress) {
        compress_if_wanted(wishes, compression, &mut response);
    }
    response
}

/// Compresses an answer from the threshold on if the client wants that. It leaves in chunks, without its length.
fn compress_if_wanted(wishes: Wishes, compression: Compression, response: &mut Response<Body>) {
    let is_long = response.body().size_hint().lower() >= compression.threshold.max(1) as u64;
    if let Some(coding) = wishes.coding.filter(|_| is_long) {
        let body = mem::take(response.body_mut());
        *response.body_mut() = body.compressed(coding, compression.deflation());
        response.headers_mut().insert(CONTENT_ENCODING, coding.header());
    }
}

async fn post<K: Send + 'static>(session: &SessionRef<K>, request: Box<ClientRequest>) -> Response<Body> {
    session.note_request(|| request.handshake());
    let ClientRequest { http, way, .. } = *request;
    let (head, body) = http.into_parts();
    let binary = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == OCTETS);
    let wishes = Wishes::of(&head.headers);
    drop(head);
    let mut post = session.post(way.as_ref());
    let form = session.jsonp().is_some();
    let text_only = form || session.handshake().protocol() == Protocol::V4;
    let limit = session.config().max_payload;
    let ended = tokio::select! {
        // The request is refused or the session closed, whatever the body holds.
        answer = post.answer() => return answered(wishes, &answer),
        body = read(body, limit) => match body {
            // The client went away, or its way was lost. Dropping the POST tells the session.
            Err(ReadError::Aborted) => return reply::empty(StatusCode::BAD_REQUEST),
            _ if binary && text_only => PostBody::Invalid,
            Err(ReadError::TooLarge) => PostBody::TooLarge,
            Ok(body) if form => PostBody::Whole(Payload::text(jsonp::payload(&body))),
            Ok(bytes) => PostBody::Whole(Payload { bytes, binary }),
        },
    };
    post.body(ended);
    answered(wishes, &post.answer().await)
}

fn answered(wishes: Wishes, answer: &PostReply) -> Response<Body> {
    match answer {
        PostReply::Ok => ok(wishes, "text/html", Bytes::from_static(b"ok")),
        PostReply::Refused => reply::empty(StatusCode::BAD_REQUEST),
        PostReply::TooLarge => reply::empty(StatusCode::PAYLOAD_TOO_LARGE),
        PostReply::Mismatch => reply::refusal(&HandshakeError::TransportMismatch, false),
        PostReply::Unknown => reply::refusal(&HandshakeError::UnknownSession, false),
    }
}

enum ReadError {
    TooLarge,
    Aborted,
}

/// Reads a body of at most `limit` bytes.
async fn read(mut body: DrainBody, limit: usize) -> Result<Bytes, ReadError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLarge);
    }
    if let Some(whole) = body.take_whole() {
        return Ok(whole);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_gone| ReadError::Aborted)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(ReadError::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn ok(wishes: Wishes, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if wishes.is_internet_explorer {
        headers.insert("x-xss-protection", HeaderValue::from_static("0"));
    }
    response
}

/// The content type of a payload of bytes.
const OCTETS: &str = "application/octet-stream";

/// What the head of a request says about the form of its answer.
#[derive(Debug, Clone, Copy)]
struct Wishes {
    /// How the answer may be compressed.
    coding: Option<Coding>,
    /// Whether the client is Internet Explorer, whose XSS filter breaks long-polling.
    is_internet_explorer: bool,
}

impl Wishes {
    fn of(headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let is_internet_explorer = agent.contains(";MSIE") || agent.contains("Trident/");
        Self { coding: Coding::wanted(headers), is_internet_explorer }
    }
}
