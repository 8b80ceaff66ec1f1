//! The server binary: `socketmesh demo` and `socketmesh serve`.

mod demo;
mod process;
mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A clustered Socket.IO server: no Redis, no sticky load balancer.
///
/// Log output goes to standard error; RUST_LOG filters it (default: info).
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole cluster on this machine, behind a balancer that sends every request to the next node, and serves a
    /// whiteboard and a chat on it.
    Demo(demo::Options),
    /// Runs one node, alone or as a member of a cluster. It serves the application of the demo.
    Serve(Box<serve::Options>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let result = match cli.command {
        Command::Demo(options) => demo::run(options).await,
        Command::Serve(options) => serve::run(*options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done about a standard error that is closed.
            let _closed = writeln!(io::stderr(), "socketmesh: {error}");
            ExitCode::FAILURE
        }
    }
}
