//! Clients that come back, under random faults, in virtual time: nodes are killed, drained, restarted and cut off, while
//! clients lose their connections and come to any node. Whoever is recovered has no hole, nothing twice and nothing out of order, and
//! no session lives twice.
//!
//! Every run plays fresh seeds and prints those that fail. `SOCKETMESH_TEST_SEED=7` plays that one again,
//! `SOCKETMESH_TEST_SIMULATIONS=1000` plays that many.
#![expect(clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::AddAssign;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::Duration;

use cluster_tests::dice::Dice;
use cluster_tests::simulation;
use serde::{Deserialize, Serialize};
use serde_json::json;
use socketmesh::socket::Recovery;
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{Drain, Node, NodeBuilder, Socket, namespace};
use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// What one life of a node says. Its numbers begin with 1.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Said {
    life: usize,
    number: usize,
}

fn app() -> NodeBuilder {
    let chat = namespace("/").recover(Recovery::default()).on_connect(async |socket: Socket| {
        if !socket.recovered() {
            socket.join(ALL).await?;
            socket.emit("joined", &1)?;
        }
        Ok(())
    });
    let chat = chat.on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?));
    Node::builder().namespace(chat)
}

#[test]
fn whoever_is_recovered_has_no_hole_nothing_twice_and_nothing_out_of_order() {
    if let Ok(seed) = std::env::var("SOCKETMESH_TEST_SEED") {
        return replay(seed.parse().expect("a number"));
    }
    simulation::play(played).into_iter().for_each(Effects::check);
}

/// Plays one seed here, and prints what happened.
#[expect(clippy::print_stdout, reason = "who replays a seed wants to see it, and who plays many reads it")]
fn replay(seed: u64) {
    // A thread without hash maps.
    let run = move || {
        entropy::seed(seed);
        let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(Simulation::run(seed))
    };
    let (effects, script) = thread::spawn(run).join().unwrap_or_else(|panic| resume_unwind(panic));
    println!("\n{}\n{SEEN}{}", script.join("\n"), serde_json::to_string(&effects).expect("numbers"));
}

/// Plays one seed in a process of its own: what is drawn once in a process is drawn again when the seed is replayed.
#[expect(clippy::panic, reason = "a test fails by a panic")]
fn played(seed: u64) -> Effects {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.arg("--nocapture").env("SOCKETMESH_TEST_SEED", seed.to_string());
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let seen = text.lines().find_map(|line| serde_json::from_str(line.strip_prefix(SEEN)?).ok());
    seen.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// What happened: simulations in which nothing does prove nothing.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Effects {
    recovered: usize,
    /// Elsewhere than before.
    moved: usize,
    refused: usize,
    /// Clients that a node had come again.
    lost: usize,
    /// Nodes that left in good order, without another fault meanwhile.
    drained: usize,
    received: usize,
}

impl Effects {
    #[expect(clippy::print_stdout, reason = "who plays many seeds wants to see it")]
    fn check(self) {
        println!("{self:?}");
        let Self { recovered, moved, refused, lost, drained, received } = self;
        let counts = [recovered, moved, refused, lost, drained, received];
        assert!(counts.iter().all(|count| *count > 0), "{self:?}");
        assert!(recovered > 4 * refused, "recovery is the rule: {self:?}");
    }
}

impl AddAssign for Effects {
    fn add_assign(&mut self, other: Self) {
        self.recovered += other.recovered;
        self.moved += other.moved;
        self.refused += other.refused;
        self.lost += other.lost;
        self.drained += other.drained;
        self.received += other.received;
    }
}

