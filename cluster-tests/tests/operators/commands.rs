//! Commands to sockets of all nodes: `join`, `leave`, `disconnect`, `close`.

use cluster_tests::messages::{Messages, Received};

use crate::nodes::{names, three_with_clients};

#[tokio::test]
async fn an_emit_right_after_a_join_reaches_the_new_members() {
    let ([a, ..], mut clients) = three_with_clients().await;
    for round in 0..50 {
        let room = format!("room-{round}");
        a.all().to(&room).emit("too early", &round).unwrap();
        a.all().join(&room);
        a.all().to(&room).emit("in time", &round).unwrap();
        for client in &mut clients {
            assert_eq!(client.packet().await, format!(r#"42["in time",{round}]"#));
        }
    }
}

#[tokio::test]
async fn emits_before_and_behind_a_join_and_a_leave_arrive_in_order() {
    let ([a, ..], mut clients) = three_with_clients().await;
    for round in 0..20 {
        a.all().emit("first", &round).unwrap();
        a.all().join(["red", "blue"]);
        a.all().to("red").to("blue").emit("second", &round).unwrap();
        a.all().to("red").leave("red");
        a.all().to("red").emit("to nobody", &round).unwrap();
        a.all().to("blue").emit("third", &round).unwrap();
        a.all().leave("blue");
        a.all().to("blue").emit("to nobody", &round).unwrap();
    }
    for client in &mut clients {
        for round in 0..20 {
            for event in ["first", "second", "third"] {
                assert_eq!(client.packet().await, format!(r#"42["{event}",{round}]"#));
            }
        }
    }
}

#[tokio::test]
async fn an_awaited_join_applies_to_the_emits_of_every_node() {
    let ([a, b, c], mut clients) = three_with_clients().await;
    for round in 0..20 {
        let room = format!("room-{round}");
        let applied = a.all().join(&room).await;
        assert!(applied.missing.is_empty(), "{:?}", applied.missing);
        let emitter = if round % 2 == 0 { &b } else { &c };
        emitter.all().to(&room).emit("hi", &round).unwrap();
        for client in &mut clients {
            assert_eq!(client.packet().await, format!(r#"42["hi",{round}]"#));
        }
    }
}

#[tokio::test]
async fn a_join_selects_by_room_and_except() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    for client in [&mut ann, &mut bob, &mut cat] {
        client.joins("red").await;
    }
    cat.joins("muted").await;
    a.all().to("red").except("muted").join("blue");
    assert_eq!(names(&a.all().to("blue").fetch_sockets().await), ["ann", "bob"], "the ask sees the join");
}

#[tokio::test]
async fn a_local_join_changes_only_local_sockets() {
    let ([a, b, _c], [ann, ..]) = three_with_clients().await;
    assert!(a.all().local().join("here").await.missing.is_empty());
    assert_eq!(names(&b.all().to("here").fetch_sockets().await), ["ann"]);
    a.all().local().leave("here");
    assert_eq!(a.all().local().all_rooms().await.found, [ann.id.as_str()], "at once");
}

#[tokio::test]
async fn a_disconnect_follows_the_emits_before_it() {
    let ([a, ..], mut clients) = three_with_clients().await;
    a.all().emit("last words", &()).unwrap();
    a.all().disconnect();
    a.all().emit("too late", &()).unwrap();
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["last words"]"#);
        assert_eq!(client.packet().await, "41");
        client.ws.send("40").await;
        assert!(client.packet().await.starts_with("40{"), "the connection stays");
    }
}

#[tokio::test]
async fn a_disconnect_with_close_follows_the_emits_before_it() {
    let ([a, ..], mut clients) = three_with_clients().await;
    a.all().emit("last words", &()).unwrap();
    a.all().close();
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["last words"]"#);
        assert_eq!(client.packet().await, "41");
        while !matches!(client.ws.packet().await, Received::Closed(_)) {}
    }
}

#[tokio::test]
async fn only_the_selected_are_disconnected() {
    let ([a, b, _c], [_ann, mut bob, mut cat]) = three_with_clients().await;
    bob.joins("red").await;
    cat.joins("red").await;
    assert!(a.all().to("red").except(&cat.id).disconnect().await.missing.is_empty());
    assert_eq!(bob.packet().await, "41");
    assert_eq!(names(&b.all().fetch_sockets().await), ["ann", "cat"]);
}
