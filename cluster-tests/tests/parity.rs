//! `docs/parity.md` says the truth about its tests: every one that it names exists and runs, and no cell is empty.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use cluster_tests::sources::Sources;

#[test]
fn every_test_that_the_parity_table_names_exists_and_runs() {
    let sources = Sources::read();
    let names = rows().flat_map(|row| quoted(row.test));
    let wrong: Vec<_> = names.filter(|name| !is_a_test(&sources, name)).collect();
    assert!(wrong.is_empty(), "no such tests:\n{}", wrong.join("\n"));
}

#[test]
fn no_cell_of_the_parity_table_is_empty() {
    for row in rows() {
        let cells = [row.what, row.node, row.here, row.test];
        assert!(cells.iter().all(|cell| cell.chars().any(char::is_alphanumeric)), "{cells:?}");
    }
}

/// Either tests, or why there is none.
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
    let sources = Sources::read();
    let is_a_test = |name| is_a_test(&sources, name);
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

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// A test of this package, of the examples or of the library, in the file of its path.
fn is_a_test(sources: &Sources, name: &str) -> bool {
    let Some((path, test)) = name.rsplit_once("::") else { return false };
    let file = path.replace("::", "/");
    ["cluster-tests/tests", "docs/examples/tests", "src"]
        .iter()
        .any(|folder| sources.has_test(&format!("{folder}/{file}.rs"), test))
}

const TABLE: &str = include_str!("../../docs/parity.md");
