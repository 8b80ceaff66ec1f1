//! Why Engine.IO refuses a request, a packet or a session (engine.io protocol v4, "HTTP errors").

use std::fmt;

/// Why a handshake or a request with a session id was refused.
///
/// Nothing was created or changed; the client may retry with a corrected request. On the wire: HTTP 400 (403
/// for [`Forbidden`](Self::Forbidden)) with `{"code":…,"message":"…"}`; an upgrade request gets 400 and the
/// bare message.
///
/// ```
/// use socketmesh::engine::HandshakeError;
///
/// let unknown = HandshakeError::UnknownSession;
/// assert_eq!((unknown.code(), unknown.message()), (1, "Session ID unknown"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// `transport` is absent, repeated, unknown or not enabled. Code 0.
    #[error("transport {given:?} is not offered")]
    UnknownTransport {
        /// What the query said, shortened; empty when it said nothing or more than one thing.
        given: String,
    },
    /// No live session has this `sid`: it ended, or never was. Code 1. The client starts over with a new
    /// handshake.
    #[error("no session has this sid")]
    UnknownSession,
    /// A handshake with another method than GET. Code 2.
    #[error("a handshake is a GET, not a {given}")]
    BadMethod {
        /// The method of the request, shortened.
        given: String,
    },
    /// The `Origin` header holds characters that no header may hold. Code 3.
    #[error("the Origin header holds invalid characters")]
    InvalidOrigin,
    /// The session uses another transport: a poll for a session that was upgraded or began as a WebSocket.
    /// Code 3. The session lives on.
    #[error("the session uses another transport")]
    TransportMismatch,
    /// The session was opened with another `EIO` version. Code 3. The session lives on.
    #[error("the session speaks another protocol version")]
    ProtocolMismatch,
    /// `transport=websocket` in a request that does not upgrade. Code 3.
    #[error("transport=websocket needs an upgrade request")]
    NotAnUpgrade,
    /// A middleware of the application said no. Code 3.
    #[error("refused by a middleware: {reason}")]
    Middleware {
        /// What it said; the client is not told.
        reason: String,
    },
    /// The application's `allow_request` said no. Code 4, HTTP 403.
    #[error("refused by the application: {message}")]
    Forbidden {
        /// What the client is told; Node's default is `Forbidden`.
        message: String,
    },
    /// `EIO` is not 4, and [`allow_eio3`](super::Config::allow_eio3) is off. Code 5.
    #[error("only Engine.IO protocol version 4 is spoken")]
    UnsupportedProtocol,
}

impl HandshakeError {
    /// The number the client sees, 0 to 5.
    pub const fn code(&self) -> u8 {
        match self {
            Self::UnknownTransport { .. } => 0,
            Self::UnknownSession => 1,
            Self::BadMethod { .. } => 2,
            Self::InvalidOrigin
            | Self::TransportMismatch
            | Self::ProtocolMismatch
            | Self::NotAnUpgrade
            | Self::Middleware { .. } => 3,
            Self::Forbidden { .. } => 4,
            Self::UnsupportedProtocol => 5,
        }
    }

    /// The text the client sees, word for word Node's.
    pub fn message(&self) -> &str {
        match self {
            Self::UnknownTransport { .. } => "Transport unknown",
            Self::UnknownSession => "Session ID unknown",
            Self::BadMethod { .. } => "Bad handshake method",
            Self::InvalidOrigin
            | Self::TransportMismatch
            | Self::ProtocolMismatch
            | Self::NotAnUpgrade
            | Self::Middleware { .. } => "Bad request",
            Self::Forbidden { message } => message,
            Self::UnsupportedProtocol => "Unsupported protocol version",
        }
    }

    /// The status over plain HTTP. An upgrade request is always refused with 400.
    pub const fn status_http(&self) -> u16 {
        if matches!(self, Self::Forbidden { .. }) { 403 } else { 400 }
    }

    /// The JSON body over plain HTTP.
    pub(crate) fn body(&self) -> String {
        format!(r#"{{"code":{},"message":{}}}"#, self.code(), serde_json::Value::from(self.message()))
    }
}

/// Bytes of a client that are not an Engine.IO packet. The session closes with `parse error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PacketError {
    /// Nothing where a packet should be: an empty body, an empty frame, or two separators in a row.
    #[error("an empty packet")]
    Empty,
    /// The first character names no packet type.
    #[error("unknown packet type {0:?}")]
    UnknownType(char),
    /// A binary packet that is not base64.
    #[error("a binary packet that is not base64")]
    InvalidBase64,
    /// Version 3: bytes that are no message.
    #[error("a binary packet of type {0}")]
    BinaryType(u8),
    /// Version 3: a length that is none, or that does not fit what follows.
    #[error("a packet whose length is wrong")]
    InvalidLength,
    /// WebTransport: a frame longer than allowed, known from its header.
    #[error("a frame that is too large")]
    TooLarge,
    /// Version 3: text in a payload of bytes that is not UTF-8.
    #[error("text that is not UTF-8")]
    InvalidUtf8,
}

/// Why a session ended, in Node's words.
///
/// ```
/// assert_eq!(socketmesh::engine::CloseReason::PingTimeout.as_str(), "ping timeout");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The transport failed or broke its rules: overlapping requests, an aborted poll, a lost connection, a
    /// client too slow for what it is sent.
    TransportError,
    /// The client closed the transport.
    TransportClose,
    /// The server closed this session.
    ForcedClose,
    /// The client did not answer a ping in time.
    PingTimeout,
    /// The client sent bytes that are no packet.
    ParseError,
    /// This node is stopping.
    ServerShuttingDown,
}

impl CloseReason {
    /// The reason as applications see it in Node.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TransportError => "transport error",
            Self::TransportClose => "transport close",
            Self::ForcedClose => "forced close",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerShuttingDown => "server shutting down",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_code_text_and_status_of_node() {
        let forbidden = HandshakeError::Forbidden { message: "say \"please\"".into() };
        for (error, status, body) in [
            (
                HandshakeError::UnknownTransport { given: "tcp".into() },
                400,
                r#"{"code":0,"message":"Transport unknown"}"#,
            ),
            (HandshakeError::UnknownSession, 400, r#"{"code":1,"message":"Session ID unknown"}"#),
            (
                HandshakeError::BadMethod { given: "POST".into() },
                400,
                r#"{"code":2,"message":"Bad handshake method"}"#,
            ),
            (HandshakeError::InvalidOrigin, 400, r#"{"code":3,"message":"Bad request"}"#),
            (HandshakeError::TransportMismatch, 400, r#"{"code":3,"message":"Bad request"}"#),
            (HandshakeError::ProtocolMismatch, 400, r#"{"code":3,"message":"Bad request"}"#),
            (HandshakeError::NotAnUpgrade, 400, r#"{"code":3,"message":"Bad request"}"#),
            (
                HandshakeError::Middleware { reason: "no key".into() },
                400,
                r#"{"code":3,"message":"Bad request"}"#,
            ),
            (forbidden, 403, r#"{"code":4,"message":"say \"please\""}"#),
            (
                HandshakeError::UnsupportedProtocol,
                400,
                r#"{"code":5,"message":"Unsupported protocol version"}"#,
            ),
        ] {
            assert_eq!((error.status_http(), error.body().as_str()), (status, body));
        }
    }
}
