//! What the page shows of the cluster: the nodes, the links between them, and how many sessions each owns.
//!
//! Each node knows whom it sees and how it reaches them. It tells the others when that changes, keeps what they last said,
//! and shows the pages that it serves the whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socketmesh::cluster::{LinkState, NodeState, View};
use socketmesh::id::{Incarnation, NodeId};
use socketmesh::socket::EncodeError;
use socketmesh::{EventError, Node, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// What one node knows of the cluster.
#[derive(Debug, Default)]
pub(super) struct Members {
    reports: BTreeMap<String, Report>,
    shown: Shown,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Report {
    node: String,
    sessions: usize,
    links: BTreeMap<String, Link>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Link {
    Up,
    Relayed,
    Down,
}

/// What a page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    members: Vec<Member>,
    /// Whether the page may stop and start nodes.
    has_switch: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Member {
    node: String,
    /// Whether the node that serves the page counts it as a member of the cluster.
    state: Option<State>,
    /// What is known to have been done to it.
    phase: Phase,
    sessions: usize,
    links: BTreeMap<String, Link>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Joining,
    Ready,
    Draining,
}

/// Whether a node runs, as far as those know who started it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    #[default]
    Running,
    Stopped,
    Starting,
}

/// All nodes that were ever started, by name.
pub(crate) type Phases = BTreeMap<NodeId, Phase>;

/// What a page may have done to a node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", tag = "order", content = "node")]
pub(crate) enum Order {
    Stop(String),
    Start(String),
}

/// Reaches those who can stop and start nodes.
#[derive(Debug, Clone)]
pub(crate) struct Switch {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) phases: watch::Receiver<Phases>,
}

impl Switch {
    /// Passes an order on. Whether it is carried out shows in the phases.
    pub(super) fn order(&self, order: Order) -> Result<()> {
        let running = self.phases.borrow().values().filter(|phase| **phase == Phase::Running).count();
        if matches!(order, Order::Stop(_)) && running < 2 {
            // Nobody could start one again.
            return Err(EventError::new("last", "the last node is not stopped"));
        }
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                EventError::new("busy", "other orders are still carried out")
            }
            mpsc::error::TrySendError::Closed(_) => EventError::new("stopping", "the demo is ending"),
        })
    }
}

impl Members {
    /// Keeps what another node said. Those that are no members are forgotten with the next look at the cluster.
    pub(super) fn report(&mut self, report: Report) {
        if self.reports.len() < MAX_REPORTS {
            self.reports.insert(report.node.clone(), report);
        }
    }

    /// What pages were shown last.
    pub(super) fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// Puts together what is known now. `None` if pages have seen it.
    fn look(&mut self, own: Report, view: Option<&View>, phases: Option<&Phases>) -> Option<Shown> {
        let mut members: BTreeMap<String, Member> = BTreeMap::new();
        for (node, phase) in phases.into_iter().flatten() {
            let name = node.to_string();
            members.insert(name.clone(), Member::absent(name, *phase));
        }
        for member in view.into_iter().flat_map(|view| &view.members) {
            let name = member.id.to_string();
            let known = members.entry(name.clone()).or_insert_with(|| Member::absent(name, Phase::Running));
            known.state = Some(member.state.into());
        }
        self.reports.retain(|name, _| members.get(name).is_some_and(|member| member.state.is_some()));
        for report in self.reports.values().chain([&own]) {
            let name = report.node.clone();
            let known = members.entry(name.clone()).or_insert_with(|| Member {
                state: Some(State::Ready),
                ..Member::absent(name, Phase::Running)
            });
            known.sessions = report.sessions;
            known.links = report.links.clone();
        }
        let shown = Shown { members: members.into_values().collect(), has_switch: phases.is_some() };
        if shown == self.shown {
            return None;
        }
        self.shown = shown;
        Some(self.shown.clone())
    }
}

impl Member {
    fn absent(node: String, phase: Phase) -> Self {
        Self { node, state: None, phase, sessions: 0, links: BTreeMap::new() }
    }
}

/// Looks at the cluster whenever it changes, and at the number of sessions often enough.
pub(super) async fn show(id: &NodeId, members: &Mutex<Members>, switch: Option<&Switch>, node: Node) {
    let mut view = node.view();
    let mut phases = switch.map(|switch| switch.phases.clone());
    let mut told = Told::default();
    let mut again = interval(AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let shown = look((id, members), &node, &mut told, view.as_mut(), phases.as_mut());
        if let Err(error) = shown {
            tracing::debug!(%error, "pages were not told about the cluster");
        }
        tokio::select! {
            _ = again.tick() => {}
            () = changed(view.as_mut()) => {}
            () = changed(phases.as_mut()) => {}
        }
    }
}

/// What the other nodes were told last, and which lives of them: a new one has to be told as well.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told(Option<(Report, Vec<(NodeId, Incarnation)>)>);

fn look(
    (id, members): (&NodeId, &Mutex<Members>),
    node: &Node,
    told: &mut Told,
    view: Option<&mut watch::Receiver<Arc<View>>>,
    phases: Option<&mut watch::Receiver<Phases>>,
) -> std::result::Result<(), EncodeError> {
    let view = view.map(|view| Arc::clone(&view.borrow_and_update()));
    let phases = phases.map(|phases| phases.borrow_and_update().clone());
    let namespace = node.of("/");
    let others = view.iter().flat_map(|view| &view.members).filter(|member| member.id != *id);
    let links = others.map(|member| (member.id.to_string(), member.link.into())).collect();
    let own = Report { node: id.to_string(), sessions: node.sessions(), links };
    let lives = view.iter().flat_map(|view| &view.members);
    let lives = lives.map(|member| (member.id.clone(), member.incarnation)).collect();
    let tell = Told(Some((own.clone(), lives)));
    if *told != tell {
        namespace.server_side_emit("member", &own)?;
        *told = tell;
    }
    let shown = members.lock().look(own, view.as_deref(), phases.as_ref());
    match shown {
        Some(shown) => namespace.local().emit("members", &shown),
        None => Ok(()),
    }
}

/// Resolves when there is a new value; never, if there is none to come.
async fn changed<T>(values: Option<&mut watch::Receiver<T>>) {
    let Some(values) = values else { return std::future::pending().await };
    if values.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl From<LinkState> for Link {
    fn from(link: LinkState) -> Self {
        match link {
            LinkState::Up => Self::Up,
            LinkState::Relayed => Self::Relayed,
            // `Down`, and what later versions may add.
            _ => Self::Down,
        }
    }
}

impl From<NodeState> for State {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Joining => Self::Joining,
            NodeState::Ready => Self::Ready,
            // `Draining`, and what later versions may add.
            _ => Self::Draining,
        }
    }
}

/// Often enough to look alive, and no burden.
const AGAIN: Duration = Duration::from_millis(500);
/// More nodes than a page can show.
const MAX_REPORTS: usize = 1024;
