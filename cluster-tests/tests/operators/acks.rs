//! Acks of the sockets of all nodes: `emit_with_ack`.

use std::time::Duration;

use cluster_tests::deadline::{DEADLINE, within};
use socketmesh::socket::MissingAck;

use crate::nodes::{sorted, three, three_with_clients};

#[tokio::test]
async fn acks_come_from_all_nodes() {
    let ([_a, b, _c], clients) = three_with_clients().await;
    let answering = clients.into_iter().zip(1..).map(|(mut client, n)| {
        tokio::spawn(async move {
            client.acknowledges("ping", &format!("{n},\"ignored\"")).await;
            client
        })
    });
    let answering: Vec<_> = answering.collect();
    let acks = b.all().timeout(DEADLINE).emit_with_ack::<i32, _>("ping", &"x").await.unwrap();
    assert_eq!(sorted(acks.replies), [1, 2, 3]);
    assert_eq!((acks.missing.len(), acks.missing_nodes.len()), (0, 0));
    for answered in answering {
        answered.await.unwrap();
    }
}

#[tokio::test]
async fn all_sockets_of_a_node_are_asked_under_one_id() {
    let [a, b, _c] = three().await;
    let mut clients = [b.connect("1").await, b.connect("2").await, b.connect("3").await];
    let asking = tokio::spawn({
        let all = a.all();
        async move { all.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    let mut ids = Vec::new();
    for client in &mut clients {
        ids.push(client.asked("ping").await);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    for (client, n) in clients.iter_mut().zip(1..) {
        // The second ack is ignored.
        client.ws.send(&format!("43{}[{n}]", ids[0])).await;
        client.ws.send(&format!("43{}[100]", ids[0])).await;
    }
    let acks = asking.await.unwrap();
    assert_eq!((sorted(acks.replies), acks.missing.len()), (vec![1, 2, 3], 0));
}

#[tokio::test]
async fn an_emit_to_no_sockets_returns_at_once() {
    let ([a, ..], _clients) = three_with_clients().await;
    let target = a.all().to("nowhere").timeout(Duration::from_secs(3600));
    let acks = within("no acks", target.emit_with_ack::<i32, _>("ping", &())).await.unwrap();
    assert_eq!((acks.replies.len(), acks.missing.len(), acks.missing_nodes.len()), (0, 0, 0));
}

#[tokio::test]
async fn missing_acks_are_named_and_the_others_returned() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_secs(6));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    let (late_here, late_there) = (ann.asked("ping").await, cat.asked("ping").await);
    let acks = asking.await.unwrap();
    let missing = sorted([(ann.id.clone(), "a".to_owned()), (cat.id.clone(), "c".to_owned())]);
    assert_eq!((acks.replies, who(&acks.missing)), (vec![2], missing));
    assert!(acks.missing_nodes.is_empty(), "every node named those it asked: {:?}", acks.missing_nodes);
    // Late acks are ignored, and the connections stay.
    ann.ws.send(&format!("43{late_here}[1]")).await;
    cat.ws.send(&format!("43{late_there}[3]")).await;
    assert_eq!(ann.calls("who else", "null").await, "[2]");
    assert_eq!(cat.calls("who else", "null").await, "[2]");
}

#[tokio::test]
async fn of_many_sockets_on_another_node_those_that_did_not_answer_are_named() {
    let [a, b, _c] = three().await;
    let mut clients = Vec::new();
    for n in 0..30 {
        clients.push(b.connect(&n.to_string()).await);
    }
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_secs(6));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    let mut silent = Vec::new();
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 3 == 0 {
            client.asked("ping").await;
            silent.push((client.id.clone(), "b".to_owned()));
        } else {
            client.acknowledges("ping", "1").await;
        }
    }
    let acks = asking.await.unwrap();
    assert_eq!((acks.replies.len(), who(&acks.missing)), (20, sorted(silent)));
}

