//! Puts load on Socket.IO servers of any make (Engine.IO 4, Socket.IO 5), checks every delivery and its order, and measures what
//! that costs the servers and the generator itself.
//!
//! ```text
//!   options ──► plan ──► run ──────────────► report        who connects where, and sends to whom; the phases; the figures
//!                         │  └─► machine                     processor time and memory of processes and threads
//!                         ▼
//!                       worker ──► source                  a thread with a runtime of its own, and its clients; who sends when
//!                         │   └──► shared ──► traffic       what all threads know: what is under way and what has arrived
//!                         ▼
//!                       client ──► websocket  polling      one session over any transport
//!                                     │          │
//!                                   frames     http        bytes
//! ```
//!
//! Every payload begins with a stamp: who sent it, its number and when it was to be sent. Receivers need nothing else to tell
//! how long it took and whether it is in order, so servers may be of any make that keep the
//! [events](https://github.com/socketmesh/socketmesh/blob/main/docs/guides/load.md#what-the-server-has-to-do).

mod client;
mod clock;
mod frames;
mod http;
pub mod machine;
mod options;
mod packet;
mod plan;
mod polling;
mod report;
mod run;
mod shared;
mod source;
mod traffic;
mod websocket;
mod worker;

pub use options::{
    Common, Direct, Echo, Events, Idle, Pace, Room, Scenario, Server, Storm, Transport, Watched,
};
pub use report::{Connections, Deliveries, Generator, Percentiles, Process, Report};
pub use run::run;
