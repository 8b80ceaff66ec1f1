//! What is published: the package of the library, its README, and what it brings along.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use cluster_tests::sources::root;

#[test]
fn every_relative_link_of_the_readme_leads_to_a_file_of_the_package() {
    let files = cargo(&["package", "--package", "socketmesh", "--list", "--allow-dirty"]);
    let packaged = |link: &str| files.lines().any(|file| file == link);
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let ends = [("](", ')'), ("src=\"", '"'), ("href=\"", '"')];
    let links: BTreeSet<&str> = ends
        .into_iter()
        .flat_map(|(start, end)| readme.split(start).skip(1).filter_map(move |rest| rest.split(end).next()))
        .map(|link| link.split('#').next().unwrap_or_default())
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .collect();
    assert!(!links.is_empty(), "the README links to the documents");
    let dead: Vec<_> = links.into_iter().filter(|link| !packaged(link)).collect();
    assert!(dead.is_empty(), "not in the package; link to the repository instead: {dead:?}");
}

#[test]
fn the_library_brings_nothing_for_programs_and_features_that_are_off() {
    let tree =
        cargo(&["tree", "--package", "socketmesh", "--edges", "normal", "--prefix", "none", "--locked"]);
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("hyper"), "the tree is that of the library: {crates:?}");
    for unwanted in ["balancer", "clap", "tracing-subscriber", "tokio-rustls", "wtransport"] {
        assert!(!crates.contains(unwanted), "{unwanted} is in the tree of the library");
    }
}

/// The crates whose types the public API may name: those that applications on tokio, hyper and serde have anyway, in
/// versions that stay, and `bytestring`, which is `bytes` in UTF-8.
const SHARED: [&str; 13] = [
    "alloc",
    "bytes",
    "bytestring",
    "core",
    "http",
    "http_body",
    "hyper",
    "serde_core",
    "serde_json",
    "socketmesh",
    "std",
    "tokio",
    "tower_service",
];

#[test]
fn the_public_api_names_types_of_no_other_crates() {
    let api =
        fs::read_to_string(root().join("cluster-tests/public-api.txt")).expect("the list of the public API");
    assert!(api.contains("pub struct socketmesh::NodeBuilder"), "the list is that of the library");
    let mut foreign = BTreeSet::new();
    for line in api.lines() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let paths = line.split(|c| !is_name(c)).filter(|path| path.contains("::"));
        let crates = paths.filter_map(|path| path.split("::").next());
        let others = crates.filter(|name| name.starts_with(char::is_lowercase) && !SHARED.contains(name));
        foreign.extend(others.map(|name| format!("{name}: {line}")));
    }
    assert!(foreign.is_empty(), "types of other crates:\n{}", Vec::from_iter(foreign).join("\n"));
}

/// The output of a command of cargo in this workspace.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output();
    let output = output.expect("cargo can be executed");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}
