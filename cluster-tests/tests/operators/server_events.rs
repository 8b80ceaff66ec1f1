//! Events from node to node: `server_side_emit`.

use std::time::Duration;

use bytes::Bytes;
use cluster_tests::deadline::in_time;
use serde_json::json;
use tokio::time::Instant;

use crate::nodes::three;

#[tokio::test]
async fn a_server_event_reaches_every_other_node_in_order() {
    let [mut a, mut b, mut c] = three().await;
    for n in 0..20 {
        a.all().server_side_emit("log", &json!({ "n": n })).unwrap();
    }
    for server in [&mut b, &mut c] {
        for n in 0..20 {
            assert_eq!(server.hears().await, json!({ "n": n }));
        }
    }
    assert!(a.has_heard_nothing(), "never to self");
}

#[tokio::test]
async fn the_responses_to_a_server_event_come_from_every_other_node() {
    let [a, b, _c] = three().await;
    for (server, others) in [(&a, ["b", "c"]), (&b, ["a", "c"])] {
        let answers = server.all().server_side_emit_with_ack::<String, _>("name", &()).await.unwrap();
        let mut replies: Vec<_> =
            answers.replies.iter().map(|(node, said)| (node.as_str(), said.as_str())).collect();
        replies.sort_unstable();
        assert_eq!(replies, others.map(|name| (name, name)));
        assert!(answers.missing.is_empty());
    }
}

#[tokio::test]
async fn a_server_event_carries_bytes_both_ways() {
    let [a, ..] = three().await;
    let bytes = Bytes::from(vec![0xff; 2000]);
    let answers = a.all().server_side_emit_with_ack::<Bytes, _>("bytes", &bytes).await.unwrap();
    assert!(answers.replies.iter().all(|(_, said)| *said == bytes));
    assert_eq!((answers.replies.len(), answers.missing.len()), (2, 0));
}

#[tokio::test]
async fn a_node_that_fails_to_respond_is_reported_at_once() {
    let [a, ..] = three().await;
    let others = ["b".parse().unwrap(), "c".parse().unwrap()];
    for event in ["fail", "panic", "nobody handles this", "bytes"] {
        in_time(ASK_TIMEOUT, async || {
            let started = Instant::now();
            let answers = a.all().server_side_emit_with_ack::<u8, _>(event, &7).await.unwrap();
            assert_eq!((answers.replies.len(), &answers.missing[..]), (0, &others[..]), "{event}");
            if started.elapsed() < ASK_TIMEOUT { Ok(()) } else { Err(started) }
        })
        .await;
    }
    let answers = a.all().server_side_emit_with_ack::<String, _>("name", &()).await.unwrap();
    assert_eq!(answers.replies.len(), 2, "and goes on");
}

/// The time that a request waits for a node that does not respond.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
