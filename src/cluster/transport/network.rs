//! What carries the packets between nodes: the machine's network, or one in memory for the tests of applications.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::SystemTime;

use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime};

use crate::id::Incarnation;

/// A network between nodes.
pub(crate) trait Network: fmt::Debug + Send + Sync {
    /// Takes an address.
    ///
    /// # Errors
    /// When the network does not have the address, or it is taken.
    fn bind(&self, address: SocketAddr) -> io::Result<BoundSocket>;

    /// The incarnation of a node that starts now. It is larger than those of all its earlier lives.
    fn next_incarnation(&self) -> Incarnation;

    /// Whether a mesh on this network runs on the runtime that starts it, and not on a thread of its own. Time can be
    /// virtual only where all tasks share a runtime.
    fn shares_runtime(&self) -> bool;
}

/// An address that a node has taken.
pub(crate) struct BoundSocket {
    pub(crate) local: SocketAddr,
    /// Seeds the random numbers of QUIC; `None` for those of the operating system.
    pub(crate) rng_seed: Option<[u8; 32]>,
    /// Gives the socket to QUIC. Must be called on the runtime of the mesh.
    pub(crate) open: OpenSocket,
}

type OpenSocket = Box<dyn FnOnce() -> io::Result<Arc<dyn AsyncUdpSocket>> + Send>;

/// The UDP ports and the clock of the machine.
#[derive(Debug)]
pub(crate) struct MachineNetwork;

impl Network for MachineNetwork {
    fn bind(&self, address: SocketAddr) -> io::Result<BoundSocket> {
        let socket = UdpSocket::bind(address)?;
        let local = socket.local_addr()?;
        let open = Box::new(move || TokioRuntime.wrap_udp_socket(socket));
        Ok(BoundSocket { local, rng_seed: None, open })
    }

    #[expect(clippy::disallowed_methods, reason = "the one place of this layer that reads the wall clock")]
    fn next_incarnation(&self) -> Incarnation {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Incarnation(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn shares_runtime(&self) -> bool {
        false
    }
}
