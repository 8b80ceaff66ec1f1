use std::borrow::Cow;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use parking_lot::Mutex;
use regex_lite::Regex;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::context::HubContext;
use super::super::counters::NamespaceCounters;
use super::super::handlers::{Description, NoHandlers};
use super::super::paths::NamespacePaths;
use super::super::registry::NamespaceRegistry;
use super::super::tasks::HandlerTasks;
use super::super::users::Users;
use super::keeping::{Keeping, KeepingSettings};
use super::telling::PART;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::deciding::Decision;
use super::*;
use crate::id::{Incarnation, NodeId, SocketId};

use crate::id::Key;
use crate::socket::messages::recovery::{Life, Origin, Pid, SessionState, Standing};
use crate::socket::messages::{
    Broadcast, Command, Flags, Reached, Recover, RecoveryMessage, Replay, ReplayEnd, Request, Requester,
    Response, Responses, Selection,
};
use crate::socket::peers::{NoPeers, Peers, TooLarge};
use crate::socket::protocol::Parser;
use crate::socket::recovery::{MARGIN, Position, Put, Recovery, StatesLimits};
use crate::socket::room::Room;

/// Other nodes that say nothing, and what they are told.
#[derive(Debug, Default)]
struct SilentPeers {
    /// Of every key.
    successors: Mutex<Vec<NodeId>>,
    members: Mutex<Vec<NodeId>>,
    told: Mutex<String>,
    /// Whether no link has room now.
    full: watch::Sender<bool>,
    /// Whether every message fills its link.
    narrow: AtomicBool,
    /// Whether they die when they are asked something.
    die: AtomicBool,
}

impl SilentPeers {
    /// Waits until this was told.
    async fn have_told(&self, what: &str) {
        while !self.told.lock().contains(what) {
            tokio::task::yield_now().await;
        }
    }
}

impl Peers for SilentPeers {
    fn carries(&self, size: usize) -> Result<(), TooLarge> {
        NoPeers.carries(size)
    }

    fn broadcast(&self, broadcast: &Broadcast<'_>) {
        writeln!(self.told.lock(), "broadcast {}", broadcast.number.unwrap().number).unwrap();
    }

    fn command(&self, _: &Command) {}

    fn request(&self, _: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        Box::pin(std::future::ready(Responses::default()))
    }

    fn respond(&self, _: &Requester, _: Response) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn gone(&self, _: &Requester) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn interest(&self, _: &str, _: &Room, _: bool) {}

    fn may_have(&self, _: &str, _: SocketId) -> bool {
        false
    }

    fn version(&self) -> u64 {
        0
    }

    fn confirmed(&self, _: u64, _: Duration) -> Pin<Box<dyn Future<Output = Vec<NodeId>> + Send + '_>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(0)
    }

    fn members(&self) -> Vec<(NodeId, Incarnation)> {
        self.members.lock().iter().map(|node| (node.clone(), Incarnation(0))).collect()
    }

    fn recover(&self) -> bool {
        true
    }

    fn absent(&self) -> Vec<(NodeId, Incarnation)> {
        Vec::new()
    }

    fn successors(&self, _: Key, most: usize) -> SmallVec<[NodeId; 3]> {
        self.successors.lock().iter().take(most).cloned().collect()
    }

    fn heir(&self, _: Key) -> Option<NodeId> {
        None
    }

    fn tell(&self, to: &NodeId, message: &RecoveryMessage) {
        let what = match message {
            RecoveryMessage::Replay(Replay { packets, end, .. }) => {
                let numbers: Vec<_> = packets.iter().map(|packet| packet.number.unwrap().number).collect();
                match end {
                    ReplayEnd::More => format!("part {numbers:?}"),
                    ReplayEnd::Done(_) => format!("answer {numbers:?}"),
                    ReplayEnd::Refused => "no answer".to_owned(),
                }
            }
            RecoveryMessage::Recover(Recover { id, .. }) => format!("question {id}"),
            RecoveryMessage::Copies { states, .. } => format!("{} sessions", states.len()),
            RecoveryMessage::Again => "again".to_owned(),
            _ => "something else".to_owned(),
        };
        writeln!(self.told.lock(), "{to}: {what}").unwrap();
        self.full.send_if_modified(|full| {
            *full |= self.narrow.load(Ordering::Relaxed);
            false
        });
    }

    fn has_room(&self, _: &NodeId) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut full = self.full.subscribe();
        Box::pin(async move { drop(full.wait_for(|full| !*full).await) })
    }

    fn ask(&self, node: &NodeId, _: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        let lost = self.die.load(Ordering::Relaxed).then(|| node.clone()).into_iter().collect();
        Box::pin(std::future::ready(Responses { lost, ..Responses::default() }))
    }

    fn presume(&self, of: &NodeId, namespace: &str, rooms: &mut dyn Iterator<Item = &Room>, version: u64) {
        let rooms: Vec<_> = rooms.collect();
        writeln!(self.told.lock(), "{of} has {rooms:?} of {namespace} until {version}").unwrap();
    }
}

