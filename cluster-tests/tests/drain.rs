//! Nodes that end in order: what their clients, those of the others, and newcomers meet meanwhile. Over real sockets and, where time
//! counts, in virtual time.
#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::fixture::Suite;
use cluster_tests::host;
use cluster_tests::http::Call;
use cluster_tests::messages::{Messages as _, Received};
use cluster_tests::nodes::Nodes;
use cluster_tests::polling::Polling;
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use futures_util::future::join_all;
use hyper::Method;
use socketmesh::cluster::NodeState;
use socketmesh::engine::{self, Handshake};
use socketmesh::http::{AllowRequest, Config, Cors, Forbidden, Middleware, Parts, Pass, TrustedProxies};
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{Drain, EvenOut, Node, NodeBuilder, Socket, namespace};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// Lets in whoever it knows by address and TLS.
fn app(known: &'static str) -> NodeBuilder {
    let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
    let allow = AllowRequest::new(async move |request: Arc<Handshake>| {
        let address = request.address().map(|address| address.ip().to_string()).unwrap_or_default();
        match format!("{address} {}", request.secure()) {
            asks if known.is_empty() || asks == known => Ok(()),
            stranger => Err(Forbidden::new(stranger)),
        }
    });
    let proxies = TrustedProxies::new(["loopback"]).expect("a network");
    let http = Config::default().cors(Cors::any()).trusted_proxies(proxies).allow_request(allow);
    Node::builder().http(http).namespace(echo)
}

/// Has a node drain, in the background, and waits until the others know.
async fn drains(nodes: &Nodes, number: usize, drain: Drain) -> JoinHandle<()> {
    let node = nodes.nodes[number].clone();
    let id = node.id().clone();
    let draining = tokio::spawn(async move { node.drain(drain).await });
    for other in &nodes.nodes {
        let mut view = other.view().expect("a cluster");
        let known = view.wait_for(|view| {
            view.members.iter().all(|member| member.state != NodeState::Joining)
                && view.member(&id).is_none_or(|member| member.state == NodeState::Draining)
        });
        within("the others to know", known).await.expect("the node runs");
    }
    draining
}

fn sessions(nodes: &Nodes) -> Vec<usize> {
    nodes.nodes.iter().map(Node::sessions).collect()
}

