//! HTTP middleware, headers, and reports of refusals.
#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cluster_tests::http::Reply;
use cluster_tests::nodes::Nodes;
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use hyper::{HeaderMap, Method, Response, StatusCode};
use socketmesh::engine::{self, Transport};
use socketmesh::http::{
    AllowRequest, Body, Config, Cors, Headers, Middleware, OnConnectionError, Parts, Rejection,
};
use socketmesh::{Node, Socket, namespace};

async fn nodes(count: usize, http: Config) -> Nodes {
    nodes_with(count, http, engine::Config::default()).await
}

async fn nodes_with(count: usize, http: Config, engine: engine::Config) -> Nodes {
    let app = |_| {
        let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
        Node::builder().http(http.clone()).engine(engine.clone()).namespace(echo)
    };
    Nodes::start(count, app).await
}

fn header(name: &'static str, value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().expect("a header"));
    headers
}

/// Lets pass, with `x-<name>: yes`, and counts.
fn counting(name: &'static str, count: &Arc<AtomicUsize>) -> Middleware {
    let count = Arc::clone(count);
    Middleware::new(async move |_: Arc<Parts>| {
        count.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Ok(header(name, "yes"))
    })
}

/// Refuses requests without a key: with a code, or with its own response if the request has `x-how: own`.
fn keyed() -> Middleware {
    Middleware::new(async |request: Arc<Parts>| match request.headers.get("x-key") {
        Some(_) => Ok(HeaderMap::new()),
        None if request.headers.contains_key("x-how") => {
            let mut answer = Response::new(Body::from("log in"));
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
            Err(answer.into())
        }
        None => Err(Rejection::new("no key")),
    })
}

/// Responses of every kind, for sessions of the first node and for unknown ones.
async fn answers(target: &Target) -> Vec<(u16, Reply)> {
    let mut answers = Vec::new();
    let session = target.at(0).polling().await;
    for n in 0..3 {
        let at = target.at(n);
        answers.push((200, at.get(POLLING).await));
        answers.push((400, at.get("EIO=4&transport=tcp").await));
        answers.push((200, session.at(n).post("40").await));
        answers.push((200, session.at(n).poll().await));
        answers.push((200, session.at(n).post("41").await));
        answers.push((101, at.upgrade(WEBSOCKET).await.expect("accepted").opened));
    }
    answers.push((101, target.at(1).upgrade(&session.query("websocket")).await.expect("accepted").opened));
    answers
}

#[tokio::test]
async fn every_request_passes_each_middleware_once_at_the_node_it_reaches() {
    let (first, second) = (Arc::default(), Arc::default());
    let middleware = vec![counting("x-first", &first), counting("x-second", &second)];
    let nodes = nodes(3, Config::default().middleware(middleware)).await;
    let answers = answers(&nodes.target).await;
    for (status, reply) in &answers {
        assert_eq!(reply.status(), *status);
        assert_eq!((reply.headers("x-first"), reply.headers("x-second")), (vec!["yes"], vec!["yes"]));
    }
    // And the request that opened the session.
    let asked = answers.len() + 1;
    assert_eq!([&first, &second].map(|count| count.load(Ordering::Relaxed)), [asked, asked]);
}

async fn a_refusal_is_sent_as_a_code_or_as_a_response(count: usize) {
    let nodes = guarded(count).await;
    let target = &nodes.target;
    let refused = target.get(POLLING).await;
    assert_eq!(refused.outcome(), (400, BAD_REQUEST));
    assert_eq!(
        (refused.header("content-type"), refused.header("x-first")),
        (Some("application/json"), Some("yes"))
    );
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"), "or a page could not read it");
    let refused = target.refusal(WEBSOCKET).await;
    assert_eq!((refused.outcome(), refused.header("x-first")), ((400, "Bad request"), Some("yes")));

    let own = target.call(Method::GET, POLLING).header("x-how", "own");
    assert_eq!(own.send().await.outcome(), (401, "log in"));
    let own = target.call(Method::GET, WEBSOCKET).upgrade().header("x-how", "own");
    assert_eq!(WebSocket::from_call(own).await.expect_err("refused").outcome(), (401, "log in"));
    assert!(nodes.nodes.iter().all(|node| node.sessions() == 0), "nothing was created");

    let keyed = |method, query: &str| target.call(method, query).header("x-key", "k");
    let opened = keyed(Method::GET, POLLING).send().await;
    let handshake = cluster_tests::polling::handshake(opened.text());
    let query = format!("{POLLING}&sid={}", handshake["sid"].as_str().expect("a sid"));
    // Requests of an open session are checked again, and a refusal does not close the session.
    for n in 0..3 {
        let post = target.at(n).call(Method::POST, &query).body("40").send().await;
        assert_eq!(post.outcome(), (400, BAD_REQUEST));
    }
    assert_eq!(keyed(Method::POST, &query).body("40").send().await.outcome(), (200, "ok"));
    assert!(keyed(Method::GET, &query).send().await.text().starts_with("40{"));
    // Preflights and requests for client files do not reach the middleware.
    assert_eq!(target.call(Method::OPTIONS, POLLING).send().await.status(), 204);
    assert_eq!(target.get_path("/socket.io/socket.io.js").await.status(), 302);
}

