//! The medians of all rounds, in Markdown.

use std::fmt::Write as _;

use socketmesh_load::{Percentiles, Report};

use super::Run;
use super::scenarios::{Figures, SCENARIOS, Scenario};

/// A table for each scenario that was measured.
#[must_use]
pub fn tables(runs: &[Run]) -> String {
    let mut out = String::new();
    for scenario in SCENARIOS {
        let of: Vec<_> = runs.iter().filter(|run| run.scenario == scenario.name).collect();
        if !of.is_empty() {
            table(scenario, &of, &mut out);
        }
    }
    out
}

/// A column: its head, and what stands there of the rounds of a system.
type Column = (&'static str, Cell);
type Cell = Box<dyn Fn(&[&Report]) -> String>;

fn table(scenario: &Scenario, runs: &[&Run], out: &mut String) {
    let columns = columns(scenario.figures);
    let heads: Vec<_> = columns.iter().map(|(head, _)| *head).collect();
    // Writing to memory does not fail.
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").unwrap_or_default();
    line(format_args!("### {}\n\n`{}`, {} nodes\n", scenario.title, scenario.line, scenario.nodes));
    line(format_args!("| | {} |\n|---{}|", heads.join(" | "), "|---:".repeat(heads.len())));
    let mut systems: Vec<&str> = Vec::new();
    for run in runs {
        if !systems.contains(&run.system.as_str()) {
            systems.push(&run.system);
        }
    }
    systems.sort_by_key(|system| ORDER.iter().position(|name| name == system));
    for system in systems {
        let reports: Vec<_> = runs.iter().filter(|run| run.system == system).map(|run| &run.report).collect();
        let cells: Vec<_> = columns.iter().map(|(_, cell)| cell(&reports)).collect();
        line(format_args!("| {system} | {} |", cells.join(" | ")));
    }
    line(format_args!(""));
}

fn columns(figures: Figures) -> Vec<Column> {
    let cost = || column("CPU µs per delivery", 2, |report| report.cpu_per_delivery);
    let memory = || column("memory, MiB", 0, |report| Some(memory(report)));
    let cpu = || column("CPU of all, ms/s", 1, |report| Some(cpu(report)));
    match figures {
        Figures::Saturated => {
            let rate = column("deliveries/s", 0, |report| Some(report.deliveries.as_ref()?.per_second));
            let mut columns = vec![rate, cost()];
            columns.extend(checks());
            columns.extend([memory(), own()]);
            columns
        }
        Figures::Rate => {
            let same = durations("same node, p50 / p99 / p99.9 ms", |it| it.same_server);
            let other = durations("other node, p50 / p99 / p99.9 ms", |it| it.other_servers);
            let mut columns = vec![cost(), same, other];
            columns.extend(checks());
            columns.extend([memory(), own()]);
            columns
        }
        Figures::Idle => {
            let mut columns = connections();
            let each = column("memory, KiB per connection", 1, |report| report.memory_per_connection);
            columns.extend([each, cpu(), failed()]);
            columns
        }
        Figures::Storm => {
            let until = column("until joined, p50 ms", 2, |report| Some(report.connections.durations.p50));
            let most = column("p99 ms", 2, |report| Some(report.connections.durations.p99));
            let mut columns = connections();
            columns.extend([until, most, failed(), own()]);
            columns
        }
        Figures::Processes => {
            let mut columns: Vec<Column> = vec![("CPU of each, ms/s", Box::new(processes)), cpu()];
            columns.extend(checks());
            columns
        }
    }
}

fn connections() -> Vec<Column> {
    vec![
        column("connections", 0, |report| Some(report.connections.connected as f64)),
        column("connections/s", 0, |report| Some(report.connections.per_second)),
        column("CPU µs per connection", 0, |report| report.cpu_per_connection),
    ]
}

/// What must not be: the worst of all rounds.
fn checks() -> Vec<Column> {
    let worst = |of: fn(&socketmesh_load::Deliveries) -> u64| -> Cell {
        Box::new(move |reports| {
            let each = reports.iter().filter_map(|report| report.deliveries.as_ref().map(of));
            each.max().map_or_else(|| "–".to_owned(), |most| grouped(most as f64, 0))
        })
    };
    vec![("lost", worst(|it| it.lost)), ("out of order", worst(|it| it.out_of_order))]
}

fn failed() -> Column {
    column("failed", 0, |report| Some((report.connections.failed + report.connections.disconnected) as f64))
}

/// The generator's share.
fn own() -> Column {
    let busiest = |report: &Report| report.generator.threads.iter().copied().reduce(f64::max);
    column("busiest thread of the generator, %", 0, busiest)
}

fn column(head: &'static str, decimals: usize, of: fn(&Report) -> Option<f64>) -> Column {
    let cell = move |reports: &[&Report]| {
        let known = reports.iter().filter_map(|report| of(report)).collect();
        median(known).map_or_else(|| "–".to_owned(), |median| grouped(median, decimals))
    };
    (head, Box::new(cell))
}

fn durations(head: &'static str, of: fn(&socketmesh_load::Deliveries) -> Percentiles) -> Column {
    let cell = move |reports: &[&Report]| {
        let all: Vec<_> = reports.iter().filter_map(|report| report.deliveries.as_ref().map(of)).collect();
        if all.iter().all(|percentiles| percentiles.count == 0) {
            return "–".to_owned();
        }
        let each: [fn(&Percentiles) -> f64; 3] = [|it| it.p50, |it| it.p99, |it| it.p999];
        let medians = each.map(|of| median(all.iter().map(of).collect()).unwrap_or_default());
        medians.map(|median| format!("{median:.2}")).join(" / ")
    };
    (head, Box::new(cell))
}

/// `node-0 12.5, node-1 11.0`
fn processes(reports: &[&Report]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let each = first.processes.iter().map(|process| {
        let same =
            |report: &&Report| report.processes.iter().find(|it| it.name == process.name).map(|it| it.cpu);
        let cpu = median(reports.iter().filter_map(same).collect()).unwrap_or_default();
        format!("{} {:.1}", process.name, MS_PER_PERCENT * cpu)
    });
    each.collect::<Vec<_>>().join(", ")
}

fn cpu(report: &Report) -> f64 {
    report.processes.iter().map(|process| MS_PER_PERCENT * process.cpu).sum()
}

/// Of all processes, in MiB.
fn memory(report: &Report) -> f64 {
    report.processes.iter().map(|process| process.memory).sum()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let (upper, lower) = (*values.get(middle)?, *values.get((values.len() - 1) / 2)?);
    Some((upper + lower) / 2.)
}

/// Digits in groups of three.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let groups: Vec<_> = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    let whole = groups.join(" ");
    if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
}

/// A core has a thousand milliseconds in a second.
const MS_PER_PERCENT: f64 = 10.;

/// How the rows are ordered.
const ORDER: [&str; 4] = ["socketmesh", "floor", "socketioxide-redis", "node-redis"];
