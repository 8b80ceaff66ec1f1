//! What the page of promises says in seconds and bytes, measured on clusters in virtual time.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use socketmesh::cluster::PeerCounters;
use socketmesh::socket::NamespaceRef;
use socketmesh::testing::TestCluster;
use socketmesh::{Node, NodeBuilder, Socket, namespace};
use tokio::time::{Instant, sleep};

/// `join` answers with the nodes that did not confirm it.
fn app() -> NodeBuilder {
    let rooms = namespace("/").on("join", async |socket: Socket, room: String| {
        let applied = socket.join(room).applied().await?;
        Ok(applied.missing.iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    let rooms = rooms.on_server_event("hang", async |()| {
        std::future::pending::<()>().await;
        Ok(())
    });
    Node::builder().namespace(rooms)
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_leaves_every_ring_within_a_second() {
    for offset in 0..10 {
        let mut cluster = TestCluster::start(3, |_| app()).await;
        sleep(Duration::from_millis(1000 + 107 * offset)).await;
        let killed = Instant::now();
        cluster.kill(2).await;
        cluster.node(0).sees(&[0, 1]).await;
        cluster.node(1).sees(&[0, 1]).await;
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_gone_leaves_every_ring_after_three_to_five_seconds() {
    let cluster = TestCluster::start(3, |_| app()).await;
    let gone = Instant::now();
    cluster.partition(&[0, 1], &[2]);
    cluster.node(0).sees(&[0, 1]).await;
    cluster.node(1).sees(&[0, 1]).await;
    let took = gone.elapsed();
    assert!((Duration::from_millis(2900)..Duration::from_secs(5)).contains(&took), "{took:?}");
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
async fn a_server_event_waits_five_seconds_for_a_node_that_does_not_respond() {
    let cluster = TestCluster::start(2, |_| app()).await;
    let (took, missing) = hang(cluster.node(0).node().of("/")).await;
    assert_eq!(missing, ["node-1"]);
    assert!((Duration::from_secs(5)..Duration::from_millis(5100)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_event_waits_for_a_node_that_died_until_that_is_known() {
    let mut cluster = TestCluster::start(2, |_| app()).await;
    let namespace = cluster.node(0).node().of("/");
    let asking = tokio::spawn(hang(namespace));
    sleep(Duration::from_millis(100)).await;
    cluster.kill(1).await;
    let (took, missing) = asking.await.expect("an answer");
    assert_eq!(missing, ["node-1"]);
    assert!(took < Duration::from_secs(4), "the death was not noticed: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_count_names_the_node_that_did_not_say_its_number() {
    let cluster = TestCluster::start(3, |_| app()).await;
    let mut guests = Vec::new();
    for n in [0, 1, 1, 2] {
        guests.push(cluster.node(n).connect("/", &json!({})).await.expect("they may connect"));
    }
    let namespace = cluster.node(0).node().of("/");
    let counted = namespace.count().await;
    assert_eq!((counted.sockets, counted.missing.len()), (4, 0));
    cluster.partition(&[0, 1], &[2]);
    let asked = Instant::now();
    let counted = namespace.timeout(Duration::from_secs(1)).count().await;
    assert_eq!((counted.sockets, counted.missing), (3, vec!["node-2".parse().expect("a node id")]));
    let took = asked.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_millis(1100)).contains(&took), "{took:?}");
    cluster.node(0).sees(&[0, 1]).await;
    let counted = namespace.count().await;
    assert_eq!((counted.sockets, counted.missing.len()), (3, 0), "by then it counts as dead");
}

/// Sends a server event to which no node responds. Returns how long the wait was, and who is missing.
async fn hang(namespace: NamespaceRef) -> (Duration, Vec<String>) {
    let asked = Instant::now();
    let responses = namespace.server_side_emit_with_ack::<(), _>("hang", &()).await.expect("it encodes");
    (asked.elapsed(), responses.missing.iter().map(ToString::to_string).collect())
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
async fn what_was_sent_in_the_last_ten_seconds_arrives_however_long_a_node_was_away() {
    let cluster = TestCluster::start(2, |_| app()).await;
    let mut bob = cluster.node(1).connect("/", &json!({})).await.expect("he may connect");
    cluster.partition(&[0], &[1]);
    let mut sent = Vec::new();
    for number in 0..600_u64 {
        cluster.node(0).node().of("/").emit("number", &number).expect("it encodes");
        sent.push(Instant::now());
        sleep(Duration::from_millis(100)).await;
    }
    cluster.heal();
    cluster.settled().await;
    let linked = Instant::now();
    sleep(Duration::from_secs(1)).await;
    let got: Vec<u64> = bob.take("number");
    let first = *got.first().expect("the last ones arrive");
    assert_eq!(got, (first..600).collect::<Vec<_>>());
    let oldest = linked - sent[usize::try_from(first).expect("an index")];
    assert!((9..=10).contains(&oldest.as_secs()), "the oldest that arrived waited for {oldest:?}");
    assert_eq!(missed(&cluster, 1, "node-0"), first, "and all others were counted");
    assert_eq!(lost(&cluster, 0, "node-1"), first, "at both ends");
}

#[tokio::test(start_paused = true)]
async fn what_no_living_node_wants_is_not_lost_and_what_a_partition_cost_is_counted_when_it_ends() {
    let cluster = TestCluster::start(2, |_| app()).await;
    cluster.partition(&[0], &[1]);
    cluster.node(0).sees(&[0]).await;
    let known = lost(&cluster, 0, "node-1");
    for _ in 0..5 {
        cluster.node(0).node().of("/").emit("number", &0).expect("it encodes");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(lost(&cluster, 0, "node-1"), known, "node-1 counts as dead");
    }
    cluster.heal();
    cluster.settled().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((lost(&cluster, 0, "node-1"), missed(&cluster, 1, "node-0")), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn what_a_partition_cost_is_counted_even_if_nobody_was_looked_for_any_more() {
    let cluster = TestCluster::start(2, |_| app()).await;
    let mut bob = cluster.node(1).connect("/", &json!({})).await.expect("he may connect");
    cluster.partition(&[0], &[1]);
    for minute in 0..30 {
        cluster.node(0).node().of("/").emit("minute", &minute).expect("it encodes");
        sleep(Duration::from_secs(60)).await;
    }
    cluster.heal();
    cluster.settled().await;
    cluster.node(0).node().of("/").emit("minute", &30).expect("it encodes");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bob.take::<u64>("minute"), [30]);
    assert_eq!((lost(&cluster, 0, "node-1"), missed(&cluster, 1, "node-0")), (30, 30));
}

#[tokio::test(start_paused = true)]
async fn what_a_member_two_hops_away_never_gets_is_counted_when_it_is_given_up() {
    let cluster = TestCluster::start(4, |_| app()).await;
    // Only neighbours in the row 0, 1, 2, 3 reach each other.
    cluster.partition(&[0], &[2, 3]);
    cluster.partition(&[1], &[3]);
    sleep(Duration::from_secs(10)).await;
    let before = lost(&cluster, 0, "node-3");
    for number in 0..7 {
        cluster.node(0).node().of("/").emit("number", &number).expect("it encodes");
    }
    sleep(Duration::from_secs(11)).await;
    cluster.node(0).sees(&[0, 1, 2, 3]).await;
    assert_eq!(lost(&cluster, 0, "node-3"), before + 7);
    assert_eq!((lost(&cluster, 0, "node-1"), lost(&cluster, 0, "node-2")), (0, 0));
}

/// How many messages a node has lost for a peer, as it says.
fn lost(cluster: &TestCluster, node: usize, peer: &str) -> u64 {
    let outgoing = peer_counters(cluster, node, peer).outgoing;
    let unconfirmed = outgoing.waiting + outgoing.lost.total() + outgoing.unneeded;
    assert_eq!(outgoing.sent, outgoing.confirmed + unconfirmed, "{outgoing:?}");
    outgoing.lost.total() - outgoing.arrived
}

/// How many messages of a peer a node has missed, as it was told.
fn missed(cluster: &TestCluster, node: usize, peer: &str) -> u64 {
    peer_counters(cluster, node, peer).incoming.missed
}

fn peer_counters(cluster: &TestCluster, node: usize, peer: &str) -> PeerCounters {
    let counters = cluster.node(node).node().peer_counters();
    counters.into_iter().find(|counters| counters.node.as_str() == peer).expect("it is known")
}

fn counters(cluster: &TestCluster, node: usize) -> HashMap<&'static str, u64> {
    cluster.node(node).node().counters().into_iter().collect()
}

const RECEIVED: &str = "socketmesh_cluster_messages_received_total";
const LOST: &str = "socketmesh_cluster_messages_lost_total";
