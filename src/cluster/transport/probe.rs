//! What the machine of another node knows: whether a process listens at its port (docs/protocol/mesh.md, "Death").
//!
//! When a process ends, its machine answers every packet to its port with an ICMP message. QUIC does not look at those, because
//! anybody can send them. So a second socket sends an empty packet with each ping. Its answer counts only when the ping has none.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Asks a machine whether anybody listens at a port.
pub(crate) trait Probe: fmt::Debug + Send + Sync {
    /// Sends an empty packet. Returns whether an earlier one was refused, and it is not known yet.
    fn send(&self) -> bool;

    /// Whether a packet was refused. Each refusal is told once.
    fn take_refusal(&self) -> bool;
}

/// Makes the probes of a node.
pub(crate) trait Probes: fmt::Debug + Send + Sync {
    /// A probe of the port at this address. `None` when there is no way there.
    fn towards(&self, to: SocketAddr) -> Option<Box<dyn Probe>>;
}

/// What is known from the probes of one connection.
#[derive(Debug, Default)]
pub(crate) struct ProbeRecord(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sent: Option<Instant>,
    refused: bool,
    /// The probe was refused although the node lives: something between the two refuses the one and not the other.
    misleads: bool,
}

impl ProbeRecord {
    /// Sends a probe together with a ping. The other node has answered last at `answered`.
    pub(crate) fn ask(&self, probe: &dyn Probe, answered: Instant, now: Instant) {
        let mut state = self.0.lock();
        if state.misleads {
            return;
        }
        state.refused |= probe.send();
        match state.sent {
            // It has not answered since: what was refused stays so.
            Some(sent) if answered < sent => {}
            before => {
                state.misleads = state.refused && before.is_some();
                (state.sent, state.refused) = (Some(now), false);
            }
        }
    }

    /// Whether nobody listens at the port of the other node, which has answered last at `answered`. If that is not known it is asked
    /// again: machines answer only a few packets at once and then one a second, which the other packets of the connection use up.
    pub(crate) fn is_refused(&self, probe: &dyn Probe, answered: Instant) -> bool {
        let mut state = self.0.lock();
        state.refused |= probe.take_refusal();
        let is_silent = state.sent.is_some_and(|sent| answered < sent) && !state.misleads;
        if is_silent && !state.refused {
            state.refused |= probe.send();
        }
        is_silent && state.refused
    }
}

/// Those of a node whose socket is bound to this address of the machine.
#[derive(Debug)]
pub(crate) struct MachineProbes {
    pub(crate) from: IpAddr,
}

impl Probes for MachineProbes {
    fn towards(&self, to: SocketAddr) -> Option<Box<dyn Probe>> {
        // One for every IPv6 address takes IPv4 as well.
        let from = Some(self.from.to_canonical()).filter(|from| from.is_ipv4() == to.is_ipv4());
        let socket = UdpSocket::bind((from.unwrap_or_else(|| unspecified_like(to)), 0)).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(to).ok()?;
        Some(Box::new(MachineProbe(socket)))
    }
}

/// A socket that is connected to the port of another node, so that the system tells it of refusals.
#[derive(Debug)]
struct MachineProbe(UdpSocket);

impl Probe for MachineProbe {
    fn send(&self) -> bool {
        // A socket tells of an error with the next call, and does not send then.
        let refused = self.0.send(&[]).is_err_and(|error| is_refusal(&error));
        if refused {
            let _lost = self.0.send(&[]);
        }
        refused
    }

    fn take_refusal(&self) -> bool {
        self.0.take_error().ok().flatten().is_some_and(|error| is_refusal(&error))
    }
}

/// Any address of this machine, of the same family.
pub(crate) fn unspecified_like(peer: SocketAddr) -> IpAddr {
    if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn probe(to: SocketAddr) -> Box<dyn Probe> {
        MachineProbes { from: Ipv4Addr::UNSPECIFIED.into() }.towards(to).unwrap()
    }

    fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn the_machine_of_a_process_that_ended_says_so() {
        let node = socket();
        let probe = probe(node.local_addr().unwrap());
        let (record, start) = (ProbeRecord::default(), Instant::now());
        record.ask(probe.as_ref(), start, start);
        assert!(!record.is_refused(probe.as_ref(), start), "it is silent, and its port is taken");
        drop(node);
        let later = start + Duration::from_millis(500);
        record.ask(probe.as_ref(), start, later);
        assert!(record.is_refused(probe.as_ref(), start));
        assert!(record.is_refused(probe.as_ref(), start), "it is not forgotten by asking");
        for _ in 0..5 {
            record.ask(probe.as_ref(), start, later);
        }
        assert!(record.is_refused(probe.as_ref(), start), "nor by more pings");
        assert!(!record.is_refused(probe.as_ref(), later), "a node that answers is there");
    }

    #[test]
    fn a_probe_that_is_refused_while_the_node_answers_counts_never_again() {
        let probe = probe(socket().local_addr().unwrap());
        let (record, start, second) = (ProbeRecord::default(), Instant::now(), Duration::from_secs(1));
        record.ask(probe.as_ref(), start, start);
        record.ask(probe.as_ref(), start + second / 2, start + second);
        record.ask(probe.as_ref(), start + second / 2, start + 2 * second);
        assert!(!record.is_refused(probe.as_ref(), start + second / 2));
    }
}
