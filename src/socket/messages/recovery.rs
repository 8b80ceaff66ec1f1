//! The values by which nodes keep the sessions of clients that may come back, and give them what they missed
//! (docs/protocol/mesh.md, "Recovery").

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::room::Room;
use crate::id::{Incarnation, NodeId, SocketId};

/// One life of a node, as the numbers of its packets name it: 40 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin(u64);

impl Origin {
    /// How many bytes it has.
    pub(crate) const LENGTH: usize = 5;

    /// FNV-1a over the name of the node, `0xff` and its incarnation, then the finalizer of MurmurHash3: the same on every node.
    pub(crate) fn of(node: &NodeId, incarnation: Incarnation) -> Self {
        let bytes = node.as_str().bytes().chain([0xff]).chain(incarnation.0.to_be_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Self((hash ^ (hash >> 33)) >> 24)
    }

    pub(crate) const fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [_, _, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    pub(crate) const fn from_bytes([a, b, c, d, e]: [u8; Self::LENGTH]) -> Self {
        Self(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
    }

    /// As a number below 2^40.
    pub(crate) const fn as_u64(self) -> u64 {
        self.0
    }

    /// Of a larger number the lower bits count.
    pub(crate) const fn from_u64(number: u64) -> Self {
        Self(number & ((1 << 40) - 1))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}", self.0)
    }
}

/// The number of a packet that is kept, among those of one origin in one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) origin: Origin,
    /// From 1 on.
    pub(crate) number: u64,
}

/// The secret by which a client gets its session back. Its key is that of the socket's id, so every node can tell who decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pid(pub(crate) SocketId);

impl fmt::Debug for Pid {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({:?})", self.0.key())
    }
}

/// Which use of a session it is. Of two the younger one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    /// How often the session was recovered.
    pub(crate) count: u64,
    /// The node that has it, or had it. It decides between the two sides of a partition.
    pub(crate) at: Origin,
}

/// What is known of a session at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SessionState {
    pub(crate) pid: Pid,
    pub(crate) namespace: Arc<str>,
    pub(crate) socket: SocketId,
    pub(crate) life: Life,
    /// Of one life, the larger one is newer.
    pub(crate) version: u64,
    pub(crate) standing: Standing,
    /// For how long its client may be away.
    pub(crate) lasts: Duration,
    /// For how long the socket has been in its namespace.
    pub(crate) age: Duration,
    /// The rooms, and for how long it has been in each.
    pub(crate) rooms: Vec<(Room, Duration)>,
    /// The rooms that it left lately: what was sent to them before may be on its way to a client whose connection is lost.
    pub(crate) left: Vec<LeftRoom>,
    /// Since one of them was forgotten, because there were too many.
    pub(crate) forgotten: Option<Duration>,
    /// JSON; empty if the data cannot be carried.
    pub(crate) data: Bytes,
    pub(crate) user: Option<Arc<str>>,
    /// What is left of the login, if it ends.
    pub(crate) login: Option<Duration>,
    /// The position at which its first node began to send to it.
    pub(crate) start: Vec<(Origin, u64)>,
}

impl SessionState {
    /// What it is so much later.
    pub(crate) fn later(mut self, passed: Duration) -> Self {
        self.age += passed;
        self.rooms.iter_mut().for_each(|(_, age)| *age += passed);
        self.left.iter_mut().for_each(|left| left.age += passed);
        self.forgotten = self.forgotten.map(|over| over + passed);
        self.login = self.login.map(|left| left.saturating_sub(passed));
        if let Standing::Away(left) = &mut self.standing {
            *left = left.saturating_sub(passed);
        }
        self
    }

    /// That it is over, and that the application knows. What nobody gets any more is left out.
    pub(crate) fn reported(self) -> Self {
        let version = self.version.saturating_add(1);
        let (rooms, data, user, start) = (Vec::new(), Bytes::new(), None, Vec::new());
        Self { version, standing: Standing::Over, rooms, data, user, start, ..self }
    }

    /// Makes nothing younger than it was known to be.
    pub(crate) fn age_as(&mut self, known: &Self) {
        self.age = self.age.max(known.age);
        for (room, age) in &mut self.rooms {
            // Both are sorted.
            let at = known.rooms.binary_search_by(|(known, _)| known.cmp(room));
            if let Some((_, known)) = at.ok().and_then(|at| known.rooms.get(at)) {
                *age = (*age).max(*known);
            }
        }
    }
}

/// A room that a socket has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftRoom {
    pub(crate) room: Room,
    /// Since it joined.
    pub(crate) age: Duration,
    /// The position of its node when it left. What is behind that was not for it.
    pub(crate) until: Vec<(Origin, u64)>,
}

/// Where the client of a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// At this node.
    Live(NodeId),
    /// It may come back for that long.
    Away(Duration),
    /// Nowhere, and never again.
    Over,
}

/// What one node asks another about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionQuestion {
    /// Give it to me: my client is back.
    Claim,
    /// End your socket of this id: its client is back elsewhere.
    Surrender(SocketId),
    /// Tell me what you keep.
    Fetch,
}
