//! The sessions this node owns, and the supervisors of their actors.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::Notify;

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

    /// Registers a session until the registration is dropped; `None` if the id is taken.
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

/// A session's place in the registry.
pub(crate) struct Registration<K: Send + 'static> {
    registry: Arc<Registry<K>>,
    id: SessionId,
}

impl<K: Send + 'static> Drop for Registration<K> {
    fn drop(&mut self) {
        self.registry.sessions.write().remove(&self.id);
        self.registry.left.notify_waiters();
    }
}

/// The supervisors of the session actors. Linking takes a lock and every exit is a message to the supervisor, so there
/// are several.
#[derive(Debug)]
pub(crate) struct Supervisors {
    shards: Vec<ActorRef<()>>,
    next: AtomicUsize,
}

impl Supervisors {
    /// Starts the supervisors.
    ///
    /// # Errors
    ///
    /// Only if the runtime is shutting down.
    pub(crate) async fn start() -> Result<Self, ractor::SpawnErr> {
        let mut shards = Vec::with_capacity(SHARDS);
        for _ in 0..SHARDS {
            shards.push(Actor::spawn(None, Supervisor, ()).await?.0);
        }
        Ok(Self { shards, next: AtomicUsize::new(0) })
    }

    pub(crate) fn next(&self) -> Option<ActorCell> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        self.shards.get(index).map(ActorRef::get_cell)
    }

    pub(crate) fn stop(&self) {
        for shard in &self.shards {
            shard.stop(None);
        }
    }
}

impl Drop for Supervisors {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Hears of every session that ends; only one that failed is news.
struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            // A session that fails is a bug of ours: its client is cut off and reconnects, nothing else is touched.
            tracing::error!(%error, "a session actor failed");
        }
        Ok(())
    }
}

const SHARDS: usize = 16;
