//! The settings of Engine.IO sessions. The defaults are Node's where Node has the setting.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::protocol::Transport;
use super::websocket::Deflation;
use crate::setters::setters;

/// Settings of the sessions. They must be the same on every node of a cluster, because any node may serve the requests of
/// any session.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::engine::{Config, Transport};
///
/// let config = Config::default()
///     .ping_interval(Duration::from_secs(10))
///     .transports([Transport::WebSocket]);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The time from one answered ping to the next; clients of Engine.IO 3 are told to ping this often. 1 ms to 1 day,
    /// default 25 s. A shorter time finds dead clients sooner and keeps more proxies from closing idle connections. A longer
    /// one costs less traffic and fewer wake-ups of mobile clients.
    pub ping_interval: Duration,
    /// The time in which the client has to answer a ping. 1 ms to 1 day, default 20 s. A shorter time finds dead clients
    /// sooner; a longer one forgives slow networks. A client that receives no ping for the sum of both times gives up on
    /// the server.
    pub ping_timeout: Duration,
    /// The time from the opening of an upgrading WebSocket to the upgrade. 1 ms to 1 hour, default 10 s. After that the
    /// WebSocket is closed and the session stays on polling. A WebTransport session has this time to open its stream and
    /// send its first packet, and then once more to upgrade.
    pub upgrade_timeout: Duration,
    /// The largest body of a POST and the largest WebSocket or WebTransport message of a client, in bytes. 1 to 268 435 456
    /// (256 MiB), default 1 000 000. A larger value lets one client hold more memory. Clients are told in the handshake.
    pub max_payload: usize,
    /// The transports that clients may use. At least one, none twice; default polling and WebSocket. WebTransport needs
    /// [`Node::serve_webtransport`](crate::Node::serve_webtransport) as well. Polling clients are offered upgrades to the
    /// others, in this order.
    pub transports: Vec<Transport>,
    /// Whether a polling client is offered upgrades. Default true. A client that upgrades without the offer is not refused.
    pub allow_upgrades: bool,
    /// Whether clients of Engine.IO 3 are served, the protocol of Socket.IO 1 and 2. Default false: they are refused with
    /// code 5. True also serves JSONP to clients of either version that ask for it (`j` in the query).
    /// Node: `allowEIO3`.
    pub allow_eio3: bool,
    /// How long a session that is closed gracefully waits for its client to take what is queued. 1 ms to 1 hour, default
    /// 30 s. A longer time loses less to slow clients and holds their memory longer.
    pub close_timeout: Duration,
    /// How many bytes may wait for one client that takes none of them. 4 096 to 4 294 967 295, default 4 194 304 (4 MiB). While
    /// more wait, a client that takes nothing for 10 s (on polling: sends no GET for 30 s) is closed with `transport error`; one that reads is not,
    /// up to [`max_burst`](Self::max_burst). A smaller value protects memory; a larger one forgives pauses of slow clients.
    pub max_buffered: usize,
    /// How many bytes may wait for one client, however fast it reads: beyond that it is closed with `transport error`. 4 096 to
    /// 4 294 967 295, default 67 108 864 (64 MiB); at least `max_buffered` in any case. An application that sends more waits for
    /// room: [`Socket::room`](crate::Socket::room).
    pub max_burst: usize,
    /// How many bytes may wait for all clients of this node together, and be held of deflated messages that clients did not finish.
    /// What is sent to many counts once, and what is on its way to a client does not count. Any number, default 1 073 741 824 (1 GiB).
    /// When they are used up, the clients that have taken nothing for longest are closed with `transport error`, as many as
    /// necessary, but none for which 64 KiB or less waits; so is any beyond `max_buffered` that is sent more. When half of them is, a
    /// deflated message that becomes longer than 64 KiB is refused with code 1009.
    pub max_buffered_total: usize,
    /// How many sessions this node may have; further ones are refused with 503 and counted
    /// (`socketmesh_engine_handshakes_refused_node_full_total`). Any number, default 1 000 000. A small polling session takes about
    /// 60 KiB, one on a WebSocket 10 KiB.
    pub max_sessions: usize,
    /// How many sessions one client address may have; further ones are refused with 429 and counted
    /// (`socketmesh_engine_handshakes_refused_address_full_total`). A network of 64 bits counts as one address of IPv6. Default
    /// `None`: no limit, because behind a proxy all clients have its address.
    pub max_sessions_per_address: Option<usize>,
    /// How many sessions one client address may open in a second, also all at once; further ones are refused with 429 and counted
    /// (`socketmesh_engine_handshakes_refused_too_often_total`). Default `None`: no limit.
    pub max_handshakes_per_address: Option<u32>,
    /// Which WebSocket messages are compressed for clients that support it. Default `None`: no messages. Compression saves
    /// traffic and costs time: about 20 µs for 2 KiB and 6 ms for 1 MiB, once for all receivers of a message. Node:
    /// `perMessageDeflate`.
    pub per_message_deflate: Option<Compression>,
    /// Which answers to polls are compressed for clients that support it. Default: those of 1024 bytes or more. `None`: no
    /// answers. Node: `httpCompression`.
    pub http_compression: Option<Compression>,
    /// The subprotocols of WebSocket that this server speaks, best first (RFC 6455, section 1.9). Of those that a client offers
    /// the best is chosen, and none if there is none: then browsers close. Default: `None`, the first one that is offered, as
    /// Node. Node: `handleProtocols` of `wsEngine`.
    pub subprotocols: Option<Vec<String>>,
    /// Whether each session keeps the head of the newest request that brings messages of its client, a POST or the WebSocket that
    /// it was upgraded to, and each event that of its own, for [`Conn::request`](crate::socket::Conn::request): cookies may have
    /// changed since the first one. Default false: a head takes up to 16 KiB, also for each event that waits, and time at each POST.
    pub keep_requests: bool,
}

