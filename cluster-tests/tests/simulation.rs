//! Whole clusters under random faults, in virtual time, judged by the checker of the chaos runs: what clients see keeps its
//! order and comes at most once, what is missing was counted exactly, and faults that last shorter than the log cost nothing.
//!
//! Every run plays fresh seeds and prints those that fail. `SOCKETMESH_TEST_SEED=7` plays that one again,
//! `SOCKETMESH_TEST_SIMULATIONS=200` plays that many.
#![expect(clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::ops::AddAssign;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_tests::chaos::checker::Verdict;
use cluster_tests::chaos::history::{ClientLife, Ending, Recorder, Target};
use cluster_tests::chaos::judge::miscounted;
use cluster_tests::chaos::process::{Counted, number_of};
use cluster_tests::counters::Counters;
use cluster_tests::dice::Dice;
use cluster_tests::simulation;
use serde::{Deserialize, Serialize};
use socketmesh::cluster::LinkState;
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{Args, Node, NodeBuilder, Socket, namespace};
use tokio::runtime;
use tokio::time::sleep;

/// The message of one client to the others in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    by: String,
    number: usize,
}

fn app() -> NodeBuilder {
    let rooms = namespace("/")
        .on("join", async |socket: Socket, room: String| {
            let missing = socket.join(room).applied().await?.missing;
            Ok(missing.iter().map(ToString::to_string).collect::<Vec<_>>())
        })
        .on("leave", async |socket: Socket, room: String| {
            socket.leave(room);
            Ok(())
        })
        .on("crowd", async |socket: Socket, Args((rooms, said)): Args<(usize, Said)>| {
            (0..rooms).for_each(|number| drop(socket.join(format!("crowd-{number}"))));
            Ok(socket.to(ALL).emit("said", &said)?)
        })
        .on("scatter", async |socket: Socket, Args((rooms, said)): Args<(usize, Said)>| {
            (0..rooms).for_each(|number| socket.leave(format!("crowd-{number}")));
            Ok(socket.to(ALL).emit("said", &said)?)
        })
        .on("say", async |socket: Socket, Args((room, said)): Args<(String, Said)>| {
            Ok(socket.to(room).emit("said", &said)?)
        });
    Node::builder().namespace(rooms)
}

#[test]
fn random_faults_cause_neither_disorder_nor_silent_loss() {
    let effects = simulation::play(|seed| {
        let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(Simulation::run(seed))
    });
    effects.into_iter().for_each(Effects::check);
}

/// What the faults did: simulations in which nothing happens prove nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Effects {
    links_lost: u64,
    members_gone: u64,
    /// Messages that arrived so late that they were sent again, over another link than the first time.
    sent_again: u64,
    lost: u64,
    received: u64,
    /// Joins that a member did not confirm in time.
    unconfirmed: u64,
}

impl Effects {
    fn check(self) {
        let Self { links_lost, members_gone, sent_again, lost, received, unconfirmed } = self;
        let all = [links_lost, members_gone, sent_again, lost, received, unconfirmed];
        assert!(all.iter().all(|count| *count > 0), "the faults did nothing: {self:?}");
    }
}

impl AddAssign for Effects {
    fn add_assign(&mut self, other: Self) {
        self.links_lost += other.links_lost;
        self.members_gone += other.members_gone;
        self.sent_again += other.sent_again;
        self.lost += other.lost;
        self.received += other.received;
        self.unconfirmed += other.unconfirmed;
    }
}

/// What a simulation is about; every seed has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// No fault lasts longer than the log and the failure detector bridge, and no node dies: nothing may be lost.
    Bridged,
    /// Faults of any length. Every node has a client for every emit, so what it counts must be exact.
    Counted,
    /// The same, and clients join and leave a room: what follows an acknowledged join must arrive.
    Joining,
}

/// A cluster, and the record of everything that was emitted and received in it.
struct Simulation {
    plan: Plan,
    cluster: TestCluster,
    dice: Dice,
    recorder: Recorder,
    speakers: Vec<Speaker>,
    /// How many clients there were.
    admitted: usize,
    /// The present life of each node, by its number.
    lives: Vec<usize>,
    dead: Vec<usize>,
    effects: Arc<Mutex<Effects>>,
    script: Vec<String>,
}

/// A client, from its join to the end of its node.
struct Speaker {
    node: usize,
    client: Client,
    /// What names it in the history.
    life: usize,
    name: String,
    /// It is in the room that clients join and leave.
    wanders: bool,
}

