//! Plays scenarios on a network of their own: `chaos --scenario NAME|all|ci [--seed S] [--minutes M]`.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cluster_tests::chaos::judge::Judgement;
use cluster_tests::chaos::scenario::Scenario;
use cluster_tests::chaos::scenarios::SCENARIOS;
use cluster_tests::chaos::{report, stage};
use cluster_tests::dice::Dice;
use cluster_tests::interop;
use tokio::time::Instant;

/// Five nodes in network namespaces of their own, official clients, faults, and a checker of what is promised. Needs root,
/// `/dev/net/tun`, the command `ip`, Node.js, and the fixture beside it: `cargo build -p cluster-tests --bins`.
///
/// Fails if a promise was broken, or a scenario could not be played.
#[derive(Debug, Parser)]
struct Options {
    /// The name of a scenario; `all` of them; or `ci`, those that every change must pass. May be repeated.
    #[arg(long, default_value = "all")]
    scenario: Vec<String>,
    /// Repeats an earlier run: who plays what, and which packets are lost.
    #[arg(long)]
    seed: Option<u64>,
    /// Goes on with other seeds until that many minutes have passed, or a promise is broken.
    #[arg(long)]
    minutes: Option<u64>,
    /// Prints the timeline of every play.
    #[arg(long)]
    timeline: bool,
    /// Lists the scenarios.
    #[arg(long)]
    list: bool,
}

fn main() -> io::Result<ExitCode> {
    let options = Options::parse();
    let mut out = io::stdout();
    if options.list {
        for scenario in SCENARIOS {
            writeln!(out, "{:<19} {}", scenario.name, scenario.about)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = chosen(&options.scenario)?;
    let fixture = env::current_exe()?.with_file_name("fixture");
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(interop::installed());
    let until = options.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let mut seed = options.seed.unwrap_or_else(Dice::fresh_seed);
    loop {
        let kept = play_all(&scenarios, seed, &fixture, options.timeline)?;
        if !kept {
            return Ok(ExitCode::FAILURE);
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            return Ok(ExitCode::SUCCESS);
        }
        seed = Dice::new(seed).number() % 1_000_000_000;
    }
}

fn chosen(names: &[String]) -> io::Result<Vec<&'static Scenario>> {
    let mut scenarios = Vec::new();
    for name in names {
        let before = scenarios.len();
        scenarios.extend(SCENARIOS.iter().filter(|scenario| match name.as_str() {
            "all" => true,
            "ci" => scenario.in_ci,
            name => scenario.name == name,
        }));
        if scenarios.len() == before {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no scenario is called {name}: see --list"),
            ));
        }
    }
    Ok(scenarios)
}

/// Plays scenarios one after another, and returns whether all of them kept what is promised.
fn play_all(scenarios: &[&'static Scenario], seed: u64, fixture: &Path, timelines: bool) -> io::Result<bool> {
    let mut out = io::stdout();
    writeln!(out, "seed {seed}")?;
    let mut rows = vec![report::head()];
    let mut kept = true;
    for scenario in scenarios {
        let began = Instant::now();
        let row = match stage::play(scenario, seed, fixture) {
            Ok(played) => {
                let judgement = Judgement::of(scenario, &played);
                let is_kept = judgement.broken.is_empty();
                kept &= is_kept;
                if timelines || !is_kept {
                    writeln!(out, "{}", report::timeline(scenario, seed, &played, &judgement))?;
                }
                report::row(scenario, &judgement)
            }
            Err(error) => {
                kept = false;
                report::unplayed(scenario, &error.to_string())
            }
        };
        writeln!(out, "{row} ({:.0} s)", began.elapsed().as_secs_f32())?;
        rows.push(row);
    }
    writeln!(out, "\n{}\nseed {seed}", rows.join("\n"))?;
    Ok(kept)
}
