//! The graph of files and their imports: its cycles, and where they are cut best.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// Which file imports which, and in which lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph(BTreeMap<String, BTreeMap<String, BTreeSet<usize>>>);

impl Graph {
    pub(crate) fn add(&mut self, from: &str, line: usize, to: &str) {
        self.0.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default().insert(line);
    }

    /// The strongly connected components of more than one file: in each, every file leads to every other one. Largest
    /// first.
    pub(crate) fn cycles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.0.keys().map(|file| (file.as_str(), self.reached_from(file))).collect();
        let leads = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
        let component = |file: &&str| -> BTreeSet<&str> {
            reached[file].iter().copied().filter(|other| leads(other, file)).collect()
        };
        let components: BTreeSet<_> =
            reached.keys().map(component).filter(|component| component.len() > 1).collect();
        let mut components: Vec<_> = components.into_iter().collect();
        components.sort_by_key(|component| std::cmp::Reverse(component.len()));
        components
    }

    fn reached_from(&self, file: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.imported_by(file).collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.imported_by(next));
            }
        }
        reached
    }

    fn imported_by(&self, file: &str) -> impl Iterator<Item = &str> {
        self.0.get(file).into_iter().flatten().map(|(to, _)| to.as_str())
    }

    /// A cycle of as few files as possible among these.
    pub(crate) fn shortest_cycle<'a>(&'a self, among: &BTreeSet<&'a str>) -> Vec<&'a str> {
        let cycles = among.iter().filter_map(|start| self.way_back(start, among));
        cycles.min_by_key(Vec::len).unwrap_or_default()
    }

    /// The shortest way from a file to itself; the file is first and not repeated at the end.
    fn way_back<'a>(&'a self, start: &'a str, among: &BTreeSet<&'a str>) -> Option<Vec<&'a str>> {
        let mut ways = VecDeque::from([vec![start]]);
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            for next in way.last().into_iter().flat_map(|last| self.imported_by(last)) {
                if next == start {
                    return Some(way);
                }
                if among.contains(next) && seen.insert(next) {
                    ways.push_back(way.iter().copied().chain([next]).collect());
                }
            }
        }
        None
    }

    /// Imports without which nothing is left of the cycles among these files: each time the one that leaves the least,
    /// and of those the one with the fewest lines.
    pub(crate) fn cuts(&self, among: &BTreeSet<&str>) -> Vec<Cut> {
        let mut rest = self.only(among);
        let mut cuts = Vec::new();
        while !rest.cycles().is_empty() {
            let Some((without, cut)) =
                rest.possible_cuts().min_by_key(|(_, cut)| (cut.left, cut.lines.len()))
            else {
                break;
            };
            rest = without;
            cuts.push(cut);
        }
        cuts
    }

    fn only(&self, among: &BTreeSet<&str>) -> Self {
        let mut graph = self.clone();
        graph.0.retain(|from, _| among.contains(from.as_str()));
        graph.0.values_mut().for_each(|imports| imports.retain(|to, _| among.contains(to.as_str())));
        graph
    }

    /// Each import inside a cycle, with the graph without it.
    fn possible_cuts(&self) -> impl Iterator<Item = (Self, Cut)> {
        let cycles = self.cycles();
        let together = move |from: &str, to: &str| cycles.iter().any(|c| c.contains(from) && c.contains(to));
        let imports = self.0.iter().flat_map(|(from, imports)| imports.iter().map(move |to| (from, to)));
        imports.filter(move |(from, (to, _))| together(from, to)).map(|(from, (to, lines))| {
            let mut without = self.clone();
            without.0.entry(from.clone()).or_default().remove(to);
            let left = without.cycles().iter().map(BTreeSet::len).sum();
            (without, Cut { from: from.clone(), to: to.clone(), lines: lines.clone(), left })
        })
    }

    /// Describes a cycle for the engineer who takes it apart: its shortest chain, and the best cuts.
    pub(crate) fn describe(&self, cycle: &BTreeSet<&str>) -> String {
        let shortest = self.shortest_cycle(cycle);
        let next = shortest.iter().cycle().skip(1);
        let chain = shortest.iter().zip(next).map(|(from, to)| {
            let line = self.0[*from][*to].first().copied().unwrap_or_default();
            format!("  {from}:{line} imports {to}\n")
        });
        let cuts = self.cuts(cycle).into_iter().map(|cut| format!("  {cut}\n"));
        let (chain, cuts): (String, String) = (chain.collect(), cuts.collect());
        format!("its shortest chain:\n{chain}imports without which it is gone, the best first:\n{cuts}")
    }
}

/// An import that could go.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) lines: BTreeSet<usize>,
    /// How many files are still in cycles without it and the cuts before it.
    pub(crate) left: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, lines, left } = self;
        write!(f, "{from} -> {to}, lines {lines:?}: {left} files stay in cycles")
    }
}
