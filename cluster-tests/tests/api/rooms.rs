//! The receivers of events: rooms, exceptions and broadcasts with sockets on several nodes.

use cluster_tests::app::{App, Guest, connected, plain};
use cluster_tests::messages::Messages;
use cluster_tests::nodes::Nodes;
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{Node, Target, namespace};

/// One client on each of three nodes (or three on one), and one more on the first.
async fn guests(app: &App, path: &'static str) -> [Guest; 4] {
    [
        app.guest_in(path, 0).await,
        app.guest_in(path, 1).await,
        app.guest_in(path, 2).await,
        app.guest_in(path, 0).await,
    ]
}

/// A name that no other test uses.
fn room(guests: &[Guest], color: &str) -> String {
    format!("{color}-{}", guests[0].id())
}

async fn join(room: &str, members: &[&Guest]) {
    for member in members {
        member.socket.join(room).await.expect("connected");
    }
}

fn emit(target: Target, what: &str) {
    target.emit("said", what).expect("it encodes");
}

/// What each client received of the events that the `n`th node emitted so far. The events of one node arrive in order, so
/// a last event marks the end.
async fn heard(app: &App, n: usize, guests: &mut [Guest]) -> Vec<Vec<String>> {
    let mut heard = Vec::new();
    for guest in guests {
        app.of(n, guest.path).to(guest.id()).emit("end", &()).expect("it encodes");
        let mut events = Vec::new();
        loop {
            match guest.event().await.as_str() {
                r#"["end"]"# => break,
                event => events.push(event.to_owned()),
            }
        }
        heard.push(events);
    }
    heard
}

