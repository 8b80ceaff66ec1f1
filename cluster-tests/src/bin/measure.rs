//! Measures clusters of processes: `measure kill|formation|pauses|recovery …`.

use std::io::{self, Write};

use clap::Parser;
use cluster_tests::measure::Measurement;

/// Starts clusters, measures what they do, and reports figures as `name value unit`.
#[derive(Debug, Parser)]
struct Options {
    /// Prints the figures as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    measurement: Measurement,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let options = Options::parse();
    let report = options.measurement.run().await?;
    let mut out = io::stdout();
    if options.json {
        serde_json::to_writer(&mut out, &report)?;
        return writeln!(out);
    }
    write!(out, "{report}")
}
