//! A namespace as this node serves it: its sockets, their rooms, and what its handlers do.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answering::MAX_ANSWERING;
use super::behaviour::{Admission, Behaviour, Data, Nobody};
use super::config::Parser;
use super::error::Refusal;
use super::family::{Family, Paths};
use super::handshake::Handshake;
use super::messages::{Room, Selection};
use super::namespace::Described;
use super::observers::Observations;
use super::peers::Peers;
use super::raw::RawSocket;
use super::room_index::RoomIndex;
use super::runtime::Runtime;
use super::server_events::ServerEvents;
use crate::id::{NodeId, SocketId};
use crate::log_limit::LogLimit;

/// One namespace on this node.
pub(crate) struct NamespaceState {
    pub(crate) path: Arc<str>,
    /// Whose it is: nobody's yet, if a client has to be asked about first. Its first client that is admitted decides.
    described: OnceLock<Arc<Described>>,
    pub(crate) rooms: RwLock<RoomIndex<Arc<RawSocket>>>,
    place: Place,
    ack_ids: AtomicU64,
    warned: LogLimit,
    server_events: Mutex<ServerEvents>,
    observations: Mutex<Observations>,
}

impl NamespaceState {
    fn new(path: Arc<str>, described: Option<Arc<Described>>, place: Place) -> Arc<Self> {
        Arc::new(Self {
            path,
            described: described.map(OnceLock::from).unwrap_or_default(),
            rooms: RwLock::new(RoomIndex::new()),
            place,
            ack_ids: AtomicU64::new(0),
            warned: LogLimit::default(),
            server_events: Mutex::default(),
            observations: Mutex::default(),
        })
    }

    pub(crate) fn behaviour(&self) -> &dyn Behaviour {
        self.described.get().map_or(&Nobody, |described| &*described.behaviour)
    }

    /// Whether a client may connect.
    pub(crate) fn admit(self: &Arc<Self>, handshake: Handshake) -> Admission {
        match self.described.get() {
            Some(described) if !described.paths.depend_on_the_client() => {
                described.behaviour.admit(handshake)
            }
            _ => {
                let namespace = Arc::clone(self);
                Admission::Deciding(Box::pin(async move { namespace.ask(handshake).await }))
            }
        }
    }

    /// Asks whose this namespace is, then whoever that is.
    async fn ask(&self, handshake: Handshake) -> Result<Data, Refusal> {
        let invalid = || Refusal::new("Invalid namespace");
        let described = match self.described.get() {
            Some(described) => described,
            None => {
                let parent = self.place.family.parent_for(&handshake).await.ok_or_else(invalid)?;
                let data = parent.behaviour.admit(handshake.clone()).decided().await?;
                let described = self.described.get_or_init(|| Arc::clone(&parent));
                if Arc::ptr_eq(described, &parent) {
                    return Ok(data);
                }
                // Another client was quicker, and is in the namespace of another parent.
                described
            }
        };
        if !described.paths.take(&handshake).await {
            return Err(invalid());
        }
        described.behaviour.admit(handshake).decided().await
    }

    /// This node.
    pub(crate) fn node(&self) -> &NodeId {
        &self.place.node
    }

