//! WebTransport as clients see it, on one node and on three, of which any may own the session of a stream.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cluster_tests::app::{App, connected, plain};
use cluster_tests::deadline::within;
use cluster_tests::http::Call;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::nodes::Nodes;
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::polling::Polling;
use cluster_tests::webtransport::{ORIGIN, WebTransport, WebTransportTarget};
use hyper::{HeaderMap, Method};
use socketmesh::engine::{self, Transport};
use socketmesh::http::{
    self, AllowRequest, Certificate, Middleware, OnConnectionError, Parts, Rejection, Tls,
    WebTransportListener,
};
use socketmesh::{DisconnectReason, Drain, Node, NodeBuilder, Socket};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

on_one_and_three_nodes!(super::shared:
    a_session_opens_over_webtransport_alone,
    a_polling_handshake_offers_both_upgrades,
    a_polling_session_moves_to_webtransport,
    packets_queued_at_the_upgrade_follow_in_order,
    until_the_upgrade_everything_flows_over_polling,
    another_packet_before_the_upgrade_ends_the_probe_only,
    a_probe_that_breaks_off_does_not_affect_the_session,
    a_second_stream_for_a_session_is_closed,
    text_and_bytes_travel_both_ways_in_order,
    a_frame_of_exactly_the_limit_is_taken_and_one_byte_more_is_a_parse_error,
    an_empty_frame_is_a_parse_error,
    an_invalid_packet_is_a_parse_error,
    any_other_first_packet_closes_the_session,
    an_unknown_session_is_closed_at_once,
    a_session_that_the_client_closes_is_a_transport_close,
    a_stream_that_the_client_ends_is_a_transport_close,
    a_stream_that_breaks_off_is_a_transport_error,
    a_disconnect_by_the_server_delivers_what_waits_and_closes_with_code_0,
    further_streams_and_datagrams_are_ignored,
    clients_cannot_use_the_upgrade_token_of_the_mesh,
);

on_one_and_three_nodes!(super::hurried:
    a_client_that_does_not_pong_is_closed,
    a_session_without_a_first_packet_is_closed,
    an_upgrade_that_takes_too_long_closes_only_the_probe,
);

/// An application that serves WebTransport on every node.
struct Served {
    app: App,
    targets: Vec<WebTransportTarget>,
}

impl Served {
    async fn start(count: usize, config: engine::Config, http: http::Config) -> Self {
        let described = |node: NodeBuilder| node.engine(config.clone()).http(http.clone());
        let app = App::start(count, |seen| described(Node::builder()).namespace(plain("/", seen))).await;
        let mut targets = Vec::new();
        for node in &app.nodes.nodes {
            targets.push(WebTransportTarget::of(node).await);
        }
        Self { app, targets }
    }

    /// The target of the `n`th node, counted round.
    fn at(&self, n: usize) -> &WebTransportTarget {
        &self.targets[n % self.targets.len()]
    }

    /// A client in the main namespace over WebTransport alone.
    async fn guest(&self, n: usize) -> (WebTransport, Socket) {
        let (stream, _) = self.at(n).open().await;
        self.enter(stream).await
    }

    /// A client whose session began on the first node and moved to a stream of another node, if there is one.
    async fn upgraded(&self) -> (WebTransport, Socket) {
        let polling = self.polling().await;
        let mut stream = self.at(1).probe(polling.sid()).await;
        stream.send("5").await;
        self.enter(stream).await
    }

    async fn enter(&self, mut stream: WebTransport) -> (WebTransport, Socket) {
        stream.send("40").await;
        let id = connected(&stream.packet_text().await, "/");
        (stream, self.app.seen.socket(&id).await)
    }

    /// A polling session of the first node, with requests to every node in turn.
    async fn polling(&self) -> Polling {
        self.app.nodes.target.at(0).polling().await.through(&self.app.nodes.target)
    }

    /// One client of each kind: alone, and upgraded.
    async fn of_each_kind(&self) -> [(WebTransport, Socket); 2] {
        [self.guest(1).await, self.upgraded().await]
    }
}

fn shared(count: usize) -> &'static Served {
    static ONE: OnceLock<Served> = OnceLock::new();
    static THREE: OnceLock<Served> = OnceLock::new();
    let cell = if count == 1 { &ONE } else { &THREE };
    Nodes::shared(cell, move || Served::start(count, all(), http::Config::default()))
}

