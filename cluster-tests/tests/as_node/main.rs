//! A differential fuzzer: what generated clients do is answered by Node's own server and by this one, on one node and on
//! three, and they must not be able to tell the difference, but for what the documents say.
//!
//! The same sequences are played each time; `SOCKETMESH_TEST_SEQUENCES=10000` plays that many new ones. Of those that differ the
//! seed is printed, with the shortest sequence that still does, and `SOCKETMESH_TEST_SEED=7` plays that one again.
#![expect(clippy::indexing_slicing, reason = "a test fails by a panic")]

mod deviations;
mod notes;
mod payload;
mod player;
mod steps;
#[rustfmt::skip]
mod tables;

use std::env;
use std::fmt::Write as _;

use cluster_tests::dice::Dice;
use cluster_tests::rules::Rules;
use cluster_tests::target::Target;
use futures_util::StreamExt;
use futures_util::stream;

use crate::deviations::{At, DEVIATIONS};
use crate::player::{Seen, play};
use crate::steps::{Generator, Sequence};

#[tokio::test]
async fn generated_clients_cannot_tell_this_server_from_node_but_for_what_is_documented() {
    let findings = stream::iter(seeds()).map(async |seed| {
        let sequence = Generator::new(seed).sequence();
        let difference = difference(&sequence).await?;
        Some(format!("SOCKETMESH_TEST_SEED={seed}\n{}", shrunk(sequence, difference).await))
    });
    let findings: Vec<_> =
        findings.buffer_unordered(AT_ONCE).filter_map(async |finding| finding).collect().await;
    assert!(findings.is_empty(), "{} differences:\n\n{}", findings.len(), findings.join("\n\n"));
}

#[test]
fn every_deviation_that_is_allowed_is_documented() {
    let pages = ["engine-io", "socket-io"].map(|page| {
        Rules::read(&format!("docs/protocol/{page}.md"), &format!("cluster-tests/tests/rules/{page}.toml"))
    });
    for deviation in DEVIATIONS {
        let rows: Vec<_> = pages
            .iter()
            .flat_map(Rules::different_rows)
            .filter(|row| row.starts_with(deviation.row))
            .collect();
        assert_eq!(rows.len(), 1, "{:?} begins {rows:?}", deviation.row);
    }
}

fn seeds() -> Vec<u64> {
    let number = |name| env::var(name).ok().and_then(|number| number.parse().ok());
    match (number("SOCKETMESH_TEST_SEED"), number("SOCKETMESH_TEST_SEQUENCES")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => {
            let mut dice = Dice::new(Dice::fresh_seed());
            (0..count).map(|_| dice.number() % 1_000_000_000).collect()
        }
        (None, None) => (1..=USUAL).collect(),
    }
}

/// Where a target first differs from Node.
#[derive(Debug)]
struct Difference {
    step: usize,
    target: &'static str,
    node: Vec<String>,
    here: Vec<String>,
}

/// The first difference that is not documented, if it is there twice: what depends on the time is none.
async fn difference(sequence: &Sequence) -> Option<Difference> {
    once(sequence).await?;
    once(sequence).await
}

async fn once(sequence: &Sequence) -> Option<Difference> {
    let suite = sequence.suite;
    let (node, one, three) = tokio::join!(
        play(sequence, Target::node_js(suite)),
        play(sequence, Target::one_node(suite)),
        play(sequence, Target::three_nodes(suite)),
    );
    compare(sequence, &node, one, "one node").or_else(|| compare(sequence, &node, three, "three nodes"))
}

fn compare(sequence: &Sequence, node: &Seen, here: Seen, target: &'static str) -> Option<Difference> {
    for (step, (node, here)) in node.iter().zip(here).enumerate() {
        if *node == here {
            continue;
        }
        let at = At { sequence, step: &sequence.steps[step], node, here: &here };
        if DEVIATIONS.iter().any(|deviation| (deviation.explains)(&at)) {
            // From here on the two servers are in different states.
            return None;
        }
        return Some(Difference { step, target, node: node.clone(), here });
    }
    None
}

/// The shortest sequence with a difference that comes of leaving out steps, as text.
async fn shrunk(mut sequence: Sequence, mut difference: Difference) -> String {
    sequence.steps.truncate(difference.step + 1);
    let mut place = sequence.steps.len().saturating_sub(1);
    while place > 0 {
        place -= 1;
        let mut shorter = sequence.clone();
        shorter.steps.remove(place);
        if let Some(still) = once(&shorter).await {
            shorter.steps.truncate(still.step + 1);
            (sequence, difference) = (shorter, still);
            place = place.min(sequence.steps.len());
        }
    }
    let mut text = format!("{:?}, Engine.IO {}", sequence.suite, sequence.version);
    for step in &sequence.steps {
        write!(text, "\n  {step:?}").expect("text can be written");
    }
    let Difference { target, node, here, .. } = difference;
    format!("{text}\n    Node: {node:#?}\n    {target}: {here:#?}")
}

/// As many as take about half a minute.
const USUAL: u64 = 600;
const AT_ONCE: usize = 8;
