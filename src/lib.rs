//! An embeddable Socket.IO server that forms a cluster by itself: no Redis, no broker, no sticky load balancer.
//!
//! Ordinary Socket.IO clients connect to any node, over polling, WebSocket or WebTransport, and each of their HTTP requests
//! may reach any node. The nodes find each other by gossip and talk directly to each other over QUIC.
//!
//! # A server
//!
//! A [`namespace`] describes what happens for each event. Arguments and return values are serde types; the value that a
//! handler returns is the acknowledgement.
//!
//! ```no_run
//! use socketmesh::{Args, Node, Socket, namespace};
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let chat = namespace("/")
//!     .on("join", async |socket: Socket, room: String| Ok(socket.join(room).await?))
//!     .on("message", async |socket: Socket, Args((room, text)): Args<(String, String)>| {
//!         socket.to(room).emit("message", &text)?; // to the members of the room, on every node
//!         Ok("delivered")
//!     });
//! let node = Node::builder().namespace(chat).start().await?;
//! node.serve(tokio::net::TcpListener::bind("0.0.0.0:3000").await?).await;
//! # Ok(()) }
//! ```
//!
//! Everybody is one line away: [`Socket::nsp`] gives a handler its namespace, and [`Node::of`] gives it to any other code. Both
//! the node and the namespace are handles that background tasks clone.
//!
//! ```
//! # use socketmesh::{NamespaceRef, Node, Result, Socket};
//! async fn announce(socket: Socket, text: String) -> Result<()> {
//!     Ok(socket.nsp().emit("announcement", &text)?) // to everybody, on every node: Node's `io.emit`
//! }
//!
//! async fn tick(chat: NamespaceRef) -> Result<()> {
//!     loop {
//!         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
//!         chat.emit("online", &chat.count().await.sockets)?;
//!     }
//! }
//!
//! fn start(node: &Node) {
//!     tokio::spawn(tick(node.of("/")));
//! }
//! ```
//!
//! In axum, or whatever else is built on tower or hyper, [`Node::service`] answers the requests instead of
//! [`Node::serve`]; [`http::Service`] says what the host has to say:
//!
//! ```text
//! let app = axum::Router::new().nest_service("/socket.io", node.service());
//! let app = app.into_make_service_with_connect_info::<ClientAddr>();
//! axum::serve(node.listener(listener), app).with_graceful_shutdown(node.stopped()).await
//! ```
//!
//! # A cluster
//!
//! The same application runs on many nodes when each of them is told about the [`cluster`]; nothing else changes.
//!
//! ```no_run
//! use socketmesh::Node;
//! use socketmesh::cluster::{Cluster, Secret};
//!
//! # async fn f(chat: socketmesh::Namespace) -> Result<(), Box<dyn std::error::Error>> {
//! let secret = Secret::from_env()?.ok_or("SOCKETMESH_SECRET is not set")?;
//! let cluster = Cluster::bind("0.0.0.0:7946").seed("chat-nodes:7946").secret(secret);
//! let node = Node::builder().namespace(chat).cluster(cluster).start().await?;
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! | Feature | What it adds | Default |
//! | --- | --- | --- |
//! | `axum` | In axum: the addresses of clients and their whole URLs ([`http::Service`]) | off |
//! | `tls` | TLS for clients without a proxy in front: `http::Tls`, `http::Certificate`, `Listener::tls` | off |
//! | `webtransport` | WebTransport for clients: `http::WebTransportListener`, `Node::serve_webtransport`; includes `tls` | off |
//! | `opentelemetry` | [Traces](https://github.com/socketmesh/socketmesh/blob/main/docs/guides/tracing.md): from the request of a client to the deliveries on other nodes, by the tracer provider that the application installs | off |
//! | `testing` | `testing`: a whole cluster with its clients in one process and in virtual time, for the tests of applications | off |
//!
//! TLS between nodes is always on and needs no feature.
//!
//! # Modules
//!
//! - The crate's root has what applications use every day: [`Node`], [`namespace`], [`Socket`], [`Target`], [`Sockets`].
//! - [`socket`]: Socket.IO itself, with its settings and the ways to describe namespaces, handlers, rooms and acks.
//! - [`cluster`]: how a node becomes a member of a cluster, and how it sees the others.
//! - [`http`]: listeners, CORS, cookies, middleware and client files.
//! - [`engine`]: the sessions below Socket.IO and their settings; a server for bare Engine.IO.
//! - [`id`]: the names of nodes, sessions and sockets.
//!
//! # Guides
//!
//! The [documentation in the repository](https://github.com/socketmesh/socketmesh/tree/main/docs) has guides (getting
//! started, coming from Node or from socketioxide, testing, security, sizing, troubleshooting), the reference (promises,
//! settings, counters, protocols) and the architecture.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod catch_panic;
pub mod cluster;
mod counter;
pub mod engine;
mod excerpt;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod id;
mod log_limit;
mod node;
mod per_address;
mod random;
mod setters;
pub mod socket;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod trace;

pub use admin::Admin;
pub use bytes::Bytes;
pub use node::{Drain, EvenOut, Failure, NamespaceError, Node, NodeBuilder, StartError};
pub use random::RandomError;
pub use socket::{
    Ack, AckError, Acks, Args, DisconnectReason, EventError, Handshake, Incoming, Namespace, NamespaceRef,
    RawArg, RawArgs, Refusal, RemoteSocket, Result, RoomEvent, Socket, Sockets, Target, namespace,
    namespaces, namespaces_where, reply,
};
