//! What an application sees of a client is the same where the node listens itself and in axum, and what trusted proxies say of it.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use cluster_tests::app::connected;
use cluster_tests::deadline::within;
use cluster_tests::fixture::Suite;
use cluster_tests::host::{self, Host};
use cluster_tests::http::Call;
use cluster_tests::member::member;
use cluster_tests::messages::Messages;
use cluster_tests::nodes::Nodes;
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::polling;
use cluster_tests::secure::Trust;
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use hyper::Method;
use serde_json::{Value, json};
use socketmesh::engine;
use socketmesh::http::{
    self, AllowRequest, Forbidden, Listener, Middleware, Parts, Pass, Rejection, Tls, TrustedProxies,
};
use socketmesh::{Handshake, Namespace, Node, Refusal, Socket, namespace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Who asks, as a layer or a middleware found out.
#[derive(Debug, Clone)]
struct User(String);

/// Nodes in a host.
struct Hosted {
    host: Host,
    _nodes: Vec<Node>,
    http: Vec<SocketAddr>,
    target: Target,
}

/// What is different from node to node of the tests.
#[derive(Clone, Default)]
struct Settings {
    proxies: TrustedProxies,
    proxy_protocol: bool,
    engine: engine::Config,
}

impl Hosted {
    async fn start(host: Host, count: usize) -> Self {
        Self::start_with(host, count, Settings::default(), Listener::new).await
    }

    async fn start_with(
        host: Host,
        count: usize,
        settings: Settings,
        listener: impl Fn(TcpListener) -> Listener,
    ) -> Self {
        let (mut nodes, mut http) = (Vec::<Node>::new(), Vec::new());
        for number in 0..count {
            let config = http::Config::default().trusted_proxies(settings.proxies.clone()).allow_request(
                AllowRequest::new(async |request| {
                    match request.extensions().get::<User>().map(|User(name)| name.as_str()) {
                        Some("nobody") => Err(Forbidden::new("nobody may not")),
                        _ => Ok(()),
                    }
                }),
            );
            let config = match host {
                Host::Own => config.middleware([Middleware::new(named), Middleware::new(in_capitals)]),
                Host::Axum => config,
            };
            let mut builder = Node::builder().engine(settings.engine.clone()).http(config).namespace(app());
            if count > 1 {
                builder = builder.cluster(member(number, nodes.first().and_then(Node::mesh_addr)));
            }
            let node = builder.start().await.expect("the node starts");
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            http.push(tcp.local_addr().expect("an address"));
            match host {
                Host::Own => {
                    let (serving, mut listener) = (node.clone(), listener(tcp));
                    if settings.proxy_protocol {
                        listener = listener.proxy_protocol();
                    }
                    tokio::spawn(async move { serving.serve(listener).await });
                }
                Host::Axum => {
                    let app = host::mounted(&node, "/socket.io/").layer(axum::middleware::from_fn(layer));
                    if settings.proxy_protocol {
                        let listener = node.listener(tcp).proxy_protocol();
                        tokio::spawn(host::serve_until(node.stopped(), listener, app));
                    } else {
                        tokio::spawn(host::serve_in_axum(tcp, app));
                    }
                }
            }
            nodes.push(node);
        }
        for node in &nodes {
            node.ready().await;
        }
        let target = Target::of(Suite::Socket, http[0], &http);
        Self { host, _nodes: nodes, http, target }
    }

    fn at(&self, n: usize) -> SocketAddr {
        self.http[n % self.http.len()]
    }

    /// A request by the user of this name, at the `n`th node.
    fn call(&self, n: usize, method: Method, query: &str, user: &str) -> Call {
        self.target.at(n).call(method, query).header("x-user", user)
    }

    /// A connection to the `n`th node from this address.
    async fn connect(&self, n: usize, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{from}:0").parse().expect("an address")).expect("an address of this machine");
        socket.connect(self.at(n)).await.expect("somebody listens")
    }
}

/// A namespace for users, whose handler says what it knows of the client.
fn app() -> Namespace<User> {
    namespace("/")
        .auth(async |client: Handshake| match client.request().extensions().get::<User>() {
            Some(user) => Ok(user.clone()),
            None => Err(Refusal::new("log in first")),
        })
        .on("who", async |socket: Socket<User>, ()| {
            let request = socket.handshake().request();
            let host = request.headers().get("host").and_then(|host| host.to_str().ok());
            let same = request.extensions().get().map(|User(name)| name == &socket.data().0);
            Ok(json!({
                "user": socket.data().0,
                "same": same,
                "url": request.url(),
                "address": request.address().map(|address| address.ip().to_string()),
                "secure": request.secure(),
                "host": host,
            }))
        })
}

/// The middleware of a node that listens itself.
async fn named(request: Arc<Parts>) -> Result<Pass, Rejection> {
    let header = |name: &str| request.headers.get(name)?.to_str().ok().map(str::to_owned);
    match header("x-user") {
        Some(user) => Ok(Pass::default().extension(User(user))),
        None => Ok(Pass::default()),
    }
}

/// What the next one makes of it.
async fn in_capitals(request: Arc<Parts>) -> Result<Pass, Rejection> {
    let user = request.extensions.get().map(|User(user)| User(user.replace("ann", "Ann")));
    Ok(user.map_or_else(Pass::default, |user| Pass::default().extension(user)))
}

/// The layer in axum that does both.
async fn layer(mut request: Request, next: Next) -> axum::response::Response {
    let user = request.headers().get("x-user").and_then(|user| user.to_str().ok());
    let user = user.map(|user| User(user.replace("ann", "Ann")));
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

mod where_the_node_listens_itself {
    use super::*;

    on_one_and_three_nodes! { crate::own:
        what_layers_say_of_a_request_reaches_auth_and_handlers,
        the_url_is_whole_and_the_address_that_of_the_client,
        a_scheme_that_a_client_names_is_no_tls,
        the_path_of_the_service_ends_with_a_slash_in_every_host,
    }
    on_one_and_three_nodes! { crate::own_behind_proxies:
        a_trusted_proxy_says_who_its_client_is_and_nobody_else_does,
    }
}

mod in_axum {
    use super::*;

    on_one_and_three_nodes! { crate::axum:
        what_layers_say_of_a_request_reaches_auth_and_handlers,
        the_url_is_whole_and_the_address_that_of_the_client,
        a_scheme_that_a_client_names_is_no_tls,
        the_path_of_the_service_ends_with_a_slash_in_every_host,
    }
    on_one_and_three_nodes! { crate::axum_behind_proxies:
        a_trusted_proxy_says_who_its_client_is_and_nobody_else_does,
    }
}

fn own(count: usize) -> &'static Hosted {
    static ONE: OnceLock<Hosted> = OnceLock::new();
    static THREE: OnceLock<Hosted> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || Hosted::start(Host::Own, count))
}

