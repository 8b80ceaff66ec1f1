//! What a page of the documents states, and the tests that hold it.
//!
//! A page is written for people and names no tests. They stand in a file beside the tests, one table per section of the
//! page, which says for each statement, by its first words, which tests hold it, or `none:` and the reason. The rows of
//! tables that begin with "What", "Node" or "Gossip" and the items of lists need such an entry; paragraphs may have one.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use crate::sources::{Sources, root};

/// A page and the tests that hold what it states.
#[derive(Debug)]
pub struct Rules {
    statements: Vec<Statement>,
    entries: BTreeMap<String, BTreeMap<String, Proof>>,
}

/// A row of a table, an item of a list, or a paragraph.
#[derive(Debug)]
struct Statement {
    section: String,
    /// Cells are parted by ` | `.
    text: String,
    needs_proof: bool,
    /// A row that begins with what Node does.
    is_difference: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Proof {
    Tests(Vec<String>),
    /// `none:` and why.
    Reason(String),
}

impl Rules {
    /// Reads a page, and the file of tests; both paths begin at the root of the workspace.
    ///
    /// # Panics
    /// One of them cannot be read, or the latter is something else than tables.
    pub fn read(page: &str, proofs: &str) -> Self {
        let text = |path: &str| fs::read_to_string(root().join(path)).expect("a file in UTF-8");
        Self::of(&text(page), &text(proofs))
    }

    fn of(page: &str, proofs: &str) -> Self {
        Self { statements: statements(page), entries: toml::from_str(proofs).expect("tables of strings") }
    }

    /// Statements without an entry, entries without a statement or with an ambiguous one, and tests that do not exist.
    pub fn faults(&self, sources: &Sources) -> Vec<String> {
        let mut proved = vec![false; self.statements.len()];
        let mut faults = Vec::new();
        for (section, key, proof) in self.entries() {
            match self.find(section, key).as_slice() {
                [one] => proved.get_mut(*one).into_iter().for_each(|proved| *proved = true),
                found => faults.push(format!("[{section}] {key:?} begins {} statements", found.len())),
            }
            faults.extend(proof.faults(sources).map(|fault| format!("[{section}] {key:?}: {fault}")));
        }
        let unproved = self.statements.iter().zip(proved).filter(|(it, proved)| it.needs_proof && !proved);
        faults.extend(unproved.map(|(it, _)| format!("[{}] no entry for {:?}", it.section, it.text)));
        faults
    }

    /// How many statements there are that need an entry.
    pub fn len(&self) -> usize {
        self.statements.iter().filter(|it| it.needs_proof).count()
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tests hold them.
    pub fn tests(&self) -> usize {
        let tests = |proof: &Proof| if let Proof::Tests(tests) = proof { tests.len() } else { 0 };
        self.entries().map(|(_, _, proof)| tests(proof)).sum()
    }

    /// What Node does otherwise, each with a test that holds what is done here.
    pub fn differences(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries().flat_map(|(section, key, proof)| {
            let found = self.find(section, key).into_iter().filter_map(|place| self.statements.get(place));
            let rows = found.filter(|it| it.is_difference);
            let tests = if let Proof::Tests(tests) = proof { tests.as_slice() } else { &[] };
            rows.flat_map(move |row| tests.iter().map(|test| (row.text.as_str(), test.as_str())))
        })
    }

    /// The rows that begin with what Node does.
    pub fn different_rows(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().filter(|it| it.is_difference).map(|it| it.text.as_str())
    }

    /// The rows that need an entry, as cells.
    pub fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        let rows = self.statements.iter().filter(|it| it.needs_proof && it.text.contains(" | "));
        rows.map(|row| row.text.split(" | ").map(str::trim).collect())
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &str, &Proof)> {
        let of_section = |(section, entries)| {
            let entries: &BTreeMap<String, Proof> = entries;
            let section: &String = section;
            entries.iter().map(move |(key, proof)| (section.as_str(), key.as_str(), proof))
        };
        self.entries.iter().flat_map(of_section)
    }

