//! The supervisors of the session actors.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::excerpt::Excerpt;
use parking_lot::Mutex;
use ractor::{
    Actor, ActorCell, ActorProcessingErr, ActorRef, ActorRuntime, ActorStatus, SpawnErr, SupervisionEvent,
};

/// The supervisors of the session actors. Linking takes a lock and every exit is a message to the supervisor, so there
/// are several.
#[derive(Debug)]
pub(crate) struct Supervisors {
    shards: Vec<Mutex<ActorRef<()>>>,
    next: AtomicUsize,
    stopped: AtomicBool,
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
            shards.push(Mutex::new(Actor::spawn(None, Supervisor, ()).await?.0));
        }
        Ok(Self { shards, next: AtomicUsize::new(0), stopped: AtomicBool::new(false) })
    }

    /// The supervisor of the next session. One that has ended took its sessions along, and is replaced.
    pub(crate) fn next(&self) -> Option<ActorCell> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let mut shard = self.shards.get(index)?.lock();
        if shard.get_status() >= ActorStatus::Stopping && !self.stopped.load(Ordering::Acquire) {
            tracing::error!("a supervisor of session actors ended: another one takes its place");
            *shard = ActorRuntime::spawn_instant(None, Supervisor, ()).ok()?.0;
        }
        Some(shard.get_cell())
    }

    /// Stops the supervisors, and with them every session that is left: no client is told.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for shard in &self.shards {
            shard.lock().stop(None);
        }
    }

    /// How many sessions have an actor.
    #[cfg(test)]
    pub(crate) fn actors(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().get_children().len()).sum()
    }

    /// Ends one of them, as a fault of it would.
    #[cfg(test)]
    pub(crate) async fn end_one(&self) {
        let shard = self.shards[0].lock().clone();
        shard.kill_and_wait(None).await.unwrap();
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
            tracing::error!(error = %Excerpt::reason(error), "a session actor failed");
        }
        Ok(())
    }
}

const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_supervisor_that_ended_is_replaced_until_all_of_them_are_stopped() {
        let supervisors = Supervisors::start().await.unwrap();
        supervisors.end_one().await;
        let round = || (0..SHARDS).map(|_| supervisors.next().unwrap());
        assert!(round().all(|supervisor| supervisor.get_status() < ActorStatus::Stopping));
        supervisors.stop();
        for supervisor in round() {
            supervisor.wait(None).await.unwrap();
        }
        assert!(round().all(|supervisor| supervisor.get_status() == ActorStatus::Stopped));
    }
}
