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

/// The output of a command of cargo in this workspace.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output();
    let output = output.expect("cargo can be executed");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}
