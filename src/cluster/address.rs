//! Which address of a node is told to whom (docs/protocol/mesh.md, "Addresses").
//!
//! An address is where a node is dialled, and never who it is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ring::digest::{Context, SHA256};

use crate::id::{Incarnation, NodeId};

/// Where this node can be reached, as far as it knows that itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnAddress {
    /// What its socket is bound to.
    pub(crate) bound: SocketAddr,
    /// What the configuration says.
    pub(crate) advertised: Option<SocketAddr>,
    /// What to tell before any peer was met: the best guess.
    pub(crate) first: SocketAddr,
}

impl OwnAddress {
    /// A node that is reached where it is bound.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn at(bound: SocketAddr) -> Self {
        Self { bound, advertised: None, first: bound }
    }

    /// The one address that holds towards everybody. A loopback address does so only for a node that is bound to one: then
    /// all that it ever meets is on its own machine.
    pub(crate) fn fixed(&self) -> Option<SocketAddr> {
        let bound = (!self.bound.ip().is_unspecified()).then_some(self.bound);
        self.advertised.filter(|address| may_be_told(*address, self.bound)).or(bound)
    }

    /// What to tell a peer whose packets come from `remote`: the configured address, or the one that this node's packets to
    /// it carry, `source`. An unspecified one says that the peer knows better: it sees where the packets come from.
    pub(crate) fn towards(&self, remote: SocketAddr, source: Option<IpAddr>) -> SocketAddr {
        let source = source.map(|ip| SocketAddr::new(ip, self.bound.port()));
        let known = [self.advertised, self.fixed(), source];
        let told = known.into_iter().flatten().find(|address| may_be_told(*address, remote));
        told.unwrap_or_else(|| unknown(self.bound.port()))
    }
}

/// Whether a node at `peer` can use this address: a loopback address is told only over the loopback.
pub(crate) fn may_be_told(address: SocketAddr, peer: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let stays = ip.is_loopback() && !peer.ip().to_canonical().is_loopback();
    address.port() != 0 && !ip.is_unspecified() && !stays
}

/// Stands for an address that nobody knows.
pub(crate) fn unknown(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// An IPv4 address that is written as an IPv6 one is the IPv4 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The name of a life of a node in gossip, where it has the form of an address. It is made from who the node is, so nodes
/// that advertise one and the same address are not taken for each other.
pub(crate) fn gossip_address(id: &NodeId, incarnation: Incarnation) -> SocketAddr {
    let mut hash = Context::new(&SHA256);
    for part in [&b"socketmesh gossip 1\0"[..], id.as_str().as_bytes(), b"\0", &incarnation.0.to_be_bytes()] {
        hash.update(part);
    }
    let mut octets = [0; 16];
    octets.iter_mut().zip(hash.finish().as_ref()).for_each(|(octet, byte)| *octet = *byte);
    // A unique local address (RFC 4193): it never means a machine of the Internet.
    let [first, ..] = &mut octets;
    *first = 0xfd;
    SocketAddr::from((Ipv6Addr::from(octets), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn own(bound: &str, advertised: Option<&str>) -> OwnAddress {
        let bound = address(bound);
        OwnAddress { bound, advertised: advertised.map(address), first: bound }
    }

    #[test]
    fn a_loopback_address_is_told_over_the_loopback_only_and_an_unspecified_one_never() {
        for (told, peer, may) in [
            ("127.0.0.1:1", "127.0.0.1:2", true),
            ("127.0.1.1:1", "10.0.0.2:2", false),
            ("[::1]:1", "10.0.0.2:2", false),
            ("[::ffff:127.0.0.1]:1", "[::ffff:10.0.0.2]:2", false),
            ("[::ffff:127.0.0.1]:1", "[::1]:2", true),
            ("0.0.0.0:1", "127.0.0.1:2", false),
            ("[::]:1", "10.0.0.2:2", false),
            ("10.0.0.1:0", "10.0.0.2:2", false),
            ("10.0.0.1:1", "127.0.0.1:2", true),
        ] {
            assert_eq!(may_be_told(address(told), address(peer)), may, "{told} to {peer}");
        }
    }

    #[test]
    fn a_peer_is_told_what_is_configured_and_else_what_the_socket_uses_towards_it() {
        let peer = address("10.0.0.2:7946");
        let source = |ip: &str| Some(ip.parse().unwrap());
        for (own, source, told) in [
            (own("0.0.0.0:7946", None), source("10.0.0.1"), "10.0.0.1:7946"),
            (own("[::]:7946", None), source("10.0.0.1"), "10.0.0.1:7946"),
            (own("[::]:7946", None), None, "0.0.0.0:7946"),
            (own("10.0.0.7:7946", None), source("10.0.0.7"), "10.0.0.7:7946"),
            (own("0.0.0.0:7946", Some("192.0.2.1:9")), source("10.0.0.1"), "192.0.2.1:9"),
            (own("0.0.0.0:7946", Some("127.0.1.1:7946")), source("10.0.0.1"), "10.0.0.1:7946"),
            (own("127.0.0.1:7946", None), source("127.0.0.1"), "0.0.0.0:7946"),
        ] {
            assert_eq!(own.towards(peer, source), address(told), "{own:?}");
        }
        let here = address("127.0.0.1:9");
        assert_eq!(own("127.0.0.1:7946", None).towards(here, None), address("127.0.0.1:7946"));
    }

    #[test]
    fn gossip_names_lives_of_nodes_and_not_their_addresses() {
        let name = |id: &str, life| gossip_address(&id.parse().unwrap(), Incarnation(life));
        let names = [name("a", 1), name("a", 2), name("b", 1)];
        assert_eq!(name("a", 1), names[0]);
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
        assert!(names.iter().all(|name| name.to_string().starts_with("[fd")));
    }
}
