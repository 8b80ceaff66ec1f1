//! `socketmesh status`: prints the cluster once, as a node sees it.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;

use crate::admin_client::{AdminOptions, plain};
use crate::process::{BoxError, say};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Prints what the node answers at `/cluster`, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminOptions,
}

/// # Errors
/// The node does not answer, or refuses.
pub(crate) async fn run(options: &Options) -> Result<(), BoxError> {
    let client = options.admin.client()?;
    if options.json {
        say(format_args!("{}", client.text("/cluster").await?));
    } else {
        let cluster: ClusterState = client.get("/cluster").await?;
        say(format_args!("{}", describe(&cluster)));
    }
    Ok(())
}

/// What `/cluster` answers, as far as people are shown it (docs/reference/admin.md).
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ClusterState {
    pub(crate) node: String,
    pub(crate) obstacle: Option<String>,
    pub(crate) members: Vec<Member>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) incarnation: Option<String>,
    pub(crate) age_seconds: u64,
    pub(crate) state: String,
    pub(crate) link: String,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) waiting: u64,
    pub(crate) ring_share: f64,
    pub(crate) settings_that_differ: Vec<String>,
    pub(crate) report: Option<Report>,
    pub(crate) problem: Option<String>,
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) sessions: u64,
    pub(crate) sockets: u64,
    pub(crate) rooms: u64,
    pub(crate) counters: BTreeMap<String, u64>,
}

impl ClusterState {
    /// What all members that answer say, added up.
    pub(crate) fn total(&self, of: impl Fn(&Report) -> u64) -> u64 {
        self.members.iter().filter_map(|member| member.report.as_ref()).map(of).sum()
    }
}

impl Member {
    /// What a table says about the member, column by column.
    pub(crate) fn cell(&self, column: Column, seen_by: &str) -> String {
        let said = |of: fn(&Report) -> u64| {
            self.report.as_ref().map_or_else(|| "-".to_owned(), |report| of(report).to_string())
        };
        let other = self.id != seen_by;
        match column {
            Column::Node => plain(&self.id),
            Column::State if self.problem.is_some() => format!("{}, no answer", plain(&self.state)),
            Column::State => plain(&self.state),
            Column::Age => age(self.age_seconds),
            Column::Sessions => said(|report| report.sessions),
            Column::Sockets => said(|report| report.sockets),
            Column::Rooms => said(|report| report.rooms),
            Column::Ring => format!("{:.1} %", self.ring_share * 100.0),
            Column::Link if other => plain(&self.link),
            Column::Rtt if other => self.rtt_ms.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1} ms")),
            Column::Waiting if other => self.waiting.to_string(),
            Column::Link | Column::Rtt | Column::Waiting => "-".to_owned(),
        }
    }
}

/// A column of the table of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Node,
    State,
    Age,
    Sessions,
    Sockets,
    Rooms,
    Ring,
    Link,
    Rtt,
    Waiting,
}

impl Column {
    pub(crate) const ALL: [Self; 10] = [
        Self::Node,
        Self::State,
        Self::Age,
        Self::Sessions,
        Self::Sockets,
        Self::Rooms,
        Self::Ring,
        Self::Link,
        Self::Rtt,
        Self::Waiting,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Node => "NODE",
            Self::State => "STATE",
            Self::Age => "AGE",
            Self::Sessions => "SESSIONS",
            Self::Sockets => "SOCKETS",
            Self::Rooms => "ROOMS",
            Self::Ring => "RING",
            Self::Link => "LINK",
            Self::Rtt => "RTT",
            Self::Waiting => "WAITING",
        }
    }

    pub(crate) const fn is_number(self) -> bool {
        !matches!(self, Self::Node | Self::State | Self::Link)
    }
}

/// The cluster as text: a line about all of it, a table, and what is wrong.
fn describe(cluster: &ClusterState) -> String {
    let ClusterState { node, obstacle, members } = cluster;
    let mut lines = vec![format!(
        "{} as {} sees it: {}, {}",
        if members.len() == 1 { "1 node".to_owned() } else { format!("{} nodes", members.len()) },
        plain(node),
        counted(cluster.total(|report| report.sessions), "session"),
        counted(cluster.total(|report| report.sockets), "socket"),
    )];
    let mut rows = vec![Column::ALL.map(|column| column.title().to_owned())];
    rows.extend(members.iter().map(|member| Column::ALL.map(|column| member.cell(column, node))));
    let widths: Vec<usize> = (0..Column::ALL.len())
        .map(|at| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).zip(Column::ALL).map(|((cell, &width), column)| {
            if column.is_number() { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
    }
    if let Some(obstacle) = obstacle {
        lines.push(format!("{} takes no clients: {}", plain(node), plain(obstacle)));
    }
    let problems = members.iter().filter_map(|member| Some((member, member.problem.as_ref()?)));
    lines.extend(problems.map(|(member, problem)| format!("{}: {}", plain(&member.id), plain(problem))));
    let differing = members
        .iter()
        .flat_map(|member| member.settings_that_differ.iter().map(move |setting| (&member.id, setting)));
    lines.extend(differing.map(|(id, setting)| format!("{}: {}", plain(id), plain(setting))));
    lines.join("\n")
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The two largest units of a duration.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_a_table_with_aligned_columns_and_what_is_wrong_below() {
        let cluster: ClusterState = serde_json::from_str(
            r#"{"node":"node-1","ready":true,"obstacle":null,"later":1,"members":[
                {"id":"node-1","incarnation":"1","state":"ready","link":"up","age_seconds":93784,"ring_share":0.5,
                 "report":{"sessions":12,"sockets":13,"rooms":4}},
                {"id":"node-10","incarnation":"2","state":"ready","link":"down","age_seconds":59,"ring_share":0.5,"waiting":7,
                 "settings_that_differ":["ping_interval is 25s here and 10s there"],
                 "report":null,"problem":"the node does not\u001b answer"}]}"#,
        )
        .unwrap();
        assert_eq!(
            describe(&cluster),
            "2 nodes as node-1 sees it: 12 sessions, 13 sockets\n\
             NODE     STATE              AGE  SESSIONS  SOCKETS  ROOMS    RING  LINK  RTT  WAITING\n\
             node-1   ready             1d2h        12       13      4  50.0 %  -       -        -\n\
             node-10  ready, no answer   59s         -        -      -  50.0 %  down    -        7\n\
             node-10: the node does not  answer\n\
             node-10: ping_interval is 25s here and 10s there"
        );
    }
}