/// A node whose main namespace lets clients come back.
fn node(peers: &Arc<SilentPeers>) -> Arc<NamespaceRegistry> {
    node_with(NamespacePaths::One("/".into()), peers)
}

/// A node with namespaces that let clients come back.
fn node_with(paths: NamespacePaths, peers: &Arc<SilentPeers>) -> Arc<NamespaceRegistry> {
    let description = Description {
        paths,
        handlers: Arc::new(NoHandlers),
        counters: NamespaceCounters::default(),
        recovery: Some(Recovery::default()),
        faults: Vec::new(),
    };
    node_of(vec![description], peers)
}

fn node_of(descriptions: Vec<Description>, peers: &Arc<SilentPeers>) -> Arc<NamespaceRegistry> {
    let limits = StatesLimits { sessions: 20_000, bytes: 64 << 20 };
    let settings =
        KeepingSettings { default: None, heartbeat: Duration::ZERO, limits, packet_bytes: 1 << 20 };
    let node: NodeId = "me".parse().unwrap();
    let context = HubContext {
        keeping: Keeping::new(node.clone(), Arc::<SilentPeers>::clone(peers), settings),
        node,
        peers: Arc::<SilentPeers>::clone(peers),
        parser: Parser::Json,
        version_2_ids: false,
        tasks: HandlerTasks::new(),
        users: Arc::new(Users::new(Incarnation(0))),
        host: Arc::default(),
    };
    NamespaceRegistry::new(descriptions, context)
}

fn id(byte: u8) -> SocketId {
    SocketId::new(Key::from_hash(7 << 40), [byte; 10])
}

/// What is emitted behind the answer may come before the interest of the node that asked is known.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_asked_what_a_client_missed_sends_what_follows_before_it_is_told_the_rooms() {
    let peers = Arc::new(SilentPeers::default());
    let registry = node(&peers);
    ask(&registry);
    peers.have_told("answer").await;
    let own = id(9).to_string();
    let expected = format!("asking has [\"room\", {own:?}] of / until 7\nasking: answer []\n");
    assert_eq!(*peers.told.lock(), expected);
}

/// A node asks what a client missed.
fn ask(registry: &NamespaceRegistry) {
    let recover = Recover {
        id: 1,
        namespace: "/".into(),
        socket: id(9),
        age: MINUTE,
        rooms: vec![("room".into(), MINUTE)],
        left: Vec::new(),
        after: Vec::new(),
        limit: 4 << 20,
        interest: 7,
    };
    let asking = "asking".parse().unwrap();
    registry.handle_recovery(&asking, Incarnation(0), RecoveryMessage::Recover(recover));
}

