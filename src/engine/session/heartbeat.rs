//! The heartbeat (engine.io protocol v4, "Heartbeat"; v3, "Timeouts").

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::config::Config;
use crate::engine::protocol::Protocol;

/// The heartbeat of a session: the server pings and the client answers. In version 3 the client pings.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// When the next ping is due, or when the awaited packet is late.
    pub(super) at: Instant,
    awaiting: Option<Awaiting>,
}

#[derive(Debug, Clone, Copy)]
enum Awaiting {
    /// On polling, the first request after the one that opened the session: whoever sends none has not read the answer.
    FirstRequest,
    Pong,
    /// A pong, after another packet extended the deadline. The next packet will not extend it again.
    PongAfterTraffic,
    /// In version 3, the next ping of the client, or any other packet.
    Ping,
}

impl Heartbeat {
    pub(super) fn start(config: &Config, protocol: Protocol, now: Instant) -> Self {
        match protocol {
            Protocol::V4 => Self { at: now + config.ping_interval, awaiting: None },
            Protocol::V3 => Self::await_ping(config, now),
        }
    }

    /// The heartbeat of a session that opens over polling.
    pub(super) fn await_first_request(config: &Config, now: Instant) -> Self {
        let most = config.ping_interval + config.ping_timeout;
        let at = now + config.ping_timeout.max(FIRST_REQUEST).min(most);
        Self { at, awaiting: Some(Awaiting::FirstRequest) }
    }

    fn await_ping(config: &Config, now: Instant) -> Self {
        Self { at: now + config.ping_interval + config.ping_timeout, awaiting: Some(Awaiting::Ping) }
    }

    pub(super) const fn awaits_first_request(&self) -> bool {
        matches!(self.awaiting, Some(Awaiting::FirstRequest))
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.awaiting.is_some()
    }

    pub(super) fn await_pong(&mut self, config: &Config, now: Instant) {
        *self = Self { at: now + config.ping_timeout, awaiting: Some(Awaiting::Pong) };
    }

    pub(super) fn refresh(&mut self, config: &Config, now: Instant) {
        match self.awaiting {
            Some(Awaiting::Pong) => {
                *self = Self { at: now + config.ping_timeout, awaiting: Some(Awaiting::PongAfterTraffic) };
            }
            Some(Awaiting::Ping) => *self = Self::await_ping(config, now),
            Some(Awaiting::FirstRequest | Awaiting::PongAfterTraffic) | None => {}
        }
    }
}

/// A lost packet is sent again after seconds on bad networks, however short the timeout for pongs is.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
