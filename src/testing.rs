//! A test kit for applications: a whole cluster with clients, partitions and crashes in one process, in virtual time.
//!
//! The nodes are real, and so are QUIC and gossip between them and HTTP, WebSocket and polling between them and their
//! clients. Only the network is simulated, in memory. Enable the feature `testing` for tests:
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
//! async fn a_client_without_a_name_is_refused() {
//!     let cluster = TestCluster::start(1, |_| app()).await;
//!     let refusal = cluster.node(0).connect("/chat", &json!({})).await.unwrap_err();
//!     assert_eq!(refusal.message(), "who are you?");
//! }
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! async fn an_event_emitted_in_a_partition_arrives_afterwards_and_a_client_reconnects_after_a_crash() {
//!     let mut cluster = TestCluster::start(3, |_| app()).await;
//!     let mut ann = cluster.node(0).connect("/chat", &json!({ "name": "ann" })).await.unwrap();
//!     let mut bob = cluster.node(2).connect("/chat", &json!({ "name": "bob" })).await.unwrap();
//!
//!     cluster.partition(&[0], &[1, 2]);
//!     ann.emit("say", "can you hear me?").await;
//!     bob.silent().await; // two seconds of virtual time
//!     cluster.heal();
//!     assert_eq!(bob.recv::<Args<(String, String)>>("said").await.0.1, "can you hear me?");
//!
//!     cluster.kill(0).await; // like `kill -9`
//!     assert_eq!(ann.disconnected().await, "transport close");
//!     ann.reconnect(cluster.node(1)).await.unwrap();
//!     ann.emit("say", "I am back").await;
//!     assert_eq!(bob.recv::<Args<(String, String)>>("said").await.0.1, "I am back");
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! #     the_lobby_spans_the_nodes().await;
//! #     a_client_without_a_name_is_refused().await;
//! #     an_event_emitted_in_a_partition_arrives_afterwards_and_a_client_reconnects_after_a_crash().await;
//! # }
//! ```
//!
//! # Time
//!
//! With `start_paused = true` the clock of tokio stands still while a task can run, and jumps to the next timer when all
//! tasks wait. Hours of heartbeats, or the three seconds until a node is declared dead, take no time, and a slow machine
//! changes nothing. The application has to take its time from `tokio::time` (not [`std::time::Instant`]), and a test must
//! not wait for threads of its own or for another process such as a database, because tokio's clock does not stop for
//! those. It does stop for `spawn_blocking`, and so for `tokio::fs`. Without `start_paused` the same test runs in real
//! time, on one thread or on several.
//!
//! # Randomness
//!
//! The losses and delays of the network follow from [`TestCluster::seed`], which is printed when a test fails. Set it in
//! `SOCKETMESH_TEST_SEED`, or pass it to [`TestCluster::start_seeded`]. The seed also determines the random choices of
//! QUIC, but not every step of a run: keys, ids and gossip partners come from the operating system, and hash maps have an
//! order of their own. So a seed repeats the faults, and in most cases the failure. A test without losses and with the
//! default delay does not depend on it.
//!
//! # Limits
//!
//! - A client is in one namespace, and uses a WebSocket or polling; it does not upgrade.
//! - The network has delay, loss, and a queue of 2048 packets per node, but no bandwidth. The connections between clients
//!   and nodes have no delay.
//! - Tasks that the application spawned itself survive [`TestCluster::kill`].

mod client;
mod cluster;
mod frames;
mod listener;
pub(crate) mod network;
mod node;
mod packet;
mod random;
mod route;
mod session;
#[cfg(test)]
mod tests;
mod transport;

pub use client::{Call, CallError, Client};
pub use cluster::{TestCluster, TestNode};
pub use route::Route;
