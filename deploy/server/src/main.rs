//! The program `socketmesh`: a node, a demo, a load generator, and what operators need.

mod admin_client;
mod app;
mod config;
mod demo;
mod drain;
mod health;
mod load;
mod log;
mod process;
mod serve;
mod service_manager;
mod settings;
mod status;
mod top;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::filter::Targets;

use process::BoxError;
use settings::{File, LogFormat, Places, Settings};

/// Gives memory back when clients are gone.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A clustered Socket.IO server: no Redis, no sticky load balancer.
#[derive(Debug, Parser)]
#[command(name = "socketmesh", version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs a whole cluster on this machine, behind a balancer that sends every request to the next node, and serves a
    /// whiteboard and a chat on it.
    Demo(demo::Options),
    /// Runs one node, alone or as a member of a cluster. It serves the application of the demo.
    Serve(Box<Settings>),
    /// Checks or prints the configuration of `serve`.
    Config(config::Options),
    /// Asks the node of this machine how it is, for health checks of containers without a shell. Fails if the node is not well.
    Health(health::Options),
    /// Prints the cluster once, as any of its nodes sees it.
    Status(status::Options),
    /// Shows the cluster live, in a terminal.
    Top(top::Options),
    /// Puts load on Socket.IO servers of any make: connections, rooms, acknowledgements. It checks every delivery and its order, and
    /// reports rates, durations, and what they cost.
    #[command(after_help = load::EVENTS)]
    Load(Box<load::Options>),
    /// Asks a node to stop in good order, through any node of its cluster, and waits until it is gone.
    Drain(drain::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(std::env::args_os().collect())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done about a standard error that is closed.
            let _closed = writeln!(io::stderr(), "socketmesh: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Vec<OsString>) -> Result<(), BoxError> {
    let (action, serve, places) = parsed(arguments)?;
    // What somebody needs to know on the first day is not hidden among log lines.
    let warnings = Targets::new().with_default(Level::WARN);
    match &action {
        Action::Serve(settings) => log::init(settings.operators.log_format, settings.operators.log.0.clone()),
        _ => log::init(LogFormat::Text, warnings),
    }
    match action {
        Action::Demo(options) => demo::run(options).await,
        Action::Serve(settings) => serve::run(&settings, &places).await,
        Action::Config(options) => config::run(&options.action, &serve, &places),
        Action::Health(options) => health::run(&options).await,
        Action::Status(options) => status::run(&options).await,
        Action::Top(options) => top::run(&options).await,
        Action::Load(options) => load::run(*options).await,
        Action::Drain(options) => drain::run(&options).await,
    }
}

/// What is asked for; the command whose settings may be in a file, and where they were said.
fn parsed(arguments: Vec<OsString>) -> Result<(Action, Command, Places), BoxError> {
    let command = of_settings(Cli::command(), settings::with_switches);
    let serve = command.find_subcommand("serve").cloned().unwrap_or_default();
    let asked = of_settings(command.clone(), settings::without_empty_variables);
    let matches = asked.clone().try_get_matches_from(&arguments);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_help = matches.as_ref().is_err_and(|error| !error.use_stderr());
    if !is_help {
        // A mistyped variable is the reason of what else seems to be missing.
        settings::check_variables(&command, names)?;
    }
    let matches = matches.or_else(|error| explained(error, &serve))?;
    let path =
        settings_of(&matches).and_then(|settings| settings.get_one::<std::path::PathBuf>("config").cloned());
    let file = path.map(|path| File::read(&path, &serve)).transpose()?;
    let matches = match &file {
        Some(file) => {
            let asked = of_settings(asked, |command| settings::with_defaults(command, file));
            asked.try_get_matches_from(&arguments).or_else(|error| explained(error, &serve))?
        }
        None => matches,
    };
    let places = settings_of(&matches).map(|matches| Places::new(&serve, matches, file.as_ref()));
    Ok((Cli::from_arg_matches(&matches)?.action, serve, places.unwrap_or_default()))
}

/// Changes the two commands that take settings.
fn of_settings(command: Command, change: impl Fn(Command) -> Command) -> Command {
    let config = |config: Command| config.mut_subcommand("print", &change);
    command.mut_subcommand("serve", &change).mut_subcommand("config", config)
}

fn settings_of(matches: &ArgMatches) -> Option<&ArgMatches> {
    let serve = matches.subcommand_matches("serve");
    serve.or_else(|| matches.subcommand_matches("config")?.subcommand_matches("print"))
}

/// An error of the command line or of a variable; help ends the process here, as do those errors that clap says best.
fn explained(error: clap::Error, serve: &Command) -> Result<ArgMatches, BoxError> {
    match settings::explain(&error, serve) {
        Some(explained) => Err(explained.into()),
        None => error.exit(),
    }
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
