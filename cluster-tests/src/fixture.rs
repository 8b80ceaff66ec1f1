//! The nodes that the protocol rules are judged against.

use std::net::SocketAddr;

/// Running nodes; they stop when dropped.
#[derive(Debug)]
pub struct Nodes {
    /// Where each node serves clients.
    pub http: Vec<SocketAddr>,
}

/// Nodes that echo every message at `/engine.io/`.
///
/// # Panics
/// They do not start.
#[expect(clippy::unused_async, reason = "nodes start asynchronously")]
pub async fn engine(nodes: usize) -> Nodes {
    panic!("no {nodes} nodes of the engine fixture yet")
}

/// Nodes with the namespaces of the Socket.IO suite at `/socket.io/`.
///
/// # Panics
/// They do not start.
#[expect(clippy::unused_async, reason = "nodes start asynchronously")]
pub async fn socket(nodes: usize) -> Nodes {
    panic!("no {nodes} nodes of the socket fixture yet")
}