fn axum(count: usize) -> &'static Hosted {
    static ONE: OnceLock<Hosted> = OnceLock::new();
    static THREE: OnceLock<Hosted> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || Hosted::start(Host::Axum, count))
}

fn own_behind_proxies(count: usize) -> &'static [Hosted; 2] {
    static ONE: OnceLock<[Hosted; 2]> = OnceLock::new();
    static THREE: OnceLock<[Hosted; 2]> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || behind_proxies(Host::Own, count))
}

fn axum_behind_proxies(count: usize) -> &'static [Hosted; 2] {
    static ONE: OnceLock<[Hosted; 2]> = OnceLock::new();
    static THREE: OnceLock<[Hosted; 2]> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || behind_proxies(Host::Axum, count))
}

/// Behind a proxy at 127.0.0.2: one that speaks `X-Forwarded-*`, and one that speaks `Forwarded`.
async fn behind_proxies(host: Host, count: usize) -> [Hosted; 2] {
    let start = async |proxies: TrustedProxies| {
        Hosted::start_with(host, count, Settings { proxies, ..Settings::default() }, Listener::new).await
    };
    [start(trusted()).await, start(trusted().forwarded()).await]
}

fn trusted() -> TrustedProxies {
    TrustedProxies::new(["127.0.0.2"]).expect("an address")
}

