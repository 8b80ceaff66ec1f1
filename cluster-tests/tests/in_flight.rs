//! Requests that a node carries for the owner of a session, when that node, the link or the owner is lost: in virtual time, with
//! clients that poll as official ones do, through a load balancer that sends a GET again whose node broke off.
use std::ops::RangeInclusive;
use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::nodes::Nodes;
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{DisconnectReason, Node, NodeBuilder, Socket, namespace};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

fn app() -> NodeBuilder {
    Node::builder().namespace(namespace("/").on("echo", async |_: Socket, number: u64| Ok(number)))
}

/// A client that polls, whose session is on node 0 and whose requests go to `nodes` in turn.
async fn carried(cluster: &TestCluster, nodes: &[usize]) -> Client {
    let client = cluster.node(0).polling().connect("/", &()).await.expect("node 0 takes clients");
    client.reroute(cluster.polling(nodes));
    // The GET that waits at node 0 is answered, and the next one takes the new route.
    assert_eq!(client.call::<u64>("echo", &1u64).await.expect("an ack"), 1);
    // The ack may come before the answer to the POST.
    sleep(Duration::from_secs(1)).await;
    client
}

/// Emits numbers at the owner while `fault` happens. The client gets each of them once, in order, and stays connected.
async fn hears_everything(owner: &Node, client: &mut Client, fault: impl Future<Output = ()>) {
    let all = owner.of("/");
    let emitting = async {
        for number in 0..NUMBERS {
            all.emit("number", &number).expect("it encodes");
            sleep(Duration::from_millis(7)).await;
        }
    };
    tokio::join!(emitting, fault);
    for number in 0..NUMBERS {
        assert_eq!(client.recv::<u64>("number").await, number);
    }
    client.silent().await;
    assert!(client.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_the_nodes_that_carry_its_polls_and_loses_nothing() {
    let mut cluster = TestCluster::start(4, |_| app()).await;
    let owner = cluster.node(0).node().clone();
    for round in 0..30 {
        let (dying, others) = (1 + round % 3, [1 + (round + 1) % 3, 1 + (round + 2) % 3]);
        let mut client = carried(&cluster, &[dying, others[0], others[1]]).await;
        // So that answers are on their way when a node dies.
        cluster.delay(MILLIS);
        let kill = async {
            sleep(Duration::from_millis(300 + 3 * round as u64)).await;
            cluster.kill(dying).await;
        };
        hears_everything(&owner, &mut client, kill).await;
        client.disconnect().await;
        cluster.heal();
        cluster.restart(dying).await;
        cluster.settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_the_link_that_carries_its_polls_and_loses_nothing() {
    let cluster = TestCluster::start(3, |_| app()).await;
    let owner = cluster.node(0).node().clone();
    let mut client = carried(&cluster, &[1]).await;
    for round in 0..10 {
        let cut = async {
            sleep(Duration::from_millis(100 + 3 * round)).await;
            cluster.partition(&[0], &[1]);
            // Node 2 is in between: node 1 polls through it as soon as it knows.
            cluster.settled().await;
        };
        hears_everything(&owner, &mut client, cut).await;
        cluster.heal();
        cluster.settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_gives_back_the_polls_that_it_carries() {
    let mut cluster = TestCluster::start(4, |_| app()).await;
    let owner = cluster.node(0).node().clone();
    for stopping in [1, 2, 3] {
        let others: Vec<_> = (1..4).filter(|node| *node != stopping).collect();
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(carried(&cluster, &[&[stopping], &others[..]].concat()).await);
        }
        let [first, rest @ ..] = &mut clients[..] else { panic!("there are clients") };
        let stop = async {
            sleep(Duration::from_millis(200)).await;
            cluster.shutdown(stopping).await;
        };
        hears_everything(&owner, first, stop).await;
        for client in rest {
            client.call::<u64>("echo", &1u64).await.expect("its session is not lost");
        }
        cluster.restart(stopping).await;
        cluster.settled().await;
    }
}

/// A client without news, whose GET waits at node 1 and whose further requests go to node 2.
async fn quiet(cluster: &TestCluster) -> Client {
    let client = carried(cluster, &[1]).await;
    client.reroute(cluster.polling(&[1, 2]));
    client
}

#[tokio::test(start_paused = true)]
async fn a_quiet_poll_is_given_back_at_once_by_a_node_that_stops() {
    let mut cluster = TestCluster::start(3, |_| app()).await;
    let mut client = quiet(&cluster).await;
    let began = Instant::now();
    cluster.shutdown(1).await;
    assert!(began.elapsed() < Duration::from_secs(1), "it was waited for: {:?}", began.elapsed());
    still_hears(&cluster, &mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_poll_that_is_sent_again_takes_the_place_of_the_lost_one() {
    let mut cluster = TestCluster::start(3, |_| app()).await;
    let mut client = quiet(&cluster).await;
    cluster.kill(1).await;
    still_hears(&cluster, &mut client).await;
    // The first one ends when its node is known to be gone.
    cluster.settled().await;
    still_hears(&cluster, &mut client).await;
}

async fn still_hears(cluster: &TestCluster, client: &mut Client) {
    client.silent().await;
    cluster.node(0).node().of("/").emit("number", &1u64).expect("it encodes");
    assert_eq!(client.recv::<u64>("number").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_poll_is_lost_waits_for_its_client_as_between_any_two_polls() {
    for lost in ["its node", "its node behind a relay", "the relay", "the link"] {
        let (ended, mut ends) = mpsc::channel(10);
        let mut cluster = TestCluster::start(3, move |_| {
            let ended = ended.clone();
            Node::builder().namespace(
                namespace("/").on("echo", async |_: Socket, number: u64| Ok(number)).on_disconnect(
                    async move |_: Socket, reason: DisconnectReason| Ok(ended.try_send(reason)?),
                ),
            )
        })
        .await;
        if lost.contains("relay") {
            cluster.partition(&[0], &[1]);
            cluster.settled().await;
        }
        let mut client = carried(&cluster, &[1]).await;
        // A client that waits for nothing any more: nobody sends its GET again.
        let began = Instant::now();
        match lost {
            "the relay" => cluster.kill(2).await,
            "the link" => cluster.partition(&[1], &[0, 2]),
            _ => cluster.kill(1).await,
        }
        client.drop_connection();
        let reason = ends.recv().await.expect("the session ends at last");
        assert_eq!((lost, reason), (lost, DisconnectReason::PingTimeout));
        assert!(began.elapsed() > Duration::from_secs(20), "{lost}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_owner_is_lost_is_answered_within_a_second() {
    for cut in ["killed", "silent", "silent behind a relay"] {
        let mut cluster = TestCluster::start(4, |_| app()).await;
        let mut client = carried(&cluster, &[1]).await;
        match cut {
            "killed" => cluster.kill(0).await,
            "silent" => cluster.partition(&[0], &[1, 2, 3]),
            _ => {
                cluster.partition(&[0], &[1, 3]);
                cluster.settled().await;
                cluster.partition(&[0], &[2]);
            }
        }
        let asked = Instant::now();
        client.emit("echo", &1u64).await;
        let why = client.disconnected().await;
        let took = asked.elapsed();
        assert!(took <= Duration::from_secs(1), "{cut}: {took:?}");
        assert_eq!(why, "transport error", "{cut}");
    }
}

#[tokio::test]
async fn a_post_in_flight_is_finished_by_a_node_that_stops() {
    let nodes = Nodes::start(3, |_| app()).await;
    let session = nodes.target.at(0).polling().await;
    let carried = session.through(&nodes.target.at(1));
    let (body, post) = carried.pending_post(2).await;
    let stopping = nodes.nodes[1].clone();
    let stopped = tokio::spawn(async move { stopping.shutdown().await });
    let closed = async { while TcpStream::connect(nodes.target.at(1).addr()).await.is_ok() {} };
    within("the port to be closed", closed).await;
    assert!(!stopped.is_finished(), "it waits for the POST");
    body.send("40").await;
    assert_eq!(post.reply().await.outcome(), (200, "ok"));
    within("the end of the node", stopped).await.expect("no panic");
    assert!(session.poll().await.text().starts_with("40{"));
}

const NUMBERS: u64 = 150;
const MILLIS: RangeInclusive<Duration> = Duration::from_millis(2)..=Duration::from_millis(15);
