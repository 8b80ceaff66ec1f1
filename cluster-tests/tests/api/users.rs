//! Users that are disconnected and blocked on every node, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::journal::Journal;
use serde::Deserialize;
use serde_json::{Value, json};
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{DisconnectReason, Handshake, Node, NodeBuilder, Refusal, Socket, namespace, socket::Login};
use tokio::time::{Instant, sleep};

/// Why sockets left.
type Left = Arc<Journal<DisconnectReason>>;

/// Two namespaces in which clients say whose they are, and how long it takes to find out.
fn app(left: &Left) -> NodeBuilder {
    let described = |path: &str| {
        let left = Arc::clone(left);
        namespace(path).login(login).renew_event("renew").on_disconnect(async move |_: Socket<()>, reason| {
            left.note(reason);
            Ok(())
        })
    };
    Node::builder().namespace(described("/")).namespace(described("/other"))
}

async fn login(handshake: Handshake) -> Result<Login<()>, Refusal> {
    #[derive(Deserialize)]
    struct Auth {
        user: Option<String>,
        #[serde(default)]
        takes: u64,
    }
    let Auth { user, takes } = handshake.auth()?;
    sleep(Duration::from_secs(takes)).await;
    Ok(match user {
        Some(user) => Login::new(()).user(user),
        None => Login::new(()),
    })
}

async fn nodes(count: usize) -> (TestCluster, Left) {
    let left = Left::default();
    let seen = Arc::clone(&left);
    (TestCluster::start(count, move |_| app(&seen)).await, left)
}

fn of(user: &str) -> Value {
    json!({ "user": user })
}

async fn came(cluster: &TestCluster, node: usize, auth: &Value) -> Client {
    cluster.node(node).connect("/", auth).await.expect("it may come in")
}

async fn refused(cluster: &TestCluster, node: usize, auth: &Value) {
    let refusal = cluster.node(node).connect("/other", auth).await.expect_err("the user is blocked");
    assert_eq!(refusal.message(), "blocked");
}