/// Joins the namespace and asks who the client is, on a WebSocket.
async fn who(ws: &mut WebSocket) -> Value {
    assert!(ws.recv_text().await.starts_with("0{"));
    ws.send("40").await;
    connected(&ws.packet_text().await, "/");
    ws.send(r#"420["who"]"#).await;
    answer(&ws.packet_text().await)
}

fn answer(packet: &str) -> Value {
    let arguments = packet.strip_prefix("430").and_then(|json| serde_json::from_str::<Vec<Value>>(json).ok());
    arguments.and_then(|mut arguments| arguments.pop()).unwrap_or_else(|| panic!("an ack, not {packet}"))
}

/// The same over polling, with requests that reach every node in turn and come from somebody else.
async fn who_polls(hosted: &Hosted, opened: &str) -> Value {
    let handshake = polling::handshake(opened);
    let query = format!("{POLLING}&sid={}", handshake.get("sid").and_then(Value::as_str).expect("a sid"));
    let mut packets = Vec::new();
    for (n, packet) in ["40", r#"420["who"]"#].into_iter().enumerate() {
        let posted = hosted.call(n, Method::POST, &query, "eve").body(packet).send().await;
        assert_eq!(posted.outcome(), (200, "ok"));
        packets.push(hosted.call(n + 1, Method::GET, &query, "eve").send().await.text().to_owned());
    }
    connected(&packets[0], "/");
    answer(&packets[1])
}

// --- one rule for every host ---

async fn what_layers_say_of_a_request_reaches_auth_and_handlers(hosted: &Hosted) {
    for n in 0..3 {
        let call = hosted.call(n, Method::GET, WEBSOCKET, "ann").upgrade();
        let who = who(&mut WebSocket::from_call(call).await.expect("accepted")).await;
        assert_eq!((&who["user"], &who["same"]), (&json!("Ann"), &json!(true)), "on a WebSocket");

        let opened = hosted.call(n, Method::GET, POLLING, "ann").send().await;
        assert_eq!(who_polls(hosted, opened.text()).await["user"], "Ann", "that of the first request");

        let refused = hosted.call(n, Method::GET, POLLING, "nobody").send().await;
        assert_eq!(refused.outcome(), (403, r#"{"code":4,"message":"nobody may not"}"#));

        let mut ws = hosted.target.at(n).websocket().await;
        ws.send("40").await;
        assert_eq!(ws.packet_text().await, r#"44{"message":"log in first"}"#);
    }
}

async fn the_url_is_whole_and_the_address_that_of_the_client(hosted: &Hosted) {
    for n in 0..3 {
        for more in ["", "&room=a%20b"] {
            let query = format!("{WEBSOCKET}{more}");
            let call = hosted.call(n, Method::GET, &query, "ann").upgrade();
            let who = who(&mut WebSocket::from_call(call).await.expect("accepted")).await;
            let host = hosted.at(n).to_string();
            let url = format!("/socket.io/?{query}");
            let expected = json!({
                "user": "Ann", "same": true, "url": url, "address": "127.0.0.1", "secure": false, "host": host,
            });
            assert_eq!(who, expected);
        }
        let below = Call::new(hosted.at(n), Method::GET, &format!("/socket.io/chat/x?{POLLING}"));
        let opened = below.header("x-user", "ann").send().await;
        assert_eq!(who_polls(hosted, opened.text()).await["url"], format!("/socket.io/chat/x?{POLLING}"));
    }
}

/// Also in the way of proxies, in which a request names the whole URL.
async fn a_scheme_that_a_client_names_is_no_tls(hosted: &Hosted) {
    for n in 0..3 {
        let request = format!(
            "GET https://chat.example/socket.io/?{POLLING} HTTP/1.1\r\nHost: chat.example\r\nX-User: ann\r\n\
                Connection: close\r\n\r\n"
        );
        let answer = cluster_tests::http::raw(hosted.at(n), request.as_bytes(), "nothing like this").await;
        let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
        let who = who_polls(hosted, &body).await;
        assert_eq!((&who["secure"], &who["host"]), (&json!(false), &json!("chat.example")));
        assert_eq!(who["url"], format!("/socket.io/?{POLLING}"));
    }
}

async fn the_path_of_the_service_ends_with_a_slash_in_every_host(hosted: &Hosted) {
    for n in 0..3 {
        let at = |path: &str| Call::new(hosted.at(n), Method::GET, path);
        assert_eq!(at(&format!("/socket.io?{POLLING}")).send().await.status(), 404);
        let refused = WebSocket::from_call(at(&format!("/socket.io?{WEBSOCKET}")).upgrade()).await;
        assert_eq!(refused.expect_err("no WebSocket").status(), 404);
        assert_eq!(at(&format!("/socket.io/?{POLLING}")).send().await.status(), 200);
        assert_eq!(at("/socket.io/socket.io.js").send().await.status(), 302);
        assert_eq!(at("/socket.io/unknown.js").send().await.outcome(), (400, UNKNOWN_TRANSPORT));
    }
}

async fn a_trusted_proxy_says_who_its_client_is_and_nobody_else_does([x_forwarded, forwarded]: &[Hosted; 2]) {
    let in_x_forwarded = "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.example\r\n";
    let in_forwarded = "Forwarded: for=6.6.6.6;host=forged.example\r\nForwarded: for=203.0.113.9;proto=https;host=chat.example\r\n";
    let client = json!(["203.0.113.9", true, "chat.example"]);
    for n in 0..3 {
        for (hosted, headers, from, expected) in [
            (x_forwarded, in_x_forwarded, "127.0.0.2", client.clone()),
            (x_forwarded, in_x_forwarded, "127.0.0.3", json!(["127.0.0.3", false, "inside"])),
            (x_forwarded, in_forwarded, "127.0.0.2", json!(["127.0.0.2", false, "inside"])),
            (forwarded, in_forwarded, "127.0.0.2", client.clone()),
            (forwarded, in_forwarded, "127.0.0.3", json!(["127.0.0.3", false, "inside"])),
            (forwarded, in_x_forwarded, "127.0.0.2", json!(["127.0.0.2", false, "inside"])),
        ] {
            let mut stream = hosted.connect(n, from).await;
            let who = ask(hosted, &mut stream, headers).await;
            assert_eq!(
                json!([who["address"], who["secure"], who["host"]]),
                expected,
                "{headers} from {from}"
            );
        }
    }
}

/// Opens a session over a connection of the test's making, and asks who the client is.
async fn ask(hosted: &Hosted, stream: &mut TcpStream, headers: &str) -> Value {
    stream.write_all(request(headers).as_bytes()).await.expect("an open connection");
    let head = read_until(stream, "\r\n\r\n0{").await;
    let body = head.split_once("\r\n\r\n").unwrap_or_else(|| panic!("an answer, not {head:?}")).1.to_owned();
    who_polls(hosted, &body).await
}

fn request(headers: &str) -> String {
    format!("GET /socket.io/?{POLLING} HTTP/1.1\r\nHost: inside\r\nX-User: ann\r\n{headers}\r\n")
}

/// What is read until this was read and the packet behind it has ended, or the connection has.
async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), until: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if text.contains(until) && text.ends_with('}') {
                return text;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return String::from_utf8_lossy(&read).into_owned();
            }
        }
    };
    within(format!("{until:?}"), reading).await
}