    /// The statements that the key means: those with this first cell, else those that begin with it.
    fn find(&self, section: &str, key: &str) -> Vec<usize> {
        let that = |is_it: &dyn Fn(&str) -> bool| {
            let here = self.statements.iter().enumerate().filter(|(_, it)| it.section == section);
            here.filter(|(_, it)| is_it(&it.text)).map(|(place, _)| place).collect::<Vec<_>>()
        };
        let exact = that(&|text| text.split(" | ").next() == Some(key));
        if exact.is_empty() { that(&|text| text.starts_with(key)) } else { exact }
    }
}

impl Proof {
    fn faults(&self, sources: &Sources) -> impl Iterator<Item = String> {
        let (tests, reason) = match self {
            Self::Tests(tests) => (tests.as_slice(), None),
            Self::Reason(reason) => (&[][..], Some(reason)),
        };
        let gone = tests.iter().filter(|test| !is_a_test(sources, test));
        let empty = matches!(self, Self::Tests(tests) if tests.is_empty());
        let unreasoned = reason.is_some_and(|reason| {
            reason.strip_prefix("none: ").is_none_or(|why| !why.chars().any(char::is_alphanumeric))
        });
        let gone = gone.map(|test| format!("no such test: {test}"));
        gone.chain((empty || unreasoned).then(|| "neither tests nor `none: ` and a reason".to_owned()))
    }
}

/// Whether there is a test of this path: `protocol_socket::f` is `f` of `cluster-tests/tests/protocol_socket.rs`,
/// `engine::session::tests::f` is `f` of `src/engine/session/tests.rs`.
pub fn is_a_test(sources: &Sources, name: &str) -> bool {
    let Some((path, test)) = name.rsplit_once("::") else { return false };
    let file = path.replace("::", "/");
    let mut files =
        FOLDERS.iter().flat_map(|folder| ["", "/main"].map(|main| format!("{folder}/{file}{main}.rs")));
    files.any(|file| sources.has_test(&file, test))
}

const FOLDERS: [&str; 5] =
    ["src", "cluster-tests/tests", "docs/examples/tests", "deploy/server/src", "deploy/server/tests"];

fn statements(page: &str) -> Vec<Statement> {
    let (mut found, mut heading, mut section) = (Vec::<Statement>::new(), String::new(), String::new());
    let (mut table, mut is_code, mut is_open) = (None, false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
        } else if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
            section.clone_from(&heading);
        } else if let Some(title) = line.strip_prefix("### ") {
            section = format!("{heading}: {title}");
        } else if let Some(row) = line.strip_prefix("| ") {
            let text = row.trim_end_matches(" |").to_owned();
            match table {
                None => table = row.split(" |").next(),
                Some(_) if row.starts_with("---") => {}
                Some(head) => found.push(Statement {
                    section: section.clone(),
                    text,
                    needs_proof: ["What", "Node", "Gossip"].contains(&head),
                    is_difference: head == "Node",
                }),
            }
            continue;
        } else if let Some(item) = line.strip_prefix("- ") {
            found.push(Statement {
                section: section.clone(),
                text: item.to_owned(),
                needs_proof: true,
                is_difference: false,
            });
            is_open = true;
            continue;
        } else if line.is_empty() || line.starts_with('#') {
        } else {
            match found.last_mut().filter(|_| is_open) {
                Some(it) => it.text = format!("{} {}", it.text, line.trim()),
                None => found.push(Statement {
                    section: section.clone(),
                    text: line.to_owned(),
                    needs_proof: false,
                    is_difference: false,
                }),
            }
            is_open = true;
            continue;
        }
        (table, is_open) = (None, false);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
        # Page\n\nA paragraph\nof two lines.\n\n## Section\n\n| What | Node |\n| --- | --- |\n| a | one |\n| ab | two |\n\n\
        | Kind | Bytes |\n| --- | --- |\n| link | 8 |\n\n### Sub\n\n- An item of\n  two lines\n- Another item\n";

    fn faults(proofs: &str) -> Vec<String> {
        Rules::of(PAGE, proofs).faults(&Sources::read())
    }

    #[test]
    fn a_page_whose_statements_all_have_tests_has_no_faults() {
        let here = "['rules::nothing']";
        let proofs = format!(
            "['Section']\na = 'none: a reason'\nab = 'none: a reason'\n\
             ['Section: Sub']\n'An item of two' = 'none: a reason'\nAnother = {here}\n"
        );
        let proofs =
            proofs.replace("rules::nothing", "documents::every_link_between_the_documents_leads_somewhere");
        assert_eq!(faults(&proofs), Vec::<String>::new());
        let rules = Rules::of(PAGE, &proofs);
        assert_eq!((rules.len(), rules.tests()), (4, 1));
    }

    #[test]
    fn differences_are_the_rows_that_begin_with_what_node_does() {
        let page = "## Section\n\n| Node | Here |\n| --- | --- |\n| a | one |\n\n| What | Node |\n| --- | --- |\n| b | two |\n";
        let rules = Rules::of(page, "['Section']\na = ['x::y', 'x::z']\nb = ['x::w']\n");
        assert_eq!(rules.differences().collect::<Vec<_>>(), [("a | one", "x::y"), ("a | one", "x::z")]);
    }

    #[test]
    fn each_fault_is_named() {
        let found = faults(
            "['Section']\na = ['gone::gone']\nlink = []\n'ab' = 'because'\ngone = 'none: a reason'\n\
             ['Section: Sub']\nAn = 'none: a reason'\n",
        );
        let expected = [
            "[Section] \"a\": no such test: gone::gone",
            "[Section] \"ab\": neither tests nor `none: ` and a reason",
            "[Section] \"gone\" begins 0 statements",
            "[Section] \"link\": neither tests nor `none: ` and a reason",
            "[Section: Sub] \"An\" begins 2 statements",
            "[Section: Sub] no entry for \"An item of two lines\"",
            "[Section: Sub] no entry for \"Another item\"",
        ];
        assert_eq!(found, expected);
    }
}
