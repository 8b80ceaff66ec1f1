//! What a client may send to a namespace; most of it in virtual time.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::app::{App, connected};
use cluster_tests::journal::Journal;
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use serde_json::{Value, json};
use socketmesh::socket::{Excess, Limit, Login};
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{
    DisconnectReason, Handshake, Namespace, NamespaceError, Node, NodeBuilder, RawArgs, Refusal, Socket,
    StartError, namespace,
};
use tokio::time::sleep;

/// Why sockets left.
type Left = Arc<Journal<DisconnectReason>>;

/// An echo for clients that say whose they are.
fn echo(path: &str, left: &Left) -> Namespace<()> {
    let left = Arc::clone(left);
    namespace(path)
        .login(async |handshake: Handshake| {
            let auth: Value = handshake.auth()?;
            let login = Login::new(());
            Ok::<_, Refusal>(match auth.get("user").and_then(Value::as_str) {
                Some(user) => login.user(user),
                None => login,
            })
        })
        .fallback(async |_: Socket<()>, _: String, args: RawArgs| Ok(args))
        .on_disconnect(async move |_: Socket<()>, reason| {
            left.note(reason);
            Ok(())
        })
}

fn app(left: &Left) -> NodeBuilder {
    let limit = || Limit::events(1).burst(2);
    Node::builder()
        .namespace(echo("/refuse", left).limit(limit()).limit_event("rare", Limit::events(1).per(HOUR)))
        .namespace(echo("/drop", left).limit(limit().beyond(Excess::Drop)))
        .namespace(echo("/close", left).limit(Limit::bytes(100).beyond(Excess::Disconnect)))
        .namespace(echo("/user", left).limit(limit().per_user()))
}

async fn nodes(count: usize) -> (TestCluster, Left) {
    let left = Left::default();
    let seen = Arc::clone(&left);
    (TestCluster::start(count, move |_| app(&seen)).await, left)
}

async fn came(cluster: &TestCluster, node: usize, path: &str, auth: &Value) -> Client {
    cluster.node(node).connect(path, auth).await.expect("it may come in")
}

/// Two events in an hour.
pub(crate) fn described() -> Namespace {
    let limited = namespace("/limited").limit(Limit::events(1).per(HOUR).burst(2));
    limited.on("a", async |_: Socket, (): ()| Ok(()))
}

async fn a_client_that_leaves_and_comes_back_finds_its_limit_as_it_left_it(app: &App) {
    let mut ws = app.nodes.target.websocket().await;
    let exceeded = r#"[{"error":{"code":"limit_exceeded","message":"too many events"}}]"#;
    for ack in ["[]", "[]", exceeded] {
        ws.send("40/limited,").await;
        connected(&ws.packet_text().await, "/limited");
        ws.send(r#"42/limited,1["a"]"#).await;
        assert_eq!(ws.packet_text().await, format!("43/limited,1{ack}"));
        ws.send("41/limited,").await;
    }
}

/// What becomes of an event.
async fn code(client: &Client, event: &str) -> Option<String> {
    client.call::<u8>(event, &7).await.err().map(|error| error.code().unwrap_or("none").to_owned())
}

#[tokio::test(start_paused = true)]
async fn an_event_beyond_a_limit_is_refused_in_its_ack() {
    for count in [1, 3] {
        let (cluster, _left) = nodes(count).await;
        let client = came(&cluster, count - 1, "/refuse", &json!({})).await;
        let other = came(&cluster, 0, "/refuse", &json!({})).await;
        let exceeded = Some("limit_exceeded".to_owned());
        assert_eq!((code(&client, "a").await, code(&client, "b").await), (None, None));
        assert_eq!(code(&client, "c").await, exceeded);
        assert_eq!(code(&other, "a").await, None, "each socket counts for itself");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(code(&client, "d").await, None);
        sleep(Duration::from_secs(2)).await;
        assert_eq!((code(&client, "rare").await, code(&client, "rare").await), (None, exceeded.clone()));
        sleep(Duration::from_secs(5)).await;
        assert_eq!((code(&client, "rare").await, code(&client, "a").await), (exceeded, None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_beyond_a_limit_is_dropped_or_costs_the_connection_as_the_limit_says() {
    for count in [1, 3] {
        let (cluster, left) = nodes(count).await;
        let client = came(&cluster, count - 1, "/drop", &json!({})).await;
        assert_eq!((code(&client, "a").await, code(&client, "b").await), (None, None));
        client.emit("c", &()).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(code(&client, "d").await, None, "nothing was said of the one that was dropped");
        let mut client = came(&cluster, count - 1, "/close", &json!({})).await;
        assert_eq!(client.call::<String>("a", &"x".repeat(150)).await.expect("larger, and alone").len(), 150);
        client.emit("b", &"x".repeat(10)).await;
        assert_eq!(client.disconnected().await, "io server disconnect");
        left.find("on_disconnect", |reason| (*reason == DisconnectReason::LimitExceeded).then_some(())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_has_one_limit_on_a_node_however_many_sockets() {
    for count in [1, 3] {
        let (cluster, _left) = nodes(count).await;
        let (here, ann, bob) = (count / 2, json!({ "user": "ann" }), json!({ "user": "bob" }));
        let one = came(&cluster, here, "/user", &ann).await;
        let (two, bob) =
            (came(&cluster, here, "/user", &ann).await, came(&cluster, here, "/user", &bob).await);
        assert_eq!((code(&one, "a").await, code(&two, "a").await), (None, None));
        assert_eq!(code(&one, "a").await.as_deref(), Some("limit_exceeded"));
        assert_eq!(code(&two, "a").await.as_deref(), Some("limit_exceeded"));
        assert_eq!(code(&bob, "a").await, None);
        if count > 1 {
            let elsewhere = came(&cluster, 2, "/user", &ann).await;
            assert_eq!(code(&elsewhere, "a").await, None);
        }
    }
}

#[tokio::test]
async fn a_limit_that_lets_nothing_pass_is_an_error() {
    for limit in [Limit::events(0), Limit::bytes(1).per(Duration::ZERO)] {
        match Node::builder().namespace(namespace("/").limit(limit)).start().await {
            Err(StartError::Namespace(NamespaceError { fault, .. })) => {
                assert_eq!(fault, "a limit that lets nothing pass");
            }
            other => panic!("a fault of a namespace, not {other:?}"),
        }
    }
}

on_one_and_three_nodes! {
    crate::app:
    a_client_that_leaves_and_comes_back_finds_its_limit_as_it_left_it,
}

const HOUR: Duration = Duration::from_secs(3600);
