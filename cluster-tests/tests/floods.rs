//! Who opens more than others and says less: healthy clients do not notice, and what is refused is counted.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_tests::app::{App, plain};
use cluster_tests::deadline::within;
use cluster_tests::frames::{Frames, deflated};
use cluster_tests::secure::{Trust, multiplexed};
use cluster_tests::target::Target;
use cluster_tests::webtransport::{WebTransportTarget, first_packet};
use http_body_util::Full;
use hyper::{Method, Request};
use socketmesh::engine::{self, Compression, Transport};
use socketmesh::http::{self, Listener, TrustedProxies};
use socketmesh::{Node, NodeBuilder, Socket, namespace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

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
    async fn connect_from(&self, address: &str) -> std::io::Result<TcpStream> {
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
    cluster_tests::messages::Messages::packet_text(&mut stream).await;
    assert!(counter(app.node(0), "socketmesh_http_webtransport_retries_total") >= 8);
}

const OPENING: usize = 64;
