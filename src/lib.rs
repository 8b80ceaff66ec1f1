//! An embeddable, actor-based, clustered Socket.IO node: no Redis, no broker, no sticky load balancer.
//!
//! Ordinary Socket.IO clients connect to any node, over polling, WebSocket or WebTransport, and every single HTTP request
//! may land on any node. Nodes find each other by gossip and talk directly to each other over QUIC.
//!
//! ```no_run
//! use socketmesh::cluster::{Cluster, Secret};
//! use socketmesh::{Args, Node, Socket, namespace};
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let chat = namespace("/")
//!     .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
//!     .on("message", async |socket: Socket, Args((room, text)): Args<(String, String)>| {
//!         Ok(socket.to(room).emit("message", &text)?) // to every node with a member there
//!     });
//! let cluster = Cluster::bind("0.0.0.0:7946")
//!     .seed("chat-nodes:7946")
//!     .secret(Secret::from_env()?.ok_or("SOCKETMESH_SECRET is not set")?);
//! let node = Node::builder().namespace(chat).cluster(cluster).start().await?;
//! node.serve(tokio::net::TcpListener::bind("0.0.0.0:3000").await?).await;
//! # Ok(()) }
//! ```
//!
//! # Layers
//!
//! Arrows point down; a test holds them.
//!
//! - [`Node`] wires everything; [`http`] routes requests to the sessions of this node or another.
//! - [`cluster`]: who is alive, who owns which session, how bytes travel between nodes.
//! - [`socket`]: Socket.IO v5 and v4, namespaces, rooms, events, acks.
//! - [`engine`]: Engine.IO v4 and v3, one client's session over changing transports; can be used on its own.
//! - [`id`]: names of nodes, sessions and sockets.
//! - `testing`, with the feature of that name: a cluster in one process, in virtual time, for the tests of applications.

mod catch_panic;
pub mod cluster;
mod counter;
pub mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod id;
mod log_limit;
mod node;
mod random;
mod setters;
pub mod socket;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use node::{Node, NodeBuilder, StartError};
pub use random::RandomError;
pub use socket::{
    AckError, Acks, Args, DisconnectReason, EventError, Handshake, Namespace, NamespaceRef, RawArg, RawArgs,
    Refusal, RemoteSocket, Result, RoomEvent, Socket, Sockets, Target, namespace, namespaces,
    namespaces_where, reply,
};
