//! Where a mesh runs: on a thread of its own, so that a busy application is not taken for a dead node, or on the runtime of its
//! caller, where a test has virtual time.

use std::io;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::runtime::{self, Handle};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ports::ControlMessage;
use crate::cluster::error::StartError;
use crate::cluster::identity::{Identity, IdentityError};
use crate::cluster::transport::endpoint::Endpoint;

/// What runs of a mesh.
pub(crate) struct Running {
    pub(crate) control: ActorRef<ControlMessage>,
    pub(crate) endpoint: Endpoint,
}

/// The runtime of a mesh and what runs on it. When it is dropped, every connection is closed and all of it ends.
pub(crate) struct Host {
    pub(crate) runtime: Handle,
    /// `None` on the runtime of the caller.
    thread: Option<Thread>,
    running: Option<Running>,
}

impl Host {
    /// A thread of its own.
    ///
    /// # Errors
    /// When the machine has no thread to give.
    pub(crate) fn own_thread() -> Result<Self, StartError> {
        let (runtime, thread) = Thread::spawn().map_err(|error| StartError::Mesh(error.to_string()))?;
        Ok(Self { runtime, thread: Some(thread), running: None })
    }

    /// The runtime that this is called on.
    pub(crate) fn current_runtime() -> Self {
        Self { runtime: Handle::current(), thread: None, running: None }
    }

    /// Starts the mesh. Returns its control actor, and the task of that.
    ///
    /// # Errors
    /// Those of `start`, and when the runtime stops.
    pub(crate) async fn run(
        &mut self,
        start: impl Future<Output = Result<(Running, JoinHandle<()>), StartError>> + Send + 'static,
    ) -> Result<(ActorRef<ControlMessage>, JoinHandle<()>), StartError> {
        let started = self.runtime.spawn(start).await;
        let (running, actor) = started.map_err(|error| StartError::Mesh(error.to_string()))??;
        let control = running.control.clone();
        self.running = Some(running);
        Ok((control, actor))
    }

    /// Shows and accepts another identity of the same node.
    ///
    /// # Errors
    /// When its certificates cannot be used.
    pub(crate) fn renew(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.running.as_ref().map_or(Ok(()), |running| running.endpoint.renew(identity))
    }

    /// Resolves when a part ends that cannot be started anew, with the reason. To be polled on another runtime, and dropped
    /// before the mesh is stopped.
    pub(crate) fn failed(&self, actor: JoinHandle<()>) -> impl Future<Output = String> + Send + use<> {
        let thread = self.thread.as_ref().map(|thread| thread.ended.clone()).unwrap_or_default();
        async move {
            tokio::select! {
                ended = actor => format!("its control actor ended: {}", describe(&ended)),
                () = thread.cancelled() => "its thread ended".to_owned(),
            }
        }
    }

    /// Ends the thread as a fault would.
    #[cfg(test)]
    pub(crate) fn end_thread(&mut self) {
        let keep_alive = CancellationToken::new().drop_guard();
        drop(self.thread.as_mut().map(|thread| std::mem::replace(&mut thread.keep_alive, keep_alive)));
    }

    /// Closes every connection and ends the rest, even if the future is dropped. Resolves when all has ended.
    pub(crate) fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        let running = self.running.take();
        let (keep_alive, ended) = self.thread.take().map(|thread| (thread.keep_alive, thread.ended)).unzip();
        let stopped = self.runtime.spawn(async move {
            if let Some(running) = running {
                running.stop().await;
            }
            drop(keep_alive);
        });
        async {
            // Fails when the runtime ended before.
            let _stopped = stopped.await;
            if let Some(ended) = ended {
                ended.cancelled().await;
            }
        }
    }

    /// Ends the thread with all that runs on it, as the end of the process would: no connection is closed, and the other nodes
    /// notice nothing but silence. On the runtime of the caller it is [`stop`](Self::stop), and the network has to be cut
    /// before. Resolves when all has ended.
    pub(crate) async fn kill(&mut self) {
        let Some(Thread { keep_alive, ended }) = self.thread.take() else { return self.stop().await };
        let running = self.running.take();
        drop(keep_alive);
        ended.cancelled().await;
        // Not before: a connection that is dropped while its runtime goes on is closed.
        drop(running);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

impl Running {
    /// The connections end with the endpoint, and everything else with the actor.
    async fn stop(self) {
        self.endpoint.close().await;
        self.control.kill();
    }
}

/// A thread that drives a runtime.
struct Thread {
    /// The thread ends when this is dropped.
    keep_alive: DropGuard,
    /// Cancelled when it has ended, even by a panic.
    ended: CancellationToken,
}

impl Thread {
    fn spawn() -> io::Result<(Handle, Self)> {
        let (handle_sender, handle) = std_mpsc::sync_channel(1);
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let stop = CancellationToken::new();
        let keep_alive = stop.clone().drop_guard();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let body = move || {
            // The spawning thread waits for this.
            let _sent = handle_sender.send(runtime.handle().clone());
            runtime.block_on(stop.cancelled());
            // Lookups of names may still be running.
            runtime.shutdown_timeout(Duration::from_millis(100));
            drop(end);
        };
        std::thread::Builder::new().name("socketmesh-mesh".to_owned()).spawn(body)?;
        let handle = handle.recv().map_err(io::Error::other)?;
        Ok((handle, Self { keep_alive, ended }))
    }
}

fn describe(ended: &Result<(), JoinError>) -> &'static str {
    match ended {
        Ok(()) => "it failed or was stopped",
        Err(error) if error.is_panic() => "it panicked",
        Err(_) => "it was aborted",
    }
}
