//! The verbs that all handles of sockets have alike: those of a socket, of one found on any node, of a selection and of a
//! namespace.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster_tests::app::{App, Guest, Seen, with_plain_handlers};
use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_one_and_three_nodes;
use serde::Serialize;
use socketmesh::AckError;
use socketmesh::socket::Room;
use socketmesh::{Namespace, RawArg, RemoteSocket, Socket, namespace};

/// Its handlers pass on what they do not decode.
pub(crate) fn described(seen: &Arc<Seen>) -> Namespace {
    #[derive(Serialize)]
    struct Passed {
        from: Bytes,
        what: Vec<RawArg>,
    }
    with_plain_handlers(namespace("/verbs-of-a-handler"), seen).on(
        "wrap",
        async |socket: Socket, what: RawArg| {
            socket.emit(
                "wrapped",
                &Passed { from: Bytes::from_static(&[9]), what: vec![what.clone(), what] },
            )?;
            Ok(())
        },
    )
}

/// One client on each of three nodes, or three on one.
async fn guests(app: &App, path: &'static str) -> [Guest; 3] {
    [app.guest_in(path, 0).await, app.guest_in(path, 1).await, app.guest_in(path, 2).await]
}

/// A name that no other test uses.
fn room(guests: &[Guest], color: &str) -> String {
    format!("{color}-{}", guests[0].id())
}

/// The first of the guests, as the `n`th node finds it.
async fn found(app: &App, n: usize, guests: &[Guest]) -> RemoteSocket {
    app.of(n, guests[0].path).to(guests[0].socket.id()).fetch_sockets().await.found.remove(0)
}

