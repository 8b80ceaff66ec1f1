//! The configuration file: TOML, one line for each setting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::de::{DeTable, DeValue};

use super::arguments::{Kind, refusal, settings};
use super::names::nearest;

/// What a configuration file says.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    values: Vec<String>,
}

impl File {
    /// Reads a file about the settings of `command`.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, names a setting that there is not, or gives one a value that it cannot have. The
    /// error says where.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<Self, String> {
        let text = std::fs::read_to_string(path);
        let text =
            text.map_err(|error| format!("cannot read the configuration {}: {error}", path.display()))?;
        let entries = parse(&text, command);
        let entries = entries.map_err(|(line, why)| format!("{}:{line}: {why}", path.display()))?;
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Where a setting stands.
    pub(super) fn line(&self, name: &str) -> Option<(&Path, usize)> {
        self.entries.get(name).map(|entry| (self.path.as_path(), entry.line))
    }

    pub(super) fn values(&self, name: &str) -> Option<&[String]> {
        self.entries.get(name).map(|entry| entry.values.as_slice())
    }
}

/// The settings of a text; or what is wrong with it, and in which line.
fn parse(text: &str, command: &Command) -> Result<BTreeMap<String, Entry>, (usize, String)> {
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (line(at), error.message().to_owned())
    })?;
    let mut entries = BTreeMap::new();
    for (key, value) in table.get_ref() {
        let (name, line) = (key.get_ref().to_string(), line(key.span().start));
        let Some(setting) = settings(command).find(|setting| setting.get_id() == name.as_str()) else {
            let names = settings(command).map(|setting| setting.get_id().as_str());
            let nearest = nearest(&name, names).unwrap_or_default();
            return Err((line, format!("there is no setting {name}; is {nearest} meant?")));
        };
        let refused =
            |why: &str| (line, format!("{name} = {}: {why}", written(value.get_ref(), text, value.span())));
        let values = match value.get_ref() {
            DeValue::Array(all) if Kind::of(setting) == Kind::List => {
                all.iter().map(|one| scalar(one.get_ref())).collect::<Option<Vec<_>>>()
            }
            one => scalar(one).map(|one| vec![one]),
        };
        let values = values.ok_or_else(|| refused("expected one value, not a list or a table"))?;
        if let Some(why) = refusal(setting, &values) {
            return Err(refused(&why));
        }
        entries.insert(name, Entry { line, values });
    }
    Ok(entries)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A value as it stands in the file, or the beginning of it.
fn written<'a>(value: &DeValue<'_>, text: &'a str, span: std::ops::Range<usize>) -> &'a str {
    if matches!(value, DeValue::Table(_)) { "a table" } else { text.get(span).unwrap_or_default() }
}
