//! What the page of promises says in seconds and bytes, measured on clusters in virtual time.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use socketmesh::testing::TestCluster;
use socketmesh::{Node, NodeBuilder, Socket, namespace};
use tokio::time::{Instant, sleep};

/// `join` answers with the nodes that did not confirm it.
fn app() -> NodeBuilder {
    let rooms = namespace("/").on("join", async |socket: Socket, room: String| {
        let applied = socket.join(room).applied().await?;
        Ok(applied.missing.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    Node::builder().namespace(rooms)
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_leaves_every_ring_after_about_three_seconds() {
    let mut cluster = TestCluster::start(3, |_| app()).await;
    let killed = Instant::now();
    cluster.kill(2).await;
    cluster.node(0).sees(&[0, 1]).await;
    cluster.node(1).sees(&[0, 1]).await;
    let took = killed.elapsed();
    assert!((Duration::from_millis(2500)..Duration::from_millis(3500)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_awaited_join_ends_after_half_a_second_and_names_the_node_that_did_not_confirm_it() {
    let cluster = TestCluster::start(3, |_| app()).await;
    let ann = cluster.node(0).connect("/", &json!({})).await.expect("she may connect");
    assert_eq!(ann.call::<Vec<String>>("join", "before").await.expect("an ack"), [""; 0]);
    cluster.partition(&[0, 1], &[2]);
    let asked = Instant::now();
    assert_eq!(ann.call::<Vec<String>>("join", "during").await.expect("an ack"), ["node-2"]);
    let took = asked.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_millis(600)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn of_what_a_cut_off_node_misses_sixteen_mebibytes_are_kept_and_the_rest_is_told() {
    let cluster = TestCluster::start(2, |_| app()).await;
    let _bob = cluster.node(1).connect("/", &json!({})).await.expect("he may connect");
    cluster.partition(&[0], &[1]);
    let before = counters(&cluster, 1);
    let mebibyte = "x".repeat(1 << 20);
    for _ in 0..20 {
        cluster.node(0).node().of("/").emit("large", &mebibyte).expect("it encodes");
    }
    sleep(Duration::from_secs(8)).await;
    cluster.heal();
    cluster.settled().await;
    let after = counters(&cluster, 1);
    let grown = |name: &str| after.get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0);
    let (received, lost) = (grown(RECEIVED), grown(LOST));
    // A message is a little more than its payload, so that the sixteenth does not fit.
    assert_eq!((received, lost), (15, 5));
}

#[tokio::test(start_paused = true)]
async fn after_ten_seconds_away_nothing_is_kept_and_all_of_it_is_told() {
    let cluster = TestCluster::start(2, |_| app()).await;
    let _bob = cluster.node(1).connect("/", &json!({})).await.expect("he may connect");
    cluster.partition(&[0], &[1]);
    let before = counters(&cluster, 1);
    for number in 0..3 {
        cluster.node(0).node().of("/").emit("number", &number).expect("it encodes");
    }
    // Another message after all of them were given up: while the peer is looked for, it is counted only.
    sleep(Duration::from_secs(60)).await;
    cluster.node(0).node().of("/").emit("number", &3).expect("it encodes");
    sleep(Duration::from_secs(60)).await;
    cluster.heal();
    cluster.settled().await;
    let after = counters(&cluster, 1);
    let grown = |name: &str| after.get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0);
    assert_eq!((grown(RECEIVED), grown(LOST)), (0, 4));
}

fn counters(cluster: &TestCluster, node: usize) -> HashMap<&'static str, u64> {
    cluster.node(node).node().counters().into_iter().collect()
}

const RECEIVED: &str = "socketmesh_cluster_messages_received_total";
const LOST: &str = "socketmesh_cluster_messages_lost_total";
