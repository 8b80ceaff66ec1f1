//! The documents say the truth about the sources: what they name exists, what they state is tested, links lead somewhere.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster_tests::chaos::scenarios::SCENARIOS;
use cluster_tests::rules::Rules;
use cluster_tests::sources::{Sources, root};
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::{Node, engine, socket};

#[test]
fn every_rule_of_a_page_is_held_by_tests_that_exist_or_has_a_reason() {
    let (sources, mut faults, mut tests) = (Sources::read(), Vec::new(), 0);
    let pages = [
        "architecture",
        "protocol/engine-io",
        "protocol/socket-io",
        "protocol/mesh",
        "reference/promises",
        "reference/guarantees",
        "guides/recovery",
    ];
    for page in pages {
        let name = page.rsplit('/').next().expect("a name");
        let rules =
            Rules::read(&format!("docs/{page}.md"), &format!("cluster-tests/tests/rules/{name}.toml"));
        faults.extend(rules.faults(&sources).into_iter().map(|fault| format!("{page}: {fault}")));
        tests += rules.tests();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(tests > 500, "the pages have lost tests: {tests}");
}

#[test]
fn every_situation_of_the_guarantees_is_a_scenario_and_every_scenario_is_in_the_table() {
    let page = fs::read_to_string(root().join("docs/reference/guarantees.md")).expect("the page");
    let table = page.lines().skip_while(|line| !line.starts_with("| Situation"));
    let rows = table.take_while(|line| line.starts_with("| ")).skip(2);
    let name = |row: &str| row.rsplit('|').nth(1).map(|cell| cell.trim().trim_matches('`').to_owned());
    let mut named: Vec<_> = rows.filter_map(name).collect();
    let mut played: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name.to_owned()).collect();
    named.sort();
    played.sort();
    assert_eq!(named, played);
}

