//! `docs/parity.md` says the truth about its tests: every one that it names exists and runs, and no cell is empty.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_that_the_parity_table_names_exists_and_runs() {
    let wrong: Vec<String> =
        rows().flat_map(|row| names(row.test)).filter(|name| !is_a_test(name)).map(str::to_owned).collect();
    assert!(wrong.is_empty(), "no such tests:\n{}", wrong.join("\n"));
}

#[test]
fn no_cell_of_the_parity_table_is_empty() {
    for row in rows() {
        let cells = [row.what, row.node, row.here, row.test];
        assert!(cells.iter().all(|cell| cell.chars().any(char::is_alphanumeric)), "{cells:?}");
    }
}

/// Either tests, or what the row waits for, or why there is none.
#[test]
fn every_row_of_the_parity_table_is_accounted_for() {
    for row in rows() {
        let reason = row.test.strip_prefix("none: ").is_some_and(|reason| !reason.trim().is_empty());
        let named = quoted(row.test).next().is_some();
        assert!(named != reason, "{}: {}", row.what, row.test);
    }
    assert!(rows().count() > 200, "the table has lost rows: {}", rows().count());
}

#[test]
fn a_name_without_a_test_is_noticed() {
    assert!(is_a_test("parity::a_name_without_a_test_is_noticed"));
    assert!(is_a_test("protocol_engine::a_polling_handshake_opens_a_session"), "by a list of rules");
    assert!(is_a_test("engine::session::tests::a_poll_waits_until_something_is_queued"), "of the library");
    assert!(is_a_test("engine::payload::any_body_decodes_or_errs"), "a property");
    for none in
        ["parity::is_a_test", "parity::gone", "gone::gone", "protocol_engine::assert_handshake", "gone"]
    {
        assert!(!is_a_test(none), "{none}");
    }
}

/// A row of a table: what it is about, what Node does, what is done here, and what holds it.
struct Row {
    what: &'static str,
    node: &'static str,
    here: &'static str,
    test: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<_> = cells.split(" | ").map(str::trim).collect();
        match cells.as_slice() {
            ["What", ..] | ["---", ..] => None,
            [what, node, here, test] => Some(Row { what, node, here, test }),
            _ => panic!("a row of four cells, not {line}"),
        }
    })
}

/// The tests in a cell; what is pending is none yet.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    quoted(cell).filter(|name| !name.starts_with("pending:"))
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// A function in the file of its path that has the attribute of a test, or is in a list of rules.
fn is_a_test(name: &str) -> bool {
    let Some((path, function)) = name.rsplit_once("::") else { return false };
    files(path).filter_map(|file| fs::read_to_string(file).ok()).any(|source| {
        let Some((before, _)) = source.split_once(&format!("fn {function}(")) else { return false };
        let above = before.rsplit_once('\n').map_or("", |(above, _)| above);
        let mut attributes = above.lines().rev().map(str::trim).take_while(|line| line.starts_with('#'));
        let attributed = attributes.any(|line| line == "#[test]" || line.starts_with("#[tokio::test"));
        attributed || rules(&source).any(|rule| rule == function)
    })
}

/// What `on_every_target!` and `on_one_and_three_nodes!` make tests of.
fn rules(source: &str) -> impl Iterator<Item = &str> {
    let lists = ["on_every_target! {", "on_one_and_three_nodes! {"];
    let lists = lists.into_iter().flat_map(|start| source.split(start).skip(1));
    lists.filter_map(|rest| rest.split('}').next()).flat_map(|list| list.split([',', ':', ' ', '\n']))
}

/// Where a path may lead: to a test of this package, to the examples, or into the library.
fn files(path: &str) -> impl Iterator<Item = PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = format!("{}.rs", path.replace("::", "/"));
    ["cluster-tests/tests", "docs/examples/tests", "src"]
        .map(|folder| root.join(folder).join(&file))
        .into_iter()
}

const TABLE: &str = include_str!("../../docs/parity.md");
