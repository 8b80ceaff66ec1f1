//! A namespace as this node serves it: its sockets, their rooms, and what its handlers do.

mod broadcasts;
mod commands;
mod lookups;
mod observing;
mod recovery;
mod server_events;

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::context::HubContext;
use super::counters::NamespaceCounters;
use super::handlers::{Description, ErasedHandlers, NoHandlers};
use super::member::Member;
use super::observation::Observation;
use super::paths::{NamespacePaths, normalize};
use super::recovery::{Keeping, Records};
use super::responder::ServerEvent;
use super::room_index::RoomIndex;
use super::siblings::Siblings;
use super::tasks::HandlerTasks;
use super::users::Users;
use super::work_queue::WorkQueue;
use crate::id::{NodeId, SocketId};
use crate::log_limit::LogLimit;
use crate::socket::messages::Selection;
use crate::socket::peers::{CONFIRMATION, Peers, TooLarge};
use crate::socket::protocol::{EncodeError, Parser};
use crate::socket::recovery::Recovery;
use crate::socket::recovery::{Journal, Position};
use crate::socket::room::Room;

/// One namespace on this node. Other nodes may have sockets in it as well.
pub(crate) struct LocalNamespace {
    pub(crate) path: Arc<str>,
    /// Not set while the description depends on the client: the first client that is admitted decides.
    description: OnceLock<Arc<Description>>,
    rooms: RwLock<RoomIndex<Arc<Member>>>,
    context: HubContext,
    ack_ids: AtomicU64,
    warnings: LogLimit,
    server_events: Mutex<WorkQueue<ServerEvent>>,
    observations: Mutex<WorkQueue<Observation<Arc<Member>>>>,
    siblings: Weak<dyn Siblings<Self>>,
    /// What was sent, if clients may come back.
    records: OnceLock<Arc<Records>>,
    /// How they may, by the descriptions that this namespace may get.
    expected: Option<Recovery>,
}

impl LocalNamespace {
    /// How long an awaited join takes at most, unless said otherwise.
    pub(crate) const CONFIRMATION: Duration = CONFIRMATION;

    /// A namespace without sockets. Its siblings forget it when it is dropped.
    pub(crate) fn new(
        path: Arc<str>,
        description: Option<Arc<Description>>,
        expected: Option<Recovery>,
        context: HubContext,
        siblings: Weak<dyn Siblings<Self>>,
    ) -> Arc<Self> {
        let records = description.as_ref().and_then(|described| {
            let records = context.keeping.records.of(&path, described.recovery.as_ref()?, Instant::now());
            Some(OnceLock::from(records))
        });
        Arc::new(Self {
            path,
            records: records.unwrap_or_default(),
            expected,
            description: description.map(OnceLock::from).unwrap_or_default(),
            rooms: RwLock::new(RoomIndex::new()),
            context,
            ack_ids: AtomicU64::new(0),
            warnings: LogLimit::default(),
            server_events: Mutex::default(),
            observations: Mutex::default(),
            siblings,
        })
    }

    /// Another namespace of this node, for the application. When the node is gone nobody is in it.
    pub(crate) fn sibling(&self, path: &str) -> Arc<Self> {
        self.siblings.upgrade().map_or_else(
            || Self::new(normalize(path), None, None, self.context.clone(), Weak::clone(&self.siblings)),
            |siblings| siblings.of(path),
        )
    }

    /// What the application described, if it is known which description this namespace has.
    pub(crate) fn description(&self) -> Option<&Arc<Description>> {
        self.description.get()
    }

    /// Whether its description is for it alone.
    pub(crate) fn stands_alone(&self) -> bool {
        self.description.get().is_some_and(|described| matches!(described.paths, NamespacePaths::One(_)))
    }

    /// Sets the description unless somebody was quicker; returns the one that it has.
    pub(crate) fn describe(&self, description: &Arc<Description>) -> &Arc<Description> {
        let has = self.description.get_or_init(|| Arc::clone(description));
        if let Some(settings) = &has.recovery {
            let records = &self.context.keeping.records;
            self.records.get_or_init(|| records.of(&self.path, settings, Instant::now()));
        }
        has
    }

    /// Counts something that happened here. Nothing happens before the description is known.
    pub(crate) fn count(&self, count: impl FnOnce(&NamespaceCounters)) {
        if let Some(description) = self.description.get() {
            count(&description.counters);
        }
    }

    pub(crate) fn handlers(&self) -> &dyn ErasedHandlers {
        self.description.get().map_or(&NoHandlers, |description| &*description.handlers)
    }

    /// This node.
    pub(crate) fn node(&self) -> &NodeId {
        &self.context.node
    }

