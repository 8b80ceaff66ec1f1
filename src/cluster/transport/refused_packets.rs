//! What other machines say about the packets of a node: nobody listens there (docs/protocol/mesh.md, "Death").
//!
//! When a process ends, its machine answers every packet to its port with an ICMP message, if not every one: after the first
//! few one a second. QUIC does not look at those, because anybody can send them. Here they count only where a ping has no answer.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::cluster::address::canonical;

/// The refusals of the packets that a socket sends.
pub(crate) trait RefusedPackets: fmt::Debug + Send + Sync {
    /// When it was last seen that a packet to this address was refused.
    fn last(&self, to: SocketAddr) -> Option<Instant>;
}

/// Those that the system keeps for a socket, apart from what it receives. Elsewhere than on Linux there are none.
#[derive(Debug)]
pub(super) struct ErrorQueue {
    socket: UdpSocket,
    seen: Mutex<HashMap<SocketAddr, Instant>>,
}

impl ErrorQueue {
    /// Makes the system keep them. From then on every call of the socket may return such an error instead of what it is for,
    /// and is to be repeated.
    pub(super) fn of(socket: &UdpSocket) -> io::Result<Self> {
        let socket = socket.try_clone()?;
        system::open(&socket);
        Ok(Self { socket, seen: Mutex::default() })
    }

    /// Whether nothing waits to be read.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        system::next(&self.socket).is_none()
    }

    /// Empties the queue, which takes its memory from that of the packets received.
    pub(super) fn read(&self) {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        for to in (0..MAX_READ).map_while(|_| system::next(&self.socket)).flatten() {
            if seen.len() >= MAX_SEEN {
                seen.retain(|_, at| now < *at + FRESH);
            }
            if seen.len() < MAX_SEEN {
                seen.insert(canonical(to), now);
            }
        }
    }
}

impl RefusedPackets for ErrorQueue {
    fn last(&self, to: SocketAddr) -> Option<Instant> {
        self.read();
        self.seen.lock().get(&to).copied()
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
    use std::os::fd::AsRawFd;

    use nix::libc::{ECONNREFUSED, c_int, in_pktinfo, in6_pktinfo, sock_extended_err, sockaddr_in6};
    use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};

    pub(super) fn open(socket: &UdpSocket) {
        // A socket of IPv6 may send to IPv4 as well; each of the two is refused where it does not apply.
        let opened = [setsockopt(socket, Ipv4RecvErr, &true), setsockopt(socket, Ipv6RecvErr, &true)];
        if opened.iter().all(Result::is_err) {
            tracing::info!(
                "the system does not tell which packets are refused: dead nodes are noticed later"
            );
        }
    }

    /// Takes the next error, with what QUIC asks for of every packet, and where the packet went if it was refused. `None` when there is no more.
    pub(super) fn next(socket: &UdpSocket) -> Option<Option<SocketAddr>> {
        let mut space =
            nix::cmsg_space!(in6_pktinfo, in_pktinfo, c_int, c_int, sock_extended_err, sockaddr_in6);
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let error = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut [], Some(&mut space), flags).ok()?;
        let is_refusal = error.cmsgs().ok()?.any(|part| match part {
            ControlMessageOwned::Ipv4RecvErr(error, _) => error.ee_errno == ECONNREFUSED.unsigned_abs(),
            ControlMessageOwned::Ipv6RecvErr(error, _) => error.ee_errno == ECONNREFUSED.unsigned_abs(),
            _ => false,
        });
        Some(error.address.filter(|_| is_refusal).and_then(address))
    }

    fn address(address: SockaddrStorage) -> Option<SocketAddr> {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::net::{SocketAddr, UdpSocket};

    pub(super) fn open(_: &UdpSocket) {}

    pub(super) fn next(_: &UdpSocket) -> Option<Option<SocketAddr>> {
        None
    }
}

/// Errors that are read at once: more than the system keeps for a socket.
const MAX_READ: usize = 4096;
/// Addresses of which a refusal is known: more than a cluster has nodes.
const MAX_SEEN: usize = 4096;
/// An older refusal makes way for a new one.
const FRESH: Duration = Duration::from_secs(10);

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn bind(address: &str) -> UdpSocket {
        UdpSocket::bind(address).unwrap()
    }

    #[test]
    fn the_machine_of_a_process_that_ended_says_so() {
        for (own, other) in [("0.0.0.0:0", "127.0.0.1:0"), ("[::]:0", "[::1]:0"), ("[::]:0", "127.0.0.1:0")] {
            let (socket, node) = (bind(own), bind(other));
            // As QUIC uses it, which asks for more with every packet.
            let _state = quinn::udp::UdpSocketState::new((&socket).into()).unwrap();
            let refused = ErrorQueue::of(&socket).unwrap();
            let to = node.local_addr().unwrap();
            let sent_to = if own == "0.0.0.0:0" { to } else { mapped(to) };
            socket.send_to(b"1", sent_to).unwrap();
            assert_eq!(refused.last(to), None, "its port is taken");
            drop(node);
            socket.send_to(b"2", sent_to).unwrap();
            assert!(refused.last(to).is_some(), "{own} {to}");
            assert_eq!(refused.last(([127, 0, 0, 1], 1).into()), None, "that is about another one");
        }
    }

    /// As a socket of IPv6 names it.
    fn mapped(address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            SocketAddr::V6(_) => address,
        }
    }
}
