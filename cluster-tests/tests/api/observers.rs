//! Observers of outgoing events and of rooms.

use std::sync::Arc;

use bytes::Bytes;
use cluster_tests::app::{App, Guest, Seen};
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{Args, Namespace, NamespaceRef, RawArgs, RoomEvent, Socket, namespace};

pub(crate) fn described(seen: &Arc<Seen>) -> Namespace {
    let [connected, outgoing, again, rooms] = [(); 4].map(|()| Arc::clone(seen));
    namespace("/observed")
        .on_connect(async move |socket: Socket| {
            socket.emit("welcome", &())?;
            connected.connected.note(socket);
            Ok(())
        })
        .on("ask me", async |socket: Socket, ()| Ok(socket.emit_with_ack::<u8, _>("number", &()).await?))
        .on_any_outgoing(async move |socket: Socket, event: String, args: RawArgs| {
            assert!(event != "panic", "an observer of the tests panics");
            if let Some(gate) = event.strip_prefix("gate ") {
                outgoing.gate(gate).await;
            }
            let attachments = args.attachments().len();
            outgoing.handled.note((socket.id(), format!("{event} [{}] {attachments}", args.json())));
        })
        .on_any_outgoing(async move |socket: Socket, event: String, _: RawArgs| {
            again.handled.note((socket.id(), format!("again {event}")));
        })
        .on_room(move |of: NamespaceRef, event: RoomEvent| {
            assert!(*event.room() != "panic at once", "an observer of the tests panics");
            async move {
                assert!(*event.room() != "panic", "an observer of the tests panics");
                assert_eq!(of.path(), "/observed");
                rooms.open(told(&event));
            }
        })
}

fn told(event: &RoomEvent) -> String {
    match event {
        RoomEvent::Created { room } => format!("created {room}"),
        RoomEvent::Joined { room, socket } => format!("{socket} joined {room}"),
        RoomEvent::Left { room, socket } => format!("{socket} left {room}"),
        RoomEvent::Deleted { room } => format!("deleted {room}"),
    }
}