    /// The node itself, as its layer knows it; `None` once it is gone.
    pub(crate) fn host(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.context.host.get()?.upgrade()
    }

    pub(crate) fn peers(&self) -> &Arc<dyn Peers> {
        &self.context.peers
    }

    /// Asks whether the other nodes can be sent a message of this size, before anybody gets it.
    ///
    /// # Errors
    /// When it is too large.
    pub(crate) fn check_size(&self, size: usize) -> Result<(), EncodeError> {
        let carried = self.peers().carries(size);
        carried.map_err(|TooLarge { size, limit }| EncodeError::TooLarge { size, limit })
    }

    pub(crate) fn parser(&self) -> Parser {
        self.context.parser
    }

    /// Whether the id that a client of version 2 knows names a second room of its own.
    pub(crate) fn has_version_2_ids(&self) -> bool {
        self.context.version_2_ids
    }

    pub(crate) fn tasks(&self) -> &HandlerTasks {
        &self.context.tasks
    }

    /// The users of this node, in all namespaces.
    pub(crate) fn users(&self) -> &Users {
        &self.context.users
    }

    /// What lets clients of this node come back.
    pub(crate) fn keeping(&self) -> &Arc<Keeping> {
        &self.context.keeping
    }

    /// Whether a warning may be logged now. Clients and other nodes could fill the log otherwise.
    pub(crate) fn may_warn(&self) -> bool {
        self.warnings.allows(WARNINGS, Instant::now())
    }

    /// A new id for an ack, shared by emits to one socket and to many.
    pub(crate) fn next_ack_id(&self) -> u64 {
        self.ack_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// How many sockets are here.
    pub(crate) fn len(&self) -> usize {
        self.rooms.read().len()
    }

    /// How many rooms have a socket here.
    pub(crate) fn rooms(&self) -> usize {
        self.rooms.read().rooms()
    }

    /// The rooms with most sockets here, in no order.
    pub(crate) fn largest_rooms(&self, most: usize) -> Vec<(Room, usize)> {
        let mut largest: BinaryHeap<Reverse<(usize, Room)>> = BinaryHeap::new();
        self.visit_rooms(|room, sockets| {
            if largest.len() < most || largest.peek().is_some_and(|Reverse((least, _))| sockets > *least) {
                largest.push(Reverse((sockets, room.clone())));
            }
            if largest.len() > most {
                largest.pop();
            }
        });
        let rooms: HashMap<Room, usize> =
            largest.into_iter().map(|Reverse((sockets, room))| (room, sockets)).collect();
        rooms.into_iter().collect()
    }

    /// Visits the rooms that a socket here has joined, with how many have. The index is locked for a few thousand rooms at a time,
    /// so a room that is emptied and filled again meanwhile may be met twice.
    fn visit_rooms(&self, mut visit: impl FnMut(&Room, usize)) {
        for first in (0..).step_by(VISITED_AT_ONCE) {
            let rooms = self.rooms.read();
            let Some(visited) = rooms.rooms_in_slots(first..first + VISITED_AT_ONCE) else { break };
            visited.for_each(|(room, sockets)| visit(room, sockets));
        }
    }

    /// Visits the ids of the sockets here, as [`visit_rooms`](Self::visit_rooms) does the rooms.
    fn visit_ids(&self, mut visit: impl FnMut(SocketId)) {
        for first in (0..).step_by(VISITED_AT_ONCE) {
            let rooms = self.rooms.read();
            let Some(visited) = rooms.ids_in_slots(first..first + VISITED_AT_ONCE) else { break };
            visited.for_each(&mut visit);
        }
    }

    /// Whether there is neither a socket nor a room.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn is_unused(&self) -> bool {
        self.rooms.read().is_unused()
    }

