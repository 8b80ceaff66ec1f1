//! What the examples share: membership of a cluster from the environment, an address, and an end on Ctrl-C.

use std::env;
use std::io::{self, Write};
use std::net::Ipv4Addr;

use axum::Router;
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::{Node, NodeBuilder};
use tokio::net::TcpListener;

pub mod chat;

/// Whatever ends an example.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The description of a node, which is a member of a cluster if the environment says so.
///
/// # Errors
/// As [`cluster_from_env`].
pub fn builder() -> Result<NodeBuilder, BoxError> {
    let builder = Node::builder();
    Ok(match cluster_from_env()? {
        Some(cluster) => builder.cluster(cluster),
        None => builder,
    })
}

/// The cluster to be a member of: `SOCKETMESH_MESH` is this node's address for the others (UDP), `SOCKETMESH_SEED` theirs,
/// separated by commas, and `SOCKETMESH_SECRET` or `SOCKETMESH_SECRET_FILE` what they share. `None` without the first.
///
/// # Errors
/// The secret is too short, or its file cannot be read.
pub fn cluster_from_env() -> Result<Option<Cluster>, BoxError> {
    let Ok(mesh) = env::var("SOCKETMESH_MESH") else { return Ok(None) };
    let seeds = env::var("SOCKETMESH_SEED").unwrap_or_default();
    let seeds = seeds.split(',').map(str::trim).filter(|seed| !seed.is_empty());
    let cluster = Cluster::bind(mesh).seeds(seeds.map(str::to_owned));
    Ok(Some(match Secret::from_env()? {
        Some(secret) => cluster.secret(secret),
        None => cluster,
    }))
}

/// Serves the node at `/socket.io/` beside other routes, until Ctrl-C; says where, as soon as clients are welcome.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(node: Node, routes: Router) -> Result<(), BoxError> {
    let listener = listen().await?;
    let app = routes.nest_service("/socket.io", node.service());
    node.ready().await;
    let stopped = stopped(&node)?;
    announce(&listener, &node)?;
    Ok(axum::serve(listener, app).with_graceful_shutdown(stopped).await?)
}

/// Listens on this machine, at the port that is the first argument or `PORT`: 0 takes a free one, and none is 3000.
///
/// # Errors
/// It is not a port, or it is taken.
pub async fn listen() -> Result<TcpListener, BoxError> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok());
    let port: u16 = port.as_deref().unwrap_or("3000").parse()?;
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?)
}

/// Says where the clients of a node connect, and the other nodes: `http://127.0.0.1:3000 (mesh 127.0.0.1:7946)`.
///
/// # Errors
/// Nobody reads it.
pub fn announce(listener: &TcpListener, node: &Node) -> io::Result<()> {
    let mesh = node.mesh_addr().map_or_else(String::new, |mesh| format!(" (mesh {mesh})"));
    let mut out = io::stdout();
    writeln!(out, "http://{}{mesh}", listener.local_addr()?)?;
    out.flush()
}

/// Resolves after Ctrl-C, when the node has said goodbye to its clients and to the other nodes. Ctrl-C is waited for from
/// the call on.
///
/// # Errors
/// The operating system does not tell of Ctrl-C.
pub fn stopped(node: &Node) -> io::Result<impl Future<Output = ()> + use<>> {
    #[cfg(unix)]
    let mut pressed = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    #[cfg(windows)]
    let mut pressed = tokio::signal::windows::ctrl_c()?;
    let node = node.clone();
    Ok(async move {
        pressed.recv().await;
        node.shutdown().await;
    })
}

/// The programs of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