/// Names that are sentences are those of tests, unless they are settings or metrics.
#[test]
fn no_document_names_tests_for_they_stand_in_the_files_of_rules() {
    let is_sentence = |token: &str| {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c);
        token.chars().all(word)
            && token.matches('_').count() >= 3
            && !token.starts_with("socketmesh_")
            && !token.ends_with("_per_address")
            && !token.starts_with("process_")
    };
    let mut named = Vec::new();
    for (path, text) in documents() {
        let tests = text.lines().flat_map(quoted).filter(|token| is_sentence(token));
        named.extend(tests.map(|test| format!("{}: {test}", path.display())));
    }
    assert!(named.is_empty(), "to be moved to cluster-tests/tests/rules:\n{}", named.join("\n"));
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let (sources, mut wrong) = (Sources::read(), Vec::new());
    for (path, text) in documents() {
        for file in text.lines().flat_map(quoted).filter(|token| is_a_file(token)) {
            if !file.contains('{') && !sources.has_file(file) {
                wrong.push(format!("{}: {file}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no such files:\n{}", wrong.join("\n"));
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let prose: String = text.split('`').step_by(2).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.contains("://") && !leads_somewhere(&path, &text, link) {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "dead links:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_of_tests_and_every_fuzz_target_is_described() {
    let testing = fs::read_to_string(root().join("docs/testing.md")).expect("the page about tests");
    for folder in ["cluster-tests/tests", "deploy/server/tests", "docs/examples/tests"] {
        for name in rust_files(folder) {
            assert!(testing.contains(&format!("| `{folder}/{name}")), "{folder}/{name} is not described");
        }
    }
    let targets = page("cluster-tests/src/fuzz.rs");
    let is_target = |line: &&str| line.starts_with("    decoder(\"") || line.starts_with("    stateful(\"");
    let targets: Vec<_> =
        targets.lines().filter(is_target).filter_map(|line| line.split('"').nth(1)).collect();
    assert!(targets.len() > 9, "{targets:?}");
    for name in targets {
        assert!(testing.contains(&format!("| `{name}` |")), "the target {name} is not described");
    }
}

#[tokio::test]
async fn every_counter_of_a_node_is_in_the_reference_and_the_reference_invents_none() {
    let cluster = Cluster::bind("127.0.0.1:0").secret(Secret::random().expect("random numbers"));
    let node = Node::builder().cluster(cluster).start().await.expect("a node on this machine");
    let counters = node.counters();
    let counted: BTreeSet<&str> = counters.iter().map(|(name, _)| *name).collect();
    let page = page("docs/reference/counters.md");
    let told: BTreeSet<&str> = first_cells(&page).filter(|cell| cell.starts_with("socketmesh_")).collect();
    assert_eq!(counted, told, "left: what the node counts, right: the page");
    node.shutdown().await;
}

#[test]
fn every_setting_of_the_library_is_in_the_reference_and_the_reference_invents_none() {
    let reference = page("docs/reference/configuration.md");
    for (section, source) in [
        ("Sessions", "src/engine/config.rs"),
        ("Socket.IO", "src/socket/config.rs"),
        ("HTTP", "src/http/config.rs"),
    ] {
        let source = page(source);
        let fields = source.split("pub struct Config {").nth(1).and_then(|rest| rest.split("\n}").next());
        let fields =
            fields.expect("a struct of settings").lines().filter_map(|line| line.trim().strip_prefix("pub "));
        let fields: BTreeSet<&str> = fields.filter_map(|field| field.split(':').next()).collect();
        assert!(fields.len() > 5, "{fields:?}");
        let told: BTreeSet<&str> = first_cells(self::section(&reference, section)).collect();
        assert_eq!(fields, told, "left: the settings, right: the section {section}");
    }
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let (reference, engine, socket) =
        (page("docs/reference/configuration.md"), engine::Config::default(), socket::Config::default());
    let seconds = |duration: Duration| format!("{} s", duration.as_secs());
    let bytes = |size: usize| format!("{} bytes", grouped(size));
    let compression = engine.http_compression.expect("answers are compressed").threshold;
    for (name, default) in [
        ("ping_interval", seconds(engine.ping_interval)),
        ("ping_timeout", seconds(engine.ping_timeout)),
        ("upgrade_timeout", seconds(engine.upgrade_timeout)),
        ("max_payload", bytes(engine.max_payload)),
        ("transports", engine.transports.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")),
        ("allow_upgrades", engine.allow_upgrades.to_string()),
        ("allow_eio3", engine.allow_eio3.to_string()),
        ("close_timeout", seconds(engine.close_timeout)),
        ("max_buffered", bytes(engine.max_buffered)),
        ("max_burst", bytes(engine.max_burst)),
        ("max_buffered_total", bytes(engine.max_buffered_total)),
        ("max_sessions", grouped(engine.max_sessions)),
        ("per_message_deflate", engine.per_message_deflate.map_or("off", |_| "on").to_owned()),
        ("http_compression", format!("from {compression} bytes on")),
        ("connect_timeout", seconds(socket.connect_timeout)),
        ("max_namespaces", socket.max_namespaces.to_string()),
        ("max_attachments", socket.max_attachments.to_string()),
        ("max_pending_bytes", bytes(socket.max_pending_bytes)),
        ("attachment_timeout", seconds(socket.attachment_timeout)),
    ] {
        let row = format!("| `{name}` | {default} |");
        assert!(reference.contains(&row), "the reference does not say {row}");
    }
    assert_eq!(socket.parser, socket::Parser::Json, "which the reference says");
}

#[test]
fn every_warning_and_error_in_the_log_is_explained() {
    let page = page("docs/guides/troubleshooting.md");
    let explained: Vec<&str> = page.lines().flat_map(quoted).collect();
    let (mut count, mut missing) = (0, Vec::new());
    for (path, source) in Sources::texts(&["src", "deploy/server/src"]) {
        for message in logged(&source).filter(|_| !path.starts_with("src/testing")) {
            count += 1;
            if !explained.iter().any(|text| text.len() > 5 && message.starts_with(text.trim_end_matches('…')))
            {
                missing.push(format!("{path}: {message:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "not explained in the guide:\n{}", missing.join("\n"));
    assert!(count > 30, "the sources log less than they did: {count}");
}

#[test]
fn a_logged_message_is_found_behind_its_fields() {
    let source = "warn!(%node, error = %error, \"no \\\n    seed answers\");\n tracing::error!(\"{what} panicked\"); info!(\"ready\")";
    let found: Vec<_> = logged(source).collect();
    assert_eq!(found, ["no seed answers", "… panicked"]);
}

/// The messages of warnings and errors; what is put into one is `…`.
fn logged(source: &str) -> impl Iterator<Item = String> {
    let calls = ["warn!(", "error!("].into_iter().flat_map(|call| source.split(call).skip(1));
    let literals = calls.filter_map(|rest| {
        let call = rest.split(");").next()?;
        call.split('"').nth(1).map(|literal| literal.split("\\\n").map(str::trim_start).collect::<String>())
    });
    literals.map(|literal| {
        let parts = literal.split('{').map(|part| part.split_once('}').map_or(part, |(_, after)| after));
        parts.collect::<Vec<_>>().join("…")
    })
}

/// The examples compile in the package of the examples; those that start nothing run.
#[test]
fn every_program_in_the_documents_is_compiled() {
    let (compiled, mut count) = (page("docs/examples/src/lib.rs"), 0);
    for (path, text) in documents() {
        if text.contains("\n```rust\n") || text.contains("\n```rust,no_run\n") {
            let path = path.strip_prefix(root()).expect("below the root").display().to_string();
            assert!(compiled.contains(&format!("../../../{path}\"")), "{path} is not compiled");
            count += 1;
        }
    }
    assert!(count > 5, "the documents have fewer programs than they had: {count}");
}

#[test]
fn a_dead_link_is_noticed() {
    assert!(leads_somewhere(Path::new("README.md"), "# Here", "#here"));
    assert!(!leads_somewhere(Path::new("README.md"), "# Here", "#there"));
    assert!(!leads_somewhere(Path::new("README.md"), "", "docs/gone.md"));
}

fn is_a_file(token: &str) -> bool {
    token.ends_with(".rs") && !token.contains([' ', '*'])
}

fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn leads_somewhere(from: &Path, text: &str, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let there = if path.is_empty() {
        text.to_owned()
    } else {
        let target = from.parent().unwrap_or(from).join(path);
        if anchor.is_empty() {
            return target.exists();
        }
        let Ok(there) = fs::read_to_string(target) else { return false };
        there
    };
    anchor.is_empty() || there.lines().any(|line| line.starts_with('#') && slug(line) == anchor)
}

/// The anchor of a heading, as on GitHub.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A file of the workspace.
fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn section<'a>(page: &'a str, title: &str) -> &'a str {
    page.split("\n## ").find(|section| section.starts_with(&format!("{title}\n"))).expect("a section")
}

/// What is quoted at the beginning of the rows of tables.
fn first_cells(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

/// Digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}

/// The names of the Rust files in a folder, without `.rs`.
fn rust_files(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder of the workspace");
    let names = entries.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
}

/// The pages that people read, with their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = pages_in(&root());
    let mut folders = vec![root().join("docs"), root().join("deploy")];
    while let Some(folder) = folders.pop() {
        paths.extend(pages_in(&folder));
        folders.extend(entries(&folder).filter(|path| path.is_dir()));
    }
    assert!(paths.len() > 5, "the documents are gone");
    let text = |path: &PathBuf| fs::read_to_string(path).expect("a document in UTF-8");
    paths.into_iter().map(|path| (path.clone(), text(&path))).collect()
}

fn pages_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder).filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).expect("a folder of the documents").map(|entry| entry.expect("an entry").path())
}
