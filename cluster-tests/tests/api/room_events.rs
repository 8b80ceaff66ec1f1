//! Rooms that clients join by themselves.

use std::sync::Arc;

use cluster_tests::app::{App, Seen, with_plain_handlers};
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{EventError, Namespace, Socket, namespace};

pub(crate) fn described(seen: &Arc<Seen>) -> Namespace {
    let may = async |_: Socket, room: String| match room.split('-').next() {
        Some("open") => Ok(true),
        Some("broken") => Err(EventError::new("broken", "on purpose")),
        // An application that lets everything pass that looks like an id.
        _ => Ok(room.len() == A_NAME.len()),
    };
    with_plain_handlers(namespace("/boards"), seen).room_events("watch", "unwatch", may)
}

/// It has the form of a socket id.
const A_NAME: &str = "project-alpha-review";
const FORBIDDEN: &str = r#"[{"error":{"code":"forbidden","message":"this room is not for this client"}}]"#;

async fn a_client_joins_and_leaves_the_rooms_that_it_may_be_in(app: &App) {
    let mut guest = app.guest_in("/boards", 1).await;
    let room = format!("open-{}", guest.id());
    assert_eq!(guest.ask(&format!(r#"["watch","{room}"]"#)).await, "[]");
    app.of(2, "/boards").to(&room).emit("said", &1).expect("it encodes");
    assert_eq!(guest.event().await, r#"["said",1]"#);
    assert_eq!(guest.ask(&format!(r#"["unwatch","{room}"]"#)).await, "[]");
    assert_eq!(guest.socket.rooms(), [guest.id()]);
}

async fn a_client_joins_no_other_room(app: &App) {
    let mut guest = app.guest_in("/boards", 1).await;
    let another = app.guest_in("/boards", 0).await;
    let long = format!("open-{}", "x".repeat(252));
    for room in ["secret", &another.id(), &guest.id(), &long] {
        assert_eq!(guest.ask(&format!(r#"["watch","{room}"]"#)).await, FORBIDDEN, "{room}");
    }
    let broken = r#"[{"error":{"code":"broken","message":"on purpose"}}]"#;
    assert_eq!(guest.ask(r#"["watch","broken"]"#).await, broken);
    assert_eq!(guest.socket.rooms(), [guest.id()]);
    // A room that the application chose for it is not left either.
    guest.socket.join("secret").await.expect("connected");
    assert_eq!(guest.ask(r#"["unwatch","secret"]"#).await, FORBIDDEN);
    assert_eq!(guest.socket.rooms(), [guest.id().as_str(), "secret"]);
}

async fn a_room_whose_name_looks_like_a_socket_id_is_one_as_any_other(app: &App) {
    let (mut guest, mut other) = (app.guest_in("/boards", 1).await, app.guest_in("/boards", 2).await);
    for guest in [&mut guest, &mut other] {
        assert_eq!(guest.ask(&format!(r#"["watch","{A_NAME}"]"#)).await, "[]");
    }
    app.of(0, "/boards").to(A_NAME).emit("said", &1).expect("it encodes");
    assert_eq!(guest.event().await, r#"["said",1]"#);
    assert_eq!(guest.ask(&format!(r#"["unwatch","{A_NAME}"]"#)).await, "[]");
    app.of(0, "/boards").to(A_NAME).emit("said", &2).expect("it encodes");
    assert_eq!([other.event().await, other.event().await], [r#"["said",1]"#, r#"["said",2]"#]);
    assert_eq!(guest.socket.rooms(), [guest.id()]);
}

async fn a_client_is_in_a_thousand_rooms_at_most(app: &App) {
    let mut guest = app.guest_in("/boards", 2).await;
    let room = |n: usize| format!("open-{}-{n}", guest.id());
    let (first, last) = (room(0), room(1000));
    for n in 0..1000 {
        drop(guest.socket.join(room(n)));
    }
    let refused = guest.ask(&format!(r#"["watch","{last}"]"#)).await;
    assert_eq!(refused, r#"[{"error":{"code":"too_many_rooms","message":"this client is in 1000 rooms"}}]"#);
    assert_eq!(guest.ask(&format!(r#"["watch","{first}"]"#)).await, "[]", "it is there already");
    assert_eq!(guest.ask(&format!(r#"["unwatch","{first}"]"#)).await, "[]");
    assert_eq!(guest.ask(&format!(r#"["watch","{last}"]"#)).await, "[]");
}

on_one_and_three_nodes! {
    crate::app:
    a_client_joins_and_leaves_the_rooms_that_it_may_be_in,
    a_client_joins_no_other_room,
    a_room_whose_name_looks_like_a_socket_id_is_one_as_any_other,
    a_client_is_in_a_thousand_rooms_at_most,
}
