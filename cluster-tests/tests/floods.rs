//! Who opens more than others and says less: healthy clients do not notice, and what is refused is counted.
#![expect(clippy::panic, reason = "tests fail by panicking, and so does a handler")]

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use cluster_tests::app::{App, plain};
use cluster_tests::deadline::within;
use cluster_tests::frames::{Frames, deflated};
use cluster_tests::http::{Call, raw};
use cluster_tests::messages::{Messages, Received};
use cluster_tests::secure::{Trust, multiplexed};
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use cluster_tests::webtransport::{WebTransportTarget, first_packet};
use http_body_util::Full;
use hyper::{HeaderMap, Method, Request};
use socketmesh::engine::{self, Compression, Transport};
use socketmesh::http::{self, Listener, Middleware, Parts, Rejection, TrustedProxies};
use socketmesh::{
    EventError, Handshake, Node, NodeBuilder, RawArgs, Refusal, Socket, namespace, namespaces,
    namespaces_where,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// One node behind a listener of the test's making.
struct Front {
    node: Node,
    http: SocketAddr,
}

impl Front {
    async fn start(config: engine::Config, listener: impl FnOnce(TcpListener) -> Listener) -> Self {
        Self::start_with(Node::builder().engine(config), listener).await
    }

    async fn start_with(builder: NodeBuilder, listener: impl FnOnce(TcpListener) -> Listener) -> Self {
        let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
        let node = builder.namespace(echo).start().await.expect("the node starts");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let http = tcp.local_addr().expect("an address");
        let (serving, listener) = (node.clone(), listener(tcp));
        tokio::spawn(async move { serving.serve(listener).await });
        Self { node, http }
    }

    /// A connection of a client with this address.
    async fn connect_from(&self, address: &str) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(format!("{address}:0").parse().expect("an address"))?;
        socket.connect(self.http).await
    }

    /// The status of the answer to a handshake of a client with this address; 0 if the connection is closed instead.
    async fn handshake_from(&self, address: &str, transport: &str) -> (u16, Option<TcpStream>) {
        let Ok(mut stream) = self.connect_from(address).await else { return (0, None) };
        let upgrade = match transport {
            "websocket" => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            }
            _ => "",
        };
        let request =
            format!("GET /socket.io/?EIO=4&transport={transport} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n");
        // A closed connection is seen by the read.
        stream.write_all(request.as_bytes()).await.ok();
        let mut head = [0; 12];
        match within("an answer", stream.read_exact(&mut head)).await {
            Ok(_) => (String::from_utf8_lossy(&head[9..]).parse().expect("a status"), Some(stream)),
            Err(_) => (0, None),
        }
    }

    fn counter(&self, name: &str) -> u64 {
        counter(&self.node, name)
    }
}

fn counter(node: &Node, name: &str) -> u64 {
    node.counters().into_iter().find_map(|(counted, value)| (counted == name).then_some(value)).expect(name)
}

// --- connections ---

/// Beside more silent connections than may open at once, clients of another address get in, over TLS and without.
async fn silent_connections_push_out_each_other(beginning: &'static [u8], secure: bool) {
    let trust = Trust::new();
    let certificate = trust.certificate();
    let front = Front::start(engine::Config::default(), |tcp| {
        let listener = Listener::new(tcp).max_opening(OPENING);
        if secure { listener.tls(http::Tls::new(&certificate).expect("a certificate")) } else { listener }
    })
    .await;
    let mut silent = Vec::new();
    for round in 0..4 {
        for _ in 0..OPENING {
            let mut stream = front.connect_from("127.0.0.2").await.expect("it is accepted");
            stream.write_all(beginning).await.expect("an open connection");
            silent.push(stream);
        }
        if secure {
            let over = trust.connect(front.http, &["h2"]).await.expect("a healthy client gets in");
            let (mut over, _) = multiplexed(over, 1 << 16).await;
            let asked = Request::get("http://x/socket.io/?EIO=4&transport=polling").body(Full::default());
            let answer = within("an answer", over.send_request(asked.expect("a request"))).await;
            assert_eq!(answer.expect("a healthy client is served").status(), 200, "round {round}");
        } else {
            assert_eq!(front.handshake_from("127.0.0.1", "polling").await.0, 200, "round {round}");
        }
    }
    let given_up = front.counter("socketmesh_http_connections_given_up_total");
    assert!(given_up >= 3 * OPENING as u64, "{given_up} were given up");
    let mut oldest = silent.swap_remove(0);
    within("the end of the oldest one", oldest.read(&mut [0])).await.ok();
}

