//! A cluster of processes under random faults: `chaos --seconds 60 [--seed S]`. Fails if a promise is broken.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use cluster_tests::chaos::Chaos;

/// Kills, restarts and stops nodes of a cluster at random while its clients talk, and checks that nothing is lost,
/// repeated or out of order. Needs the fixture beside it: `cargo build -p cluster-tests --bins`.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    chaos: Chaos,
    /// Shows the last log lines of the nodes when a promise was broken.
    #[arg(long)]
    logs: bool,
}

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    let options = Options::parse();
    let seed = options.chaos.seed.unwrap_or_else(fresh);
    let mut out = io::stdout();
    writeln!(out, "seed {seed}")?;
    let binary = env::current_exe()?.with_file_name("fixture").to_string_lossy().into_owned().leak();
    let outcome = options.chaos.run(binary, seed).await?;
    for fault in &outcome.faults {
        writeln!(out, "{fault}")?;
    }
    for violation in outcome.violations.iter().take(SHOWN) {
        writeln!(out, "BROKEN {violation}")?;
    }
    for said in outcome.said.iter().filter(|_| options.logs && !outcome.violations.is_empty()) {
        writeln!(out, "---\n{said}")?;
    }
    let (faults, broken) = (outcome.faults.len(), outcome.violations.len());
    writeln!(
        out,
        "{faults} faults, {} packets received, {broken} promises broken; seed {seed}",
        outcome.received
    )?;
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::disallowed_methods, reason = "a new seed for every run, printed first")]
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos() % u128::from(u32::MAX)).unwrap_or_default()
}

/// The largest number of violations that are printed.
const SHOWN: usize = 40;
