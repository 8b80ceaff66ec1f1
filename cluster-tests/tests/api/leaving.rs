//! How sockets disconnect, and what clients and the application see of it.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::app::{App, Guest, Seen, connected};
use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{DisconnectReason, Namespace, Node, RawArgs, Socket, engine, namespace};

/// A namespace that emits to the rooms of a socket that disconnects.
pub(crate) fn described(seen: &Arc<Seen>) -> Namespace {
    let (leaving, left) = (Arc::clone(seen), Arc::clone(seen));
    let on_disconnecting = async move |socket: Socket, reason: DisconnectReason| {
        leaving.handled.note((socket.id(), format!("leaves {:?}, {reason}", sorted(&socket))));
        assert!(reason != DisconnectReason::TransportError, "a handler of the tests panics");
        for room in socket.rooms() {
            socket.to(room).emit("left", &socket.id())?;
        }
        Ok(())
    };
    let on_disconnect = async move |socket: Socket, reason: DisconnectReason| {
        left.handled.note((socket.id(), format!("left {:?}, {reason}", sorted(&socket))));
        left.left.note((socket.id(), reason));
        Ok(())
    };
    let connected = Arc::clone(seen);
    namespace("/leaving")
        .on_connect(async move |socket: Socket| {
            connected.connected.note(socket);
            Ok(())
        })
        .on("echo", async |_: Socket, args: RawArgs| Ok(args))
        .on_disconnecting(on_disconnecting)
        .on_disconnect(on_disconnect)
}

fn sorted(socket: &Socket) -> Vec<String> {
    let mut rooms: Vec<_> = socket.rooms().iter().map(ToString::to_string).collect();
    rooms.sort();
    rooms
}

