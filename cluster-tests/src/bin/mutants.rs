//! Breaks the product on purpose, in one place at a time, and checks that a named seed or scenario notices: `mutants`.
//! The places are in `cluster-tests/mutants.toml`.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use cluster_tests::mutants::{Mutant, Mutants};
use cluster_tests::sources::root;

/// Copies the sources, applies each mutation to the copy, builds it, and runs the check that must notice it. Takes some
/// minutes for each. Fails if one is not noticed, or its check fails without it.
#[derive(Debug, Parser)]
struct Options {
    /// Only those whose name contains this.
    #[arg(default_value = "")]
    name: String,
}

fn main() -> io::Result<ExitCode> {
    let options = Options::parse();
    let mutants = Mutants::read()?;
    let chosen = mutants.all.iter().filter(|mutant| mutant.name.contains(&options.name));
    let copy = Copy::make()?;
    let (mut out, mut rows, mut escaped) = (io::stdout(), Vec::new(), 0);
    for mutant in chosen {
        copy.restore(mutant)?;
        let sound = copy.builds(mutant)? && copy.passes(mutant)?;
        copy.mutate(mutant)?;
        let verdict = match sound {
            false => "FAILS WITHOUT IT",
            true if !copy.builds(mutant)? => "DOES NOT BUILD",
            true if copy.passes(mutant)? => "NOT NOTICED",
            true => "noticed",
        };
        copy.restore(mutant)?;
        escaped += usize::from(verdict != "noticed");
        let row = format!("{:<40} {:<50} {verdict}", mutant.name, mutant.check());
        writeln!(out, "{row}")?;
        rows.push(row);
    }
    writeln!(out, "\n{}", rows.join("\n"))?;
    Ok(if escaped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A copy of the sources under version control.
struct Copy {
    root: PathBuf,
    /// Its own: cargo would take what is built of the copy for what is built of the sources.
    target: PathBuf,
}

impl Copy {
    fn make() -> io::Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let root_of_copy = target.join("mutants");
        let copy = Self { target: root_of_copy.join("target"), root: root_of_copy };
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output()?;
        let files = String::from_utf8_lossy(&listed.stdout).into_owned();
        for file in files.split('\0').filter(|file| !file.is_empty()) {
            copy.take(file)?;
        }
        Ok(copy)
    }

    fn take(&self, file: &str) -> io::Result<()> {
        let to = self.root.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&self.root))?;
        let text = fs::read(root().join(file))?;
        // What did not change is not built again.
        if fs::read(&to).ok().as_ref() != Some(&text) {
            fs::write(to, text)?;
        }
        Ok(())
    }

    fn mutate(&self, mutant: &Mutant) -> io::Result<()> {
        let path = self.root.join(&mutant.file);
        let text = fs::read_to_string(&path)?;
        fs::write(path, mutant.applied_to(&text).map_err(io::Error::other)?)
    }

    fn restore(&self, mutant: &Mutant) -> io::Result<()> {
        self.take(&mutant.file)
    }

    fn builds(&self, mutant: &Mutant) -> io::Result<bool> {
        if let Some(suite) = &mutant.suite {
            let what =
                ["test", "--no-run", "--package", "cluster-tests", "--locked", "--quiet", "--test", suite];
            return self.run(Command::new("cargo").args(what));
        }
        let what: &[&str] = match (&mutant.test, &mutant.scenario) {
            (Some(_), _) => &["test", "--no-run", "--package", "socketmesh", "--lib"],
            (None, Some(_)) => &["build", "--package", "cluster-tests", "--bins"],
            (None, None) => &["test", "--no-run", "--package", "cluster-tests", "--test", "simulation"],
        };
        self.run(Command::new("cargo").args(what).args(["--locked", "--quiet"]))
    }

    /// Whether no seed notices anything.
    fn passes(&self, mutant: &Mutant) -> io::Result<bool> {
        if let Some(test) = &mutant.test {
            let library = ["test", "--package", "socketmesh", "--lib", "--locked", "--quiet", test];
            return self.run(Command::new("cargo").args(library));
        }
        if let Some(suite) = &mutant.suite {
            let what = ["test", "--package", "cluster-tests", "--locked", "--quiet", "--test", suite];
            return self.run(Command::new("cargo").args(what));
        }
        for seed in &mutant.seeds {
            if !self.passes_with(mutant, &seed.to_string())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn passes_with(&self, mutant: &Mutant, seed: &str) -> io::Result<bool> {
        match &mutant.scenario {
            Some(scenario) => {
                let chaos = self.target.join("debug/chaos");
                self.run(Command::new(chaos).args(["--scenario", scenario, "--seed", seed]))
            }
            None => {
                let mut command = Command::new("cargo");
                command.args(["test", "--package", "cluster-tests", "--test", "simulation", "--locked"]);
                self.run(command.arg("random_faults").env("SOCKETMESH_TEST_SEED", seed))
            }
        }
    }

    fn run(&self, command: &mut Command) -> io::Result<bool> {
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", absolute(&self.target)?);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status()?.success())
    }
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}