#[tokio::test]
async fn silent_connections_push_out_each_other_and_no_client_that_speaks() {
    silent_connections_push_out_each_other(b"", false).await;
    silent_connections_push_out_each_other(b"", true).await;
}

#[tokio::test]
async fn half_of_a_request_or_of_a_tls_handshake_is_silence_as_well() {
    silent_connections_push_out_each_other(b"GET /socket.io/ HTTP/1.1\r\nHost: ", false).await;
    silent_connections_push_out_each_other(b"\x16\x03\x01\x02\x00\x01", true).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_are_not_touched() {
    let limited = |tcp| Listener::new(tcp).max_connections_per_address(2);
    let front = Front::start(engine::Config::default(), limited).await;
    let one = front.handshake_from("127.0.0.2", "polling").await;
    let two = front.handshake_from("127.0.0.2", "polling").await;
    assert_eq!((one.0, two.0), (200, 200));
    assert_eq!(front.handshake_from("127.0.0.2", "polling").await.0, 0);
    assert_eq!(front.handshake_from("127.0.0.3", "polling").await.0, 200);
    assert_eq!(front.counter("socketmesh_http_connections_refused_total"), 1);
    drop(one);
    let again = async { while front.handshake_from("127.0.0.2", "polling").await.0 == 0 {} };
    within("a place to come back", again).await;
}

// --- sessions ---

#[tokio::test]
async fn a_node_has_so_many_sessions_and_then_says_503_until_one_ends() {
    let front = Front::start(engine::Config::default().max_sessions(2), Listener::new).await;
    let (polling, websocket) = (
        front.handshake_from("127.0.0.1", "polling").await,
        front.handshake_from("127.0.0.1", "websocket").await,
    );
    assert_eq!((polling.0, websocket.0), (200, 101));
    for transport in ["polling", "websocket"] {
        assert_eq!(front.handshake_from("127.0.0.1", transport).await.0, 503, "{transport}");
    }
    assert_eq!(front.counter("socketmesh_engine_handshakes_refused_node_full_total"), 2);
    assert_eq!(front.node.sessions(), 2);
    drop(websocket);
    let again = async { while front.handshake_from("127.0.0.1", "polling").await.0 == 503 {} };
    within("a place to come back", again).await;
}

#[tokio::test]
async fn an_address_has_so_many_sessions_and_then_gets_429() {
    let front = Front::start(engine::Config::default().max_sessions_per_address(1), Listener::new).await;
    let (status, session) = front.handshake_from("127.0.0.2", "websocket").await;
    assert_eq!(status, 101);
    for transport in ["polling", "websocket"] {
        assert_eq!(front.handshake_from("127.0.0.2", transport).await.0, 429, "{transport}");
    }
    assert_eq!(front.counter("socketmesh_engine_handshakes_refused_address_full_total"), 2);
    assert_eq!(front.handshake_from("127.0.0.3", "polling").await.0, 200);
    drop(session);
    let again = async { while front.handshake_from("127.0.0.2", "polling").await.0 == 429 {} };
    within("a place to come back", again).await;
}

/// The proxy is not limited itself, neither in its sessions nor in its connections, and nobody else speaks for others.
#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_share() {
    let proxies = TrustedProxies::new(["127.0.0.2"]).expect("a network");
    let front = Front::start_with(
        Node::builder()
            .engine(engine::Config::default().max_sessions_per_address(1))
            .http(http::Config::default().trusted_proxies(proxies)),
        |tcp| Listener::new(tcp).max_connections_per_address(1),
    )
    .await;
    let mut connections = Vec::new();
    let mut shake_hands = async |from: &str, client: &str| {
        let mut stream = front.connect_from(from).await.expect("a connection");
        let request = format!(
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.99, {client}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("it is written");
        let mut answer = [0; 12];
        let read = within("an answer", stream.read_exact(&mut answer)).await;
        connections.push(stream);
        read.map_or_else(
            |_closed| "closed".to_owned(),
            |_| String::from_utf8_lossy(&answer[9..]).into_owned(),
        )
    };
    for (client, status) in [("203.0.113.1", "200"), ("203.0.113.2", "200"), ("203.0.113.1", "429")] {
        assert_eq!(shake_hands("127.0.0.2", client).await, status, "{client}");
    }
    assert_eq!(shake_hands("127.0.0.3", "203.0.113.3").await, "200");
    assert_eq!(shake_hands("127.0.0.3", "203.0.113.4").await, "closed", "one connection is its share");
}

#[tokio::test]
async fn an_address_opens_so_many_sessions_in_a_second_and_then_gets_429() {
    let front = Front::start(engine::Config::default().max_handshakes_per_address(20), Listener::new).await;
    let mut statuses = Vec::new();
    while !statuses.contains(&429) {
        statuses.push(front.handshake_from("127.0.0.2", "polling").await.0);
        assert!(statuses.len() < 10_000, "nobody is faster than twenty a second");
    }
    assert!(statuses.len() > 20);
    assert_eq!(front.handshake_from("127.0.0.3", "polling").await.0, 200);
    assert_eq!(front.counter("socketmesh_engine_handshakes_refused_too_often_total"), 1);
}

#[tokio::test]
async fn a_polling_session_that_is_never_polled_ends_after_the_ping_timeout() {
    let config = engine::Config::default()
        .ping_interval(Duration::from_secs(3600))
        .ping_timeout(Duration::from_millis(1));
    let front = Front::start(config, Listener::new).await;
    let target = Target::of(cluster_tests::fixture::Suite::Socket, front.http, &[front.http]);
    let polled = target.polling().await;
    polled.send("40").await;
    assert_eq!(front.handshake_from("127.0.0.1", "polling").await.0, 200);
    assert_eq!(front.node.sessions(), 2);
    let ended = async {
        while front.node.sessions() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the end of the one that was not polled", ended).await;
    assert_eq!(polled.poll().await.status(), 200);
}

// --- memory ---

#[tokio::test]
async fn deflated_messages_that_are_not_finished_have_a_bound_for_all_clients() {
    let config =
        engine::Config::default().per_message_deflate(Compression::default()).max_buffered_total(8_000_000);
    let app = App::start(1, |seen| Node::builder().engine(config.clone()).namespace(plain("/", seen))).await;
    // About a kilobyte that becomes 900 kB, without its end.
    let bomb = deflated("x".repeat(900_000).as_bytes());
    let mut clients = Vec::new();
    for _ in 0..8 {
        let call = app.nodes.target.call(Method::GET, "EIO=4&transport=websocket");
        let mut frames = Frames::open(call, "permessage-deflate; client_no_context_takeover").await;
        frames.send(0x41, &bomb).await;
        // Answered behind the fragment.
        frames.send(0x89, b"read").await;
        clients.push(frames);
    }
    let mut refused = 0;
    for mut frames in clients {
        let refusal = loop {
            match frames.frame().await {
                (0x88, code) => break Some(code),
                (0x8a, _) => break None,
                _ => {}
            }
        };
        if let Some(code) = refusal {
            assert_eq!(code, 1009_u16.to_be_bytes());
            refused += 1;
        }
    }
    assert!((2..=6).contains(&refused), "{refused} of 8 were refused");
    assert_eq!(counter(app.node(0), "socketmesh_engine_deflated_messages_refused_total"), refused);
}

// --- WebTransport ---

#[tokio::test]
async fn first_packets_of_quic_from_anywhere_keep_nobody_out() {
    let transports = [Transport::Polling, Transport::WebSocket, Transport::WebTransport];
    let config = engine::Config::default().transports(transports);
    let app = App::start(1, |seen| Node::builder().engine(config.clone()).namespace(plain("/", seen))).await;
    let target = WebTransportTarget::limited(app.node(0), |listener| listener.max_opening(4)).await;
    for _ in 0..12 {
        let forged = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        forged.send_to(&first_packet().await, target.addr).await.expect("it is sent");
    }
    let (mut stream, _) = target.open().await;
    stream.send("40").await;
    stream.packet_text().await;
    assert!(counter(app.node(0), "socketmesh_http_webtransport_retries_total") >= 8);
}

// --- the log ---

/// What the library logs on this thread, a line for each event.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn catch(&self) -> DefaultGuard {
        // Where the threads of other tests have no subscriber, what they come to first may stay off for this one, too.
        static OTHERS: Once = Once::new();
        OTHERS.call_once(|| tracing_subscriber::registry().init());
        let lines = self.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || lines.clone());
        let library = Targets::new().with_target("socketmesh", tracing::Level::TRACE);
        tracing_subscriber::registry().with(layer.with_filter(library)).set_default()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no writer panics"))
    }
}

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {}

