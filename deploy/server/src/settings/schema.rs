//! The settings as a JSON schema, for editors that complete and check configuration files.

use clap::{Arg, Command};
use serde_json::{Map, Value, json};

use super::arguments::{Kind, settings};

/// The schema of a configuration file.
pub(crate) fn schema(command: &Command) -> Value {
    let properties = settings(command).map(|setting| (setting.get_id().to_string(), property(setting)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "socketmesh serve",
        "type": "object",
        "additionalProperties": false,
        "properties": properties.collect::<Map<_, _>>(),
    })
}

fn property(setting: &Arg) -> Value {
    let kind = Kind::of(setting);
    let names: Vec<_> =
        setting.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let values = match kind {
        Kind::Switch => json!({ "type": ["boolean", "string", "integer"] }),
        Kind::Number => json!({ "type": ["integer", "string"] }),
        Kind::List => json!({ "type": ["array", "string"], "items": { "type": "string" } }),
        Kind::Text if names.is_empty() => json!({ "type": ["string", "integer"] }),
        Kind::Text => json!({ "enum": names }),
    };
    let description = setting.get_help().map(|help| ("description", Value::from(help.to_string())));
    let default = setting.get_default_values().first().map(|value| value.to_string_lossy());
    let default = default.map(|default| match kind {
        Kind::Switch => (default == "true").into(),
        Kind::Number => default.parse::<u64>().map_or(Value::Null, Value::from),
        Kind::List => default.split(',').collect(),
        Kind::Text => default.into(),
    });
    let mut property = values.as_object().cloned().unwrap_or_default();
    let told = description.into_iter().chain(default.map(|default| ("default", default)));
    property.extend(told.map(|(key, value)| (key.to_owned(), value)));
    property.into()
}
