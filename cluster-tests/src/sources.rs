//! The sources of the workspace and the tests in them, for tests that hold documents against them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file of the workspace, with the names of its tests.
#[derive(Debug)]
pub struct Sources(Vec<(String, BTreeSet<String>)>);

impl Sources {
    /// Reads them.
    pub fn read() -> Self {
        let mut files = Vec::new();
        for folder in ["src", "cluster-tests/src", "cluster-tests/tests", "deploy", "docs/examples"] {
            collect(&root().join(folder), &mut files);
        }
        Self(files.iter().map(|file| (relative(file), tests(&read(file)))).collect())
    }

    /// The Rust files in these folders, as their paths and texts.
    pub fn texts(folders: &[&str]) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for folder in folders {
            collect(&root().join(folder), &mut files);
        }
        files.iter().map(|file| (relative(file), read(file))).collect()
    }

    /// Whether there is a file whose path ends so.
    pub fn has_file(&self, path: &str) -> bool {
        self.ending(path).next().is_some()
    }

    /// Whether a file whose path ends so, with or without its `.rs`, or one in the folder of that name, has this test. An
    /// empty path means any.
    pub fn has_test(&self, path: &str, name: &str) -> bool {
        self.ending(path).any(|tests| tests.contains(name))
    }

    fn ending<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a BTreeSet<String>> {
        let found = move |file: &str| {
            let below = format!("/{file}");
            let is_it = |path: &str| below.ends_with(path) || below.ends_with(&format!("{path}.rs"));
            path.is_empty() || is_it(&format!("/{path}")) || below.contains(&format!("/{path}/"))
        };
        self.0.iter().filter(move |(file, _)| found(file)).map(|(_, tests)| tests)
    }
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folders of the workspace can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn relative(file: &Path) -> String {
    let file = file.strip_prefix(root()).expect("it is below the root");
    file.to_str().expect("names in UTF-8").replace('\\', "/")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("the sources can be read")
}

/// The functions with the attribute of a test, and what a list of rules makes tests of.
fn tests(source: &str) -> BTreeSet<String> {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let mut tests: BTreeSet<_> = rules(source).map(str::to_owned).collect();
    let mut attributed = false;
    for line in lines {
        let declared = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some((name, _)) = declared.and_then(|rest| rest.split_once('(')) {
            if attributed {
                tests.insert(name.to_owned());
            }
            attributed = false;
        } else if line.starts_with('#') {
            attributed |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else if !line.starts_with("//") {
            attributed = false;
        }
    }
    tests
}

fn rules(source: &str) -> impl Iterator<Item = &str> {
    let lists =
        ["on_every_target! {", "on_one_and_three_nodes! {", "on_every_target!(", "on_one_and_three_nodes!("];
    let lists = lists.into_iter().flat_map(|start| source.split(start).skip(1));
    let declared = |rule: &&str| !rule.is_empty() && source.contains(&format!("async fn {rule}("));
    lists
        .filter_map(|rest| rest.split(['}', ')']).next())
        .flat_map(|list| list.split([',', ':', ' ', '\n']))
        .filter(declared)
}
