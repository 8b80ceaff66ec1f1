//! Puts load on running nodes and measures what it costs them: `load idle|room|echo|kill|formation …`.

use std::io::{self, Write};

use clap::Parser;
use cluster_tests::load::Load;
use tokio::task::LocalSet;

/// Puts load on running nodes and reports what it cost them: figures as `name value unit`.
#[derive(Debug, Parser)]
struct Options {
    /// Prints the figures as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    load: Load,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let options = Options::parse();
    let report = LocalSet::new().run_until(options.load.run()).await?;
    let mut out = io::stdout();
    if options.json {
        serde_json::to_writer(&mut out, &report)?;
        return writeln!(out);
    }
    write!(out, "{report}")
}
