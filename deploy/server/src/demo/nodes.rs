//! The nodes of the demo, which can be stopped without a warning and started again.
//!
//! Each has a runtime of its own. To stop it as `kill -9` would, the runtime is dropped with every task and connection on it,
//! and nobody is told: neither clients nor the other nodes. It starts again as a process would, at the same addresses and as
//! another life of the same name.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use socketmesh::Node;
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::id::NodeId;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::app::{App, Order, Page, Phase, Phases, Switch, http_config};
use crate::process::BoxError;

/// All of them.
pub(super) struct Nodes {
    nodes: Vec<DemoNode>,
    setup: Setup,
    phases: watch::Sender<Phases>,
}

/// One node, whether it runs or not.
pub(super) struct DemoNode {
    id: NodeId,
    http: SocketAddr,
    operators: SocketAddr,
    mesh: SocketAddr,
    life: Option<Life>,
}

/// What they have in common.
struct Setup {
    secret: Secret,
    client_dir: Option<PathBuf>,
    switch: Switch,
}

/// A node that runs, and where.
struct Life {
    node: Node,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

impl Nodes {
    /// Starts nodes on free ports of this machine, and waits until all of them take clients.
    pub(super) async fn start(
        count: u8,
        client_dir: Option<PathBuf>,
        orders: mpsc::Sender<Order>,
    ) -> Result<Self, BoxError> {
        let (phases, watched) = watch::channel(Phases::new());
        let switch = Switch { orders, phases: watched };
        let setup = Setup { secret: Secret::random()?, client_dir, switch };
        let mut nodes = Self { nodes: Vec::new(), setup, phases };
        for number in 1..=count {
            let id: NodeId = format!("node-{number}").parse()?;
            let mut node = DemoNode { id, http: ANY, operators: ANY, mesh: ANY, life: None };
            node.start(&nodes.setup, nodes.seeds()).await?;
            set_phase(&nodes.phases, &node.id, Phase::Running);
            nodes.nodes.push(node);
        }
        for node in nodes.nodes.iter().filter_map(|node| node.life.as_ref()) {
            node.node.ready().await;
        }
        Ok(nodes)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DemoNode> {
        self.nodes.iter()
    }

    /// Where clients reach them.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.http).collect()
    }

    /// Stops or starts a node. The last one that runs is not stopped, which the page is told beforehand.
    pub(super) async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Stop(name) if self.running() > 1 => self.kill(&name).await,
            Order::Stop(_) => {}
            Order::Start(name) => self.start_again(&name).await,
        }
    }

    async fn kill(&mut self, name: &str) {
        let Some(node) = self.nodes.iter_mut().find(|node| node.id.as_str() == name) else { return };
        let Some(life) = node.life.take() else { return };
        // Pages of the others see at once what was done, and later what the others make of it.
        set_phase(&self.phases, &node.id, Phase::Stopped);
        life.kill().await;
    }

    async fn start_again(&mut self, name: &str) {
        let seeds = self.seeds();
        let Some(node) = self.nodes.iter_mut().find(|node| node.id.as_str() == name) else { return };
        if node.life.is_some() {
            return;
        }
        set_phase(&self.phases, &node.id, Phase::Starting);
        let phase = match node.start(&self.setup, seeds).await {
            Ok(()) => Phase::Running,
            Err(error) => {
                tracing::error!(node = name, %error, "a node of the demo does not start again");
                Phase::Stopped
            }
        };
        set_phase(&self.phases, &node.id, phase);
    }

    /// Stops all of them in good order.
    pub(super) async fn shut_down(&self) {
        let mut stopping = JoinSet::new();
        for life in self.nodes.iter().filter_map(|node| node.life.as_ref()) {
            let node = life.node.clone();
            stopping.spawn(async move { node.shutdown().await });
        }
        stopping.join_all().await;
    }

    fn running(&self) -> usize {
        self.nodes.iter().filter(|node| node.life.is_some()).count()
    }

    /// The mesh addresses of those that run.
    fn seeds(&self) -> Vec<SocketAddr> {
        self.nodes.iter().filter(|node| node.life.is_some()).map(|node| node.mesh).collect()
    }
}

fn set_phase(phases: &watch::Sender<Phases>, id: &NodeId, phase: Phase) {
    phases.send_modify(|phases| {
        phases.insert(id.clone(), phase);
    });
}

impl DemoNode {
    pub(super) fn id(&self) -> &NodeId {
        &self.id
    }

    /// Where it serves clients.
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it shows the cluster to operators.
    pub(super) fn operators(&self) -> SocketAddr {
        self.operators
    }

    /// Where it serves other nodes.
    pub(super) fn mesh(&self) -> SocketAddr {
        self.mesh
    }

    /// Starts it at its addresses, those of its last life if there was one.
    async fn start(&mut self, setup: &Setup, seeds: Vec<SocketAddr>) -> Result<(), BoxError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name(self.id.as_str())
            .enable_all()
            .build()?;
        let cluster = Cluster::bind(self.mesh.to_string())
            .node_id(self.id.clone())
            .secret(setup.secret.clone())
            .seeds(seeds.iter().map(SocketAddr::to_string));
        let app = App::new(self.id.clone(), Some(setup.switch.clone()));
        let (http, operators, client_dir) = (self.http, self.operators, setup.client_dir.clone());
        let started = runtime.spawn(async move {
            let (listener, for_operators) =
                (TcpListener::bind(http).await?, TcpListener::bind(operators).await?);
            let (http, operators) = (listener.local_addr()?, for_operators.local_addr()?);
            let builder = Node::builder().http(http_config(client_dir)).namespace(app.namespace());
            let node = builder.cluster(cluster).start().await?;
            let (serving, page) = (node.clone(), Page::new(PATH));
            tokio::spawn(async move {
                serving.serve_at(PATH, listener, move |request| page.answer(request)).await;
            });
            let shown = node.clone();
            tokio::spawn(async move { shown.serve_admin(shown.admin(), for_operators).await });
            tokio::spawn(app.show_members(node.clone()));
            Ok::<_, BoxError>((node, http, operators))
        });
        let (node, http, operators) = match started.await.map_err(BoxError::from).and_then(|started| started)
        {
            Ok(started) => started,
            Err(error) => {
                // Dropping it would wait, which async code must not.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        (self.http, self.operators) = (http, operators);
        self.mesh = node.mesh_addr().unwrap_or(self.mesh);
        self.life = Some(Life { node, runtime: Some(runtime) });
        Ok(())
    }
}

impl Life {
    /// Returns when nothing of it is left, so that its ports are free.
    async fn kill(mut self) {
        self.node.kill().await;
        if let Some(runtime) = self.runtime.take() {
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(END));
            // It cannot panic, and ends at the latest with the time it has.
            let _ended = ended.await;
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // A runtime waits for its tasks when it is dropped, which async code must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const PATH: &str = "/socket.io/";
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Threads of each node.
const WORKERS: usize = 1;
/// Every task is dropped when it next waits, which is at once.
const END: Duration = Duration::from_secs(2);
