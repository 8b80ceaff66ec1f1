//! How the nodes of a test form a cluster: their names, their secret, and whom they ask first.

use std::net::{Ipv4Addr, SocketAddr};

use socketmesh::cluster::{Cluster, Secret};

/// The cluster settings of node `number`, at a free port of the loopback interface. `seed` is another node's address.
///
/// # Panics
/// `number` makes no valid node name.
#[must_use]
pub fn member(number: usize, seed: Option<SocketAddr>) -> Cluster {
    member_at(LOOPBACK, number, seed)
}

/// The same at a given address, which other nodes can have as their seed before this node starts.
///
/// # Panics
/// `number` makes no valid node name.
#[must_use]
pub fn member_at(bind: SocketAddr, number: usize, seed: Option<SocketAddr>) -> Cluster {
    let cluster = Cluster::bind(bind.to_string())
        .secret(Secret::new("a secret of the tests, at least 32 bytes").expect("long enough"))
        .node_id(format!("node-{number}").parse().expect("a node id"));
    cluster.seeds(seed.map(|seed| seed.to_string()))
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
