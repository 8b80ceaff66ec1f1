//! What people read of the plays: a table of all, and a timeline of each that broke a promise.

use std::fmt::Write as _;
use std::time::Duration;

use super::judge::{Judgement, parts};
use super::process::name_of;
use super::scenario::Scenario;
use super::stage::Played;

/// The head of the table.
#[must_use]
pub fn head() -> String {
    let columns = [
        "scenario", "emits", "received", "lost", "counted", "twice", "order", "wrong", "joins", "p50 ms",
        "p99 ms",
    ];
    let columns = columns.iter().enumerate().map(|(at, name)| cell(at, name)).collect::<String>();
    format!("{columns} verdict")
}

/// The row of a play.
#[must_use]
pub fn row(scenario: &Scenario, judgement: &Judgement) -> String {
    let verdict = &judgement.verdict;
    let ms = |latency: Duration| format!("{:.1}", latency.as_secs_f64() * 1000.0);
    let cells = [
        scenario.name.to_owned(),
        verdict.emits.to_string(),
        verdict.received.to_string(),
        verdict.lost.len().to_string(),
        judgement.counted.to_string(),
        verdict.duplicated.len().to_string(),
        verdict.reordered.len().to_string(),
        (verdict.misdelivered.len() + verdict.phantom.len()).to_string(),
        verdict.joins_missed.len().to_string(),
        ms(verdict.latency(50)),
        ms(verdict.latency(99)),
    ];
    let cells = cells.iter().enumerate().map(|(at, text)| cell(at, text)).collect::<String>();
    format!("{cells} {}", if judgement.broken.is_empty() { "kept" } else { "BROKEN" })
}

/// The row of a scenario that could not be played.
#[must_use]
pub fn unplayed(scenario: &Scenario, why: &str) -> String {
    format!("{} NOT PLAYED: {why}", cell(0, scenario.name))
}

fn cell(at: usize, text: &str) -> String {
    if at == 0 { format!("{text:<19}") } else { format!("{text:>9}") }
}

/// What happened when: what was done, what nodes saw and warned of, and what was broken.
#[must_use]
pub fn timeline(scenario: &Scenario, seed: u64, played: &Played, judgement: &Judgement) -> String {
    let mut lines: Vec<(Duration, String)> = Vec::new();
    lines.extend(played.faults.iter().map(|(at, what)| (*at, format!("== {what}"))));
    lines.extend(played.ends.iter().map(|(at, what)| (*at, what.clone())));
    for (at, number, line) in played.said.lines() {
        if line.starts_with("view ")
            || line.contains("WARN")
            || line.contains("ERROR")
            || line.contains("panicked")
        {
            lines.push((at, format!("{}: {}", name_of(number), plain(&line))));
        }
    }
    lines.extend(judgement.broken.iter().take(BROKEN).map(|(at, what)| (*at, format!("!! {what}"))));
    lines.sort();
    let mut text = format!("{}, seed {seed}: {}\n  {}\n", scenario.name, scenario.about, parts(&played.cast));
    let (carried, lost) = played.packets;
    let _ = writeln!(text, "  {carried} packets between the nodes, {lost} lost");
    for (at, line) in lines {
        let at =
            if at == Duration::MAX { "     end".to_owned() } else { format!("{:8.3}", at.as_secs_f64()) };
        let _ = writeln!(text, "  {at} {line}");
    }
    let more = judgement.broken.len().saturating_sub(BROKEN);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}

/// A line without the codes for colours.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// How many broken promises are told of.
const BROKEN: usize = 40;
