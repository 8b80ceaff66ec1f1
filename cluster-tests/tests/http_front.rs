//! The connections below requests: TLS, HTTP/1.1 and HTTP/2, and slow clients.
#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cluster_tests::deadline::{in_time, within};
use cluster_tests::fixture::Suite;
use cluster_tests::http::Call;
use cluster_tests::member::member;
use cluster_tests::polling::{self, Polling};
use cluster_tests::secure::{Multiplexed, Trust, multiplexed};
use cluster_tests::target::Target;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Version};
use socketmesh::engine::Handshake;
use socketmesh::http::{AllowRequest, Body, Config, Listener, Tls};
use socketmesh::{Node, Socket, namespace};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// Nodes behind listeners of the test's making, and the handshakes they saw.
struct Front {
    nodes: Vec<Node>,
    http: Vec<SocketAddr>,
    seen: Arc<Mutex<Vec<Arc<Handshake>>>>,
}

impl Front {
    async fn start(count: usize, listener: impl Fn(TcpListener) -> Listener) -> Self {
        let mut front = Self { nodes: Vec::new(), http: Vec::new(), seen: Arc::default() };
        let seen = Arc::clone(&front.seen);
        let look = AllowRequest::new(async move |handshake: Arc<Handshake>| {
            seen.lock().expect("nobody panicked").push(handshake);
            Ok(())
        });
        let config = Config::default().allow_request(look);
        for number in 0..count {
            let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
            let mut builder = Node::builder().http(config.clone()).namespace(echo);
            if count > 1 {
                let seed = front.nodes.first().and_then(Node::mesh_addr);
                builder = builder.cluster(member(number, seed));
            }
            let node = builder.start().await.expect("the node starts");
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            front.http.push(tcp.local_addr().expect("an address"));
            let (serving, listener) = (node.clone(), listener(tcp));
            tokio::spawn(async move { serving.serve_at("/socket.io/", listener, large).await });
            front.nodes.push(node);
        }
        for node in &front.nodes {
            node.ready().await;
        }
        front
    }

    fn target(&self) -> Target {
        Target::of(Suite::Socket, self.http[0], &self.http)
    }

    fn last_handshake(&self) -> Arc<Handshake> {
        Arc::clone(self.seen.lock().expect("nobody panicked").last().expect("a handshake"))
    }

    async fn plain(&self, n: usize) -> Multiplexed {
        multiplexed(self.tcp(n).await, WINDOW).await.0
    }

    async fn tcp(&self, n: usize) -> TcpStream {
        TcpStream::connect(self.http[n % self.http.len()]).await.expect("it listens")
    }
}

/// More than any system buffers for a connection.
fn large(_: &Request<hyper::body::Incoming>) -> hyper::Response<Body> {
    hyper::Response::new(Body::from(vec![b'x'; 64 << 20]))
}

