//! A cluster of one process: its nodes, the network between them, and what befalls both.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::door::Door;
use super::entrance::{Entrance, Way};
use super::network::{Link, Network};
use super::transport::Doors;
use crate::cluster::{Cluster, LinkState, NodeState, Secret, View};
use crate::id::NodeId;
use crate::node::{Node, NodeBuilder};
use crate::socket::Refusal;

/// Nodes of one application in this process, on a network in memory.
///
/// Nodes are counted from 0 and called `node-0`, `node-1`, … Everything runs on the runtime of the test. With
/// `#[tokio::test(start_paused = true)]` time is virtual: it moves only when every task waits, so a node is found dead
/// after three seconds that take no time. Without it, and on a runtime of several threads, the same test takes real time.
///
/// When a test panics while it holds a cluster, the [seed](Self::seed) is printed.
///
/// # Panics
///
/// Its methods panic where a node has a number that is none, and where what they wait for does not come within a minute.
pub struct TestCluster {
    seed: u64,
    secret: Secret,
    network: Network,
    app: Box<dyn Fn(usize) -> NodeBuilder + Send + Sync>,
    /// By number; `None` while it does not run.
    lives: Vec<Option<Life>>,
}

/// A node that runs.
struct Life {
    node: Node,
    door: Door,
}

impl TestCluster {
    /// Starts `count` nodes and waits until all of them are [settled](Self::settled). `app` describes the node with that
    /// number, and does so again when it is restarted; the kit makes it a member of the cluster.
    ///
    /// The seed is random, or what the environment says in `SOCKETMESH_TEST_SEED`.
    ///
    /// # Panics
    ///
    /// A node does not start.
    pub async fn start(count: usize, app: impl Fn(usize) -> NodeBuilder + Send + Sync + 'static) -> Self {
        let given = std::env::var("SOCKETMESH_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| crate::random::number().unwrap_or_default());
        Self::start_seeded(seed, count, app).await
    }

    /// Starts with this seed: the same losses and delays, as far as the traffic is the same.
    ///
    /// # Panics
    ///
    /// A node does not start.
    pub async fn start_seeded(
        seed: u64,
        count: usize,
        app: impl Fn(usize) -> NodeBuilder + Send + Sync + 'static,
    ) -> Self {
        let mut cluster = Self {
            seed,
            secret: Secret::random().expect("the operating system's random generator"),
            network: Network::new(seed),
            app: Box::new(app),
            lives: (0..count).map(|_| None).collect(),
        };
        for number in 0..count {
            let others = (0..count).filter(|other| *other != number).collect();
            cluster.begin(number, others).await;
        }
        cluster.settled().await;
        cluster
    }

    /// The number that the losses and delays of the network come from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many nodes there are, running or not.
    pub fn len(&self) -> usize {
        self.lives.len()
    }

    /// Whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }

    /// A node that runs.
    ///
    /// # Panics
    ///
    /// It does not.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn node(&self, number: usize) -> TestNode<'_> {
        match self.lives.get(number) {
            Some(Some(life)) => TestNode { cluster: self, number, life },
            Some(None) => panic!("node {number} does not run"),
            None => panic!("there is no node {number}"),
        }
    }

    /// The way of clients that poll: one request after another goes to the next of these nodes, as through a balancer
    /// without memory. The first one gets the session.
    ///
    /// # Panics
    ///
    /// One of them does not run.
    pub fn polling(&self, nodes: &[usize]) -> Entrance {
        let door = |number: &usize| self.node(*number).life.door.clone();
        Entrance(Way::Polling(Doors::new(nodes.iter().map(door).collect())))
    }

    /// Cuts every connection between nodes of different groups, both ways. Nodes that are in no group reach, and are
    /// reached by, all.
    pub fn partition(&self, one: &[usize], other: &[usize]) {
        self.between(one, other, |link| link.cut = true);
    }

