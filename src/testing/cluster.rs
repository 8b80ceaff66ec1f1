//! A cluster in one process: its nodes, the simulated network between them, and the faults of both.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::listener::MemoryListener;
use super::network::{LinkRule, SimulatedNetwork};
use super::route::{Route, RouteTransport};
use crate::cluster::{Cluster, LinkState, NodeState, Secret, View};
use crate::id::NodeId;
use crate::node::{Node, NodeBuilder};
use crate::socket::Refusal;

/// Nodes of one application in this process, on a network in memory.
///
/// Nodes are numbered from 0 and named `node-0`, `node-1`, … Everything runs on the runtime of the test. With
/// `#[tokio::test(start_paused = true)]` time is virtual: it advances only while every task waits, so the three seconds
/// after which a node is declared dead take no time. Otherwise, and on a runtime of several threads, the same test runs in
/// real time.
///
/// The [seed](Self::seed) is printed when a test panics while it holds a cluster.
///
/// # Panics
///
/// Methods panic when there is no node of the given number, and when what they wait for does not happen within a minute.
pub struct TestCluster {
    seed: u64,
    secret: Secret,
    network: SimulatedNetwork,
    app: Box<dyn Fn(usize) -> NodeBuilder + Send + Sync>,
    /// The nodes by number; `None` for a node that does not run.
    nodes: Vec<Option<RunningNode>>,
}

struct RunningNode {
    node: Node,
    listener: MemoryListener,
}

impl TestCluster {
    /// Starts `count` nodes and waits until they are [settled](Self::settled). `app` builds the node of a number, and builds
    /// it again when the node is restarted. The kit adds the settings of the cluster.
    ///
    /// The seed is taken from the environment variable `SOCKETMESH_TEST_SEED`, and is random without it.
    ///
    /// # Panics
    ///
    /// A node does not start, or the cluster does not settle.
    pub async fn start(count: usize, app: impl Fn(usize) -> NodeBuilder + Send + Sync + 'static) -> Self {
        let given = std::env::var("SOCKETMESH_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| crate::random::number().unwrap_or_default());
        Self::start_seeded(seed, count, app).await
    }

    /// Starts a cluster with this seed. The same traffic meets the same losses and delays.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub async fn start_seeded(
        seed: u64,
        count: usize,
        app: impl Fn(usize) -> NodeBuilder + Send + Sync + 'static,
    ) -> Self {
        let mut cluster = Self {
            seed,
            secret: Secret::random().expect("the operating system's random generator"),
            network: SimulatedNetwork::new(seed),
            app: Box::new(app),
            nodes: (0..count).map(|_| None).collect(),
        };
        for number in 0..count {
            let others = (0..count).filter(|other| *other != number).collect();
            cluster.start_node(number, others).await;
        }
        cluster.settled().await;
        cluster
    }

