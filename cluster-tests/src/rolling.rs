//! Nodes that are restarted one after another, or killed, while official clients stay: what they lost, and how long they were away.
//!
//! ```text
//!   run ──► cluster ──► process, app            the nodes: processes of this program, each with an address of its own
//!    ├────► entrance ──► load_balancer          what stands before them
//!    ├────► clients ──► interop/rolling.mjs     official clients, in processes of Node.js
//!    └────► checker ──► report                  what they met, judged
//! ```
//!
//! Every life of a node emits numbered messages: to rooms, to the rooms of users, and to sockets. The *stream* of a life and a target
//! has the numbers 0, 1, 2 and so on; how many they became is told by the node in the end. So it is known of each client which numbers
//! it has to get.

pub mod app;
pub mod checker;
mod clients;
mod cluster;
mod entrance;
pub mod report;
pub mod run;

/// Milliseconds since 1970, because official clients tell their times so.
fn milliseconds() -> checker::Millis {
    #[expect(clippy::disallowed_methods, reason = "compared with the times of official clients")]
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    checker::Millis::try_from(now.unwrap_or_default().as_millis()).unwrap_or(checker::Millis::MAX)
}
