//! Settings of the Socket.IO layer.

use std::time::Duration;

/// Settings of the Socket.IO layer; Node's defaults where Node has them.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// How long the attachments of one packet may take to arrive before the session is closed. Default 20 s, generous
    /// for a slow uplink. Node waits forever.
    pub attachment_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(45),
            max_namespaces: 256,
            max_attachments: 10,
            max_pending_bytes: 10_000_000,
            attachment_timeout: Duration::from_secs(20),
        }
    }
}
