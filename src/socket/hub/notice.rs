//! What a socket is told about its connection and its login.

use std::time::Duration;

use super::work_queue::Work;
use crate::engine::{Message, Packet, Transport};

/// What happened to the connection of a socket, or is to happen to its login.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// It moved to this transport.
    Upgrade(Transport),
    /// Its client sent this packet.
    Packet(Packet),
    /// The login ends after that time.
    Expiring(Duration),
}

/// The kinds of notices, for those who ask whether anybody wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeKind {
    Upgrade,
    Packet,
}

impl Notice {
    /// The handler that is called for it.
    pub(crate) const fn handler(&self) -> &'static str {
        match self {
            Self::Upgrade(_) => "on_upgrade",
            Self::Packet(_) => "on_packet",
            Self::Expiring(_) => "on_expiring",
        }
    }
}

impl Work for Notice {
    fn bytes(&self) -> usize {
        match self {
            Self::Packet(Packet::Message(Message::Text(text)) | Packet::Ping(text) | Packet::Pong(text)) => {
                text.len()
            }
            Self::Packet(Packet::Message(Message::Binary(bytes))) => bytes.len(),
            Self::Packet(_) | Self::Upgrade(_) | Self::Expiring(_) => 0,
        }
    }
}
