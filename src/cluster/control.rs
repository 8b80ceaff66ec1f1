//! The control actor of a mesh: who is dialled, which connection counts, who is alive (docs/protocol/mesh.md, "Links").
//!
//! It alone decides, one message at a time, on the mesh's own runtime; no body of a broadcast passes through it.

mod dialling;
mod links;
mod members;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::cluster::connection::{Answer, Deliver, PeerConnection, Ports, Serve, accept};
use crate::cluster::control::dialling::{Dial, Seeds};
use crate::cluster::endpoint::{DialError, Endpoint};
use crate::cluster::hello::Greeting;
use crate::cluster::link::Link;
use crate::cluster::liveness::{Liveness, TICK};
use crate::cluster::membership::{Membership, Rumour};
use crate::cluster::peer::Peer;
use crate::cluster::shared::Shared;
use crate::cluster::stream::Halves;
use crate::cluster::view::NodeState;
use crate::id::{Incarnation, NodeId};
use crate::log_limit::LogLimit;

/// The handler.
pub(crate) struct Control;

/// What it starts with.
pub(crate) struct Start {
    pub shared: Arc<Shared>,
    pub endpoint: Endpoint,
    pub app: Handle,
    pub serve: Serve,
    pub deliver: Deliver,
    pub seeds: Vec<String>,
    pub serve_alone: bool,
}

/// Everything it can be told.
pub(crate) enum Message {
    /// A node said hello and waits for the answer.
    Knock(Box<Knock>),
    /// A dial is over.
    Dialled { target: Target, outcome: Box<Result<Answer, DialError>> },
    /// The other end of a link has begun to speak on it.
    Started { id: NodeId, link: u64 },
    /// A link ended.
    Lost { id: NodeId, link: u64 },
    /// A node left the cluster.
    Goodbye { id: NodeId, incarnation: Incarnation },
    /// The living, as gossip sees them.
    Gossip(Vec<Rumour>),
    /// The addresses of a seed.
    Resolved { seed: usize, addresses: Vec<SocketAddr> },
    /// Time passes.
    Tick,
    /// No new clients here, please.
    Drain,
    /// Say goodbye to everyone, then answer.
    Leave(oneshot::Sender<()>),
}

/// A hello that was checked but not answered.
pub(crate) struct Knock {
    pub greeting: Greeting,
    /// `None` when it came through a relay.
    pub connection: Option<Arc<PeerConnection>>,
    pub halves: Halves,
}

/// Who was dialled.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Seed(usize, SocketAddr),
    Member(NodeId, SocketAddr),
    Relayed(NodeId),
}

/// What the actor knows; nobody else sees it, except through `shared`.
pub(crate) struct State {
    shared: Arc<Shared>,
    ports: Arc<Ports>,
    endpoint: Endpoint,
    membership: Membership,
    liveness: Liveness,
    nodes: HashMap<NodeId, Node>,
    seeds: Seeds,
    serve_alone: bool,
    /// Addresses with a dial in progress.
    dialling: HashSet<SocketAddr>,
    links: u64,
    started: Instant,
    ticks: u64,
    /// The view and what depends on it must be published anew.
    changed: bool,
    announced: Option<(NodeState, String)>,
    /// What this node does; told to the others together with the view.
    state: NodeState,
    /// A member holds a newer life of this node for the living one; believed until then.
    outdated: Option<Instant>,
    leaving: bool,
}

/// What is known about another node.
struct Node {
    incarnation: Incarnation,
    address: SocketAddr,
    state: NodeState,
    /// To whom it has a direct link, as it gossips.
    links: HashSet<NodeId>,
    /// `None` while it is only known by hearsay.
    peer: Option<Arc<Peer>>,
    link: Option<Active>,
    /// A hello was exchanged with this life of it: both have each other in the ring.
    greeted: bool,
    /// Since when there is no direct link.
    apart: Instant,
    dial: Dial,
    /// Outside the ring it still gets broadcasts until then,
    lingers: Option<Instant>,
    /// and is dialled until then.
    wanted: Option<Instant>,
}

/// A link that is up.
struct Active {
    link: Link,
    /// `None` when it is relayed.
    connection: Option<Arc<PeerConnection>>,
    /// Whether this node opened it.
    dialled: bool,
    since: Instant,
}

impl Actor for Control {
    type Msg = Message;
    type State = State;
    type Arguments = Start;

    async fn pre_start(&self, me: ActorRef<Message>, start: Start) -> Result<State, ActorProcessingErr> {
        let (gossip, inbox) = mpsc::channel::<(SocketAddr, Bytes)>(GOSSIP_INBOX);
        let hear = {
            let me = me.clone();
            // Fails only while the mesh stops.
            move |rumours| drop(me.cast(Message::Gossip(rumours)))
        };
        let membership = Membership::start(&start.shared, inbox, hear).await?;
        let ports = Arc::new(Ports {
            shared: Arc::clone(&start.shared),
            control: me.clone(),
            gossip,
            app: start.app,
            serve: start.serve,
            deliver: start.deliver,
            warned: LogLimit::default(),
        });
        tokio::spawn(accept(start.endpoint.clone(), Arc::clone(&ports)));
        me.cast(Message::Tick)?;
        Ok(State {
            shared: start.shared,
            ports,
            endpoint: start.endpoint,
            membership,
            liveness: Liveness::default(),
            nodes: HashMap::new(),
            seeds: Seeds::new(start.seeds),
            serve_alone: start.serve_alone,
            dialling: HashSet::new(),
            links: 0,
            started: Instant::now(),
            ticks: 0,
            changed: true,
            announced: None,
            state: NodeState::Joining,
            outdated: None,
            leaving: false,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            Message::Knock(knock) => state.handle_knock(*knock, now),
            Message::Dialled { target, outcome } => state.handle_dialled(&target, *outcome, now),
            Message::Started { id, link } => state.handle_started(&id, link),
            Message::Lost { id, link } => state.handle_lost(&id, link, now),
            Message::Goodbye { id, incarnation } => state.handle_goodbye(&id, incarnation, now),
            Message::Gossip(rumours) => state.handle_gossip(rumours, now),
            Message::Resolved { seed, addresses } => state.handle_resolved(seed, addresses, now),
            Message::Tick => {
                state.handle_tick(now);
                // Armed anew each time: a slow tick does not pile up others behind it.
                drop(me.send_after(TICK, || Message::Tick));
            }
            Message::Drain => state.handle_drain(),
            Message::Leave(done) => state.handle_leave(done),
        }
        state.dial_due(now);
        state.become_ready(now);
        state.publish().await;
        Ok(())
    }
}

/// Gossip that waits for chitchat; more than a second's worth from fifty nodes is dropped.
const GOSSIP_INBOX: usize = 256;
/// [`TICK`] is a tenth of a second.
const TICKS_PER_SECOND: u64 = 10;
/// Warnings about one lasting condition.
const NAG: u64 = 3 * TICKS_PER_SECOND;
/// How long a node with `serve_alone` waits for members that do not answer.
const PATIENCE: Duration = Duration::from_secs(10);