async fn echoes(ws: &mut WebSocket, text: &str) {
    ws.send(&format!(r#"420["echo","{text}"]"#)).await;
    assert_eq!(ws.recv_text().await, format!(r#"430["{text}"]"#));
}

async fn enters(ws: &mut WebSocket) {
    ws.send("40").await;
    assert!(ws.recv_text().await.starts_with("40{"));
}

#[tokio::test]
async fn a_node_that_drains_serves_its_clients_and_has_newcomers_opened_on_another_node() {
    let nodes = Nodes::start(3, |_| app("")).await;
    let target = nodes.target.at(0);
    let (kept, mut ws) = (target.polling().await, target.websocket().await);
    enters(&mut ws).await;
    let _draining = drains(&nodes, 0, Drain::default().notice(HOUR)).await;

    assert!(!nodes.nodes[0].is_ready());
    let probe = async |path| Call::new(target.addr(), Method::GET, path).send().await.status();
    assert_eq!((probe("/readyz").await, probe("/healthz").await), (503, 200));
    kept.send("40").await;
    assert!(kept.poll().await.text().starts_with("40{"));
    echoes(&mut ws, "as before").await;

    for n in 0..6 {
        let newcomer = target.polling().await;
        newcomer.send("40").await;
        assert!(newcomer.poll().await.text().starts_with("40{"), "the {n}th that polls");
        newcomer.at(1).settled().await;
        let mut ws = target.websocket().await;
        enters(&mut ws).await;
        echoes(&mut ws, "carried").await;
        let upgraded = target.polling().await.upgraded().await;
        drop((ws, upgraded));
    }
    let owned = sessions(&nodes);
    assert!(owned[0] == 2 && owned[1] + owned[2] >= 6, "{owned:?}");
    let moved = nodes.nodes[0].counters().into_iter();
    let moved: BTreeMap<_, _> = moved.collect();
    assert_eq!(moved["socketmesh_http_sessions_opened_elsewhere_total"], 18);
}

/// Node 2 reaches node 3 over two others alone, so one of the two serves, and the other joins again.
#[tokio::test(start_paused = true)]
async fn a_node_that_joins_again_gives_no_newcomers_to_nodes_that_serve() {
    let cluster = TestCluster::start(4, |_| app("")).await;
    cluster.partition(&[2], &[1, 3]);
    cluster.partition(&[3], &[0]);
    let joining = cluster.node(3);
    let mut view = joining.node().view().expect("a cluster");
    let is_joining = view
        .wait_for(|view| view.member(joining.node().id()).is_some_and(|me| me.state == NodeState::Joining));
    timeout(HOUR, is_joining).await.expect("the loss of readiness").expect("the node runs");
    for _ in 0..3 {
        let refusal = joining.connect("/", &()).await.expect_err("no session");
        assert!(refusal.message().contains("this node is joining its cluster"), "{refusal:?}");
    }
    for route in [cluster.node(1).websocket(), cluster.node(1).polling()] {
        drop(route.connect("/", &()).await.expect("a node beside it takes clients"));
    }
}

#[tokio::test]
async fn who_asks_at_a_node_that_drains_is_known_where_the_session_is_opened() {
    let nodes = Nodes::start(2, |_| app("192.0.2.7 true")).await;
    let _draining = drains(&nodes, 0, Drain::default().notice(HOUR)).await;
    let asks = |query: &str, address: &str| {
        let call = nodes.target.at(0).call(Method::GET, query).header("origin", "http://a.example");
        call.header("x-forwarded-for", address).header("x-forwarded-proto", "https")
    };
    let opened = asks("EIO=4&transport=polling", "192.0.2.7").send().await;
    assert_eq!((opened.status(), opened.headers("access-control-allow-origin")), (200, vec!["*"]));
    let query = "EIO=4&transport=websocket";
    let ws = WebSocket::from_call(asks(query, "192.0.2.7").upgrade()).await;
    assert!(ws.is_ok(), "{ws:?}");
    assert_eq!(sessions(&nodes)[0], 0);

    let refused = asks("EIO=4&transport=polling", "192.0.2.8").send().await;
    assert_eq!(refused.outcome(), (403, r#"{"code":4,"message":"192.0.2.8 true"}"#));
    let refused = WebSocket::from_call(asks(query, "192.0.2.8").upgrade()).await.expect_err("a stranger");
    assert_eq!(refused.outcome(), (400, "192.0.2.8 true"));
    let nonsense = asks("EIO=4&transport=pigeon", "192.0.2.7").send().await;
    assert_eq!(nonsense.outcome(), (400, r#"{"code":0,"message":"Transport unknown"}"#));
}

#[tokio::test]
async fn what_middleware_said_of_a_client_is_not_lost_by_a_drain() {
    #[derive(Clone)]
    struct User(&'static str);
    let nodes = Nodes::start(2, |_| {
        let known = Middleware::new(async |_: Arc<Parts>| Ok(Pass::default().extension(User("ann"))));
        let whoami = namespace("/").on_connect(async |socket: Socket| {
            let user =
                socket.handshake().request().extensions().get::<User>().map_or("nobody", |user| user.0);
            Ok(socket.emit("user", user)?)
        });
        Node::builder().http(Config::default().middleware([known])).namespace(whoami)
    })
    .await;
    let target = nodes.target.at(0);
    let greeted = async |n| {
        let mut ws = target.websocket().await;
        enters(&mut ws).await;
        assert_eq!(ws.recv_text().await, r#"42["user","ann"]"#, "{n}");
        ws
    };
    let _first = greeted("before").await;
    let _draining = drains(&nodes, 0, Drain::default().notice(HOUR)).await;
    let _second = greeted("while it drains").await;
    assert_eq!(sessions(&nodes), [2, 0], "it cannot travel, so the session is opened here");
}

#[tokio::test]
async fn while_no_other_node_takes_clients_a_node_that_drains_does_to_the_end() {
    let nodes = Nodes::start(2, |_| app("")).await;
    let _draining = drains(&nodes, 1, Drain::default().notice(HOUR)).await;
    let draining = drains(&nodes, 0, Drain::default().notice(HOUR)).await;
    let mut ws = nodes.target.at(0).websocket().await;
    enters(&mut ws).await;
    assert_eq!(sessions(&nodes), [1, 0]);
    draining.abort();
    let (end, ()) = tokio::join!(ws.recv(), within("the end of the node", nodes.nodes[0].shutdown()));
    assert_eq!(end, Received::Closed(None), "an ordinary close");
}

#[tokio::test]
async fn while_a_node_carries_something_newcomers_that_no_other_takes_are_served_though_its_own_have_gone() {
    let nodes = Nodes::start(2, |_| app("")).await;
    let (owner, edge) = (nodes.target.at(1), nodes.target.at(0));
    let mut carried = owner.polling().await.through(&edge).upgraded().await;
    enters(&mut carried).await;
    let mut own = edge.websocket().await;
    let _other = drains(&nodes, 1, Drain::default().notice(HOUR)).await;
    let _draining = drains(&nodes, 0, Drain::default().spread(HOUR)).await;
    assert_eq!(own.recv().await, Received::Closed(None), "there are so few that they go at once");
    for _ in 0..3 {
        enters(&mut edge.websocket().await).await;
    }
    echoes(&mut carried, "it goes on").await;
}

#[tokio::test]
async fn a_websocket_that_a_full_node_refuses_is_opened_on_the_next_one() {
    let full = engine::Config::default().max_sessions(1);
    let nodes = Nodes::start(3, |n| if n == 1 { app("").engine(full.clone()) } else { app("") }).await;
    let _only = nodes.target.at(1).polling().await;
    let _draining = drains(&nodes, 0, Drain::default().notice(HOUR)).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut ws = nodes.target.at(0).websocket().await;
        enters(&mut ws).await;
        clients.push(ws);
    }
    assert_eq!(sessions(&nodes), [0, 1, 12]);
}

#[tokio::test]
async fn what_a_node_carries_goes_when_the_others_know_and_polls_are_answered() {
    let nodes = Nodes::start(3, |_| app("")).await;
    let (owner, edge) = (nodes.target.at(0), nodes.target.at(1));
    let upgrading = owner.polling().await;
    let mut carried = upgrading.through(&edge).upgraded().await;
    enters(&mut carried).await;
    let polled = owner.polling().await;
    let poll = polled.through(&edge).pending_poll().await;

    let stopping = nodes.nodes[1].clone();
    let began = Instant::now();
    let stopped = tokio::spawn(async move { stopping.shutdown().await });
    assert_eq!(poll.reply().await.outcome(), (200, "6"));
    let id = nodes.nodes[1].id();
    assert!(matches!(carried.recv().await, Received::Closed(_)));
    assert!(began.elapsed() >= Duration::from_secs(1));
    for other in [0, 2] {
        let mut view = nodes.nodes[other].view().expect("a cluster");
        let known = view.wait_for(|view| view.member(id).is_none_or(|me| me.state == NodeState::Draining));
        within(format!("node {other} to know"), known).await.expect("the node runs");
    }
    within("the end of the node", stopped).await.expect("no panic");
    let polled = polled.at(0);
    polled.send("40").await;
    assert!(polled.poll().await.text().starts_with("40{"), "the session goes on");
}

#[tokio::test]
async fn in_axum_a_node_that_drains_answers_for_the_sessions_of_others_until_its_port_is_closed() {
    let nodes = Nodes::start(2, |_| app("")).await;
    let (node, owner) = (nodes.nodes[0].clone(), nodes.target.at(1));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let edge = listener.local_addr().expect("an address");
    let serving =
        host::serve_until(node.stopped(), node.listener(listener), host::mounted(&node, "/socket.io/"));
    let serving = tokio::spawn(serving);
    let at_edge = Target::of(Suite::Socket, edge, &[edge]);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let session = owner.polling().await;
        session.send("40").await;
        session.poll().await;
        sessions.push(session.through(&at_edge));
    }
    let drained =
        tokio::spawn(async move { node.drain(Drain::default().notice(NOTICE).spread(NOTICE)).await });
    let answered = join_all(sessions.iter().map(|session| polls_until_closed(session, edge))).await;
    assert!(answered.iter().all(|answered| *answered > 10), "{answered:?}");
    within("the end of axum", serving).await.expect("no panic");
    within("the end of the node", drained).await.expect("no panic");
    for session in sessions {
        let session = session.through(&owner);
        session.send(r#"420["echo","last"]"#).await;
        while !session.poll().await.text().contains(r#"430["last"]"#) {}
    }
}

/// How many requests of a session are answered at an edge until its port is closed. None is answered with an error.
async fn polls_until_closed(session: &Polling, edge: std::net::SocketAddr) -> usize {
    let mut answered = 0;
    loop {
        for call in [session.call(Method::POST).body(r#"420["echo","x"]"#), session.call(Method::GET)] {
            let Ok(stream) = TcpStream::connect(edge).await else { return answered };
            let reply = call.start_over(stream).await.reply().await;
            assert_eq!(reply.status(), 200, "{}", reply.text());
            answered += 1;
        }
    }
}

#[tokio::test]
async fn a_node_says_goodbye_when_its_host_has_answered_what_it_had_accepted() {
    let nodes = Nodes::start(2, |_| app("")).await;
    let (node, owner) = (nodes.nodes[0].clone(), nodes.target.at(1));
    let (id, arrived) = (node.id().clone(), Arc::new(Notify::new()));
    let (stopping, seen, there) =
        (node.clone(), nodes.nodes[1].view().expect("a cluster"), Arc::clone(&arrived));
    // A layer with a request of a client, when the node stops: it goes on when the other one has heard a goodbye, and else soon.
    let layer =
        axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
            let (stopped, mut seen, id) = (stopping.stopped(), seen.clone(), id.clone());
            there.notify_one();
            async move {
                stopped.await;
                let left = async { drop(seen.wait_for(|view| view.member(&id).is_none()).await) };
                let _stays = timeout(Duration::from_millis(500), left).await;
                next.run(request).await
            }
        });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let edge = listener.local_addr().expect("an address");
    let app = host::mounted(&node, "/socket.io/").layer(layer);
    let serving = tokio::spawn(host::serve_until(node.stopped(), node.listener(listener), app));
    let session = owner.polling().await;
    let late = session
        .through(&Target::of(Suite::Socket, edge, &[edge]))
        .call(Method::POST)
        .body("40")
        .start()
        .await;
    arrived.notified().await;
    let drained = tokio::spawn(async move { node.shutdown().await });
    assert_eq!(late.reply().await.outcome(), (200, "ok"));
    within("the end of axum", serving).await.expect("no panic");
    within("the end of the node", drained).await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_node_that_drains_leave_one_after_another_and_lose_nothing_of_the_others() {
    let cluster = TestCluster::start(3, |_| app("")).await;
    let mut witness = cluster.node(2).connect("/", &()).await.expect("it takes clients");
    let mut clients = JoinSet::new();
    for number in 0..60 {
        let mut client = cluster.node(0).connect("/", &()).await.expect("it takes clients");
        let next = cluster.node(1 + number % 2).websocket();
        clients.spawn(async move {
            let why = client.disconnected().await;
            let left = Instant::now();
            client.reconnect(next).await.expect("it takes clients");
            (why, left, client)
        });
    }
    let (node, began) = (cluster.node(0).node().clone(), Instant::now());
    let emitting = async {
        for number in 0..80_u64 {
            node.of("/").emit("number", &number).expect("it encodes");
            sleep(Duration::from_millis(100)).await;
        }
    };
    let draining = async {
        node.drain(Drain::default().notice(Duration::from_secs(1)).spread(Duration::from_secs(6))).await;
        began.elapsed()
    };
    let ((), took) = tokio::join!(emitting, draining);
    assert!(took < Duration::from_secs(8), "{took:?}");
    let mut seconds = [0; 12];
    for (why, left, _client) in clients.join_all().await {
        assert_eq!(why, "transport close");
        seconds[usize::try_from((left - began).as_secs()).expect("few")] += 1;
    }
    assert!(seconds[0] == 0 && seconds[1..7].iter().all(|left| (8..=12).contains(left)), "{seconds:?}");
    for number in 0..60 {
        assert_eq!(witness.recv::<u64>("number").await, number, "what it emitted arrives, to the last");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_words_of_handlers_reach_every_node_before_a_node_has_ended() {
    let cluster = TestCluster::start(3, |_| {
        let all = namespace("/").on_disconnect(async |socket: Socket, _| {
            sleep(Duration::from_secs(1)).await;
            Ok(socket.nsp().emit("gone", &socket.id().to_string())?)
        });
        Node::builder().namespace(all)
    })
    .await;
    cluster.delay(Duration::from_millis(20)..=Duration::from_millis(80));
    let mut witness = cluster.node(1).connect("/", &()).await.expect("it takes clients");
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let client = cluster.node(0).connect("/", &()).await.expect("it takes clients");
        ids.push(client.id().to_owned());
        clients.push(client);
    }
    cluster.node(0).node().drain(Drain::default().spread(Duration::from_secs(2))).await;
    let waiting: u64 = cluster.node(0).node().peer_counters().iter().map(|peer| peer.outgoing.waiting).sum();
    assert_eq!(waiting, 0, "everything is acknowledged");
    let mut gone: Vec<String> = Vec::new();
    for _ in 0..10 {
        gone.push(witness.recv("gone").await);
    }
    gone.sort();
    ids.sort();
    assert_eq!(gone, ids);
}

#[tokio::test(start_paused = true)]
async fn sessions_even_out_after_a_scale_up_and_nobody_is_sent_away_twice() {
    // Pings are not what this is about, and take time.
    let quiet = engine::Config::default().ping_interval(Duration::from_secs(900));
    let app = move |_| app("").engine(quiet.clone()).even_out(EvenOut::default().rate(0.2).most(2.0));
    let mut cluster = TestCluster::start(3, app).await;
    cluster.shutdown(2).await;
    let mut clients: Vec<(Client, Option<Instant>)> = Vec::new();
    for number in 0..120 {
        clients.push((cluster.node(number % 2).connect("/", &()).await.expect("it takes clients"), None));
    }
    sleep(Duration::from_secs(300)).await;
    cluster.restart(2).await;
    cluster.settled().await;
    let counts = |cluster: &TestCluster| [0, 1, 2].map(|n| cluster.node(n).node().sessions());
    assert_eq!(counts(&cluster), [60, 60, 0]);
    sleep(Duration::from_secs(280)).await;
    assert_eq!(counts(&cluster), [60, 60, 0], "all of them are young");
    let (mut moved, mut turn) = (0, 0);
    for _ in 0..180 {
        sleep(Duration::from_secs(1)).await;
        let mut away = 0;
        for (client, last) in clients.iter_mut().filter(|(client, _)| !client.is_connected()) {
            let now = Instant::now();
            assert!(last.is_none_or(|last| now - last > Duration::from_secs(600)), "twice");
            *last = Some(now);
            // Through a load balancer.
            turn += 1;
            client.reconnect(cluster.node(turn % 3)).await.expect("it takes clients");
            away += 1;
        }
        assert!(away <= 6, "{away} at once");
        moved += away;
    }
    let settled = counts(&cluster);
    assert!(
        moved < 130 && settled.iter().all(|count| (20..=50).contains(count)),
        "{settled:?}, {moved} moved"
    );
    let view = cluster.node(2).node().view().expect("a cluster").borrow().clone();
    let told: Vec<_> = view.members.iter().filter_map(|member| member.sessions).collect();
    for (told, own) in told.iter().zip(settled) {
        assert!(told.abs_diff(own as u64) <= 3, "{told} for {own}");
    }
}

const NOTICE: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3600);