#[tokio::test(start_paused = true)]
async fn a_user_is_disconnected_on_every_node_and_refused_for_a_time() {
    for count in [1, 3] {
        let (cluster, left) = nodes(count).await;
        let last = count - 1;
        let mut ann = [came(&cluster, 0, &of("ann")).await, came(&cluster, last, &of("ann")).await];
        let (bob, nobody) = (came(&cluster, last, &of("bob")).await, came(&cluster, 0, &json!({})).await);
        let blocked = cluster.node(last).node().user("ann").block(Duration::from_secs(60)).await;
        assert_eq!(blocked.missing, []);
        for client in &mut ann {
            assert_eq!(client.disconnected().await, "io server disconnect");
        }
        refused(&cluster, 0, &of("ann")).await;
        refused(&cluster, last, &of("ann")).await;
        assert_eq!(left.all(|reason| Some(reason.as_str())), ["blocked"; 2]);
        assert!(bob.is_connected() && nobody.is_connected());
        sleep(Duration::from_secs(60)).await;
        came(&cluster, 0, &of("ann")).await;
        came(&cluster, last, &of("ann")).await;
        cluster.node(0).node().user("bob").block(Duration::from_secs(60)).await;
        refused(&cluster, last, &of("bob")).await;
        cluster.node(last).node().user("bob").unblock().await;
        came(&cluster, 0, &of("bob")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_just_being_let_in_is_blocked_too() {
    for count in [1, 3] {
        let (cluster, _left) = nodes(count).await;
        let slow = json!({ "user": "ann", "takes": 5 });
        let block = async {
            sleep(Duration::from_secs(2)).await;
            cluster.node(0).node().user("ann").block(Duration::from_secs(60)).await;
        };
        tokio::join!(refused(&cluster, count - 1, &slow), block);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_disconnected_may_come_back_a_moment_later() {
    for count in [1, 3] {
        let (cluster, _left) = nodes(count).await;
        let mut ann = came(&cluster, count - 1, &of("ann")).await;
        assert_eq!(cluster.node(0).node().user("ann").disconnect().await.missing, []);
        assert_eq!(ann.disconnected().await, "io server disconnect");
        // As clients do that call `socket.connect()` at once: a refusal would be the end.
        let began = Instant::now();
        ann.reconnect(cluster.node(0)).await.expect("it may come in again");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_disconnected_while_it_is_being_let_in_is_asked_again_unless_it_leaves() {
    let asked = Arc::new(Journal::default());
    let noted = Arc::clone(&asked);
    let cluster = TestCluster::start(1, move |_| {
        let noted = Arc::clone(&noted);
        Node::builder().namespace(namespace("/").login(async move |handshake: Handshake| {
            noted.note(());
            login(handshake).await
        }))
    })
    .await;
    let (user, slow) = (cluster.node(0).node().user("ann"), json!({ "user": "ann", "takes": 1 }));
    let disconnect = async {
        sleep(Duration::from_millis(500)).await;
        user.disconnect().await;
    };
    let (node, ann) = (cluster.node(0), of("ann"));
    let (came, ()) = tokio::join!(node.connect("/", &slow), disconnect);
    came.expect("it is let in by its second answer");
    assert_eq!(asked.all(|()| Some(())).len(), 2);
    user.disconnect().await;
    let one = node.connect("/", &ann);
    assert!(tokio::time::timeout(Duration::from_secs(1), one).await.is_err(), "it waits, and gives up");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(asked.all(|()| Some(())).len(), 3, "it is not asked for any more");
}

#[tokio::test(start_paused = true)]
async fn a_block_of_no_time_ends_none() {
    for count in [1, 3] {
        let (cluster, _left) = nodes(count).await;
        let user = cluster.node(count - 1).node().user("ann");
        user.block(Duration::from_secs(60)).await;
        user.block(Duration::ZERO).await;
        sleep(Duration::from_secs(10)).await;
        refused(&cluster, 0, &of("ann")).await;
        let mut bob = came(&cluster, 0, &of("bob")).await;
        cluster.node(count - 1).node().user("bob").block(Duration::ZERO).await;
        assert_eq!(bob.disconnected().await, "io server disconnect");
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_that_was_ended_during_a_cut_stays_ended() {
    let (cluster, _left) = nodes(3).await;
    cluster.node(1).node().user("ann").block(Duration::from_secs(600)).await;
    cluster.partition(&[0, 1], &[2]);
    cluster.node(0).sees(&[0, 1]).await;
    cluster.node(0).node().user("ann").unblock().await;
    let ann = came(&cluster, 1, &of("ann")).await;
    sleep(Duration::from_secs(30)).await;
    cluster.heal();
    cluster.node(0).sees(&[0, 1, 2]).await;
    cluster.node(2).sees(&[0, 1, 2]).await;
    cluster.settled().await;
    assert!(ann.is_connected());
    for node in 0..3 {
        came(&cluster, node, &of("ann")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_user_of_a_socket_changes_with_its_login() {
    for count in [1, 3] {
        let (cluster, _left) = nodes(count).await;
        let mut client = came(&cluster, count - 1, &of("ann")).await;
        client.call::<()>("renew", &of("bob")).await.expect("a new login");
        cluster.node(0).node().user("ann").block(Duration::from_secs(60)).await;
        assert!(client.is_connected());
        client.call::<()>("renew", &of("bob")).await.expect("the same once more");
        cluster.node(0).node().user("bob").disconnect().await;
        assert_eq!(client.disconnected().await, "io server disconnect");
        let mut carla = came(&cluster, 0, &of("carla")).await;
        // The ack may be lost with the connection.
        drop(carla.call::<()>("renew", &of("ann")).await);
        assert_eq!(carla.disconnected().await, "io server disconnect", "it says that it is a blocked one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_learns_who_is_blocked() {
    let (mut cluster, _left) = nodes(3).await;
    cluster.node(1).node().user("ann").block(Duration::from_secs(600)).await;
    cluster.kill(1).await;
    cluster.node(0).sees(&[0, 2]).await;
    cluster.restart(1).await;
    // Whoever is let in before it knows is disconnected once it does.
    if let Ok(mut early) = cluster.node(1).connect("/", &of("ann")).await {
        assert_eq!(early.disconnected().await, "io server disconnect");
    }
    refused(&cluster, 1, &of("ann")).await;
    // So it is when a cut is over.
    cluster.partition(&[0, 1], &[2]);
    cluster.node(0).sees(&[0, 1]).await;
    cluster.node(0).node().user("bob").block(Duration::from_secs(600)).await;
    sleep(Duration::from_secs(30)).await;
    cluster.heal();
    cluster.node(0).sees(&[0, 1, 2]).await;
    cluster.settled().await;
    refused(&cluster, 2, &of("bob")).await;
}
