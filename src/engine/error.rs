//! Why Engine.IO refuses a request, a packet or a session (engine.io protocol v4, "HTTP errors").

use std::fmt;

/// Why a handshake or a request with a session id was refused.
///
/// Nothing was created or changed. The client receives HTTP 400 (403 for [`Forbidden`](Self::Forbidden)) with
/// `{"code":…,"message":"…"}`. If it asked for a WebSocket, it receives 400 with the bare message.
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
        /// The name in the query, shortened to 32 characters; empty if there was none or more than one.
        given: String,
    },
    /// No live session has this `sid`: it has ended, or never existed. Code 1. Clients start over with a new handshake.
    #[error("no live session has this sid")]
    UnknownSession,
    /// A handshake with a method other than GET. Code 2.
    #[error("a handshake is a GET, not a {given}")]
    BadMethod {
        /// The method of the request, shortened.
        given: String,
    },
    /// A poll for a session that uses a WebSocket or WebTransport. Code 3. The session is not affected.
    #[error("the session uses another transport")]
    TransportMismatch,
    /// The session was opened with another `EIO` version. Code 3. The session is not affected.
    #[error("the session speaks another protocol version")]
    ProtocolMismatch,
    /// `transport=websocket` in a request that does not upgrade. Code 3.
    #[error("transport=websocket needs an upgrade request")]
    NotAnUpgrade,
    /// A [`Middleware`](crate::http::Middleware) of the application refused the request. Code 3.
    #[error("refused by a middleware: {reason}")]
    Middleware {
        /// The reason, which is not sent to the client.
        reason: String,
    },
    /// The application's [`AllowRequest`](crate::http::AllowRequest) refused the session. Code 4, HTTP 403.
    #[error("refused by the application: {message}")]
    Forbidden {
        /// The message for the client; `Forbidden` if the application gave an empty one.
        message: String,
    },
    /// `EIO` is not 4, and [`allow_eio3`](super::Config::allow_eio3) is off. Code 5.
    #[error("only version 4 of the Engine.IO protocol is served")]
    UnsupportedProtocol,
}

impl HandshakeError {
    /// A page of another origin than those that were named.
    pub(crate) fn other_origin() -> Self {
        Self::Forbidden { message: "Origin not allowed".to_owned() }
    }

    /// The number the client sees, 0 to 5.
    pub const fn code(&self) -> u8 {
        match self {
            Self::UnknownTransport { .. } => 0,
            Self::UnknownSession => 1,
            Self::BadMethod { .. } => 2,
            Self::TransportMismatch
            | Self::ProtocolMismatch
            | Self::NotAnUpgrade
            | Self::Middleware { .. } => 3,
            Self::Forbidden { .. } => 4,
            Self::UnsupportedProtocol => 5,
        }
    }

    /// The text the client sees, which is Node's.
    pub fn message(&self) -> &str {
        match self {
            Self::UnknownTransport { .. } => "Transport unknown",
            Self::UnknownSession => "Session ID unknown",
            Self::BadMethod { .. } => "Bad handshake method",
            Self::TransportMismatch
            | Self::ProtocolMismatch
            | Self::NotAnUpgrade
            | Self::Middleware { .. } => "Bad request",
            Self::Forbidden { message } => message,
            Self::UnsupportedProtocol => "Unsupported protocol version",
        }
    }

    /// The HTTP status. A request for a WebSocket is always refused with 400.
    pub const fn status_http(&self) -> u16 {
        if matches!(self, Self::Forbidden { .. }) { 403 } else { 400 }
    }

    /// The JSON body over plain HTTP.
    pub(crate) fn body(&self) -> String {
        format!(r#"{{"code":{},"message":{}}}"#, self.code(), serde_json::Value::from(self.message()))
    }
}

/// Why the bytes of a client are not an Engine.IO packet. The session closes with `parse error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PacketError {
    /// An empty body, an empty frame, or two separators in a row.
    #[error("an empty packet")]
    Empty,
    /// The first character names no packet type.
    #[error("unknown packet type {0:?}")]
    UnknownType(char),
    /// Version 3: base64 without the type of a message.
    #[error("base64 without the type of a message")]
    InvalidBase64,
    /// Version 3: a packet of bytes that is not a message.
    #[error("a binary packet of type {0}")]
    BinaryType(u8),
    /// Version 3: a length that is not a number, or that exceeds what follows.
    #[error("a packet whose length is wrong")]
    InvalidLength,
    /// WebTransport: a frame longer than allowed, known from its header.
    #[error("a frame that is too large")]
    TooLarge,
    /// Version 3: text in a payload of bytes that is not UTF-8.
    #[error("text that is not UTF-8")]
    InvalidUtf8,
}

/// Why a session ended. Displayed as in Node.
///
/// ```
/// assert_eq!(socketmesh::engine::CloseReason::PingTimeout.as_str(), "ping timeout");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The transport failed or broke the protocol: overlapping requests, an aborted poll, a lost connection, or a client
    /// that does not take its packets.
    TransportError,
    /// The client closed the transport.
    TransportClose,
    /// The server closed this session.
    ForcedClose,
    /// The client did not answer a ping in time.
    PingTimeout,
    /// The client sent an invalid packet.
    ParseError,
    /// This node is stopping.
    ServerShuttingDown,
}

impl CloseReason {
    /// The reason as Node names it.
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
