//! The HTTP options: `allow_request`, cookies, CORS, the client files, and responses outside of the path.
#![expect(clippy::panic, reason = "tests fail by panicking, and so does a function of theirs")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::fixture::Suite;
use cluster_tests::http::{Call, Reply};
use cluster_tests::member::{member, member_at};
use cluster_tests::messages::Messages;
use cluster_tests::nodes::{Nodes, serve};
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use hyper::Method;
use socketmesh::http::{
    AllowRequest, CLIENT_VERSION, ClientFiles, Config, Cookie, CookiePriority, Cors, Forbidden, SameSite,
};
use socketmesh::{Drain, Node, NodeBuilder, Socket, namespace};
use tokio::net::TcpListener;

/// A node with these settings only.
fn node(http: &Config) -> NodeBuilder {
    let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
    Node::builder().http(http.clone()).namespace(echo)
}

async fn nodes(count: usize, http: Config) -> Nodes {
    Nodes::start(count, |_| node(&http)).await
}

/// A request of a page from another site.
fn from_page(target: &Target, method: Method, query: &str) -> Call {
    target.call(method, query).header("origin", PAGE)
}

/// A header that must not be there twice.
#[track_caller]
fn only<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let values = reply.headers(name);
    assert!(values.len() <= 1, "{name}: {values:?}");
    values.first().copied()
}

// --- allow_request ---

/// Allows requests with the token, and counts the calls.
fn guarded(asked: &Arc<AtomicUsize>) -> Config {
    let asked = Arc::clone(asked);
    let allow_request = AllowRequest::new(async move |handshake: Arc<socketmesh::engine::Handshake>| {
        asked.fetch_add(1, Ordering::Relaxed);
        // A decision may take its time.
        tokio::task::yield_now().await;
        match handshake.headers().get("x-token").map(|token| token.as_bytes()) {
            Some(b"good") => Ok(()),
            Some(_) => Err(Forbidden::new("say \"please\"")),
            None => Err(Forbidden::default()),
        }
    });
    Config::default().allow_request(allow_request)
}

