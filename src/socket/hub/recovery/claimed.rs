//! A session that this node was granted for a client that is back, until its socket is there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::keeping::Keeping;
use super::records::Records;
use super::turns::Turn;
use crate::socket::messages::recovery::{SessionState, Standing};
use crate::socket::room::Room;

/// A session that this node was granted, and what its client missed. Dropped, it goes back to where it was: the client may come
/// again.
pub(crate) struct Claimed {
    pub(crate) keeping: Arc<Keeping>,
    pub(crate) records: Arc<Records>,
    /// Of what its client gets.
    pub(crate) id: u64,
    pub(crate) state: SessionState,
    /// When the session began.
    pub(crate) began: Instant,
    is_open: bool,
    turn: Turn,
}

impl Claimed {
    /// From now on this node has sockets in the rooms of the session.
    pub(super) fn new(keeping: Arc<Keeping>, records: Arc<Records>, state: SessionState, turn: Turn) -> Self {
        let (id, now) = (keeping.number(), Instant::now());
        let began = now.checked_sub(state.age).unwrap_or(now);
        let claimed = Self { id, keeping, records, state, began, is_open: true, turn };
        claimed.interest(true);
        claimed.interest_in_own(true);
        claimed
    }

    fn interest(&self, present: bool) {
        for (room, _) in &self.state.rooms {
            self.keeping.peers.interest(&self.records.path, room, present);
        }
    }

    fn interest_in_own(&self, present: bool) {
        let id = self.state.socket;
        for room in [Room::Own(id), Room::mark_of(id)] {
            self.keeping.peers.interest(&self.records.path, &room, present);
        }
    }

    /// The socket is there, and in its rooms. That it is found by its id is left to it.
    pub(crate) fn used(mut self) {
        self.is_open = false;
        self.turn.decided();
        self.interest(false);
    }

    /// What the client missed is asked for once more, after that time.
    pub(crate) fn begin_again(&mut self, passed: Duration) {
        drop(self.records.journal().take(self.id));
        self.id = self.keeping.number();
        self.state = self.state.clone().later(passed);
    }

    /// Nobody gets the session any more.
    pub(crate) fn give_up(mut self, now: Instant) -> SessionState {
        self.turn.decided();
        self.end();
        let mut state = self.state.clone();
        (state.standing, state.version) = (Standing::Over, state.version + 1);
        self.keeping.publish(state.clone(), now);
        state
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            drop(self.records.journal().take(self.id));
            self.interest(false);
            self.interest_in_own(false);
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if self.is_open {
            self.end();
            let mut state = self.state.clone();
            (state.standing, state.version) = (Standing::Away(state.lasts), state.version + 1);
            self.keeping.publish(state, Instant::now());
        }
    }
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed").field("socket", &self.state.socket).finish_non_exhaustive()
    }
}
