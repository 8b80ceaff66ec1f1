//! The live sessions of this node.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::budget::Budget;
use super::protocol::{Protocol, Transport};
use super::session_ref::SessionRef;
use crate::id::SessionId;

/// Finds a live session by its id.
pub(crate) struct Registry<K: Send + 'static> {
    sessions: RwLock<HashMap<SessionId, SessionRef<K>>>,
    left: Notify,
}

impl<K: Send + 'static> Registry<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { sessions: RwLock::new(HashMap::new()), left: Notify::new() })
    }

    /// Registers a session until the registration is dropped; `None` if the id is in use.
    pub(crate) fn register(self: &Arc<Self>, session: &SessionRef<K>) -> Option<Registration<K>> {
        match self.sessions.write().entry(session.id()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                vacant.insert(session.clone());
                Some(Registration { registry: Arc::clone(self), id: session.id() })
            }
        }
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<SessionRef<K>> {
        self.sessions.read().get(&id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.read().len()
    }

    pub(crate) fn all(&self) -> Vec<SessionRef<K>> {
        self.sessions.read().values().cloned().collect()
    }

    /// What the sessions are, and what waits for them.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for session in self.sessions.read().values() {
            *census.sessions.entry((session.transport(), session.handshake().protocol())).or_default() += 1;
            census.behind += usize::from(session.outbox().behind_since().is_some());
            census.most_buffered = census.most_buffered.max(session.buffered());
        }
        census
    }

    /// Closes the sessions of clients that do not take what waits for them, the worst first, until some room is free: all sessions are
    /// looked at, which is not to be repeated with the next message. Clients for which only a little waits stay.
    pub(crate) fn make_room(&self, budget: &Budget) {
        let blamed = self.all().into_iter().filter_map(|session| Some((session.outbox().blame()?, session)));
        let mut sessions: Vec<_> = blamed.collect();
        sessions.sort_unstable_by_key(|(blame, _)| Reverse(*blame));
        for (_, session) in sessions {
            if budget.has_slack() {
                break;
            }
            session.give_up();
        }
    }

    /// Resolves when no session is left.
    pub(crate) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.len() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// The sessions of a node, counted.
#[derive(Debug, Default)]
pub(crate) struct Census {
    sessions: HashMap<(Transport, Protocol), usize>,
    /// Those for which more waits than may for long.
    pub(crate) behind: usize,
    /// The bytes that wait for the one for which most do.
    pub(crate) most_buffered: usize,
    /// The bytes that wait for all of them.
    pub(crate) buffered: usize,
}

impl Census {
    pub(crate) fn sessions(&self, transport: Transport, protocol: Protocol) -> usize {
        self.sessions.get(&(transport, protocol)).copied().unwrap_or_default()
    }
}

/// The entry of a session in the registry. Dropping it removes the session.
pub(crate) struct Registration<K: Send + 'static> {
    registry: Arc<Registry<K>>,
    id: SessionId,
}

impl<K: Send + 'static> Registration<K> {
    /// See [`Registry::make_room`].
    pub(crate) fn make_room(&self, budget: &Budget) {
        self.registry.make_room(budget);
    }
}

impl<K: Send + 'static> Drop for Registration<K> {
    fn drop(&mut self) {
        let mut sessions = self.registry.sessions.write();
        sessions.remove(&self.id);
        // After a burst of clients.
        if sessions.capacity() > MANY.max(8 * sessions.len()) {
            let most = 2 * sessions.len();
            sessions.shrink_to(most);
        }
        drop(sessions);
        self.registry.left.notify_waiters();
    }
}

/// Places for so many sessions are kept.
const MANY: usize = 1024;
