//! Settings of the Socket.IO layer.

use std::time::Duration;

use super::protocol::Parser;
use super::recovery::Recovery;
use crate::setters::setters;

/// Settings of the Socket.IO layer; Node's defaults where Node has them.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::socket::Config;
///
/// let config = Config::default().connect_timeout(Duration::from_secs(10));
/// let builder = socketmesh::Node::builder().socket(config);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// How long a client may take to enter its first namespace before its session is closed. Default 45 s. Node:
    /// `connectTimeout`.
    pub connect_timeout: Duration,
    /// How many namespaces one client may be in or be entering. Further ones are refused with `too many namespaces`. Default
    /// 256. Node has no such limit.
    pub max_namespaces: usize,
    /// How many binary attachments one packet of a client may have. The connection of a client that sends more is closed.
    /// Default 10, as in Node's parser; current clients accept no more either.
    pub max_attachments: usize,
    /// How many bytes a packet of a client and its attachments may have together. The connection of a client that sends more
    /// is closed. Default 10 MB: ten attachments of the engine's default `max_payload`. Node has no such limit.
    pub max_pending_bytes: usize,
    /// How packets are encoded for clients. Default [`Parser::Json`]. It is not negotiated, so it has to be the same on every
    /// node and in every client. Node: `parser`.
    pub parser: Parser,
    /// How long the attachments of one packet may take to arrive before the session is closed. Default 20 s, generous
    /// for a slow uplink. Node waits forever.
    pub attachment_timeout: Duration,
    /// Puts each client of version 2 into one more room, which the id names that it knows: `to(id)` reaches it then, from any
    /// node. Default `false`. Node: `socket.id` of such a client.
    ///
    /// Clients of version 2 are not told the id of their socket. What they have as `socket.id` is the id of the session, in `/` as
    /// it is and in other namespaces as `/chat#id`. **It is a secret**: who knows it can speak and listen in the place of the
    /// client; do not send it to other clients. With this setting it names a second room of the socket's own, which can be left as
    /// little as the first, and is in no list: not in [`Socket::rooms`](super::Socket::rooms), nor in `all_rooms`, and no observer
    /// sees it.
    pub version_2_ids: bool,
    /// Lets clients come back to their sockets, in every namespace without a [`recover`](crate::Namespace::recover) of its own.
    /// Default none. Node: `connectionStateRecovery`.
    pub recover: Option<Recovery>,
    /// How many sessions a node keeps for clients that may come back: those of its own sockets and as many of other nodes. One
    /// beyond that is not recovered. Default 1 000 000.
    pub max_kept_sessions: usize,
    /// How many bytes these sessions may take. Default 1 GiB.
    pub max_kept_bytes: usize,
    /// How many bytes of packets a node keeps for clients that may come back, over all namespaces and those of nodes that have left
    /// included; as many again may wait for clients that are coming back. Beyond that the oldest are dropped, of the namespace that
    /// is sent to first and then of the largest ones, and whoever misses one of them is not recovered. For each KiB of it one
    /// namespace is kept that nobody is in any more. Default 128 MiB.
    pub max_log_total: usize,
    /// What is sent to a client that is gone may take that long to be known as lost.
    pub(crate) heartbeat: Duration,
}

impl Config {
    /// Sets how long clients may be gone before that is known.
    pub(crate) fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }
}

setters! {
    Config {
        connect_timeout: Duration,
        max_namespaces: usize,
        max_attachments: usize,
        max_pending_bytes: usize,
        parser: Parser,
        attachment_timeout: Duration,
        version_2_ids: bool,
        recover: into Option<Recovery>,
        max_kept_sessions: usize,
        max_kept_bytes: usize,
        max_log_total: usize,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(45),
            max_namespaces: 256,
            max_attachments: 10,
            max_pending_bytes: 10_000_000,
            parser: Parser::Json,
            attachment_timeout: Duration::from_secs(20),
            version_2_ids: false,
            recover: None,
            max_kept_sessions: 1_000_000,
            max_kept_bytes: 1 << 30,
            max_log_total: 128 << 20,
            heartbeat: Duration::from_secs(45),
        }
    }
}
