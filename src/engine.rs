//! Engine.IO v4: one client session over changing transports.
//!
//! ```text
//!   handshake ── who may open or resume a session          config, error ── leaves
//!       │
//!    session ── the state machine of one client: heartbeat, polls, upgrade, close
//!       │
//!    payload ── packets of one polling body
//!       │
//!    packet ─── one packet read       frame ── one packet written, encoded once for every transport
//! ```
//!
//! The files above are pure: they hold no socket, clock or task, take `now`, and are tested as tables and properties.

pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod packet;
pub(crate) mod payload;
pub(crate) mod session;

pub use self::config::{Config, ConfigError};
pub use self::error::{CloseReason, HandshakeError, PacketError};
pub use self::handshake::{Handshake, Transport};
pub use self::packet::Message;