#[tokio::test(start_paused = true)]
async fn what_a_client_missed_is_told_as_the_link_takes_it_and_what_follows_behind_it() {
    let peers = Arc::new(SilentPeers::default());
    let registry = node(&peers);
    let say = || {
        let selection = Cow::Owned(Selection {
            rooms: [Room::from("room")].into_iter().collect(),
            ..Selection::default()
        });
        let text = format!("2[\"said\",\"{}\"]", "-".repeat(PART * 2 / 5)).into();
        let (namespace, attachments) = ("/".into(), Vec::new());
        let flags = Flags::default();
        registry
            .of("/")
            .emit(Broadcast { namespace, selection, text, attachments, flags, number: None }, true);
    };
    let told = || {
        let told = std::mem::take(&mut *peers.told.lock());
        told.lines().filter(|line| !line.contains("has")).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    (0..6).for_each(|_| say());
    told();
    peers.narrow.store(true, Ordering::Relaxed);
    ask(&registry);
    for (part, emitted) in [("[1, 2]", 7), ("[3, 4]", 8), ("[5, 6]", 9)] {
        peers.have_told("part").await;
        // It waits for room, however long.
        sleep(Duration::from_millis(100)).await;
        say();
        assert_eq!(told(), [format!("asking: part {part}"), format!("broadcast {emitted}")]);
        peers.full.send_replace(false);
    }
    peers.have_told("part").await;
    assert_eq!(told(), ["asking: part [7, 8]"]);
    peers.full.send_replace(false);
    peers.have_told("part").await;
    assert_eq!(told(), ["asking: part [9]"]);
    peers.full.send_replace(false);
    peers.have_told("answer").await;
    say();
    assert_eq!(told(), ["asking: answer []", "broadcast 10"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_of_what_a_client_missed_when_nobody_waits_for_it_any_longer() {
    let peers = Arc::new(SilentPeers::default());
    let registry = node(&peers);
    peers.full.send_replace(true);
    ask(&registry);
    sleep(PATIENCE * 2).await;
    peers.full.send_replace(false);
    ask(&registry);
    peers.have_told("answer").await;
    assert_eq!(peers.told.lock().matches("answer").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn sessions_move_as_the_links_take_them_and_are_kept_until_then() {
    const SESSIONS: u16 = 10_000;
    let peers = Arc::new(SilentPeers::default());
    let registry = node(&peers);
    let keeping = registry.keeping();
    for number in 0..SESSIONS {
        let mut random = [0; 10];
        random[..2].copy_from_slice(&number.to_be_bytes());
        let state = away(Pid(SocketId::new(Key::from_hash(7 << 40), random)));
        assert_eq!(keeping.states.lock().put(state, SmallVec::new(), Instant::now()), Put::Kept);
    }
    let told = |node: &str| -> usize {
        let told = peers.told.lock();
        let numbers = told.lines().filter_map(|line| line.strip_prefix(node)?.strip_suffix(" sessions"));
        numbers.map(|number| number.parse::<usize>().unwrap()).sum()
    };
    // They belong to others from now on, whose links are busy.
    let others = ["other", "third"].map(|node| node.parse().unwrap());
    *peers.successors.lock() = others.to_vec();
    *peers.members.lock() = others.to_vec();
    peers.full.send_replace(true);
    sleep(Duration::from_secs(1)).await;
    for node in ["other: ", "third: "] {
        assert!((1000..5000).contains(&told(node)), "{}", told(node));
        assert!(told(node) + keeping.states.lock().len() >= usize::from(SESSIONS));
    }
    peers.full.send_replace(false);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((told("other: "), told("third: ")), (SESSIONS.into(), SESSIONS.into()));
    assert_eq!(keeping.states.lock().len(), 0);
}

/// Begins to collect what a client missed. Returns whether it got it.
fn catch_up(registry: &Arc<NamespaceRegistry>) -> JoinHandle<bool> {
    let (keeping, registry) = (Arc::clone(registry.keeping()), Arc::clone(registry));
    let pid = Pid(id(1));
    let records = Arc::clone(registry.of("/").records().unwrap());
    tokio::spawn(async move {
        let turn = keeping.turns.take(pid, Instant::now()).await.ok().unwrap();
        let claimed = Claimed::new(keeping, records, away(pid), turn);
        registry.catch_up(claimed, Position::default()).await.is_ok()
    })
}

fn answer(registry: &NamespaceRegistry, node: &NodeId, id: u64) {
    let end = done(node);
    let replay = Replay { id, namespace: "/".into(), packets: Vec::new(), waited: Duration::ZERO, end };
    registry.handle_recovery(node, Incarnation(0), RecoveryMessage::Replay(replay));
}

#[tokio::test(start_paused = true)]
async fn who_catches_up_while_something_of_a_node_is_lost_asks_it_again() {
    let (peers, other) = (Arc::new(SilentPeers::default()), "other".parse().unwrap());
    peers.members.lock().push(NodeId::clone(&other));
    let registry = node(&peers);
    let catching_up = catch_up(&registry);
    peers.have_told("other: question 0").await;
    registry.handle_loss(&other, Incarnation(0));
    // What came before this was a part of the answer, maybe.
    answer(&registry, &other, 0);
    peers.have_told("other: question 1").await;
    answer(&registry, &other, 1);
    assert!(catching_up.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_while_a_client_catches_up_is_asked_as_well() {
    let (peers, other) = (Arc::new(SilentPeers::default()), "other".parse().unwrap());
    peers.members.lock().push(NodeId::clone(&other));
    let registry = node(&peers);
    let catching_up = catch_up(&registry);
    peers.have_told("other: question 0").await;
    let third = "third".parse().unwrap();
    peers.members.lock().push(NodeId::clone(&third));
    answer(&registry, &other, 0);
    peers.have_told("third: question 1").await;
    answer(&registry, &other, 1);
    answer(&registry, &third, 1);
    assert!(catching_up.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waited_for_its_link_is_no_late_one() {
    for waits_there in [true, false] {
        let (peers, other) = (Arc::new(SilentPeers::default()), "other".parse().unwrap());
        peers.members.lock().push(NodeId::clone(&other));
        let registry = node(&peers);
        let catching_up = catch_up(&registry);
        peers.have_told("other: question 0").await;
        let late = MARGIN * 2;
        sleep(late).await;
        let end = done(&other);
        let waited = if waits_there { late } else { Duration::ZERO };
        let replay = Replay { id: 0, namespace: "/".into(), packets: Vec::new(), waited, end };
        registry.handle_recovery(&other, Incarnation(0), RecoveryMessage::Replay(replay));
        if !waits_there {
            peers.have_told("other: question 1").await;
            answer(&registry, &other, 1);
        }
        assert!(catching_up.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_without_clients_asks_again_for_sessions_when_something_is_lost() {
    let pattern = NamespacePaths::Pattern(Regex::new("^/game-").unwrap());
    let (peers, other) = (Arc::new(SilentPeers::default()), "other".parse().unwrap());
    let registry = node_with(pattern, &peers);
    registry.handle_loss(&other, Incarnation(0));
    assert_eq!(*peers.told.lock(), "other: again\n");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_only_keeps_sessions_of_others_lets_them_go_when_they_are_over() {
    let (peers, other) = (Arc::new(SilentPeers::default()), "other".parse().unwrap());
    let registry = node_of(Vec::new(), &peers);
    let copies = RecoveryMessage::Copies { clock: None, states: vec![away(Pid(id(1)))] };
    registry.handle_recovery(&other, Incarnation(0), copies);
    assert_eq!(registry.keeping().figures().sessions, 1);
    sleep(MINUTE + Duration::from_secs(2)).await;
    assert_eq!(registry.keeping().figures().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_forces_no_more_on_full_links_than_they_keep() {
    const SESSIONS: u64 = 19_000;
    let peers = Arc::new(SilentPeers::default());
    *peers.successors.lock() = vec!["me".parse().unwrap(), "other".parse().unwrap()];
    let (registry, now) = (node(&peers), Instant::now());
    let keeping = Arc::clone(registry.keeping());
    for number in 0..SESSIONS {
        let pid = Pid(SocketId::new(Key::from_hash(number << 24), [1; 10]));
        let state = SessionState { data: Bytes::from(vec![0; 1000]), ..away(pid) };
        assert_eq!(keeping.states.lock().put(state, SmallVec::new(), now), Put::Kept);
    }
    peers.full.send_replace(true);
    keeping.hand_over().await;
    let told = peers.told.lock().clone();
    let counts = told
        .lines()
        .filter_map(|line| line.strip_prefix("other: ")?.strip_suffix(" sessions")?.parse::<u64>().ok());
    let told: u64 = counts.sum();
    let bytes = told * 1256;
    assert!((1 << 20..6 << 20).contains(&bytes), "{bytes} bytes");
    assert!(Instant::now() < now + Duration::from_secs(4));
}

/// A socket whose data end with a panic when it is told of.
struct Panics(AtomicBool);

impl KeptSocket for Panics {
    fn changed(&self, _: &dyn Fn(Key) -> Keepers) -> Option<SessionState> {
        assert!(self.0.swap(true, Ordering::Relaxed), "on purpose");
        None
    }

    fn outlived(self: Arc<Self>, _: Life) {}
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_application_does_not_end_the_telling_of_sessions() {
    let peers = Arc::new(SilentPeers::default());
    let (registry, socket) = (node(&peers), Arc::new(Panics(AtomicBool::new(false))) as Arc<dyn KeptSocket>);
    registry.keeping().note(Arc::downgrade(&socket));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        registry.keeping().states.lock().put(away(Pid(id(1))), SmallVec::new(), Instant::now()),
        Put::Kept
    );
    sleep(MINUTE + Duration::from_secs(3)).await;
    assert_eq!(registry.keeping().figures().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_decides_about_a_session_only_where_it_sees_nobody_before_itself() {
    let peers = Arc::new(SilentPeers::default());
    let (registry, pid) = (node(&peers), Pid(id(1)));
    let (namespace, keeping) = (registry.of("/"), registry.keeping());
    let claimant = ("asking".parse().unwrap(), Origin::from_u64(1));
    assert_eq!(keeping.states.lock().put(away(pid), SmallVec::new(), Instant::now()), Put::Kept);
    for is_first in [false, true] {
        let mut successors = vec![keeping.me.clone(), "other".parse().unwrap()];
        if !is_first {
            successors.reverse();
        }
        *peers.successors.lock() = successors;
        let decision = registry.decide(&namespace, pid, &claimant, Instant::now() + PATIENCE).await;
        assert_eq!(matches!(decision, Decision::Granted(_)), is_first);
        assert_eq!(matches!(decision, Decision::Later), !is_first);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_says_that_a_session_is_unknown_while_one_that_may_keep_it_does_not_answer() {
    let peers = Arc::new(SilentPeers::default());
    let registry = node(&peers);
    let (namespace, claimant) = (registry.of("/"), ("asking".parse().unwrap(), Origin::from_u64(1)));
    *peers.successors.lock() = vec![registry.keeping().me.clone(), "other".parse().unwrap()];
    for dies in [true, false] {
        peers.die.store(dies, Ordering::Relaxed);
        let decision = registry.decide(&namespace, Pid(id(1)), &claimant, Instant::now() + PATIENCE).await;
        assert_eq!(matches!(decision, Decision::Later), dies);
        assert_eq!(matches!(decision, Decision::Refused), !dies);
    }
}

/// The end of an answer: of that node, three packets.
fn done(node: &NodeId) -> ReplayEnd {
    let numbers = vec![(Origin::of(node, Incarnation(0)), 3)];
    ReplayEnd::Done(Reached { numbers, ..Reached::default() })
}

/// A session whose client is away.
fn away(pid: Pid) -> SessionState {
    SessionState {
        pid,
        namespace: "/".into(),
        socket: id(9),
        life: Life { count: 0, at: Origin::from_u64(2) },
        version: 1,
        standing: Standing::Away(MINUTE),
        lasts: MINUTE,
        age: MINUTE,
        rooms: vec![("room".into(), MINUTE)],
        left: Vec::new(),
        forgotten: None,
        data: Bytes::new(),
        user: None,
        login: None,
        start: Vec::new(),
    }
}

const MINUTE: Duration = Duration::from_secs(60);
