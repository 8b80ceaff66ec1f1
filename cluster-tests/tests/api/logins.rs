//! Logins that end and are renewed, on nodes in virtual time; and what an application keeps at a socket meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cluster_tests::app::connected;
use cluster_tests::journal::Journal;
use cluster_tests::messages::Messages;
use cluster_tests::nodes::Nodes;
use cluster_tests::on_one_and_three_nodes;
use serde::Deserialize;
use serde_json::json;
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{DisconnectReason, Handshake, Namespace, Node, Refusal, Socket, namespace, socket::Login};
use tokio::time::{Instant, sleep};

/// Why sockets left.
type Left = Arc<Journal<DisconnectReason>>;

#[derive(Default)]
struct Counted(AtomicU32);

fn logins(left: &Left) -> Namespace<String> {
    let left = Arc::clone(left);
    namespace("/")
        .login(login)
        .on_expiring(Duration::from_secs(10), async |socket: Socket<String>, left: Duration| {
            Ok(socket.emit("expiring", &(left + Duration::from_millis(500)).as_secs())?)
        })
        .renew_event("renew")
        .on("who", async |socket: Socket<String>, ()| Ok(socket.data().clone()))
        .on("count", async |socket: Socket<String>, ()| {
            Ok(socket.state::<Counted>().0.fetch_add(1, Ordering::Relaxed) + 1)
        })
        .on("join", async |socket: Socket<String>, room: String| Ok(socket.join(room).await?))
        .on_disconnect(async move |_: Socket<String>, reason: DisconnectReason| {
            left.note(reason);
            Ok(())
        })
}

async fn login(handshake: Handshake) -> Result<Login<String>, Refusal> {
    #[derive(Deserialize)]
    struct Auth {
        name: String,
        seconds: Option<u64>,
    }
    let Auth { name, seconds } = handshake.auth()?;
    match (&*name, seconds) {
        ("nobody", _) => Err(Refusal::new("unauthorized")),
        (_, None) => Ok(Login::new(name)),
        (_, Some(seconds)) => Ok(Login::new(name).expires_in(Duration::from_secs(seconds))),
    }
}

/// A client of the last of that many nodes.
async fn client(nodes: usize, auth: serde_json::Value) -> (TestCluster, Client, Left) {
    let left = Left::default();
    let seen = Arc::clone(&left);
    let cluster = TestCluster::start(nodes, move |_| Node::builder().namespace(logins(&seen))).await;
    let client = cluster.node(nodes - 1).connect("/", &auth).await.expect("it may come in");
    (cluster, client, left)
}

fn assert_about(elapsed: Duration, seconds: u64) {
    let about = Duration::from_secs(seconds - 1)..Duration::from_secs(seconds + 1);
    assert!(about.contains(&elapsed), "about {seconds} s, not {elapsed:?}");
}

async fn expired(left: &Left) {
    left.find("on_disconnect", |reason| (*reason == DisconnectReason::LoginExpired).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_not_renewed_ends_with_a_reason_of_its_own() {
    for nodes in [1, 3] {
        let (_cluster, mut client, left) = client(nodes, json!({ "name": "ann", "seconds": 60 })).await;
        let began = Instant::now();
        sleep(Duration::from_secs(45)).await;
        assert_eq!(client.recv::<u64>("expiring").await, 10);
        assert_about(began.elapsed(), 50);
        assert_eq!(client.disconnected().await, "io server disconnect");
        assert_about(began.elapsed(), 60);
        expired(&left).await;
        assert!(client.unread().is_empty(), "it is warned once");
    }
    assert_eq!(DisconnectReason::LoginExpired.as_str(), "login expired");
}

#[tokio::test(start_paused = true)]
async fn a_login_is_renewed_by_an_event_and_the_socket_stays_what_it_is() {
    for nodes in [1, 3] {
        let (cluster, mut client, left) = client(nodes, json!({ "name": "ann", "seconds": 20 })).await;
        client.call::<()>("join", "room").await.expect("an ack");
        assert_eq!(client.call::<u32>("count", &()).await.expect("an ack"), 1);
        for name in ["bert", "carla", "dora"] {
            assert_eq!(client.recv::<u64>("expiring").await, 10);
            let renewal = json!({ "name": name, "seconds": 20 });
            client.call::<()>("renew", &renewal).await.expect("a new login");
            assert_eq!(client.call::<String>("who", &()).await.expect("an ack"), name);
        }
        assert_eq!(client.call::<u32>("count", &()).await.expect("an ack"), 2, "its state stays");
        cluster.node(0).node().of("/").to("room").emit("hi", &1).expect("it encodes");
        assert_eq!(client.recv::<u8>("hi").await, 1, "its rooms stay");
        client.call::<()>("renew", &json!({ "name": "ever" })).await.expect("a login without an end");
        sleep(Duration::from_secs(100)).await;
        assert!(client.is_connected() && left.all(|reason| Some(*reason)).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_changes_nothing() {
    for nodes in [1, 3] {
        let (_cluster, mut client, left) = client(nodes, json!({ "name": "ann", "seconds": 20 })).await;
        let refused = client.call::<()>("renew", &json!({ "name": "nobody" })).await;
        assert_eq!(refused.expect_err("nobody may come in").code(), Some("refused"));
        let odd = client.call::<()>("renew", &7).await.expect_err("no auth payload");
        assert_eq!(odd.to_string(), "the handler failed: refused: invalid auth");
        assert_eq!(client.call::<String>("who", &()).await.expect("an ack"), "ann");
        assert_eq!(client.disconnected().await, "io server disconnect");
        expired(&left).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_may_be_made_shorter() {
    for nodes in [1, 3] {
        let (_cluster, mut client, _left) = client(nodes, json!({ "name": "ann", "seconds": 1000 })).await;
        let began = Instant::now();
        client.call::<()>("renew", &json!({ "name": "ann", "seconds": 5 })).await.expect("a new login");
        assert_eq!(client.recv::<u64>("expiring").await, 5, "at once");
        assert_eq!(client.disconnected().await, "io server disconnect");
        assert_about(began.elapsed(), 5);
    }
}

async fn another_connect_renews_a_login_that_ends_and_no_other(count: usize) {
    let left = Left::default();
    let nodes = Nodes::start(count, |_| Node::builder().namespace(logins(&left))).await;
    let mut ws = nodes.target.websocket().await;
    ws.send(r#"40{"name":"ann","seconds":1000}"#).await;
    let id = connected(&ws.packet_text().await, "/");
    ws.send(r#"40{"name":"bert","seconds":1000}"#).await;
    assert_eq!(connected(&ws.packet_text().await, "/"), id, "the same socket");
    ws.send(r#"421["who",null]"#).await;
    assert_eq!(ws.packet_text().await, r#"431["bert"]"#);
    // A refusal is what clients take for the end.
    ws.send(r#"40{"name":"nobody"}"#).await;
    assert_eq!(ws.packet_text().await, r#"44{"message":"unauthorized"}"#);
    expired(&left).await;
    ws.send(r#"40{"name":"carla"}"#).await;
    assert_ne!(connected(&ws.packet_text().await, "/"), id);
    ws.send(r#"40{"name":"carla"}"#).await;
    assert_eq!(ws.closed().await, None, "a login without an end needs no renewal");
}

const fn count(count: usize) -> usize {
    count
}

on_one_and_three_nodes! {
    crate::logins::count:
    another_connect_renews_a_login_that_ends_and_no_other,
}
