use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::super::context::HubContext;
use super::super::handlers::NoHandlers;
use super::super::keeping::{Keeping, KeepingSettings};
use super::super::paths::NamespacePaths;
use super::super::tasks::HandlerTasks;
use super::super::users::Users;
use super::*;
use crate::id::Key;
use crate::socket::messages::recovery::Life;
use crate::socket::messages::{Broadcast, Command, Requester, Response, Responses};
use crate::socket::peers::{NoPeers, Peers, TooLarge};
use crate::socket::protocol::Parser;
use crate::socket::recovery::{Put, Recovery, StatesLimits};

/// Other nodes that say nothing, and what they are told.
#[derive(Debug, Default)]
struct SilentPeers {
    /// Of every key.
    successors: Mutex<Vec<NodeId>>,
    told: Mutex<String>,
}

impl Peers for SilentPeers {
    fn carries(&self, size: usize) -> Result<(), TooLarge> {
        NoPeers.carries(size)
    }

    fn broadcast(&self, _: &Broadcast<'_>) {}

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
        Vec::new()
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
            RecoveryMessage::Replay(Replay { end: ReplayEnd::Done(_), .. }) => "answer",
            _ => "something else",
        };
        writeln!(self.told.lock(), "{to}: {what}").unwrap();
    }

    fn has_room(&self, _: &NodeId) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn ask(&self, _: &NodeId, _: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        Box::pin(std::future::ready(Responses::default()))
    }

    fn presume(&self, of: &NodeId, namespace: &str, rooms: &mut dyn Iterator<Item = &Room>, version: u64) {
        let rooms: Vec<_> = rooms.collect();
        writeln!(self.told.lock(), "{of} has {rooms:?} of {namespace} until {version}").unwrap();
    }
}

/// A node whose main namespace lets clients come back.
fn node(peers: &Arc<SilentPeers>) -> Arc<NamespaceRegistry> {
    let limits = StatesLimits { sessions: 10, bytes: 1 << 20 };
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
    let description = Description {
        paths: NamespacePaths::One("/".into()),
        handlers: Arc::new(NoHandlers),
        counters: NamespaceCounters::default(),
        recovery: Some(Recovery::default()),
        faults: Vec::new(),
    };
    NamespaceRegistry::new(vec![description], context)
}

fn id(byte: u8) -> SocketId {
    SocketId::new(Key::from_hash(7 << 40), [byte; 10])
}

/// What is emitted behind the answer may come before the interest of the node that asked is known.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_asked_what_a_client_missed_sends_what_follows_before_it_is_told_the_rooms() {
    let peers = Arc::new(SilentPeers::default());
    let (registry, asking) = (node(&peers), "asking".parse().unwrap());
    let recover = Recover {
        id: 1,
        namespace: "/".into(),
        socket: id(9),
        age: MINUTE,
        rooms: vec![("room".into(), MINUTE)],
        left: Vec::new(),
        after: Vec::new(),
        limit: 1 << 20,
        interest: 7,
    };
    registry.handle_recovery(&asking, Incarnation(0), RecoveryMessage::Recover(recover));
    let own = id(9).to_string();
    let expected = format!("asking has [\"room\", {own:?}] of / until 7\nasking: answer\n");
    assert_eq!(*peers.told.lock(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_node_decides_about_a_session_only_where_it_sees_nobody_before_itself() {
    let peers = Arc::new(SilentPeers::default());
    let (registry, pid) = (node(&peers), Pid(id(1)));
    let (namespace, keeping) = (registry.of("/"), registry.keeping());
    let claimant = ("asking".parse().unwrap(), Origin::from_u64(1));
    let state = SessionState {
        pid,
        namespace: "/".into(),
        socket: id(9),
        life: Life { count: 0, at: Origin::from_u64(2) },
        version: 1,
        standing: Standing::Away(MINUTE),
        lasts: MINUTE,
        age: MINUTE,
        rooms: Vec::new(),
        left: Vec::new(),
        forgotten: None,
        data: Bytes::new(),
        user: None,
        login: None,
        start: Vec::new(),
    };
    assert_eq!(keeping.states.lock().put(state, SmallVec::new(), Instant::now()), Put::Kept);
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

const MINUTE: Duration = Duration::from_secs(60);
