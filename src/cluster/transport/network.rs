//! What carries the packets between nodes: the machine's network, or one in memory for the tests of applications.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::SystemTime;

use quinn::AsyncUdpSocket;

use super::machine_socket::MachineSocket;
use super::refused_packets::{ErrorQueue, RefusedPackets};
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
    /// Whether this node can ask from other ports as well. A simulated one has a single port.
    pub(crate) has_other_ports: bool,
    pub(crate) refused: Arc<dyn RefusedPackets>,
}

type OpenSocket = Box<dyn FnOnce() -> io::Result<Arc<dyn AsyncUdpSocket>> + Send>;

/// The UDP ports and the clock of the machine.
#[derive(Debug)]
pub(crate) struct MachineNetwork;

impl Network for MachineNetwork {
    fn bind(&self, address: SocketAddr) -> io::Result<BoundSocket> {
        let socket = UdpSocket::bind(address)?;
        let local = socket.local_addr()?;
        let errors = Arc::new(ErrorQueue::of(&socket)?);
        let refused = Arc::clone(&errors);
        let open =
            Box::new(move || Ok(Arc::new(MachineSocket::new(socket, errors)?) as Arc<dyn AsyncUdpSocket>));
        Ok(BoundSocket { local, rng_seed: None, open, has_other_ports: true, refused })
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

/// The address that this machine's packets to a peer carry, when the socket is bound to `bound`.
pub(crate) fn source_towards(bound: SocketAddr, peer: SocketAddr) -> Option<IpAddr> {
    if !bound.ip().is_unspecified() {
        return Some(bound.ip());
    }
    // Connecting a UDP socket sends nothing: the system only looks up the route.
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    let ip = socket.local_addr().ok()?.ip().to_canonical();
    (!ip.is_unspecified()).then_some(ip)
}

/// Whether a socket bound to `bound` is what `address` names. An address that leads here from elsewhere, such as that of a
/// load balancer, does not.
pub(crate) fn is_bound_here(bound: SocketAddr, address: SocketAddr) -> bool {
    let (own, ip) = (bound.ip().to_canonical(), address.ip().to_canonical());
    let is_of_this_machine = || UdpSocket::bind((ip, 0)).is_ok();
    bound.port() == address.port() && (own == ip || own.is_unspecified() && is_of_this_machine())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_an_address_of_this_machine_with_the_port_of_the_socket_is_its_own() {
        for (bound, other, is_here) in [
            ("0.0.0.0:7946", "127.0.0.1:7946", true),
            ("0.0.0.0:7946", "127.0.0.1:7947", false),
            ("0.0.0.0:7946", "192.0.2.1:7946", false),
            ("127.0.0.1:7946", "127.0.0.2:7946", false),
            ("10.0.0.1:7946", "10.0.0.1:7946", true),
        ] {
            assert_eq!(is_bound_here(address(bound), address(other)), is_here, "{bound} {other}");
        }
    }

    #[test]
    fn the_source_of_packets_depends_on_where_they_go() {
        assert_eq!(source_towards(address("0.0.0.0:1"), address("127.0.0.1:9")), Some([127, 0, 0, 1].into()));
        assert_eq!(source_towards(address("10.1.2.3:1"), address("127.0.0.1:9")), Some([10, 1, 2, 3].into()));
    }
}
