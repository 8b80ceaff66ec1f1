//! The nodes: processes of this program, each at an address of its own, so that no connection takes its port while it is not there.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hyper::Method;

use super::app::EMITTED;
use super::checker::{Ending, Life, Millis};
use super::milliseconds;
use crate::http::Call;
use crate::process::{Launch, Node};

/// The running nodes and all lives of them; dropping it kills them.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<Option<Node>>,
    pub(super) lives: Vec<Life>,
    /// What nodes that ended had to say.
    pub(super) warnings: Vec<String>,
    /// How many clients that came back got another socket, by the reason that their node gives.
    pub(super) refused: BTreeMap<String, u64>,
}

impl Cluster {
    /// Starts so many nodes one after another, with these arguments.
    pub(super) async fn start(binary: &Path, count: usize, arguments: &[String]) -> Self {
        // As long as the process: it starts nodes to its end.
        let leaked = |text: String| -> &'static str { text.leak() };
        let binary = leaked(binary.to_string_lossy().into_owned());
        let arguments: Vec<_> = arguments.iter().map(|argument| leaked(argument.clone())).collect();
        let mut cluster =
            Self { nodes: Vec::new(), lives: Vec::new(), warnings: Vec::new(), refused: BTreeMap::new() };
        for number in 1..=count {
            let own = SocketAddr::from((address(number), 0));
            let launch = Launch::bench(Some(binary), &format!("node-{number}"));
            let arguments = arguments.clone();
            let launch = Launch {
                command: &["node"],
                http: own,
                mesh: own,
                seeds: cluster.seeds(),
                arguments,
                ..launch
            };
            let began = milliseconds();
            let node = launch.start().await;
            cluster.lives.push(life(&node, began));
            cluster.nodes.push(Some(node));
        }
        cluster
    }

    /// Where the nodes serve clients.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().flatten().map(|node| node.http).collect()
    }

    fn seeds(&self) -> Vec<SocketAddr> {
        self.nodes.iter().flatten().map(|node| node.mesh).collect()
    }

    /// Stops a node in good order and starts it again, ready for clients.
    ///
    /// # Errors
    /// It does not stop in time, or fails.
    pub(super) async fn restart(&mut self, number: usize, patience: Duration) -> io::Result<()> {
        let node = self.take(number)?;
        self.note_refused(&node).await;
        let (process, from) = (node.pid(), milliseconds());
        let (launch, said) = node.stop_within(patience, &self.seeds()).await?;
        let emitted =
            said.lines().rev().find_map(|line| serde_json::from_str(line.strip_prefix(EMITTED)?).ok());
        self.warnings.extend(said.lines().filter(|line| is_odd(line)).map(str::to_owned));
        self.over(process, from, emitted);
        self.again(number, launch).await;
        Ok(())
    }

    /// Kills a node without a warning, and starts it again after a while.
    ///
    /// # Errors
    /// There is no such node.
    pub(super) async fn kill(&mut self, number: usize, pause: Duration) -> io::Result<()> {
        let node = self.take(number)?;
        self.note_refused(&node).await;
        let (process, from) = (node.pid(), milliseconds());
        let launch = node.kill(&self.seeds()).await;
        self.over(process, from, None);
        tokio::time::sleep(pause).await;
        self.again(number, launch).await;
        Ok(())
    }

    /// Gives all nodes an order, and learns what they have emitted.
    pub(super) async fn order(&mut self, path: &str) -> io::Result<()> {
        for node in self.nodes.iter().flatten() {
            let reply = Call::new(node.http, Method::GET, path).send().await;
            let emitted = serde_json::from_str(reply.text())?;
            let process = node.pid();
            if let Some(life) = self.lives.iter_mut().find(|life| Some(life.process) == process) {
                life.emitted = Some(emitted);
            }
        }
        Ok(())
    }

    /// Adds what the nodes that are there have refused.
    pub(super) async fn note_all_refused(&mut self) {
        for node in std::mem::take(&mut self.nodes).into_iter().flatten() {
            self.note_refused(&node).await;
            self.nodes.push(Some(node));
        }
    }

    async fn note_refused(&mut self, node: &Node) {
        let metrics = Call::new(node.http, Method::GET, "/metrics").send().await;
        for line in metrics.text().lines().filter(|line| line.starts_with(REFUSED)) {
            let reason = line.split('"').rev().nth(1).unwrap_or_default();
            let count = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
            if count > 0 {
                *self.refused.entry(reason.to_owned()).or_default() += count;
            }
        }
    }

    fn take(&mut self, number: usize) -> io::Result<Node> {
        let node = self.nodes.get_mut(number).and_then(Option::take);
        node.ok_or_else(|| io::Error::other(format!("there is no node {number}")))
    }

    fn over(&mut self, process: Option<u32>, from: Millis, emitted: Option<BTreeMap<String, u64>>) {
        if let Some(life) = self.lives.iter_mut().find(|life| Some(life.process) == process) {
            life.ended = Some(Ending { from, to: milliseconds() });
            life.emitted = emitted;
        }
    }

    async fn again(&mut self, number: usize, mut launch: Launch) {
        if !launch.arguments.contains(&"--talk") {
            launch.arguments.push("--talk");
        }
        let began = milliseconds();
        let node = launch.start().await;
        self.lives.push(life(&node, began));
        if let Some(place) = self.nodes.get_mut(number) {
            *place = Some(node);
        }
    }
}

fn life(node: &Node, began: Millis) -> Life {
    let process = node.pid().unwrap_or_default();
    Life { node: node.id().to_owned(), process, began, ready: milliseconds(), ended: None, emitted: None }
}

const REFUSED: &str = "socketmesh_socket_sessions_refused_total{";

/// 127.0.1.1 and so on.
fn address(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, u8::try_from(number).unwrap_or(u8::MAX)))
}

fn is_odd(line: &str) -> bool {
    ["WARN", "ERROR", "panicked"].iter().any(|word| line.contains(word))
}