    /// Loses everything that one node of `from` sends to one of `to`; the other direction stays.
    pub fn cut(&self, from: &[usize], to: &[usize]) {
        self.check(from);
        self.check(to);
        self.network.change(from, to, |link| link.cut = true);
    }

    /// Loses a share of all packets between nodes, from 0 to 1, each by chance.
    pub fn loss(&self, share: f64) {
        self.network.change_all(|link| link.loss = share);
    }

    /// The same between these and those only, both ways.
    pub fn loss_between(&self, one: &[usize], other: &[usize], share: f64) {
        self.between(one, other, |link| link.loss = share);
    }

    /// Lets every packet between nodes take that long, each by chance; so they overtake each other. 1 ms in the beginning.
    pub fn delay(&self, delay: RangeInclusive<Duration>) {
        self.network.change_all(|link| link.delay = delay.clone());
    }

    /// The same between these and those only, both ways.
    pub fn delay_between(&self, one: &[usize], other: &[usize], delay: RangeInclusive<Duration>) {
        self.between(one, other, |link| link.delay = delay.clone());
    }

    /// Ends every partition, cut, loss and delay.
    pub fn heal(&self) {
        self.network.heal();
    }

    /// Ends a node as `kill -9` does: its clients see the end of their connections, the other nodes see nothing, and its
    /// handlers go no further than to their next `await`. Tasks that the application itself started go on: nobody but
    /// the application can stop those.
    ///
    /// # Panics
    ///
    /// It does not run.
    pub async fn kill(&mut self, number: usize) {
        let life = self.end(number);
        self.network.unplug(number);
        life.door.tear_down();
        life.node.kill().await;
    }

    /// Ends a node in good order ([`Node::shutdown`]): its clients are told, and so are the other nodes.
    ///
    /// # Panics
    ///
    /// It does not run.
    pub async fn leave(&mut self, number: usize) {
        let life = self.end(number);
        life.door.close();
        life.node.shutdown().await;
        self.network.unplug(number);
    }

    /// Starts a node again, at its address and under its name, and waits until it takes clients. One that runs is killed
    /// before.
    ///
    /// # Panics
    ///
    /// It does not get ready: the nodes that run cannot be reached.
    pub async fn restart(&mut self, number: usize) {
        self.check(&[number]);
        if self.running().contains(&number) {
            self.kill(number).await;
        }
        let others = self.running();
        self.begin(number, others).await;
        let ready = self.node(number).life.node.clone();
        self.until("ready", || (!ready.is_ready()).then(|| format!("node {number} is not ready"))).await;
    }

    /// Waits until the cluster is at rest, as far as the network lets it: every node that runs sees exactly those it can
    /// reach, however many lie between them; all of them are ready, linked directly or through one other where that is
    /// possible, and have everything that was sent to them.
    ///
    /// In a partition it waits until every part is at rest.
    ///
    /// # Panics
    ///
    /// It does not come to rest, and why.
    pub async fn settled(&self) {
        self.until("settled", || self.running().into_iter().find_map(|number| self.unrest(number))).await;
    }

    fn between(&self, one: &[usize], other: &[usize], change: impl Fn(&mut Link)) {
        self.check(one);
        self.check(other);
        self.network.change(one, other, &change);
        self.network.change(other, one, &change);
    }

    fn check(&self, numbers: &[usize]) {
        for number in numbers {
            assert!(*number < self.lives.len(), "there is no node {number}");
        }
    }

    fn running(&self) -> Vec<usize> {
        let running = |(number, life): (usize, &Option<Life>)| life.is_some().then_some(number);
        self.lives.iter().enumerate().filter_map(running).collect()
    }

