//! Where a setting was said: as a flag, in a variable, in the file, or nowhere. Flags win over variables, and those over the file.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::File;

/// Where each setting was said.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Said>);

#[derive(Debug)]
struct Said {
    place: Place,
    /// As it was written, in parts where it is a list.
    values: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Nowhere,
    File { path: String, line: usize },
    Variable(String),
    Flag(String),
}

/// How a setting is written in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    Number,
    Text,
    List,
}

/// One setting with what counts for it.
pub(crate) struct Printed {
    pub(crate) name: String,
    /// As TOML; `None` if it has no value.
    pub(crate) value: Option<String>,
    /// Where it was said; `default` if nowhere.
    pub(crate) place: String,
}

impl Places {
    /// What was said, as `matches` of a `command` that had the `file` for its defaults.
    pub(crate) fn new(command: &Command, matches: &ArgMatches, file: Option<&File>) -> Self {
        let said = settings(command).map(|setting| {
            let name = setting.get_id().as_str();
            let variable = || setting.get_env().unwrap_or_default().to_string_lossy().into_owned();
            let place = match (matches.value_source(name), file.and_then(|file| file.line(name))) {
                (Some(ValueSource::CommandLine), _) => Place::Flag(flag(setting)),
                (Some(ValueSource::EnvVariable), _) => Place::Variable(variable()),
                (_, Some((path, line))) => Place::File { path: path.display().to_string(), line },
                _ => Place::Nowhere,
            };
            let values = matches.get_raw(name).into_iter().flatten();
            let values = values.map(|value| value.to_string_lossy().trim().to_owned()).collect();
            (name.to_owned(), Said { place, values, kind: Kind::of(setting) })
        });
        Self(said.collect())
    }

    /// Whether anybody said it.
    pub(super) fn is_said(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|said| said.place != Place::Nowhere)
    }

    /// A setting, as whoever said it knows it.
    pub(super) fn name(&self, name: &str) -> String {
        match self.0.get(name).map(|said| &said.place) {
            Some(Place::File { path, line }) => format!("{path}:{line}: {name}"),
            Some(Place::Variable(variable)) => variable.clone(),
            Some(Place::Flag(flag)) => flag.clone(),
            Some(Place::Nowhere) | None => name.to_owned(),
        }
    }

    /// A setting with its value, as whoever said it knows it.
    pub(super) fn said(&self, name: &str, value: &str) -> String {
        let between = match self.0.get(name).map(|said| &said.place) {
            Some(Place::Variable(_)) => "=",
            Some(Place::Flag(_)) => " ",
            _ => " = ",
        };
        format!("{}{between}{value}", self.name(name))
    }

    /// Settings of which all or none are said.
    pub(super) fn together(&self, names: &[&str]) -> Result<(), String> {
        let said = names.iter().find(|name| self.is_said(name));
        let missing = names.iter().find(|name| !self.is_said(name));
        said.zip(missing).map_or(Ok(()), |(said, missing)| Err(self.without(said, missing)))
    }

    /// A setting that is of no use without others.
    pub(super) fn needs(&self, name: &str, is_set: bool, others: &[&str]) -> Result<(), String> {
        let missing = others.iter().find(|other| is_set && !self.is_said(other));
        missing.map_or(Ok(()), |missing| Err(self.without(name, missing)))
    }

    /// All settings with what counts, in the order of the help.
    pub(crate) fn printed<'a>(&'a self, command: &'a Command) -> impl Iterator<Item = Printed> + 'a {
        settings(command).filter_map(|setting| {
            let name = setting.get_id().to_string();
            let said = self.0.get(&name)?;
            let value = said.kind.written(&said.values);
            let place = said.place.to_string();
            Some(Printed { name, value, place })
        })
    }

    /// What was said, in one line.
    pub(crate) fn in_one_line(&self) -> String {
        let said = self.0.iter().filter(|(_, said)| said.place != Place::Nowhere);
        said.map(|(name, said)| format!("{name}={}", said.values.join(","))).collect::<Vec<_>>().join(" ")
    }

    fn without(&self, said: &str, missing: &str) -> String {
        let variable = format!("SOCKETMESH_{}", missing.to_ascii_uppercase());
        let flag = missing.replace('_', "-");
        format!("{} needs {missing} as well (--{flag} or {variable})", self.name(said))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Kind {
    pub(super) fn of(setting: &Arg) -> Self {
        let parser = setting.get_value_parser();
        let is = |other: &ValueParser| parser.type_id() == other.type_id();
        match setting.get_action() {
            ArgAction::Append => Self::List,
            _ if is_switch(setting) => Self::Switch,
            _ if is(&clap::value_parser!(usize).into()) || is(&clap::value_parser!(u32).into()) => {
                Self::Number
            }
            _ => Self::Text,
        }
    }

    fn written(self, values: &[String]) -> Option<String> {
        let quoted = |value: &String| toml::Value::String(value.clone()).to_string();
        match self {
            Self::List if values.is_empty() => None,
            Self::List => Some(format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "))),
            Self::Switch => Some(super::values::switch(values.first()?).unwrap_or_default().to_string()),
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

/// The same command with what a file says where neither a flag nor a variable does.
pub(crate) fn with_defaults(command: Command, file: &File) -> Command {
    command.mut_args(|arg| {
        let values = file.values(arg.get_id().as_str()).map(<[String]>::to_vec);
        match values {
            Some(values) => arg.default_values(values),
            None => arg,
        }
    })
}

/// Why a setting cannot have these values; `None` if it can.
pub(super) fn refusal(setting: &Arg, values: &[String]) -> Option<String> {
    let flag = flag(setting);
    let alone = setting.clone().env(clap::builder::Resettable::Reset).required(false);
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

fn flag(setting: &Arg) -> String {
    format!("--{}", setting.get_long().unwrap_or_default())
}

fn is_switch(setting: &Arg) -> bool {
    setting.get_value_parser().type_id() == ValueParser::bool().type_id()
}