    /// The number from which the losses and delays of the network follow.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many nodes the cluster has, running or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A running node.
    ///
    /// # Panics
    ///
    /// The node does not run.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn node(&self, number: usize) -> TestNode<'_> {
        match self.nodes.get(number) {
            Some(Some(running)) => TestNode { cluster: self, number, running },
            Some(None) => panic!("node {number} does not run"),
            None => panic!("there is no node {number}"),
        }
    }

    /// A route for clients that poll: each request of a client goes to the next of these nodes, as through a stateless
    /// round-robin load balancer. The first node gets the session. A GET whose node breaks off is sent again to the next one, and
    /// a node that takes no connections is left out.
    ///
    /// # Panics
    ///
    /// One of the nodes does not run.
    pub fn polling(&self, nodes: &[usize]) -> Route {
        let listener = |number: &usize| self.node(*number).running.listener.clone();
        Route::new(RouteTransport::Polling, nodes.iter().map(listener).collect())
    }

    /// Drops everything between the nodes of `one` and those of `other`, in both directions. Nodes of neither group still
    /// reach both.
    pub fn partition(&self, one: &[usize], other: &[usize]) {
        self.between(one, other, |link| link.cut = true);
    }

    /// Drops everything that the nodes of `from` send to those of `to`. The other direction stays.
    pub fn cut(&self, from: &[usize], to: &[usize]) {
        self.check(from);
        self.check(to);
        self.network.change(from, to, |link| link.cut = true);
    }

    /// Drops packets between all nodes at random. `share` is the probability, from 0 to 1.
    pub fn loss(&self, share: f64) {
        self.network.change_all(|link| link.loss = share);
    }

    /// Drops packets at random between the nodes of `one` and those of `other` only, in both directions.
    pub fn loss_between(&self, one: &[usize], other: &[usize], share: f64) {
        self.between(one, other, |link| link.loss = share);
    }

    /// Delays each packet between nodes by a random time of this range, so that packets overtake each other. It is 1 ms
    /// at the start.
    pub fn delay(&self, delay: RangeInclusive<Duration>) {
        self.network.change_all(|link| link.delay = delay.clone());
    }

    /// Delays packets between the nodes of `one` and those of `other` only, in both directions.
    pub fn delay_between(&self, one: &[usize], other: &[usize], delay: RangeInclusive<Duration>) {
        self.between(one, other, |link| link.delay = delay.clone());
    }

    /// Ends every partition, cut, loss and delay of this cluster.
    pub fn heal(&self) {
        self.network.heal();
    }

    /// Ends a node as `kill -9` does, on a machine that goes on. Its clients see the end of their connections, the other nodes
    /// notice within a second, and its handlers stop at their next `await`. ([`partition`](Self::partition) the node from the
    /// others before for a machine that is gone.) Tasks that the application spawned itself continue, because only the
    /// application can stop them.
    ///
    /// # Panics
    ///
    /// The node does not run.
    pub async fn kill(&mut self, number: usize) {
        let running = self.take(number);
        self.network.disconnect(number);
        running.listener.abort();
        running.node.kill().await;
    }

    /// Shuts a node down gracefully ([`Node::shutdown`]): its clients and the other nodes are told.
    ///
    /// # Panics
    ///
    /// The node does not run.
    pub async fn shutdown(&mut self, number: usize) {
        let running = self.take(number);
        running.listener.close();
        running.node.shutdown().await;
        self.network.disconnect(number);
    }

    /// Starts a node again with its name and address, and waits until it is ready. A node that runs is killed before.
    ///
    /// # Panics
    ///
    /// The node does not become ready, for example because it reaches no other running node.
    pub async fn restart(&mut self, number: usize) {
        self.check(&[number]);
        if self.running().contains(&number) {
            self.kill(number).await;
        }
        let others = self.running();
        self.start_node(number, others).await;
        let ready = self.node(number).running.node.clone();
        self.wait_until("ready", || (!ready.is_ready()).then(|| format!("node {number} is not ready"))).await;
    }

    /// Waits until the cluster is settled, as far as the network permits:
    ///
    /// - every running node sees exactly the nodes that it reaches, directly or through others,
    /// - all of them are ready, and linked directly or through one relay where that is possible,
    /// - nothing that was sent between them is still on its way.
    ///
    /// In a partition, each part settles on its own.
    ///
    /// # Panics
    ///
    /// The cluster does not settle. The message says why.
    pub async fn settled(&self) {
        self.wait_until("settled", || {
            self.running().into_iter().find_map(|number| self.why_unsettled(number))
        })
        .await;
    }

    /// How many datagrams the nodes have sent each other.
    #[cfg(test)]
    pub(super) fn datagrams(&self) -> u64 {
        self.network.sent()
    }

    fn between(&self, one: &[usize], other: &[usize], change: impl Fn(&mut LinkRule)) {
        self.check(one);
        self.check(other);
        self.network.change(one, other, &change);
        self.network.change(other, one, &change);
    }

    fn check(&self, numbers: &[usize]) {
        for number in numbers {
            assert!(*number < self.nodes.len(), "there is no node {number}");
        }
    }

    fn running(&self) -> Vec<usize> {
        let running = |(number, node): (usize, &Option<RunningNode>)| node.is_some().then_some(number);
        self.nodes.iter().enumerate().filter_map(running).collect()
    }

    #[expect(clippy::panic, reason = "a test fails by a panic")]
    async fn start_node(&mut self, number: usize, others: Vec<usize>) {
        let network = Arc::new(self.network.clone());
        let cluster = Cluster::bind_on(network, SimulatedNetwork::address(number).to_string())
            .node_id(name(number))
            .secret(self.secret.clone())
            .seeds(others.into_iter().map(|other| SimulatedNetwork::address(other).to_string()));
        let node = match (self.app)(number).cluster(cluster).start().await {
            Ok(node) => node,
            Err(error) => panic!("node {number} does not start: {error}"),
        };
        let listener = MemoryListener::new(node.own_service());
        if let Some(slot) = self.nodes.get_mut(number) {
            *slot = Some(RunningNode { node, listener });
        }
    }

    #[expect(clippy::panic, reason = "a test fails by a panic")]
    fn take(&mut self, number: usize) -> RunningNode {
        match self.nodes.get_mut(number).map(Option::take) {
            Some(Some(running)) => running,
            Some(None) => panic!("node {number} does not run"),
            None => panic!("there is no node {number}"),
        }
    }

    /// Waits until `obstacle` returns `None`.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    async fn wait_until(&self, what: &str, mut obstacle: impl FnMut() -> Option<String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(why) = obstacle() {
            if Instant::now() >= deadline {
                panic!("not {what} after {PATIENCE:?}: {why}");
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Why a running node is not settled; `None` when it is.
    fn why_unsettled(&self, number: usize) -> Option<String> {
        let running = self.nodes.get(number)?.as_ref()?;
        let view = running.node.view()?.borrow().clone();
        let all = self.running();
        let both = |a: &usize, b: &usize| self.network.reaches(*a, *b) && self.network.reaches(*b, *a);
        let seen: BTreeSet<NodeId> = view.members.iter().map(|member| member.id.clone()).collect();
        let expected: BTreeSet<NodeId> = component(number, &all, both).into_iter().map(name).collect();
        if seen != expected {
            return Some(format!("node {number} sees {seen:?} and should see {expected:?}"));
        }
        let common = |other: &usize| all.iter().any(|relay| both(&number, relay) && both(relay, other));
        let link = |member: &NodeId| match all.iter().find(|other| name(**other) == *member) {
            Some(other) if *other == number || both(&number, other) => LinkState::Up,
            Some(other) if common(other) => LinkState::Relayed,
            _ => LinkState::Down,
        };
        let unsettled = view
            .members
            .iter()
            .find(|member| member.state != NodeState::Ready || member.link != link(&member.id));
        if let Some(member) = unsettled {
            return Some(format!("node {number} sees {member:?}"));
        }
        if !self.is_latest(&view) {
            return Some(format!("node {number} sees a node that was restarted since: {view:?}"));
        }
        (!running.node.is_quiet()).then(|| format!("node {number} still has something to send"))
    }

    /// Whether a view shows the present incarnation of every running node.
    fn is_latest(&self, view: &View) -> bool {
        let incarnation = |number: usize| {
            let running = self.nodes.get(number)?.as_ref()?;
            let own = running.node.view()?.borrow().clone();
            own.member(&name(number)).map(|member| member.incarnation)
        };
        let is_latest = |number: &usize| {
            view.member(&name(*number)).is_none_or(|member| Some(member.incarnation) == incarnation(*number))
        };
        self.running().iter().all(is_latest)
    }
}

