//! Sockets and rooms of all nodes: `fetch_sockets`, `count`, `all_rooms`.

use serde_json::json;
use socketmesh::Sockets;

use crate::nodes::{Client, names, sorted, three, three_with_clients};

#[tokio::test]
async fn fetching_finds_the_sockets_of_all_nodes_each_once() {
    let (servers, _clients) = three_with_clients().await;
    for server in &servers {
        assert_eq!(names(&server.all().fetch_sockets().await), ["ann", "bob", "cat"]);
    }
}

#[tokio::test]
async fn a_fetched_socket_is_described_alike_from_every_node() {
    let ([a, b, _c], [ann, mut bob, _cat]) = three_with_clients().await;
    bob.joins("red").await;
    let here = b.all().to("red").with_handshake().fetch_sockets().await.found.remove(0);
    let there = a.all().to("red").with_handshake().fetch_sockets().await.found.remove(0);
    for socket in [&here, &there] {
        assert_eq!((socket.id.to_string(), socket.node.as_str()), (bob.id.clone(), "b"));
        assert_eq!(socket.rooms, [bob.id.as_str(), "red"]);
        assert!(socket.is_in("red") && socket.is_in(socket.id) && !socket.is_in("blue"));
        assert_eq!(socket.data, json!({ "name": "bob", "padding": "" }));
        let handshake = socket.handshake.as_ref().expect("it was asked for");
        assert_eq!(handshake.query_value("tag"), Some("x"));
        assert_eq!(handshake.header("upgrade"), Some("websocket"));
        assert_eq!(handshake.auth, json!({ "name": "bob" }));
        assert!(handshake.address.is_some() && !handshake.secure);
    }
    assert_eq!(here.handshake, there.handshake);
    drop(ann);
}

#[tokio::test]
async fn a_handshake_is_told_only_where_it_is_asked_for() {
    let ([a, ..], _clients) = three_with_clients().await;
    let handshakes = |sockets: Sockets| sockets.found.iter().filter(|it| it.handshake.is_some()).count();
    assert_eq!(handshakes(a.all().fetch_sockets().await), 0);
    assert_eq!(handshakes(a.all().with_handshake().fetch_sockets().await), 3);
    assert_eq!(handshakes(a.all().local().fetch_sockets().await), 0);
    assert_eq!(handshakes(a.all().local().with_handshake().fetch_sockets().await), 1);
}

#[tokio::test]
async fn counting_takes_the_union_of_rooms_minus_the_excepted() {
    let ([a, b, c], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    ann.joins("red").await;
    bob.joins("red").await;
    bob.joins("blue").await;
    cat.joins("blue").await;
    for server in [&a, &b, &c] {
        let all = server.all();
        for (counted, expected) in [
            (all.count().await, 3),
            (all.to("red").count().await, 2),
            (all.to("red").to("blue").count().await, 3),
            (all.to("red").to("blue").except("blue").count().await, 1),
            (all.except("red").count().await, 1),
            (all.to(&bob.id).count().await, 1),
            (all.to("green").count().await, 0),
            (all.local().count().await, 1),
        ] {
            assert_eq!((counted.sockets, counted.missing.len()), (expected, 0));
        }
    }
}

#[tokio::test]
async fn a_count_sees_what_its_node_did_before() {
    let ([a, ..], [_ann, bob, cat]) = three_with_clients().await;
    for round in 1..=20 {
        let room = format!("room-{round}");
        drop(a.all().to(&bob.id).to(&cat.id).join(&room));
        assert_eq!(a.all().to(&room).count().await.sockets, 2);
        drop(a.all().to(&cat.id).leave(&room));
        assert_eq!(a.all().to(&room).count().await.sockets, 1);
    }
}

#[tokio::test]
async fn fetching_takes_the_union_of_rooms_minus_the_excepted() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    ann.joins("red").await;
    bob.joins("red").await;
    bob.joins("blue").await;
    cat.joins("blue").await;
    let all = a.all();
    assert_eq!(names(&all.to("red").to("blue").fetch_sockets().await), ["ann", "bob", "cat"]);
    assert_eq!(names(&all.to("red").to("blue").except("blue").fetch_sockets().await), ["ann"]);
    assert_eq!(names(&all.except("red").fetch_sockets().await), ["cat"]);
    assert_eq!(names(&all.to(&bob.id).fetch_sockets().await), ["bob"], "by its own room");
    assert!(names(&all.to("green").fetch_sockets().await).is_empty());
    assert_eq!(ann.calls("who else", "null").await, "[2]", "a socket does not find itself");
}

#[tokio::test]
async fn a_local_fetch_sends_no_request() {
    let ([a, b, _c], _clients) = three_with_clients().await;
    assert_eq!(names(&a.all().local().fetch_sockets().await), ["ann"]);
    assert_eq!(names(&b.all().local().fetch_sockets().await), ["bob"]);
}

#[tokio::test]
async fn a_response_of_any_size_arrives_whole() {
    let [a, b, _c] = three().await;
    let mut clients = Vec::new();
    for n in 0..12 {
        let auth = json!({ "name": format!("{n:02}"), "padding": 300_000 });
        clients.push(Client::connect(b.http, "", &auth).await);
    }
    let sockets = a.all().fetch_sockets().await;
    assert_eq!(names(&sockets).len(), 12);
    let whole =
        |socket: &socketmesh::RemoteSocket| socket.data["padding"].as_str().map(str::len) == Some(300_000);
    assert!(sockets.found.iter().all(whole));
}

#[tokio::test]
async fn the_rooms_of_all_nodes_are_listed_once() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    ann.joins("red").await;
    bob.joins("red").await;
    bob.joins("blue").await;
    cat.joins("green").await;
    let rooms = a.all().all_rooms().await;
    let with = |own: &[&Client], joined: &[&str]| {
        let joined = joined.iter().copied().map(str::to_owned);
        sorted(own.iter().map(|client| client.id.clone()).chain(joined))
    };
    assert_eq!(rooms.found, with(&[&ann, &bob, &cat], &["blue", "green", "red"]));
    assert!(rooms.missing.is_empty());
    assert_eq!(a.all().local().all_rooms().await.found, with(&[&ann], &["red"]));
    let of_members = a.all().to("red").all_rooms().await.found;
    assert_eq!(of_members, with(&[&ann, &bob], &["blue", "red"]), "of its members");
}

#[tokio::test]
async fn a_node_that_does_not_serve_a_namespace_has_no_sockets_in_it() {
    let [a, b, c] = three().await;
    let mut client = Client::connect(a.http, "/only-a,", &json!({})).await;
    for server in [&a, &b, &c] {
        let sockets = server.node.of("/only-a").fetch_sockets().await;
        assert_eq!((sockets.found.len(), sockets.missing.len()), (1, 0));
        assert_eq!(server.node.of("/only-a").count().await.sockets, 1);
    }
    let asking = tokio::spawn({
        let target = c.node.of("/only-a");
        async move { target.emit_with_ack::<u8, _>("ping", &()).await }
    });
    let packet = client.packet().await;
    let id = packet.trim_start_matches("42/only-a,").trim_end_matches(r#"["ping"]"#);
    client.ws.send(&format!("43/only-a,{id}[7]")).await;
    let acks = asking.await.unwrap().unwrap();
    assert_eq!((acks.replies, acks.missing.len(), acks.missing_nodes.len()), (vec![7], 0, 0));
}
