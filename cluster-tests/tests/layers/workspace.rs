//! The crates of the workspace, read once.

use std::fs;
use std::sync::LazyLock;

use cluster_tests::sources::{Sources, root};

use crate::names::Import;
use crate::source::{Crate, Files, Module};

/// The modules of all libraries and programs.
pub(crate) fn modules() -> impl Iterator<Item = &'static Module> {
    CRATES.iter().flat_map(|each| &each.modules)
}

/// The imports within each crate.
pub(crate) fn imports() -> &'static [Import] {
    &IMPORTS
}

static CRATES: LazyLock<Vec<Crate>> = LazyLock::new(|| {
    let files = files();
    files.keys().filter(|file| is_root(file)).map(|file| Crate::read(file, &files)).collect()
});

static IMPORTS: LazyLock<Vec<Import>> = LazyLock::new(|| CRATES.iter().flat_map(Crate::imports).collect());

/// Whether a crate begins with this file.
fn is_root(file: &str) -> bool {
    let (folder, name) = file.rsplit_once('/').unwrap_or_default();
    folder.ends_with("src/bin") || (folder.ends_with("src") && matches!(name, "lib.rs" | "main.rs"))
}

/// The sources of all packages.
fn files() -> Files {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest of the workspace");
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let members = members.expect("the members of the workspace").split('"').skip(1).step_by(2);
    let members = members.map(|member| format!("{member}/src"));
    let folders: Vec<_> = members.chain(["src".to_owned()]).collect();
    Sources::texts(&folders.iter().map(String::as_str).collect::<Vec<_>>()).into_iter().collect()
}
