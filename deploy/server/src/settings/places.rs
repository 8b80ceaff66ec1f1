//! Where a setting was said: as a flag, in a variable, in the file, or nowhere. Flags win over variables, and those over the file.

use std::collections::BTreeMap;
use std::fmt;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::arguments::{Kind, flag, settings};
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
