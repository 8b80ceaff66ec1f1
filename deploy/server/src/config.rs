//! `socketmesh config`: what is configured, before it counts.

use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches as _, Subcommand};

use crate::process::{BoxError, say};
use crate::settings::{self, File, Places, Settings};

/// What to do with the configuration.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Says whether a configuration file can be used, and where not. The environment does not count.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Prints every setting with its value and where that was said, as a configuration file. Takes what `serve` takes.
    Print(Box<Settings>),
    /// Prints the JSON schema of configuration files.
    Schema,
}

/// Says what is asked. `serve` is the command whose settings these are.
///
/// # Errors
/// Names what cannot be used, and where it stands.
pub(crate) fn run(action: &Action, serve: &Command, places: &Places) -> Result<(), BoxError> {
    match action {
        Action::Check { file } => {
            check(file, serve)?;
            say(format_args!("{} can be used", file.display()));
        }
        Action::Print(settings) => {
            settings.check(places)?;
            say(format_args!("{}", print(serve, places)));
        }
        Action::Schema => say(format_args!("{:#}", settings::schema(serve))),
    }
    Ok(())
}

fn check(file: &Path, serve: &Command) -> Result<(), BoxError> {
    let said = File::read(file, serve)?;
    let command = serve.clone().mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let command = settings::with_defaults(command, &said).no_binary_name(true);
    let matches = command.clone().try_get_matches_from([""; 0])?;
    let settings = Settings::from_arg_matches(&matches)?;
    Ok(settings.check(&Places::new(serve, &matches, Some(&said)))?)
}

/// What counts, as a file that says the same.
fn print(serve: &Command, places: &Places) -> String {
    let lines = places.printed(serve).map(|setting| match setting.value {
        Some(value) => format!("{} = {value}  # {}", setting.name, setting.place),
        None => format!("# {}: not set", setting.name),
    });
    lines.collect::<Vec<_>>().join("\n")
}
