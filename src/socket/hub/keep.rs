//! What a socket that its client may come back to is beside its data.

use std::collections::HashMap;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::id::NodeId;
use crate::socket::messages::recovery::{Life, Origin, Pid, SessionState};
use crate::socket::room::Room;

/// What has to be known of a socket when its client comes back.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) pid: Pid,
    pub(crate) life: Life,
    version: u64,
    since: Instant,
    /// The rooms that it joined, and when.
    rooms: HashMap<Room, Instant>,
    start: Vec<(Origin, u64)>,
    pub(crate) behind: Vec<(Origin, u64)>,
    /// The nodes that are told of every change.
    pub(crate) told: SmallVec<[NodeId; 2]>,
    /// Whether a change waits to be told.
    queued: bool,
}

impl Keep {
    /// Of a new session, which begins at this position.
    pub(crate) fn new(pid: Pid, at: Origin, start: Vec<(Origin, u64)>, now: Instant) -> Self {
        Self {
            pid,
            life: Life { count: 0, at },
            version: 0,
            since: now,
            rooms: HashMap::new(),
            start,
            behind: Vec::new(),
            told: SmallVec::new(),
            queued: false,
        }
    }

    /// Of a session that was recovered.
    pub(crate) fn recovered(state: &SessionState, behind: Vec<(Origin, u64)>, now: Instant) -> Self {
        let ago = |age: Duration| now.checked_sub(age).unwrap_or(now);
        Self {
            pid: state.pid,
            life: state.life,
            version: state.version,
            since: ago(state.age),
            rooms: state.rooms.iter().map(|(room, age)| (room.clone(), ago(*age))).collect(),
            start: state.start.clone(),
            behind,
            told: SmallVec::new(),
            queued: false,
        }
    }

    /// The socket joined a room. Returns whether it was not in it.
    pub(crate) fn join(&mut self, room: &Room, now: Instant) -> bool {
        let is_new = !self.rooms.contains_key(room);
        if is_new {
            self.rooms.insert(room.clone(), now);
            self.version += 1;
        }
        is_new
    }

    /// The socket left a room. Returns whether it was in it.
    pub(crate) fn leave(&mut self, room: &Room) -> bool {
        let was_in = self.rooms.remove(room).is_some();
        self.version += u64::from(was_in);
        was_in
    }

    /// Something else is new.
    pub(crate) fn touch(&mut self) -> bool {
        self.version += 1;
        true
    }

    /// A change waits to be told from now on. Returns whether none did.
    pub(crate) fn queue(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    /// What waits is being told.
    pub(crate) fn dequeue(&mut self) {
        self.queued = false;
    }

    /// Fills in what is known here.
    pub(crate) fn describe(&self, state: &mut SessionState, now: Instant) {
        let age = |since: Instant| now.saturating_duration_since(since);
        (state.pid, state.life, state.version, state.age) =
            (self.pid, self.life, self.version, age(self.since));
        state.rooms = self.rooms.iter().map(|(room, since)| (room.clone(), age(*since))).collect();
        state.rooms.sort_unstable();
        state.start.clone_from(&self.start);
    }
}
