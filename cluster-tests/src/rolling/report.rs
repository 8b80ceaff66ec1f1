//! What is required and what was seen, as a table, and the first faults of each kind.

use std::fmt::{self, Display};

use super::checker::{GRACE, Kind, Life, Millis, Verdict};

/// What was seen. Its `Display` is for people.
#[derive(Debug)]
pub struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) verdict: Verdict,
    pub(super) lives: Vec<Life>,
    /// Further lines.
    pub(super) notes: Vec<String>,
    /// When it began.
    pub(super) began: Millis,
    /// The command that repeats it.
    pub(super) again: String,
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    what: &'static str,
    required: Option<String>,
    seen: String,
    kept: bool,
}

/// What is required of a play.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirements {
    /// Sessions outlive their node.
    pub(super) recovery: bool,
    /// All nodes ended in good order.
    pub(super) in_order: bool,
    /// Load balancers were before the nodes.
    pub(super) balanced: bool,
    /// How much longer than promised clients may be away.
    pub(super) slack: Millis,
}

impl Requirements {
    /// Whether there may be none of a kind.
    const fn forbids(self, kind: Kind) -> bool {
        match kind {
            Kind::Lost | Kind::Doubled | Kind::Reordered | Kind::Astray | Kind::StateLost | Kind::Absent => {
                true
            }
            Kind::NotRecovered => self.recovery,
            Kind::Unknown => self.recovery && self.in_order,
            Kind::Refused | Kind::Late => self.balanced && self.in_order,
            Kind::Status | Kind::Closed => self.in_order,
            Kind::Carried | Kind::Upgrade => false,
        }
    }
}

impl Report {
    /// The rows that follow from a verdict.
    pub(super) fn judge(&mut self, requirements: Requirements) {
        for (kind, what) in KINDS {
            let (forbidden, count) = (requirements.forbids(kind), self.verdict.count(kind));
            let required = forbidden.then(|| "0".to_owned());
            self.rows.push(Row { what, required, seen: count.to_string(), kept: !forbidden || count == 0 });
        }
        let away = &self.verdict.away;
        let percentile =
            |percent: usize| away.get((away.len() * percent / 100).min(away.len().saturating_sub(1)));
        let [half, most, all] = [50, 99, 100].map(|percent| percentile(percent).copied().unwrap_or_default());
        let seen = format!("{half}, {most}, {all}");
        let most = GRACE + requirements.slack;
        let required = requirements.forbids(Kind::Late).then(|| format!("at most {most}"));
        let kept = required.is_none() || all <= most;
        let what = "ms away beyond the own delay: median, 99 %, longest";
        self.rows.push(Row { what, required, seen, kept });
        let back = format!("{} of {}", self.verdict.recovered, self.verdict.back);
        self.row("times a client was recovered when it came back", back);
        self.row("messages that arrived", self.verdict.received);
    }

    /// A row of which nothing is required.
    pub(super) fn row(&mut self, what: &'static str, seen: impl Display) {
        self.rows.push(Row { what, required: None, seen: seen.to_string(), kept: true });
    }

    /// Whether everything was as it is required.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.rows.iter().all(|row| row.kept)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<58} {:>12} {:>22}", "", "required", "seen")?;
        for Row { what, required, seen, kept } in &self.rows {
            let mark = if *kept { "" } else { "  MISSED" };
            writeln!(f, "{what:<58} {:>12} {seen:>22}{mark}", required.as_deref().unwrap_or("-"))?;
        }
        let since = |at: Millis| seconds(at.saturating_sub(self.began));
        for (kind, faults) in &self.verdict.faults {
            for (at, what) in faults.iter().take(SHOWN) {
                writeln!(f, "{:8.3} {kind:?}: {what}", since(*at))?;
            }
        }
        for Life { node, process, began, ready, ended, .. } in &self.lives {
            write!(f, "{node} ({process}) began at {:.3}, was ready at {:.3}", since(*began), since(*ready))?;
            match ended {
                Some(ended) => {
                    let (back, recovered) = self.verdict.after.get(process).copied().unwrap_or_default();
                    write!(f, ", ended from {:.3} to {:.3}", since(ended.from), since(ended.to))?;
                    writeln!(f, ": {recovered} of {back} recovered")?;
                }
                None => writeln!(f)?,
            }
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        writeln!(f, "{}\nagain: {}", if self.kept() { "kept" } else { "BROKEN" }, self.again)
    }
}

#[expect(clippy::cast_precision_loss, reason = "of a run that takes minutes")]
fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}

const KINDS: [(Kind, &str); 14] = [
    (Kind::Lost, "messages lost"),
    (Kind::Doubled, "messages doubled"),
    (Kind::Reordered, "messages out of order"),
    (Kind::Astray, "messages that were for nobody or another"),
    (Kind::NotRecovered, "clients back with recovered = false"),
    (Kind::Unknown, "the same, killed before another node knew of them"),
    (Kind::StateLost, "clients recovered without a room or their data"),
    (Kind::Absent, "clients that did not come back"),
    (Kind::Refused, "handshakes that failed"),
    (Kind::Status, "sessions that ended by an HTTP error"),
    (Kind::Closed, "sessions of nodes that stay closed"),
    (Kind::Late, "clients away too long"),
    (Kind::Carried, "WebSockets cut with the node that carried them"),
    (Kind::Upgrade, "upgrades that failed, and clients stayed on polling"),
];
/// How many faults of a kind are shown.
const SHOWN: usize = 8;
