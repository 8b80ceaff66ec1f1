//! Runs the fuzz targets: `fuzz [TARGET|all]`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cluster_tests::dice::Dice;
use cluster_tests::fuzz::{Limit, TARGETS, Target, again, run, short};

/// Gives the decoders and state machines of the library what was made to break them. Fails at the first input that
/// does, and says how to see that again.
#[derive(Debug, Parser)]
struct Options {
    /// One of the targets, or all of them. Without one they are listed.
    target: Option<String>,
    /// How many inputs each target gets.
    #[arg(long, conflicts_with = "seconds")]
    executions: Option<u64>,
    /// How long each target is run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// What the inputs are made of, with their numbers; another one each time if none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Only the input with this number.
    #[arg(long, requires = "seed")]
    case: Option<u64>,
    /// Only this input, in hexadecimal.
    #[arg(long, conflicts_with = "case")]
    input: Option<String>,
    #[arg(long, default_value_t = 1)]
    threads: u64,
}

fn main() -> io::Result<ExitCode> {
    let options = Options::parse();
    let mut out = io::stdout();
    let wanted = options.target.as_deref().unwrap_or_default();
    let chosen: Vec<_> = TARGETS.iter().filter(|target| wanted == "all" || target.name == wanted).collect();
    if chosen.is_empty() {
        for Target { name, is_stateful, .. } in TARGETS {
            writeln!(out, "{name}{}", if *is_stateful { ", with a state" } else { "" })?;
        }
        return Ok(if wanted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let seed = options.seed.unwrap_or_else(Dice::fresh_seed);
    writeln!(out, "seed {seed}")?;
    for target in chosen {
        let held = match single(target, seed, &options)? {
            Some(input) => play(*target, &input)?,
            None => fuzz(*target, seed, &options)?,
        };
        if !held {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The one input that was asked for.
fn single(target: &Target, seed: u64, options: &Options) -> io::Result<Option<Vec<u8>>> {
    if let Some(case) = options.case {
        let mut input = Vec::new();
        target.input(seed, case, &mut input);
        return Ok(Some(input));
    }
    let Some(text) = &options.input else { return Ok(None) };
    let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let bytes = digits.chunks(2).map(|pair| match pair {
        [Some(high), Some(low)] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    });
    bytes.collect::<Option<_>>().map(Some).ok_or_else(|| io::Error::other("the input is not hexadecimal"))
}

fn play(target: Target, input: &[u8]) -> io::Result<bool> {
    let played = again(target, input);
    match &played {
        Ok(reached) => writeln!(io::stdout(), "{}: holds, got far: {reached}\n{}", target.name, told(input))?,
        Err(reason) => writeln!(io::stdout(), "{}: {reason}\n{}", target.name, told(input))?,
    }
    Ok(played.is_ok())
}

fn fuzz(target: Target, seed: u64, options: &Options) -> io::Result<bool> {
    let limit = match options.executions {
        Some(executions) => Limit::Executions(executions),
        None => Limit::Time(Duration::from_secs(options.seconds)),
    };
    let outcome = run(target, seed, limit, options.threads);
    let mut out = io::stdout();
    let (seconds, executions) = (outcome.elapsed.as_secs_f64(), outcome.executions);
    let far = 100 * outcome.reached / executions.max(1);
    writeln!(out, "{:<18} {executions:>10} executions {seconds:>8.1} s {far:>4} % got far", target.name)?;
    let Some(failure) = outcome.failure else { return Ok(true) };
    let name = target.name;
    writeln!(
        out,
        "{name}: case {} of seed {seed}: {}\n{}",
        failure.case,
        failure.reason,
        told(&failure.input)
    )?;
    writeln!(out, "again: fuzz {name} --seed {seed} --case {}", failure.case)?;
    if !failure.reason.starts_with("it does not end") {
        let short = short(target, failure.input);
        writeln!(out, "shorter: fuzz {name} --input {}", hex(&short))?;
    }
    Ok(false)
}

fn told(input: &[u8]) -> String {
    format!("{}\n\"{}\"", hex(input), input.escape_ascii())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
