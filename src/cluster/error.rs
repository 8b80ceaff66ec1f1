//! Why a node cannot start as a member of a cluster.

use std::time::Duration;

use super::identity::IdentityError;
use crate::random::RandomError;

/// Why a node could not take part in a cluster.
///
/// ```
/// # async fn f(node: socketmesh::NodeBuilder) {
/// use socketmesh::cluster::StartError;
///
/// match node.start().await {
///     Err(socketmesh::StartError::Cluster(StartError::NoSecret)) => eprintln!("set SOCKETMESH_SECRET"),
///     started => drop(started),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no secret, so anybody could join. Give the same secret to every node, for example in `SOCKETMESH_SECRET`.
    #[error(
        "no cluster secret: nodes that others can reach, or that have seeds, need one (try `openssl rand -base64 32`)"
    )]
    NoSecret,
    /// The text is not an address, or the address is taken.
    #[error("cannot bind the cluster's UDP address {0}")]
    Bind(String, #[source] std::io::Error),
    /// A seed is not the name or the address of a host, a colon, and the UDP port of a node. IPv6 addresses go into brackets.
    #[error("the seed {0:?} is no host:port, as nodes:7946, 10.0.0.1:7946 or [fd00::1]:7946")]
    Seed(String),
    /// The time of silence is out of its range.
    #[error("silence_timeout = {0:?}: expected 2 s to 30 s")]
    Silence(Duration),
    /// The address to advertise is not one.
    #[error("cannot advertise {0}")]
    Advertise(String, #[source] std::io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The operating system's random generator failed.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A thread, a socket or an actor of the mesh could not be started.
    #[error("cannot start the mesh: {0}")]
    Mesh(String),
}
