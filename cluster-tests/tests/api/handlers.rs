//! When handlers run, and the effect of what they return.

use cluster_tests::app::{App, connected};
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{EventError, Namespace, Node, RawArgs, Socket, engine, namespace};

/// A namespace whose `on_connect` fails.
pub(crate) fn refusing_itself() -> Namespace {
    namespace("/refusing").on_connect(async |socket: Socket| {
        socket.emit("so close", &())?;
        Err(EventError::new("closed", "come back tomorrow"))
    })
}

pub(crate) fn with_fallback() -> Namespace {
    namespace("/fallback")
        .on("known", async |_: Socket, (): ()| Ok("handled"))
        .fallback(async |_: Socket, name: String, args: RawArgs| Ok((name, args.json().to_owned())))
}

async fn an_error_in_on_connect_disconnects_the_socket_and_nothing_else(app: &App) {
    let mut guest = app.guest(0).await;
    guest.ws.send("40/refusing,").await;
    connected(&guest.hears().await, "/refusing");
    assert_eq!(guest.hears().await, r#"42/refusing,["so close"]"#);
    assert_eq!(guest.hears().await, "41/refusing,");
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

async fn a_slow_handler_delays_only_the_next_event_of_its_client(app: &App) {
    let (mut slow, mut other) = (app.guest(0).await, app.guest(0).await);
    let gate = format!("slow-{}", slow.id());
    slow.emit(&format!(r#"1["wait","{gate}"]"#)).await;
    slow.emit(r#"2["note","second"]"#).await;
    slow.emit(r#"3["note","third"]"#).await;
    app.seen.waits(slow.socket.id()).await;
    assert_eq!(other.ask(r#"["echo",1]"#).await, "[1]");

    // The connection stays: heartbeats are answered, and another namespace can be joined.
    let socket = slow.socket.clone();
    let answering = async {
        let question = slow.event().await;
        let id = question.strip_suffix(r#"["question"]"#).expect("the question").to_owned();
        slow.ws.send(&format!(r#"43{id}["answer"]"#)).await;
    };
    let (answer, ()) = tokio::join!(socket.emit_with_ack::<String, _>("question", &()), answering);
    assert_eq!(answer.expect("an answer"), "answer");
    slow.ws.send("40/other,").await;
    connected(&slow.hears().await, "/other");
    assert_eq!(app.seen.handled_of(slow.socket.id()), ["waits"], "the first handler still runs");

    app.seen.open(&gate);
    assert_eq!(slow.hears().await, r#"431["passed"]"#);
    assert_eq!((slow.hears().await, slow.hears().await), ("432[]".to_owned(), "433[]".to_owned()));
    assert_eq!(app.seen.handled_of(slow.socket.id()), ["waits", "passed", "second", "third"]);
}

async fn the_value_of_a_handler_is_the_ack(app: &App) {
    let mut guest = app.guest(0).await;
    for (event, ack) in [
        (r#"["nothing"]"#, "[]"),
        (r#"["nothing","surplus"]"#, "[]"),
        (r#"["several"]"#, r#"[1,"two",[3]]"#),
        (r#"["increment",41]"#, "[42]"),
        (r#"["echo",1,"two",{"three":3}]"#, r#"[1,"two",{"three":3}]"#),
        (r#"["echo"]"#, "[]"),
    ] {
        assert_eq!(guest.ask(event).await, ack, "{event}");
    }
}

async fn a_handler_error_is_sent_in_the_ack(app: &App) {
    let mut guest = app.guest(0).await;
    for (event, code, message) in [
        (r#"["fail"]"#, "full", r#"no room \"left\""#),
        (r#"["fail-inside","x"]"#, "internal", "internal error"),
        (r#"["fail-inside","300"]"#, "internal", "internal error"),
    ] {
        let expected = format!(r#"[{{"error":{{"code":"{code}","message":"{message}"}}}}]"#);
        assert_eq!(guest.ask(event).await, expected, "{event}");
    }
}

async fn invalid_arguments_are_reported_in_the_ack(app: &App) {
    let mut guest = app.guest(0).await;
    for event in [r#"["increment"]"#, r#"["increment","1"]"#, r#"["increment",256]"#, r#"["relay",1]"#] {
        let ack = guest.ask(event).await;
        let start = r#"[{"error":{"code":"invalid_arguments","message":"argument 1: "#;
        assert!(ack.starts_with(start), "{event}: {ack}");
    }
    assert_eq!(guest.ask(r#"["increment",1]"#).await, "[2]");
}

async fn a_panicking_handler_disconnects_its_socket_and_nothing_else(app: &App) {
    let guest = app.guest(0).await;
    let panicking = guest.socket.clone();
    let mut other = app.guest(0).await;
    let mut guest = app.enter(guest.ws, "/other").await;
    guest.ws.send(r#"421["panic"]"#).await;
    assert_eq!(guest.hears().await, "41");
    let reason = app.seen.reason(panicking.id()).await;
    assert_eq!(reason.as_str(), "server namespace disconnect");
    assert!(!panicking.is_connected());
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]", "the same client elsewhere");
    assert_eq!(other.ask(r#"["echo",1]"#).await, "[1]", "another client in the same namespace");
}

async fn a_fallback_handles_every_event_without_a_handler(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    ws.send("40/fallback,").await;
    connected(&ws.packet_text().await, "/fallback");
    for (event, ack) in [
        (r#"["known"]"#, r#"["handled"]"#),
        (r#"["other",1,{"a":"b"}]"#, r#"[["other","1,{\"a\":\"b\"}"]]"#),
        ("[12]", r#"[["12",""]]"#),
    ] {
        ws.send(&format!("42/fallback,0{event}")).await;
        assert_eq!(ws.packet_text().await, format!("43/fallback,0{ack}"), "{event}");
    }
}

async fn several_namespaces_share_a_connection(app: &App) {
    let main = app.guest(0).await;
    let first = main.socket.clone();
    let mut other = app.enter(main.ws, "/other").await;
    assert_ne!(first.id(), other.socket.id());
    assert_eq!((first.namespace(), other.socket.namespace()), ("/", "/other"));
    assert_eq!(first.handshake().request().url(), other.socket.handshake().request().url());
    first.emit("to", &"main").expect("it encodes");
    other.socket.emit("to", &"other").expect("it encodes");
    assert_eq!(other.hears().await, r#"42["to","main"]"#);
    assert_eq!(other.event().await, r#"["to","other"]"#);
    // Leaving one is not leaving the other.
    other.ws.send("41").await;
    assert_eq!(app.seen.reason(first.id()).await.as_str(), "client namespace disconnect");
    assert_eq!(other.ask(r#"["echo",1]"#).await, "[1]");
    other.ws.send_close().await;
    assert_eq!(app.seen.reason(other.socket.id()).await.as_str(), "transport close");
    assert_eq!(other.ws.recv().await, Received::Closed(None));
}

#[tokio::test]
async fn on_connect_runs_for_an_old_client_that_says_nothing() {
    let app = App::start(1, |_| {
        let greeting = namespace("/").on_connect(async |socket: Socket| Ok(socket.emit("hello", &1)?));
        Node::builder().engine(engine::Config::default().allow_eio3(true)).namespace(greeting)
    })
    .await;
    let mut ws = app.nodes.target.upgrade("EIO=3&transport=websocket").await.expect("accepted");
    assert!(ws.packet_text().await.starts_with("0{"));
    assert_eq!([ws.packet_text().await, ws.packet_text().await], ["40", "42[\"hello\",1]"]);
}

on_one_and_three_nodes! {
    crate::app:
    an_error_in_on_connect_disconnects_the_socket_and_nothing_else,
    a_slow_handler_delays_only_the_next_event_of_its_client,
    the_value_of_a_handler_is_the_ack,
    a_handler_error_is_sent_in_the_ack,
    invalid_arguments_are_reported_in_the_ack,
    a_panicking_handler_disconnects_its_socket_and_nothing_else,
    a_fallback_handles_every_event_without_a_handler,
    several_namespaces_share_a_connection,
}
