//! Requests that nodes make of each other, beside those of clients that they forward. `Upgrade` says what they are, and the
//! edge removes such words from the requests of clients.

use hyper::Request;
use hyper::header::{HeaderMap, HeaderValue, UPGRADE};

use super::drain_body::DrainBody;
use crate::id::SessionId;

/// What one node asks of the owner of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeRequest {
    /// Takes a WebTransport stream for the session.
    Stream,
    /// Answers the waiting GET of the session, because the node that carries it stops.
    Release,
}

impl NodeRequest {
    /// What a request asks for; `None` if it is the request of a client.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let token = headers.get(UPGRADE)?;
        [Self::Stream, Self::Release].into_iter().find(|request| token == request.token())
    }

    /// The request for the session `sid`.
    pub(crate) fn of_session(self, sid: SessionId) -> Request<DrainBody> {
        let mut request = Request::new(DrainBody::default());
        if let Ok(uri) = format!("/?sid={sid}").parse() {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static(self.token()));
        request
    }

    /// Its value of `Upgrade`.
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Stream => "socketmesh-webtransport",
            Self::Release => "socketmesh-release",
        }
    }
}

/// Removes what only nodes may ask for from the request of a client.
pub(crate) fn remove_tokens(headers: &mut HeaderMap) {
    let is_token = |value: &HeaderValue| {
        value.as_bytes().get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
    };
    if headers.get_all(UPGRADE).iter().any(is_token) {
        headers.remove(UPGRADE);
    }
}

/// What every token begins with.
const RESERVED: &[u8] = b"socketmesh-";