impl Simulation {
    async fn run(seed: u64) -> Effects {
        let mut dice = Dice::new(seed);
        let plan = [Plan::Bridged, Plan::Counted, Plan::Joining][dice.below(0..3)];
        let nodes = dice.below(3..5);
        let cluster = TestCluster::start_seeded(seed, nodes, |_| app()).await;
        let recorder = Recorder::new();
        let script = vec![format!("seed {seed}, {nodes} nodes, {plan:?}")];
        let lives = (0..nodes).map(|node| recorder.node_started(node, 0)).collect();
        let (speakers, dead, effects) = (Vec::new(), Vec::new(), Arc::default());
        let mut simulation =
            Self { plan, cluster, dice, recorder, speakers, admitted: 0, lives, dead, effects, script };
        for node in 0..nodes {
            simulation.watch(node);
            simulation.admit(node).await;
        }
        simulation.crowd().await;
        for _ in 0..FAULTS {
            simulation.fault().await;
            simulation.talk().await;
        }
        simulation.end().await;
        let faults = simulation.judge();
        assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), simulation.script.join("\n"));
        *simulation.effects.lock().expect("nothing panics with it")
    }

    /// Counts how often a node loses links and members.
    fn watch(&self, node: usize) {
        let mut views = self.cluster.node(node).node().view().expect("it is in a cluster");
        let effects = Arc::clone(&self.effects);
        tokio::spawn(async move {
            let state = |view: &socketmesh::cluster::View| {
                let down = view.members.iter().filter(|member| member.link != LinkState::Up).count();
                (view.members.len(), down)
            };
            let mut before = state(&views.borrow_and_update());
            while views.changed().await.is_ok() {
                let now = state(&views.borrow_and_update());
                let mut effects = effects.lock().expect("nothing panics with it");
                effects.members_gone += u64::from(now.0 < before.0);
                effects.links_lost += u64::from(now.1 > before.1);
                before = now;
            }
        });
    }

    /// Two clients join a node; where joins are the subject, they join the second room only now and then.
    async fn admit(&mut self, node: usize) {
        for _ in 0..2 {
            let client = self.cluster.node(node).connect("/", &()).await.expect("the node takes clients");
            let name = format!("client-{}", self.admitted);
            self.admitted += 1;
            let life = ClientLife::new(name.clone(), self.lives[node], self.recorder.now());
            let life = self.recorder.admit(life);
            self.speakers.push(Speaker { node, client, life, name, wanders: false });
            self.join(self.speakers.len() - 1, ALL).await;
        }
    }

    async fn join(&mut self, at: usize, room: &str) {
        let Speaker { client, life, wanders, .. } = &mut self.speakers[at];
        *wanders |= room == SOME;
        self.recorder.client(*life, |life, now| life.join(room, now));
        let unconfirmed: Vec<String> = client.call("join", room).await.expect("everybody may join");
        self.effects.lock().expect("nothing panics with it").unconfirmed += unconfirmed.len() as u64;
        let unconfirmed = unconfirmed.iter().filter_map(|name| number_of(name)).collect();
        self.recorder.client(*life, |life, now| life.joined(room, unconfirmed, now));
    }

    async fn leave(&mut self, at: usize, room: &str) {
        let Speaker { client, life, wanders, .. } = &mut self.speakers[at];
        *wanders = false;
        self.recorder.client(*life, |life, now| life.leave(room, now));
        client.call::<()>("leave", room).await.expect("everybody may leave");
        self.recorder.client(*life, |life, now| life.left(room, now));
    }

    /// A client joins so many rooms at once, and leaves them, that one batch cannot tell of all, and emits behind it. That is
    /// no fault, so no link may end by it.
    async fn crowd(&mut self) {
        if self.plan != Plan::Joining {
            return;
        }
        for event in ["crowd", "scatter"] {
            // Now every node owes the others an acknowledgement.
            self.say().await;
            let Speaker { client, life, name, .. } = &self.speakers[0];
            let target = Target::Room(ALL.to_owned());
            let number = self.recorder.client(*life, |life, now| life.emit(target, now));
            let said = Said { by: name.clone(), number: number.expect("it is in the history") };
            client.call::<()>(event, &Args((CROWD, said))).await.expect("the node lives");
            sleep(Duration::from_millis(200)).await;
            self.collect();
        }
        let lost = self.effects.lock().expect("nothing panics with it").links_lost;
        assert_eq!(lost, 0, "a link ended without a fault\n{}", self.script.join("\n"));
    }

    /// Something happens to the network, or to a node.
    async fn fault(&mut self) {
        let (one, other) = (self.dice.below(0..self.cluster.len()), self.dice.below(0..self.cluster.len()));
        let others: Vec<usize> = (0..self.cluster.len()).filter(|node| *node != one).collect();
        let bridged = self.plan == Plan::Bridged;
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
            5 if self.dead.is_empty() && !bridged => self.kill(one).await,
            6 => self.revive().await,
            _ => self.heal(),
        }
    }

    async fn kill(&mut self, node: usize) {
        self.note(format!("kill {node}"));
        self.collect();
        self.recorder.node_ended(self.lives[node], Ending::Killed);
        for speaker in self.speakers.iter().filter(|speaker| speaker.node == node) {
            self.recorder.client(speaker.life, |life, now| _ = life.ended.get_or_insert(now));
        }
        self.cluster.kill(node).await;
        self.speakers.retain(|speaker| speaker.node != node);
        self.dead.push(node);
    }

    async fn revive(&mut self) {
        let Some(node) = self.dead.pop() else { return };
        // A node that finds no other does not become ready.
        self.heal();
        self.note(format!("restart {node}"));
        self.lives[node] = self.recorder.node_started(node, 0);
        self.cluster.restart(node).await;
        self.watch(node);
        self.admit(node).await;
    }

    fn heal(&mut self) {
        self.note("heal".to_owned());
        self.cluster.heal();
        // While links are made anew, more is on its way.
        if self.dice.chance(0.5) {
            self.note("delay 40 to 80 ms".to_owned());
            self.cluster.delay(Duration::from_millis(40)..=Duration::from_millis(80));
        }
    }

    fn note(&mut self, what: String) {
        self.script.push(format!("{:8.1} s {what}", self.recorder.now().as_secs_f32()));
    }

    /// Every client emits every 200 ms, for a while.
    async fn talk(&mut self) {
        let bridged = self.plan == Plan::Bridged;
        let long = !bridged && self.dice.below(0..4) == 0;
        let rounds = if long { self.dice.below(30..80) } else { self.dice.below(1..15) };
        for _ in 0..rounds {
            self.wander().await;
            self.say().await;
            sleep(Duration::from_millis(200)).await;
            self.collect();
        }
        if bridged {
            self.heal();
            for _ in 0..REPAIRED {
                self.say().await;
                sleep(Duration::from_millis(200)).await;
                self.collect();
            }
        }
    }

    /// A client joins or leaves the second room.
    async fn wander(&mut self) {
        if self.plan != Plan::Joining || !self.dice.chance(0.5) {
            return;
        }
        let at = self.dice.below(0..self.speakers.len());
        match self.speakers[at].wanders {
            true => self.leave(at, SOME).await,
            false => self.join(at, SOME).await,
        }
    }

    async fn say(&mut self) {
        for speaker in &mut self.speakers {
            let some = self.plan == Plan::Joining && self.dice.chance(0.5);
            let room = if some { SOME } else { ALL };
            let target = Target::Room(room.to_owned());
            let number = self.recorder.client(speaker.life, |life, now| life.emit(target, now));
            let number = number.expect("it is in the history");
            let said = Said { by: speaker.name.clone(), number };
            speaker.client.call::<()>("say", &Args((room, said))).await.expect("the node lives");
            self.recorder.client(speaker.life, |life, now| life.confirmed(number, now));
        }
    }

    /// Records what arrived since the last time.
    fn collect(&mut self) {
        for speaker in &mut self.speakers {
            for Said { by, number } in speaker.client.take("said") {
                self.recorder.receive(speaker.life, Some((by, number)), self.recorder.now());
            }
        }
    }

    /// Heals the network, and lets every client emit a last time.
    async fn end(&mut self) {
        while !self.dead.is_empty() {
            self.revive().await;
        }
        self.heal();
        self.cluster.settled().await;
        self.say().await;
        sleep(Duration::from_secs(1)).await;
        self.cluster.settled().await;
        self.collect();
    }

    /// Every promise that was broken.
    fn judge(&self) -> Vec<String> {
        let history = self.recorder.snapshot();
        let verdict = Verdict::of(&history);
        let counted = self.counted();
        let sum = |name: &str| counted.values().map(|counters| counters.count(name)).sum::<u64>();
        let mut effects = self.effects.lock().expect("nothing panics with it");
        effects.received += verdict.received as u64;
        effects.lost += sum("socketmesh_cluster_messages_lost_total");
        effects.sent_again += verdict.latencies.iter().filter(|latency| **latency > LINK_IDLE).count() as u64;
        let mut faults = miscounted(&history, &verdict, &counted);
        faults.extend(verdict.faults().map(|(at, what)| format!("{:8.1} s {what}", at.as_secs_f32())));
        if self.plan == Plan::Bridged {
            let lost = verdict.lost.iter().take(5);
            faults.extend(lost.map(|(at, by, what)| format!("{by} lost {what:?} of {at:?}")));
        }
        faults
    }

    fn counted(&self) -> Counted {
        (0..self.cluster.len()).map(|node| (node, Counters::of(self.cluster.node(node).node()))).collect()
    }
}

/// The room of all clients.
const ALL: &str = "all";
/// The room that they join and leave.
const SOME: &str = "some";
/// More rooms than fit into a batch of 64 KiB: each is told as a number of 8 bytes.
const CROWD: usize = 9000;
/// One to two minutes of virtual time.
const FAULTS: usize = 10;
/// How many rounds it takes until links are there again.
const REPAIRED: usize = 20;
/// A link without a word for this long is given up.
const LINK_IDLE: Duration = Duration::from_secs(3);