/// Each hears what this node emits last, and before it the events that are named.
async fn hear(app: &App, n: usize, guests: &mut [Guest], expected: [&[&str]; 3]) {
    for (guest, expected) in guests.iter_mut().zip(expected) {
        app.of(n, guest.path).to(guest.socket.id()).emit("end", &()).expect("it encodes");
        for event in expected {
            assert_eq!(guest.event().await, *event);
        }
        assert_eq!(guest.event().await, r#"["end"]"#, "and nothing else before it");
    }
}

async fn a_target_is_emitted_to_again_and_reaches_who_is_there_then(app: &App) {
    let mut guests = guests(app, "/").await;
    let red = room(&guests, "red");
    guests[0].socket.join(&red).await.expect("connected");
    let target = app.of(1, "/").to(&red);
    target.emit("said", "one").expect("it encodes");
    assert_eq!(target.count().await.sockets, 1);
    guests[2].socket.join(&red).await.expect("connected");
    target.emit("said", "two").expect("it encodes");
    assert_eq!(target.count().await.sockets, 2);
    let others = target.clone().except(guests[0].socket.id());
    others.emit("said", "others").expect("it encodes");
    target.emit("said", "three").expect("it encodes");
    let (one, two, three) = (r#"["said","one"]"#, r#"["said","two"]"#, r#"["said","three"]"#);
    let others = r#"["said","others"]"#;
    hear(app, 1, &mut guests, [&[one, two, three], &[], &[two, others, three]]).await;
}

async fn several_rooms_are_named_joined_and_left_at_once(app: &App) {
    let mut guests = guests(app, "/").await;
    let rooms = ["red", "blue", "gone"].map(|color| room(&guests, color));
    guests[0].socket.join(&rooms[..2]).await.expect("connected");
    guests[1].socket.join([&rooms[1]]).await.expect("connected");
    for n in 0..3 {
        app.of(n, "/").to(&rooms).emit("any", &()).expect("it encodes");
        app.of(n, "/")
            .to(rooms.to_vec())
            .except([guests[1].socket.id()])
            .emit("but", &())
            .expect("it encodes");
        let (any, but) = (r#"["any"]"#, r#"["but"]"#);
        hear(app, n, &mut guests, [&[any, but], &[any], &[]]).await;
    }
    let rooms_of = |guest: &Guest| {
        let mut rooms = guest.socket.rooms();
        rooms.sort_unstable();
        rooms.into_iter().map(String::from).collect::<Vec<_>>()
    };
    guests[0].socket.leave(&rooms);
    assert_eq!(rooms_of(&guests[0]), [guests[0].id()]);
    let target = app.of(2, "/").to([guests[0].socket.id(), guests[1].socket.id()]);
    assert!(target.join(&rooms).await.missing.is_empty());
    assert!(rooms.iter().all(|room| guests[0].socket.is_in(room)));
    assert!(target.leave([&rooms[0], &rooms[2]]).timeout(None).await.missing.is_empty());
    assert_eq!(guests[1].socket.rooms().len(), 2, "its own and one more");
    guests[1].socket.leave(guests[1].socket.rooms());
    assert_eq!(rooms_of(&guests[1]), [guests[1].id()], "its own cannot be left");
    let join = guests[2].socket.join(&rooms).timeout(None);
    assert!(join.applied().await.expect("connected").missing.is_empty());
}

async fn a_socket_is_in_its_own_room_and_in_those_that_it_joined(app: &App) {
    let path = "/room-verbs-of-rooms";
    let guests = guests(app, path).await;
    guests[0].socket.join("red").await.expect("connected");
    let (id, own) = (guests[0].socket.id(), Room::from(guests[0].socket.id()));
    assert_eq!(guests[0].socket.rooms(), [own.clone(), "red".into()]);
    assert!(guests[0].socket.is_in(id) && guests[0].socket.is_in("red") && !guests[0].socket.is_in("blue"));
    assert!(!guests[0].socket.is_in(guests[1].socket.id()));
    for n in 0..3 {
        let remote = found(app, n, &guests).await;
        assert_eq!(remote.rooms, [own.clone(), "red".into()]);
        assert!(remote.is_in(id) && remote.is_in("red") && !remote.is_in("blue"));
        let here = app.of(n, path);
        let is_here = guests[0].socket.node() == here.node();
        assert_eq!(here.rooms_of(id), is_here.then(|| vec![own.clone(), "red".into()]));
        assert_eq!(here.rooms().contains(&(own.clone(), 1)), is_here);
        let mut all: Vec<Room> = guests.iter().map(|guest| guest.socket.id().into()).collect();
        all.push("red".into());
        all.sort_unstable();
        assert_eq!(here.all_rooms().await.found, all);
    }
}

async fn what_is_sent_is_the_event_message(app: &App) {
    let mut guests = guests(app, "/room-verbs-that-send").await;
    let remote = found(app, 1, &guests).await;
    let all = app.of(1, "/room-verbs-that-send");
    remote.send("remote").expect("it encodes");
    all.to(guests[0].socket.id()).send("target").expect("it encodes");
    all.send(&("namespace", 1)).expect("it encodes");
    guests[0].socket.compress(false).send("emitter").expect("it encodes");
    let guest = &mut guests[0];
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(guest.event().await);
    }
    heard.sort();
    let expected = [r#""emitter""#, r#""remote""#, r#""target""#, r#"["namespace",1]"#];
    assert_eq!(heard, expected.map(|what| format!(r#"["message",{what}]"#)));
    guest.socket.send(&Bytes::from_static(&[1])).expect("it encodes");
    assert_eq!(guest.hears().await, r#"451-/room-verbs-that-send,["message",{"_placeholder":true,"num":0}]"#);
    assert_eq!(guest.ws.packet().await, Received::Binary(vec![1]));
}

async fn acks_of_messages_and_typed_events_come_to_every_handle(app: &App) {
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Ask {
        Name(u8),
    }
    let path = "/room-verbs-that-ask";
    let mut guest = app.guest_in(path, 2).await;
    let (socket, all) = (guest.socket.clone(), app.of(0, path));
    let remote = all.fetch_sockets().await.found.remove(0);
    let asking = tokio::spawn(async move {
        let ask = &Ask::Name(7);
        let one = [
            socket.send_with_ack::<u8, _>("?").await.expect("an ack"),
            socket.emit_event_with_ack(ask).await.expect("an ack"),
            remote.send_with_ack("?").await.expect("an ack"),
            remote.timeout(None).emit_event_with_ack(ask).await.expect("an ack"),
        ];
        let many = [
            all.send_with_ack::<u8, _>("?").await.expect("it encodes").replies,
            all.emit_event_with_ack(ask).await.expect("it encodes").replies,
            all.to(remote.id).timeout(None).send_with_ack("?").await.expect("it encodes").replies,
            socket.nsp().local().emit_event_with_ack(ask).await.expect("it encodes").replies,
        ];
        (one, many.concat())
    });
    for answer in 1..=8 {
        let packet = guest.hears().await;
        let rest = packet.strip_prefix("42/room-verbs-that-ask,").expect("an event");
        let (id, event) = rest.split_at(rest.find('[').expect("an array"));
        let expected = if answer % 2 == 1 { r#"["message","?"]"# } else { r#"["name",7]"# };
        assert_eq!(event, expected);
        guest.ws.send(&format!("43/room-verbs-that-ask,{id}[{answer}]")).await;
    }
    assert_eq!(within("the acks", asking).await.expect("it ends"), ([1, 2, 3, 4], vec![5, 6, 7, 8]));
}

async fn a_socket_selects_the_others_from_any_node(app: &App) {
    let mut guests = guests(app, "/room-verbs-of-others").await;
    guests[0].socket.join("red").await.expect("connected");
    guests[1].socket.join("red").await.expect("connected");
    for n in 0..3 {
        let remote = found(app, n, &guests).await;
        remote.to("red").emit("red", &()).expect("it encodes");
        remote.except("red").emit("not red", &()).expect("it encodes");
        remote.broadcast().emit("all", &()).expect("it encodes");
        remote.compress(false).to(["red"]).send("again").expect("it encodes");
        let (red, others, all, again) =
            (r#"["red"]"#, r#"["not red"]"#, r#"["all"]"#, r#"["message","again"]"#);
        hear(app, n, &mut guests, [&[], &[red, all, again], &[others, all]]).await;
    }
    guests[0].socket.timeout(None).to("red").emit("red", &()).expect("it encodes");
    guests[0].socket.compress(false).broadcast().except("red").emit("not red", &()).expect("it encodes");
    hear(app, 0, &mut guests, [&[], &[r#"["red"]"#], &[r#"["not red"]"#]]).await;
}

async fn a_namespace_a_target_and_a_socket_disconnect_and_close(app: &App) {
    let path = "/room-verbs-that-end";
    let mut guests = guests(app, path).await;
    let remote = found(app, 2, &guests).await;
    assert!(remote.disconnect().await.missing.is_empty());
    assert_eq!(guests[0].hears().await, "41/room-verbs-that-end,");
    assert!(app.of(0, path).to(guests[1].socket.id()).close().timeout(None).await.missing.is_empty());
    assert_eq!(guests[1].hears().await, "41/room-verbs-that-end,");
    assert_eq!(guests[1].ws.recv().await, Received::Closed(None));
    assert!(app.of(1, path).disconnect().await.missing.is_empty());
    assert_eq!(guests[2].hears().await, "41/room-verbs-that-end,");
    assert_eq!(app.of(1, path).count().await.sockets, 0);
}

async fn ids_and_rooms_are_arguments_of_events(app: &App) {
    let mut guest = app.guest_in("/", 1).await;
    let (id, node) = (guest.socket.id(), guest.socket.node().clone());
    let rooms = std::collections::BTreeMap::from([(Room::from("lobby"), id)]);
    guest.socket.emit("who", &(id, Room::from(id), &node, &rooms)).expect("it encodes");
    assert_eq!(guest.event().await, format!(r#"["who",["{id}","{id}","{node}",{{"lobby":"{id}"}}]]"#));
}

async fn an_argument_that_was_not_decoded_travels_inside_of_another_value(app: &App) {
    let mut guest = app.guest_in("/verbs-of-a-handler", 1).await;
    let place = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
    let nested = |first, second| format!(r#"{{"a":[1.50,{}],"b":{}}}"#, place(first), place(second));
    let event = format!(r#"452-/verbs-of-a-handler,["wrap",{}]"#, nested(1, 0));
    guest.ws.send(&event).await;
    guest.ws.send_binary(&[10]).await;
    guest.ws.send_binary(&[11, 255]).await;
    let wrapped = format!(r#"{{"from":{},"what":[{},{}]}}"#, place(0), nested(1, 2), nested(3, 4));
    assert_eq!(guest.hears().await, format!(r#"455-/verbs-of-a-handler,["wrapped",{wrapped}]"#));
    for bytes in [&[9][..], &[11, 255], &[10], &[11, 255], &[10]] {
        assert_eq!(guest.ws.packet().await, Received::Binary(bytes.to_vec()));
    }
}

async fn without_a_timeout_an_ack_is_awaited_until_the_client_leaves(app: &App) {
    let mut guest = app.guest_in("/room-verbs-without-end", 2).await;
    let (socket, all) = (guest.socket.clone(), app.of(0, "/room-verbs-without-end"));
    let remote = all.fetch_sockets().await.found.remove(0);
    let here = tokio::spawn(async move { socket.timeout(None).emit_with_ack::<u8, _>("a", &()).await });
    let there = tokio::spawn(async move { remote.timeout(None).emit_with_ack::<u8, _>("b", &()).await });
    let many = all.timeout(None).emit_with_ack::<u8, _>("c", &());
    let many = tokio::spawn(many);
    for _ in 0..3 {
        guest.hears().await;
    }
    // What was given up is not waited for on any node.
    let given_up = all.timeout(None).emit_with_ack::<u8, _>("d", &());
    assert!(tokio::time::timeout(Duration::from_millis(50), given_up).await.is_err());
    drop(guest);
    let gone =
        (within("one", here).await.expect("it ends"), within("the other", there).await.expect("it ends"));
    assert!(matches!(gone, (Err(AckError::Disconnected), Err(AckError::Disconnected))), "{gone:?}");
    let acks = within("all", many).await.expect("it ends").expect("it encodes");
    assert_eq!((acks.replies.len(), acks.missing.len(), acks.missing_nodes.len()), (0, 1, 0));
}

on_one_and_three_nodes! {
    crate::app:
    a_target_is_emitted_to_again_and_reaches_who_is_there_then,
    several_rooms_are_named_joined_and_left_at_once,
    a_socket_is_in_its_own_room_and_in_those_that_it_joined,
    what_is_sent_is_the_event_message,
    acks_of_messages_and_typed_events_come_to_every_handle,
    a_socket_selects_the_others_from_any_node,
    a_namespace_a_target_and_a_socket_disconnect_and_close,
    ids_and_rooms_are_arguments_of_events,
    an_argument_that_was_not_decoded_travels_inside_of_another_value,
    without_a_timeout_an_ack_is_awaited_until_the_client_leaves,
}
