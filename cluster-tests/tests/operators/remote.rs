//! Operations on one fetched socket.

use std::time::Duration;

use cluster_tests::deadline::within;
use socketmesh::AckError;

use crate::nodes::{names, three_with_clients};

#[tokio::test]
async fn a_fetched_socket_is_reached_wherever_it_is() {
    let ([a, _b, c], [_ann, mut bob, _cat]) = three_with_clients().await;
    let socket = a.all().to(&bob.id).fetch_sockets().await.found.remove(0);
    socket.emit("hi", &1).unwrap();
    assert_eq!(bob.packet().await, r#"42["hi",1]"#);
    let asking = tokio::spawn({
        let socket = socket.clone();
        async move { socket.emit_with_ack::<String, _>("ping", &()).await }
    });
    bob.acknowledges("ping", r#""pong""#).await;
    assert_eq!(asking.await.unwrap().unwrap(), "pong");
    assert!(socket.join("red").await.missing.is_empty());
    assert_eq!(names(&c.all().to("red").fetch_sockets().await), ["bob"]);
    socket.leave("red").await;
    assert!(names(&c.all().to("red").fetch_sockets().await).is_empty());
    socket.disconnect().await;
    assert_eq!(bob.packet().await, "41");
}

#[tokio::test]
async fn a_failed_ack_of_a_fetched_socket_has_a_reason() {
    let ([a, ..], [_ann, mut bob, _cat]) = three_with_clients().await;
    let socket = a.all().to(&bob.id).fetch_sockets().await.found.remove(0);
    let silent = socket.timeout(Duration::from_millis(100)).emit_with_ack::<u8, _>("ping", &()).await;
    assert!(matches!(silent, Err(AckError::Timeout)), "{silent:?}");
    bob.asked("ping").await;
    let asking = tokio::spawn({
        let socket = socket.clone();
        async move { socket.emit_with_ack::<u8, _>("ping", &()).await }
    });
    bob.acknowledges("ping", r#""no number""#).await;
    let odd = asking.await.unwrap();
    assert!(matches!(odd, Err(AckError::Decode(_))), "{odd:?}");
    socket.disconnect().await;
    let gone = within("an answer", socket.emit_with_ack::<u8, _>("ping", &())).await;
    assert!(matches!(gone, Err(AckError::Disconnected)), "{gone:?}");
}
