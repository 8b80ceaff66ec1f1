//! Tests of an application on a whole cluster: nodes, clients, partitions and deaths in one process, in virtual time.
//!
//! Nodes are real, and so is everything between them (QUIC, gossip, the links) and between them and their clients (HTTP,
//! WebSocket, polling). Only the network is in memory. Enable the feature `testing` where tests are built:
//!
//! ```toml
//! [dev-dependencies]
//! socketmesh = { version = "0.1", features = ["testing"] }
//! tokio = { version = "1", features = ["macros", "test-util"] }
//! ```
//!
//! ```
//! use serde_json::json;
//! use socketmesh::testing::TestCluster;
//! use socketmesh::{Args, EventError, Handshake, Node, NodeBuilder, Refusal, Socket, namespace};
//!
//! // The application, as its `main` starts it on every node.
//! fn app() -> NodeBuilder {
//!     let chat = namespace("/chat")
//!         .auth(async |handshake: Handshake| {
//!             let auth: serde_json::Value = handshake.auth()?;
//!             auth["name"].as_str().map(str::to_owned).ok_or(Refusal::new("who are you?"))
//!         })
//!         .on_connect(async |socket: Socket<String>| Ok(socket.join("lobby").await?))
//!         .on("say", async |socket: Socket<String>, text: String| {
//!             if text.is_empty() {
//!                 return Err(EventError::new("empty", "say something"));
//!             }
//!             socket.to("lobby").emit("said", &Args((socket.data(), &text)))?;
//!             Ok(text.len())
//!         });
//!     Node::builder().namespace(chat)
//! }
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! async fn the_lobby_spans_the_nodes() {
//!     let cluster = TestCluster::start(3, |_| app()).await;
//!     let ann = cluster.node(0).connect("/chat", &json!({ "name": "ann" })).await.unwrap();
//!     let mut bob = cluster.node(2).connect("/chat", &json!({ "name": "bob" })).await.unwrap();
//!
//!     assert_eq!(ann.call::<usize>("say", "hi").await.unwrap(), 2);
//!     let Args((who, what)) = bob.recv::<Args<(String, String)>>("said").await;
//!     assert_eq!((who.as_str(), what.as_str()), ("ann", "hi"));
//!
//!     let error = ann.call::<usize>("say", "").await.unwrap_err();
//!     assert_eq!(error.code(), Some("empty"));
//!     bob.silent().await;
//! }
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! async fn nobody_enters_without_a_name() {
//!     let cluster = TestCluster::start(1, |_| app()).await;
//!     let refusal = cluster.node(0).connect("/chat", &json!({})).await.unwrap_err();
//!     assert_eq!(refusal.message(), "who are you?");
//! }
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! async fn what_is_said_in_a_partition_arrives_afterwards_and_a_client_survives_its_node() {
//!     let mut cluster = TestCluster::start(3, |_| app()).await;
//!     let mut ann = cluster.node(0).connect("/chat", &json!({ "name": "ann" })).await.unwrap();
//!     let mut bob = cluster.node(2).connect("/chat", &json!({ "name": "bob" })).await.unwrap();
//!
//!     cluster.partition(&[0], &[1, 2]);
//!     ann.emit("say", "can you hear me?").await;
//!     bob.silent().await; // two seconds, that take no time
//!     cluster.heal();
//!     assert_eq!(bob.recv::<Args<(String, String)>>("said").await.0.1, "can you hear me?");
//!
//!     cluster.kill(0).await; // as `kill -9`
//!     assert_eq!(ann.disconnected().await, "transport close");
//!     ann.reconnect(cluster.node(1)).await.unwrap();
//!     ann.emit("say", "I am back").await;
//!     assert_eq!(bob.recv::<Args<(String, String)>>("said").await.0.1, "I am back");
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! #     the_lobby_spans_the_nodes().await;
//! #     nobody_enters_without_a_name().await;
//! #     what_is_said_in_a_partition_arrives_afterwards_and_a_client_survives_its_node().await;
//! # }
//! ```
//!
//! # Time
//!
//! With `start_paused = true` the clock of tokio stands still while anything can run, and jumps to the next timer when
//! everything waits: hours of heartbeats, or the three seconds after which a node is dead, take no time, and a slow machine
//! changes nothing. That asks two things of the application: it takes its time from tokio (`tokio::time`, not
//! [`std::time::Instant`]), and does not wait for threads of its own or another process (a database) in a test; tokio's
//! clock does not know that it should stand still for them. It does for `spawn_blocking`, and so for `tokio::fs`. Without `start_paused`, the same test runs in
//! real time, on one thread or on several.
//!
//! # Chance
//!
//! What the network loses and delays follows from [`TestCluster::seed`], which is printed when a test fails; set it in
//! `SOCKETMESH_TEST_SEED`, or give it to [`TestCluster::start_seeded`]. The seed determines those decisions and what QUIC
//! lets itself be told, not every step: keys, ids and the choice of gossip partners come from the operating system, and
//! maps are in an order of their own. So a seed repeats the faults, and mostly the failure; a test without losses, and with
//! the usual delay, does not depend on it at all.
//!
//! # Limits
//!
//! A client is in one namespace, over a WebSocket or polling; it does not change from one to the other. The network has no
//! bandwidth: only delay, loss, and a queue of 2048 packets to each node. Clients reach their nodes without delay. The
//! application's own tasks survive [`TestCluster::kill`], as they are its own.

mod client;
mod cluster;
mod door;
mod entrance;
mod frames;
mod network;
mod packet;
mod random;
mod session;
#[cfg(test)]
mod tests;
mod transport;

pub use client::{Call, CallError, Client};
pub use cluster::{TestCluster, TestNode};
pub use entrance::Entrance;