impl Drop for TestCluster {
    #[expect(clippy::print_stderr, reason = "what a failed test prints is read there")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the cluster of this test had the seed {0}: SOCKETMESH_TEST_SEED={0}", self.seed);
        }
    }
}

impl fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCluster")
            .field("seed", &self.seed)
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

/// One node of a [`TestCluster`].
#[derive(Clone, Copy)]
pub struct TestNode<'a> {
    cluster: &'a TestCluster,
    number: usize,
    running: &'a RunningNode,
}

impl TestNode<'_> {
    /// The node itself, for emits outside of handlers and for its view and counters.
    pub fn node(&self) -> &Node {
        &self.running.node
    }

    /// Connects a client over a WebSocket; the same as `self.websocket().connect(path, auth)`.
    ///
    /// # Errors
    ///
    /// As [`Route::connect`].
    pub async fn connect(&self, path: &str, auth: &impl Serialize) -> Result<Client, Refusal> {
        self.websocket().connect(path, auth).await
    }

    /// The route for clients that use a WebSocket to this node.
    pub fn websocket(&self) -> Route {
        Route::new(RouteTransport::WebSocket, vec![self.running.listener.clone()])
    }

    /// The route for clients that poll this node; see [`TestCluster::polling`] for several nodes.
    pub fn polling(&self) -> Route {
        Route::new(RouteTransport::Polling, vec![self.running.listener.clone()])
    }

    /// Waits until this node sees exactly these nodes, itself included.
    ///
    /// # Panics
    ///
    /// It sees others for a minute.
    pub async fn sees(&self, numbers: &[usize]) {
        let expected: BTreeSet<NodeId> = numbers.iter().copied().map(name).collect();
        let obstacle = || {
            let view = self.running.node.view()?.borrow().clone();
            let seen: BTreeSet<NodeId> = view.members.iter().map(|member| member.id.clone()).collect();
            (seen != expected).then(|| format!("node {} sees {seen:?}", self.number))
        };
        self.cluster.wait_until(&format!("{expected:?} alone"), obstacle).await;
    }
}

impl fmt::Debug for TestNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestNode").field("number", &self.number).finish_non_exhaustive()
    }
}

impl From<TestNode<'_>> for Route {
    /// The route over a WebSocket.
    fn from(node: TestNode<'_>) -> Self {
        node.websocket()
    }
}

/// All nodes that `start` reaches, directly or through others, and `start` itself.
fn component(start: usize, all: &[usize], reach: impl Fn(&usize, &usize) -> bool) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([start]);
    loop {
        let new = |other: &&usize| !found.contains(other) && found.iter().any(|one| reach(one, other));
        match all.iter().find(new) {
            Some(other) => drop(found.insert(*other)),
            None => return found,
        }
    }
}

fn name(number: usize) -> NodeId {
    format!("node-{number}").parse().expect("a name of letters, digits and a dash")
}

/// How long a cluster may take to settle. A node is declared dead within 5 s, and a lost link is dialled again within 1 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
