//! The figures of a measurement: rows of name, value and unit.

use std::fmt;

/// The figures of one measurement.
#[derive(Debug, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Report(Vec<Row>);

#[derive(Debug, serde::Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    /// Adds a figure.
    pub(crate) fn row(&mut self, name: &str, value: f64, unit: &'static str) {
        self.0.push(Row { name: name.to_owned(), value, unit });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { name, value, unit } in &self.0 {
            let decimals = if value.fract() == 0. { 0 } else { 2 };
            writeln!(f, "{name:28} {value:>14.decimals$} {unit}")?;
        }
        Ok(())
    }
}
