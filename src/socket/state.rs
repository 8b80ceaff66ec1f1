//! A namespace as this node serves it: its sockets, their rooms, and what its handlers do.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answering::MAX_ANSWERING;
use super::args::RawArgs;
use super::config::Parser;
use super::error::{DisconnectReason, EventError, Refusal};
use super::exchange::Emitted;
use super::handshake::Handshake;
use super::namespace::Described;
use super::packet::Event;
use super::peers::Peers;
use super::raw::RawSocket;
use super::rooms::{Room, Rooms, Selection};
use super::server_events::ServerEvents;
use crate::id::{NodeId, SocketId};
use crate::telemetry::Seldom;

/// One namespace on this node.
pub(crate) struct NamespaceState {
    pub(crate) path: Arc<str>,
    pub(crate) behaviour: Box<dyn Behaviour>,
    pub(crate) rooms: RwLock<Rooms<Arc<RawSocket>>>,
    /// This node.
    pub(crate) node: NodeId,
    /// Where handlers run, whichever thread gives rise to it.
    pub(crate) runtime: Handle,
    /// How packets are encoded for clients.
    pub(crate) parser: Parser,
    peers: Arc<dyn Peers>,
    ack_ids: AtomicU64,
    warned: Seldom,
    server_events: Mutex<ServerEvents>,
}

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a namespace does, whatever the type of its sockets' data.
pub(crate) trait Behaviour: Send + Sync {
    /// Who may connect, and the data of those who may.
    fn admit(&self, handshake: Handshake) -> Admission;
    fn connected(&self, socket: Arc<RawSocket>) -> BoxFuture<Result<(), EventError>>;
    fn event(&self, socket: Arc<RawSocket>, event: Event) -> BoxFuture<Result<RawArgs, EventError>>;
    fn disconnected(
        &self,
        socket: Arc<RawSocket>,
        reason: DisconnectReason,
    ) -> BoxFuture<Result<(), EventError>>;
    /// Handles an event of another node, if it is handled at all.
    fn server_event(&self, event: &Emitted) -> Option<BoxFuture<Result<RawArgs, EventError>>>;
    /// What others may know of a socket's data.
    fn describe(&self, data: &(dyn Any + Send + Sync)) -> Value;
}

/// The data of an admitted socket.
pub(crate) type Data = Arc<dyn Any + Send + Sync>;

/// Whether a socket may connect.
pub(crate) enum Admission {
    /// Everybody may.
    Open(Data),
    /// To be decided.
    Deciding(BoxFuture<Result<Data, Refusal>>),
}

impl NamespaceState {
    fn new(
        path: Arc<str>,
        behaviour: Box<dyn Behaviour>,
        Place { node, runtime, peers, parser }: Place,
    ) -> Arc<Self> {
        Arc::new(Self {
            path,
            behaviour,
            rooms: RwLock::new(Rooms::new()),
            node,
            runtime,
            parser,
            peers,
            ack_ids: AtomicU64::new(0),
            warned: Seldom::default(),
            server_events: Mutex::default(),
        })
    }

    pub(crate) fn server_events(&self) -> &Mutex<ServerEvents> {
        &self.server_events
    }

    pub(crate) fn peers(&self) -> &Arc<dyn Peers> {
        &self.peers
    }

    /// Whether to warn of a handler that failed: clients could fill the log otherwise.
    pub(crate) fn may_warn(&self) -> bool {
        self.warned.may(WARNINGS, Instant::now())
    }

    pub(crate) fn next_ack_id(&self) -> u64 {
        self.ack_ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, socket: &Arc<RawSocket>) {
        self.rooms.write().insert(socket.id, Arc::clone(socket));
    }

    /// Takes a socket out of all rooms. The other nodes hear of rooms that are now empty while the index is locked, so
    /// that they hear of joins and leaves in the order in which those happened.
    pub(crate) fn remove(&self, id: SocketId) {
        let mut rooms = self.rooms.write();
        if let Some((_, emptied)) = rooms.remove(&id) {
            for room in emptied {
                self.peers.interest(&self.path, &room, false);
            }
        }
    }

    /// Adds a connected socket to a room.
    pub(crate) fn join(&self, id: SocketId, room: &Room) {
        let mut rooms = self.rooms.write();
        if rooms.join(&id, room) {
            self.peers.interest(&self.path, room, true);
        }
    }

