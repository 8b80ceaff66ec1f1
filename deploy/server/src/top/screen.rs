//! What is on the screen: a line about the cluster, its rates, and the table of members. It fits whatever room there is.

use std::collections::{BTreeMap, VecDeque};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, TableState};
use tokio::time::Instant;

use crate::admin_client::plain;
use crate::status::{ClusterState, Column, Member};

/// The state of the display.
#[derive(Debug)]
pub(super) struct Screen {
    address: String,
    cluster: Option<ClusterState>,
    /// Why the node did not answer last.
    fault: Option<String>,
    sort: Column,
    reversed: bool,
    table: TableState,
    charts: Vec<Chart>,
    /// The counters of each life of a member, and when they were told.
    counted: Option<(Instant, BTreeMap<Life, Counters>)>,
}

type Life = (String, Option<String>);
type Counters = BTreeMap<String, u64>;

/// The rate of some counters, over all members.
#[derive(Debug)]
struct Chart {
    title: &'static str,
    counter: &'static str,
    /// Per second, the newest last; `None` as long as nobody counts that.
    rates: VecDeque<f64>,
}

impl Screen {
    pub(super) fn new(address: &str) -> Self {
        let charts = CHARTS.map(|(title, counter)| Chart { title, counter, rates: VecDeque::new() });
        Self {
            address: address.to_owned(),
            cluster: None,
            fault: None,
            sort: Column::Node,
            reversed: false,
            table: TableState::default(),
            charts: charts.into(),
            counted: None,
        }
    }

    /// Takes what the node answered, or why it did not.
    pub(super) fn update(&mut self, at: Instant, state: Result<ClusterState, String>) {
        match state {
            Ok(cluster) => {
                self.count(at, &cluster);
                self.cluster = Some(cluster);
                self.fault = None;
            }
            Err(fault) => self.fault = Some(fault),
        }
    }

    pub(super) fn sort_by_neighbour(&mut self, step: isize) {
        let at = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or_default();
        let next = at.saturating_add_signed(step).min(Column::ALL.len() - 1);
        self.sort = Column::ALL.get(next).copied().unwrap_or(Column::Node);
    }

    pub(super) fn reverse(&mut self) {
        self.reversed = !self.reversed;
    }

    pub(super) fn scroll(&mut self, rows: isize) {
        let last = self.cluster.as_ref().map_or(0, |cluster| cluster.members.len().saturating_sub(1));
        let selected = self.table.selected().unwrap_or_default().saturating_add_signed(rows).min(last);
        self.table.select(Some(selected));
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let charts = if area.height >= ROOM_FOR_CHARTS { CHART_HEIGHT } else { 0 };
        let footer = u16::from(area.height >= 8);
        let rows = [
            Constraint::Length(1),
            Constraint::Length(charts),
            Constraint::Min(0),
            Constraint::Length(footer),
        ];
        let [head, rates, table, foot] = Layout::vertical(rows).areas(area);
        frame.render_widget(self.headline(), head);
        if charts > 0 {
            self.draw_charts(frame, rates);
        }
        self.draw_members(frame, table);
        frame.render_widget(Paragraph::new(KEYS).dim(), foot);
    }

    fn headline(&self) -> Paragraph<'_> {
        let Some(cluster) = &self.cluster else {
            let said = match &self.fault {
                Some(fault) => Span::styled(plain(fault), Style::new().fg(Color::Red)),
                None => Span::raw(format!("asking {} …", self.address)),
            };
            return Paragraph::new(said);
        };
        let silent = cluster.members.iter().filter(|member| member.problem.is_some()).count();
        let mut said = vec![
            Span::styled(plain(&cluster.node), Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!(
                ": {} nodes, {} sessions, {} sockets",
                cluster.members.len(),
                cluster.total(|report| report.sessions),
                cluster.total(|report| report.sockets),
            )),
        ];
        let bad = |said: String| Span::styled(said, Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        if let Some(fault) = &self.fault {
            said.push(bad(format!("  OLD: {}", plain(fault))));
        } else if let Some(obstacle) = &cluster.obstacle {
            said.push(bad(format!("  takes no clients: {}", plain(obstacle))));
        } else if silent > 0 {
            said.push(bad(format!("  {silent} without an answer")));
        }
        Paragraph::new(Line::from(said))
    }