// --- the PROXY protocol ---

mod forwarded_to_the_node {
    use super::*;

    on_one_and_three_nodes! { crate::own_forwarding:
        the_proxy_protocol_says_whose_a_connection_is,
    }
    on_one_and_three_nodes! { crate::own_limited:
        what_one_address_may_have_is_counted_for_the_clients_of_a_proxy,
    }
}

mod forwarded_to_axum {
    use super::*;

    on_one_and_three_nodes! { crate::axum_forwarding:
        the_proxy_protocol_says_whose_a_connection_is,
    }
    on_one_and_three_nodes! { crate::axum_limited:
        what_one_address_may_have_is_counted_for_the_clients_of_a_proxy,
    }
}

fn own_forwarding(count: usize) -> &'static Hosted {
    static ONE: OnceLock<Hosted> = OnceLock::new();
    static THREE: OnceLock<Hosted> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || forwarding(Host::Own, count))
}

fn axum_forwarding(count: usize) -> &'static Hosted {
    static ONE: OnceLock<Hosted> = OnceLock::new();
    static THREE: OnceLock<Hosted> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || forwarding(Host::Axum, count))
}

fn own_limited(count: usize) -> &'static Hosted {
    static ONE: OnceLock<Hosted> = OnceLock::new();
    static THREE: OnceLock<Hosted> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || limited(Host::Own, count))
}

fn axum_limited(count: usize) -> &'static Hosted {
    static ONE: OnceLock<Hosted> = OnceLock::new();
    static THREE: OnceLock<Hosted> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || limited(Host::Axum, count))
}

/// Behind a load balancer at 127.0.0.2 that forwards connections.
async fn forwarding(host: Host, count: usize) -> Hosted {
    let settings = Settings { proxies: trusted(), proxy_protocol: true, ..Settings::default() };
    Hosted::start_with(host, count, settings, Listener::new).await
}