/// The expected events: `to` says how often each client receives this one.
fn said(what: &str, to: [u8; 4]) -> Vec<Vec<String>> {
    to.iter().map(|times| vec![format!(r#"["said","{what}"]"#); usize::from(*times)]).collect()
}

async fn a_packet_to_a_room_reaches_each_member_once(app: &App) {
    let mut guests = guests(app, "/").await;
    let red = room(&guests, "red");
    join(&red, &[&guests[0], &guests[1], &guests[2]]).await;
    for n in 0..3 {
        emit(app.of(n, "/").to(&red), "all");
        assert_eq!(heard(app, n, &mut guests).await, said("all", [1, 1, 1, 0]), "from node {n}");
    }
    emit(guests[0].socket.to(&red), "others");
    assert_eq!(heard(app, 0, &mut guests).await, said("others", [0, 1, 1, 0]), "the sender is left out");
    emit(guests[3].socket.to(&red), "from outside");
    assert_eq!(heard(app, 0, &mut guests).await, said("from outside", [1, 1, 1, 0]));
}

async fn several_target_rooms_form_one_set(app: &App) {
    let mut guests = guests(app, "/").await;
    let (red, blue, gone) = (room(&guests, "red"), room(&guests, "blue"), room(&guests, "gone"));
    join(&red, &[&guests[0], &guests[1]]).await;
    join(&blue, &[&guests[1], &guests[2]]).await;
    emit(app.of(0, "/").to(&red).to(&blue).to(&gone), "both");
    assert_eq!(heard(app, 0, &mut guests).await, said("both", [1, 1, 1, 0]));
    emit(app.of(2, "/").to(&red).to(&red), "twice");
    assert_eq!(heard(app, 2, &mut guests).await, said("twice", [1, 1, 0, 0]));
    emit(app.of(1, "/").to(&red).except(&blue), "red only");
    assert_eq!(heard(app, 1, &mut guests).await, said("red only", [1, 0, 0, 0]));
    emit(app.of(0, "/").to(&gone), "nobody");
    assert_eq!(heard(app, 0, &mut guests).await, said("nobody", [0, 0, 0, 0]));
}

async fn a_broadcast_without_a_room_reaches_every_client_on_every_node(app: &App) {
    let mut guests = guests(app, "/everybody").await;
    for n in 0..3 {
        app.of(n, "/everybody").emit("said", "hello").expect("it encodes");
        assert_eq!(heard(app, n, &mut guests).await, said("hello", [1, 1, 1, 1]), "from node {n}");
    }
    emit(app.of(1, "everybody").all(), "short name");
    assert_eq!(heard(app, 1, &mut guests).await, said("short name", [1, 1, 1, 1]));
}

async fn a_broadcast_of_a_socket_excludes_the_sender(app: &App) {
    let mut guests = guests(app, "/all-others").await;
    emit(guests[0].socket.broadcast(), "others");
    assert_eq!(heard(app, 0, &mut guests).await, said("others", [0, 1, 1, 1]));
    emit(guests[2].socket.broadcast(), "others");
    assert_eq!(heard(app, 2, &mut guests).await, said("others", [1, 1, 0, 1]));
}

async fn members_of_an_excepted_room_are_excluded_on_every_node(app: &App) {
    let mut guests = guests(app, "/except").await;
    let muted = room(&guests, "muted");
    join(&muted, &[&guests[1], &guests[3]]).await;
    emit(app.of(0, "/except").except(&muted), "to those who listen");
    assert_eq!(heard(app, 0, &mut guests).await, said("to those who listen", [1, 0, 1, 0]));
    emit(guests[0].socket.except(&muted), "and not to me");
    assert_eq!(heard(app, 0, &mut guests).await, said("and not to me", [0, 0, 1, 0]));
    emit(app.of(2, "/except").all().except(guests[0].id()).except(&muted), "a socket is a room");
    assert_eq!(heard(app, 2, &mut guests).await, said("a socket is a room", [0, 0, 1, 0]));
}

async fn a_local_broadcast_stays_on_its_node(app: &App) {
    let mut guests = guests(app, "/local").await;
    let elsewhere = u8::from(app.nodes.nodes.len() == 1);
    emit(app.of(0, "/local").local(), "here");
    assert_eq!(heard(app, 0, &mut guests).await, said("here", [1, elsewhere, elsewhere, 1]));
    emit(guests[0].socket.local(), "here but me");
    assert_eq!(heard(app, 0, &mut guests).await, said("here but me", [0, elsewhere, elsewhere, 1]));
    let red = room(&guests, "red");
    join(&red, &[&guests[0], &guests[1]]).await;
    emit(app.of(0, "/local").to(&red).local(), "here in the room");
    assert_eq!(heard(app, 0, &mut guests).await, said("here in the room", [1, elsewhere, 0, 0]));
}

async fn the_id_of_a_socket_is_a_room_of_its_own(app: &App) {
    let mut guests = guests(app, "/").await;
    for n in 0..3 {
        emit(app.of(n, "/").to(guests[1].id()), "you");
        assert_eq!(heard(app, n, &mut guests).await, said("you", [0, 1, 0, 0]), "from node {n}");
    }
    emit(guests[0].socket.to(guests[2].id()), "you");
    assert_eq!(heard(app, 0, &mut guests).await, said("you", [0, 0, 1, 0]));
    emit(app.of(0, "/").to(guests[1].id()).to(guests[2].id()), "you two");
    assert_eq!(heard(app, 0, &mut guests).await, said("you two", [0, 1, 1, 0]));
    emit(app.of(0, "/other").to(guests[1].id()), "not in this namespace");
    assert_eq!(heard(app, 0, &mut guests).await, said("", [0, 0, 0, 0]));
}

async fn a_typed_event_reaches_a_room(app: &App) {
    #[derive(serde::Serialize)]
    enum Event {
        #[serde(rename = "said")]
        Said(&'static str),
    }
    let mut guests = guests(app, "/").await;
    let red = room(&guests, "red");
    join(&red, &[&guests[0], &guests[2]]).await;
    app.of(1, "/").to(&red).emit_event(&Event::Said("typed")).expect("an enum");
    assert_eq!(heard(app, 1, &mut guests).await, said("typed", [1, 0, 1, 0]));
    assert!(app.of(1, "/").to(&red).emit_event(&"no enum").is_err());
}

async fn after_an_awaited_join_a_socket_receives_what_any_node_emits(app: &App) {
    let mut guest = app.guest(2).await;
    for round in 0..50 {
        let room = format!("round-{round}-{}", guest.id());
        guest.socket.join(&room).await.expect("connected");
        for n in 0..3 {
            app.of(n, "/").to(&room).emit("said", &(round, n)).expect("it encodes");
        }
        let mut got = [guest.event().await, guest.event().await, guest.event().await];
        got.sort();
        assert_eq!(got, [0, 1, 2].map(|n| format!(r#"["said",[{round},{n}]]"#)));
    }
}

async fn a_join_is_immediate_on_its_own_node(app: &App) {
    let mut guests = guests(app, "/").await;
    let red = room(&guests, "red");
    drop(guests[0].socket.join(&red));
    emit(app.of(0, "/").to(&red), "at once");
    assert_eq!(heard(app, 0, &mut guests).await, said("at once", [1, 0, 0, 0]));
    assert_eq!(guests[0].socket.rooms(), [guests[0].id(), red], "its own is the first");
}

async fn after_leaving_a_room_a_socket_receives_nothing_from_it(app: &App) {
    let mut guests = guests(app, "/").await;
    let red = room(&guests, "red");
    join(&red, &[&guests[0], &guests[1]]).await;
    guests[1].socket.leave(&red);
    for n in 0..3 {
        emit(app.of(n, "/").to(&red), "members");
        assert_eq!(heard(app, n, &mut guests).await, said("members", [1, 0, 0, 0]), "from node {n}");
    }
    guests[1].socket.join(&red).await.expect("connected");
    emit(app.of(2, "/").to(&red), "again");
    assert_eq!(heard(app, 2, &mut guests).await, said("again", [1, 1, 0, 0]));
}

async fn a_disconnected_socket_is_in_no_room(app: &App) {
    let mut guest = app.guest(0).await;
    guest.socket.join("somewhere").await.expect("connected");
    guest.ws.send("41").await;
    app.seen.reason(guest.socket.id()).await;
    assert!(guest.socket.rooms().is_empty());
    assert!(guest.socket.join("somewhere").await.is_err(), "and joins none");
    assert!(guest.socket.rooms().is_empty());
    emit(app.of(0, "/").to("somewhere"), "nobody");
    emit(app.of(0, "/").to(guest.id()), "nobody");
    let mut guest = app.enter(guest.ws, "/other").await;
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]", "nothing came before");
}

/// Nodes of one cluster may serve different namespaces.
#[tokio::test]
async fn a_node_may_emit_to_a_namespace_it_does_not_serve() {
    let seen = std::sync::Arc::default();
    let nodes = Nodes::start(3, |n| match n {
        0 => Node::builder().namespace(namespace("/")),
        _ => Node::builder().namespace(plain("/shop", &seen)),
    })
    .await;
    let mut refused = nodes.target.at(0).websocket().await;
    refused.send("40/shop,").await;
    assert_eq!(refused.packet_text().await, r#"44/shop,{"message":"Invalid namespace"}"#);

    let mut members = Vec::new();
    for n in [1, 2] {
        let mut ws = nodes.target.at(n).websocket().await;
        ws.send("40/shop,").await;
        let socket = seen.socket(&connected(&ws.packet_text().await, "/shop")).await;
        socket.join("customers").await.expect("connected");
        members.push((ws, socket));
    }
    let shop = nodes.nodes[0].of("/shop");
    assert_eq!((shop.path(), shop.local_count()), ("/shop", 0));
    emit(shop.all(), "open");
    emit(shop.to("customers"), "welcome");
    for (ws, socket) in &mut members {
        emit(shop.to(socket.id().to_string()), "you");
        for what in ["open", "welcome", "you"] {
            assert_eq!(ws.packet_text().await, format!(r#"42/shop,["said","{what}"]"#));
        }
    }
}

on_one_and_three_nodes! {
    crate::app:
    a_packet_to_a_room_reaches_each_member_once,
    several_target_rooms_form_one_set,
    a_broadcast_without_a_room_reaches_every_client_on_every_node,
    a_broadcast_of_a_socket_excludes_the_sender,
    members_of_an_excepted_room_are_excluded_on_every_node,
    a_local_broadcast_stays_on_its_node,
    the_id_of_a_socket_is_a_room_of_its_own,
    a_typed_event_reaches_a_room,
    after_an_awaited_join_a_socket_receives_what_any_node_emits,
    a_join_is_immediate_on_its_own_node,
    after_leaving_a_room_a_socket_receives_nothing_from_it,
    a_disconnected_socket_is_in_no_room,
}
