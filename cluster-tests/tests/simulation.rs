//! Whole clusters under random faults, in virtual time: what clients see keeps its order, comes at most once, and what is
//! missing was counted.
//!
//! `SOCKETMESH_TEST_SEED=7` runs one seed, `SOCKETMESH_SIMULATIONS=200` that many random ones.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{Node, NodeBuilder, Socket, namespace};
use tokio::runtime;
use tokio::time::sleep;

/// The message of one client to all others.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Said {
    by: usize,
    number: u64,
}

fn app() -> NodeBuilder {
    let room = namespace("/")
        .on("join", async |socket: Socket, (): ()| Ok(socket.join("room").await?))
        .on("say", async |socket: Socket, said: Said| Ok(socket.to("room").emit("said", &said)?));
    Node::builder().namespace(room)
}

#[test]
fn random_faults_cause_neither_disorder_nor_silent_loss() {
    for seed in seeds() {
        let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(Simulation::run(seed));
    }
}

/// The seeds of the simulations: the one to replay, or random ones; by default a few that never change.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect("a number"));
    match (number("SOCKETMESH_TEST_SEED"), number("SOCKETMESH_SIMULATIONS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (0..count).map(|_| Dice::thrown().next()).collect(),
        (None, None) => (0..4).collect(),
    }
}

/// A cluster, and the record of everything that was emitted and received in it.
struct Simulation {
    cluster: TestCluster,
    dice: Dice,
    clients: Vec<Speaker>,
    dead: Vec<usize>,
    script: Vec<String>,
}

/// A client, from its join to the end of its node.
struct Speaker {
    node: usize,
    client: Client,
    said: u64,
    /// By speaker, in the order in which it came.
    heard: BTreeMap<usize, Vec<u64>>,
    /// It was there before the first fault.
    founder: bool,
    /// How many messages its node was told that it missed.
    told: u64,
}

