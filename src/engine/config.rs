//! What can be set about Engine.IO sessions; the defaults are Node's where Node has them.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::handshake::Transport;

/// How sessions behave. The same on every node of a cluster: any node may serve any session's requests.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::engine::{Config, Transport};
///
/// let config = Config {
///     ping_interval: Duration::from_secs(10),
///     transports: vec![Transport::WebSocket],
///     ..Config::default()
/// };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Time from one answered ping to the next; clients of Engine.IO 3 are told to ping this often. 1 ms to 1 day, default 25 s. Shorter finds dead clients
    /// sooner and keeps more proxies from closing idle connections; longer costs less traffic and fewer
    /// wake-ups of mobile clients.
    pub ping_interval: Duration,
    /// Time the client has to answer a ping. 1 ms to 1 day, default 20 s. Shorter finds dead clients sooner;
    /// longer forgives slow networks. The client gives up on the server after both together.
    pub ping_timeout: Duration,
    /// Time an upgrading WebSocket has from its opening to the upgrade. 1 ms to 1 hour, default 10 s.
    /// Afterwards only that WebSocket is closed; the session stays on polling. A WebTransport session has as long
    /// to open its stream and send its first packet, and then as long again to upgrade.
    pub upgrade_timeout: Duration,
    /// Largest body of a POST and largest WebSocket or WebTransport message of a client, in bytes. 1 to 268 435 456 (256
    /// MiB), default 1 000 000. Larger lets one client hold more memory. Told to clients in the handshake.
    pub max_payload: usize,
    /// Transports that clients may use. At least one, none twice; default polling and websocket. WebTransport needs
    /// [`Node::serve_webtransport`](crate::Node::serve_webtransport) as well. Clients of polling are offered the
    /// others, in this order.
    pub transports: Vec<Transport>,
    /// Whether a polling client is told that it may upgrade. Default true. False does not refuse a client
    /// that does anyway.
    pub allow_upgrades: bool,
    /// Whether clients of Engine.IO 3 are served, which is what Socket.IO 1 and 2 speak. Default false: they are
    /// refused with code 5. True also answers clients that ask for JSONP (`j` in the query), of either version.
    /// Node: `allowEIO3`.
    pub allow_eio3: bool,
    /// Time a gracefully closed session waits for its client to take what is queued. 1 ms to 1 hour, default
    /// 30 s. Longer loses less to slow clients and holds their memory longer.
    pub close_timeout: Duration,
    /// Most bytes that may wait for one client. 4 096 to 4 294 967 295, default 4 194 304 (4 MiB). Past it
    /// volatile packets are dropped, then the client is closed. Smaller protects memory; larger forgives
    /// pauses of slow clients.
    pub max_buffered: usize,
    /// Whether WebSocket messages are compressed for clients that can read that. Default `None`: they are not. It saves
    /// traffic and costs time: about 20 µs for 2 KiB, 6 ms for 1 MiB, once for all receivers of a message. Node:
    /// `perMessageDeflate`.
    pub per_message_deflate: Option<Compression>,
    /// Whether answers to polls are compressed for clients that can read that. Default: from 1024 bytes on; `None`:
    /// never. Node: `httpCompression`.
    pub http_compression: Option<Compression>,
}

/// What is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The size from which on a message or an answer is compressed, in bytes; default 1024. Less saves little. WebSocket
    /// messages below 64 bytes never are.
    pub threshold: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { threshold: 1024 }
    }
}

impl Config {
    /// Checks every range.
    ///
    /// # Errors
    /// The first key whose value is outside its range; change it to what `expected` says.
    pub fn validate(&self) -> Result<(), ConfigError> {
        duration("ping_interval", self.ping_interval, DAY)?;
        duration("ping_timeout", self.ping_timeout, DAY)?;
        duration("upgrade_timeout", self.upgrade_timeout, HOUR)?;
        duration("close_timeout", self.close_timeout, HOUR)?;
        size("max_payload", self.max_payload, 1..=1 << 28, "1 to 268435456 bytes")?;
        size("max_buffered", self.max_buffered, 4096..=u32::MAX as usize, "4096 to 4294967295 bytes")?;
        self.validate_transports()
    }

    fn validate_transports(&self) -> Result<(), ConfigError> {
        let transports = &self.transports;
        let distinct: HashSet<_> = transports.iter().collect();
        if !transports.is_empty() && distinct.len() == transports.len() {
            Ok(())
        } else {
            Err(ConfigError::new("transports", transports, "one or several of the transports, none twice"))
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_payload: 1_000_000,
            transports: vec![Transport::Polling, Transport::WebSocket],
            allow_upgrades: true,
            allow_eio3: false,
            close_timeout: Duration::from_secs(30),
            max_buffered: 4 << 20,
            per_message_deflate: None,
            http_compression: Some(Compression::default()),
        }
    }
}

/// A value outside its range. Nothing was started.
///
/// ```
/// let config = socketmesh::engine::Config { max_payload: 0, ..Default::default() };
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.to_string(), "max_payload = 0: expected 1 to 268435456 bytes");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: expected {expected}")]
pub struct ConfigError {
    /// Which setting.
    pub key: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be set to.
    pub expected: &'static str,
}

impl ConfigError {
    fn new(key: &'static str, value: impl fmt::Debug, expected: &'static str) -> Self {
        Self { key, value: format!("{value:?}"), expected }
    }
}

fn duration(
    key: &'static str,
    value: Duration,
    (most, expected): (Duration, &'static str),
) -> Result<(), ConfigError> {
    if (Duration::from_millis(1)..=most).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::new(key, value, expected))
    }
}

fn size(
    key: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if range.contains(&value) { Ok(()) } else { Err(ConfigError::new(key, value, expected)) }
}

/// Clients wait for a ping with a timer of JavaScript, which ends at 24 days.
const DAY: (Duration, &str) = (Duration::from_secs(86_400), "1 ms to 1 day");
const HOUR: (Duration, &str) = (Duration::from_secs(3600), "1 ms to 1 hour");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_value_outside_its_range_is_named() {
        let key = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().key
        };
        assert_eq!(key(|c| c.ping_interval = Duration::ZERO), "ping_interval");
        assert_eq!(key(|c| c.ping_timeout = Duration::MAX), "ping_timeout");
        assert_eq!(key(|c| c.upgrade_timeout = Duration::from_secs(3601)), "upgrade_timeout");
        assert_eq!(key(|c| c.close_timeout = Duration::ZERO), "close_timeout");
        assert_eq!(key(|c| c.max_payload = 0), "max_payload");
        assert_eq!(key(|c| c.max_buffered = 4095), "max_buffered");
        assert_eq!(key(|c| c.transports.clear()), "transports");
        assert_eq!(key(|c| c.transports = vec![Transport::Polling; 2]), "transports");
    }

    #[test]
    fn the_error_says_what_is_wrong_and_what_would_be_right() {
        let config = Config { max_payload: 0, ..Config::default() };
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "max_payload = 0: expected 1 to 268435456 bytes");
    }
}