#[tokio::test]
async fn a_refusal_of_allow_request_tells_the_client_the_reason() {
    let nodes = nodes(3, guarded(&Arc::default())).await;
    let target = &nodes.target;
    let refused = target.call(Method::GET, POLLING).header("x-token", "bad").send().await;
    assert_eq!(refused.outcome(), (403, r#"{"code":4,"message":"say \"please\""}"#));
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(target.get(POLLING).await.outcome(), (403, r#"{"code":4,"message":"Forbidden"}"#));

    let refused =
        WebSocket::from_call(target.call(Method::GET, WEBSOCKET).upgrade().header("x-token", "bad")).await;
    let refused = refused.expect_err("refused");
    assert_eq!(refused.outcome(), (400, r#"say "please""#));
    assert_eq!(refused.header("content-type"), Some("text/html"));
    assert_eq!(target.refusal(WEBSOCKET).await.outcome(), (400, "Forbidden"));
    assert!(nodes.nodes.iter().all(|node| node.sessions() == 0), "nothing was created");
}

#[tokio::test]
async fn allow_request_runs_once_per_session() {
    let asked = Arc::default();
    let nodes = nodes(3, guarded(&asked)).await;
    let target = &nodes.target;
    let opened = target.call(Method::GET, POLLING).header("x-token", "good").send().await;
    let handshake = cluster_tests::polling::handshake(opened.text());
    let sid = handshake.get("sid").and_then(|sid| sid.as_str()).expect("a sid");
    let query = format!("EIO=4&transport=polling&sid={sid}");
    // Later requests have no token, and reach every node.
    for _ in 0..3 {
        let post = target.call(Method::POST, &query).body("40").send().await;
        assert_eq!(post.outcome(), (200, "ok"));
        assert!(target.get(&query).await.text().starts_with("40{"));
        assert_eq!(target.call(Method::POST, &query).body("41").send().await.outcome(), (200, "ok"));
    }
    let mut ws = target.upgrade(&format!("EIO=4&transport=websocket&sid={sid}")).await.expect("the upgrade");
    ws.send("2probe").await;
    assert_eq!(ws.recv_text().await, "3probe");
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let call = target.call(Method::GET, WEBSOCKET).upgrade().header("x-token", "good");
    let mut ws = WebSocket::from_call(call).await.expect("allowed");
    assert!(ws.recv_text().await.starts_with("0{"));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn allow_request_does_not_run_for_invalid_requests() {
    let asked = Arc::default();
    let nodes = nodes(1, guarded(&asked)).await;
    for (method, query) in [
        (Method::GET, "EIO=4&transport=tcp"),
        (Method::POST, POLLING),
        (Method::GET, "EIO=4&transport=websocket"),
        (Method::GET, "EIO=4&transport=polling&sid=unknown"),
    ] {
        assert_eq!(nodes.target.call(method, query).send().await.status(), 400, "{query}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    // The version comes last: Node's order.
    assert_eq!(nodes.target.get("EIO=3&transport=polling").await.status(), 403);
}

// --- cookie ---

#[tokio::test]
async fn a_cookie_comes_with_a_polling_handshake_and_nothing_else() {
    let nodes = nodes(3, Config::default().cookie(Cookie::default())).await;
    let target = &nodes.target;
    let opened = target.get(POLLING).await;
    let handshake = cluster_tests::polling::handshake(opened.text());
    let sid = handshake.get("sid").and_then(|sid| sid.as_str()).expect("a sid");
    assert_eq!(only(&opened, COOKIE), Some(format!("io={sid}; Path=/; HttpOnly; SameSite=Lax").as_str()));

    let session = target.polling().await;
    for _ in 0..3 {
        session.send("40").await;
        let polled = session.poll().await;
        assert_eq!((polled.status(), polled.header(COOKIE)), (200, None));
        let posted = session.post("41").await;
        assert_eq!((posted.status(), posted.header(COOKIE)), (200, None));
    }
    let opened = target.upgrade(WEBSOCKET).await.expect("accepted").opened;
    assert_eq!((opened.status(), opened.header(COOKIE)), (101, None));
    let refused = target.get("EIO=4&transport=tcp").await;
    assert_eq!((refused.status(), refused.header(COOKIE)), (400, None));
}

#[tokio::test]
async fn a_cookie_may_look_otherwise() {
    let cookie = Cookie::default()
        .name("sticky")
        .max_age(Duration::from_secs(60))
        .domain("localhost")
        .path("/socket.io/")
        .http_only(false)
        .same_site(SameSite::None)
        .secure(true)
        .partitioned(true)
        .priority(CookiePriority::High);
    let attributes =
        "; Max-Age=60; Domain=localhost; Path=/socket.io/; Secure; Partitioned; Priority=High; SameSite=None";
    for count in [1, 3] {
        let nodes = nodes(count, Config::default().cookie(cookie.clone())).await;
        for n in 0..count {
            let opened = nodes.target.at(n).get(POLLING).await;
            let cookie = only(&opened, COOKIE).expect("a cookie");
            assert!(cookie.starts_with("sticky="), "{cookie}");
            assert!(cookie.ends_with(attributes), "{cookie}");
        }
    }
}

// --- CORS ---

/// One response of each kind, from this node and for a session of another: its name, the status and the response.
async fn answers(target: &Target) -> Vec<(&'static str, u16, Reply)> {
    let mut answers = Vec::new();
    let session = target.at(0).polling().await;
    let own = session.query("polling");
    answers.push(("handshake", 200, from_page(target, Method::GET, POLLING).send().await));
    answers.push(("refused", 400, from_page(target, Method::GET, "EIO=4&transport=tcp").send().await));
    answers.push((
        "unknown",
        400,
        from_page(target, Method::GET, "EIO=4&transport=polling&sid=x").send().await,
    ));
    let upgraded = WebSocket::from_call(from_page(target, Method::GET, WEBSOCKET).upgrade()).await;
    answers.push(("websocket", 101, upgraded.expect("accepted").opened));
    let probe = from_page(target, Method::GET, &session.query("websocket")).upgrade();
    for n in 0..3 {
        let target = target.at(n);
        let posted = from_page(&target, Method::POST, &own).body("40").send().await;
        answers.push(("post", 200, posted));
        answers.push(("poll", 200, from_page(&target, Method::GET, &own).send().await));
        answers.push(("put", 500, from_page(&target, Method::PUT, &own).send().await));
        let large = vec![b'4'; 2_000_000];
        answers.push(("large", 413, from_page(&target, Method::POST, &own).body(large).send().await));
        session.send("41").await;
    }
    answers.push(("probe", 101, WebSocket::from_call(probe).await.expect("accepted").opened));
    answers
}

#[tokio::test]
async fn without_cors_other_origins_are_not_allowed() {
    let nodes = nodes(3, Config::default()).await;
    for (what, status, reply) in answers(&nodes.target).await {
        assert_eq!(reply.status(), status, "{what}");
        for name in [ALLOW_ORIGIN, "vary", "access-control-allow-credentials"] {
            assert_eq!(reply.header(name), None, "{what}");
        }
    }
    let preflight = from_page(&nodes.target, Method::OPTIONS, POLLING).send().await;
    assert_eq!(preflight.outcome(), (400, r#"{"code":2,"message":"Bad handshake method"}"#));
    let session = nodes.target.polling().await;
    assert_eq!(session.call(Method::OPTIONS).send().await.outcome(), (500, ""));
}

#[tokio::test]
async fn any_origin_is_allowed_on_every_response_exactly_once() {
    let nodes = nodes(3, Config::default().cors(Cors::any())).await;
    for (what, status, reply) in answers(&nodes.target).await {
        assert_eq!(reply.status(), status, "{what}");
        assert_eq!(only(&reply, ALLOW_ORIGIN), Some("*"), "{what}");
        assert_eq!(only(&reply, "vary"), None, "{what}");
        assert_eq!(only(&reply, "access-control-allow-methods"), None, "{what}");
    }
}

#[tokio::test]
async fn the_origin_is_named_when_credentials_are_allowed() {
    let cors = Cors::reflect().credentials().exposed_headers("x-one");
    let nodes = nodes(3, Config::default().cors(cors)).await;
    for (what, status, reply) in answers(&nodes.target).await {
        assert_eq!(reply.status(), status, "{what}");
        assert_eq!(only(&reply, ALLOW_ORIGIN), Some(PAGE), "{what}");
        assert_eq!(only(&reply, "access-control-allow-credentials"), Some("true"), "{what}");
        assert_eq!(only(&reply, "access-control-expose-headers"), Some("x-one"), "{what}");
        assert_eq!(only(&reply, "vary"), Some("Origin"), "{what}");
    }
}

#[tokio::test]
async fn an_unlisted_origin_is_answered_but_not_allowed() {
    let cors = Cors::origins(["http://one.example", "http://two.example"]).any_websocket();
    let nodes = nodes(3, Config::default().cors(cors)).await;
    for (what, status, reply) in answers(&nodes.target).await {
        assert_eq!(reply.status(), status, "{what}");
        assert_eq!((only(&reply, ALLOW_ORIGIN), only(&reply, "vary")), (None, Some("Origin")), "{what}");
    }
    let call = nodes.target.call(Method::GET, POLLING).header("origin", "http://two.example");
    assert_eq!(only(&call.send().await, ALLOW_ORIGIN), Some("http://two.example"));
}

#[tokio::test]
async fn pages_of_other_origins_than_those_that_are_named_open_no_websocket() {
    let cors = Cors::origins(["http://one.example", "http://two.example"]);
    let nodes = nodes(3, Config::default().cors(cors)).await;
    let own = format!("http://{}", nodes.target.addr());
    for (origin, may) in [
        (Some("http://one.example"), true),
        (Some("http://two.example"), true),
        (Some(own.as_str()), true),
        (None, true),
        (Some("http://three.example"), false),
        (Some("https://one.example"), false),
        (Some("null"), false),
        (Some(""), false),
    ] {
        let session = nodes.target.at(0).polling().await;
        for (node, query) in
            [(0, WEBSOCKET.to_owned()), (0, session.query("websocket")), (1, session.query("websocket"))]
        {
            let call = nodes.target.at(node).call(Method::GET, &query).upgrade();
            // As a proxy passes it on.
            let call = call.header("host", &nodes.target.addr().to_string());
            let call = match origin {
                Some(origin) => call.header("origin", origin),
                None => call,
            };
            match WebSocket::from_call(call).await {
                Ok(_) => assert!(may, "{origin:?} {query}"),
                Err(reply) => {
                    assert!(!may, "{origin:?} {query}");
                    assert_eq!(reply.outcome(), (400, "Origin not allowed"));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_single_allowed_origin_is_named_for_every_request() {
    let cors = Cors::origin("http://one.example").any_websocket();
    let nodes = nodes(1, Config::default().cors(cors)).await;
    let reply = from_page(&nodes.target, Method::GET, POLLING).send().await;
    assert_eq!(only(&reply, ALLOW_ORIGIN), Some("http://one.example"));
    assert_eq!(only(&reply, "vary"), Some("Origin"));
}

#[tokio::test]
async fn a_preflight_is_answered_by_any_node_for_any_session() {
    let cors = Cors::reflect()
        .credentials()
        .methods("GET,POST")
        .allowed_headers("x-token")
        .max_age(Duration::from_secs(600));
    let nodes = nodes(3, Config::default().cors(cors)).await;
    let session = nodes.target.at(0).polling().await;
    for query in [session.query("polling"), POLLING.to_owned(), "EIO=4&transport=polling&sid=x".to_owned()] {
        for n in 0..3 {
            let preflight = from_page(&nodes.target.at(n), Method::OPTIONS, &query)
                .header("access-control-request-headers", "x-other")
                .send()
                .await;
            assert_eq!(preflight.outcome(), (204, ""));
            for (name, value) in [
                (ALLOW_ORIGIN, "http://page.example"),
                ("access-control-allow-credentials", "true"),
                ("access-control-allow-methods", "GET,POST"),
                ("access-control-allow-headers", "x-token"),
                ("access-control-max-age", "600"),
                ("vary", "Origin"),
            ] {
                assert_eq!(only(&preflight, name), Some(value), "{name} of {query} at node {n}");
            }
        }
    }
}

#[tokio::test]
async fn a_preflight_allows_the_headers_it_asks_for() {
    let nodes = nodes(1, Config::default().cors(Cors::any())).await;
    let preflight = from_page(&nodes.target, Method::OPTIONS, POLLING)
        .header("access-control-request-headers", "x-one,x-two")
        .send()
        .await;
    assert_eq!(only(&preflight, "access-control-allow-headers"), Some("x-one,x-two"));
    assert_eq!(only(&preflight, "access-control-allow-methods"), Some("GET,HEAD,PUT,PATCH,POST,DELETE"));
    assert_eq!(only(&preflight, "vary"), Some("Access-Control-Request-Headers"));
    assert_eq!(only(&preflight, "access-control-max-age"), None);
}

async fn cors_may_differ_from_request_to_request(count: usize) {
    let cors = Cors::by_request(|request| match request.headers.get("host")?.to_str().ok()? {
        "open.example" => Some(Cors::any()),
        "closed.example" => None,
        "broken.example" => panic!("a function of the tests panics"),
        _ => Some(Cors::origin("http://one.example").credentials()),
    });
    let nodes = nodes(count, Config::default().cors(cors)).await;
    let session = nodes.target.at(0).polling().await;
    for n in 0..3 {
        for (host, origin, allowed, preflight, websocket) in [
            ("open.example", PAGE, Some("*"), 204, true),
            ("closed.example", PAGE, None, 500, true),
            ("broken.example", PAGE, None, 204, false),
            ("other.example", PAGE, Some("http://one.example"), 204, false),
            ("other.example", "http://one.example", Some("http://one.example"), 204, true),
        ] {
            let target = nodes.target.at(n);
            let call = |method: Method, query: &str| {
                target.call(method, query).header("host", host).header("origin", origin)
            };
            assert_eq!(only(&call(Method::GET, POLLING).send().await, ALLOW_ORIGIN), allowed, "{host}");
            // Of a session of the first node.
            let of_session = call(Method::PUT, &session.query("polling")).send().await;
            assert_eq!((of_session.status(), only(&of_session, ALLOW_ORIGIN)), (500, allowed), "{host}");
            let asked = call(Method::OPTIONS, &session.query("polling")).send().await;
            assert_eq!((asked.status(), only(&asked, ALLOW_ORIGIN)), (preflight, allowed), "{host}");
            let opened = WebSocket::from_call(call(Method::GET, WEBSOCKET).upgrade()).await;
            assert_eq!(opened.is_ok(), websocket, "{host} {origin}");
        }
    }
}

on_one_and_three_nodes!(std::convert::identity: cors_may_differ_from_request_to_request);

// --- the browser client ---

/// A package with the files of the browser client; removed when dropped.
struct Package(PathBuf);

impl Package {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("socketmesh-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("dist")).expect("a folder");
        fs::write(folder.join("package.json"), r#"{"version":"9.8.7"}"#).expect("a file");
        fs::write(folder.join("dist/socket.io.min.js"), "io()").expect("a file");
        fs::write(folder.join("dist/socket.io.min.js.map"), "{}").expect("a file");
        Self(folder)
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn the_client_files_come_from_the_cdn_by_default() {
    let nodes = nodes(1, Config::default().cors(Cors::any())).await;
    let reply = nodes.target.get_path("/socket.io/socket.io.min.js").await;
    assert_eq!(reply.status(), 302);
    let location = format!("https://cdn.socket.io/{CLIENT_VERSION}/socket.io.min.js");
    assert_eq!(reply.header("location"), Some(location.as_str()));
    assert_eq!(only(&reply, ALLOW_ORIGIN), Some("*"));
}

#[tokio::test]
async fn the_client_files_come_from_a_folder_with_their_version_as_etag() {
    let package = Package::new("http-options");
    for folder in [package.0.clone(), package.0.join("dist")] {
        let nodes = nodes(1, Config::default().client(ClientFiles::Folder(folder))).await;
        let target = &nodes.target;
        let reply = target.get_path("/socket.io/socket.io.min.js").await;
        assert_eq!(reply.outcome(), (200, "io()"));
        assert_eq!(reply.header("content-type"), Some("application/javascript; charset=utf-8"));
        assert_eq!(reply.header("cache-control"), Some("public, max-age=0"));
        assert_eq!(reply.header("etag"), Some("\"9.8.7\""));
        let map = target.get_path("/socket.io/socket.io.min.js.map?v=1").await;
        assert_eq!(map.header("content-type"), Some("application/json; charset=utf-8"));
        for (known, status) in [("\"9.8.7\"", 304), ("W/\"9.8.7\"", 304), ("\"9.8.6\"", 200)] {
            let call = Call::new(target.addr(), Method::GET, "/socket.io/socket.io.min.js");
            assert_eq!(call.header("if-none-match", known).send().await.status(), status, "{known}");
        }
        let head = Call::new(target.addr(), Method::HEAD, "/socket.io/socket.io.min.js").send().await;
        assert_eq!((head.outcome(), head.header("content-length")), ((200, ""), Some("4")));
        let post = Call::new(target.addr(), Method::POST, "/socket.io/socket.io.min.js").send().await;
        assert_eq!(post.outcome(), (200, "io()"), "the method does not matter");
        for path in ["socket.io.js", "other.js", "package.json", "../package.json", "%2e%2e/package.json"] {
            let reply = target.get_path(&format!("/socket.io/{path}")).await;
            assert_eq!(reply.outcome(), (400, TRANSPORT_UNKNOWN), "{path}");
        }
    }
}

#[tokio::test]
async fn the_client_files_can_be_switched_off() {
    let nodes = nodes(1, Config::default().client(ClientFiles::Off)).await;
    let reply = nodes.target.get_path("/socket.io/socket.io.min.js").await;
    assert_eq!(reply.outcome(), (400, TRANSPORT_UNKNOWN));
}

// --- where, and which node ---

#[tokio::test]
async fn a_response_names_its_node_only_when_configured() {
    let exposing = nodes(3, Config::default().expose_node(true)).await;
    let session = exposing.target.at(0).polling().await;
    for (n, node) in exposing.nodes.iter().enumerate() {
        session.send("40").await;
        let reply = session.at(n).poll().await;
        assert_eq!(reply.status(), 200);
        assert_eq!(only(&reply, "x-socketmesh-node"), Some(node.id().as_str()), "the edge, not the owner");
        session.send("41").await;
    }
    let silent = nodes(1, Config::default()).await;
    assert_eq!(silent.target.get(POLLING).await.header("x-socketmesh-node"), None);
}

#[tokio::test]
async fn a_path_is_a_prefix_that_ends_with_a_slash() {
    let nodes = nodes(3, Config::default()).await;
    for (path, status) in [
        ("/socket.io/", 200),
        ("/socket.io/foo", 200),
        ("/socket.io/foo/bar/", 200),
        ("/socket.io", 404),
        ("/socket.iox/", 404),
        ("/Socket.io/", 404),
        ("/x/socket.io/", 404),
        ("/", 404),
    ] {
        assert_eq!(nodes.target.get_path(&format!("{path}?{POLLING}")).await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn a_node_may_be_served_at_another_path_beside_other_services() {
    let node = node(&Config::default()).start().await.expect("the node starts");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let serving = node.clone();
    let page = |request: &hyper::Request<hyper::body::Incoming>| {
        hyper::Response::new(format!("page {}", request.uri().path()).into())
    };
    tokio::spawn(async move { serving.serve_at("/realtime/", listener, page).await });
    let target = Target::of(Suite::Socket, addr, &[addr]);
    assert!(target.get_path(&format!("/realtime/?{POLLING}")).await.text().starts_with("0{"));
    let reply = target.get_path(&format!("/socket.io/?{POLLING}")).await;
    assert_eq!(reply.outcome(), (200, "page /socket.io/"));
}

#[tokio::test]
async fn a_joining_node_refuses_clients() {
    // Holds the address of the seed until the seed comes.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let seed: SocketAddr = silent.local_addr().expect("an address");
    let http = Config::default().cors(Cors::any());
    let joining = node(&http).cluster(member(1, Some(seed))).start().await.expect("the node starts");
    let addr = serve(&joining).await;
    let target = Target::of(Suite::Socket, addr, &[addr]);
    assert!(!joining.is_ready());
    for reply in [target.get(POLLING).await, target.refusal(WEBSOCKET).await] {
        assert_eq!((reply.status(), reply.header("retry-after")), (503, Some("1")));
        assert_eq!(only(&reply, ALLOW_ORIGIN), Some("*"), "or a page would not see it");
    }
    assert_eq!(joining.sessions(), 0);
    assert_eq!(from_page(&target, Method::OPTIONS, POLLING).send().await.status(), 204);

    drop(silent);
    let first = node(&http).cluster(member_at(seed, 0, None)).start().await.expect("the seed starts");
    within("the nodes to find each other", async { tokio::join!(first.ready(), joining.ready()) }).await;
    assert_eq!(target.get(POLLING).await.status(), 200);
}

#[tokio::test]
async fn a_joining_node_lets_requests_for_sessions_of_others_wait_until_it_knows_them() {
    let seed = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let http = Config::default();
    let first = node(&http).cluster(member(0, None)).start().await.expect("the node starts");
    let cluster = member(1, Some(seed.local_addr().expect("an address")));
    let joining = node(&http).cluster(cluster).start().await.expect("the node starts");
    let [at_first, at_joining] = [serve(&first).await, serve(&joining).await];
    first.ready().await;
    let owner = Target::of(Suite::Socket, at_first, &[at_first]);
    let session = owner.polling().await.through(&Target::of(Suite::Socket, at_joining, &[at_joining]));

    let unknown = session.post("40").await;
    assert_eq!((unknown.status(), unknown.header("retry-after")), (424, Some("1")), "{}", unknown.text());
    assert!(!joining.is_ready());
    let mesh = first.mesh_addr().expect("it is a member");
    let asking = async {
        loop {
            match session.post("40").await.status() {
                200 => return,
                other => assert_eq!(other, 424, "the session is not said to be unknown"),
            }
        }
    };
    let answered = async {
        tokio::select! { () = pass_on(seed, mesh) => {}, () = asking => {} }
    };
    Box::pin(within("the answer of its owner", answered)).await;
}

/// Carries datagrams between one node and another, which is at this address from now on.
async fn pass_on(socket: tokio::net::UdpSocket, to: SocketAddr) {
    let behind = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let (mut from, mut there, mut back) = (None, [0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            Ok((length, address)) = socket.recv_from(&mut there) => {
                from = Some(address);
                behind.send_to(there.get(..length).unwrap_or_default(), to).await.expect("loopback");
            }
            Ok((length, _)) = behind.recv_from(&mut back) => {
                if let Some(from) = from {
                    socket.send_to(back.get(..length).unwrap_or_default(), from).await.expect("loopback");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_node_without_a_cluster_that_drains_refuses_clients_and_serves_those_it_has() {
    let stopping = node(&Config::default()).start().await.expect("the node starts");
    let addr = serve(&stopping).await;
    let target = Target::of(Suite::Socket, addr, &[addr]);
    let session = target.polling().await;
    let kept = session.pending_poll().await;
    assert!(stopping.is_ready());
    let shutdown = tokio::spawn({
        let node = stopping.clone();
        async move { node.drain(Drain::default().notice(Duration::from_secs(3600))).await }
    });
    within("the node to drain", async {
        while stopping.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for reply in [target.get(POLLING).await, target.refusal(WEBSOCKET).await] {
        assert_eq!(reply.outcome(), (503, "this node is stopping: it takes no new clients"));
        assert_eq!(reply.header("connection"), Some("close"), "a load balancer connects elsewhere");
    }
    assert_eq!(session.post("40").await.outcome(), (200, "ok"));
    assert!(kept.reply().await.text().starts_with("40{"));
    shutdown.abort();
}

// --- requests that nobody sends on purpose ---

#[tokio::test]
async fn other_methods_open_no_session_and_harm_none() {
    let nodes = nodes(3, Config::default()).await;
    for method in [Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        assert_eq!(nodes.target.call(method.clone(), POLLING).send().await.status(), 400, "{method}");
        let session = nodes.target.polling().await;
        for _ in 0..3 {
            assert_eq!(session.call(method.clone()).send().await.outcome(), (500, ""), "{method}");
        }
        session.send("40").await;
        assert!(session.poll().await.text().starts_with("40{"), "{method}");
    }
}

#[tokio::test]
async fn the_xss_filter_of_old_internet_explorers_is_switched_off_through_any_node() {
    let nodes = nodes(3, Config::default()).await;
    let session = nodes.target.at(0).polling().await;
    for n in 0..3 {
        for (agent, told) in [
            ("Mozilla/4.0 (compatible;MSIE 8.0; Windows NT 6.1)", Some("0")),
            ("Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0)", Some("0")),
            ("Mozilla/5.0 Firefox/130.0", None),
        ] {
            let reply = session.at(n).call(Method::POST).body("40").header("user-agent", agent).send().await;
            assert_eq!((reply.status(), only(&reply, "x-xss-protection")), (200, told), "{agent}");
            session.send("41").await;
        }
    }
}

#[tokio::test]
async fn a_head_over_16_kib_is_refused() {
    let nodes = nodes(3, Config::default()).await;
    let session = nodes.target.at(0).polling().await;
    for n in 0..3 {
        let target = nodes.target.at(n);
        let request = |query: &str, size: usize| {
            let line = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", target.uri(query));
            let padding = "x".repeat(size - line.len() - "X-Padding: \r\n\r\n".len());
            format!("{line}X-Padding: {padding}\r\n\r\n")
        };
        let open = target.raw(&request(POLLING, 16_000), "\r\n\r\n").await;
        assert!(open.starts_with("HTTP/1.1 200"), "{open}");
        session.send("40").await;
        let poll = target.raw(&request(&session.query("polling"), 16_000), "\r\n\r\n").await;
        assert!(poll.starts_with("HTTP/1.1 200"), "{poll}");
        session.send("41").await;
        for query in [POLLING, &session.query("polling")] {
            let refused = target.raw(&request(query, 17_000), "\r\n\r\n").await;
            assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
        }
        session.settled().await;
    }
}

const POLLING: &str = "EIO=4&transport=polling";
const WEBSOCKET: &str = "EIO=4&transport=websocket";
const PAGE: &str = "http://page.example";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const COOKIE: &str = "set-cookie";
const TRANSPORT_UNKNOWN: &str = r#"{"code":0,"message":"Transport unknown"}"#;
