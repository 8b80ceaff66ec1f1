//! Restarts nodes under official clients, one after another: `rolling --nodes 5 --clients 500 --rounds 2 …`.

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use cluster_tests::rolling::app::{self, Settings};
use cluster_tests::rolling::run::{Options, run};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Restarts the nodes of a cluster one after another, or kills them, while official clients stay, and says what is required of that and
/// what was seen. Needs Linux, Node.js with npm, and nginx where clients go through it.
///
/// Fails if something that is required was missed.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One of the nodes.
    #[command(hide = true)]
    Node(Settings),
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { options, command } = Arguments::parse();
    if let Some(Command::Node(settings)) = command {
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr);
        tracing_subscriber::registry().with(lines.with_filter(LevelFilter::INFO)).init();
        app::serve(settings).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let say = |line: &str| drop(writeln!(io::stdout(), "{line}"));
    let report = run(&options, &env::current_exe()?, say).await?;
    write!(io::stdout(), "\n{report}")?;
    Ok(if report.kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
