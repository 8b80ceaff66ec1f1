//! The supervisors of the session actors.

use std::sync::atomic::{AtomicUsize, Ordering};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

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
    pub(crate) async fn start() -> Result<Self, SpawnErr> {
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

    /// Stops the supervisors, and with them every session that is left: no client is told.
    pub(crate) fn stop(&self) {
        for shard in &self.shards {
            shard.stop(None);
        }
    }
}

/// Is told of every session that ends, and logs those that failed.
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
            // Only a bug in this crate makes an actor fail. Its client is cut off and reconnects; other sessions go on.
            tracing::error!(%error, "a session actor failed");
        }
        Ok(())
    }
}

const SHARDS: usize = 16;