    /// Where handlers run, whichever thread gives rise to it.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.place.runtime
    }

    /// How packets are encoded for clients.
    pub(crate) fn parser(&self) -> Parser {
        self.place.parser
    }

    pub(crate) fn observations(&self) -> &Mutex<Observations> {
        &self.observations
    }

    pub(crate) fn server_events(&self) -> &Mutex<ServerEvents> {
        &self.server_events
    }

    pub(crate) fn peers(&self) -> &Arc<dyn Peers> {
        &self.place.peers
    }

    /// Whether to warn of a handler that failed: clients could fill the log otherwise.
    pub(crate) fn may_warn(&self) -> bool {
        self.warned.allows(WARNINGS, Instant::now())
    }

    pub(crate) fn next_ack_id(&self) -> u64 {
        self.ack_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a socket, which is in its own room from now on.
    pub(crate) fn insert(self: &Arc<Self>, socket: &Arc<RawSocket>) {
        let own = || vec![(socket.id, Room::from(socket.id.to_string()))];
        let mut rooms = self.rooms.write();
        self.observe_rooms(
            &mut rooms,
            |_| own(),
            |rooms| {
                rooms.insert(socket.id, Arc::clone(socket));
            },
        );
    }

    /// Takes a socket out of all rooms. The other nodes hear of rooms that are now empty while the index is locked, so
    /// that they hear of joins and leaves in the order in which those happened. Returns the rooms if somebody wants to
    /// know what they were.
    pub(crate) fn remove(self: &Arc<Self>, id: SocketId) -> Vec<Room> {
        let mut rooms = self.rooms.write();
        let joined = |rooms: &RoomIndex<Arc<RawSocket>>| rooms.rooms_of(&id).cloned().collect::<Vec<_>>();
        let kept = if self.behaviour().awaits_disconnecting() { joined(&rooms) } else { Vec::new() };
        let concerned = |rooms: &RoomIndex<_>| {
            let own = Room::from(id.to_string());
            std::iter::once(own).chain(joined(rooms)).map(|room| (id, room)).collect()
        };
        if let Some((_, emptied)) = self.observe_rooms(&mut rooms, concerned, |rooms| rooms.remove(&id)) {
            for room in emptied {
                self.peers().interest(&self.path, &room, false);
            }
        }
        kept
    }

    /// Adds a connected socket to a room.
    pub(crate) fn join(self: &Arc<Self>, id: SocketId, room: &Room) {
        self.join_locked(&mut self.rooms.write(), id, room);
    }

    pub(crate) fn leave(self: &Arc<Self>, id: SocketId, room: &Room) {
        self.leave_locked(&mut self.rooms.write(), id, room);
    }

    /// Adds every selected socket to every one of the rooms; all are selected before the first one joins.
    pub(crate) fn join_selected(self: &Arc<Self>, selection: &Selection, names: &[Room]) {
        let mut rooms = self.rooms.write();
        let selected = rooms.select(selection);
        for (name, id) in names.iter().flat_map(|name| selected.iter().map(move |id| (name, id))) {
            self.join_locked(&mut rooms, *id, name);
        }
    }

    pub(crate) fn leave_selected(self: &Arc<Self>, selection: &Selection, names: &[Room]) {
        let mut rooms = self.rooms.write();
        let selected = rooms.select(selection);
        for (name, id) in names.iter().flat_map(|name| selected.iter().map(move |id| (name, id))) {
            self.leave_locked(&mut rooms, *id, name);
        }
    }

    fn join_locked(self: &Arc<Self>, rooms: &mut RoomIndex<Arc<RawSocket>>, id: SocketId, room: &Room) {
        let concerned = |_: &RoomIndex<_>| vec![(id, Arc::clone(room))];
        if self.observe_rooms(rooms, concerned, |rooms| rooms.join(&id, room)) {
            self.peers().interest(&self.path, room, true);
        }
    }

    fn leave_locked(self: &Arc<Self>, rooms: &mut RoomIndex<Arc<RawSocket>>, id: SocketId, room: &Room) {
        let concerned = |_: &RoomIndex<_>| vec![(id, Arc::clone(room))];
        if self.observe_rooms(rooms, concerned, |rooms| rooms.leave(&id, room)) {
            self.peers().interest(&self.path, room, false);
        }
    }
}