async fn guest(app: &App, n: usize) -> Guest {
    let mut guest = app.guest_in("/observed", n).await;
    assert_eq!(guest.event().await, r#"["welcome"]"#);
    guest
}

/// Waits until this was seen to be sent to a client; returns everything that was until then.
async fn sent_until(app: &App, guest: &Guest, last: &str) -> Vec<String> {
    let id = guest.socket.id();
    app.seen.handled.find(last, |(of, what)| (*of == id && what == last).then_some(())).await;
    app.seen.handled_of(id).into_iter().filter(|what| !what.starts_with("again ")).collect()
}

/// The room events so far whose room name or member id contains this.
async fn rooms_until(app: &App, about: &str, last: &str) -> Vec<String> {
    app.seen.gates.find(last, |told| (told == last).then_some(())).await;
    app.seen.gates.all(|told| told.contains(about).then(|| told.clone()))
}

async fn every_event_to_a_client_is_observed_on_its_node(app: &App) {
    let mut guest = guest(app, 1).await;
    let room = format!("room-{}", guest.id());
    guest.socket.join(&room).await.expect("connected");
    guest.socket.emit("direct", &Args((1, "two"))).expect("it encodes");
    guest.socket.emit("binary", &Bytes::from_static(b"abc")).expect("it encodes");
    assert_eq!(guest.event().await, r#"["direct",1,"two"]"#);
    guest.ws.packet().await;
    guest.ws.packet().await;
    // One node after another: between nodes there is no order.
    for n in 0..3 {
        app.of(n, "/observed").to(&room).emit("broadcast", &n).expect("it encodes");
        assert_eq!(guest.event().await, format!(r#"["broadcast",{n}]"#));
    }
    guest.emit(r#"["ask me"]"#).await;
    let question = guest.event().await;
    let (id, _) = question.split_once('[').expect("an id");
    guest.ws.send(&format!("43/observed,{id}[7]")).await;
    let asking = app.of(2, "/observed").to(&room).emit_with_ack::<u8, _>("many", &());
    let answering = async {
        let question = guest.event().await;
        let (id, _) = question.split_once('[').expect("an id");
        guest.ws.send(&format!("43/observed,{id}[8]")).await;
    };
    let (acks, ()) = tokio::join!(asking, answering);
    assert_eq!(acks.expect("it encodes").replies, [8]);
    guest.socket.emit("last", &()).expect("it encodes");
    let expected = [
        "welcome [] 0",
        r#"direct [1,"two"] 0"#,
        r#"binary [{"_placeholder":true,"num":0}] 1"#,
        "broadcast [0] 0",
        "broadcast [1] 0",
        "broadcast [2] 0",
        "number [] 0",
        "many [] 0",
        "last [] 0",
    ];
    assert_eq!(sent_until(app, &guest, "last [] 0").await, expected);
    let again = |(of, what): &(_, String)| (*of == guest.socket.id() && what == "again last").then_some(());
    app.seen.handled.find("the second observer", again).await;
}

async fn a_broadcast_is_observed_once_for_each_client_it_reaches(app: &App) {
    let guests = [guest(app, 0).await, guest(app, 1).await, guest(app, 2).await];
    let room = format!("room-{}", guests[0].id());
    for guest in &guests[..2] {
        guest.socket.join(&room).await.expect("connected");
    }
    guests[0].socket.to(&room).emit("to one", &()).expect("it encodes");
    for (guest, reached) in guests.iter().zip([false, true, false]) {
        app.of(0, "/observed").to(guest.id()).emit("last", &()).expect("it encodes");
        let sent = sent_until(app, guest, "last [] 0").await;
        assert_eq!(sent.iter().any(|sent| sent == "to one [] 0"), reached, "{sent:?}");
    }
}

async fn an_observer_delays_nothing_and_may_panic(app: &App) {
    let mut guest = guest(app, 2).await;
    let gate = format!("outgoing-{}", guest.id());
    guest.socket.emit(&format!("gate {gate}"), &()).expect("it encodes");
    guest.socket.emit("panic", &()).expect("it encodes");
    guest.socket.emit("behind", &()).expect("it encodes");
    for _ in 0..3 {
        guest.event().await;
    }
    let id = guest.socket.id();
    assert!(!app.seen.handled_of(id).iter().any(|what| what.starts_with("behind")));
    app.seen.open(&gate);
    let sent = sent_until(app, &guest, "behind [] 0").await;
    assert_eq!(sent, ["welcome [] 0".to_owned(), format!("gate {gate} [] 0"), "behind [] 0".to_owned()]);
}

async fn rooms_are_created_before_a_join_and_deleted_after_a_leave(app: &App) {
    let (first, second) = (guest(app, 1).await, guest(app, 1).await);
    let (one, two) = (first.id(), second.id());
    let room = format!("room-{one}");
    for socket in [&first.socket, &second.socket, &first.socket] {
        socket.join(&room).await.expect("connected");
    }
    second.socket.leave(&room);
    second.socket.leave(&room);
    assert!(app.of(0, "/observed").to(&one).leave(&room).await.missing.is_empty());
    first.socket.join("panic").await.expect("connected");
    first.socket.join("panic at once").await.expect("connected");
    first.socket.join(&room).await.expect("connected");
    first.socket.disconnect();
    app.seen.gates.find("its own room to be deleted", |told| told.ends_with(&one).then_some(())).await;
    let last = format!("deleted {room}");
    rooms_until(app, &room, &last).await;
    let goodbye = format!("{one} left {room}");
    let again = |told: &String| (*told == goodbye).then_some(());
    app.seen.gates.find("a leave", again).await;
    let twice = || app.seen.gates.all(|told| (*told == last).then_some(())).len();
    cluster_tests::deadline::within("the second end of the room", async {
        while twice() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let of_the_room = app.seen.gates.all(|told| told.ends_with(&room).then(|| told.clone()));
    let expected = [
        format!("created {room}"),
        format!("{one} joined {room}"),
        format!("{two} joined {room}"),
        format!("{two} left {room}"),
        format!("{one} left {room}"),
        format!("deleted {room}"),
        format!("created {room}"),
        format!("{one} joined {room}"),
        format!("{one} left {room}"),
        format!("deleted {room}"),
    ];
    assert_eq!(of_the_room, expected);
}

async fn a_socket_is_in_its_own_room_while_it_is_connected(app: &App) {
    let guest = guest(app, 2).await;
    let id = guest.id();
    guest.socket.join(&id).await.expect("connected");
    guest.socket.leave(&id);
    guest.socket.disconnect();
    let told = rooms_until(app, &id, &format!("deleted {id}")).await;
    let expected = [
        format!("created {id}"),
        format!("{id} joined {id}"),
        format!("{id} left {id}"),
        format!("deleted {id}"),
    ];
    assert_eq!(told, expected);
}

on_one_and_three_nodes! {
    crate::app:
    every_event_to_a_client_is_observed_on_its_node,
    a_broadcast_is_observed_once_for_each_client_it_reaches,
    an_observer_delays_nothing_and_may_panic,
    rooms_are_created_before_a_join_and_deleted_after_a_leave,
    a_socket_is_in_its_own_room_while_it_is_connected,
}
