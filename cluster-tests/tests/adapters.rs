//! What Node's adapters are tested for and no other test here says: `docs/parity.md` lists all of their cases. Three
//! nodes, the sockets spread over them.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use cluster_tests::app::{App, Guest, plain};
use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::nodes::Nodes;
use serde_json::json;
use socketmesh::socket::EncodeError;
use socketmesh::{Args, DisconnectReason, Node};

/// One namespace for each test that broadcasts to all its sockets.
const PATHS: [&str; 8] = ["/ids", "/acks", "/large", "/several", "/twice", "/some", "/others", "/except"];

fn app() -> &'static App {
    static APP: OnceLock<App> = OnceLock::new();
    Nodes::shared(&APP, || {
        App::start(3, |seen| {
            PATHS.iter().fold(Node::builder(), |node, path| node.namespace(plain(path, seen)))
        })
    })
}

/// One client on each node.
async fn guests(path: &'static str) -> [Guest; 3] {
    [app().guest_in(path, 0).await, app().guest_in(path, 1).await, app().guest_in(path, 2).await]
}

/// The ids of the sockets in a room, as the `n`th node finds them.
async fn members(n: usize, path: &str, room: &str) -> Vec<String> {
    let sockets = app().of(n, path).to(room).fetch_sockets().await;
    assert!(sockets.missing.is_empty(), "{:?}", sockets.missing);
    let mut ids: Vec<_> = sockets.found.iter().map(|socket| socket.id.to_string()).collect();
    ids.sort_unstable();
    ids
}

