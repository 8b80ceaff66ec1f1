//! Tells the application which requests are refused: Node's event `connection_error`.

use std::fmt;
use std::sync::Arc;

use hyper::Response;
use hyper::http::request::Parts;

use super::body::Body;
use super::reply::Refused;
use crate::catch_panic;
use crate::engine::HandshakeError;

/// Is called for every refused request. It must not block. A panic is logged. Node: the event `connection_error` of
/// `io.engine`.
///
/// ```
/// use socketmesh::http::{Config, OnConnectionError};
///
/// let log = OnConnectionError::new(|error| println!("{} {:?}", error.code(), error.context()));
/// let config = Config::default().on_connection_error(log);
/// ```
#[derive(Clone)]
pub struct OnConnectionError(Arc<OnError>);

type OnError = dyn Fn(&ConnectionError<'_>) + Send + Sync;

impl OnConnectionError {
    /// Calls `listener` on the node that refuses. A request for a session is refused by the node that owns the session.
    pub fn new(listener: impl Fn(&ConnectionError<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Reports `request` if `response` refuses it.
    pub(crate) fn report_refusal(&self, request: &Parts, response: &Response<Body>) {
        if let Some(Refused(error)) = response.extensions().get() {
            self.report(request, error);
        }
    }

    pub(crate) fn report(&self, request: &Parts, error: &HandshakeError) {
        if catch_panic::call(|| (self.0)(&ConnectionError { request, error })).is_none() {
            tracing::error!("a listener for connection errors panicked");
        }
    }
}

/// A request that was refused.
#[derive(Debug)]
pub struct ConnectionError<'a> {
    request: &'a Parts,
    error: &'a HandshakeError,
}

impl<'a> ConnectionError<'a> {
    /// The request, without its body.
    pub const fn request(&self) -> &'a Parts {
        self.request
    }

    /// Why it was refused.
    pub const fn error(&self) -> &'a HandshakeError {
        self.error
    }

    /// The code the client sees, 0 to 5.
    pub const fn code(&self) -> u8 {
        self.error.code()
    }

    /// The text the client sees.
    pub fn message(&self) -> &'a str {
        self.error.message()
    }

    /// The most telling key of Node's `context`, and its value.
    pub fn context(&self) -> (&'static str, String) {
        let name = |name: &str| ("name", name.to_owned());
        match self.error {
            HandshakeError::UnknownTransport { given } => ("transport", given.clone()),
            HandshakeError::UnknownSession => ("sid", self.query_value("sid")),
            HandshakeError::BadMethod { given } => ("method", given.clone()),
            HandshakeError::TransportMismatch => name("TRANSPORT_MISMATCH"),
            HandshakeError::ProtocolMismatch => name("PROTOCOL_MISMATCH"),
            HandshakeError::NotAnUpgrade => name("TRANSPORT_HANDSHAKE_ERROR"),
            HandshakeError::Middleware { .. } => name("MIDDLEWARE_FAILURE"),
            HandshakeError::Forbidden { message } => ("message", message.clone()),
            HandshakeError::UnsupportedProtocol => ("protocol", "3".to_owned()),
        }
    }

    fn query_value(&self, key: &str) -> String {
        let query = self.request.uri.query().unwrap_or_default();
        let value = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key);
        value.map_or_else(String::new, |(_, value)| value.into_owned())
    }
}

impl fmt::Debug for OnConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnConnectionError")
    }
}