setters! {
    Config {
        ping_interval: Duration,
        ping_timeout: Duration,
        upgrade_timeout: Duration,
        max_payload: usize,
        transports: into Vec<Transport>,
        allow_upgrades: bool,
        allow_eio3: bool,
        close_timeout: Duration,
        max_buffered: usize,
        max_burst: usize,
        max_buffered_total: usize,
        max_sessions: usize,
        max_sessions_per_address: into Option<usize>,
        max_handshakes_per_address: into Option<u32>,
        per_message_deflate: into Option<Compression>,
        http_compression: into Option<Compression>,
        subprotocols: into Option<Vec<String>>,
        keep_requests: bool,
    }
}

/// What is compressed, and how.
///
/// A message is compressed once for all its receivers, so there is one level and one window for all of them, and none of its
/// bytes refers to an earlier message (Node: `serverNoContextTakeover` and `clientNoContextTakeover` are always on).
///
/// ```
/// use socketmesh::engine::{Compression, Config};
///
/// let config = Config::default().per_message_deflate(Compression::default().threshold(4096).level(6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// The smallest size in bytes of a message or an answer that is compressed. Default 1024. A smaller value saves little.
    /// WebSocket messages below 64 bytes are never compressed.
    pub threshold: usize,
    /// From 2, the fastest, to 9, the smallest. Default 3: half the time of zlib's usual 6, and an eighth more bytes. Node:
    /// `level` of `zlibDeflateOptions`.
    pub level: u8,
    /// How far a message may refer back in itself: 2 to the power of this, in bytes. 9 to 15, default 15. A smaller window spares
    /// clients memory, makes longer messages, and is accepted from clients that ask for one no smaller
    /// (`server_max_window_bits`). Node: `serverMaxWindowBits`, and `windowBits` of `httpCompression`.
    pub window_bits: u8,
}

setters! {
    Compression {
        threshold: usize,
        level: u8,
        window_bits: u8,
    }
}

impl Default for Compression {
    fn default() -> Self {
        let Deflation { level, window_bits } = Deflation::default();
        Self { threshold: 1024, level, window_bits }
    }
}

impl Compression {
    pub(crate) const fn deflation(self) -> Deflation {
        Deflation { level: self.level, window_bits: self.window_bits }
    }
}

