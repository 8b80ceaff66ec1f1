//! What operators ask a node, and what load balancers ask on the port for clients.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::http::{Call, Reply};
use cluster_tests::member::member;
use cluster_tests::messages::{Messages as _, Received};
use cluster_tests::websocket::WebSocket;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method};
use serde_json::Value;
use socketmesh::cluster::{LinkState, MemberView, NodeState};
use socketmesh::engine::{self, Handshake};
use socketmesh::http::{AllowRequest, Middleware, Parts, Rejection};
use socketmesh::testing::TestCluster;
use socketmesh::{Ack, Admin, EventError, Node, NodeBuilder, Socket, namespace, namespaces};
use tokio::net::TcpListener;
use tower_service::Service as _;

/// A node with listeners for clients and for operators.
struct Served {
    node: Node,
    clients: SocketAddr,
    operators: SocketAddr,
}

impl Served {
    async fn start(builder: NodeBuilder, admin: impl FnOnce(Admin) -> Admin) -> Self {
        let echo = namespace("/")
            .on("join", async |socket: Socket, room: String| {
                socket.join(room).await.ok();
                Ok(())
            })
            .on("echo", async |_: Socket, text: String| Ok(text))
            .on("fail", async |_: Socket, (): ()| {
                Err::<(), _>(EventError::new("failed", "as it was asked to"))
            })
            .on("panic", async |_: Socket, (): ()| if true { panic!("as it was asked to") } else { Ok(()) })
            .on("late", async |socket: Socket, (): (), ack: Ack| {
                socket.disconnect();
                assert!(ack.send("too late").is_err());
            })
            .on("ask", async |socket: Socket, millis: u64| {
                let asked = socket.timeout(Duration::from_millis(millis));
                Ok(asked.emit_with_ack::<String, _>("name?", &()).await.is_ok())
            });
        let many = namespaces("^/many-").on("echo", async |_: Socket, text: String| Ok(text));
        let node = builder.namespace(echo).namespace(many).start().await.expect("the node starts");
        let (clients, operators) = (listener().await, listener().await);
        let addresses =
            (clients.local_addr().expect("an address"), operators.local_addr().expect("an address"));
        let (serving, administered, admin) = (node.clone(), node.clone(), admin(node.admin()));
        tokio::spawn(async move { serving.serve(clients).await });
        tokio::spawn(async move { administered.serve_admin(admin, operators).await });
        Self { node, clients: addresses.0, operators: addresses.1 }
    }

    /// Waits until two nodes see each other, ready and linked.
    async fn sees_both(&self, other: &Self) {
        for node in [&self.node, &other.node] {
            let mut view = node.view().expect("a member");
            let settled = view.wait_for(|view| {
                let is_well =
                    |member: &MemberView| (member.state, member.link) == (NodeState::Ready, LinkState::Up);
                view.members.len() == 2 && view.members.iter().all(is_well)
            });
            within("two ready members", settled).await.expect("the node runs");
        }
    }

    async fn ask(&self, path: &str) -> Reply {
        Call::new(self.operators, Method::GET, path).send().await
    }

    async fn json(&self, path: &str) -> Value {
        let reply = self.ask(path).await;
        assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
        serde_json::from_str(reply.text()).expect("JSON")
    }