async fn ask(over: &Multiplexed, request: Request<Full<Bytes>>) -> (u16, String) {
    let mut over = over.clone();
    let answer = async {
        let answer = over.send_request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("the whole answer").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    within("an answer over HTTP/2", answer).await
}

fn get(query: &str) -> Request<Full<Bytes>> {
    request("GET", query, "")
}

fn request(method: &str, query: &str, body: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://chat.example/socket.io/?{query}");
    let body = Full::new(Bytes::from(body.to_owned()));
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(body).expect("a request")
}

async fn open(over: &Multiplexed) -> String {
    let (status, body) = ask(over, get(POLLING)).await;
    assert_eq!(status, 200);
    let handshake = polling::handshake(&body);
    format!("{POLLING}&sid={}", handshake.get("sid").and_then(|sid| sid.as_str()).expect("a sid"))
}

/// Joins the namespace and is echoed to, with a GET that waits beside the POSTs. `over` are taken in turn.
async fn converse(over: &[Multiplexed], session: &str) {
    let mut turns = over.iter().cycle();
    let mut next = || turns.next().expect("a connection");
    let joined = tokio::join!(ask(next(), get(session)), ask(next(), request("POST", session, "40")));
    assert!(joined.0.1.starts_with("40{"), "{joined:?}");
    for n in 0..5 {
        let event = format!(r#"42{n}["echo","{n}"]"#);
        let (polled, posted) =
            tokio::join!(ask(next(), get(session)), ask(next(), request("POST", session, &event)));
        assert_eq!(polled, (200, format!(r#"43{n}["{n}"]"#)));
        assert_eq!(posted, (200, "ok".to_owned()));
    }
}

// --- HTTP/2 ---

#[tokio::test]
async fn polls_and_posts_share_one_connection_of_http_2() {
    let front = Front::start(1, Listener::new).await;
    let over = front.plain(0).await;
    let session = open(&over).await;
    converse(&[over.clone(), over], &session).await;
}

#[tokio::test]
async fn a_session_over_http_2_is_forwarded_to_its_owner() {
    let front = Front::start(3, Listener::new).await;
    let over = [front.plain(0).await, front.plain(1).await, front.plain(2).await];
    for owner in &over {
        converse(&over, &open(owner).await).await;
    }
}

#[tokio::test]
async fn a_session_may_mix_http_1_and_http_2() {
    let front = Front::start(3, Listener::new).await;
    let old: Polling = front.target().polling().await;
    let query = old.query("polling");
    let over = front.plain(1).await;
    assert_eq!(ask(&over, request("POST", &query, "40")).await, (200, "ok".to_owned()));
    assert!(old.at(2).poll().await.text().starts_with("40{"));
}

#[tokio::test]
async fn an_aborted_poll_over_http_2_closes_the_session() {
    let front = Front::start(3, Listener::new).await;
    for n in 0..3 {
        let over = front.plain(n).await;
        let session = open(&front.plain(0).await).await;
        converse(std::slice::from_ref(&over), &session).await;
        let gone = async {
            while front.nodes[0].sessions() > 0 {
                let mut aborting = over.clone();
                let pending = aborting.send_request(get(&session));
                // A request that is reset before it reached its session has no effect, so the test tries again.
                tokio::select! {
                    _ = pending => {}
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
            }
        };
        within("the end of the session", gone).await;
        assert_eq!(ask(&over, get(&session)).await.0, 400);
    }
}

#[tokio::test]
async fn a_request_over_http_2_reads_like_one_over_http_1() {
    let front = Front::start(1, Listener::new).await;
    let over = front.plain(0).await;
    let mut asked = get(POLLING);
    for crumb in ["a=1", "b=2"] {
        asked.headers_mut().append("cookie", crumb.parse().expect("a cookie"));
    }
    asked.headers_mut().append("host", "forged.example".parse().expect("a host"));
    assert_eq!(ask(&over, asked).await.0, 200);
    let handshake = front.last_handshake();
    assert_eq!(handshake.headers()["host"], "chat.example");
    assert_eq!(handshake.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(handshake.url(), format!("/socket.io/?{POLLING}"));
    assert!(!handshake.secure(), "whatever scheme the client names");
    assert!(handshake.address().is_some());
}

#[tokio::test]
async fn refusals_over_http_2_are_those_of_http_1() {
    let front = Front::start(3, Listener::new).await;
    let over = front.plain(1).await;
    for (query, body) in [
        ("EIO=4&transport=tcp", r#"{"code":0,"message":"Transport unknown"}"#),
        ("EIO=4&transport=polling&sid=unknown", r#"{"code":1,"message":"Session ID unknown"}"#),
        ("EIO=4&transport=websocket", r#"{"code":3,"message":"Bad request"}"#),
    ] {
        assert_eq!(ask(&over, get(query)).await, (400, body.to_owned()));
    }
    let session = open(&front.plain(0).await).await;
    let large = "4".repeat(2_000_000);
    assert_eq!(ask(&over, request("POST", &session, &large)).await.0, 413);
    converse(std::slice::from_ref(&over), &session).await;
}

#[tokio::test]
async fn a_shutdown_closes_http_2_connections() {
    let front = Front::start(1, Listener::new).await;
    let (over, ended) = multiplexed(front.tcp(0).await, WINDOW).await;
    open(&over).await;
    within("the node to stop", front.nodes[0].shutdown()).await;
    within("the end of the connection", ended).await.expect("no panic").expect("a goodbye");
}

/// A load balancer has connected, and its request is on the way.
#[tokio::test]
async fn a_connection_that_is_there_when_the_port_closes_gets_its_answer() {
    // So long it is waited for, from before the port is closed.
    in_time(Duration::from_millis(200), async || {
        let front = Front::start(1, Listener::new).await;
        let mut early = front.tcp(0).await;
        let addr = front.http[0];
        let node = front.nodes[0].clone();
        let began = Instant::now();
        let stopping = tokio::spawn(async move { node.shutdown().await });
        let closed = async {
            while TcpStream::connect(addr).await.is_ok() {
                // Many silent connections would push out this one.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the port to close", closed).await;
        let sent = early.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut answer = String::new();
        let read = within("an answer", early.read_to_string(&mut answer)).await;
        if sent.is_err() || read.is_err() || answer.is_empty() {
            return Err(began);
        }
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        within("the node to stop", stopping).await.unwrap();
        Ok(())
    })
    .await;
}

// --- TLS ---

fn secured(trust: &Trust) -> impl Fn(TcpListener) -> Listener {
    let tls = Tls::new(&trust.certificate()).expect("a certificate");
    move |tcp| Listener::new(tcp).tls(tls.clone())
}

#[tokio::test]
async fn clients_choose_http_1_or_2_over_tls() {
    let trust = Trust::new();
    let front = Front::start(3, secured(&trust)).await;
    let mut over = Vec::new();
    for addr in &front.http {
        let stream = trust.connect(*addr, &["h2", "http/1.1"]).await.expect("trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        over.push(multiplexed(stream, WINDOW).await.0);
    }
    let session = open(&over[0]).await;
    assert!(front.last_handshake().secure() && front.last_handshake().address().is_some());
    converse(&over, &session).await;

    for alpn in [&["http/1.1"][..], &[]] {
        let mut stream = trust.connect(front.http[1], alpn).await.expect("trusted");
        let line = format!("GET /socket.io/?{POLLING} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(line.as_bytes()).await.expect("an open connection");
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.expect("a clean end");
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(front.last_handshake().secure());
    }
}

#[tokio::test]
async fn a_websocket_runs_over_tls_on_any_node() {
    let trust = Trust::new();
    let front = Front::start(3, secured(&trust)).await;
    for n in 0..3 {
        // The session is the first node's, so from the second on its frames are carried there.
        let over = multiplexed(trust.connect(front.http[0], &["h2"]).await.expect("trusted"), WINDOW).await.0;
        let session = open(&over).await.replace("polling", "websocket");
        let stream = trust.connect(front.http[n], &["http/1.1"]).await.expect("trusted");
        let uri = format!("wss://localhost/socket.io/?{session}");
        let accepted = Box::pin(tokio_tungstenite::client_async(uri, stream));
        let (mut ws, _) = within("a WebSocket", accepted).await.expect("it is accepted");
        for text in ["2probe", "5", "40", r#"420["echo","over TLS"]"#] {
            ws.send(Message::text(text)).await.expect("an open WebSocket");
        }
        let mut heard = Vec::new();
        while heard.len() < 3 {
            let message = within("a message", ws.next()).await.expect("it is open").expect("a message");
            heard.push(message.into_text().expect("text").to_string());
        }
        assert_eq!((heard[0].as_str(), heard[2].as_str()), ("3probe", r#"430["over TLS"]"#));
        assert!(heard[1].starts_with("40{"));
    }
}

#[tokio::test]
async fn a_client_over_tls_need_not_wait_for_the_101() {
    let trust = Trust::new();
    let front = Front::start(1, secured(&trust)).await;
    let mut stream = trust.connect(front.http[0], &["http/1.1"]).await.expect("trusted");
    stream.write_all(&handshake_and("EIO=4&transport=websocket", "40")).await.expect("an open connection");
    let heard = heard(&mut stream, r#"40{"sid":"#).await;
    assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");
}

#[tokio::test]
async fn a_client_need_not_wait_for_the_101_whoever_owns_its_session() {
    let front = Front::start(2, Listener::new).await;
    let session = open(&front.plain(0).await).await.replace("polling", "websocket");
    for (n, query, frame, answer) in
        [(0, "EIO=4&transport=websocket", "40", r#"40{"sid":"#), (1, &*session, "2probe", "3probe")]
    {
        let mut stream = front.tcp(n).await;
        stream.write_all(&handshake_and(query, frame)).await.expect("an open connection");
        let heard = heard(&mut stream, answer).await;
        assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");
    }
}

#[tokio::test]
async fn a_connection_that_has_polled_may_become_a_websocket() {
    let front = Front::start(1, Listener::new).await;
    let mut stream = front.tcp(0).await;
    let get = format!("GET /socket.io/?{POLLING} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(get.as_bytes()).await.expect("an open connection");
    let polled = heard(&mut stream, "}").await;
    let handshake = polling::handshake(polled.rsplit("\r\n").next().expect("a body"));
    let sid = handshake.get("sid").and_then(|sid| sid.as_str()).expect("a sid");
    let query = format!("EIO=4&transport=websocket&sid={sid}");
    // In parts, as a network may bring it.
    for part in handshake_and(&query, "2probe").chunks(100) {
        stream.write_all(part).await.expect("an open connection");
        tokio::task::yield_now().await;
    }
    let heard = heard(&mut stream, "3probe").await;
    assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");
}

/// The handshake of a WebSocket, and a masked frame right behind it.
fn handshake_and(query: &str, frame: &str) -> Vec<u8> {
    let mut sent = format!(
        "GET /socket.io/?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c29ja2V0bWVzaCB0ZXN0cw==\r\n\r\n"
    )
    .into_bytes();
    sent.extend([0x81, 0x80 | u8::try_from(frame.len()).expect("a short frame"), 0, 0, 0, 0]);
    sent.extend(frame.as_bytes());
    sent
}

/// What a server sends, up to where this is in it.
async fn heard(stream: &mut (impl AsyncRead + Unpin), last: &str) -> String {
    let mut heard = Vec::new();
    let all = async {
        while !String::from_utf8_lossy(&heard).contains(last) {
            assert_ne!(stream.read_buf(&mut heard).await.expect("it is open"), 0, "it goes on");
        }
    };
    within(last, all).await;
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn a_renewed_certificate_is_used_from_the_next_connection_on() {
    let (old, new) = (Trust::new(), Trust::new());
    let tls = Tls::new(&old.certificate()).expect("a certificate");
    let presented = tls.clone();
    let front = Front::start(1, move |tcp| Listener::new(tcp).tls(presented.clone())).await;
    let before = multiplexed(old.connect(front.http[0], &["h2"]).await.expect("trusted"), WINDOW).await.0;
    let session = open(&before).await;
    assert!(new.connect(front.http[0], &["h2"]).await.is_err());

    tls.renew(&new.certificate()).expect("a certificate");
    assert!(old.connect(front.http[0], &["h2"]).await.is_err());
    let after = multiplexed(new.connect(front.http[0], &["h2"]).await.expect("trusted"), WINDOW).await.0;
    // The connection from before goes on beside the new one.
    converse(&[before, after], &session).await;
}

// --- clients that take their time ---

#[tokio::test]
async fn a_silent_connection_blocks_no_other_and_is_cut_off() {
    let trust = Trust::new();
    let secured = secured(&trust);
    let hasty = move |tcp| secured(tcp).head_timeout(Duration::from_secs(3));
    let front = Front::start(1, hasty).await;
    let mut silent = Vec::new();
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n"] {
        for _ in 0..50 {
            let mut stream = front.tcp(0).await;
            stream.write_all(beginning).await.expect("an open connection");
            silent.push(stream);
        }
    }
    let over = multiplexed(trust.connect(front.http[0], &["h2"]).await.expect("trusted"), WINDOW).await.0;
    open(&over).await;
    for stream in silent {
        ends(stream).await;
    }
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_cut_off() {
    let front = Front::start(1, |tcp| Listener::new(tcp).head_timeout(Duration::from_millis(200))).await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nX-Slow: "] {
        let mut stream = front.tcp(0).await;
        stream.write_all(beginning.as_bytes()).await.expect("an open connection");
        ends(stream).await;
    }
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed_but_not_one_with_a_waiting_poll() {
    let front = Front::start(1, |tcp| Listener::new(tcp).keep_alive_timeout(Duration::from_secs(2))).await;
    let (waiting, _) = multiplexed(front.tcp(0).await, WINDOW).await;
    let session = open(&waiting).await;
    let poll = tokio::spawn({
        let (over, session) = (waiting.clone(), session.clone());
        async move { ask(&over, get(&session)).await }
    });
    for _ in 0..2 {
        let (_idle, ended) = multiplexed(front.tcp(0).await, WINDOW).await;
        within("the end of an idle connection", ended).await.expect("no panic").expect("a goodbye");
    }
    assert_eq!(ask(&waiting, request("POST", &session, "40")).await.0, 200);
    assert!(within("the poll", poll).await.expect("an answer").1.starts_with("40{"));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_cut_off() {
    let front = Front::start(1, impatient).await;
    let mut stream = front.tcp(0).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("an open connection");
    // A client that does not read is cut off with most of its response unsent.
    tokio::time::sleep(4 * PATIENCE).await;
    let mut read = Vec::new();
    let end = within("the end", stream.read_to_end(&mut read)).await;
    assert!(end.is_err() || read.len() < 64 << 20, "{} bytes", read.len());
}

#[tokio::test]
async fn a_client_that_holds_back_its_http_2_response_is_cut_off() {
    for window in [0, 1, 40_000] {
        let front = Front::start(1, impatient).await;
        let (mut over, ended) = multiplexed(front.tcp(0).await, window).await;
        let asked = Request::get("http://x/large").body(Full::default()).expect("a request");
        let answer = within("the head", over.send_request(asked)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        within("the end of the connection", ended).await.expect("no panic").ok();
    }
}

#[tokio::test]
async fn a_slow_reader_receives_everything() {
    let patience = Duration::from_secs(4);
    let front = Front::start(1, |tcp| Listener::new(tcp).write_timeout(patience)).await;
    let (mut over, _) = multiplexed(front.tcp(0).await, 1 << 20).await;
    let asked = Request::get("http://x/large").body(Full::default()).expect("a request");
    let mut body = within("the head", over.send_request(asked)).await.expect("an answer").into_body();
    let (mut read, mut pauses) = (0, 0);
    while let Some(frame) = within("a piece", body.frame()).await {
        read += frame.expect("it goes on").into_data().map_or(0, |data| data.len());
        if read > (pauses + 1) << 23 {
            pauses += 1;
            tokio::time::sleep(patience / 5).await;
        }
    }
    assert_eq!(read, 64 << 20);
    assert!(pauses > 5, "longer in all than anybody is waited for at once");
}

fn impatient(tcp: TcpListener) -> Listener {
    Listener::new(tcp).write_timeout(PATIENCE)
}

/// Waits until the server closes the connection, whatever it sends before.
async fn ends(mut stream: TcpStream) {
    let mut rest = Vec::new();
    within("the end of a connection", stream.read_to_end(&mut rest)).await.ok();
}

// --- paths ---

#[tokio::test]
async fn a_websocket_for_another_path_is_answered_and_closed() {
    let node = Node::builder().start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("an address");
    tokio::spawn(async move { node.serve(tcp).await });
    for path in ["/other/", "/socket.io", "/"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c29ja2V0bWVzaCB0ZXN0cw==\r\n\r\n"
        );
        // It reads to the end of the connection, which only the server ends.
        let answer = cluster_tests::http::raw(addr, request.as_bytes(), "\0").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("Connection: close"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_path_without_a_slash_is_a_bare_prefix() {
    let node = Node::builder().start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("an address");
    tokio::spawn(async move { node.serve_at("/realtime", tcp, socketmesh::http::not_found).await });
    for (path, status) in [("/realtime", 200), ("/realtime/", 200), ("/realtimex", 200), ("/real", 404)] {
        let call = Call::new(addr, Method::GET, &format!("{path}?{POLLING}"));
        assert_eq!(call.send().await.status(), status, "{path}");
    }
}

const POLLING: &str = "EIO=4&transport=polling";
const WINDOW: u32 = 1 << 16;
const PATIENCE: Duration = Duration::from_millis(500);