/// A node that passes on what clients write wherever an application may.
async fn talkative() -> (Node, SocketAddr) {
    let echoing = namespaces("^/many-")
        .on("strict", async |_: Socket, _: Strict| Ok(()))
        .on("panic", async |_: Socket, (): ()| if true { panic!("as it was asked to") } else { Ok(()) })
        .on("ask", async |socket: Socket, (): ()| {
            let asked = socket.nsp().all().local().timeout(Duration::from_millis(300));
            Ok(asked.emit_with_ack::<u8, _>("number?", &()).await?.replies.len())
        })
        .fallback(async |_: Socket, event: String, _: RawArgs| {
            Err::<(), _>(EventError::new("unknown", event))
        });
    let closed = namespace("/closed").auth(async |client: Handshake| {
        Err::<(), _>(Refusal::new(client.auth::<serde_json::Value>()?.to_string()))
    });
    let doubtful = namespaces_where(async |client: Handshake| {
        Err(EventError::new("doubtful", client.namespace().to_owned()))
    });
    let stopped = Middleware::new(async |request: Arc<Parts>| match request.headers.get("x-reason") {
        Some(reason) => Err(Rejection::new(String::from_utf8_lossy(reason.as_bytes()))),
        None => Ok(HeaderMap::new()),
    });
    let http = http::Config::default().middleware([stopped]);
    let builder = Node::builder().http(http).namespace(echoing).namespace(closed).namespace(doubtful);
    let node = builder.start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    let serving = node.clone();
    tokio::spawn(async move { serving.serve(tcp).await });
    (node, address)
}

