//! The connections below sockets, as applications see them.

use std::sync::{Arc, OnceLock};

use cluster_tests::app::{App, Seen, plain, with_plain_handlers};
use cluster_tests::messages::Messages as _;
use cluster_tests::nodes::Nodes;
use cluster_tests::on_one_and_three_nodes;
use hyper::Method;
use serde_json::{Value, json};
use socketmesh::engine::{self, CloseReason, Message, Packet, Protocol, Transport};
use socketmesh::{Node, NodeBuilder, Socket, namespace};
use tokio::sync::Notify;

/// Nodes of their own, because on these every packet is seen and requests are kept.
fn app(count: usize) -> &'static App {
    static ONE: OnceLock<App> = OnceLock::new();
    static THREE: OnceLock<App> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || App::start(count, described))
}

fn described(seen: &Arc<Seen>) -> NodeBuilder {
    let (upgrading, packets) = (Arc::clone(seen), Arc::clone(seen));
    let main = with_plain_handlers(namespace("/"), seen)
        .on_upgrade(async move |socket: Socket, to: Transport| {
            upgrading.handled.note((socket.id(), format!("upgrade to {to}")));
            Ok(())
        })
        .on_packet(async move |socket: Socket, packet: Packet| {
            packets.handled.note((socket.id(), told(&packet)));
            Ok(())
        })
        .on("handshake", async |socket: Socket, ()| Ok(socket.handshake().clone()))
        .on("node", async |socket: Socket, ()| {
            let node = socket.server().expect("it runs");
            let paths: Vec<_> =
                node.namespaces().iter().map(|namespace| namespace.path().to_owned()).collect();
            Ok((node.id().clone(), node.is_ready(), paths))
        })
        .on("carried", async |socket: Socket, ()| {
            socket.state::<Notify>().notified().await;
            Ok(cookie(&socket.conn().request()))
        });
    Node::builder()
        .engine(engine::Config::default().keep_requests(true))
        .namespace(main)
        .namespace(plain("/other", seen))
}

fn cookie(request: &engine::Handshake) -> Option<String> {
    request.headers().get("cookie").map(|value| value.to_str().unwrap_or_default().to_owned())
}

fn told(packet: &Packet) -> String {
    match packet {
        Packet::Message(Message::Text(text)) => format!("packet {text}"),
        Packet::Pong(_) => "a pong".to_owned(),
        other => format!("{other:?}"),
    }
}

async fn a_socket_knows_its_transport_and_is_told_of_the_upgrade(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let conn = socket.conn();
    assert_eq!((conn.transport(), conn.protocol()), (Transport::Polling, Protocol::V4));
    assert_eq!(conn.id().to_string(), polling.sid());
    assert_eq!(conn.remote_address(), socket.handshake().request().address());
    let _ws = polling.upgraded().await;
    assert_eq!(conn.transport(), Transport::WebSocket);
    let is_told =
        |(of, what): &(_, String)| (*of == socket.id() && what == "upgrade to websocket").then_some(());
    app.seen.handled.find("on_upgrade", is_told).await;
    assert!(!format!("{conn:?}").contains(polling.sid()), "the id is a secret");
}

async fn the_sockets_of_a_client_find_each_other(app: &App) {
    let guest = app.guest(1).await;
    let main = guest.socket.clone();
    let guest = app.enter(guest.ws, "/other").await;
    let namespaces = async |socket: &Socket| {
        let mut sockets = socket.conn().sockets().await;
        sockets.sort();
        sockets.into_iter().map(|(path, id)| (path.to_string(), id)).collect::<Vec<_>>()
    };
    let both = [("/".to_owned(), main.id()), ("/other".to_owned(), guest.socket.id())];
    assert_eq!(namespaces(&main).await, both);
    assert_eq!(namespaces(&guest.socket).await, both);
    let other = main.in_namespace::<()>("other").await.expect("it is there");
    assert_eq!(other.id(), guest.socket.id());
    assert!(main.in_namespace::<u8>("/other").await.is_none(), "its data has another type");
    assert!(main.in_namespace::<()>("/").await.is_some_and(|socket| socket.id() == main.id()));
    main.disconnect();
    assert_eq!(namespaces(&main).await, both[1..]);
    drop(guest.ws);
    app.seen.reason(guest.socket.id()).await;
    assert_eq!(namespaces(&guest.socket).await, []);
}

