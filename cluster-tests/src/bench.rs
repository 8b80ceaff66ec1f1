//! The bench: our nodes and their peers under the same load, one after the other, on this machine.
//!
//! ```text
//!   run ──► scenarios          what is measured, as command lines of `socketmesh load`
//!    ├────► systems            who is measured: nodes as processes, and what they need
//!    └────► tables             the medians, in Markdown
//! ```

pub mod scenarios;
mod systems;
mod tables;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use socketmesh_load::{Report, machine};

use scenarios::{SCENARIOS, Scenario};
pub use systems::System;
pub use tables::tables;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A scenario; may be repeated. Without it all of them.
    #[arg(long, value_parser = Scenario::named)]
    scenario: Vec<&'static Scenario>,
    /// How often each is measured. The tables have the medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Others that are measured beside our nodes, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<System>,
    /// Every run is added to this file, as a line of JSON. The tables are of all that are in it, also from before.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Says which scenarios there are.
    #[arg(long)]
    pub list: bool,
}

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Of which scenario.
    pub scenario: String,
    /// Of whom.
    pub system: String,
    /// What was found.
    pub report: Report,
}

/// Measures. `say` is told what happens. Returns all runs.
///
/// # Errors
/// This machine cannot run our nodes, or the file cannot be read or written.
pub async fn run(options: &Options, mut say: impl FnMut(&str)) -> io::Result<Vec<Run>> {
    let mut runs = match &options.json {
        Some(path) if path.exists() => read(&File::open(path)?)?,
        _ => Vec::new(),
    };
    let mut out = options
        .json
        .as_ref()
        .map(|path| OpenOptions::new().create(true).append(true).open(path))
        .transpose()?;
    let files = machine::allow_open_files()?;
    let mut systems = vec![System::Socketmesh];
    System::Socketmesh.install(&mut say).await.map_err(io::Error::other)?;
    for system in &options.against {
        match system.install(&mut say).await {
            Ok(()) => systems.push(*system),
            Err(why) => say(&format!("{system} is left out: {why}")),
        }
    }
    let all: Vec<_> = SCENARIOS.iter().collect();
    let scenarios = if options.scenario.is_empty() { &all } else { &options.scenario };
    for scenario in scenarios {
        for round in 1..=options.rounds {
            // Whatever the machine does meanwhile, it does to all.
            let (ahead, back) = (systems.iter(), systems.iter().rev());
            let order: Vec<_> = if round % 2 == 1 { ahead.collect() } else { back.collect() };
            for system in order {
                if let Some(why) = scenario.is_nothing_for(*system) {
                    say(&format!("{} {system} is left out: {why}", scenario.name));
                    continue;
                }
                say(&format!("{} {system}, round {round} of {}", scenario.name, options.rounds));
                match measure(scenario, *system, files).await {
                    Ok(report) => {
                        report.warnings.iter().for_each(|warning| say(&format!("  {warning}")));
                        let run =
                            Run { scenario: scenario.name.to_owned(), system: system.to_string(), report };
                        if let Some(out) = &mut out {
                            writeln!(out, "{}", serde_json::to_string(&run)?)?;
                        }
                        runs.push(run);
                    }
                    Err(why) => say(&format!("  failed: {why}")),
                }
            }
        }
    }
    Ok(runs)
}

/// One round of one system, with processes of its own.
async fn measure(scenario: &Scenario, system: System, files: usize) -> io::Result<Report> {
    let running = system.start(scenario.nodes).await?;
    let load = scenario.load(&running.addresses, &running.pids, files);
    let measured = tokio::task::spawn_blocking(move || socketmesh_load::run(&load)).await;
    drop(running);
    measured.map_err(io::Error::other)?
}

fn read(file: &File) -> io::Result<Vec<Run>> {
    BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
