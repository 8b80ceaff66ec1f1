//! The Dockerfiles. No container is built or run here: what is checked is what can be read off the files.

use std::fs;

use cluster_tests::sources::root;

use super::tools::{output, tool};

#[tokio::test]
async fn the_dockerfiles_are_what_hadolint_asks_for() {
    output(tool("hadolint").await.args(["--no-color", "--failure-threshold", "info"]).args(FILES)).await;
}

#[test]
fn images_have_a_version_run_as_nobody_in_particular_and_know_their_health() {
    for file in FILES {
        let text = fs::read_to_string(root().join("deploy").join(file)).expect("it is shipped");
        let instructions = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name));
        let bases: Vec<_> = instructions("FROM ").filter_map(|from| from.split(' ').next()).collect();
        assert!(bases.len() >= 2, "{file}: what builds does not belong to the image");
        for base in bases.iter().filter(|base| base.contains('/') || base.contains(':')) {
            let tag = base.rsplit_once(':').map(|(_, tag)| tag);
            assert!(tag.is_some_and(|tag| tag != "latest"), "{file}: {base}");
        }
        assert_eq!(instructions("USER ").next_back(), Some("65532:65532"), "{file}");
        assert_eq!(instructions("HEALTHCHECK ").count(), 1, "{file}");
        // Dependencies are a layer of their own, which the sources do not change.
        let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("{file} has no {part:?}"));
        assert!(position("cargo chef cook") < position("cargo build"), "{file}");
    }
}

#[test]
fn the_chart_and_the_images_are_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("helm/socketmesh/Chart.yaml", format!("version: {version}\n")),
        ("helm/socketmesh/Chart.yaml", format!("appVersion: {version}\n")),
        ("app.Dockerfile", format!("FROM socketmesh:{version} AS socketmesh\n")),
    ] {
        let text = fs::read_to_string(root().join("deploy").join(file)).expect("it is shipped");
        assert!(text.contains(&format!("\n{line}")), "{file}: {line}");
    }
}

const FILES: [&str; 2] = ["Dockerfile", "app.Dockerfile"];