    #[expect(clippy::panic, reason = "a test fails by a panic")]
    async fn begin(&mut self, number: usize, others: Vec<usize>) {
        let cluster = Cluster::bind(Network::address(number).to_string())
            .node_id(name(number))
            .secret(self.secret.clone())
            .seeds(others.into_iter().map(|other| Network::address(other).to_string()))
            .on(Arc::new(self.network.clone()));
        let node = match (self.app)(number).cluster(cluster).start().await {
            Ok(node) => node,
            Err(error) => panic!("node {number} does not start: {error}"),
        };
        let door = Door::new(node.service());
        if let Some(life) = self.lives.get_mut(number) {
            *life = Some(Life { node, door });
        }
    }

    #[expect(clippy::panic, reason = "a test fails by a panic")]
    fn end(&mut self, number: usize) -> Life {
        match self.lives.get_mut(number).map(Option::take) {
            Some(Some(life)) => life,
            Some(None) => panic!("node {number} does not run"),
            None => panic!("there is no node {number}"),
        }
    }

    /// Waits until nothing is in the way any more.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    async fn until(&self, what: &str, mut obstacle: impl FnMut() -> Option<String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(why) = obstacle() {
            if Instant::now() >= deadline {
                panic!("not {what} after {PATIENCE:?}: {why}");
            }
            sleep(GLANCE).await;
        }
    }

    /// Why a node is not at rest.
    fn unrest(&self, number: usize) -> Option<String> {
        let life = self.lives.get(number)?.as_ref()?;
        let view = life.node.view()?.borrow().clone();
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
        let restless = view
            .members
            .iter()
            .find(|member| member.state != NodeState::Ready || member.link != link(&member.id));
        if let Some(member) = restless {
            return Some(format!("node {number} sees {member:?}"));
        }
        if !self.is_latest(&view) {
            return Some(format!("node {number} sees a node that was restarted since: {view:?}"));
        }
        (!life.node.is_quiet()).then(|| format!("node {number} has still something to send"))
    }

    /// Whether it shows every node in its present life.
    fn is_latest(&self, view: &View) -> bool {
        let incarnation = |number: usize| {
            let life = self.lives.get(number)?.as_ref()?;
            let own = life.node.view()?.borrow().clone();
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
    life: &'a Life,
}

impl TestNode<'_> {
    /// The node itself, to emit from outside of handlers and to look at it.
    pub fn node(&self) -> &Node {
        &self.life.node
    }

    /// Connects a client over a WebSocket; as [`Entrance::connect`].
    ///
    /// # Errors
    ///
    /// What a client would see as `connect_error`.
    pub async fn connect(&self, path: &str, auth: &impl Serialize) -> Result<Client, Refusal> {
        self.websocket().connect(path, auth).await
    }

    /// The way of clients with a WebSocket.
    pub fn websocket(&self) -> Entrance {
        Entrance(Way::WebSocket(Doors::new(vec![self.life.door.clone()])))
    }

    /// The way of clients that poll this node only; see [`TestCluster::polling`].
    pub fn polling(&self) -> Entrance {
        Entrance(Way::Polling(Doors::new(vec![self.life.door.clone()])))
    }

    /// Waits until this node sees exactly these, itself included.
    ///
    /// # Panics
    ///
    /// It does not.
    pub async fn sees(&self, numbers: &[usize]) {
        let expected: BTreeSet<NodeId> = numbers.iter().copied().map(name).collect();
        let obstacle = || {
            let view = self.life.node.view()?.borrow().clone();
            let seen: BTreeSet<NodeId> = view.members.iter().map(|member| member.id.clone()).collect();
            (seen != expected).then(|| format!("node {} sees {seen:?}", self.number))
        };
        self.cluster.until(&format!("{expected:?} alone"), obstacle).await;
    }
}

impl fmt::Debug for TestNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestNode").field("number", &self.number).finish_non_exhaustive()
    }
}

impl From<TestNode<'_>> for Entrance {
    /// Over a WebSocket.
    fn from(node: TestNode<'_>) -> Self {
        node.websocket()
    }
}

/// Those who reach each other, however many lie between them.
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

/// How long a cluster may take to come to rest: a death takes 5 s at most, and a link that was lost is dialled again
/// within one second.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(20);
