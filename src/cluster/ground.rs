//! Where a mesh runs and what carries its packets: a thread of its own and the machine's network, or, for the tests of
//! applications, the runtime of its caller and a network in memory.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};
use ractor::ActorRef;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::cluster::config::StartError;
use crate::cluster::control::Message;
use crate::cluster::endpoint::Endpoint;
use crate::id::Incarnation;

/// A network between nodes that is not the machine's. Its nodes have no clock but the runtime's.
pub(crate) trait Network: fmt::Debug + Send + Sync {
    /// Takes an address.
    ///
    /// # Errors
    /// When there is no such address on this network.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// The incarnation of a node that starts now: larger than all before it.
    fn next_life(&self) -> Incarnation;

    /// Where the QUIC of the next node takes its random numbers from, as far as it lets itself be told.
    fn seed(&self) -> [u8; 32];
}

/// What a node is bound to.
#[derive(Debug)]
pub(crate) enum Socket {
    /// A port of the machine.
    Udp(UdpSocket),
    /// An address of a network in memory, and the seed of its QUIC.
    Simulated(Arc<dyn AsyncUdpSocket>, [u8; 32]),
}

impl Socket {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Simulated(socket, _) => socket.local_addr(),
        }
    }

    /// Where QUIC takes its random numbers from, if it is told.
    pub(crate) fn seed(&self) -> Option<[u8; 32]> {
        match self {
            Self::Udp(_) => None,
            Self::Simulated(_, seed) => Some(*seed),
        }
    }

    /// The socket as QUIC takes it. Must run on the mesh's runtime.
    pub(crate) fn into_quic(self) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        match self {
            Self::Udp(socket) => TokioRuntime.wrap_udp_socket(socket),
            Self::Simulated(socket, _) => Ok(socket),
        }
    }
}

/// What runs of a mesh.
pub(crate) struct Running {
    pub control: ActorRef<Message>,
    pub endpoint: Endpoint,
    /// Watches over the control actor.
    pub watch: AbortHandle,
}

/// How a mesh ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The peers are told.
    Goodbye,
    /// As if the process had been killed.
    #[cfg(any(test, feature = "testing"))]
    Kill,
}

/// The runtime of a mesh and what runs on it; dropped, it says goodbye and ends.
pub(crate) struct Ground {
    handle: Handle,
    running: Option<Running>,
    /// `None` on the runtime of the caller.
    thread: Option<Thread>,
}

impl Ground {
    /// A thread of its own: a busy application is not a dead node.
    ///
    /// # Errors
    /// When the machine gives none.
    pub(crate) fn own() -> Result<Self, StartError> {
        let (handle, thread) = Thread::spawn()?;
        Ok(Self { handle, running: None, thread: Some(thread) })
    }

    /// The runtime of the caller: time can stand still only where all tasks are.
    pub(crate) fn here() -> Self {
        Self { handle: Handle::current(), running: None, thread: None }
    }

    /// Starts the mesh on the ground.
    ///
    /// # Errors
    /// Those of `start`, and when the runtime stops.
    pub(crate) async fn run(
        &mut self,
        start: impl Future<Output = Result<Running, StartError>> + Send + 'static,
    ) -> Result<ActorRef<Message>, StartError> {
        let started = self.handle.spawn(start).await;
        let running = started.map_err(|error| StartError::Mesh(error.to_string()))??;
        let control = running.control.clone();
        self.running = Some(running);
        Ok(control)
    }

    /// Ends everything on it, even if the future is dropped; resolves when it has ended.
    pub(crate) fn stop(&mut self, how: Stop) -> impl Future<Output = ()> + use<> {
        let ended = match (&mut self.thread, self.running.take()) {
            (Some(thread), running) => thread.stop(how, running),
            (None, running) => {
                let (end, ended) = oneshot::channel();
                self.handle.spawn(async move {
                    if let Some(running) = running {
                        running.stop(how).await;
                    }
                    let _nobody_waits = end.send(());
                });
                Some(ended)
            }
        };
        async {
            if let Some(ended) = ended {
                let _gone = ended.await;
            }
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.stop(Stop::Goodbye));
    }
}

impl Running {
    /// Ends one mesh of a runtime that goes on: with its endpoint every connection ends, with its actor everything else.
    async fn stop(self, how: Stop) {
        self.watch.abort();
        match how {
            Stop::Goodbye => self.endpoint.close().await,
            #[cfg(any(test, feature = "testing"))]
            Stop::Kill => self.endpoint.abandon(),
        }
        self.control.kill();
    }
}

struct Thread {
    stop: Option<oneshot::Sender<(Stop, Option<Running>)>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Thread {
    fn spawn() -> Result<(Handle, Self), StartError> {
        let failed = |error: io::Error| StartError::Mesh(error.to_string());
        let (handle_out, handle) = std_mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel::<(Stop, Option<Running>)>();
        let (end, ended) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let body = move || {
            // Whoever starts us waits for it.
            let _sent = handle_out.send(runtime.handle().clone());
            runtime.block_on(async {
                if let Ok((Stop::Goodbye, Some(running))) = stopped.await {
                    running.endpoint.close().await;
                }
            });
            // Name lookups may still be running.
            runtime.shutdown_timeout(Duration::from_millis(100));
            let _nobody_waits = end.send(());
        };
        std::thread::Builder::new().name("socketmesh-mesh".to_owned()).spawn(body).map_err(failed)?;
        let handle = handle.recv().map_err(|error| StartError::Mesh(error.to_string()))?;
        Ok((handle, Self { stop: Some(stop), ended: Some(ended) }))
    }

    /// Ends the thread and everything on it.
    fn stop(&mut self, how: Stop, running: Option<Running>) -> Option<oneshot::Receiver<()>> {
        if let Some(stop) = self.stop.take() {
            // Fails only when the thread is gone already.
            drop(stop.send((how, running)));
        }
        self.ended.take()
    }
}
