//! The crates of the workspace, read once.

use std::fs;
use std::sync::LazyLock;

use cluster_tests::sources::root;

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
    let mut files = Files::new();
    for folder in members.map(|member| format!("{member}/src")).chain(["src".to_owned()]) {
        collect(&folder, &mut files);
    }
    files
}

fn collect(folder: &str, files: &mut Files) {
    for entry in fs::read_dir(root().join(folder)).expect("the folders of the workspace can be read") {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().to_str().expect("names in UTF-8"));
        if entry.path().is_dir() {
            collect(&path, files);
        } else if path.ends_with(".rs") {
            files.insert(path, fs::read_to_string(entry.path()).expect("the sources can be read"));
        }
    }
}
