//! One node of the cluster leads, and all agree on it.

use std::time::Duration;

use cluster_tests::deadline::within;
use socketmesh::id::NodeId;
use socketmesh::{Node, namespace};

use crate::nodes::{Server, three};

#[tokio::test]
async fn all_nodes_name_the_one_that_started_first_and_a_newcomer_does_not_take_over() {
    let [a, b, c] = three().await;
    for server in [&a, &b, &c] {
        led_by(server, "a").await;
    }
    assert_eq!([&a, &b, &c].map(|server| server.node.is_leader()), [true, false, false]);
    let newcomer = Server::start("0", a.node.mesh_addr()).await;
    newcomer.sees(4).await;
    led_by(&newcomer, "a").await;
    assert!(a.node.is_leader());
}

#[tokio::test]
async fn another_node_leads_when_the_leader_dies_and_when_it_stops() {
    let [a, b, c] = three().await;
    a.node.kill().await;
    for server in [&b, &c] {
        led_by(server, "b").await;
    }
    assert!(b.node.is_leader());
    let stopping = b.node.clone();
    let stopped = tokio::spawn(async move { stopping.shutdown().await });
    led_by(&c, "c").await;
    assert!(c.node.is_leader());
    within("the end of the leader", stopped).await.unwrap();
    assert!(!b.node.is_leader(), "a node that stops leads no more");
}

#[tokio::test]
async fn a_node_without_a_cluster_leads_itself() {
    let node = Node::builder().namespace(namespace("/")).start().await.unwrap();
    assert_eq!(node.leader().as_ref(), Some(node.id()));
    assert!(node.is_leader());
}

async fn led_by(server: &Server, leader: &str) {
    let mut view = server.node.view().expect("it is in a cluster");
    let led = view.wait_for(|view| view.leader().map(NodeId::as_str) == Some(leader));
    let led = tokio::time::timeout(Duration::from_secs(10), led).await.is_ok();
    assert!(led, "{} is led by {:?}, not by {leader}", server.node.id(), server.node.leader());
    assert_eq!(server.node.leader().as_ref().map(NodeId::as_str), Some(leader));
}