impl Drop for NamespaceState {
    fn drop(&mut self) {
        self.place.family.forget(&self.path);
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
    runtime: Runtime,
    peers: Arc<dyn Peers>,
    family: Arc<Family>,
    parser: Parser,
}

/// The namespaces of this node. How they are described is fixed before the first client connects.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// Those with a description of their own.
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
        let (mut fixed, mut parents) = (Vec::new(), Vec::new());
        for described in described.into_iter().map(Arc::new) {
            match &described.paths {
                Paths::One(path) => fixed.push((Arc::clone(path), described)),
                Paths::Pattern(_) | Paths::Where(_) => parents.push(described),
            }
        }
        let family = Arc::new(Family::new(parents));
        let place = Place { node, runtime: Runtime::current(), peers, family, parser };
        let serve = |(path, described)| {
            (Arc::clone(&path), NamespaceState::new(path, Some(described), place.clone()))
        };
        let by_path = fixed.into_iter().map(serve).collect();
        Self { by_path, place, answering: Arc::new(Semaphore::new(MAX_ANSWERING)) }
    }

    /// No handler of this node runs any more.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn kill(&self) {
        self.place.runtime.kill();
    }

    pub(crate) fn answering(&self) -> &Arc<Semaphore> {
        &self.answering
    }

    /// Resolves when no handler runs, of a socket or a server event.
    pub(crate) async fn settled(&self) {
        self.place.runtime.ended().await;
    }

    /// A namespace that there is.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<NamespaceState>> {
        self.by_path.get(path).cloned().or_else(|| self.place.family.find(path))
    }

    /// Whether clients may enter a namespace without anybody being asked for it.
    pub(crate) fn serves(&self, path: &str) -> bool {
        self.by_path.contains_key(path) || self.place.family.parent_of(path).is_some()
    }

    /// The namespace that a client asks for, if it may be one: it is made when it is needed.
    pub(crate) fn enter(&self, path: &str) -> Option<Arc<NamespaceState>> {
        match self.by_path.get(path) {
            Some(fixed) => Some(Arc::clone(fixed)),
            None => self.place.family.may_have(path).then(|| self.child(&path.into())),
        }
    }

    /// A namespace to emit to. One that this node does not serve may still have sockets on others.
    pub(crate) fn of(&self, path: &str) -> Arc<NamespaceState> {
        let path = normalize(path);
        self.by_path.get(&path).cloned().unwrap_or_else(|| self.child(&path))
    }

    fn child(&self, path: &Arc<str>) -> Arc<NamespaceState> {
        let Place { family, .. } = &self.place;
        family.find(path).unwrap_or_else(|| {
            // Patterns are matched here, before the children are locked.
            let parent = family.parent_of(path);
            family.child(path, || NamespaceState::new(Arc::clone(path), parent, self.place.clone()))
        })
    }
}

/// Warnings about the handlers of one namespace come at most this often; the others are debug lines.
const WARNINGS: Duration = Duration::from_secs(1);

/// `chat` and `/chat` are the same namespace.
pub(crate) fn normalize(path: &str) -> Arc<str> {
    if path.starts_with('/') { path.into() } else { format!("/{path}").into() }
}

#[cfg(test)]
mod tests {
    use super::super::namespace::{namespace, namespaces, namespaces_where};
    use super::super::peers::NoPeers;
    use super::*;

    /// `/fixed`, a predicate that is never asked here unless `asking`, and `/room-…`.
    fn serving(asking: bool) -> Namespaces {
        let predicate = namespaces_where(async |_: Handshake| Ok(true));
        let mut described = vec![namespace("/fixed").described(), namespaces("^/room-").described()];
        if asking {
            described.insert(0, predicate.described());
        }
        Namespaces::new(described, NodeId::random().unwrap(), Arc::new(NoPeers), Parser::Json)
    }

    fn is_served(namespace: &NamespaceState) -> bool {
        namespace.described.get().is_some()
    }

    #[tokio::test]
    async fn whoever_names_a_path_means_the_same_namespace_while_anything_holds_it() {
        let namespaces = serving(false);
        for path in ["/fixed", "/room-1", "/nobody's"] {
            let named = namespaces.of(path);
            assert!(Arc::ptr_eq(&named, &namespaces.of(path)), "{path}");
            assert!(Arc::ptr_eq(&named, &namespaces.find(path).unwrap()), "{path}");
            assert_eq!(is_served(&named), path != "/nobody's");
        }
        let entered = namespaces.enter("/room-2").unwrap();
        assert!(Arc::ptr_eq(&entered, &namespaces.of("room-2")));
        assert!(namespaces.enter("/nobody's").is_none());
    }

    #[tokio::test]
    async fn a_namespace_that_nothing_holds_is_forgotten() {
        let namespaces = serving(false);
        for n in 0..100 {
            drop(namespaces.enter(&format!("/room-{n}")));
            drop(namespaces.of(&format!("/nobody's-{n}")));
        }
        assert!(namespaces.find("/room-1").is_none());
        assert!(namespaces.place.family.is_empty());
        assert!(namespaces.find("/fixed").is_some());
    }

    #[tokio::test]
    async fn a_predicate_that_comes_first_has_to_be_asked() {
        let namespaces = serving(true);
        assert!(!namespaces.serves("/room-1"));
        assert!(!is_served(&namespaces.enter("/room-1").unwrap()));
        assert!(namespaces.enter("/whatever").is_some());
        assert!(namespaces.serves("/fixed"));
    }
}
