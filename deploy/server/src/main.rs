//! The program: `socketmesh demo`, `socketmesh serve` and `socketmesh health`.

mod app;
mod demo;
mod environment;
mod health;
mod process;
mod serve;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Gives memory back when clients are gone.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A clustered Socket.IO server: no Redis, no sticky load balancer.
///
/// Log output goes to standard error; RUST_LOG filters it (default: warn for the demo, else info,ractor=warn).
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
    /// Asks the node of this machine how it is, for health checks of containers without a shell. Fails if the node is not well.
    Health(health::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => help.exit(),
        // A mistyped variable is the reason of what else seems to be missing.
        Err(error) => match mistyped() {
            Some(mistyped) => return fail(&mistyped),
            None => error.exit(),
        },
    };
    if let Some(mistyped) = mistyped() {
        return fail(&mistyped);
    }
    log(match cli.command {
        // What somebody needs to know on the first day is not hidden among log lines.
        Command::Demo(_) | Command::Health(_) => Level::WARN,
        Command::Serve(_) => Level::INFO,
    });
    let result = match cli.command {
        Command::Demo(options) => demo::run(options).await,
        Command::Serve(options) => serve::run(&options).await,
        Command::Health(options) => health::run(&options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&with_causes(&*error)),
    }
}

fn mistyped() -> Option<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    environment::check::<Cli>(names).err()
}

fn fail(why: &str) -> ExitCode {
    // Nothing is left to be done about a standard error that is closed.
    let _closed = writeln!(io::stderr(), "socketmesh: {why}");
    ExitCode::FAILURE
}

/// An error with its causes, each of them once.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = error.source();
    }
    said
}

/// Writes log lines to standard error: those that `RUST_LOG` asks for, or from a level on. Colours are for terminals only.
fn log(level: Level) {
    let asked = std::env::var("RUST_LOG").ok().and_then(|targets| targets.parse::<Targets>().ok());
    // A span of ractor for each actor, so for each session, is noise.
    let default = || Targets::new().with_default(level).with_target("ractor", Level::WARN);
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stderr().is_terminal() && !is_plain;
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(|| Unfailing(io::stderr()));
    tracing_subscriber::registry().with(lines.with_filter(asked.unwrap_or_else(default))).init();
}

/// Standard error, of which nobody may read any more. The logger would panic, and end the task that says something.
struct Unfailing(io::Stderr);

impl Write for Unfailing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _nobody_reads = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _nobody_reads = self.0.flush();
        Ok(())
    }
}
