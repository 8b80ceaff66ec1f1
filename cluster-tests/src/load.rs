//! Puts load on running nodes from the outside, and measures what it costs them.
//!
//! ```text
//!   idle  room  echo ──► client ──► wire        one thread; a client is one task and one TCP connection
//!   kill  formation  pauses ──► cluster         nodes as processes, and what they say of each other
//!            └──────────────► machine ──► report      processor time and memory of the nodes' processes
//! ```

mod client;
mod cluster;
mod echo;
mod formation;
mod idle;
mod kill;
mod machine;
mod measure;
mod pauses;
mod report;
mod room;
mod wire;

use std::io;

pub use echo::Echo;
pub use formation::Formation;
pub use idle::Idle;
pub use kill::Kill;
pub use pauses::Pauses;
pub use report::Report;
pub use room::Room;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub enum Load {
    /// Memory and connect cost of clients that do nothing.
    Idle(Idle),
    /// Broadcasts to one room: cost, rate or latency of a delivery, order and losses.
    Room(Room),
    /// Round trips of acknowledgements.
    Echo(Echo),
    /// Time until the survivors of a cluster notice a killed node.
    Kill(Kill),
    /// Time and cost of clusters whose nodes start at once, and what it costs them to do nothing.
    Formation(Formation),
    /// Deaths that nodes on a busy machine believe in although nobody died.
    Pauses(Pauses),
}

impl Load {
    /// Runs the measurement. All clients share the calling thread.
    ///
    /// # Errors
    /// A client cannot connect, or a watched process is gone.
    pub async fn run(self) -> io::Result<Report> {
        match self {
            Self::Idle(idle) => idle.run().await,
            Self::Room(room) => room.run().await,
            Self::Echo(echo) => echo.run().await,
            Self::Kill(kill) => kill.run().await,
            Self::Formation(formation) => formation.run().await,
            Self::Pauses(pauses) => pauses.run().await,
        }
    }
}
