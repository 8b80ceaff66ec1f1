//! Engine.IO v4, and v3 where it is allowed: one client session over changing transports.
//!
//! ```text
//!   http ──► polling ─────┐                              ┌──► Client (Socket.IO, or an echo)
//!                         ├──► actor ── owns ── Session ─┤
//!   http ──► stream task ─┘      │                       └──► timer
//!            (WebSocket or       └──► Outbox ──► pending GET, or the live stream
//!             WebTransport)
//! ```
//!
//! `Session` is the protocol as a value. The actor feeds it and carries out what it decides. The layer above implements
//! [`Application`] and [`Client`].

mod activation;
mod actor;
mod admission;
mod application;
mod budget;
mod closed;
mod config;
mod counters;
mod error;
mod fifo;
#[cfg(feature = "webtransport")]
mod first_packet;
mod frame;
mod handshake;
mod mailbox;
mod outbox;
pub(crate) mod packet;
pub(crate) mod payload;
mod protocol;
mod query;
mod registry;
mod release;
mod runtime;
mod session;
mod session_ref;
pub(crate) mod stream_task;
mod supervisors;
mod transport_stage;
mod verify;
mod way;
pub(crate) mod websocket;
pub(crate) mod webtransport;

pub use application::{Application, Client, Work};
pub use closed::Closed;
pub use config::{Compression, Config, ConfigError};
pub use error::{CloseReason, HandshakeError};
pub use handshake::Handshake;
pub use packet::{Message, Packet};
pub use protocol::{Protocol, Transport};
pub use session_ref::SessionRef;

pub(crate) use admission::{NotAdmitted, Place};
pub(crate) use budget::{Budget, Charge};
pub(crate) use counters::EngineCounters;
#[cfg(feature = "webtransport")]
pub(crate) use first_packet::FirstPacket;
pub(crate) use frame::{Frame, Frames, frames};
pub(crate) use mailbox::{PollAnswer, PostBody};
#[cfg(feature = "fuzzing")]
pub(crate) use outbox::{Limits as OutboxLimits, Outbox};
pub(crate) use payload::Payload;
pub(crate) use query::Query;
pub(crate) use registry::Census;
pub(crate) use runtime::{Engine, OpenSessionError};
#[cfg(feature = "fuzzing")]
pub(crate) use session::caller;
pub(crate) use session::{PollReply, PostReply};
#[cfg(feature = "fuzzing")]
pub(crate) use verify::LiveSession;
pub(crate) use verify::{Opening, RequestHead, Verified, verify};
pub(crate) use way::Way;
