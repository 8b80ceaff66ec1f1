//! What happened in a run: which nodes and clients lived when, who was in which room, what was emitted, and what arrived.
//! All times are from the start of the run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Everything that happened.
#[derive(Debug, Default, Clone)]
pub struct History {
    /// Each life of each node.
    pub nodes: Vec<NodeLife>,
    /// Each connection of each client.
    pub clients: Vec<ClientLife>,
    /// Everything that arrived at a client, in the order of arrival.
    pub receipts: Vec<Receipt>,
}

/// A node from the start to the end of its process. Its index names it.
#[derive(Debug, Clone)]
pub struct NodeLife {
    /// Its number in the run.
    pub number: usize,
    /// Which of several clusters it is in.
    pub cluster: usize,
    /// When its process was started.
    pub started: Duration,
    /// When it was told to end, and whether that was a kill, which lets it finish nothing.
    pub ended: Option<(Duration, Ending)>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was killed.
    Killed,
    /// It was asked to stop.
    Stopped,
}

/// A client from its connect to the end of its connection. Its index names it.
#[derive(Debug, Clone)]
pub struct ClientLife {
    /// For people.
    pub name: String,
    /// A client of the harness, whose only way is the connection to its node.
    pub resident: bool,
    /// The owner of its session.
    pub node: usize,
    /// When it was connected.
    pub connected: Duration,
    /// When its connection was lost.
    pub ended: Option<Duration>,
    /// How much later than in truth something may be recorded: its clock is that of another process.
    pub skew: Duration,
    /// The rooms that it joined.
    pub rooms: Vec<Membership>,
    /// What it emitted, by number.
    pub emits: Vec<Emit>,
}

/// A stay in a room.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Which room.
    pub room: Room,
    /// When it asked to be let in.
    pub asked: Duration,
    /// When the join was acknowledged.
    pub joined: Option<Duration>,
    /// The numbers of the nodes that had not confirmed it by then: nothing is promised about their emits.
    pub unconfirmed: Vec<usize>,
    /// When it asked to leave.
    pub leaving: Option<Duration>,
    /// When the leave was acknowledged.
    pub left: Option<Duration>,
}

/// The name of a room.
pub type Room = String;

/// An event of a client to others.
#[derive(Debug, Clone)]
pub struct Emit {
    /// To whom.
    pub target: Target,
    /// When it was sent.
    pub asked: Duration,
    /// When its node had emitted it, as the acknowledgement says.
    pub confirmed: Option<Duration>,
}

/// The addressee of an emit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All members of a room but the sender.
    Room(Room),
    /// One client.
    Client(usize),
}

/// The arrival of an emit.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// At whom.
    pub by: usize,
    /// Who says to have sent it, and as which of its emits; `None` if the event makes no sense.
    pub from: Option<(usize, usize)>,
    /// When.
    pub at: Duration,
}

impl History {
    /// The life of the node that owns a client's session.
    #[must_use]
    pub fn node_of(&self, client: usize) -> Option<&NodeLife> {
        self.nodes.get(self.clients.get(client)?.node)
    }

    /// An emit by its sender and number.
    #[must_use]
    pub fn emit(&self, by: usize, number: usize) -> Option<&Emit> {
        self.clients.get(by)?.emits.get(number)
    }
}

/// A history that is being made, by everybody who takes part.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    made: Arc<Mutex<Made>>,
}

#[derive(Debug, Default)]
struct Made {
    history: History,
    /// What arrived, and the name that its sender gave itself: it may become known later.
    arrived: Vec<Arrived>,
}

/// At whom, from whom, and when.
type Arrived = (usize, Option<(String, usize)>, Duration);

impl Recorder {
    /// An empty history that begins now.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it reads the clock")]
    pub fn new() -> Self {
        Self { began: Instant::now(), made: Arc::default() }
    }

