//! Of the clients of this node that ask for one session, one gets it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::LOOK;
use crate::socket::messages::recovery::Pid;
use crate::socket::recovery::Unrecovered;

/// The sessions that clients of this node ask for, and whether each is decided about.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Pid, Arc<AtomicBool>>>);

/// While it is there, no other client of this node gets the session.
pub(super) struct Turn {
    turns: Arc<Turns>,
    pid: Pid,
    is_decided: Arc<AtomicBool>,
}

impl Turns {
    /// The turn of one client to ask for a session. Another one that asked before may be the same, over a connection that is lost
    /// again: it is waited for.
    ///
    /// # Errors
    /// When it is decided about the session, or not in time.
    pub(super) async fn take(self: &Arc<Self>, pid: Pid, deadline: Instant) -> Result<Turn, Unrecovered> {
        let first = match self.try_take(pid) {
            Ok(turn) => return Ok(turn),
            Err(first) => first,
        };
        while Instant::now() < deadline && !first.load(Ordering::Relaxed) {
            sleep(LOOK).await;
            if let Ok(turn) = self.try_take(pid) {
                return if first.load(Ordering::Relaxed) { Err(Unrecovered::Unknown) } else { Ok(turn) };
            }
        }
        Err(Unrecovered::Unknown)
    }

    /// Fails with whether it is decided what the one that has the turn asks for.
    fn try_take(self: &Arc<Self>, pid: Pid) -> Result<Turn, Arc<AtomicBool>> {
        match self.0.lock().entry(pid) {
            Entry::Occupied(other) => Err(Arc::clone(other.get())),
            Entry::Vacant(free) => {
                let is_decided = Arc::clone(free.insert(Arc::default()));
                Ok(Turn { turns: Arc::clone(self), pid, is_decided })
            }
        }
    }
}

impl Turn {
    /// It got the session, or nobody does: others need not ask.
    pub(super) fn decided(&self) {
        self.is_decided.store(true, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().remove(&self.pid);
    }
}