async fn a_lost_connection_says_what_went_wrong(app: &App) {
    let ended = async |socket: &Socket| {
        app.seen.reason(socket.id()).await;
        let closed = socket.conn().closed().expect("it is closed");
        (closed.reason, closed.description)
    };
    let failed = |description| (CloseReason::TransportError, Some(description));
    let (polling, socket) = app.polling_guest("/").await;
    let waiting = polling.pending_poll().await;
    assert_eq!(socket.conn().closed(), None);
    let (second, first) = (polling.poll().await, waiting.reply().await);
    // On a busy machine the one that was sent later may arrive first.
    let mut outcomes = [first.outcome(), second.outcome()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [(200, "1"), (400, "")]);
    assert_eq!(ended(&socket).await, failed("overlap from client"));

    let (polling, socket) = app.polling_guest("/").await;
    polling.gone_when_given_up(async || polling.pending_poll().await).await;
    assert_eq!(ended(&socket).await, failed("poll connection closed prematurely"));

    let mut guest = app.guest(2).await;
    guest.ws.send("2").await;
    assert_eq!(ended(&guest.socket).await, failed("invalid heartbeat direction"));

    let mut guest = app.guest(2).await;
    guest.ws.send_close().await;
    assert_eq!(ended(&guest.socket).await, (CloseReason::TransportClose, None));
}