/// Each node answers a bounded number of requests at once. One without a timeout that nobody waits for must not stay among
/// them.
#[tokio::test]
async fn acks_that_nobody_waits_for_any_more_take_no_room_on_other_nodes() {
    let ([a, ..], [_ann, mut bob, _cat]) = three_with_clients().await;
    let to_bob = a.all().to(&bob.id);
    for _ in 0..1100 {
        let asking = tokio::spawn(to_bob.clone().timeout(None).emit_with_ack::<i32, _>("ping", &()));
        bob.asked("ping").await;
        asking.abort();
    }
    let counted = to_bob.count().await;
    assert_eq!((counted.sockets, counted.missing.len()), (1, 0));
}

#[tokio::test]
async fn a_socket_that_leaves_is_not_waited_for() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_secs(3600));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    ann.acknowledges("ping", "1").await;
    bob.asked("ping").await;
    bob.ws.send("41").await;
    cat.asked("ping").await;
    let left = cat.id.clone();
    drop(cat);
    let acks = within("the acks", asking).await.unwrap();
    let missing = sorted([(bob.id.clone(), "b".to_owned()), (left, "c".to_owned())]);
    assert_eq!((acks.replies, who(&acks.missing)), (vec![1], missing));
    assert!(acks.missing_nodes.is_empty());
}

#[tokio::test]
async fn a_local_emit_waits_for_the_sockets_here() {
    let ([_a, b, _c], [ann, mut bob, cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let target = b.all().local();
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    assert_eq!(asking.await.unwrap().replies, [2]);
    b.all().emit("end", &()).unwrap();
    for mut client in [ann, cat] {
        assert_eq!(client.packet().await, r#"42["end"]"#, "and nothing before it");
    }
}

#[tokio::test]
async fn a_socket_in_two_of_the_rooms_is_asked_once() {
    let ([a, ..], [_ann, mut bob, _cat]) = three_with_clients().await;
    bob.joins("red").await;
    bob.joins("blue").await;
    let asking = tokio::spawn({
        let target = a.all().to("red").to("blue").to(&bob.id);
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    assert_eq!(asking.await.unwrap().replies, [2]);
    a.all().emit("end", &()).unwrap();
    assert_eq!(bob.packet().await, r#"42["end"]"#);
}

#[tokio::test]
async fn an_ack_of_another_type_counts_as_missing() {
    let ([a, ..], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let all = a.all();
        async move { all.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    ann.acknowledges("ping", "1").await;
    bob.acknowledges("ping", r#""two""#).await;
    cat.acknowledges("ping", "").await;
    let acks = asking.await.unwrap();
    let missing = sorted([(bob.id.clone(), "b".to_owned()), (cat.id.clone(), "c".to_owned())]);
    assert_eq!((acks.replies, who(&acks.missing)), (vec![1], missing));
}

#[tokio::test]
async fn an_unencodable_event_is_sent_to_nobody() {
    let ([a, ..], mut clients) = three_with_clients().await;
    assert!(a.all().emit_with_ack::<i32, _>("disconnect", &()).await.is_err(), "a reserved name");
    a.all().emit("end", &()).unwrap();
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["end"]"#);
    }
}

#[tokio::test]
async fn an_emit_with_ack_keeps_its_place_among_emits() {
    let ([a, ..], mut clients) = three_with_clients().await;
    let asking = tokio::spawn({
        let all = a.all();
        async move {
            all.emit("before", &()).unwrap();
            let acks = all.emit_with_ack::<i32, _>("ping", &()).await.unwrap();
            all.emit("behind", &()).unwrap();
            acks
        }
    });
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["before"]"#);
        client.acknowledges("ping", "1").await;
    }
    assert_eq!(asking.await.unwrap().replies, [1, 1, 1]);
    for client in &mut clients {
        assert_eq!(client.packet().await, r#"42["behind"]"#);
    }
}

/// The ids of the sockets that did not answer, and their nodes.
fn who(missing: &[MissingAck]) -> Vec<(String, String)> {
    sorted(missing.iter().map(|owed| (owed.socket.to_string(), owed.node.to_string())))
}