    /// A client of this node, in a room, and the id of its socket.
    async fn client_in(&self, room: &str) -> (WebSocket, String) {
        let mut client = WebSocket::open(self.clients, "/socket.io/?EIO=4&transport=websocket")
            .await
            .expect("a WebSocket");
        client.next().await;
        client.send("40").await;
        let connected = client.recv_text().await;
        let id = connected.split('"').nth(3).expect("an id").to_owned();
        client.send(&format!(r#"420["join","{room}"]"#)).await;
        client.next().await;
        (client, id)
    }

    fn stop(&self, node: &str) -> Call {
        Call::new(self.operators, Method::POST, &format!("/drain?node={node}"))
    }

    async fn metrics(&self) -> String {
        let reply = self.ask("/metrics").await;
        assert_eq!(reply.status(), 200);
        reply.text().to_owned()
    }

    /// Asserts what these series are, each without `socketmesh_`.
    async fn measures<const N: usize>(&self, expected: [(&str, u64); N]) {
        let metrics = self.metrics().await;
        for (series, value) in expected {
            let line = format!("socketmesh_{series} {value}");
            let name = line.split('{').next().unwrap_or_default();
            let like = metrics.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
            assert!(metrics.lines().any(|measured| measured == line), "{line}, and not\n{}", like.join("\n"));
        }
    }

    /// Waits until a series has this value.
    async fn comes_to(&self, series: &str, value: &str) {
        let reached = async {
            while self.metric(series).await != value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(format!("{series} {value}"), reached).await;
    }

    async fn metric(&self, series: &str) -> String {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} is not in\n{metrics}")).to_owned()
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

#[tokio::test]
async fn a_node_alone_is_alive_and_ready_and_says_so_to_operators_and_balancers() {
    let served = Served::start(Node::builder(), |admin| admin).await;
    for address in [served.operators, served.clients] {
        for (path, answer) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
            assert_eq!(Call::new(address, Method::GET, path).send().await.outcome(), (200, answer));
            let head = Call::new(address, Method::HEAD, path).send().await;
            assert_eq!(
                (head.outcome(), head.header("content-length")),
                ((200, ""), Some(&*answer.len().to_string()))
            );
        }
    }
    let json =
        Call::new(served.operators, Method::GET, "/readyz").header("accept", "application/json").send().await;
    let state: Value = serde_json::from_str(json.text()).expect("JSON");
    assert_eq!((&state["ready"], &state["reason"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(Call::new(served.operators, Method::POST, "/healthz").send().await.status(), 405);
    assert_eq!(served.ask("/other").await.status(), 404);
    assert_eq!(Call::new(served.clients, Method::GET, "/metrics").send().await.status(), 404);
}

#[tokio::test]
async fn a_node_that_does_not_find_its_cluster_is_alive_and_not_ready_and_says_why() {
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let seed = nobody.local_addr().expect("an address");
    let served = Served::start(Node::builder().cluster(member(0, Some(seed))), |admin| admin).await;
    assert_eq!(served.ask("/healthz").await.status(), 200);
    let refused = served.ask("/readyz").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.text().starts_with("this node is joining its cluster: "), "{}", refused.text());
    let to_balancers = Call::new(served.clients, Method::GET, "/readyz").send().await;
    assert_eq!(to_balancers.outcome(), (503, "this node is joining its cluster: it takes no clients yet"));
    assert_eq!(served.metric("socketmesh_ready").await, "0");
    let cluster: Value = serde_json::from_str(served.ask("/cluster").await.text()).expect("JSON");
    assert_eq!(cluster["ready"], false);
    assert!(cluster["obstacle"].is_string(), "{cluster}");
}

#[tokio::test]
async fn probes_are_off_on_the_port_of_clients_where_that_is_said() {
    let config = socketmesh::http::Config::default().health(false);
    let served = Served::start(Node::builder().http(config), |admin| admin).await;
    assert_eq!(Call::new(served.clients, Method::GET, "/healthz").send().await.status(), 404);
}

#[tokio::test]
async fn whoever_brings_no_token_gets_the_probes_and_nothing_else() {
    let served = Served::start(Node::builder(), |admin| admin.token("a token of operators")).await;
    assert_eq!((served.ask("/healthz").await.status(), served.ask("/readyz").await.status()), (200, 200));
    for path in ["/metrics", "/cluster", "/other"] {
        let refused = served.ask(path).await;
        assert_eq!((refused.status(), refused.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        for (token, status) in [("a token of operators", 200), ("a token of operator", 401), ("", 401)] {
            let bearer = format!("Bearer {token}");
            let call = Call::new(served.operators, Method::GET, path).header("authorization", &bearer);
            let status = if path == "/other" && status == 200 { 404 } else { status };
            assert_eq!(call.send().await.status(), status, "{path} with {token:?}");
        }
    }
}

#[tokio::test]
async fn sessions_sockets_rooms_and_members_are_measured() {
    let one = Served::start(Node::builder().cluster(member(0, None)), |admin| admin).await;
    let two = Served::start(Node::builder().cluster(member(1, one.node.mesh_addr())), |admin| admin).await;
    one.sees_both(&two).await;
    let mut clients = Vec::new();
    for path in ["/", "/many-1", "/many-2"] {
        let uri = "/socket.io/?EIO=4&transport=websocket";
        let mut client = WebSocket::open(one.clients, uri).await.expect("a WebSocket");
        client.send(&if path == "/" { "40".to_owned() } else { format!("40{path},") }).await;
        client.next().await;
        client.next().await;
        clients.push(client);
    }
    clients[0].send(r#"420["join","a"]"#).await;
    clients[0].next().await;
    for (series, value) in [
        (r#"socketmesh_engine_sessions{transport="websocket",protocol="4"}"#, "3"),
        (r#"socketmesh_engine_sessions{transport="polling",protocol="4"}"#, "0"),
        (r#"socketmesh_socket_sockets{namespace="/"}"#, "1"),
        (r#"socketmesh_socket_rooms{namespace="/"}"#, "1"),
        (r#"socketmesh_socket_sockets{namespace="^/many-"}"#, "2"),
        (r#"socketmesh_cluster_members{state="ready"}"#, "2"),
        ("socketmesh_engine_sessions_opened_total", "3"),
        ("socketmesh_ready", "1"),
    ] {
        assert_eq!(one.metric(series).await, value, "{series}");
    }
    let other = two.node.id();
    assert_eq!(one.metric(&format!(r#"socketmesh_cluster_link{{peer="{other}",state="up"}}"#)).await, "1");
    let rtt = one.metric(&format!(r#"socketmesh_cluster_link_rtt_seconds{{peer="{other}"}}"#)).await;
    assert!((0.000_001..10.).contains(&rtt.parse::<f64>().expect("a number")), "{rtt}");
    let cluster: Value = serde_json::from_str(one.ask("/cluster").await.text()).expect("JSON");
    assert_eq!(
        (cluster["members"].as_array().map(Vec::len), &cluster["sessions"]),
        (Some(2), &Value::from(3))
    );
    assert_eq!(cluster["members"][1]["state"], "ready");
}

/// A client that notes what passes over its WebSocket.
struct Noting {
    socket: WebSocket,
    sent: Passed,
    received: Passed,
}

#[derive(Debug, Default, PartialEq)]
struct Passed {
    packets: u64,
    bytes: u64,
}

impl Noting {
    async fn open(at: SocketAddr) -> Self {
        let socket = WebSocket::open(at, "/socket.io/?EIO=4&transport=websocket").await.expect("a WebSocket");
        Self { socket, sent: Passed::default(), received: Passed::default() }
    }

    async fn send(&mut self, packet: &str) {
        self.socket.send(packet).await;
        // The header of a short frame, and its mask.
        self.sent.add(packet.len() + 2 + 4);
    }

    async fn receive(&mut self) -> String {
        let Received::Text(packet) = within("a packet", self.socket.next()).await else { panic!("text") };
        self.received.add(packet.len() + 2);
        packet
    }
}

impl Passed {
    fn add(&mut self, bytes: usize) {
        assert!(bytes < 126, "a short frame");
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

#[tokio::test]
async fn packets_events_acks_and_handlers_are_measured_as_they_were() {
    let served = Served::start(Node::builder(), |admin| admin).await;
    let mut client = Noting::open(served.clients).await;
    client.receive().await;
    client.send("40").await;
    client.receive().await;
    for id in 0..10 {
        client.send(&format!(r#"42{id}["echo","hello"]"#)).await;
        assert_eq!(client.receive().await, format!(r#"43{id}["hello"]"#));
    }
    client.send(r#"4210["fail"]"#).await;
    assert!(client.receive().await.starts_with(r#"4310[{"error""#));
    client.send(r#"4211["ask",30]"#).await;
    client.receive().await;
    assert_eq!(client.receive().await, "4311[false]", "the client did not answer in time");
    client.send(r#"4212["ask",60000]"#).await;
    let question = client.receive().await;
    served.measures([(r#"socket_acks_pending{namespace="/"}"#, 1)]).await;
    let id = question.trim_start_matches("42").split('[').next().expect("an id").to_owned();
    client.send(&format!(r#"43{id}["a name"]"#)).await;
    assert_eq!(client.receive().await, "4312[true]");
    client.send(r#"42["panic"]"#).await;
    assert_eq!(client.receive().await, "41", "a panic disconnects the socket");
    client.send("40").await;
    client.receive().await;
    client.send(r#"4213["unheard of"]"#).await;
    client.send(r#"4214["late"]"#).await;
    assert_eq!(client.receive().await, "41", "neither has an ack");
    let Noting { mut socket, sent, received } = client;
    served
        .measures([
            (r#"socket_events_received_total{namespace="/"}"#, 16),
            (r#"socket_events_unknown_total{namespace="/"}"#, 1),
            (r#"socket_acks_too_late_total{namespace="/"}"#, 1),
            (r#"socket_events_sent_total{namespace="/"}"#, 2),
            (r#"socket_acks_pending{namespace="/"}"#, 0),
            (r#"socket_acks_timed_out_total{namespace="/"}"#, 1),
            (r#"socket_handlers_failed_total{namespace="/",kind="error"}"#, 1),
            (r#"socket_handlers_failed_total{namespace="/",kind="panic"}"#, 1),
            (r#"socket_handlers_failed_total{namespace="^/many-",kind="panic"}"#, 0),
            (r#"socket_handler_seconds_count{namespace="/"}"#, 16),
            (r#"socket_handler_seconds_bucket{le="+Inf",namespace="/"}"#, 16),
            (r#"engine_packets_received_total{transport="websocket"}"#, sent.packets),
            (r#"engine_received_bytes_total{transport="websocket"}"#, sent.bytes),
            (r#"engine_packets_sent_total{transport="websocket"}"#, received.packets),
            (r#"engine_sent_bytes_total{transport="websocket"}"#, received.bytes),
            ("engine_outbox_largest_bytes", 0),
        ])
        .await;
    socket.send_close().await;
    served.comes_to(r#"socketmesh_engine_sessions_closed_total{reason="transport close"}"#, "1").await;
}

#[tokio::test]
async fn packets_of_polls_are_measured_and_a_namespace_of_a_pattern_under_the_pattern() {
    let served = Served::start(Node::builder(), |admin| admin).await;
    let call = |method, query: &str| {
        Call::new(served.clients, method, &format!("/socket.io/?EIO=4&transport=polling{query}"))
    };
    let opened = call(Method::GET, "").send().await;
    let sid = opened.text().split('"').nth(3).expect("a sid");
    let query = format!("&sid={sid}");
    let mut answered = opened.bytes().len();
    let posts = ["40/many-1,", "42/many-1,1[\"echo\",\"a\"]\u{1e}42/many-1,2[\"echo\",\"b\"]"];
    for post in posts {
        assert_eq!(call(Method::POST, &query).body(post).send().await.outcome(), (200, "ok"));
        answered += call(Method::GET, &query).send().await.bytes().len();
    }
    let last = served.metric(r#"socketmesh_engine_packets_sent_total{transport="polling"}"#).await;
    if last == "3" {
        // The second echo came just after the first one was taken.
        answered += call(Method::GET, &query).send().await.bytes().len();
    }
    served
        .measures([
            (r#"engine_packets_received_total{transport="polling"}"#, 3),
            (r#"engine_received_bytes_total{transport="polling"}"#, posts.concat().len() as u64),
            (r#"engine_packets_sent_total{transport="polling"}"#, 4),
            (r#"engine_sent_bytes_total{transport="polling"}"#, answered as u64),
            (r#"socket_events_received_total{namespace="^/many-"}"#, 2),
            (r#"socket_handler_seconds_count{namespace="^/many-"}"#, 2),
            (r#"socket_events_received_total{namespace="/"}"#, 0),
        ])
        .await;
}

#[tokio::test]
async fn handshakes_are_measured_by_what_became_of_them() {
    let allow = AllowRequest::new(async |client: Arc<Handshake>| {
        if client.headers().contains_key("x-forbidden") { Err("no".into()) } else { Ok(()) }
    });
    let check = Middleware::new(async |request: Arc<Parts>| {
        if request.headers.contains_key("x-stopped") {
            Err(Rejection::new("no"))
        } else {
            Ok(HeaderMap::new())
        }
    });
    let http = socketmesh::http::Config::default().allow_request(allow).middleware([check]);
    let builder = Node::builder().http(http).engine(engine::Config::default().max_sessions(1));
    let served = Served::start(builder, |admin| admin).await;
    let call = |method, query: &str| Call::new(served.clients, method, &format!("/socket.io/?{query}"));
    let polling = "EIO=4&transport=polling";
    for (call, status) in [
        (call(Method::GET, polling).header("x-forbidden", "1"), 403),
        (call(Method::GET, polling).header("x-stopped", "1"), 400),
        (call(Method::GET, "EIO=4&transport=tcp"), 400),
        (call(Method::GET, "EIO=4&transport=tcp"), 400),
        (call(Method::POST, polling), 400),
        (call(Method::GET, "EIO=3&transport=polling"), 400),
        (call(Method::GET, "EIO=4&transport=websocket"), 400),
        (call(Method::GET, polling), 200),
        (call(Method::GET, polling), 503),
        (call(Method::GET, &format!("{polling}&sid=AAAAAAAAAAAAAAAAAAAA")), 400),
    ] {
        assert_eq!(call.send().await.status(), status);
    }
    served
        .measures([
            (r#"http_handshakes_total{result="accepted"}"#, 1),
            (r#"http_handshakes_total{result="forbidden"}"#, 1),
            (r#"http_handshakes_total{result="middleware"}"#, 1),
            (r#"http_handshakes_total{result="unknown_transport"}"#, 2),
            (r#"http_handshakes_total{result="bad_method"}"#, 1),
            (r#"http_handshakes_total{result="unsupported_protocol"}"#, 1),
            (r#"http_handshakes_total{result="not_an_upgrade"}"#, 1),
            (r#"http_handshakes_total{result="node_full"}"#, 1),
            (r#"http_handshakes_total{result="not_ready"}"#, 0),
            (r#"http_requests_refused_total{reason="unknown_session"}"#, 1),
        ])
        .await;
}

#[tokio::test]
async fn carried_requests_and_members_that_come_and_go_are_measured() {
    let one = Served::start(Node::builder().cluster(member(0, None)), |admin| admin).await;
    let two = Served::start(Node::builder().cluster(member(1, one.node.mesh_addr())), |admin| admin).await;
    one.sees_both(&two).await;
    let opened = Call::new(two.clients, Method::GET, "/socket.io/?EIO=4&transport=polling").send().await;
    let sid = opened.text().split('"').nth(3).expect("a sid").to_owned();
    let call =
        |method| Call::new(one.clients, method, &format!("/socket.io/?EIO=4&transport=polling&sid={sid}"));
    assert_eq!(call(Method::POST).body("40").send().await.outcome(), (200, "ok"));
    assert!(call(Method::GET).send().await.text().starts_with("40{"));
    one.measures([(r#"http_forwarded_requests_total{result="answered"}"#, 2)]).await;
    two.measures([
        (r#"http_forwarded_requests_total{result="answered"}"#, 0),
        (r#"engine_packets_received_total{transport="polling"}"#, 1),
    ])
    .await;
    let waiting = call(Method::GET).start().await;
    one.comes_to("socketmesh_http_forwarded_requests_in_flight", "1").await;
    waiting.abort();
    one.comes_to(r#"socketmesh_http_forwarded_requests_total{result="aborted"}"#, "1").await;

    two.node.kill().await;
    one.comes_to("socketmesh_cluster_members_died_total", "1").await;
    assert_eq!(call(Method::GET).send().await.status(), 400);
    one.measures([
        (r#"http_requests_refused_total{reason="unknown_session"}"#, 1),
        ("cluster_members_joined_total", 1),
        ("cluster_members_left_total", 0),
        (r#"cluster_members{state="ready"}"#, 1),
    ])
    .await;
    let three = Served::start(Node::builder().cluster(member(2, one.node.mesh_addr())), |admin| admin).await;
    one.sees_both(&three).await;
    three.node.shutdown().await;
    one.comes_to("socketmesh_cluster_members_left_total", "1").await;
    one.measures([("cluster_members_joined_total", 2), ("cluster_members_died_total", 1)]).await;
}

#[tokio::test]
async fn every_metric_is_in_the_reference_with_a_help_text_and_the_reference_invents_none() {
    let one = Served::start(Node::builder().cluster(member(0, None)), |admin| admin).await;
    let two = Served::start(Node::builder().cluster(member(1, one.node.mesh_addr())), |admin| admin).await;
    one.sees_both(&two).await;
    let metrics = one.metrics().await;
    let named = |kind: &str| -> BTreeSet<String> {
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(kind));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    assert_eq!(named("# HELP "), named("# TYPE "));
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/");
    let pages =
        ["admin.md", "counters.md"].map(|page| std::fs::read_to_string(format!("{root}{page}")).expect(page));
    let rows = pages.iter().flat_map(|page| page.lines());
    let cells = rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let told = cells.filter(|cell| cell.starts_with("socketmesh_") || cell.starts_with("process_"));
    assert_eq!(
        named("# TYPE "),
        told.map(str::to_owned).collect(),
        "left: measured, right: in the reference"
    );
}

#[tokio::test]
async fn every_metric_that_the_alerts_and_the_dashboard_name_is_measured() {
    let one = Served::start(Node::builder().cluster(member(0, None)), |admin| admin).await;
    let two = Served::start(Node::builder().cluster(member(1, one.node.mesh_addr())), |admin| admin).await;
    one.sees_both(&two).await;
    let metrics = one.metrics().await;
    let mut measured = BTreeSet::new();
    for (name, kind) in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let parts = ["_bucket", "_count", "_sum"].iter().filter(|_| kind == "histogram");
        measured.extend(parts.chain([&""]).map(|part| format!("{name}{part}")));
    }
    for file in ["prometheus/alerts.yml", "grafana/socketmesh.json"] {
        let text = std::fs::read_to_string(format!("{DEPLOY}/{file}")).expect(file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> =
            words.filter(|word| word.starts_with("socketmesh_") || word.starts_with("process_")).collect();
        let measured: BTreeSet<&str> = measured.iter().map(String::as_str).collect();
        assert!(named.len() > 10, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&measured).collect();
        assert!(unknown.is_empty(), "{file} names what nobody measures: {unknown:?}");
    }
}

#[cfg(feature = "balancers")]
#[tokio::test]
async fn prometheus_reads_the_metrics_and_the_alerts() {
    let served = Served::start(Node::builder().cluster(member(0, None)), |admin| admin).await;
    let file = std::env::temp_dir().join(format!("socketmesh-metrics-{}", std::process::id()));
    std::fs::write(&file, served.metrics().await).expect("a file");
    let metrics = std::fs::File::open(&file).expect("the file");
    let rules = format!("{DEPLOY}/prometheus/alerts.yml");
    let config = format!("{DEPLOY}/prometheus/prometheus.yml");
    for (arguments, input) in [
        (vec!["check", "metrics"], Some(metrics)),
        (vec!["check", "rules", &rules], None),
        (vec!["check", "config", "--syntax-only", &config], None),
    ] {
        let mut promtool = std::process::Command::new("promtool");
        promtool.args(&arguments);
        if let Some(input) = input {
            promtool.stdin(input);
        }
        let output = promtool.output().expect("promtool, of Debian's package prometheus");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    std::fs::remove_file(file).expect("it is there");
}

#[tokio::test]
async fn who_accepts_openmetrics_gets_that() {
    let served = Served::start(Node::builder(), |admin| admin).await;
    let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5";
    let call = Call::new(served.operators, Method::GET, "/metrics").header("accept", accept);
    let reply = call.send().await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(reply.text().ends_with("# EOF\n"));
    assert!(reply.text().contains("# TYPE socketmesh_engine_sessions_opened counter\n"));
    let older = served.ask("/metrics").await;
    assert_eq!(older.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(!older.text().contains("# EOF"));
}

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

#[tokio::test]
async fn settings_that_differ_are_in_the_view_with_both_values() {
    let [slow, fast] =
        [25, 10].map(|seconds| engine::Config::default().ping_interval(Duration::from_secs(seconds)));
    let first = Served::start(Node::builder().engine(slow).cluster(member(1, None)), |admin| admin).await;
    let second = Node::builder().engine(fast).cluster(member(2, first.node.mesh_addr()));
    let second = Served::start(second, |admin| admin).await;
    first.sees_both(&second).await;
    let differing = |node: &Node| {
        let view = node.view().expect("a member").borrow().clone();
        let all = view.members.iter().flat_map(|member| member.differing.iter().map(ToString::to_string));
        all.collect::<Vec<_>>()
    };
    assert_eq!(differing(&first.node), ["ping_interval is 25s here and 10s there"]);
    assert_eq!(differing(&second.node), ["ping_interval is 10s here and 25s there"]);
    let shown = first.ask("/cluster").await;
    let shown: Value = serde_json::from_str(shown.text()).expect("JSON");
    let members = shown["members"].as_array().expect("members");
    let other = members.iter().find(|member| member["id"] == "node-2").expect("the other one");
    assert_eq!(other["settings_that_differ"][0], "ping_interval is 25s here and 10s there");
}

/// Two nodes that see each other.
async fn pair(admin: impl Fn(Admin) -> Admin) -> (Served, Served) {
    let one = Served::start(Node::builder().cluster(member(0, None)), &admin).await;
    let two = Served::start(Node::builder().cluster(member(1, one.node.mesh_addr())), &admin).await;
    one.sees_both(&two).await;
    (one, two)
}

#[tokio::test]
async fn any_member_tells_what_every_member_says_of_itself() {
    let (one, two) = pair(|admin| admin).await;
    let _client = two.client_in("lobby").await;
    for asked in [&one, &two] {
        let cluster = asked.json("/cluster").await;
        assert_eq!(cluster["node"], asked.node.id().as_str());
        let members = cluster["members"].as_array().expect("members");
        assert_eq!(members.len(), 2);
        for (member, (sessions, peer)) in members.iter().zip([(0, "node-1"), (1, "node-0")]) {
            let report = &member["report"];
            assert_eq!(
                (&report["sessions"], &report["rooms"]),
                (&sessions.into(), &sessions.into()),
                "{member}"
            );
            assert_eq!(
                (&report["links"][0]["peer"], &report["links"][0]["state"]),
                (&peer.into(), &"up".into())
            );
            assert!(report["links"][0]["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0), "{report}");
            assert_eq!(report["counters"]["socketmesh_engine_sessions_opened_total"], sessions);
            assert_eq!((&member["problem"], &member["state"]), (&Value::Null, &"ready".into()));
            assert!(member["age_seconds"].as_u64().is_some_and(|age| age < 600), "{member}");
        }
        let shares = members.iter().filter_map(|member| member["ring_share"].as_f64());
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
    }
}

#[tokio::test]
async fn a_node_on_its_own_is_its_only_member() {
    let alone = Served::start(Node::builder(), |admin| admin).await;
    let (_client, id) = alone.client_in("lobby").await;
    let cluster = alone.json("/cluster").await;
    let members = cluster["members"].as_array().expect("members");
    assert_eq!((members.len(), &members[0]["id"]), (1, &alone.node.id().as_str().into()));
    assert_eq!((&members[0]["state"], &members[0]["report"]["sessions"]), (&"ready".into(), &1.into()));
    assert_eq!(alone.json(&format!("/sockets/{id}")).await["rooms"], serde_json::json!(["lobby"]));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_answer_is_shown_as_such_in_time() {
    let cluster = TestCluster::start(3, |_| Node::builder()).await;
    cluster.partition(&[0], &[2]);
    cluster.partition(&[1], &[2]);
    let started = tokio::time::Instant::now();
    let mut admin = cluster.node(0).node().admin();
    let request = hyper::Request::get("/cluster").body(()).expect("a request");
    let answer = admin.call(request).await.unwrap_or_else(|never| match never {});
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    let state: Value = serde_json::from_slice(&body).expect("JSON");
    let [first, second, third] = [0, 1, 2].map(|number| &state["members"][number]);
    for member in [first, second] {
        assert_eq!((&member["problem"], member["report"].is_object()), (&Value::Null, true), "{member}");
    }
    assert!(third["problem"].is_string() && third["report"].is_null(), "{third}");
}

#[tokio::test]
async fn the_largest_rooms_are_counted_over_all_nodes() {
    let (one, two) = pair(|admin| admin).await;
    let mut clients = Vec::new();
    for (node, room) in [
        (&one, "large"),
        (&two, "large"),
        (&two, "small"),
        (&two, "large"),
        (&one, "middle"),
        (&one, "middle"),
    ] {
        clients.push(node.client_in(room).await);
    }
    let room = |room: &str, sockets: u8, nodes: u8| serde_json::json!({ "namespace": "/", "room": room, "sockets": sockets, "nodes": nodes });
    for asked in [&one, &two] {
        let all = serde_json::json!({ "rooms": [room("large", 3, 2), room("middle", 2, 1), room("small", 1, 1)], "missing": [] });
        assert_eq!(asked.json("/rooms").await, all);
        assert_eq!(asked.json("/rooms?limit=1").await["rooms"], serde_json::json!([room("large", 3, 2)]));
    }
}

#[tokio::test]
async fn a_socket_is_found_whichever_node_has_it() {
    let (one, two) = pair(|admin| admin).await;
    let (mut client, id) = two.client_in("lobby").await;
    for asked in [&one, &two] {
        let socket = asked.json(&format!("/sockets/{id}")).await;
        assert_eq!((&socket["id"], &socket["node"]), (&id.as_str().into(), &"node-1".into()));
        assert_eq!((&socket["namespace"], &socket["rooms"]), (&"/".into(), &serde_json::json!(["lobby"])));
        assert_eq!(socket["data"], Value::Null, "the application describes none");
        assert!(
            socket["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")),
            "{socket}"
        );
    }
    assert_eq!(one.ask("/sockets/short").await.status(), 400);
    client.send("41").await;
    let gone = async { while one.ask(&format!("/sockets/{id}")).await.status() != 404 {} };
    within("the socket to be gone", gone).await;
}

#[tokio::test]
async fn any_member_passes_on_that_another_is_to_stop() {
    let asked: [Arc<Mutex<Vec<String>>>; 2] = Default::default();
    let surface = |number: usize, admin: Admin| {
        let heard = Arc::clone(&asked[number]);
        admin.drain(move |by| heard.lock().expect("no panic").push(by.to_owned()))
    };
    let one = Served::start(Node::builder().cluster(member(0, None)), |admin| surface(0, admin)).await;
    let two =
        Served::start(Node::builder().cluster(member(1, one.node.mesh_addr())), |admin| surface(1, admin))
            .await;
    one.sees_both(&two).await;
    for node in ["node-0", "node-1"] {
        let answer = one.stop(node).header("x-socketmesh-operator", "1").send().await;
        assert_eq!(answer.outcome(), (200, &*format!(r#"{{"asked":true,"node":"{node}"}}"#)));
    }
    for heard in &asked {
        let heard = heard.lock().expect("no panic").join(",");
        assert!(heard.starts_with("127.0.0.1:") && heard.ends_with(" at node-0"), "{heard}");
    }
    let unknown = one.stop("node-9").header("x-socketmesh-operator", "1").send().await;
    assert_eq!(unknown.outcome(), (404, "no member has this name; the members are node-0, node-1\n"));
    let nobody = one.stop("").header("x-socketmesh-operator", "1").send().await;
    assert_eq!(nobody.status(), 404);
}

#[tokio::test]
async fn a_node_whose_application_does_not_take_part_is_not_asked_to_stop() {
    let deaf = Served::start(Node::builder().cluster(member(0, None)), |admin| admin).await;
    let other =
        Served::start(Node::builder().cluster(member(1, deaf.node.mesh_addr())), |admin| admin.drain(|_| {}))
            .await;
    deaf.sees_both(&other).await;
    let refused = other.stop("node-0").header("x-socketmesh-operator", "1").send().await;
    assert_eq!(refused.outcome(), (501, "node-0: the node cannot be asked to stop\n"));
    assert_eq!(deaf.stop("node-1").header("x-socketmesh-operator", "1").send().await.status(), 405);
}

#[tokio::test]
async fn pages_of_other_sites_stop_no_node() {
    let refuse = |_: &str| panic!("it is not asked");
    let open = Served::start(Node::builder(), |admin| admin.drain(refuse)).await;
    let node = open.node.id().as_str();
    assert_eq!(open.stop(node).send().await.status(), 403, "a form of any page can do this");
    let rebound =
        open.stop(node).header("x-socketmesh-operator", "1").header("host", "a.example").send().await;
    assert_eq!(rebound.status(), 403, "a page whose name leads here now can do this");
    let safe = Call::new(open.operators, Method::GET, &format!("/drain?node={node}"));
    assert_eq!(safe.header("x-socketmesh-operator", "1").send().await.status(), 405);
    let closed =
        Served::start(Node::builder(), |admin| admin.token("a token of operators").drain(refuse)).await;
    let without = closed.stop(closed.node.id().as_str()).header("x-socketmesh-operator", "1");
    assert_eq!(without.send().await.status(), 401);
}

#[tokio::test]
async fn the_page_is_for_everybody_and_runs_nothing_but_its_own_script() {
    let served = Served::start(Node::builder(), |admin| admin.token("a token of operators")).await;
    let page = served.ask("/").await;
    assert_eq!((page.status(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    for part in ["default-src 'none'", "script-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!page.text().contains(served.node.id().as_str()), "it holds nothing of the node");
}
