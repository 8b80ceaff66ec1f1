//! `docs/parity.md` and the tests of its rows, in `rules/parity.toml`, agree: every row has an entry, every entry a row,
//! and every test that is named exists and runs.

use cluster_tests::rules::{Rules, is_a_test};
use cluster_tests::sources::Sources;

#[test]
fn every_row_of_the_parity_page_is_held_by_tests_that_exist_or_has_a_reason() {
    let faults = page().faults(&Sources::read());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_cell_of_the_parity_page_is_empty() {
    let page = page();
    for cells in page.rows() {
        assert_eq!(cells.len(), 3, "{cells:?}");
        assert!(cells.iter().all(|cell| cell.chars().any(char::is_alphanumeric)), "{cells:?}");
    }
    assert!(page.len() > 200, "the page has lost rows: {}", page.len());
    assert!(page.tests() > 400, "the rows have lost tests: {}", page.tests());
}

#[test]
fn a_name_without_a_test_is_noticed() {
    let sources = Sources::read();
    let is_a_test = |name| is_a_test(&sources, name);
    assert!(is_a_test("parity::a_name_without_a_test_is_noticed"));
    assert!(
        is_a_test("protocol_engine::handshake::a_polling_handshake_opens_a_session"),
        "by a list of rules"
    );
    assert!(is_a_test("engine::session::tests::a_poll_waits_until_something_is_queued"), "of the library");
    assert!(is_a_test("engine::payload::any_body_decodes_or_errs"), "a property");
    for none in
        ["parity::page", "parity::gone", "gone::gone", "protocol_engine::common::assert_handshake", "gone"]
    {
        assert!(!is_a_test(none), "{none}");
    }
}

fn page() -> Rules {
    Rules::read("docs/parity.md", "cluster-tests/tests/rules/parity.toml")
}
