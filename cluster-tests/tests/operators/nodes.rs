//! The nodes under test, their application, and clients that show every packet.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use cluster_tests::messages::Messages;
use cluster_tests::{deadline::within, websocket::WebSocket};
use serde_json::{Value, json};
use socketmesh::cluster::{Cluster, LinkState, Secret};
use socketmesh::{EventError, Handshake, Node, Socket, namespace};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The data of a client.
struct User {
    name: String,
    padding: usize,
}

/// A node, where it serves clients, and the server events that it handled.
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) http: SocketAddr,
    heard: mpsc::Receiver<Value>,
}

impl Server {
    /// As a member of a cluster, the first one without a seed.
    pub(crate) async fn start(name: &'static str, seed: Option<SocketAddr>) -> Self {
        let cluster = Cluster::bind("127.0.0.1:0")
            .node_id(name.parse().expect("a node id"))
            .secret(Secret::new("a secret of the tests, at least 32 bytes").expect("long enough"));
        let cluster = seed.iter().fold(cluster, |cluster, seed| cluster.seed(seed.to_string()));
        Self::serve(name, Some(cluster)).await
    }

    pub(crate) async fn serve(name: &'static str, cluster: Option<Cluster>) -> Self {
        let (log, heard) = mpsc::channel(100);
        let main = namespace("/")
            .auth(async |handshake: Handshake| {
                let auth: Value = handshake.auth()?;
                let name = auth.get("name").and_then(Value::as_str).unwrap_or("nobody").to_owned();
                let padding = auth.get("padding").and_then(Value::as_u64).unwrap_or_default();
                Ok(User { name, padding: usize::try_from(padding)? })
            })
            .describe(|user: &User| json!({ "name": user.name, "padding": "x".repeat(user.padding) }))
            .on("join", async |socket: Socket<User>, room: String| Ok(socket.join(room).await?))
            .on("who else", async |socket: Socket<User>, ()| {
                let others = socket.broadcast().fetch_sockets().await;
                Ok(others.found.len())
            })
            .on_server_event("log", async move |entry: Value| Ok(log.try_send(entry)?))
            .on_server_event("name", async move |()| Ok(name))
            .on_server_event("bytes", async |bytes: Bytes| Ok(bytes))
            .on_server_event("fail", async |()| Err::<(), _>(EventError::new("no", "on purpose")))
            .on_server_event("panic", async |()| {
                assert_eq!(1, 2, "on purpose");
                Ok(())
            })
            .on_server_event("hang or name", async move |()| {
                if name != "b" {
                    std::future::pending::<()>().await;
                }
                Ok(name)
            });
        let mut builder = Node::builder().namespace(main);
        if name == "a" {
            builder = builder.namespace(namespace("/only-a"));
        }
        if let Some(cluster) = cluster {
            builder = builder.cluster(cluster);
        }
        let node = builder.start().await.expect("the node starts");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let http = listener.local_addr().expect("an address");
        let serving = node.clone();
        tokio::spawn(async move { serving.serve(listener).await });
        Self { node, http, heard }
    }

    pub(crate) async fn sees(&self, members: usize) {
        let mut view = self.node.view().expect("it is in a cluster");
        let settled = view.wait_for(|view| {
            view.members.len() == members && view.members.iter().all(|member| member.link == LinkState::Up)
        });
        if tokio::time::timeout(START, settled).await.is_err() {
            let view = self.node.view().expect("it is in a cluster");
            panic!("{} does not see {members} members: {:?}", self.node.id(), view.borrow().members);
        }
        within("a node that takes clients", self.node.ready()).await;
    }

    pub(crate) async fn connect(&self, name: &str) -> Client {
        Client::connect(self.http, "", &json!({ "name": name })).await
    }

    pub(crate) fn all(&self) -> socketmesh::NamespaceRef {
        self.node.of("/")
    }

    pub(crate) fn has_heard_nothing(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }

    pub(crate) async fn hears(&mut self) -> Value {
        within("a server event", self.heard.recv()).await.expect("the node runs")
    }
}

/// Nodes a, b and c that see each other.
pub(crate) async fn three() -> [Server; 3] {
    let a = Server::start("a", None).await;
    let seed = a.node.mesh_addr();
    let (b, c) = (Server::start("b", seed).await, Server::start("c", seed).await);
    for server in [&a, &b, &c] {
        server.sees(3).await;
    }
    [a, b, c]
}

/// Three nodes with one client each.
pub(crate) async fn three_with_clients() -> ([Server; 3], [Client; 3]) {
    let servers = three().await;
    let [a, b, c] = &servers;
    let clients = [a.connect("ann").await, b.connect("bob").await, c.connect("cat").await];
    (servers, clients)
}

/// A client that returns every packet and acks nothing by itself.
pub(crate) struct Client {
    pub(crate) ws: WebSocket,
    pub(crate) id: String,
}

impl Client {
    pub(crate) async fn connect(http: SocketAddr, ns: &str, auth: &Value) -> Self {
        let mut ws =
            WebSocket::open(http, "/socket.io/?EIO=4&transport=websocket&tag=x").await.expect("an upgrade");
        assert!(ws.packet_text().await.starts_with('0'));
        ws.send(&format!("40{ns}{auth}")).await;
        let connected = ws.packet_text().await;
        let payload = connected.strip_prefix("40").and_then(|rest| rest.strip_prefix(ns));
        let payload: Value = serde_json::from_str(payload.unwrap_or_default())
            .unwrap_or_else(|error| panic!("{connected}: {error}"));
        Self { ws, id: payload["sid"].as_str().expect("a socket id").to_owned() }
    }

    /// The next packet.
    pub(crate) async fn packet(&mut self) -> String {
        self.ws.packet_text().await
    }

    /// Receives an event that wants an ack; returns the ack's id.
    pub(crate) async fn asked(&mut self, event: &str) -> String {
        let packet = self.packet().await;
        let split = packet.strip_prefix("42").and_then(|rest| rest.split_once('['));
        let (id, payload) = split.unwrap_or_else(|| panic!("an event, not {packet}"));
        assert!(!id.is_empty() && payload.starts_with(&format!("{event:?}")), "{packet}");
        id.to_owned()
    }

    pub(crate) async fn acknowledges(&mut self, event: &str, answer: &str) {
        let id = self.asked(event).await;
        self.ws.send(&format!("43{id}[{answer}]")).await;
    }

    /// Emits and waits for the ack.
    pub(crate) async fn calls(&mut self, event: &str, arg: &str) -> String {
        self.ws.send(&format!(r#"429["{event}",{arg}]"#)).await;
        let packet = self.packet().await;
        packet.strip_prefix("439").unwrap_or_else(|| panic!("an ack, not {packet}")).to_owned()
    }

    pub(crate) async fn joins(&mut self, room: &str) {
        assert_eq!(self.calls("join", &format!("{room:?}")).await, "[]");
    }
}

/// The names of the sockets that were found.
pub(crate) fn names(sockets: &socketmesh::Sockets) -> Vec<&str> {
    assert!(sockets.missing.is_empty(), "{:?}", sockets.missing);
    let mut names: Vec<_> =
        sockets.found.iter().map(|socket| socket.data["name"].as_str().unwrap_or_default()).collect();
    names.sort_unstable();
    names
}

/// Three nodes on a machine that does much else.
pub(crate) const START: Duration = Duration::from_secs(60);

pub(crate) fn sorted<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable();
    values
}