/// Puts `text` everywhere where a client may write.
async fn write_everywhere(at: SocketAddr, text: &str) {
    let plain = "~".repeat(1500);
    let path = format!("/socket.io/{plain}?EIO=4&transport={plain}&sid={plain}");
    let agent = ["user-agent", "origin", "referer", "cookie", "x-forwarded-for"];
    let named =
        agent.into_iter().fold(Call::new(at, Method::GET, &path), |call, name| call.header(name, &plain));
    assert_eq!(named.send().await.status(), 400);
    let method = Method::from_bytes(plain.as_bytes()).expect("a method");
    assert_eq!(Call::new(at, method, "/socket.io/?EIO=4&transport=polling").send().await.status(), 400);
    let stopped =
        Call::new(at, Method::GET, "/socket.io/?EIO=4&transport=polling").header("x-reason", &plain);
    assert_eq!(stopped.send().await.status(), 400);
    raw(at, format!("{plain}\r\n\r\n").as_bytes(), "").await;

    let uri = "/socket.io/?EIO=4&transport=websocket";
    let mut client = WebSocket::open(at, uri).await.expect("a WebSocket");
    client.recv_text().await;
    let short: String = text.chars().take(400).collect();
    let (many, quoted) = (format!("/many-{short}"), serde_json::to_string(text).expect("JSON"));
    client.send(&format!("40{many},")).await;
    client.recv_text().await;
    for (packet, answer) in [
        (format!("42{many},1[{quoted}]"), "43"),
        (format!(r#"42{many},2["strict",{{{quoted}:1}}]"#), "43"),
        (format!(r#"40/closed,{{"name":{quoted}}}"#), "44"),
        (format!("40/doubtful-{short},"), "44"),
        (format!("40/doubtful-{text},"), "44"),
        (format!(r#"42{many},3["ask"]"#), "42"),
    ] {
        client.send(&packet).await;
        let answered = client.recv_text().await;
        assert!(answered.starts_with(answer), "{answered}");
        if let Some((_, id)) = answered.split_once(',').filter(|_| answer == "42") {
            let id = id.split('[').next().unwrap_or_default();
            client.send(&format!("43{many},{id}[{quoted}]")).await;
            client.recv_text().await;
        }
    }
    client.send(&format!(r#"42{many},["panic"]"#)).await;
    client.recv_text().await;
    client.send(&format!("7{text}")).await;
    assert!(matches!(client.recv().await, Received::Closed(_)));
}

#[tokio::test]
async fn no_line_of_the_log_holds_more_than_256_bytes_of_a_client_nor_what_moves_a_cursor() {
    let (lines, (node, at)) = (Lines::default(), talkative().await);
    let _log = lines.catch();
    /// In each of them the last one may be cut off.
    const FIELDS: usize = 3;
    // It is in no id, and may be in the head of a request.
    let ugly = "~\n\u{1b}[31m\u{202e}\r";
    for (text, most) in
        [("~".repeat(20_000), 256), (ugly.repeat(2000), 256 / ugly.escape_debug().count() + FIELDS)]
    {
        write_everywhere(at, &text).await;
        let written = lines.take();
        for said in [
            "a handler failed",
            "a handler panicked",
            "a client was refused",
            "an ack does not decode",
            "request refused",
            "the predicate for a namespace failed",
        ] {
            assert!(written.iter().any(|line| line.contains(said)), "{said} is not in\n{}", written.concat());
        }
        for line in &written {
            let line = line.strip_suffix('\n').unwrap_or(line);
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
        // Heads of requests are plain in any case.
        let ugly = written.iter().filter(|line| most == 256 || line.contains("[31m"));
        let worst = ugly.max_by_key(|line| line.matches('~').count()).expect("some line has the text");
        assert!(worst.matches('~').count() <= most, "{worst}");
    }
    node.shutdown().await;
}

#[tokio::test]
async fn a_flood_of_bad_handshakes_is_one_line_with_the_number_of_all() {
    let (lines, front) = (Lines::default(), Front::start(engine::Config::default(), Listener::new).await);
    let _log = lines.catch();
    for _ in 0..50 {
        assert_eq!(front.handshake_from("127.0.0.1", "carrier-pigeon").await.0, 400);
    }
    let refused: Vec<_> =
        lines.take().into_iter().filter(|line| line.contains("handshakes are refused")).collect();
    let [line] = &refused[..] else { panic!("one line, not {refused:?}") };
    assert!(line.contains(r#"why="unknown_transport" address="127.0.0.1" refused=1"#), "{line}");
}

#[tokio::test]
async fn a_node_that_stops_says_what_was_not_done_in_time() {
    let (lines, stuck) = (Lines::default(), Arc::new(Notify::new()));
    let started = Arc::clone(&stuck);
    let chat = namespace("/").on("hang", async move |_: Socket, (): ()| {
        started.notify_one();
        std::future::pending::<()>().await;
        Ok(())
    });
    let node = Node::builder().namespace(chat).start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (at, serving) = (tcp.local_addr().expect("an address"), node.clone());
    tokio::spawn(async move { serving.serve(tcp).await });
    let _log = lines.catch();
    let mut client = WebSocket::open(at, "/socket.io/?EIO=4&transport=websocket").await.expect("a WebSocket");
    client.send("40").await;
    client.send(r#"42["hang"]"#).await;
    within("the handler", stuck.notified()).await;
    within("the end of the node", node.shutdown()).await;
    let written = lines.take().concat();
    for said in [
        "stopping: the node takes no new clients",
        "sessions=1",
        "stopped before everything was done",
        "sessions=0 handlers=1 requests=0",
    ] {
        assert!(written.contains(said), "{said} is not in\n{written}");
    }
}

const OPENING: usize = 64;
