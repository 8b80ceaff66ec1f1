//! The documents say the truth about the sources: tests and files that they name exist, and their links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use cluster_tests::sources::{Sources, root};

#[test]
fn every_test_that_the_documents_name_exists_and_runs() {
    let (sources, mut wrong, mut count) = (Sources::read(), Vec::new(), 0);
    for (path, text) in documents() {
        let names = named(&text);
        count += names.len();
        let missing = names.into_iter().filter(|Named { file, test, .. }| !sources.has_test(file, test));
        wrong.extend(missing.map(|name| format!("{}:{}: {name}", path.display(), name.line)));
    }
    assert!(wrong.is_empty(), "no such tests:\n{}", wrong.join("\n"));
    assert!(count > 800, "the documents name less than they did: {count}");
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
    for name in rust_files("cluster-tests/fuzz/fuzz_targets") {
        assert!(testing.contains(&format!("`{name}`")), "the target {name} is not listed");
    }
}

#[test]
fn every_variable_of_the_server_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let mut count = 0;
    for name in rust_files("deploy/server/src/serve") {
        let source =
            fs::read_to_string(root().join("deploy/server/src/serve").join(name).with_extension("rs"))
                .expect("a file");
        for variable in source.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(readme.contains(&format!("`{variable}`")), "{variable} is not described");
            count += 1;
        }
    }
    assert!(count > 20, "the server has fewer variables than it had: {count}");
}

#[test]
fn names_are_looked_for_where_the_document_says() {
    let document = "\
        # Page\nTests without a file are in `one.rs`.\n\n| Rule | Test |\n| --- | --- |\n\
        | `a_b_c_d` | `short_name`; `two.rs` `in_the_second_file`, `in_it_as_well` |\n\
        ## Section\nTests of this section are in\n`three.rs`.\n\n`in_the_third_file`, `a::b::in_a_module_of_it`\n\
        ## Next\n`in_the_first_file`, `tests/folder` `too_short`\n";
    let found: Vec<_> = named(document).iter().map(ToString::to_string).collect();
    let expected = [
        "one.rs a_b_c_d",
        "one.rs short_name",
        "two.rs in_the_second_file",
        "two.rs in_it_as_well",
        "three.rs in_the_third_file",
        "a/b in_a_module_of_it",
        "one.rs in_the_first_file",
    ];
    assert_eq!(found, expected);
    let sources = Sources::read();
    assert!(sources.has_test("tests/documents.rs", "names_are_looked_for_where_the_document_says"));
    assert!(
        sources.has_test("protocol_engine.rs", "a_polling_handshake_opens_a_session"),
        "by a list of rules"
    );
    assert!(
        sources.has_test("engine/payload", "any_body_decodes_or_errs"),
        "a property, in a file of a folder"
    );
    assert!(!sources.has_test("documents.rs", "leads_somewhere"), "no test");
    assert!(!sources.has_test("one.rs", "names_are_looked_for_where_the_document_says"), "elsewhere");
    assert!(!leads_somewhere(Path::new("README.md"), "# Here", "#there"));
    assert!(!leads_somewhere(Path::new("README.md"), "", "docs/gone.md"));
}

/// A test that a document names.
struct Named {
    line: usize,
    /// How the path of its file or folder ends; empty if it may be anywhere.
    file: String,
    test: String,
}

impl std::fmt::Display for Named {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.file, self.test)
    }
}

/// Names that are sentences (three underscores or more) are those of tests everywhere, all others in a column of tests
/// only. A name belongs to the file before it in its row or paragraph, else to that of its section, else of its page.
fn named(text: &str) -> Vec<Named> {
    let (mut found, mut page, mut section, mut file) = (Vec::new(), "", None, None);
    let (mut is_said, mut in_section, mut column_of_tests) = (false, false, false);
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('|') {
            file = None;
        }
        if line.starts_with("## ") {
            (section, in_section) = (None, true);
        }
        if line.starts_with('|') && line.contains("| Test |") {
            column_of_tests = true;
        }
        column_of_tests &= line.starts_with('|');
        is_said |=
            line.contains("Tests without a file are in") || line.contains("Tests of this section are in");
        let last = line.trim_end_matches(" |").rfind(" | ").unwrap_or(0);
        for (place, token) in places(line) {
            let underscores = if column_of_tests && place > last { 1 } else { 3 };
            if is_a_file(token) && is_said {
                *(if in_section { section.insert(token) } else { &mut page }) = token;
                is_said = false;
            } else if is_a_file(token) || token.starts_with("cluster-tests/") {
                file = Some(token);
            } else if let Some((modules, test)) = name(token, underscores) {
                let of_the_text = file.or(section).unwrap_or(page).to_owned();
                let file = if modules.is_empty() { of_the_text } else { modules.replace("::", "/") };
                let file = file.trim_end_matches("/tests").to_owned();
                found.push(Named { line: number + 1, file, test: test.to_owned() });
            }
        }
    }
    found
}

/// Modules and name of what may be a test.
fn name(token: &str, underscores: usize) -> Option<(&str, &str)> {
    let (modules, name) = token.rsplit_once("::").unwrap_or(("", token));
    let lower =
        |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c));
    let metric = name.starts_with("socketmesh_");
    let is_one = lower(modules) && lower(name) && name.matches('_').count() >= underscores && !metric;
    is_one.then_some((modules, name))
}

fn is_a_file(token: &str) -> bool {
    token.ends_with(".rs") && !token.contains([' ', '*'])
}

fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// What is quoted in a line, and where it begins.
fn places(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut place = 0;
    let parts = line.split('`').map(move |part| {
        let begin = place;
        place += part.len() + 1;
        (begin, part)
    });
    parts.skip(1).step_by(2)
}

fn leads_somewhere(from: &Path, text: &str, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let there = if path.is_empty() {
        text.to_owned()
    } else {
        let target = from.parent().unwrap_or(from).join(path);
        if target.is_dir() {
            return true;
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

/// The names of the Rust files in a folder, without `.rs`.
fn rust_files(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder of the workspace");
    let names = entries.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
}

/// The pages that people read, with their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "docs/protocol", "docs/examples"] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder of the documents");
        let files = entries.map(|entry| entry.expect("an entry").path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    let text = |path: &PathBuf| fs::read_to_string(path).expect("a document in UTF-8");
    paths.into_iter().map(|path| (path.clone(), text(&path))).collect()
}