struct Simulation {
    cluster: TestCluster,
    dice: Dice,
    guests: Vec<Guest>,
    /// What each life said: the room, and when.
    lives: Vec<Vec<(&'static str, Instant)>>,
    /// The life of each node.
    present: Vec<usize>,
    dead: Vec<usize>,
    draining: Option<Draining>,
    /// The lives that left in good order: what anybody got of one, everybody gets, as long as their heirs are there.
    left: Vec<usize>,
    faults: Vec<String>,
    effects: Effects,
    script: Vec<String>,
    started: Instant,
}

/// A node that leaves in good order.
struct Draining {
    node: usize,
    end: JoinHandle<()>,
    /// Whether links are down meanwhile, or slow.
    is_disturbed: bool,
}

/// A client.
struct Guest {
    client: Client,
    node: usize,
    /// It is in the second room, too.
    has_more: bool,
    /// When it is due to come back, if it lost its connection.
    back: Option<Instant>,
    sessions: Vec<Session>,
}

/// What a client got as one socket.
struct Session {
    id: String,
    /// From then on everything for it has to come.
    since: Instant,
    got: Vec<Said>,
}

impl Simulation {
    /// Returns what happened, as numbers and in words.
    async fn run(seed: u64) -> (Effects, Vec<String>) {
        let mut dice = Dice::new(seed);
        let nodes = dice.below(3..5);
        let cluster = TestCluster::start_seeded(seed, nodes, |_| app()).await;
        let (guests, dead, effects) = (Vec::new(), Vec::new(), Effects::default());
        let (lives, present) = (vec![Vec::new(); nodes], (0..nodes).collect());
        let script = vec![format!("seed {seed}, {nodes} nodes")];
        let started = Instant::now();
        let mut simulation = Self {
            cluster,
            dice,
            guests,
            lives,
            present,
            dead,
            draining: None,
            left: Vec::new(),
            faults: Vec::new(),
            effects,
            script,
            started,
        };
        for number in 0..2 * nodes {
            simulation.admit(number % nodes).await;
        }
        for _ in 0..FAULTS {
            simulation.fault().await;
            for _ in 0..simulation.dice.below(2..30) {
                simulation.step().await;
            }
        }
        simulation.end().await;
        let mut faults = std::mem::take(&mut simulation.faults);
        faults.extend(simulation.judge());
        assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), simulation.script.join("\n"));
        (simulation.effects, simulation.script)
    }

    async fn admit(&mut self, node: usize) {
        let mut client =
            self.cluster.node(node).connect("/", &json!({})).await.expect("the node takes clients");
        client.recv::<usize>("joined").await;
        let has_more = self.dice.chance(0.5);
        if has_more {
            client.call::<()>("join", MORE).await.expect("everybody may join");
        }
        sleep(TOLD).await;
        let session = Session { id: client.id().to_owned(), since: Instant::now() + JOINED, got: Vec::new() };
        self.guests.push(Guest { client, node, has_more, back: None, sessions: vec![session] });
    }

    async fn fault(&mut self) {
        let one = self.dice.below(0..self.cluster.len());
        let others: Vec<usize> = (0..self.cluster.len()).filter(|node| *node != one).collect();
        let is_whole = self.dead.is_empty() && self.draining.is_none();
        match self.dice.below(0..8) {
            0 | 1 => {
                self.note(format!("cut off {one}"));
                self.disturb();
                self.judge_those_that_left();
                self.cluster.partition(&[one], &others);
            }
            2 if is_whole => {
                self.note(format!("kill {one}"));
                self.judge_those_that_left();
                self.cluster.kill(one).await;
                self.dead.push(one);
            }
            3 if is_whole => self.drain(one).await,
            4 => {
                self.disturb();
                let share = f64::from(u32::try_from(self.dice.below(1..20)).unwrap_or_default()) / 100.0;
                self.note(format!("lose {share}"));
                self.cluster.loss(share);
            }
            5 => self.revive().await,
            _ => self.heal(),
        }
    }

    /// Has a node leave in good order, while everything goes on.
    async fn drain(&mut self, node: usize) {
        self.heal();
        let is_disturbed = self.dice.chance(0.3);
        if !is_disturbed {
            self.cluster.settled().await;
        }
        let slowest = Duration::from_millis(self.dice.below(2..100) as u64);
        self.cluster.delay(Duration::from_millis(1)..=slowest);
        let mut seconds = |most| Duration::from_millis(self.dice.below(0..most) as u64);
        let drain = Drain::default().notice(seconds(1500)).spread(seconds(4000));
        self.note(format!("drain {node}: {drain:?}, disturbed: {is_disturbed}"));
        let leaving = self.cluster.node(node).node().clone();
        let end = tokio::spawn(async move { leaving.drain(drain).await });
        self.draining = Some(Draining { node, end, is_disturbed });
    }

    fn disturb(&mut self) {
        self.draining.iter_mut().for_each(|draining| draining.is_disturbed = true);
    }

    /// A node may have left meanwhile.
    fn look(&mut self) {
        let Some(Draining { node, is_disturbed, .. }) =
            self.draining.take_if(|draining| draining.end.is_finished())
        else {
            return;
        };
        self.note(format!("{node} has left"));
        self.dead.push(node);
        if !is_disturbed {
            self.effects.drained += 1;
            self.left.push(self.present[node]);
        }
    }

    async fn revive(&mut self) {
        let Some(node) = self.dead.pop() else { return };
        self.heal();
        self.note(format!("restart {node}"));
        self.cluster.restart(node).await;
        self.present[node] = self.lives.len();
        self.lives.push(Vec::new());
    }

    fn heal(&mut self) {
        self.note("heal".to_owned());
        self.cluster.heal();
    }

    fn note(&mut self, what: String) {
        self.script.push(format!("{:8.1} s {what}", self.started.elapsed().as_secs_f32()));
    }

    /// Nodes say something, and clients come and go.
    async fn step(&mut self) {
        self.look();
        self.say();
        let now = Instant::now();
        for at in 0..self.guests.len() {
            let away = self.guests[at].back.is_some() || !self.guests[at].client.is_connected();
            if !away && self.dice.chance(0.04) {
                self.collect();
                let pause = Duration::from_millis(self.dice.below(0..12_000) as u64);
                self.guests[at].client.drop_connection();
                self.guests[at].back = Some(now + pause);
            } else if away && self.guests[at].back.is_none_or(|back| back <= now) {
                self.effects.lost += usize::from(self.guests[at].back.is_none());
                self.come_back(at).await;
            }
        }
        let until = Instant::now() + Duration::from_millis(200);
        while let Some(node) = self.draining.as_ref().map(|draining| draining.node)
            && Instant::now() < until
        {
            self.say_at(node);
            sleep(Duration::from_millis(5)).await;
        }
        sleep_until(until).await;
        self.collect();
    }

    fn say(&mut self) {
        let nodes = (0..self.cluster.len()).filter(|node| !self.dead.contains(node));
        nodes.collect::<Vec<_>>().into_iter().for_each(|node| self.say_at(node));
    }

    fn say_at(&mut self, node: usize) {
        let room = if self.dice.chance(0.5) { ALL } else { MORE };
        let life = self.present[node];
        self.lives[life].push((room, Instant::now()));
        let said = Said { life, number: self.lives[life].len() };
        self.cluster.node(node).node().of("/").to(room).emit("said", &said).expect("it encodes");
    }

    async fn come_back(&mut self, at: usize) {
        let nodes: Vec<_> = (0..self.cluster.len()).filter(|node| !self.dead.contains(node)).collect();
        let node = nodes[self.dice.below(0..nodes.len())];
        let guest = &mut self.guests[at];
        Self::gather(guest, &mut self.effects);
        let route = self.cluster.node(node).websocket();
        // One that is not ready refuses.
        let Ok(recovered) = guest.client.come_back(route).await else { return };
        let (id, moved) = (guest.client.id().to_owned(), guest.node != node);
        (guest.node, guest.back) = (node, None);
        if recovered {
            self.effects.recovered += 1;
            self.effects.moved += usize::from(moved);
            assert_eq!(guest.sessions.last().map(|session| &session.id), Some(&id), "it is the same socket");
        } else {
            self.effects.refused += 1;
            let has_joined = !guest.has_more || guest.client.call::<()>("join", MORE).await.is_ok();
            // One that was disconnected again never was in the room.
            guest.has_more &= has_joined;
            sleep(TOLD).await;
            guest.sessions.push(Session { id, since: Instant::now() + JOINED, got: Vec::new() });
        }
        let line = format!("{at} is at {node}{}", if recovered { "" } else { ", anew" });
        self.note(line);
    }

    fn collect(&mut self) {
        self.guests.iter_mut().for_each(|guest| Self::gather(guest, &mut self.effects));
    }

    fn gather(guest: &mut Guest, effects: &mut Effects) {
        let got = guest.client.take::<Said>("said");
        guest.client.take::<usize>("joined");
        effects.received += got.len();
        guest.sessions.last_mut().into_iter().for_each(|session| session.got.extend(&got));
    }

    /// Everybody comes back, and every node says a last word.
    async fn end(&mut self) {
        while self.draining.is_some() {
            self.step().await;
        }
        while !self.dead.is_empty() {
            self.revive().await;
        }
        self.heal();
        self.cluster.settled().await;
        for _ in 0..12 {
            self.say();
            sleep(Duration::from_secs(1)).await;
            for at in 0..self.guests.len() {
                if !self.guests[at].client.is_connected() || self.guests[at].back.is_some() {
                    self.come_back(at).await;
                }
            }
            self.collect();
        }
        for node in 0..self.cluster.len() {
            let life = self.present[node];
            self.lives[life].push((ALL, Instant::now()));
            let said = Said { life, number: self.lives[life].len() };
            self.cluster.node(node).node().of("/").to(ALL).emit("said", &said).expect("it encodes");
        }
        sleep(Duration::from_secs(2)).await;
        self.judge_those_that_left();
        for guest in &self.guests {
            let id = &guest.sessions[guest.sessions.len() - 1].id;
            let found = self.cluster.node(0).node().of("/").to(id).fetch_sockets().await.found;
            assert_eq!(found.len(), 1, "one socket of {id}\n{}", self.script.join("\n"));
        }
    }

    /// Every promise that was broken.
    fn judge(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, guest) in self.guests.iter().enumerate() {
            for (number, session) in guest.sessions.iter().enumerate() {
                let is_last = number + 1 == guest.sessions.len();
                let what = format!("client {at}, session {number}");
                self.judge_session(session, guest.has_more, is_last, &what, &mut faults);
            }
        }
        faults
    }

    /// What anybody got of a node that left in good order, everybody got who is there. Its heir may go now.
    fn judge_those_that_left(&mut self) {
        self.collect();
        for life in std::mem::take(&mut self.left) {
            let got = self.guests.iter().flat_map(|guest| &guest.sessions).flat_map(|session| &session.got);
            let last = got.filter(|said| said.life == life).map(|said| said.number).max().unwrap_or(0);
            for (at, guest) in self.guests.iter().enumerate() {
                let session = guest.sessions.last().filter(|_| guest.back.is_none());
                let Some(session) = session.filter(|_| guest.client.is_connected()) else { continue };
                let missing = self.missing(session, guest.has_more, life, last);
                if !missing.is_empty() {
                    self.faults
                        .push(format!("client {at} got not all of the {last} of life {life}: {missing:?}"));
                }
            }
        }
    }

    /// The first that a session lacks of a life, up to a number.
    fn missing(&self, session: &Session, has_more: bool, life: usize, last: usize) -> Vec<String> {
        let got: BTreeSet<_> =
            session.got.iter().filter(|said| said.life == life).map(|said| said.number).collect();
        let is_for = |room: &str| room == ALL || has_more;
        let said = (1..).zip(&self.lives[life]).take(last);
        let missing = said
            .filter(|(number, (room, when))| is_for(room) && *when >= session.since && !got.contains(number));
        let named = missing.map(|(number, (room, when))| {
            format!("{number} to {room} at {:.1} s", when.duration_since(self.started).as_secs_f32())
        });
        named.take(5).collect()
    }

    fn judge_session(
        &self,
        session: &Session,
        has_more: bool,
        is_last: bool,
        what: &str,
        faults: &mut Vec<String>,
    ) {
        for (life, said) in self.lives.iter().enumerate() {
            let got: Vec<usize> =
                session.got.iter().filter(|said| said.life == life).map(|said| said.number).collect();
            if let Some(pair) = got.windows(2).find(|pair| pair[0] >= pair[1]) {
                faults.push(format!("{what} got {} before {} of life {life}", pair[0], pair[1]));
            }
            let last = got.last().copied().unwrap_or(0);
            if is_last && self.present.contains(&life) && last != said.len() {
                faults.push(format!("{what} got {last} last of the {} of life {life}", said.len()));
            }
            let missing = self.missing(session, has_more, life, last);
            if !missing.is_empty() {
                faults.push(format!("{what} has a hole before {last} of life {life}: {missing:?}"));
            }
        }
    }
}

/// Behind it is what happened, for the process that plays many seeds.
const SEEN: &str = "seen: ";
/// The room of all clients.
const ALL: &str = "all";
/// The room of some of them.
const MORE: &str = "more";
/// Rooms that a socket joined a moment before its node is killed, or cut off, may not be known elsewhere.
const TOLD: Duration = Duration::from_millis(100);
/// What takes longer than a join.
const JOINED: Duration = Duration::from_secs(1);
/// A minute of virtual time.
const FAULTS: usize = 12;