    pub(crate) fn leave(&self, id: SocketId, room: &str) {
        let mut rooms = self.rooms.write();
        if rooms.leave(&id, room) {
            self.peers.interest(&self.path, room, false);
        }
    }

    /// Adds every selected socket to every one of the rooms; all are selected before the first one joins.
    pub(crate) fn join_selected(&self, selection: &Selection, names: &[Room]) {
        let mut rooms = self.rooms.write();
        let selected = rooms.select(selection);
        for (name, id) in names.iter().flat_map(|name| selected.iter().map(move |id| (name, id))) {
            if rooms.join(id, name) {
                self.peers.interest(&self.path, name, true);
            }
        }
    }

    pub(crate) fn leave_selected(&self, selection: &Selection, names: &[Room]) {
        let mut rooms = self.rooms.write();
        let selected = rooms.select(selection);
        for (name, id) in names.iter().flat_map(|name| selected.iter().map(move |id| (name, id))) {
            if rooms.leave(id, name) {
                self.peers.interest(&self.path, name, false);
            }
        }
    }
}

impl fmt::Debug for NamespaceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What all namespaces of a node share.
#[derive(Debug, Clone)]
struct Place {
    node: NodeId,
    runtime: Handle,
    peers: Arc<dyn Peers>,
    parser: Parser,
}

/// The namespaces of this node. They are fixed before the first client connects.
#[derive(Debug)]
pub(crate) struct Namespaces {
    by_path: HashMap<Arc<str>, Arc<NamespaceState>>,
    place: Place,
    /// Bounds the questions of other nodes that are being answered.
    answering: Arc<Semaphore>,
}

impl Namespaces {
    /// Handlers run on the runtime that this is called in.
    pub(crate) fn new(
        described: Vec<Described>,
        node: NodeId,
        peers: Arc<dyn Peers>,
        parser: Parser,
    ) -> Self {
        let place = Place { node, runtime: Handle::current(), peers, parser };
        let serve = |Described { path, behaviour, .. }| {
            (Arc::clone(&path), NamespaceState::new(path, behaviour, place.clone()))
        };
        let by_path = described.into_iter().map(serve).collect();
        Self { by_path, place, answering: Arc::new(Semaphore::new(MAX_ANSWERING)) }
    }

    pub(crate) fn answering(&self) -> &Arc<Semaphore> {
        &self.answering
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Arc<NamespaceState>> {
        self.by_path.get(path)
    }

    /// A namespace to emit to. One that this node does not serve may still have sockets on others.
    pub(crate) fn of(&self, path: &str) -> Arc<NamespaceState> {
        let path = normalize(path);
        let unserved = || NamespaceState::new(Arc::clone(&path), Box::new(Nobody), self.place.clone());
        self.find(&path).cloned().unwrap_or_else(unserved)
    }
}

/// Warnings about the handlers of one namespace come at most this often; the others are debug lines.
const WARNINGS: Duration = Duration::from_secs(1);

/// `chat` and `/chat` are the same namespace.
pub(crate) fn normalize(path: &str) -> Arc<str> {
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}

/// The behaviour of a namespace that this node does not serve.
struct Nobody;

impl Behaviour for Nobody {
    fn admit(&self, _: Handshake) -> Admission {
        Admission::Deciding(Box::pin(future::ready(Err(Refusal::new("Invalid namespace")))))
    }

    fn connected(&self, _: Arc<RawSocket>) -> BoxFuture<Result<(), EventError>> {
        Box::pin(future::ready(Ok(())))
    }

    fn event(&self, _: Arc<RawSocket>, _: Event) -> BoxFuture<Result<RawArgs, EventError>> {
        Box::pin(future::ready(Ok(RawArgs::default())))
    }

    fn disconnected(&self, _: Arc<RawSocket>, _: DisconnectReason) -> BoxFuture<Result<(), EventError>> {
        Box::pin(future::ready(Ok(())))
    }
    fn server_event(&self, _: &Emitted) -> Option<BoxFuture<Result<RawArgs, EventError>>> {
        None
    }

    fn describe(&self, _: &(dyn Any + Send + Sync)) -> Value {
        Value::Null
    }
}
