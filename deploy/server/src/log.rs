//! Log lines, on standard error.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::LogFormat;

/// Writes log lines from now on: those that `RUST_LOG` asks for, or else those of `targets`. Colours are for terminals only.
pub(crate) fn init(format: LogFormat, targets: Targets) {
    let asked = std::env::var("RUST_LOG").ok().and_then(|targets| targets.parse::<Targets>().ok());
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stderr().is_terminal() && !is_plain;
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(|| Unfailing(io::stderr()));
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(asked.unwrap_or(targets))).init();
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
