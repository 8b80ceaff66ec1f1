//! What clap knows of a setting: how it is written, and why a value is refused.

use std::error::Error as _;

use clap::builder::{Resettable, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::values::switch;

/// How a setting is written in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    Number,
    Text,
    List,
}

impl Kind {
    pub(super) fn of(setting: &Arg) -> Self {
        let parser = setting.get_value_parser();
        let is = |other: &ValueParser| parser.type_id() == other.type_id();
        match setting.get_action() {
            ArgAction::Append => Self::List,
            _ if is_switch(setting) => Self::Switch,
            _ if is(&clap::value_parser!(usize).into())
                || is(&clap::value_parser!(u32).into())
                || is(&clap::value_parser!(u8).into()) =>
            {
                Self::Number
            }
            _ => Self::Text,
        }
    }

    /// The value as TOML; `None` if there is none.
    pub(super) fn written(self, values: &[String]) -> Option<String> {
        let quoted = |value: &String| toml::Value::String(value.clone()).to_string();
        match self {
            Self::List if values.is_empty() => None,
            Self::List => Some(format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "))),
            Self::Switch => Some(switch(values.first()?).unwrap_or_default().to_string()),
            Self::Number => values.first().cloned(),
            Self::Text => values.first().map(quoted),
        }
    }
}

/// The settings of `serve`: all of its arguments but those that say where the settings are.
pub(super) fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_setting = |arg: &&Arg| !matches!(arg.get_id().as_str(), "help" | "version" | "config");
    command.get_arguments().filter(is_setting)
}

/// Lets switches have a value, `--serve-alone=off`, so that a flag wins over the file in both directions.
pub(crate) fn with_switches(command: Command) -> Command {
    command.mut_args(|arg| {
        if !is_switch(&arg) || arg.get_env().is_none() {
            return arg;
        }
        let arg = arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).value_name("BOOL");
        arg.default_missing_value("true").default_value("false")
    })
}

/// Takes a variable that is empty for one that is not set, as templates of deployments leave them. Not that of the seeds: a node
/// whose seed is missing would start a cluster of its own.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        let is_empty = value.is_some_and(|value| value.to_string_lossy().trim().is_empty());
        if is_empty && arg.get_id() != "seed" { arg.env(Resettable::Reset) } else { arg }
    })
}

/// Why a setting cannot have these values; `None` if it can.
pub(super) fn refusal(setting: &Arg, values: &[String]) -> Option<String> {
    let flag = flag(setting);
    let alone = setting.clone().env(Resettable::Reset).required(false);
    let command = Command::new("a setting").no_binary_name(true).arg(alone);
    let said = values.iter().map(|value| format!("{flag}={value}"));
    command.try_get_matches_from(said).err().map(|error| reason(&error))
}

/// What is wrong on the command line or in a variable, and which of the two it is. `None` where clap's own words say it all.
pub(crate) fn explain(error: &clap::Error, command: &Command) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let (ContextValue::String(named), ContextValue::String(value)) =
        (error.get(ContextKind::InvalidArg)?, error.get(ContextKind::InvalidValue)?)
    else {
        return None;
    };
    let named = named.split([' ', '=', '[']).next()?;
    let variable = settings(command).find(|setting| flag(setting) == named)?.get_env()?.to_string_lossy();
    let is_flag = std::env::args().any(|arg| arg.split('=').next() == Some(named));
    let place = if is_flag { format!("{named} {value}") } else { format!("{variable}={value}") };
    Some(format!("{place}: {}", reason(error)))
}

fn reason(error: &clap::Error) -> String {
    let expected = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => Some(format!("expected {}", values.join(" or "))),
        _ => None,
    };
    let cause = error.source().map(ToString::to_string);
    cause.or(expected).unwrap_or_else(|| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// A setting as a flag.
pub(super) fn flag(setting: &Arg) -> String {
    format!("--{}", setting.get_long().unwrap_or_default())
}

fn is_switch(setting: &Arg) -> bool {
    setting.get_value_parser().type_id() == ValueParser::bool().type_id()
}