    /// The rooms a socket is in, its own first; none if it is not here.
    pub(crate) fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        let rooms = self.rooms.read();
        let own = rooms.get(&id).map(|_| Room::Own(id));
        own.into_iter().chain(rooms.rooms_of(&id).cloned()).collect()
    }

    /// The rooms that the selected sockets here are in, sorted.
    pub(crate) fn rooms_of_selected(&self, selection: &Selection) -> Vec<Room> {
        let rooms = self.rooms.read();
        let mut found = std::collections::BTreeSet::new();
        rooms.for_each(selection, |id, _| {
            found.insert(Room::Own(*id));
            found.extend(rooms.rooms_of(id).cloned());
        });
        found.into_iter().collect()
    }

    /// Adds a socket, which is in its own room from now on, or in both.
    pub(crate) fn insert(self: &Arc<Self>, member: &Arc<Member>) {
        let mut rooms = self.rooms.write();
        let concerned = |_: &RoomIndex<_>| vec![(member.id, Room::Own(member.id))];
        self.observe_rooms(&mut rooms, concerned, |rooms| rooms.insert(member.id, Arc::clone(member)));
        if let Some(room) = member.version_2_id() {
            self.peers().interest(&self.path, &room, true);
            rooms.give(&member.id, room);
        }
    }

    /// Takes a socket out of all rooms. Returns those it was in if they are to be kept for `on_disconnecting`.
    ///
    /// The other nodes are told of empty rooms while the index is locked, so that they learn of joins and leaves in the
    /// order in which those happened.
    pub(crate) fn remove(self: &Arc<Self>, id: SocketId) -> Vec<Room> {
        let mut rooms = self.rooms.write();
        let left = |rooms: &RoomIndex<_>| {
            std::iter::once(Room::Own(id)).chain(rooms.rooms_of(&id).cloned()).collect::<Vec<_>>()
        };
        let kept = if self.handlers().has_on_disconnecting() { left(&rooms) } else { Vec::new() };
        let concerned = |rooms: &RoomIndex<_>| left(rooms).into_iter().map(|room| (id, room)).collect();
        if let Some((member, emptied)) = self.observe_rooms(&mut rooms, concerned, |rooms| rooms.remove(&id))
        {
            let second = member.version_2_id().inspect(|room| rooms.take_back(room));
            for room in emptied.into_iter().chain(member.own_interest()).chain(second) {
                self.peers().interest(&self.path, &room, false);
            }
        }
        kept
    }

    /// Adds a socket to rooms. One that was disconnected meanwhile is not in the index and joins nothing.
    pub(crate) fn join(self: &Arc<Self>, id: SocketId, joined: &[Room]) {
        let mut rooms = self.rooms.write();
        joined.iter().for_each(|room| self.join_locked(&mut rooms, id, room));
    }

    pub(crate) fn leave(self: &Arc<Self>, id: SocketId, left: &[Room]) {
        // Nothing is handed out meanwhile: what was before is for the socket, what comes then is not.
        let journal = self.records().map(|records| records.journal());
        let position = journal.as_deref().map(Journal::position);
        let mut rooms = self.rooms.write();
        left.iter().for_each(|room| self.leave_locked(&mut rooms, id, room, position));
    }

    /// Adds every selected socket to every one of the rooms. All are selected before the first one joins.
    fn join_selected(self: &Arc<Self>, selection: &Selection, joined: &[Room]) {
        let mut rooms = self.rooms.write();
        let selected = rooms.select(selection);
        for (room, id) in joined.iter().flat_map(|room| selected.iter().map(move |id| (room, id))) {
            self.join_locked(&mut rooms, *id, room);
        }
    }

    fn leave_selected(self: &Arc<Self>, selection: &Selection, left: &[Room]) {
        let journal = self.records().map(|records| records.journal());
        let position = journal.as_deref().map(Journal::position);
        let mut rooms = self.rooms.write();
        let selected = rooms.select(selection);
        for (room, id) in left.iter().flat_map(|room| selected.iter().map(move |id| (room, id))) {
            self.leave_locked(&mut rooms, *id, room, position);
        }
    }

    fn join_locked(self: &Arc<Self>, rooms: &mut RoomIndex<Arc<Member>>, id: SocketId, room: &Room) {
        let concerned = |_: &RoomIndex<_>| vec![(id, room.clone())];
        if self.observe_rooms(rooms, concerned, |rooms| rooms.join(&id, room)) {
            self.peers().interest(&self.path, room, true);
        }
        if self.records.get().is_some()
            && let Some(member) = rooms.get(&id)
        {
            member.note_join(room);
        }
    }

    fn leave_locked(
        self: &Arc<Self>,
        rooms: &mut RoomIndex<Arc<Member>>,
        id: SocketId,
        room: &Room,
        position: Option<&Position>,
    ) {
        let concerned = |_: &RoomIndex<_>| vec![(id, room.clone())];
        if self.observe_rooms(rooms, concerned, |rooms| rooms.leave(&id, room)) {
            self.peers().interest(&self.path, room, false);
        }
        if let Some(position) = position
            && let Some(member) = rooms.get(&id)
        {
            member.note_leave(room, position);
        }
    }
}

impl Drop for LocalNamespace {
    fn drop(&mut self) {
        if let Some(siblings) = self.siblings.upgrade() {
            siblings.forget(&self.path);
        }
    }
}

impl fmt::Debug for LocalNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Warnings about one namespace come at most this often; the others are debug lines or nothing.
const WARNINGS: Duration = Duration::from_secs(1);
/// How many rooms are visited while their index is locked.
const VISITED_AT_ONCE: usize = 4096;