    /// The time since the start of the run.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// What happened so far.
    #[must_use]
    pub fn snapshot(&self) -> History {
        let made = self.lock();
        let mut history = made.history.clone();
        let clients: HashMap<_, _> =
            history.clients.iter().enumerate().map(|(client, life)| (life.name.as_str(), client)).collect();
        let receipts = made.arrived.iter().map(|(by, from, at)| {
            let from = from.as_ref().and_then(|(name, number)| Some((*clients.get(name.as_str())?, *number)));
            Receipt { by: *by, from, at: *at }
        });
        history.receipts = receipts.collect();
        history
    }

    /// How much arrived so far.
    #[must_use]
    pub fn received(&self) -> usize {
        self.lock().arrived.len()
    }

    /// Records that a process was started; returns the name of this life.
    #[must_use]
    pub fn node_started(&self, number: usize, cluster: usize) -> usize {
        let started = self.now();
        let nodes = &mut self.lock().history.nodes;
        nodes.push(NodeLife { number, cluster, started, ended: None });
        nodes.len() - 1
    }

    /// Records that a process was ended.
    pub fn node_ended(&self, life: usize, ending: Ending) {
        let now = self.now();
        if let Some(node) = self.lock().history.nodes.get_mut(life) {
            node.ended.get_or_insert((now, ending));
        }
    }

    /// The life of a node that runs now.
    #[must_use]
    pub fn node_alive(&self, number: usize) -> Option<usize> {
        self.lock().history.nodes.iter().rposition(|node| node.number == number && node.ended.is_none())
    }

    /// Records a connection of a client; returns what names this life.
    #[must_use]
    pub fn admit(&self, client: ClientLife) -> usize {
        let clients = &mut self.lock().history.clients;
        clients.push(client);
        clients.len() - 1
    }

    /// Changes what is recorded about a client.
    pub fn client<T>(&self, client: usize, change: impl FnOnce(&mut ClientLife, Duration) -> T) -> Option<T> {
        let now = self.now();
        self.lock().history.clients.get_mut(client).map(|client| change(client, now))
    }

    /// Records an arrival, with what the message says of its sender; `None` if it makes no sense.
    pub fn receive(&self, by: usize, from: Option<(String, usize)>, at: Duration) {
        self.lock().arrived.push((by, from, at));
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientLife {
    /// A client of the harness that has just connected.
    #[must_use]
    pub fn new(name: String, node: usize, connected: Duration) -> Self {
        Self {
            name,
            resident: true,
            node,
            connected,
            ended: None,
            skew: Duration::ZERO,
            rooms: Vec::new(),
            emits: Vec::new(),
        }
    }

    /// It asks to join a room.
    pub fn join(&mut self, room: &str, asked: Duration) {
        let room = room.to_owned();
        let unconfirmed = Vec::new();
        self.rooms.push(Membership { room, asked, joined: None, unconfirmed, leaving: None, left: None });
    }

    /// The join was acknowledged.
    pub fn joined(&mut self, room: &str, unconfirmed: Vec<usize>, at: Duration) {
        if let Some(stay) = self.stay(room) {
            (stay.joined, stay.unconfirmed) = (Some(at), unconfirmed);
        }
    }

    /// It asks to leave a room.
    pub fn leave(&mut self, room: &str, asked: Duration) {
        if let Some(stay) = self.stay(room) {
            stay.leaving = Some(asked);
        }
    }

    /// The leave was acknowledged.
    pub fn left(&mut self, room: &str, at: Duration) {
        if let Some(stay) = self.stay(room) {
            stay.left = Some(at);
        }
    }

    /// It emits. Returns the number of the emit.
    pub fn emit(&mut self, target: Target, asked: Duration) -> usize {
        self.emits.push(Emit { target, asked, confirmed: None });
        self.emits.len() - 1
    }

    /// An emit was acknowledged.
    pub fn confirmed(&mut self, number: usize, at: Duration) {
        if let Some(emit) = self.emits.get_mut(number) {
            emit.confirmed = Some(at);
        }
    }

    /// The last stay in a room.
    fn stay(&mut self, room: &str) -> Option<&mut Membership> {
        self.rooms.iter_mut().rfind(|stay| stay.room == room)
    }
}
