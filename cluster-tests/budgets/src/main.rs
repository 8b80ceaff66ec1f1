//! Counts the instructions of hot paths with callgrind, and holds them to the budgets of `budgets.toml`. Without arguments all of
//! them; otherwise those whose names contain one of the arguments.
//!
//! Every path is a process of its own, and only what lies between two calls of [`paths::mark`] is counted. The clock of its
//! nodes is virtual and its network is in memory, so two runs differ by the random numbers in them alone: far below 1 %.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong here is wrong with the program or the library"
)]

mod client;
mod paths;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::{env, fs, thread};

use paths::{PATHS, Path};

/// Instructions of one operation, by the name of the path.
type Counts = BTreeMap<String, u64>;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [option, name] = arguments.as_slice()
        && option == RUN
    {
        let path = PATHS.iter().find(|path| path.name == name).ok_or("there is no such path")?;
        path.run();
        return Ok(ExitCode::SUCCESS);
    }
    let is_wanted =
        |path: &&Path| arguments.is_empty() || arguments.iter().any(|part| path.name.contains(part));
    let wanted: Vec<&Path> = PATHS.iter().filter(is_wanted).collect();
    let measured = measure_all(&wanted)?;
    if env::var_os("SOCKETMESH_TEST_OVERWRITE").is_some() {
        overwrite(measured)?;
        return Ok(ExitCode::SUCCESS);
    }
    let kept = report(&wanted, &measured, &budgets()?)?;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures on as many processors as there are.
fn measure_all(wanted: &[&Path]) -> Result<Counts, Box<dyn Error>> {
    let folder = env::current_exe()?.parent().ok_or("a program lies in a folder")?.join("callgrind");
    fs::create_dir_all(&folder)?;
    let (waiting, measured) = (Mutex::new(wanted.iter()), Mutex::new(Ok(Counts::new())));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                // A statement of its own, so that the lock is held for no longer.
                let next = || waiting.lock().ok()?.next();
                while let Some(path) = next() {
                    let count = measure(path, &folder);
                    let Ok(mut measured) = measured.lock() else { return };
                    match (count, measured.as_mut()) {
                        (Ok(count), Ok(counts)) => drop(counts.insert(path.name.to_owned(), count)),
                        (Err(why), Ok(_)) => *measured = Err(format!("{}: {why}", path.name)),
                        (_, Err(_)) => {}
                    }
                }
            });
        }
    });
    Ok(measured.into_inner()??)
}

/// Runs a path under callgrind, which writes what it counted up to each mark to a file. The second one has what lies
/// between them, by function: `callgrind_annotate` shows it.
fn measure(path: &Path, folder: &FilePath) -> Result<u64, Box<dyn Error>> {
    let out = folder.join(path.name);
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--dump-before=budgets::paths::mark*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args([RUN, path.name])
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    if !status.success() {
        return Err(format!("it ended with {status}").into());
    }
    let counted = fs::read_to_string(format!("{}.2", out.display()))?;
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total.ok_or("callgrind counted nothing")?.trim().parse()?;
    Ok(total / u64::from(path.operations))
}

/// Prints a table. Returns whether every path keeps to its budget.
fn report(wanted: &[&Path], measured: &Counts, budgets: &Counts) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<24} {:>12} {:>12} {:>8}", "instructions of", "budget", "measured", "")?;
    let (mut kept, mut loose) = (true, false);
    for path in wanted {
        let measured = measured.get(path.name).copied().unwrap_or_default();
        let budget = budgets.get(path.name).copied().unwrap_or_default();
        let verdict = match () {
            () if budget == 0 => "has no budget",
            () if measured * 10 > budget * 11 => "above its budget",
            () if measured * 11 < budget * 10 => "far below its budget",
            () => "",
        };
        kept &= matches!(verdict, "" | "far below its budget");
        loose |= verdict == "far below its budget";
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let change = 100. * (measured as f64 / budget as f64 - 1.);
        writeln!(out, "{:<24} {budget:>12} {measured:>12} {change:>+7.1}% {verdict}", path.name)?;
    }
    if !kept || loose {
        let why = if kept { "a budget is loose" } else { "a budget is not kept" };
        writeln!(out, "{why}: SOCKETMESH_TEST_OVERWRITE=1 writes the measured ones to {}", file().display())?;
    }
    Ok(kept)
}

fn budgets() -> Result<Counts, Box<dyn Error>> {
    Ok(toml::from_str(&fs::read_to_string(file()).unwrap_or_default())?)
}

/// Makes what was measured the budgets. Those of paths that were not measured stay.
fn overwrite(measured: Counts) -> Result<(), Box<dyn Error>> {
    let mut counts = budgets()?;
    counts.extend(measured);
    let mut text = HEAD.to_owned();
    for path in PATHS {
        if let Some(count) = counts.get(path.name) {
            text += &format!("\n# {}\n{} = {count}\n", path.what, path.name);
        }
    }
    fs::write(file(), text)?;
    writeln!(io::stdout(), "{} is written anew", file().display())?;
    Ok(())
}

fn file() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("budgets.toml")
}

/// Runs one path, without callgrind if nobody else starts it.
const RUN: &str = "--run";

const HEAD: &str = "# Instructions of one operation, in user space, on x86-64: see \"Budgets\" in docs/testing.md. Written by the program.\n";
