//! What a socket that its client may come back to is beside its data.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::id::NodeId;
use crate::socket::messages::recovery::{LeftRoom, Life, Origin, Pid, SessionState};
use crate::socket::recovery::Position;
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
    /// Those that it left lately.
    left: VecDeque<Left>,
    /// When one of them was forgotten last, because there were too many.
    forgotten: Option<Instant>,
    start: Vec<(Origin, u64)>,
    pub(crate) behind: Vec<(Origin, u64)>,
    /// The nodes that are told of every change.
    pub(crate) told: SmallVec<[NodeId; 2]>,
    /// Whether a change waits to be told.
    queued: bool,
}

/// A room that the socket has left.
#[derive(Debug)]
struct Left {
    room: Room,
    joined: Instant,
    /// The position of this node when it left.
    position: Vec<(Origin, u64)>,
    /// Until then what was sent there may be on its way to its client.
    until: Instant,
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
            left: VecDeque::new(),
            forgotten: None,
            start,
            behind: Vec::new(),
            told: SmallVec::new(),
            queued: false,
        }
    }

    /// Of a session that was recovered. What was sent before may be on its way to its client for so long.
    pub(crate) fn recovered(
        state: &SessionState,
        behind: Vec<(Origin, u64)>,
        slack: Duration,
        now: Instant,
    ) -> Self {
        let ago = |age: Duration| now.checked_sub(age).unwrap_or(now);
        let left = |left: &LeftRoom| Left {
            room: left.room.clone(),
            joined: ago(left.age),
            position: left.until.clone(),
            until: now + slack,
        };
        Self {
            pid: state.pid,
            life: state.life,
            version: state.version,
            since: ago(state.age),
            rooms: state.rooms.iter().map(|(room, age)| (room.clone(), ago(*age))).collect(),
            left: state.left.iter().map(left).collect(),
            forgotten: state.forgotten.map(ago),
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

    /// The socket left a room at this position. Returns whether it was in it. What was sent there before may be on its way to its client
    /// for so long.
    pub(crate) fn leave(&mut self, room: &Room, position: &Position, slack: Duration, now: Instant) -> bool {
        let Some(joined) = self.rooms.remove(room) else { return false };
        self.version += 1;
        self.left.push_back(Left {
            room: room.clone(),
            joined,
            position: position.to_vec(),
            until: now + slack,
        });
        while self.left.front().is_some_and(|left| left.until < now) {
            self.left.pop_front();
        }
        if self.left.len() > MAX_LEFT {
            self.left.pop_front();
            self.forgotten = Some(now);
        }
        true
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
        let left = |left: &Left| LeftRoom {
            room: left.room.clone(),
            age: age(left.joined),
            until: left.position.clone(),
        };
        state.left = self.left.iter().map(left).collect();
        state.forgotten = self.forgotten.map(age);
        state.start.clone_from(&self.start);
    }
}

/// So many rooms that it left are known of a socket. One that left more within a minute is not recovered.
const MAX_LEFT: usize = 64;
