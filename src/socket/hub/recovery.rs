//! Clients that come back to their sockets (docs/protocol/mesh.md, "Recovery").
//!
//! ```text
//!   a client is back:  returning ──► deciding ──► claimed ──► catching_up ◄── answering, on every other node
//!   a socket changes:  keep ──► keeping ──► telling        rounds: when members come or go; handing_over: when this node leaves
//!   another node says something of that: hearing           records: what was sent
//! ```

mod answering;
mod catching_up;
mod claimed;
mod deciding;
mod handing_over;
mod hearing;
mod keep;
mod keeping;
mod questions;
mod records;
mod returning;
mod rounds;
mod telling;
mod turns;

use std::time::Duration;

pub(crate) use claimed::Claimed;
pub(crate) use keep::Keep;
pub(crate) use keeping::{Keepers, Keeping, KeepingFigures, KeepingSettings, KeptSocket, pid_of};
pub(crate) use questions::Questions;
pub(crate) use records::Records;
pub(crate) use returning::{Entry, Returning};

/// How long a client waits for its session: a node that dies is known as dead before.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether a node that has not answered is dead, a client has left, or it is decided about a session.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