/// The same with a short heartbeat and a short upgrade timeout.
fn hurried(count: usize) -> &'static Served {
    static ONE: OnceLock<Served> = OnceLock::new();
    static THREE: OnceLock<Served> = OnceLock::new();
    let (ping_interval, ping_timeout) = (Duration::from_millis(500), Duration::from_secs(5));
    let upgrade_timeout = Duration::from_secs(2);
    let config =
        all().ping_interval(ping_interval).ping_timeout(ping_timeout).upgrade_timeout(upgrade_timeout);
    let cell = if count == 1 { &ONE } else { &THREE };
    Nodes::shared(cell, move || Served::start(count, config, http::Config::default()))
}

fn all() -> engine::Config {
    let transports = vec![Transport::Polling, Transport::WebSocket, Transport::WebTransport];
    engine::Config::default().transports(transports)
}

// --- opening ---

async fn a_session_opens_over_webtransport_alone(served: &Served) {
    let (stream, open) = served.at(2).open().await;
    assert!(open.contains(r#""upgrades":[],"pingInterval":25000,"pingTimeout":20000"#), "{open}");
    let (mut stream, _) = served.enter(stream).await;
    stream.send(r#"421["echo","hi"]"#).await;
    assert_eq!(stream.packet_text().await, r#"431["hi"]"#);
}

async fn a_polling_handshake_offers_both_upgrades(served: &Served) {
    let reply = served.app.nodes.target.get("EIO=4&transport=polling").await;
    assert!(reply.text().contains(r#""upgrades":["websocket","webtransport"]"#), "{reply:?}");
}

async fn any_other_first_packet_closes_the_session(served: &Served) {
    for first in ["2probe", "40", "0{}", r#"0{"sid":5}"#, "0x", "5", "9"] {
        let mut stream = served.at(1).stream().await;
        stream.send(first).await;
        assert_eq!(stream.closed().await, Some(0), "{first}");
    }
    for first in [&b"\x00"[..], b"\x810", b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let mut stream = served.at(1).stream().await;
        stream.send_raw(first).await;
        assert_eq!(stream.closed().await, Some(0), "{first:?}");
    }
}

async fn an_unknown_session_is_closed_at_once(served: &Served) {
    // One that never was, and one that was, on the first node, at each target.
    let polling = served.polling().await;
    assert_eq!(polling.post("1").await.outcome(), (200, "ok"));
    polling.gone().await;
    for sid in ["AAAAAAAAAAAAAAAAAAAA", polling.sid()] {
        for target in &served.targets {
            let mut stream = target.stream().await;
            stream.send(&format!(r#"0{{"sid":"{sid}"}}"#)).await;
            assert_eq!(stream.closed().await, Some(0), "{sid}");
        }
    }
}

async fn a_session_without_a_first_packet_is_closed(served: &Served) {
    let connected = served.at(1).connect("/socket.io/").await.expect("the node takes the session");
    let mut silent = served.at(1).stream().await;
    silent.send_raw(b"\x02").await;
    assert_ne!(silent.closed().await, None);
    within("a session without a stream to be closed", connected.connection.closed()).await;
}

// --- upgrade ---

async fn a_polling_session_moves_to_webtransport(served: &Served) {
    let polling = served.polling().await;
    let poll = polling.pending_poll().await;
    let mut stream = served.at(1).probe(polling.sid()).await;
    assert_eq!(poll.reply().await.outcome(), (200, "6"));
    stream.send("5").await;
    let (mut stream, socket) = served.enter(stream).await;
    stream.send(r#"422["echo",1]"#).await;
    assert_eq!(stream.packet_text().await, "432[1]");
    // A poll of a session that moved is refused, without effect.
    assert_eq!(polling.poll().await.status(), 400);
    assert!(socket.is_connected());
}

async fn packets_queued_at_the_upgrade_follow_in_order(served: &Served) {
    let (polling, socket) = served.app.polling_guest("/").await;
    let mut stream = served.at(2).probe(polling.sid()).await;
    for number in 0..100 {
        socket.emit("n", &number).expect("it encodes");
    }
    stream.send("5").await;
    for number in 0..100 {
        assert_eq!(stream.packet_text().await, format!(r#"42["n",{number}]"#));
    }
}

async fn until_the_upgrade_everything_flows_over_polling(served: &Served) {
    let (polling, socket) = served.app.polling_guest("/").await;
    let mut stream = served.at(1).probe(polling.sid()).await;
    socket.emit("early", &()).expect("it encodes");
    assert_eq!(polling.packets(1).await, [r#"42["early"]"#]);
    stream.send("5").await;
    stream.send(r#"423["nothing"]"#).await;
    assert_eq!(stream.packet_text().await, "433[]", "the first packet behind the answer to the probe");
}

async fn another_packet_before_the_upgrade_ends_the_probe_only(served: &Served) {
    let polling = served.polling().await;
    for wrong in ["4early", "2again", "1"] {
        let mut stream = served.at(1).stream().await;
        stream.send(&format!(r#"0{{"sid":"{}"}}"#, polling.sid())).await;
        stream.send(wrong).await;
        assert_eq!(stream.closed().await, Some(0), "{wrong}");
    }
    polling.settled().await;
    let mut stream = served.at(2).probe(polling.sid()).await;
    stream.send("5").await;
    served.enter(stream).await;
}

async fn a_probe_that_breaks_off_does_not_affect_the_session(served: &Served) {
    let polling = served.polling().await;
    served.at(1).probe(polling.sid()).await.reset();
    served.at(1).probe_when_free(&polling).await.close().await;
    let mut stream = served.at(2).probe_when_free(&polling).await;
    stream.send("5").await;
    served.enter(stream).await;
}

/// The end of a probe reaches the owner of its session on a way of its own.
trait ProbeWhenFree {
    async fn probe_when_free(&self, polling: &Polling) -> WebTransport;
}

impl ProbeWhenFree for WebTransportTarget {
    async fn probe_when_free(&self, polling: &Polling) -> WebTransport {
        loop {
            let mut stream = self.stream().await;
            stream.send(&format!(r#"0{{"sid":"{}"}}"#, polling.sid())).await;
            stream.send("2probe").await;
            match stream.recv().await {
                Received::Text(text) if text == "3probe" => return stream,
                Received::Closed(_) => {}
                other => panic!("waited for the answer to a probe, got {other:?}"),
            }
        }
    }
}

async fn a_second_stream_for_a_session_is_closed(served: &Served) {
    let polling = served.polling().await;
    let mut first = served.at(1).probe(polling.sid()).await;
    let second = async |n: usize| {
        let mut second = served.at(n).stream().await;
        second.send(&format!(r#"0{{"sid":"{}"}}"#, polling.sid())).await;
        assert_eq!(second.closed().await, Some(0));
    };
    second(2).await;
    first.send("5").await;
    let (mut first, _) = served.enter(first).await;
    second(0).await;
    second(1).await;
    let websocket = polling.websocket().await.closed().await;
    assert_eq!(websocket, None, "nor does a WebSocket take it over");
    first.send(r#"424["echo",4]"#).await;
    assert_eq!(first.packet_text().await, "434[4]");
}

async fn an_upgrade_that_takes_too_long_closes_only_the_probe(served: &Served) {
    let polling = served.polling().await;
    let mut stream = served.at(1).probe(polling.sid()).await;
    assert_eq!(stream.closed().await, Some(0));
    polling.settled().await;
}

// --- messages ---

async fn text_and_bytes_travel_both_ways_in_order(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        let data: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let data = &data[..length];
            let text = "€".repeat(length / 3);
            stream.send(&format!(r#"451-5["echo",{{"_placeholder":true,"num":0}},"{text}"]"#)).await;
            // A frame cannot be empty: bytes of no length are base64.
            match length {
                0 => stream.send("b").await,
                _ => stream.send_binary(data).await,
            }
            let answer = format!(r#"461-5[{{"_placeholder":true,"num":0}},"{text}"]"#);
            assert_eq!(stream.packet_text().await, answer);
            let expected = if length == 0 { Received::from("b") } else { Received::Binary(data.to_vec()) };
            assert_eq!(stream.packet().await, expected);
        }
        assert!(socket.is_connected());
    }
}

async fn a_frame_of_exactly_the_limit_is_taken_and_one_byte_more_is_a_parse_error(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        let around = r#"425["nothing",""]"#.len();
        let event = |length: usize| format!(r#"425["nothing","{}"]"#, "x".repeat(length - around));
        stream.send(&event(1_000_000)).await;
        // The handler takes no arguments, so its ack is an error, which shows that the event was read.
        assert!(stream.packet_text().await.starts_with("435["));
        stream.send_raw(&[127, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x41]).await;
        assert_eq!(stream.closed().await, Some(0));
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::ParseError);
    }
}

async fn an_empty_frame_is_a_parse_error(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        stream.send_raw(&[0]).await;
        assert_eq!(stream.closed().await, Some(0));
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::ParseError);
    }
}

async fn an_invalid_packet_is_a_parse_error(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        stream.send("abc").await;
        assert_eq!(stream.closed().await, Some(0));
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::ParseError);
    }
}

async fn further_streams_and_datagrams_are_ignored(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        let session = stream.session.connection.clone();
        for number in 0..20 {
            let (mut other, _unread) =
                within("a stream", session.open_bi().await.expect("open")).await.expect("open");
            // A server that does not want a stream stops it.
            let _stopped = other.write_all(b"\x0240").await;
            let mut single = within("a stream", session.open_uni().await.expect("open")).await.expect("open");
            let _stopped = single.write_all(b"\x0240").await;
            session.send_datagram(b"\x0240").expect("open");
            stream.send(&format!(r#"426["echo",{number}]"#)).await;
            assert_eq!(stream.packet_text().await, format!("436[{number}]"));
        }
        assert!(socket.is_connected());
    }
}

// --- the end ---

async fn a_session_that_the_client_closes_is_a_transport_close(served: &Served) {
    for (stream, socket) in served.of_each_kind().await {
        stream.close().await;
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::TransportClose);
    }
}

async fn a_stream_that_the_client_ends_is_a_transport_close(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        stream.finish().await;
        assert_eq!(stream.closed().await, Some(0));
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::TransportClose);
    }
}

async fn a_stream_that_breaks_off_is_a_transport_error(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        stream.reset();
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::TransportError);
        assert_eq!(stream.closed().await, Some(0));
    }
}

async fn a_disconnect_by_the_server_delivers_what_waits_and_closes_with_code_0(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        let load = "x".repeat(50_000);
        for number in 0..20 {
            socket.emit("n", &(number, &load)).expect("it encodes");
        }
        socket.close();
        for number in 0..20 {
            assert!(stream.packet_text().await.starts_with(&format!(r#"42["n",[{number},"#)));
        }
        assert_eq!(stream.packet_text().await, "41");
        assert_eq!(stream.closed().await, Some(0));
    }
}

async fn a_client_that_does_not_pong_is_closed(served: &Served) {
    for (mut stream, socket) in served.of_each_kind().await {
        assert_eq!(stream.closed().await, Some(0));
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::PingTimeout);
    }
}

#[tokio::test]
async fn a_shutdown_closes_the_sessions_of_a_node_and_those_it_forwards() {
    let served = Served::start(3, all(), http::Config::default()).await;
    let (mut own, socket) = served.guest(1).await;
    let (mut carried, _) = served.upgraded().await;
    let (mut elsewhere, _) = served.guest(2).await;
    served.app.node(1).shutdown().await;
    assert_eq!(own.closed().await, Some(0));
    assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::ServerShuttingDown);
    carried.closed().await;
    let free = async {
        while UdpSocket::bind(served.at(1).addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("the address to be free", free).await;
    elsewhere.send(r#"427["echo",7]"#).await;
    assert_eq!(elsewhere.packet_text().await, "437[7]");
}

// --- limits and refusals ---

#[tokio::test]
async fn opening_and_open_sessions_are_limited() {
    let app = App::start(1, |seen| Node::builder().engine(all()).namespace(plain("/", seen))).await;
    let target =
        WebTransportTarget::limited(app.node(0), |listener| listener.max_opening(2).max_sessions(3)).await;
    let (mut one, mut two) = (target.stream().await, target.stream().await);
    // Two begin already, so the third one has to prove its address.
    let (three, _) = target.open().await;
    one.send("0").await;
    two.send("0").await;
    assert!(one.recv_text().await.starts_with("0{") && two.recv_text().await.starts_with("0{"));
    target.connect("/socket.io/").await.expect_err("there are three already");
    three.close().await;
    // The node learns of that in its own time.
    let again = async { while target.connect("/socket.io/").await.is_err() {} };
    within("room for another", again).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_does_not_affect_others() {
    let config = all().max_buffered(1 << 20).max_burst(1 << 20);
    let served = Served::start(3, config, http::Config::default()).await;
    for (mut slow, socket) in served.of_each_kind().await {
        let load = "x".repeat(100_000);
        let flood = async {
            while socket.is_connected() {
                socket.emit("load", &load).expect("it encodes");
                tokio::task::yield_now().await;
            }
        };
        within("the slow client to be closed", flood).await;
        assert_eq!(served.app.seen.reason(socket.id()).await, DisconnectReason::TransportError);
        slow.closed().await;
    }
}

#[tokio::test]
async fn who_reads_gets_a_burst_whole() {
    let served = Served::start(3, all(), http::Config::default()).await;
    for (mut reader, socket) in served.of_each_kind().await {
        let load = "x".repeat(100_000);
        for pieces in [10, 100, 500] {
            for number in 0..pieces {
                socket.emit("load", &(number, &load)).expect("it encodes");
            }
            for number in 0..pieces {
                let packet = reader.packet_text().await;
                assert!(packet.starts_with(&format!(r#"42["load",[{number},"#)), "{pieces} {number}");
            }
        }
        assert!(socket.is_connected());
    }
}

#[tokio::test]
async fn allow_request_receives_the_handshake_of_the_client() {
    let decide = AllowRequest::new(async |handshake: Arc<engine::Handshake>| {
        let header = |name| handshake.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("origin"), Some(ORIGIN));
        assert!(header("host").is_some_and(|host| host.starts_with("127.0.0.1:")));
        assert!(handshake.secure() && handshake.xdomain() && handshake.address().is_some());
        assert_eq!(handshake.query_value("transport").as_deref(), Some("webtransport"));
        let please = handshake.url() == "/socket.io/?word=please"
            && handshake.query_value("word").as_deref() == Some("please");
        if please { Ok(()) } else { Err("say please".into()) }
    });
    let config = http::Config::default().allow_request(decide);
    let served = Served::start(1, all(), config).await;
    let connect = async |path: &str| served.at(0).connect(path).await.expect("asked later").stream().await;
    let mut refused = connect("/socket.io/?word=now").await;
    refused.send("0").await;
    assert_eq!(refused.recv().await, Received::Closed(Some(0)));
    let mut taken = connect("/socket.io/?word=please").await;
    taken.send("0").await;
    assert!(taken.recv_text().await.starts_with("0{"));
    assert_eq!(served.app.node(0).sessions(), 1);
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_session() {
    for (cors, may) in [
        (http::Cors::origin(ORIGIN), true),
        (http::Cors::origin("https://other.example"), false),
        (http::Cors::origin("https://other.example").any_websocket(), true),
        (http::Cors::any(), true),
    ] {
        let served = Served::start(1, all(), http::Config::default().cors(cors.clone())).await;
        assert_eq!(served.at(0).connect("/socket.io/").await.is_ok(), may, "{cors:?}");
    }
}

#[tokio::test]
async fn middleware_accepts_or_refuses_a_session_and_refusals_are_reported() {
    let keyed = Middleware::new(async |request: Arc<Parts>| {
        assert_eq!(request.method, Method::CONNECT);
        assert_eq!(request.headers.get("origin").and_then(|value| value.to_str().ok()), Some(ORIGIN));
        assert!(request.extensions.get::<http::RemoteAddr>().is_some());
        match request.uri.query() {
            Some("key") => Ok(HeaderMap::new()),
            _ => Err(Rejection::new("no key")),
        }
    });
    let decide =
        AllowRequest::new(
            async |handshake: Arc<engine::Handshake>| {
                if handshake.query_value("key").is_some() { Err("full".into()) } else { Ok(()) }
            },
        );
    let (tell, mut heard) = mpsc::channel(8);
    let config = http::Config::default().middleware([keyed]).allow_request(decide).on_connection_error(
        OnConnectionError::new(move |error| {
            tell.try_send((error.code(), error.context())).expect("the test listens");
        }),
    );
    let served = Served::start(1, all(), config).await;
    served.at(0).connect("/socket.io/").await.expect_err("no key");
    let refused = within("the refusal", heard.recv()).await.expect("it is heard of");
    assert_eq!(refused, (3, ("name", "MIDDLEWARE_FAILURE".to_owned())));

    let mut stream = served.at(0).connect("/socket.io/?key").await.expect("a key").stream().await;
    stream.send("0").await;
    assert_eq!(stream.recv().await, Received::Closed(Some(0)));
    let refused = within("the refusal", heard.recv()).await.expect("it is heard of");
    assert_eq!(refused, (4, ("message", "full".to_owned())));
}

#[tokio::test]
async fn a_session_is_closed_in_time_when_allow_request_never_answers() {
    let never = AllowRequest::new(async |_: Arc<engine::Handshake>| std::future::pending().await);
    let config = http::Config::default().allow_request(never);
    let engine = all().upgrade_timeout(Duration::from_millis(300));
    let served = Served::start(1, engine, config).await;
    let mut stream = served.at(0).stream().await;
    stream.send("0").await;
    assert_eq!(stream.recv().await, Received::Closed(Some(0)));
}

#[tokio::test]
async fn a_node_that_drains_lets_a_stream_go_that_it_carries_before_it_ends() {
    let served = Served::start(3, all(), http::Config::default()).await;
    let (mut stream, _) = served.upgraded().await;
    let (node, began) = (served.app.node(1).clone(), Instant::now());
    let draining =
        tokio::spawn(async move { node.drain(Drain::default().spread(Duration::from_secs(4))).await });
    stream.send(r#"421["echo","hi"]"#).await;
    assert_eq!(stream.packet_text().await, r#"431["hi"]"#);
    stream.closed().await;
    assert!(began.elapsed() >= Duration::from_millis(1500), "its client has time, and the others know");
    assert!(!draining.is_finished());
    within("the end of the node", draining).await.expect("no panic");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_the_next_session() {
    let [old, new] = [(); 2].map(|()| Certificate::self_signed(["localhost"]).expect("a certificate"));
    let tls = Tls::new(&old).expect("a key of its own");
    let listener = WebTransportListener::bind_with("127.0.0.1:0", &tls).await.expect("a port");
    let addr = listener.local_addr();
    let app = App::start(1, |seen| Node::builder().engine(all()).namespace(plain("/", seen))).await;
    let node = app.node(0).clone();
    tokio::spawn(async move { node.serve_webtransport(listener).await });
    let [trusts_old, trusts_new] =
        [old, new.clone()].map(|known| WebTransportTarget { addr, sha256: known.sha256() });
    let _stays = trusts_old.open().await;
    tls.renew(&new).expect("a key of its own");
    let _opened = trusts_new.open().await;
    trusts_old.connect("/socket.io/").await.expect_err("another is shown");
}

#[tokio::test]
async fn another_path_or_a_node_without_the_transport_refuses_the_session() {
    let served = Served::start(1, all(), http::Config::default()).await;
    for path in ["/", "/socket.io", "/other/socket.io/"] {
        served.at(0).connect(path).await.expect_err(path);
    }
    served.at(0).connect("/socket.io/anything").await.expect("the path is a prefix");
    let without = Served::start(1, engine::Config::default(), http::Config::default()).await;
    without.at(0).connect("/socket.io/").await.expect_err("the transport is not enabled");
    let reply = without.app.nodes.target.get("EIO=4&transport=polling").await;
    assert!(reply.text().contains(r#""upgrades":["websocket"]"#), "{reply:?}");
}

async fn clients_cannot_use_the_upgrade_token_of_the_mesh(served: &Served) {
    let polling = served.polling().await;
    for n in 0..3 {
        let uri = served.app.nodes.target.uri(&polling.query("polling"));
        let call = Call::new(served.app.nodes.target.at(n).addr(), Method::PUT, &uri)
            .header("connection", "upgrade")
            .header("upgrade", "SocketMesh-WebTransport");
        // Every request with this method gets the same response.
        assert_eq!(call.send().await.outcome(), (500, ""));
    }
    polling.settled().await;
}