fn sorted<const N: usize>(guests: [&Guest; N]) -> Vec<String> {
    let mut ids: Vec<_> = guests.iter().map(|guest| guest.id()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_command_to_a_socket_id_changes_only_that_socket_on_any_node() {
    let all = guests("/ids").await;
    let [ann, bob, cat] = &all;
    // From its own node and from another one.
    for (n, guest) in [(1, bob), (0, cat)] {
        let joined = app().of(n, "/ids").to(guest.id()).join("chosen").await;
        assert!(joined.missing.is_empty());
    }
    assert_eq!(members(0, "/ids", "chosen").await, sorted([bob, cat]));
    app().of(2, "/ids").to(bob.id()).leave("chosen").await;
    assert_eq!(members(1, "/ids", "chosen").await, sorted([cat]));
    app().of(0, "/ids").to(cat.id()).disconnect().await;
    assert_eq!(app().seen.reason(cat.socket.id()).await, DisconnectReason::ServerNamespaceDisconnect);
    assert!(ann.socket.is_connected() && bob.socket.is_connected());
}

#[tokio::test]
async fn one_socket_is_found_by_its_id_from_every_node() {
    let all = guests("/ids").await;
    for n in 0..3 {
        for guest in &all {
            assert_eq!(members(n, "/ids", &guest.id()).await, [guest.id()]);
        }
    }
}

#[tokio::test]
async fn acks_carry_bytes_from_all_nodes() {
    let mut all = guests("/acks").await;
    let asking = app().of(1, "/acks").timeout(Duration::from_secs(10));
    let asking =
        tokio::spawn(
            async move { asking.emit_with_ack::<Bytes, _>("question", &Bytes::from_static(&[9])).await },
        );
    for (answer, guest) in (1..).zip(&mut all) {
        let question = guest.hears().await;
        assert_eq!(guest.ws.packet().await, Received::Binary(vec![9]));
        let id = question.strip_prefix("451-/acks,").and_then(|rest| rest.split_once('[')).map(|(id, _)| id);
        let id = id.unwrap_or_else(|| panic!("a question, not {question}"));
        guest.ws.send(&format!(r#"461-/acks,{id}[{{"_placeholder":true,"num":0}}]"#)).await;
        guest.ws.send_binary(&[answer]).await;
    }
    let acks = within("the acks", asking).await.expect("no panic").expect("it encodes");
    let mut replies: Vec<_> = acks.replies.iter().map(|reply| reply.to_vec()).collect();
    replies.sort_unstable();
    assert_eq!((replies, acks.missing.len()), (vec![vec![1], vec![2], vec![3]], 0));
}

/// Node: "broadcasts to local clients even when publishAndReturnOffset throws".
#[tokio::test]
async fn what_is_too_large_for_other_nodes_is_an_error_and_nobody_gets_it() {
    let mut all = guests("/large").await;
    let namespace = app().of(0, "/large");
    let half = Bytes::from(vec![7; 9 << 20]);
    let large = Args((half.clone(), half.clone()));
    let refused = |outcome: Result<(), EncodeError>| {
        assert!(matches!(outcome, Err(EncodeError::TooLarge { size: 18_000_000.., .. })), "{outcome:?}");
    };
    refused(namespace.emit("large", &large));
    refused(namespace.to(all[0].id()).emit("large", &large));
    refused(namespace.emit_with_ack::<(), _>("large", &large).await.map(drop));
    refused(namespace.update(&large).map(drop));
    refused(namespace.server_side_emit("large", &large));
    refused(namespace.server_side_emit_with_ack::<(), _>("large", &large).await.map(drop));
    let rooms = ["x".repeat(9 << 20), "y".repeat(9 << 20)];
    let own = app().node(0).id().clone();
    assert_eq!(namespace.join(&rooms).await.missing, [own]);
    namespace.emit("small", &()).expect("it encodes");
    for guest in &mut all {
        assert_eq!(guest.event().await, r#"["small"]"#);
        assert_eq!(guest.socket.rooms().len(), 1, "its own");
    }
    namespace.local().emit("large", &large).expect("it goes to no other node");
    assert!(all[0].hears().await.starts_with(r#"452-/large,["large","#));
    for _ in 0..2 {
        assert_eq!(all[0].ws.packet().await, Received::Binary(half.to_vec()));
    }
    let counters = app().node(0).counters();
    let refused = counters.iter().find(|(name, _)| *name == "socketmesh_cluster_messages_oversized_total");
    assert!(refused.is_some_and(|(_, count)| *count == 7), "{refused:?}");
}

#[tokio::test]
async fn a_command_takes_several_rooms_and_each_socket_once() {
    let [ann, bob, cat] = guests("/several").await;
    let namespace = app().of(2, "/several");
    namespace.to(ann.id()).to(bob.id()).to(ann.id()).join(["red", "blue"]).await;
    for room in ["red", "blue"] {
        assert_eq!(members(1, "/several", room).await, sorted([&ann, &bob]));
    }
    app().of(0, "/several").to("red").to("blue").except(bob.id()).leave(["red", "blue"]).await;
    assert_eq!(members(2, "/several", "red").await, sorted([&bob]));
    drop(cat);
}

#[tokio::test]
async fn joining_or_leaving_a_room_twice_has_no_further_effect() {
    let mut all = guests("/twice").await;
    let namespace = app().of(0, "/twice");
    for _ in 0..2 {
        namespace.join("red").await;
    }
    namespace.to("red").emit("once", &()).expect("it encodes");
    for _ in 0..2 {
        namespace.leave("red").await;
    }
    namespace.to("red").emit("never", &()).expect("it encodes");
    namespace.emit("end", &()).expect("it encodes");
    for guest in &mut all {
        assert_eq!([guest.event().await, guest.event().await], [r#"["once"]"#, r#"["end"]"#]);
        assert_eq!(guest.socket.rooms().len(), 1, "its own");
    }
}

#[tokio::test]
async fn rooms_of_different_namespaces_are_independent() {
    let ([ann, ..], [_, mut bob, _]) = (guests("/some").await, guests("/others").await);
    ann.socket.join("same").await.expect("connected");
    bob.socket.join("same").await.expect("connected");
    assert_eq!(members(2, "/some", "same").await, sorted([&ann]));
    app().of(2, "/some").to("same").emit("for ann", &()).expect("it encodes");
    app().of(2, "/others").to("same").emit("for bob", &json!(1)).expect("it encodes");
    assert_eq!(bob.event().await, r#"["for bob",1]"#);
}

#[tokio::test]
async fn except_applies_to_every_room_and_every_node() {
    let mut all = guests("/except").await;
    for (room, n) in [("red", 0), ("red", 1), ("blue", 1), ("blue", 2), ("mute", 1)] {
        all[n].socket.join(room).await.expect("connected");
    }
    for n in 0..3 {
        let target = app().of(n, "/except").to("red").to("blue").except("mute").except(all[2].id());
        target.emit("said", &n).expect("it encodes");
        app().of(n, "/except").emit("end", &n).expect("it encodes");
        assert_eq!(all[0].event().await, format!(r#"["said",{n}]"#));
        for guest in &mut all {
            assert_eq!(guest.event().await, format!(r#"["end",{n}]"#));
        }
    }
}