/// The same, and one address may have two sessions and, where the node listens itself, one connection.
async fn limited(host: Host, count: usize) -> Hosted {
    let engine = engine::Config::default().max_sessions_per_address(2);
    let settings = Settings { proxies: trusted(), proxy_protocol: true, engine };
    Hosted::start_with(host, count, settings, |tcp| Listener::new(tcp).max_connections_per_address(1)).await
}

const NONE: &[u8] = b"";
const VERSION_1: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n";
/// From 203.0.113.10:4711 to 10.0.0.1:443, over TLS 1.3.
const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x1e\xcb\x00\x71\x0a\x0a\x00\x00\x01\x12\x67\x01\xbb\
    \x20\x00\x0f\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3";
/// Of the load balancer itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

async fn the_proxy_protocol_says_whose_a_connection_is(hosted: &Hosted) {
    for n in 0..3 {
        for (from, header, address, secure) in [
            ("127.0.0.2", VERSION_1, "203.0.113.9", false),
            ("127.0.0.2", VERSION_2, "203.0.113.10", true),
            ("127.0.0.2", LOCAL, "127.0.0.2", false),
            // Who is no proxy sends none.
            ("127.0.0.3", NONE, "127.0.0.3", false),
        ] {
            let mut stream = hosted.connect(n, from).await;
            stream.write_all(header).await.expect("an open connection");
            // The headers of HTTP are those of the client, whose connection it is.
            let who = ask(hosted, &mut stream, "X-Forwarded-For: 6.6.6.6\r\n").await;
            let expected = if header == LOCAL { "6.6.6.6" } else { address };
            assert_eq!((&who["address"], &who["secure"]), (&json!(expected), &json!(secure)), "{from}");
        }
        for (from, begin, answer) in [
            ("127.0.0.3", VERSION_1, "HTTP/1.1 400 Bad Request"),
            ("127.0.0.3", VERSION_2, "HTTP/1.1 400 Bad Request"),
            ("127.0.0.2", NONE, ""),
            ("127.0.0.2", b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 nowhere\r\n", ""),
        ] {
            let mut stream = hosted.connect(n, from).await;
            stream.write_all(&[begin, request("").as_bytes()].concat()).await.expect("an open connection");
            let answered = read_until(&mut stream, "nothing like this").await;
            assert!(
                answered.starts_with(answer) && (!answer.is_empty() || answered.is_empty()),
                "{answered}"
            );
        }
    }
}

async fn what_one_address_may_have_is_counted_for_the_clients_of_a_proxy(hosted: &Hosted) {
    let open = async |header| {
        let mut stream = hosted.connect(0, "127.0.0.2").await;
        stream.write_all(header).await.expect("an open connection");
        stream
    };
    let shake_hands = async |stream: &mut TcpStream| {
        stream.write_all(request("").as_bytes()).await.expect("an open connection");
        read_until(stream, "\r\n\r\n0{").await
    };
    let mut first = open(VERSION_1).await;
    assert!(shake_hands(&mut first).await.starts_with("HTTP/1.1 200"));
    if hosted.host == Host::Own {
        assert_eq!(read_until(&mut open(VERSION_1).await, "nothing").await, "", "it has a connection");
    }
    assert!(shake_hands(&mut open(VERSION_2).await).await.starts_with("HTTP/1.1 200"), "another client");
    assert!(shake_hands(&mut first).await.starts_with("HTTP/1.1 200"), "a second session");
    first.write_all(request("Connection: close\r\n").as_bytes()).await.expect("an open connection");
    assert!(read_until(&mut first, "nothing").await.starts_with("HTTP/1.1 429"));
}

#[tokio::test]
async fn the_header_of_a_proxy_comes_before_tls_and_in_time() {
    let trust = Trust::new();
    let tls = Tls::new(&trust.certificate()).expect("a certificate");
    let listener = |tcp| Listener::new(tcp).tls(tls.clone()).head_timeout(Duration::from_secs(3));
    let proxies = TrustedProxies::new(["127.0.0.1"]).expect("an address");
    let settings = Settings { proxies, proxy_protocol: true, ..Settings::default() };
    let hosted = Hosted::start_with(Host::Own, 1, settings, listener).await;
    let mut stream = hosted.connect(0, "127.0.0.1").await;
    stream.write_all(VERSION_1).await.expect("an open connection");
    let mut stream = trust.secure(None, stream, &["http/1.1"]).await.expect("trusted");
    stream.write_all(request("Connection: close\r\n").as_bytes()).await.expect("an open connection");
    let answer = read_until(&mut stream, "\r\n\r\n0{").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let mut slow = hosted.connect(0, "127.0.0.1").await;
    slow.write_all(b"PROXY TCP4 203").await.expect("an open connection");
    assert_eq!(read_until(&mut slow, "nothing").await, "", "it is closed");
}

#[tokio::test]
async fn in_axum_a_proxy_that_is_slow_with_its_header_keeps_nobody_waiting_and_is_not_waited_for_long() {
    let hosted = forwarding(Host::Axum, 1).await;
    let mut slow = hosted.connect(0, "127.0.0.2").await;
    slow.write_all(b"PROXY TCP4 203").await.expect("an open connection");
    let mut stream = hosted.connect(0, "127.0.0.2").await;
    stream.write_all(VERSION_1).await.expect("an open connection");
    assert_eq!(ask(&hosted, &mut stream, "").await["address"], "203.0.113.9");
    // It had time as well, and goes on.
    slow.write_all(&VERSION_1[b"PROXY TCP4 203".len()..]).await.expect("an open connection");
    assert_eq!(ask(&hosted, &mut slow, "").await["address"], "203.0.113.9");

    let config = http::Config::default().trusted_proxies(trusted());
    let node = Node::builder().http(config).namespace(app()).start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hosted = Hosted { http: vec![tcp.local_addr().expect("an address")], ..hosted };
    let listener = node.listener(tcp).proxy_protocol().header_timeout(Duration::from_millis(100));
    tokio::spawn(host::serve_until(node.stopped(), listener, host::mounted(&node, "/socket.io/")));
    let mut slow = hosted.connect(0, "127.0.0.2").await;
    slow.write_all(b"PROXY TCP4 203").await.expect("an open connection");
    assert_eq!(read_until(&mut slow, "nothing").await, "", "it is closed");
}

// --- what a host leaves undone ---

#[cfg(unix)]
#[tokio::test]
async fn a_websocket_in_axum_does_not_wait_for_more_to_send() {
    use std::os::fd::AsFd as _;

    let node = Node::builder().namespace(app()).start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("an address");
    let accepted = Arc::<Mutex<Vec<std::net::TcpStream>>>::default();
    let keep = Arc::clone(&accepted);
    // Another handle of the connection, whose options are left as they are.
    let tap = move |connection: &mut TcpStream| {
        let twin = connection.as_fd().try_clone_to_owned().expect("a file descriptor");
        keep.lock().expect("nobody panicked").push(twin.into());
    };
    tokio::spawn(host::serve_tapped(tcp, host::mounted(&node, "/socket.io/"), tap));
    let target = Target::of(Suite::Socket, addr, &[addr]);
    let mut ws = target.websocket().await;
    ws.send("40").await;
    ws.packet_text().await;
    let accepted = accepted.lock().expect("nobody panicked");
    let [connection] = accepted.as_slice() else { panic!("one connection") };
    assert!(connection.nodelay().expect("an open connection"));
}

#[tokio::test]
async fn a_route_of_axum_without_a_slash_is_served_as_it_is() {
    let node = Node::builder().namespace(app()).start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("an address");
    let routes = axum::Router::new().route_service("/realtime", node.service());
    tokio::spawn(host::serve_in_axum(tcp, axum::Router::new().nest("/api", routes)));
    let opened = Call::new(addr, Method::GET, &format!("/api/realtime?{POLLING}")).send().await;
    assert_eq!(opened.status(), 200);
}

#[tokio::test]
async fn a_host_that_does_not_say_where_clients_are_is_served_all_the_same() {
    let node = Node::builder().namespace(app()).start().await.expect("the node starts");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("an address");
    let app = host::mounted(&node, "/socket.io/").layer(axum::middleware::from_fn(layer));
    tokio::spawn(async move { axum::serve(tcp, app).await });
    let target = Target::of(Suite::Socket, addr, &[addr]);
    let call = target.call(Method::GET, WEBSOCKET).header("x-user", "ann").upgrade();
    let who = who(&mut WebSocket::from_call(call).await.expect("accepted")).await;
    assert_eq!((&who["user"], &who["address"]), (&json!("Ann"), &Value::Null));
}

const POLLING: &str = "EIO=4&transport=polling";
const WEBSOCKET: &str = "EIO=4&transport=websocket";
const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
