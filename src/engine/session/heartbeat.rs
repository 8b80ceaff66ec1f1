//! The heartbeat (engine.io protocol v4, "Heartbeat"; v3, "Timeouts").

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

    fn await_ping(config: &Config, now: Instant) -> Self {
        Self { at: now + config.ping_interval + config.ping_timeout, awaiting: Some(Awaiting::Ping) }
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
            Some(Awaiting::PongAfterTraffic) | None => {}
        }
    }
}
