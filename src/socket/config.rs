//! Settings of the Socket.IO layer.

use std::time::Duration;

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
    /// How long a client may take to join its first namespace before its session is closed. Default 45 s. Node:
    /// `connectTimeout`.
    pub connect_timeout: Duration,
    /// How many namespaces one client may be in, or be about to enter; it is refused further ones with `too many
    /// namespaces`. Default 256. Node has no such limit.
    pub max_namespaces: usize,
    /// Binary attachments of one packet from a client. Default 10, as in Node's parser: current clients accept no more
    /// either.
    pub max_attachments: usize,
    /// Bytes that the incomplete packet of one client may hold. Default 10 MB: ten attachments of the engine's default
    /// `max_payload`. Node has no such limit.
    pub max_pending_bytes: usize,
    /// How packets are encoded for clients. Default [`Parser::Json`]. It has to be the same on every node, and the one
    /// that the clients were given: it is not negotiated. Node: `parser`.
    pub parser: Parser,
    /// How long the attachments of one packet may take to arrive before the session is closed. Default 20 s, generous
    /// for a slow uplink. Node waits forever.
    pub attachment_timeout: Duration,
}

setters! {
    Config {
        connect_timeout: Duration,
        max_namespaces: usize,
        max_attachments: usize,
        max_pending_bytes: usize,
        parser: Parser,
        attachment_timeout: Duration,
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
        }
    }
}

/// How the packets of Socket.IO are encoded for clients. Node: `parser`.
///
/// ```
/// use socketmesh::socket::{Config, Parser};
///
/// assert_eq!(Config::default().parser, Parser::Json);
/// let builder = socketmesh::Node::builder().socket(Config::default().parser(Parser::MessagePack));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Parser {
    /// Text, and a binary message for each attachment: the default parser of every client (`socket.io-parser`).
    #[default]
    Json,
    /// One binary message for each packet: `socket.io-msgpack-parser` 3.0, and 2.2 for clients of version 2.
    ///
    /// It saves bytes where packets are numbers or bytes. Handlers see the same values either way: what they take and
    /// emit is turned from JSON and to it at the client's edge, once per message of a client and once per emit. What
    /// JSON cannot say is lost there: a date arrives as its ISO string, `undefined` as nothing (in an array as `null`),
    /// NaN as `null`; keys of maps are text.
    MessagePack,
}

impl Parser {
    /// What nodes call it when they meet; those with different ones refuse each other.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "socket.io/5",
            Self::MessagePack => "socket.io-msgpack/5",
        }
    }
}