async fn guarded(count: usize) -> Nodes {
    let middleware =
        vec![counting("x-first", &Arc::default()), keyed(), counting("x-never", &Arc::default())];
    nodes(count, Config::default().middleware(middleware).cors(Cors::any())).await
}

on_one_and_three_nodes!(std::convert::identity: a_refusal_is_sent_as_a_code_or_as_a_response);

#[tokio::test]
async fn headers_of_the_engine_override_those_of_a_middleware() {
    let cache = Middleware::new(async |_: Arc<Parts>| Ok(header("cache-control", "public")));
    let nodes = nodes(1, Config::default().middleware([cache])).await;
    assert_eq!(nodes.target.get(POLLING).await.headers("cache-control"), ["no-store"]);
    assert_eq!(nodes.target.get("EIO=4&transport=tcp").await.headers("cache-control"), ["public"]);
}

#[tokio::test]
async fn headers_are_added_to_every_success_and_initial_ones_to_the_first() {
    let initial = Headers::new(|headers, request| {
        headers.append("x-initial", request.method.as_str().parse().expect("a header"));
    });
    let each = Headers::new(|headers, request| {
        let path = request.uri.path().parse().expect("a header");
        headers.insert("x-each", path);
    });
    let http = Config::default().initial_headers(initial).headers(each);
    let nodes = nodes(3, http).await;
    let session = nodes.target.at(0).polling().await;
    for n in 0..3 {
        let at = nodes.target.at(n);
        let opened = [at.get(POLLING).await, at.upgrade(WEBSOCKET).await.expect("accepted").opened];
        let later = [
            session.at(n).post("40").await,
            session.at(n).poll().await,
            session.at(n).post("41").await,
            at.upgrade(&session.query("websocket")).await.expect("accepted").opened,
        ];
        let refused = [at.get("EIO=4&transport=tcp").await, at.get_path("/socket.io/socket.io.js").await];
        for (replies, initial, each) in [
            (&opened[..], vec!["GET"], vec!["/socket.io/"]),
            (&later[..], vec![], vec!["/socket.io/"]),
            (&refused[..], vec![], vec![]),
        ] {
            for reply in replies {
                assert_eq!(
                    (reply.headers("x-initial"), reply.headers("x-each")),
                    (initial.clone(), each.clone())
                );
            }
        }
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_harms_nobody() {
    let moody = Middleware::new(async |request: Arc<Parts>| {
        assert!(!request.headers.contains_key("x-panic"), "a panic in a middleware");
        Ok(HeaderMap::new())
    });
    let allow_request = AllowRequest::new(async |handshake: Arc<engine::Handshake>| {
        assert!(!handshake.headers().contains_key("x-allow-panic"), "a panic in allow_request");
        Ok(())
    });
    let http = Config::default()
        .middleware([moody])
        .allow_request(allow_request)
        .headers(Headers::new(|_, request| assert!(!request.headers.contains_key("x-late-panic"))))
        .on_connection_error(OnConnectionError::new(|_| panic!("a panic in a hearer")));
    let nodes = nodes(3, http).await;
    for n in 0..3 {
        let target = nodes.target.at(n);
        for name in ["x-panic", "x-allow-panic"] {
            assert_eq!(target.call(Method::GET, POLLING).header(name, "1").send().await.outcome(), (500, ""));
            let upgrade = target.call(Method::GET, WEBSOCKET).upgrade().header(name, "1");
            assert_eq!(WebSocket::from_call(upgrade).await.expect_err("refused").outcome(), (500, ""));
        }
        assert_eq!(target.get("EIO=4&transport=tcp").await.status(), 400);
        assert_eq!(target.call(Method::GET, POLLING).header("x-late-panic", "1").send().await.status(), 200);
        assert_eq!(target.get(POLLING).await.status(), 200);
    }
    // The connection stays open: two requests get two responses.
    let line = |more| format!("GET /socket.io/?{POLLING} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let both = line("X-Panic: 1\r\n") + &line("Connection: close\r\n");
    let answers = nodes.target.at(0).raw(&both, "\"sid\"").await;
    assert!(answers.starts_with("HTTP/1.1 500") && answers.contains("HTTP/1.1 200 OK"), "{answers}");
}

type Heard = Arc<Mutex<Vec<(u8, String, String, (&'static str, String))>>>;

fn hearing(heard: &Heard) -> OnConnectionError {
    let heard = Arc::clone(heard);
    OnConnectionError::new(move |error| {
        let (message, path) = (error.message().to_owned(), error.request().uri.path().to_owned());
        heard.lock().expect("nobody panicked").push((error.code(), message, path, error.context()));
    })
}

#[tokio::test]
async fn every_refusal_is_reported_with_its_context() {
    let heard = Heard::default();
    let http = Config::default()
        .on_connection_error(hearing(&heard))
        .middleware([Middleware::new(async |request: Arc<Parts>| match request.headers.get("x-bad") {
            Some(_) => Err(Rejection::new("bad")),
            None => Ok(HeaderMap::new()),
        })])
        .allow_request(AllowRequest::new(async |handshake: Arc<engine::Handshake>| {
            if handshake.headers().contains_key("x-forbid") { Err("not you".into()) } else { Ok(()) }
        }));
    let nodes = nodes(3, http).await;
    let session = nodes.target.at(0).polling().await;
    let polling_only = session.query("websocket");
    let other_version = session.query("polling").replace("EIO=4", "EIO=3");
    for n in 0..3 {
        let target = nodes.target.at(n);
        let call = |query: &str| target.call(Method::GET, query);
        let name = |name: &str| ("name", name.to_owned());
        for (call, code, message, context) in [
            (call("EIO=4&transport=tcp"), 0, "Transport unknown", ("transport", "tcp".to_owned())),
            (call(&format!("{POLLING}&sid=a%20b")), 1, "Session ID unknown", ("sid", "a b".to_owned())),
            (target.call(Method::PUT, POLLING), 2, "Bad handshake method", ("method", "PUT".to_owned())),
            (call("EIO=4&transport=websocket"), 3, "Bad request", name("TRANSPORT_HANDSHAKE_ERROR")),
            (call(&polling_only), 3, "Bad request", name("TRANSPORT_MISMATCH")),
            (call(&other_version), 3, "Bad request", name("PROTOCOL_MISMATCH")),
            (call(POLLING).header("x-bad", "1"), 3, "Bad request", name("MIDDLEWARE_FAILURE")),
            (call(POLLING).header("x-forbid", "1"), 4, "not you", ("message", "not you".to_owned())),
            (
                call("EIO=3&transport=polling"),
                5,
                "Unsupported protocol version",
                ("protocol", "3".to_owned()),
            ),
        ] {
            assert!(call.send().await.status() >= 400);
            let told: Vec<_> = std::mem::take(&mut *heard.lock().expect("nobody panicked"));
            assert_eq!(told, [(code, message.to_owned(), "/socket.io/".to_owned(), context)], "at node {n}");
        }
    }
    session.send("40").await;
    assert!(session.poll().await.text().starts_with("40{"), "none of it harmed the session");
    assert_eq!(heard.lock().expect("nobody panicked").len(), 0);
}

#[tokio::test]
async fn a_refused_websocket_is_reported_too() {
    let heard = Heard::default();
    let http = Config::default().on_connection_error(hearing(&heard));
    let only_polling = engine::Config::default().transports([Transport::Polling]);
    let nodes = nodes_with(1, http, only_polling).await;
    assert_eq!(nodes.target.refusal(WEBSOCKET).await.outcome(), (400, "Transport unknown"));
    let told = heard.lock().expect("nobody panicked").pop().expect("it was told");
    assert_eq!((told.0, told.3), (0, ("transport", "websocket".to_owned())));
}

const POLLING: &str = "EIO=4&transport=polling";
const WEBSOCKET: &str = "EIO=4&transport=websocket";
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
