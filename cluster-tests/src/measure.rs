//! Measures what clusters do when a node dies, when many start at once, and when the machine is busy, and what it costs that clients
//! may come back. What clients cost otherwise is measured by the [bench](crate::bench).
//!
//! ```text
//!   kill  formation  pauses  recovery ──► cluster         nodes as processes, and what they say of each other
//!            └──────────────► cost ──► report      processor time of the nodes' processes
//! ```

mod cluster;
mod cost;
mod formation;
mod kill;
mod pauses;
mod recovery;
mod report;

use std::io;

pub use formation::Formation;
pub use kill::Kill;
pub use pauses::Pauses;
pub use recovery::Recovery;
pub use report::Report;

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub enum Measurement {
    /// Time until the survivors of a cluster notice a killed node.
    Kill(Kill),
    /// Time and cost of clusters whose nodes start at once, and what it costs them to do nothing.
    Formation(Formation),
    /// Deaths that nodes on a busy machine believe in although nobody died.
    Pauses(Pauses),
    /// What it costs that clients may come back: bytes, memory, traffic between nodes, processor time.
    Recovery(Recovery),
}

impl Measurement {
    /// Measures.
    ///
    /// # Errors
    /// A watched process is gone.
    pub async fn run(self) -> io::Result<Report> {
        match self {
            Self::Kill(kill) => kill.run().await,
            Self::Formation(formation) => formation.run().await,
            Self::Pauses(pauses) => pauses.run().await,
            Self::Recovery(recovery) => recovery.run().await,
        }
    }
}
