//! The transports and protocol versions of Engine.IO.

use std::fmt;

/// How packets travel between a client and its session.
///
/// ```
/// assert_eq!(socketmesh::engine::Transport::WebSocket.as_str(), "websocket");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling: GETs wait for packets of the server, POSTs carry those of the client.
    Polling,
    /// A WebSocket.
    WebSocket,
    /// One bidirectional stream of a WebTransport session, over HTTP/3.
    WebTransport,
}

impl Transport {
    /// The name in a handshake: `polling`, `websocket` or `webtransport`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
            Self::WebTransport => "webtransport",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version of Engine.IO. A client that does not say 4 means 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Under Socket.IO 1 and 2. Served only with [`Config::allow_eio3`](super::Config::allow_eio3).
    V3,
    /// Under Socket.IO 3 and 4.
    V4,
}
