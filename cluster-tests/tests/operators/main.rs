//! Operations on many sockets of all nodes (Socket.IO server API: `fetchSockets`, `socketsJoin`,
//! `socketsLeave`, `disconnectSockets`, `emitWithAck`, `serverSideEmit`), on three nodes in one process.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod acks;
mod alone;
mod commands;
mod deaths;
mod fetching;
mod leader;
mod nodes;
mod remote;
mod server_events;
