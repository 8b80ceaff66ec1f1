//! Places in which the product is broken on purpose, and the checks that must notice (`cluster-tests/mutants.toml`).

use std::fs;
use std::io;

use crate::sources::root;

/// All of them.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutants {
    /// In the order of the file.
    #[serde(rename = "mutant")]
    pub all: Vec<Mutant>,
}

/// One place.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What the product does not do any more.
    pub name: String,
    /// The file of it.
    pub file: String,
    /// The text that is replaced, which the file has once.
    pub find: String,
    /// By what.
    pub replace: String,
    /// Seeds of which one at least notices it, as long as what else the product does is much as it was.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// The scenario of the chaos runs that notices it; without one it is a simulation.
    pub scenario: Option<String>,
    /// A test of the library that notices it, where no seed meets it often enough.
    pub test: Option<String>,
    /// A file of `cluster-tests/tests` that notices it, where it takes several nodes and no random faults.
    pub suite: Option<String>,
}

impl Mutants {
    /// Reads the list.
    ///
    /// # Errors
    /// There is no list, or it is not as it should be.
    pub fn read() -> io::Result<Self> {
        let text = fs::read_to_string(root().join("cluster-tests/mutants.toml"))?;
        toml::from_str(&text).map_err(io::Error::other)
    }
}

impl Mutant {
    /// The file with the mutation.
    ///
    /// # Errors
    /// The text is not there, or more than once.
    pub fn applied_to(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            count => Err(format!("{}: {} has the text {count} times: {}", self.name, self.file, self.find)),
        }
    }

    /// What must notice it.
    #[must_use]
    pub fn check(&self) -> String {
        let seeds = self.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        match (&self.test.as_ref().or(self.suite.as_ref()), &self.scenario) {
            (Some(test), _) => format!("test {test}"),
            (None, Some(scenario)) => format!("scenario {scenario}, seeds {seeds}"),
            (None, None) => format!("simulation, seeds {seeds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_still_has_its_place() {
        let mutants = Mutants::read().unwrap();
        assert!(mutants.all.len() >= 6);
        for mutant in &mutants.all {
            let text = fs::read_to_string(root().join(&mutant.file)).unwrap();
            assert_ne!(mutant.applied_to(&text).unwrap(), text);
        }
    }
}