async fn on_disconnecting_sees_the_rooms_and_on_disconnect_does_not(app: &App) {
    let mut guests = [
        app.guest_in("/leaving", 0).await,
        app.guest_in("/leaving", 1).await,
        app.guest_in("/leaving", 2).await,
    ];
    let room = format!("room-{}", guests[0].id());
    for Guest { socket, .. } in &guests {
        socket.join(&room).await.expect("connected");
    }
    guests[1].socket.join("another").await.expect("connected");
    for (goodbye, reason) in
        [("41/leaving,", "client namespace disconnect"), ("", "server namespace disconnect")]
    {
        let leaver = usize::from(goodbye.is_empty());
        let (socket, id) = (guests[leaver].socket.clone(), guests[leaver].socket.id());
        let mut rooms = sorted(&socket);
        rooms.sort();
        match goodbye {
            "" => socket.disconnect(),
            goodbye => guests[leaver].ws.send(goodbye).await,
        }
        for guest in &mut guests[leaver + 1..] {
            assert_eq!(guest.event().await, format!(r#"["left","{id}"]"#));
        }
        app.seen.reason(id).await;
        let expected = [format!("leaves {rooms:?}, {reason}"), format!("left [], {reason}")];
        assert_eq!(app.seen.handled_of(id), expected);
        assert!(socket.rooms().is_empty());
    }
    assert_eq!(guests[1].hears().await, "41/leaving,", "nothing of its own goodbye");
}

async fn on_disconnect_runs_although_on_disconnecting_panicked(app: &App) {
    let mut guest = app.guest_in("/leaving", 1).await;
    guest.socket.join("room").await.expect("connected");
    let id = guest.socket.id();
    // A ping of the client.
    guest.ws.send("2").await;
    assert_eq!(app.seen.reason(id).await.as_str(), "transport error");
    let mut rooms = [id.to_string(), "room".to_owned()];
    rooms.sort();
    let expected = [format!("leaves {rooms:?}, transport error"), "left [], transport error".to_owned()];
    assert_eq!(app.seen.handled_of(id), expected);
}

async fn a_disconnect_by_the_server_keeps_the_connection(app: &App) {
    let guest = app.guest(0).await;
    let main = guest.socket.clone();
    let mut guest = app.enter(guest.ws, "/other").await;
    main.disconnect();
    assert!(!main.is_connected());
    assert_eq!(guest.hears().await, "41");
    assert_eq!(app.seen.reason(main.id()).await.as_str(), "server namespace disconnect");
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

async fn events_sent_before_a_client_saw_its_disconnect_are_ignored(app: &App) {
    let guest = app.guest(0).await;
    let main = guest.socket.clone();
    let mut guest = app.enter(guest.ws, "/other").await;
    main.disconnect();
    main.emit("late", &()).expect("it encodes");
    guest.ws.send(r#"421["note","late"]"#).await;
    guest.ws.send("4399[1]").await;
    assert_eq!(guest.hears().await, "41");
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
    app.seen.reason(main.id()).await;
    assert_eq!(app.seen.handled_of(main.id()), ["left"]);
    // The client may join again and gets a new socket.
    guest.ws.send("40").await;
    let again = connected(&guest.hears().await, "/");
    assert_ne!(again, main.id().to_string());
    guest.ws.send(r#"421["echo",2]"#).await;
    assert_eq!(guest.hears().await, "431[2]");
}

async fn a_client_may_rejoin_as_soon_as_it_sees_its_disconnect(app: &App) {
    let mut guest = app.guest(0).await;
    for _ in 0..200 {
        let socket = guest.socket.clone();
        // The client may see the packets before the connection handles the disconnect, and may rejoin at once.
        let disconnecting = tokio::task::spawn_blocking(move || socket.disconnect());
        assert_eq!(guest.hears().await, "41");
        guest = app.enter(guest.ws, "/").await;
        disconnecting.await.expect("it does not panic");
    }
}

async fn any_thread_may_disconnect_a_socket(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    std::thread::spawn(move || socket.disconnect()).join().expect("it does not panic");
    assert_eq!(guest.hears().await, "41");
    assert_eq!(app.seen.reason(guest.socket.id()).await.as_str(), "server namespace disconnect");
}

async fn nothing_is_handled_after_on_disconnect(app: &App) {
    let mut guest = app.guest(0).await;
    let socket = guest.socket.clone();
    let (gate, id) = (format!("running-{}", guest.id()), socket.id());
    guest.emit(&format!(r#"1["wait","{gate}"]"#)).await;
    guest.emit(r#"["note","queued"]"#).await;
    let mut guest = app.enter(guest.ws, "/other").await;
    app.seen.waits(id).await;
    socket.disconnect();
    guest.ws.send(r#"42["note","late"]"#).await;
    assert_eq!(guest.hears().await, "41");
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
    assert!(app.seen.left.all(|(left, _)| (*left == id).then_some(())).is_empty(), "a handler still runs");
    app.seen.open(&gate);
    app.seen.reason(id).await;
    assert_eq!(app.seen.handled_of(id), ["waits", "passed", "left"], "what waited is dropped");
}

async fn events_that_race_a_disconnect_are_handled_before_it_or_not_at_all(app: &App) {
    let mut guest = app.guest(0).await;
    for _ in 0..50 {
        let socket = guest.socket.clone();
        let id = socket.id();
        let disconnecting = tokio::task::spawn_blocking(move || socket.disconnect());
        for _ in 0..20 {
            guest.emit(r#"["note","racing"]"#).await;
        }
        disconnecting.await.expect("it does not panic");
        assert_eq!(guest.hears().await, "41");
        guest = app.enter(guest.ws, "/").await;
        app.seen.reason(id).await;
        assert_eq!(app.seen.handled_of(id).pop().as_deref(), Some("left"));
    }
}

async fn a_close_disconnects_every_namespace(app: &App) {
    let main = app.guest(0).await;
    let first = main.socket.clone();
    let mut guest = app.enter(main.ws, "/other").await;
    guest.ws.send("40/typed,").await;
    connected(&guest.hears().await, "/typed");
    first.close();
    let mut goodbyes = vec![guest.hears().await, guest.hears().await, guest.hears().await];
    goodbyes.sort();
    assert_eq!(goodbyes, ["41", "41/other,", "41/typed,"]);
    assert_eq!(guest.ws.recv().await, Received::Closed(None));
    for socket in [&first, &guest.socket] {
        assert_eq!(app.seen.reason(socket.id()).await.as_str(), "server namespace disconnect");
    }
}

async fn a_close_over_polling_disconnects_every_namespace(app: &App) {
    let (polling, socket) = app.polling_guest("/other").await;
    let poll = polling.pending_poll().await;
    socket.close();
    assert_eq!(poll.reply().await.outcome(), (200, "41/other,"));
    assert_eq!(polling.poll().await.outcome(), (200, "6\x1e1"));
    polling.gone().await;
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "server namespace disconnect");
}

async fn disconnect_reasons_are_those_of_node(app: &App) {
    let guest = |goodbye: &'static str| async move {
        let mut guest = app.guest(0).await;
        guest.ws.send(goodbye).await;
        app.seen.reason(guest.socket.id()).await.as_str()
    };
    assert_eq!(guest("41").await, "client namespace disconnect");
    assert_eq!(guest("1").await, "transport close");
    assert_eq!(guest("abc").await, "parse error");
    assert_eq!(guest("2").await, "transport error", "a ping of the client");
    assert_eq!(guest("42{}").await, "forced close", "no Socket.IO packet");
    assert_eq!(guest("40").await, "forced close", "a second CONNECT");

    let mut says_close = app.guest(0).await;
    says_close.ws.send_close().await;
    assert_eq!(app.seen.reason(says_close.socket.id()).await.as_str(), "transport close");
    let Guest { ws, socket, .. } = app.guest(0).await;
    drop(ws);
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "transport close");
}

async fn disconnect_reasons_over_polling_are_those_of_node(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    polling.gone_when_given_up(async || polling.pending_poll().await).await;
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "transport error");
    let (polling, socket) = app.polling_guest("/").await;
    polling.send("1").await;
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "transport close");
    let (polling, socket) = app.polling_guest("/").await;
    polling.send("41").await;
    assert_eq!(app.seen.reason(socket.id()).await.as_str(), "client namespace disconnect");
}

/// Nodes of one test only.
async fn own_nodes(count: usize, engine: engine::Config) -> App {
    App::start(count, |seen| crate::described(seen).engine(engine.clone())).await
}

#[tokio::test]
async fn a_client_that_does_not_pong_timed_out() {
    let (ping_interval, ping_timeout) = (Duration::from_millis(50), Duration::from_secs(3));
    let app =
        own_nodes(1, engine::Config::default().ping_interval(ping_interval).ping_timeout(ping_timeout)).await;
    let mut guest = app.guest(0).await;
    assert_eq!(app.seen.reason(guest.socket.id()).await.as_str(), "ping timeout");
    assert_eq!(guest.ws.closed().await, None);
}

#[tokio::test]
async fn a_shutdown_is_the_disconnect_reason_and_closes_every_client() {
    let app = own_nodes(3, engine::Config::default()).await;
    let (mut leaving, mut staying) = (app.guest(1).await, app.guest(0).await);
    leaving.socket.join("room").await.expect("connected");
    app.node(1).shutdown().await;
    assert_eq!(app.seen.reason(leaving.socket.id()).await.as_str(), "server shutting down");
    assert_eq!(leaving.ws.recv().await, Received::Closed(None), "without DISCONNECT: clients reconnect");
    assert_eq!(app.node(1).sessions(), 0);
    assert_eq!(staying.ask(r#"["echo",1]"#).await, "[1]");
}

#[tokio::test]
async fn a_shutdown_waits_for_on_disconnect_and_its_emits_reach_other_nodes() {
    let app = App::start(3, |seen| {
        let (connected, leaving) = (Arc::clone(seen), Arc::clone(seen));
        let on_disconnecting = async move |socket: Socket, _| {
            leaving.handled.note((socket.id(), "waits".to_owned()));
            leaving.gate("shutdown").await;
            socket.to("room").emit("left", &socket.id())?;
            Ok(())
        };
        let left = Arc::clone(seen);
        let on_disconnect = async move |socket: Socket, reason| {
            left.left.note((socket.id(), reason));
            Ok(())
        };
        let described = namespace("/")
            .on_connect(async move |socket: Socket| {
                socket.join("room").await?;
                connected.connected.note(socket);
                Ok(())
            })
            .on_disconnecting(on_disconnecting)
            .on_disconnect(on_disconnect);
        Node::builder().namespace(described)
    })
    .await;
    let (leaving, mut staying) = (app.guest(1).await, app.guest(0).await);
    let node = app.node(1).clone();
    let stopping = tokio::spawn(async move { node.shutdown().await });
    app.seen.waits(leaving.socket.id()).await;
    assert!(!stopping.is_finished(), "a handler still runs");
    app.seen.open("shutdown");
    assert_eq!(staying.event().await, format!(r#"["left","{}"]"#, leaving.id()));
    within("the end of the node", stopping).await.expect("it does not panic");
    let ran = app.seen.left.all(|(id, reason)| (*id == leaving.socket.id()).then_some(reason.as_str()));
    assert_eq!(ran, ["server shutting down"], "on_disconnect ran before the node was gone");
}

#[tokio::test]
async fn a_stuck_handler_delays_a_shutdown_only_for_a_bounded_time() {
    let app = own_nodes(1, engine::Config::default()).await;
    let mut guest = app.guest(0).await;
    guest.emit(r#"["wait","a gate that nobody opens"]"#).await;
    app.seen.waits(guest.socket.id()).await;
    within("the end of the node", app.node(0).shutdown()).await;
    assert_eq!(app.node(0).sessions(), 0);
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_as_it_comes_is_seen_to_come_and_to_leave() {
    let app = App::start(1, |seen| Node::builder().namespace(described(seen))).await;
    let polling = app.nodes.target.polling().await;
    polling.post("40/leaving,\u{1e}4nonsense").await;
    let id = app.seen.connected.find("on_connect", |socket| Some(socket.id())).await;
    assert_eq!(app.seen.reason(id).await, DisconnectReason::ForcedClose);
}

on_one_and_three_nodes! {
    crate::app:
    on_disconnecting_sees_the_rooms_and_on_disconnect_does_not,
    on_disconnect_runs_although_on_disconnecting_panicked,
    a_disconnect_by_the_server_keeps_the_connection,
    events_sent_before_a_client_saw_its_disconnect_are_ignored,
    a_client_may_rejoin_as_soon_as_it_sees_its_disconnect,
    any_thread_may_disconnect_a_socket,
    nothing_is_handled_after_on_disconnect,
    events_that_race_a_disconnect_are_handled_before_it_or_not_at_all,
    a_close_disconnects_every_namespace,
    a_close_over_polling_disconnects_every_namespace,
    disconnect_reasons_are_those_of_node,
    disconnect_reasons_over_polling_are_those_of_node,
}
