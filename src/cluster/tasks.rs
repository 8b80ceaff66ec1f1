//! What runs: the control actor, the tasks that it starts, and the thread that they are on.
//!
//! ```text
//!   host ── control_actor ──► resolver, dialer, inbound      names, hellos, connections
//!                 │    └────► link                 one ordered stream per peer; on the application's runtime
//!                 └─────────► gossip               chitchat over the connections
//! ```

pub(crate) mod control_actor;
mod dialer;
mod gossip;
pub(crate) mod host;
mod inbound;
mod link;
pub(crate) mod ports;
mod resolver;

#[cfg(feature = "fuzzing")]
pub(crate) use gossip::hearing::Hearing;