impl Simulation {
    async fn run(seed: u64) {
        let mut dice = Dice(seed);
        let nodes = dice.below(3..5);
        let cluster = TestCluster::start_seeded(seed, nodes, |_| app()).await;
        let script = vec![format!("seed {seed}, {nodes} nodes")];
        let mut simulation = Self { cluster, dice, clients: Vec::new(), dead: Vec::new(), script };
        for node in 0..nodes {
            simulation.join(node, true).await;
        }
        for _ in 0..FAULTS {
            simulation.fault().await;
            simulation.talk().await;
        }
        simulation.end().await;
        let faults = simulation.faults();
        assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), simulation.script.join("\n"));
    }

    async fn join(&mut self, node: usize, founder: bool) {
        let client = self.cluster.node(node).connect("/", &()).await.expect("the node takes clients");
        client.call::<()>("join", &()).await.expect("everybody may join");
        self.clients.push(Speaker { node, client, said: 0, heard: BTreeMap::new(), founder, told: 0 });
    }

    /// Something happens to the network, or to a node.
    async fn fault(&mut self) {
        let (one, other) = (self.dice.below(0..self.cluster.len()), self.dice.below(0..self.cluster.len()));
        let others: Vec<usize> = (0..self.cluster.len()).filter(|node| *node != one).collect();
        match self.dice.below(0..8) {
            0 => {
                self.note(format!("cut off {one}"));
                self.cluster.partition(&[one], &others);
            }
            1 if one != other => {
                self.note(format!("cut {one} to {other}"));
                self.cluster.cut(&[one], &[other]);
            }
            2 if one != other => {
                self.note(format!("part {one} and {other}"));
                self.cluster.partition(&[one], &[other]);
            }
            3 => {
                let share = f64::from(u32::try_from(self.dice.below(1..40)).unwrap_or_default()) / 100.0;
                self.note(format!("lose {share}"));
                self.cluster.loss(share);
            }
            4 => {
                let longest = Duration::from_millis(self.dice.below(2..80) as u64);
                self.note(format!("delay up to {longest:?}"));
                self.cluster.delay(Duration::from_millis(1)..=longest);
            }
            // At least one node stays, so that the others find it.
            5 if self.dead.is_empty() => self.kill(one).await,
            6 => self.revive().await,
            _ => {
                self.note("heal".to_owned());
                self.cluster.heal();
            }
        }
    }

    async fn kill(&mut self, node: usize) {
        self.note(format!("kill {node}"));
        self.count(node);
        self.cluster.kill(node).await;
        self.dead.push(node);
    }

    async fn revive(&mut self) {
        let Some(node) = self.dead.pop() else { return };
        self.note(format!("heal and restart {node}"));
        // A node that finds no other does not become ready.
        self.cluster.heal();
        self.cluster.restart(node).await;
        self.join(node, false).await;
    }

    fn note(&mut self, what: String) {
        self.script.push(what);
    }

    /// Every client emits every 100 ms, for a while.
    async fn talk(&mut self) {
        let rounds =
            if self.dice.below(0..4) == 0 { self.dice.below(60..140) } else { self.dice.below(1..30) };
        self.note(format!("  for {rounds} rounds"));
        for _ in 0..rounds {
            self.say().await;
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn say(&mut self) {
        for (by, speaker) in self.clients.iter_mut().enumerate() {
            if speaker.client.is_connected() {
                speaker.client.emit("say", &Said { by, number: speaker.said }).await;
                speaker.said += 1;
            }
        }
    }

    /// Heals the network, and lets every client emit a last time.
    async fn end(&mut self) {
        while !self.dead.is_empty() {
            self.revive().await;
        }
        self.cluster.heal();
        self.cluster.settled().await;
        self.say().await;
        sleep(Duration::from_secs(1)).await;
        self.cluster.settled().await;
        (0..self.cluster.len()).for_each(|node| self.count(node));
        for speaker in &mut self.clients {
            for Said { by, number } in speaker.client.take("said") {
                speaker.heard.entry(by).or_default().push(number);
            }
        }
    }

    /// Records how many messages a node was told that it missed.
    fn count(&mut self, node: usize) {
        let counters = self.cluster.node(node).node().counters();
        let told = counters.into_iter().find(|(name, _)| *name == LOST).map_or(0, |(_, count)| count);
        if let Some(here) = self.clients.iter_mut().rev().find(|speaker| speaker.node == node) {
            here.told = told;
        }
    }

    /// Every promise that was broken.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, listener) in self.clients.iter().enumerate() {
            let mut missing = 0;
            for (by, speaker) in self.clients.iter().enumerate().filter(|(by, _)| *by != at) {
                let heard = listener.heard.get(&by).map(Vec::as_slice).unwrap_or_default();
                if !heard.is_sorted_by(|a, b| a < b) {
                    faults.push(format!("{at} heard {by} twice or out of order: {heard:?}"));
                }
                let both = speaker.client.is_connected() && listener.client.is_connected();
                if both && heard.last() != Some(&(speaker.said - 1)) {
                    faults.push(format!("{at} did not hear the last word of {by}: {heard:?}"));
                }
                // A client that connected later receives from the middle on.
                let founders = listener.founder && speaker.founder;
                let first = if founders { 0 } else { heard.first().copied().unwrap_or_default() };
                let all = heard.last().map_or(0, |last| last + 1 - first);
                missing += all.saturating_sub(heard.len() as u64);
            }
            if missing > listener.told {
                let told = listener.told;
                faults.push(format!("{at} misses {missing} messages, and its node was told of {told}"));
            }
        }
        faults
    }
}

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn thrown() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        Self(RandomState::new().hash_one(0))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, range: Range<usize>) -> usize {
        let width = (range.end - range.start) as u64;
        range.start + usize::try_from(self.next() % width).expect("less than the width")
    }
}

/// The counter of the messages that a node was told it will not receive.
const LOST: &str = "socketmesh_cluster_messages_lost_total";
/// One to two minutes of virtual time.
const FAULTS: usize = 10;
