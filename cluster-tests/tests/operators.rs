//! What can be done with many sockets wherever they are (Socket.IO server API: `fetchSockets`, `socketsJoin`,
//! `socketsLeave`, `disconnectSockets`, `emitWithAck`, `serverSideEmit`), on three nodes in one process.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use cluster_tests::{
    deadline::{DEADLINE, within},
    websocket::{Received, WebSocket},
};
use serde_json::{Value, json};
use socketmesh::cluster::{Cluster, LinkState, NodeState, Secret};
use socketmesh::{AckError, EventError, Handshake, Node, Socket, namespace};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;

// --- the cluster under test ---

/// What a client says about itself.
struct User {
    name: String,
    padding: usize,
}

/// A node, where it serves clients, and the server events that it handled.
struct Server {
    node: Node,
    http: SocketAddr,
    heard: mpsc::Receiver<Value>,
}

impl Server {
    async fn start(name: &'static str, seed: Option<SocketAddr>) -> Self {
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
            .on_server_event("hang", async |()| {
                std::future::pending::<()>().await;
                Ok(())
            });
        let cluster = Cluster::bind("127.0.0.1:0")
            .node_id(name.parse().expect("a node id"))
            .secret(Secret::new("a secret of the tests, at least 32 bytes").expect("long enough"));
        let cluster = seed.iter().fold(cluster, |cluster, seed| cluster.seed(seed.to_string()));
        let only_a = (name == "a").then(|| namespace("/only-a"));
        let builder = Node::builder().namespace(main).cluster(cluster);
        let builder = only_a.into_iter().fold(builder, |builder, ns| builder.namespace(ns));
        let node = builder.start().await.expect("the node starts");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let http = listener.local_addr().expect("an address");
        let serving = node.clone();
        tokio::spawn(async move { serving.serve(listener).await });
        Self { node, http, heard }
    }

    async fn sees(&self, members: usize) {
        let mut view = self.node.view().expect("it is in a cluster");
        let settled = view.wait_for(|view| {
            let up = |member: &socketmesh::cluster::MemberView| {
                member.link == LinkState::Up && member.state == NodeState::Ready
            };
            view.members.len() == members && view.members.iter().all(up)
        });
        within(format!("{members} members at {}", self.node.id()), settled).await.expect("the node runs");
        // Clients are let in a moment after the view says so.
        within("ready", self.node.ready()).await;
    }

    async fn connect(&self, name: &str) -> Client {
        Client::connect(self.http, "", &json!({ "name": name })).await
    }

    fn all(&self) -> socketmesh::NamespaceRef {
        self.node.of("/")
    }

    fn has_heard_nothing(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }

    async fn hears(&mut self) -> Value {
        within("a server event", self.heard.recv()).await.expect("the node runs")
    }
}

/// Nodes a, b and c that see each other.
async fn three() -> [Server; 3] {
    let a = Server::start("a", None).await;
    let seed = a.node.mesh_addr();
    let (b, c) = (Server::start("b", seed).await, Server::start("c", seed).await);
    for server in [&a, &b, &c] {
        server.sees(3).await;
    }
    [a, b, c]
}

/// Three nodes with one client each.
async fn three_with_clients() -> ([Server; 3], [Client; 3]) {
    let servers = three().await;
    let [a, b, c] = &servers;
    let clients = [a.connect("ann").await, b.connect("bob").await, c.connect("cat").await];
    (servers, clients)
}

/// A client that shows every packet and answers nothing by itself.
struct Client {
    ws: WebSocket,
    id: String,
}

