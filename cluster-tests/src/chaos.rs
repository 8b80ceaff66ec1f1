//! A cluster of processes under random faults, and a checker that holds what it promises.
//!
//! Every client is in one room and emits to it all the time, numbered. What is checked, for each pair of clients:
//!
//! - nothing arrives twice, and nothing before what was emitted earlier;
//! - everything that was emitted after a client's join was acknowledged arrives, as long as both nodes live;
//! - when everything is quiet again, everything has arrived, and every node sees every node.

pub mod history;
mod schedule;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::history::{History, Life};
use self::schedule::{Fault, Schedule};
use crate::client::Client;
use crate::process::{Launch, Node};

/// Runs a cluster under faults for a while.
#[derive(Debug, Clone, clap::Args)]
pub struct Chaos {
    /// Replays the faults of an earlier run.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long faults go on.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// How many nodes.
    #[arg(long, default_value_t = 4)]
    pub nodes: usize,
    /// Clients of each node.
    #[arg(long, default_value_t = 3)]
    pub clients: usize,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How to repeat the run.
    pub seed: u64,
    /// Each fault with its time.
    pub faults: Vec<String>,
    /// Packets that arrived.
    pub received: u64,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// The last log lines of each node.
    pub said: Vec<String>,
}

impl Chaos {
    /// Starts the cluster, disturbs it, lets it settle and checks.
    ///
    /// # Errors
    /// A signal cannot be sent.
    ///
    /// # Panics
    /// A node does not start, or a client cannot connect to a node that is ready.
    pub async fn run(self, binary: &'static str, seed: u64) -> io::Result<Outcome> {
        let mut run = Run::start(&self, binary).await?;
        let mut schedule = Schedule::new(seed, self.nodes);
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let mut faults = Vec::new();
        let began = Instant::now();
        while Instant::now() < until {
            let (calm, fault) = schedule.next();
            sleep(calm).await;
            faults.push(format!("{:6.2} s {fault}", began.elapsed().as_secs_f32()));
            run.disturb(fault).await?;
        }
        run.settle().await;
        let (received, violations) = run.history.verdict();
        let said = run.nodes.iter().flatten().map(Node::said).collect();
        Ok(Outcome { seed, faults, received, violations, said })
    }
}

/// A cluster and its clients.
struct Run {
    nodes: Vec<Option<Node>>,
    clients: Vec<JoinSet<()>>,
    each: usize,
    history: Arc<History>,
}

impl Run {
    async fn start(chaos: &Chaos, binary: &'static str) -> io::Result<Self> {
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..chaos.nodes {
            let seeds = nodes.iter().map(|node| node.mesh).collect();
            let launch = Launch::bench(Some(binary), &format!("node-{number}"));
            nodes.push(Launch { seeds, arguments: vec!["--log-views"], ..launch }.start().await);
        }
        let history = Arc::new(History::default());
        let mut run = Self {
            clients: nodes.iter().map(|_| JoinSet::new()).collect(),
            nodes: nodes.into_iter().map(Some).collect(),
            each: chaos.clients,
            history,
        };
        for number in 0..chaos.nodes {
            run.connect(number).await;
        }
        Ok(run)
    }

    /// Connects new clients to a node.
    async fn connect(&mut self, number: usize) {
        let Some(Some(node)) = self.nodes.get(number) else { return };
        let target = node.target();
        for _ in 0..self.each {
            let client = Client::connect(&target).await;
            let life = self.history.born(number);
            client.emit_with_ack("join", &[json!("all")]).await;
            self.history.joined(life);
            if let Some(clients) = self.clients.get_mut(number) {
                clients.spawn(chat(client, life, Arc::clone(&self.history)));
            }
        }
    }

    async fn disturb(&mut self, fault: Fault) -> io::Result<()> {
        match fault {
            Fault::Kill { node, down } => {
                let Some(victim) = self.nodes.get_mut(node).and_then(Option::take) else { return Ok(()) };
                self.history.node_died(node);
                if let Some(clients) = self.clients.get_mut(node) {
                    clients.abort_all();
                    *clients = JoinSet::new();
                }
                let seeds: Vec<_> = self.nodes.iter().flatten().map(|node| node.mesh).collect();
                let launch = victim.kill(&seeds).await;
                sleep(down).await;
                if let Some(slot) = self.nodes.get_mut(node) {
                    *slot = Some(launch.start().await);
                }
                self.connect(node).await;
            }
            Fault::Pause { node, pause } => {
                let Some(Some(victim)) = self.nodes.get(node) else { return Ok(()) };
                self.history.disturbed(node, pause);
                victim.signal("STOP").await?;
                sleep(pause).await;
                victim.signal("CONT").await?;
            }
        }
        Ok(())
    }

    /// Stops the emits of all clients, waits until everything has arrived, and checks the view of every node.
    async fn settle(&mut self) {
        sleep(CALM).await;
        self.history.hush();
        let mut quiet = Instant::now();
        let (mut before, deadline) = (0, Instant::now() + SETTLED);
        while quiet.elapsed() < QUIET && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
            let received = self.history.received();
            if received != before {
                (before, quiet) = (received, Instant::now());
            }
        }
        let names: Vec<_> = (0..self.nodes.len()).map(|number| format!("node-{number}")).collect();
        let everybody = format!(" members={} ", names.join(","));
        for (number, node) in self.nodes.iter().enumerate() {
            let view = node.as_ref().and_then(|node| node.last("view ")).unwrap_or_default();
            if !view.contains(&everybody) {
                self.history.violation(format!("node-{number} does not see everybody: {view}"));
            }
        }
    }
}

/// Runs one client: it emits numbered packets to the room until the end of the run, and records what it receives.
async fn chat(mut client: Client, life: Life, history: Arc<History>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = beat.tick() => if let Some(number) = history.next_number(life) {
                client.emit("msg", &[json!("all"), json!([life.0, number])]).await;
            },
            event = client.next() => match event {
                Some((_, arguments)) => note(&history, life, &arguments),
                None => return history.violation(format!("client {} lost its connection", life.0)),
            },
        }
    }
}

fn note(history: &History, life: Life, arguments: &[Value]) {
    match arguments.first().and_then(|packet| serde_json::from_value::<(usize, u64)>(packet.clone()).ok()) {
        Some((from, number)) => history.receive(life, Life(from), number),
        None => history.violation(format!("client {} received what nobody sent: {arguments:?}", life.0)),
    }
}

/// The interval between two emits of a client.
const BEAT: Duration = Duration::from_millis(25);
/// The time between the last fault and the end of the run, in which the cluster recovers.
const CALM: Duration = Duration::from_secs(4);
/// Everything has arrived when nothing did for this long.
const QUIET: Duration = Duration::from_millis(1000);
/// The longest time to wait for that.
const SETTLED: Duration = Duration::from_secs(15);