    fn draw_charts(&self, frame: &mut Frame<'_>, area: Rect) {
        let charts: Vec<_> = self.charts.iter().filter(|chart| !chart.rates.is_empty()).collect();
        let columns = Layout::horizontal(charts.iter().map(|_| Constraint::Fill(1))).spacing(1).split(area);
        for (chart, area) in charts.iter().zip(columns.iter()) {
            let now = chart.rates.back().copied().unwrap_or_default();
            let newest = chart.rates.iter().rev().take(area.width.into()).rev();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "rates are no negative numbers"
            )]
            let bars: Vec<u64> = newest.map(|rate| (rate * 10.0).round() as u64).collect();
            let title = format!("{} {now:.1}/s", chart.title);
            let block = Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(title);
            frame.render_widget(Sparkline::default().block(block).data(bars).cyan(), *area);
        }
    }

    fn draw_members(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let Some(cluster) = &self.cluster else { return };
        let columns = columns_for(area.width);
        let mut members: Vec<&Member> = cluster.members.iter().collect();
        members.sort_by(|one, other| compare(one, other, self.sort));
        if self.reversed {
            members.reverse();
        }
        let head = columns.iter().map(|column| {
            let mark = if *column == self.sort { if self.reversed { "▲" } else { "▼" } } else { "" };
            aligned(format!("{}{mark}", column.title()), *column)
        });
        let rows = members.iter().map(|member| {
            Row::new(columns.iter().map(|column| {
                aligned(member.cell(*column, &cluster.node), *column).style(colour(member, *column))
            }))
        });
        let widths = columns.iter().map(|column| match column {
            Column::Node => Constraint::Fill(1),
            column => Constraint::Length(width(*column)),
        });
        let table = Table::new(rows, widths)
            .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    /// What the counters of those that were there before have grown.
    fn count(&mut self, at: Instant, cluster: &ClusterState) {
        let reports = cluster.members.iter().filter_map(|member| {
            let life = (member.id.clone(), member.incarnation.clone());
            Some((life, member.report.as_ref()?.counters.clone()))
        });
        let now: BTreeMap<_, _> = reports.collect();
        if let Some((before_at, before)) = &self.counted {
            let seconds = at.duration_since(*before_at).as_secs_f64();
            for Chart { counter, rates, .. } in &mut self.charts {
                let grown: Vec<u64> = now
                    .iter()
                    .filter_map(|(life, counters)| {
                        let (count, earlier) = (counters.get(*counter)?, before.get(life)?.get(*counter)?);
                        Some(count.saturating_sub(*earlier))
                    })
                    .collect();
                if grown.is_empty() || seconds <= 0.0 {
                    continue;
                }
                #[expect(clippy::cast_precision_loss, reason = "it is shown with a few digits")]
                rates.push_back(grown.iter().sum::<u64>() as f64 / seconds);
                if rates.len() > REMEMBERED {
                    rates.pop_front();
                }
            }
        }
        self.counted = Some((at, now));
    }
}

/// Largest first for numbers, else by name.
fn compare(one: &Member, other: &Member, column: Column) -> std::cmp::Ordering {
    let figure = |member: &Member| {
        let report = member.report.clone().unwrap_or_default();
        match column {
            Column::Age => Some(member.age_seconds),
            Column::Sessions => Some(report.sessions),
            Column::Sockets => Some(report.sockets),
            Column::Rooms => Some(report.rooms),
            Column::Waiting => Some(member.waiting),
            Column::Node | Column::State | Column::Link | Column::Ring | Column::Rtt => None,
        }
    };
    let by_column = match column {
        Column::State => one.state.cmp(&other.state),
        Column::Link => one.link.cmp(&other.link),
        Column::Ring => other.ring_share.total_cmp(&one.ring_share),
        Column::Rtt => other.rtt_ms.unwrap_or_default().total_cmp(&one.rtt_ms.unwrap_or_default()),
        _ => figure(other).cmp(&figure(one)),
    };
    by_column.then_with(|| one.id.cmp(&other.id))
}

/// As many columns as there is room for: the first ones matter most.
fn columns_for(room: u16) -> Vec<Column> {
    let order = [
        Column::Node,
        Column::State,
        Column::Sessions,
        Column::Link,
        Column::Rtt,
        Column::Age,
        Column::Rooms,
        Column::Ring,
        Column::Sockets,
        Column::Waiting,
    ];
    let mut left = room;
    let mut fits: Vec<Column> = Vec::new();
    for column in order {
        let Some(rest) = left.checked_sub(width(column) + 1) else { break };
        left = rest;
        fits.push(column);
    }
    Column::ALL.into_iter().filter(|column| fits.contains(column)).collect()
}

const fn width(column: Column) -> u16 {
    match column {
        Column::Node | Column::State => 10,
        Column::Sessions | Column::Link | Column::Rtt | Column::Sockets | Column::Waiting => 9,
        Column::Age | Column::Rooms | Column::Ring => 7,
    }
}

fn aligned<'a>(text: String, column: Column) -> Cell<'a> {
    let line = Line::from(text);
    Cell::new(if column.is_number() { line.right_aligned() } else { line })
}

/// What is not as it should be has a colour; the words say it, too.
fn colour(member: &Member, column: Column) -> Style {
    let is_well = match column {
        Column::State => member.state == "ready" && member.problem.is_none(),
        Column::Link => member.link == "up",
        _ => return Style::new(),
    };
    let is_bad = match column {
        Column::State => member.problem.is_some() || member.state == "hung",
        _ => member.link == "down",
    };
    Style::new().fg(if is_bad {
        Color::Red
    } else if is_well {
        Color::Green
    } else {
        Color::Yellow
    })
}