impl Client {
    async fn connect(http: SocketAddr, ns: &str, auth: &Value) -> Self {
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
    async fn packet(&mut self) -> String {
        self.ws.packet_text().await
    }

    /// Receives an event that wants an ack; returns the ack's id.
    async fn asked(&mut self, event: &str) -> String {
        let packet = self.packet().await;
        let split = packet.strip_prefix("42").and_then(|rest| rest.split_once('['));
        let (id, payload) = split.unwrap_or_else(|| panic!("an event, not {packet}"));
        assert!(!id.is_empty() && payload.starts_with(&format!("{event:?}")), "{packet}");
        id.to_owned()
    }

    async fn acknowledges(&mut self, event: &str, answer: &str) {
        let id = self.asked(event).await;
        self.ws.send(&format!("43{id}[{answer}]")).await;
    }

    /// Emits and waits for the ack.
    async fn calls(&mut self, event: &str, arg: &str) -> String {
        self.ws.send(&format!(r#"429["{event}",{arg}]"#)).await;
        let packet = self.packet().await;
        packet.strip_prefix("439").unwrap_or_else(|| panic!("an ack, not {packet}")).to_owned()
    }

    async fn joins(&mut self, room: &str) {
        assert_eq!(self.calls("join", &format!("{room:?}")).await, "[]");
    }
}

/// The names of the sockets that were found.
fn names(sockets: &socketmesh::Sockets) -> Vec<&str> {
    assert!(sockets.missing.is_empty(), "{:?}", sockets.missing);
    let mut names: Vec<_> =
        sockets.found.iter().map(|socket| socket.data["name"].as_str().unwrap_or_default()).collect();
    names.sort_unstable();
    names
}

fn sorted(mut values: Vec<i32>) -> Vec<i32> {
    values.sort_unstable();
    values
}

// --- fetch_sockets ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetching_finds_the_sockets_of_all_nodes_each_once() {
    let (servers, _clients) = three_with_clients().await;
    for server in &servers {
        assert_eq!(names(&server.all().fetch_sockets().await), ["ann", "bob", "cat"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetched_socket_tells_who_it_is_here_as_elsewhere() {
    let ([a, b, _c], [ann, mut bob, _cat]) = three_with_clients().await;
    bob.joins("red").await;
    let here = b.all().to("red").fetch_sockets().await.found.remove(0);
    let there = a.all().to("red").fetch_sockets().await.found.remove(0);
    for socket in [&here, &there] {
        assert_eq!((socket.id.to_string(), socket.node.as_str()), (bob.id.clone(), "b"));
        assert_eq!(socket.rooms, ["red".into()], "without its own");
        assert_eq!(socket.data, json!({ "name": "bob", "padding": "" }));
        assert_eq!(socket.handshake.query_value("tag"), Some("x"));
        assert_eq!(socket.handshake.header("upgrade"), Some("websocket"));
        assert_eq!(socket.handshake.auth, json!({ "name": "bob" }));
        assert!(socket.handshake.address.is_some() && !socket.handshake.secure);
    }
    assert_eq!(here.handshake, there.handshake);
    drop(ann);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetching_takes_the_union_of_rooms_minus_the_excepted() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    ann.joins("red").await;
    bob.joins("red").await;
    bob.joins("blue").await;
    cat.joins("blue").await;
    let all = a.all();
    assert_eq!(names(&all.to("red").to("blue").fetch_sockets().await), ["ann", "bob", "cat"]);
    assert_eq!(names(&all.to("red").to("blue").except("blue").fetch_sockets().await), ["ann"]);
    assert_eq!(names(&all.except("red").fetch_sockets().await), ["cat"]);
    assert_eq!(names(&all.to(&bob.id).fetch_sockets().await), ["bob"], "by its own room");
    assert!(names(&all.to("green").fetch_sockets().await).is_empty());
    assert_eq!(ann.calls("who else", "null").await, "[2]", "a socket does not find itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetching_locally_asks_nobody() {
    let ([a, b, _c], _clients) = three_with_clients().await;
    assert_eq!(names(&a.all().local().fetch_sockets().await), ["ann"]);
    assert_eq!(names(&b.all().local().fetch_sockets().await), ["bob"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_any_size_arrives_whole() {
    let [a, b, _c] = three().await;
    let mut clients = Vec::new();
    for n in 0..12 {
        let auth = json!({ "name": format!("{n:02}"), "padding": 300_000 });
        clients.push(Client::connect(b.http, "", &auth).await);
    }
    let sockets = a.all().fetch_sockets().await;
    assert_eq!(names(&sockets).len(), 12);
    let whole =
        |socket: &socketmesh::RemoteSocket| socket.data["padding"].as_str().map(str::len) == Some(300_000);
    assert!(sockets.found.iter().all(whole));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rooms_of_all_nodes_are_listed_once() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    ann.joins("red").await;
    bob.joins("red").await;
    bob.joins("blue").await;
    cat.joins("green").await;
    let rooms = a.all().all_rooms().await;
    assert_eq!(rooms.found, ["blue".into(), "green".into(), "red".into()]);
    assert!(rooms.missing.is_empty());
    assert_eq!(a.all().local().all_rooms().await.found, ["red".into()]);
    assert_eq!(a.all().to("red").all_rooms().await.found, ["blue".into(), "red".into()], "of its members");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_serve_a_namespace_has_no_sockets_in_it() {
    let [a, b, c] = three().await;
    let mut client = Client::connect(a.http, "/only-a,", &json!({})).await;
    for server in [&a, &b, &c] {
        let sockets = server.node.of("/only-a").fetch_sockets().await;
        assert_eq!((sockets.found.len(), sockets.missing.len()), (1, 0));
    }
    let asking = tokio::spawn({
        let target = c.node.of("/only-a");
        async move { target.emit_with_ack::<u8, _>("ping", &()).await }
    });
    let packet = client.packet().await;
    let id = packet.trim_start_matches("42/only-a,").trim_end_matches(r#"["ping"]"#);
    client.ws.send(&format!("43/only-a,{id}[7]")).await;
    let acks = asking.await.unwrap().unwrap();
    assert_eq!((acks.replies, acks.missing, acks.missing_nodes.len()), (vec![7], 0, 0));
}

// --- sockets_join, sockets_leave ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_emitted_right_behind_a_join_reaches_those_who_joined() {
    let ([a, ..], mut clients) = three_with_clients().await;
    for round in 0..50 {
        let room = format!("room-{round}");
        a.all().to(&room).emit("too early", &round).unwrap();
        a.all().sockets_join([&room]);
        a.all().to(&room).emit("in time", &round).unwrap();
        for client in &mut clients {
            assert_eq!(client.packet().await, format!(r#"42["in time",{round}]"#));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emits_before_and_behind_a_join_and_a_leave_arrive_in_order() {
    let ([a, ..], mut clients) = three_with_clients().await;
    for round in 0..20 {
        a.all().emit("first", &round).unwrap();
        a.all().sockets_join(["red", "blue"]);
        a.all().to("red").to("blue").emit("second", &round).unwrap();
        a.all().to("red").sockets_leave(["red"]);
        a.all().to("red").emit("to nobody", &round).unwrap();
        a.all().to("blue").emit("third", &round).unwrap();
        a.all().sockets_leave(["blue"]);
        a.all().to("blue").emit("to nobody", &round).unwrap();
    }
    for client in &mut clients {
        for round in 0..20 {
            for event in ["first", "second", "third"] {
                assert_eq!(client.packet().await, format!(r#"42["{event}",{round}]"#));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_awaited_join_has_happened_for_the_emits_of_every_node() {
    let ([a, b, c], mut clients) = three_with_clients().await;
    for round in 0..20 {
        let room = format!("room-{round}");
        let applied = a.all().sockets_join([&room]).await;
        assert!(applied.missing.is_empty(), "{:?}", applied.missing);
        let emitter = if round % 2 == 0 { &b } else { &c };
        emitter.all().to(&room).emit("hi", &round).unwrap();
        for client in &mut clients {
            assert_eq!(client.packet().await, format!(r#"42["hi",{round}]"#));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_selects_by_room_and_except() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    for client in [&mut ann, &mut bob, &mut cat] {
        client.joins("red").await;
    }
    cat.joins("muted").await;
    a.all().to("red").except("muted").sockets_join(["blue"]);
    assert_eq!(names(&a.all().to("blue").fetch_sockets().await), ["ann", "bob"], "the ask sees the join");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_join_is_of_the_sockets_here() {
    let ([a, b, _c], _clients) = three_with_clients().await;
    assert!(a.all().local().sockets_join(["here"]).await.missing.is_empty());
    assert_eq!(names(&b.all().to("here").fetch_sockets().await), ["ann"]);
    a.all().local().sockets_leave(["here"]);
    assert!(a.all().local().all_rooms().await.found.is_empty(), "at once");
}

// --- disconnect_sockets ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnecting_comes_behind_the_emits_before_it() {
    let ([a, ..], mut clients) = three_with_clients().await;
    a.all().emit("last words", &()).unwrap();
    a.all().disconnect_sockets(false);
    a.all().emit("too late", &()).unwrap();
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["last words"]"#);
        assert_eq!(client.packet().await, "41");
        client.ws.send("40").await;
        assert!(client.packet().await.starts_with("40{"), "the connection stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnecting_with_close_ends_the_connections_behind_the_emits_before_it() {
    let ([a, ..], mut clients) = three_with_clients().await;
    a.all().emit("last words", &()).unwrap();
    a.all().disconnect_sockets(true);
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["last words"]"#);
        assert_eq!(client.packet().await, "41");
        while !matches!(client.ws.packet().await, Received::Closed(_)) {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_selected_are_disconnected() {
    let ([a, b, _c], [_ann, mut bob, mut cat]) = three_with_clients().await;
    bob.joins("red").await;
    cat.joins("red").await;
    assert!(a.all().to("red").except(&cat.id).disconnect_sockets(false).await.missing.is_empty());
    assert_eq!(bob.packet().await, "41");
    assert_eq!(names(&b.all().fetch_sockets().await), ["ann", "cat"]);
}

// --- emit_with_ack ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_come_from_all_nodes() {
    let ([_a, b, _c], clients) = three_with_clients().await;
    let answering = clients.into_iter().zip(1..).map(|(mut client, n)| {
        tokio::spawn(async move {
            client.acknowledges("ping", &format!("{n},\"ignored\"")).await;
            client
        })
    });
    let answering: Vec<_> = answering.collect();
    let acks = b.all().timeout(DEADLINE).emit_with_ack::<i32, _>("ping", &"x").await.unwrap();
    assert_eq!(sorted(acks.replies), [1, 2, 3]);
    assert_eq!((acks.missing, acks.missing_nodes.len()), (0, 0));
    for answered in answering {
        answered.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sockets_of_a_node_are_asked_under_one_id() {
    let [a, b, _c] = three().await;
    let mut clients = [b.connect("1").await, b.connect("2").await, b.connect("3").await];
    let asking = tokio::spawn({
        let all = a.all();
        async move { all.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    let mut ids = Vec::new();
    for client in &mut clients {
        ids.push(client.asked("ping").await);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    for (client, n) in clients.iter_mut().zip(1..) {
        // The second time nobody listens.
        client.ws.send(&format!("43{}[{n}]", ids[0])).await;
        client.ws.send(&format!("43{}[100]", ids[0])).await;
    }
    let acks = asking.await.unwrap();
    assert_eq!((sorted(acks.replies), acks.missing), (vec![1, 2, 3], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nobody_selected_there_is_nothing_to_wait_for() {
    let ([a, ..], _clients) = three_with_clients().await;
    let target = a.all().to("nowhere").timeout(Duration::from_secs(3600));
    let acks = within("no acks", target.emit_with_ack::<i32, _>("ping", &())).await.unwrap();
    assert_eq!((acks.replies.len(), acks.missing, acks.missing_nodes.len()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_in_time_is_counted_and_the_rest_is_returned() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_millis(1500));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    let (late_here, late_there) = (ann.asked("ping").await, cat.asked("ping").await);
    let acks = asking.await.unwrap();
    assert_eq!((acks.replies, acks.missing), (vec![2], 2));
    assert!(acks.missing_nodes.is_empty(), "every node said how many it asked: {:?}", acks.missing_nodes);
    // Late acks are ignored, and the connections stay.
    ann.ws.send(&format!("43{late_here}[1]")).await;
    cat.ws.send(&format!("43{late_there}[3]")).await;
    assert_eq!(ann.calls("who else", "null").await, "[2]");
    assert_eq!(cat.calls("who else", "null").await, "[2]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_leaves_is_not_waited_for() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_secs(3600));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    ann.acknowledges("ping", "1").await;
    bob.asked("ping").await;
    bob.ws.send("41").await;
    cat.asked("ping").await;
    drop(cat);
    let acks = within("the acks", asking).await.unwrap();
    assert_eq!((acks.replies, acks.missing, acks.missing_nodes.len()), (vec![1], 2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_emit_waits_for_the_sockets_here() {
    let ([_a, b, _c], [ann, mut bob, cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let target = b.all().local();
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    assert_eq!(asking.await.unwrap().replies, [2]);
    b.all().emit("end", &()).unwrap();
    for mut client in [ann, cat] {
        assert_eq!(client.packet().await, r#"42["end"]"#, "and nothing before it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_in_two_of_the_rooms_is_asked_once() {
    let ([a, ..], [_ann, mut bob, _cat]) = three_with_clients().await;
    bob.joins("red").await;
    bob.joins("blue").await;
    let asking = tokio::spawn({
        let target = a.all().to("red").to("blue").to(&bob.id);
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    assert_eq!(asking.await.unwrap().replies, [2]);
    a.all().emit("end", &()).unwrap();
    assert_eq!(bob.packet().await, r#"42["end"]"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_type_is_missing() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let all = a.all();
        async move { all.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    ann.acknowledges("ping", "1").await;
    bob.acknowledges("ping", r#""two""#).await;
    cat.acknowledges("ping", "").await;
    let acks = asking.await.unwrap();
    assert_eq!((acks.replies, acks.missing), (vec![1], 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_sent_to_nobody() {
    let ([a, ..], mut clients) = three_with_clients().await;
    assert!(a.all().emit_with_ack::<i32, _>("disconnect", &()).await.is_err(), "a reserved name");
    a.all().emit("end", &()).unwrap();
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["end"]"#);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emit_with_ack_keeps_its_place_among_emits() {
    let ([a, ..], mut clients) = three_with_clients().await;
    let asking = tokio::spawn({
        let all = a.all();
        async move {
            all.emit("before", &()).unwrap();
            let acks = all.emit_with_ack::<i32, _>("ping", &()).await.unwrap();
            all.emit("behind", &()).unwrap();
            acks
        }
    });
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["before"]"#);
        client.acknowledges("ping", "1").await;
    }
    assert_eq!(asking.await.unwrap().replies, [1, 1, 1]);
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["behind"]"#);
    }
}

// --- a node that dies while it is asked ---

/// Nodes a and b, and a third on a runtime of its own, which can end at any moment.
async fn with_a_mortal() -> ([Server; 2], Server, Runtime) {
    let a = Server::start("a", None).await;
    let seed = a.node.mesh_addr();
    let b = Server::start("b", seed).await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a thread");
    let mortal = runtime.spawn(Server::start("mortal", seed)).await.expect("it starts");
    for server in [&a, &b, &mortal] {
        server.sees(3).await;
    }
    ([a, b], mortal, runtime)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_not_waited_for_and_its_sockets_are_missing() {
    let ([a, b], mortal, runtime) = with_a_mortal().await;
    let (mut bob, mut moe) = (b.connect("bob").await, mortal.connect("moe").await);
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_secs(3600));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    moe.asked("ping").await;
    // Its word on how many it asked is there before this answer.
    assert_eq!(names(&a.all().fetch_sockets().await), ["bob", "moe"]);
    runtime.shutdown_background();
    drop(mortal);
    let acks = within("the acks", asking).await.unwrap();
    assert_eq!((acks.replies, acks.missing), (vec![2], 1));
    assert_eq!(acks.missing_nodes, ["mortal".parse().unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_missing_in_every_kind_of_answer_and_then_is_not_asked() {
    let ([a, b], mortal, runtime) = with_a_mortal().await;
    // From here on it answers nothing.
    let (block, blocked) = std::sync::mpsc::channel::<()>();
    let (stuck, is_stuck) = tokio::sync::oneshot::channel();
    runtime.spawn(async move {
        stuck.send(()).unwrap();
        blocked.recv().ok();
    });
    is_stuck.await.unwrap();
    let long = Duration::from_secs(3600);
    let (all, fetching) = (a.all(), a.all().timeout(long));
    let fetching = tokio::spawn(fetching.fetch_sockets());
    let listing = tokio::spawn(a.all().timeout(long).all_rooms());
    let joining = tokio::spawn({
        let target = all.timeout(long);
        async move { target.sockets_join(["red"]).await }
    });
    assert_eq!(names(&b.all().local().fetch_sockets().await), Vec::<&str>::new());
    drop(mortal);
    let lost = ["mortal".parse().unwrap()];
    assert_eq!(within("the sockets", fetching).await.unwrap().missing, lost);
    assert_eq!(within("the rooms", listing).await.unwrap().missing, lost);
    assert_eq!(within("the join", joining).await.unwrap().missing, lost);
    a.sees(2).await;
    let started = Instant::now();
    assert!(a.all().fetch_sockets().await.missing.is_empty());
    assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
    drop(block);
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_in_good_order_is_not_waited_for() {
    let [a, _b, c] = three().await;
    let asking = tokio::spawn({
        let all = a.all();
        async move { all.server_side_emit_with_ack::<(), _>("hang", &()).await.unwrap() }
    });
    let started = Instant::now();
    c.node.shutdown().await;
    let replies = asking.await.unwrap();
    assert_eq!(replies.missing, ["b".parse().unwrap(), "c".parse().unwrap()]);
    assert!(started.elapsed() < DEADLINE, "b never answers: five seconds");
}

// --- server_side_emit ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_event_reaches_every_other_node_in_order() {
    let [mut a, mut b, mut c] = three().await;
    for n in 0..20 {
        a.all().server_side_emit("log", &json!({ "n": n })).unwrap();
    }
    for server in [&mut b, &mut c] {
        for n in 0..20 {
            assert_eq!(server.hears().await, json!({ "n": n }));
        }
    }
    assert!(a.has_heard_nothing(), "never to self");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_to_a_server_event_come_from_every_other_node() {
    let [a, b, _c] = three().await;
    for (server, others) in [(&a, ["b", "c"]), (&b, ["a", "c"])] {
        let answers = server.all().server_side_emit_with_ack::<String, _>("name", &()).await.unwrap();
        let mut replies: Vec<_> =
            answers.replies.iter().map(|(node, said)| (node.as_str(), said.as_str())).collect();
        replies.sort_unstable();
        assert_eq!(replies, others.map(|name| (name, name)));
        assert!(answers.missing.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_event_carries_bytes_both_ways() {
    let [a, ..] = three().await;
    let bytes = Bytes::from(vec![0xff; 2000]);
    let answers = a.all().server_side_emit_with_ack::<Bytes, _>("bytes", &bytes).await.unwrap();
    assert!(answers.replies.iter().all(|(_, said)| *said == bytes));
    assert_eq!((answers.replies.len(), answers.missing.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_answer_says_so_at_once() {
    let [a, ..] = three().await;
    let others = ["b".parse().unwrap(), "c".parse().unwrap()];
    for event in ["fail", "panic", "nobody handles this", "bytes"] {
        let started = Instant::now();
        let answers = a.all().server_side_emit_with_ack::<u8, _>(event, &7).await.unwrap();
        assert_eq!((answers.replies.len(), &answers.missing[..]), (0, &others[..]), "{event}");
        assert!(started.elapsed() < Duration::from_secs(4), "{event} took {:?}", started.elapsed());
    }
    let answers = a.all().server_side_emit_with_ack::<String, _>("name", &()).await.unwrap();
    assert_eq!(answers.replies.len(), 2, "and goes on");
}

// --- RemoteSocket ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetched_socket_is_reached_wherever_it_is() {
    let ([a, _b, c], [_ann, mut bob, _cat]) = three_with_clients().await;
    let socket = a.all().to(&bob.id).fetch_sockets().await.found.remove(0);
    socket.emit("hi", &1).unwrap();
    assert_eq!(bob.packet().await, r#"42["hi",1]"#);
    let asking = tokio::spawn({
        let socket = socket.clone();
        async move { socket.emit_with_ack::<String, _>("ping", &()).await }
    });
    bob.acknowledges("ping", r#""pong""#).await;
    assert_eq!(asking.await.unwrap().unwrap(), "pong");
    assert!(socket.join(["red"]).await.missing.is_empty());
    assert_eq!(names(&c.all().to("red").fetch_sockets().await), ["bob"]);
    socket.leave(["red"]).await;
    assert!(names(&c.all().to("red").fetch_sockets().await).is_empty());
    socket.disconnect(false).await;
    assert_eq!(bob.packet().await, "41");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_fetched_socket_does_not_answer_is_told() {
    let ([a, ..], [_ann, mut bob, _cat]) = three_with_clients().await;
    let socket = a.all().to(&bob.id).fetch_sockets().await.found.remove(0);
    let silent = socket.timeout(Duration::from_millis(100)).emit_with_ack::<u8, _>("ping", &()).await;
    assert!(matches!(silent, Err(AckError::Timeout)), "{silent:?}");
    bob.asked("ping").await;
    let asking = tokio::spawn({
        let socket = socket.clone();
        async move { socket.emit_with_ack::<u8, _>("ping", &()).await }
    });
    bob.acknowledges("ping", r#""no number""#).await;
    let odd = asking.await.unwrap();
    assert!(matches!(odd, Err(AckError::Decode(_))), "{odd:?}");
    socket.disconnect(false).await;
    let gone = within("an answer", socket.emit_with_ack::<u8, _>("ping", &())).await;
    assert!(matches!(gone, Err(AckError::Disconnected)), "{gone:?}");
}

// --- one node ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_its_own_does_the_same_alone() {
    let server = Server::start("a", None).await;
    server.sees(1).await;
    let (mut ann, mut bob) = (server.connect("ann").await, server.connect("bob").await);
    let all = server.all();
    assert_eq!(names(&all.fetch_sockets().await), ["ann", "bob"]);
    all.to(&ann.id).sockets_join(["red"]).await;
    assert_eq!(all.all_rooms().await.found, ["red".into()]);
    let asking = tokio::spawn({
        let all = all.clone();
        async move { all.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    ann.acknowledges("ping", "1").await;
    bob.acknowledges("ping", "2").await;
    assert_eq!(sorted(asking.await.unwrap().replies), [1, 2]);
    let answers = all.server_side_emit_with_ack::<String, _>("name", &()).await.unwrap();
    assert_eq!((answers.replies.len(), answers.missing.len()), (0, 0));
    all.to("red").disconnect_sockets(false);
    assert_eq!(ann.packet().await, "41");
    assert_eq!(names(&all.fetch_sockets().await), ["bob"]);
}