async fn every_packet_of_a_client_is_seen_before_what_it_brings(app: &App) {
    let mut guest = app.guest(1).await;
    let id = guest.socket.id();
    guest.emit(r#"["note","first"]"#).await;
    guest.ws.send("3").await;
    guest.emit(r#"["note","last"]"#).await;
    app.seen.handled.find("the last note", |(of, what)| (*of == id && what == "last").then_some(())).await;
    let expected = [r#"packet 2["note","first"]"#, "first", "a pong", r#"packet 2["note","last"]"#, "last"];
    assert_eq!(app.seen.handled_of(id), expected);
}

async fn the_newest_request_of_a_client_is_kept_where_that_is_wanted(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let post = polling.call(Method::POST).header("cookie", "session=2").body(r#"42["note","x"]"#);
    assert_eq!(post.send().await.outcome(), (200, "ok"));
    assert_eq!(cookie(&socket.conn().request()).as_deref(), Some("session=2"));
    assert_eq!(cookie(socket.handshake().request()), None, "the first one stays");
    let transport = || socket.conn().request().query_value("transport").map(|value| value.to_string());
    let mut ws = polling.probe().await;
    assert_eq!(transport().as_deref(), Some("polling"), "it is not upgraded yet");
    let post = polling.call(Method::POST).header("cookie", "session=3").body(r#"42["note","y"]"#);
    assert_eq!(post.send().await.outcome(), (200, "ok"));
    assert_eq!(cookie(&socket.conn().request()).as_deref(), Some("session=3"));
    ws.send("5").await;
    ws.send(r#"42["note","z"]"#).await;
    let is_last = |(of, what): &(_, String)| (*of == socket.id() && what == "z").then_some(());
    app.seen.handled.find("the last note", is_last).await;
    assert_eq!(transport().as_deref(), Some("websocket"));
    // One too many, and a POST that comes too late.
    let post = polling.call(Method::POST).header("cookie", "session=4").body(r#"42["note","no"]"#);
    assert_eq!(post.send().await.status(), 400);
    polling.websocket().await.closed().await;
    assert_eq!((transport().as_deref(), cookie(&socket.conn().request())), (Some("websocket"), None));
}

async fn a_handler_finds_the_request_that_carried_its_event(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    for (number, event) in [(1, r#"421["carried"]"#), (2, r#"422["carried"]"#), (3, r#"42["note","x"]"#)] {
        let post = polling.call(Method::POST).header("cookie", &format!("session={number}")).body(event);
        assert_eq!(post.send().await.outcome(), (200, "ok"));
    }
    for ack in [r#"431["session=1"]"#, r#"432["session=2"]"#] {
        socket.state::<Notify>().notify_one();
        assert_eq!(polling.poll().await.outcome(), (200, ack));
    }
    assert_eq!(cookie(&socket.conn().request()).as_deref(), Some("session=3"), "elsewhere it is the newest");
}

async fn a_handler_has_its_node(app: &App) {
    let mut guest = app.guest(1).await;
    let answer: Value = serde_json::from_str(&guest.ask(r#"["node"]"#).await).expect("JSON");
    assert_eq!(answer, json!([[guest.socket.node(), true, ["/", "/other"]]]));
}

async fn a_handshake_is_written_as_node_writes_it(app: &App) {
    let mut guest = app.guest(2).await;
    let answer: Value = serde_json::from_str(&guest.ask(r#"["handshake"]"#).await).expect("JSON");
    let [Value::Object(handshake)] = answer.as_array().expect("an ack").as_slice() else {
        panic!("one object, not {answer}")
    };
    let keys: Vec<_> = handshake.keys().map(String::as_str).collect();
    let expected = ["address", "auth", "headers", "issued", "query", "secure", "time", "url", "xdomain"];
    assert_eq!(keys, expected);
    let field = |name: &str| handshake.get(name).cloned().unwrap_or_default();
    assert_eq!((field("auth"), field("secure"), field("xdomain")), (json!({}), json!(false), json!(false)));
    assert_eq!(field("address"), json!("127.0.0.1"), "without a port");
    assert_eq!(field("headers").get("upgrade"), Some(&json!("websocket")));
    assert_eq!(field("query").get("transport"), Some(&json!("websocket")));
    assert!(field("issued").as_u64().is_some_and(|millis| millis > 1_700_000_000_000));
    let time = field("time").as_str().unwrap_or_default().to_owned();
    assert!(time.ends_with(" GMT+0000 (Coordinated Universal Time)"), "{time}");
    assert!(field("url").as_str().is_some_and(|url| url.starts_with("/socket.io/?")));
    let found = app.of(0, "/").to(guest.id()).with_handshake().fetch_sockets().await.found;
    let [found] = &found[..] else { panic!("one socket, not {found:?}") };
    assert_eq!(json!(found.handshake), json!(handshake), "the same from every node");
}

#[tokio::test]
async fn without_a_wish_the_request_is_the_first_one() {
    let app = App::start(1, |seen| Node::builder().namespace(plain("/", seen))).await;
    let (polling, socket) = app.polling_guest("/").await;
    let post = polling.call(Method::POST).header("cookie", "session=2").body(r#"42["note","x"]"#);
    assert_eq!(post.send().await.outcome(), (200, "ok"));
    assert!(Arc::ptr_eq(&socket.conn().request(), &socket.conn().request()));
    assert!(!socket.conn().request().headers().contains_key("cookie"));
}

on_one_and_three_nodes! {
    crate::connections::app:
    a_socket_knows_its_transport_and_is_told_of_the_upgrade,
    the_sockets_of_a_client_find_each_other,
    a_lost_connection_says_what_went_wrong,
    every_packet_of_a_client_is_seen_before_what_it_brings,
    the_newest_request_of_a_client_is_kept_where_that_is_wanted,
    a_handler_finds_the_request_that_carried_its_event,
    a_handler_has_its_node,
    a_handshake_is_written_as_node_writes_it,
}