/// Titles and counters of the charts.
const CHARTS: [(&str, &str); 4] = [
    ("from clients", "socketmesh_socket_events_received_total"),
    ("to clients", "socketmesh_socket_events_sent_total"),
    ("between nodes", "socketmesh_cluster_messages_sent_total"),
    ("new sessions", "socketmesh_engine_sessions_opened_total"),
];
/// How many rates are kept: more than a terminal is wide.
const REMEMBERED: usize = 600;
const CHART_HEIGHT: u16 = 4;
const ROOM_FOR_CHARTS: u16 = 14;
const KEYS: &str = "q ends   ←→ sort   r reverse   ↑↓ scroll";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Report;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::Duration;

    fn member(number: u64, sessions: u64) -> Member {
        let counters = CHARTS.map(|(_, counter)| (counter.to_owned(), sessions * 10));
        Member {
            id: format!("node-{number}"),
            incarnation: Some(number.to_string()),
            state: "ready".to_owned(),
            link: "up".to_owned(),
            rtt_ms: Some(0.4),
            report: Some(Report { sessions, counters: counters.into(), ..Report::default() }),
            ..Member::default()
        }
    }

    fn cluster(members: Vec<Member>) -> ClusterState {
        ClusterState { node: "node-1".to_owned(), members, ..ClusterState::default() }
    }

    /// The lines of a screen of this size.
    fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        cells.chunks(width.max(1).into()).map(|row| row.iter().map(|cell| cell.symbol()).collect()).collect()
    }

    #[test]
    fn every_member_is_a_row_and_rates_are_what_counters_grow() {
        let mut screen = Screen::new("127.0.0.1:9090");
        let start = Instant::now();
        screen.update(start, Ok(cluster(vec![member(1, 5), member(2, 7)])));
        screen.update(
            start + Duration::from_secs(2),
            Ok(cluster(vec![member(1, 6), member(2, 8), member(3, 99)])),
        );
        let lines = drawn(&mut screen, 120, 24);
        assert!(lines[0].starts_with("node-1: 3 nodes, 113 sessions"), "{lines:#?}");
        // Twenty in two seconds: a node that is new counts from its second report on.
        assert!(lines[1].contains("between nodes 10.0/s"), "{lines:#?}");
        for node in ["node-1", "node-2", "node-3"] {
            assert!(lines.iter().skip(5).any(|line| line.starts_with(node)), "{node}: {lines:#?}");
        }
    }

    #[test]
    fn rows_are_sorted_by_the_chosen_column_and_reversed() {
        let mut screen = Screen::new("");
        screen.update(Instant::now(), Ok(cluster(vec![member(1, 5), member(2, 7), member(3, 6)])));
        let order = |screen: &mut Screen| -> String {
            let lines = drawn(screen, 100, 10);
            lines
                .iter()
                .filter_map(|line| line.strip_prefix("node-")?.chars().next())
                .filter(|c| *c != ':')
                .skip(1)
                .collect()
        };
        assert_eq!(order(&mut screen), "123");
        (0..3).for_each(|_| screen.sort_by_neighbour(1));
        assert_eq!(order(&mut screen), "231", "most sessions first");
        screen.reverse();
        assert_eq!(order(&mut screen), "132");
        (0..99).for_each(|_| screen.sort_by_neighbour(1));
        (0..99).for_each(|_| screen.sort_by_neighbour(-1));
        assert_eq!(order(&mut screen), "321", "the first column, reversed");
    }

    #[test]
    fn whatever_the_size_something_is_drawn_and_nothing_panics() {
        for members in [0, 1, 3, 60] {
            let mut screen = Screen::new("127.0.0.1:9090");
            for second in 0..3 {
                let all = (1..=members).map(|number| member(number, number * second)).collect();
                screen.update(Instant::now() + Duration::from_secs(second), Ok(cluster(all)));
            }
            for (width, height) in [(1, 1), (20, 5), (3, 40), (80, 24), (300, 3), (200, 100)] {
                screen.scroll(isize::MAX);
                drawn(&mut screen, width, height);
                screen.scroll(isize::MIN);
                let lines = drawn(&mut screen, width, height);
                assert!(lines[0].starts_with('n'), "{width}x{height}: {lines:#?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_on_the_first_line() {
        let mut screen = Screen::new("127.0.0.1:9090");
        assert!(drawn(&mut screen, 40, 5)[0].starts_with("asking 127.0.0.1:9090"));
        screen.update(Instant::now(), Err("127.0.0.1:9090: Connection refused".to_owned()));
        assert!(drawn(&mut screen, 60, 5)[0].contains("Connection refused"));
        let silent =
            Member { problem: Some("the node does not answer".to_owned()), report: None, ..member(2, 0) };
        screen.update(Instant::now(), Ok(cluster(vec![member(1, 5), silent])));
        let lines = drawn(&mut screen, 100, 10);
        assert!(lines[0].contains("1 without an answer"), "{lines:#?}");
        screen.update(Instant::now(), Err("gone".to_owned()));
        assert!(drawn(&mut screen, 100, 10)[0].contains("OLD: gone"));
    }
}