impl Config {
    /// Checks that every value is in its range. [`NodeBuilder::start`](crate::NodeBuilder::start) does this, too.
    ///
    /// # Errors
    ///
    /// The first setting whose value is out of range, and the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        duration("ping_interval", self.ping_interval, DAY)?;
        duration("ping_timeout", self.ping_timeout, DAY)?;
        duration("upgrade_timeout", self.upgrade_timeout, HOUR)?;
        duration("close_timeout", self.close_timeout, HOUR)?;
        size("max_payload", self.max_payload, 1..=1 << 28, "1 to 268435456 bytes")?;
        size("max_buffered", self.max_buffered, 4096..=u32::MAX as usize, "4096 to 4294967295 bytes")?;
        size("max_burst", self.max_burst, 4096..=u32::MAX as usize, "4096 to 4294967295 bytes")?;
        compression("per_message_deflate", self.per_message_deflate)?;
        compression("http_compression", self.http_compression)?;
        self.validate_transports()
    }

    /// Whether one client address may have only so much of something.
    pub(crate) const fn limits_addresses(&self) -> bool {
        self.max_sessions_per_address.is_some() || self.max_handshakes_per_address.is_some()
    }

    /// Which of the subprotocols that a client offers is spoken.
    pub(crate) fn choose_subprotocol<'a>(&self, offered: &'a [String]) -> Option<&'a str> {
        let is_offered = |name: &String| offered.iter().find(|other| *other == name);
        let chosen = match &self.subprotocols {
            None => offered.first(),
            Some(spoken) => spoken.iter().find_map(is_offered),
        };
        chosen.map(String::as_str)
    }

    /// What clients are told, or notice, whichever node serves them: the nodes of a cluster should agree on it.
    pub(crate) fn shared(&self) -> Vec<(&'static str, String)> {
        let transports: Vec<_> = self.transports.iter().map(|transport| transport.as_str()).collect();
        vec![
            ("ping_interval", format!("{:?}", self.ping_interval)),
            ("ping_timeout", format!("{:?}", self.ping_timeout)),
            ("upgrade_timeout", format!("{:?}", self.upgrade_timeout)),
            ("max_payload", self.max_payload.to_string()),
            ("transports", transports.join(",")),
            ("allow_upgrades", self.allow_upgrades.to_string()),
            ("allow_eio3", self.allow_eio3.to_string()),
            ("subprotocols", format!("{:?}", self.subprotocols)),
        ]
    }

    fn validate_transports(&self) -> Result<(), ConfigError> {
        let transports = &self.transports;
        let distinct: HashSet<_> = transports.iter().collect();
        if !transports.is_empty() && distinct.len() == transports.len() {
            Ok(())
        } else {
            Err(ConfigError::new("transports", transports, "at least one transport, and none twice"))
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
            max_burst: 64 << 20,
            max_buffered_total: 1 << 30,
            max_sessions: 1_000_000,
            max_sessions_per_address: None,
            max_handshakes_per_address: None,
            per_message_deflate: None,
            http_compression: Some(Compression::default()),
            subprotocols: None,
            keep_requests: false,
        }
    }
}

/// A setting whose value is out of range.
///
/// ```
/// let config = socketmesh::engine::Config::default().max_payload(0);
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.to_string(), "max_payload = 0: expected 1 to 268435456 bytes");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: expected {expected}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The name of the setting.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// The values that are allowed.
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

fn compression(key: &'static str, value: Option<Compression>) -> Result<(), ConfigError> {
    let is_valid = |it: Compression| (2..=9).contains(&it.level) && (9..=15).contains(&it.window_bits);
    match value {
        Some(value) if !is_valid(value) => {
            Err(ConfigError::new(key, value, "level 2 to 9, and window_bits 9 to 15"))
        }
        _ => Ok(()),
    }
}

/// Clients wait for a ping with a JavaScript timer, which can wait for 24 days at most.
const DAY: (Duration, &str) = (Duration::from_secs(86_400), "1 ms to 1 day");
const HOUR: (Duration, &str) = (Duration::from_secs(3600), "1 ms to 1 hour");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_subprotocol_that_both_speak_is_chosen_and_without_a_choice_the_first() {
        let offered = ["b".to_owned(), "a".to_owned()];
        let speaks = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Config::default().subprotocols(names).choose_subprotocol(&offered).map(str::to_owned)
        };
        assert_eq!(Config::default().choose_subprotocol(&offered), Some("b"));
        assert_eq!(Config::default().choose_subprotocol(&[]), None);
        assert_eq!(speaks(&["c", "a", "b"]).as_deref(), Some("a"));
        assert_eq!(speaks(&["c"]), None);
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_value_outside_its_range_is_named() {
        let key = |config: Config| config.validate().unwrap_err().key;
        let config = Config::default;
        assert_eq!(key(config().ping_interval(Duration::ZERO)), "ping_interval");
        assert_eq!(key(config().ping_timeout(Duration::MAX)), "ping_timeout");
        assert_eq!(key(config().upgrade_timeout(Duration::from_secs(3601))), "upgrade_timeout");
        assert_eq!(key(config().close_timeout(Duration::ZERO)), "close_timeout");
        assert_eq!(key(config().max_payload(0)), "max_payload");
        assert_eq!(key(config().max_buffered(4095)), "max_buffered");
        assert_eq!(key(config().max_burst(4095)), "max_burst");
        for compression in [(1, 15), (10, 15), (3, 8), (3, 16)] {
            let compression = Compression::default().level(compression.0).window_bits(compression.1);
            assert_eq!(key(config().per_message_deflate(compression)), "per_message_deflate");
            assert_eq!(key(config().http_compression(compression)), "http_compression");
        }
        assert_eq!(key(config().transports([])), "transports");
        assert_eq!(key(config().transports([Transport::Polling; 2])), "transports");
    }

    #[test]
    fn the_error_says_what_is_wrong_and_what_would_be_right() {
        let config = Config::default().max_payload(0);
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "max_payload = 0: expected 1 to 268435456 bytes");
    }
}
