//! The chat's own application on three nodes in one process, in virtual time: a model for tests of yours.

use examples::chat;
use serde_json::{Value, json};
use socketmesh::testing::{Client, TestCluster};
use socketmesh::{Args, Node};

#[tokio::test(start_paused = true)]
async fn what_is_said_in_a_room_is_heard_there_on_every_node_and_nowhere_else() {
    let cluster = three_nodes().await;
    let mut ann = member(&cluster, 0, "Ann").await;
    let mut ben = member(&cluster, 1, "Ben").await;
    let mut eve = visitor(&cluster, 2, "Eve").await;
    assert_eq!(ann.recv::<Args<(String, String)>>("joined").await, Args((ROOM.into(), "Ben".into())));

    let said = say(&ben, "hello").await;
    assert_eq!(said, json!({ "room": ROOM, "from": "Ben", "text": "hello" }));
    assert_eq!(ann.recv::<Value>("message").await, said);
    eve.silent().await;
    ben.silent().await; // nobody hears himself
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_learns_who_is_there_and_what_was_said_on_every_node_and_of_one_that_was_killed() {
    let mut cluster = three_nodes().await;
    let ann = member(&cluster, 0, "Ann").await;
    let _ben = member(&cluster, 1, "Ben").await;
    let hello = say(&ann, "hello").await;

    let eve = visitor(&cluster, 2, "Eve").await;
    let found: Value = eve.call("join", ROOM).await.unwrap();
    assert_eq!(found, json!({ "people": ["Ann", "Ben", "Eve"], "said": [hello] }));

    cluster.kill(0).await;
    let cid = visitor(&cluster, 1, "Cid").await;
    let found: Value = cid.call("join", ROOM).await.unwrap();
    assert_eq!(found, json!({ "people": ["Ben", "Cid", "Eve"], "said": [hello] }));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_to_somebody_reaches_their_devices_on_every_node_and_nobody_else() {
    let cluster = three_nodes().await;
    let ann = visitor(&cluster, 0, "Ann").await;
    let mut bens = [visitor(&cluster, 1, "Ben").await, visitor(&cluster, 2, "Ben").await];
    let mut eve = visitor(&cluster, 1, "Eve").await;
    eve.call::<Value>("join", "person:Ben").await.unwrap(); // a name is no way into the rooms of people

    ann.call::<()>("tell", &Args(("Ben", "only for you"))).await.unwrap();
    for device in &mut bens {
        let told: Args<(String, String, String)> = device.recv("told").await;
        assert_eq!(told, Args(("Ann".into(), "Ben".into(), "only for you".into())));
    }
    eve.silent().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_typing_is_told_to_the_others_in_the_room() {
    let cluster = three_nodes().await;
    let mut ann = member(&cluster, 0, "Ann").await;
    let ben = member(&cluster, 2, "Ben").await;
    cluster.settled().await; // a notice is dropped where something else is on its way

    ben.call::<()>("typing", ROOM).await.unwrap();
    assert_eq!(ann.recv::<Args<(String, String)>>("typing").await, Args((ROOM.into(), "Ben".into())));
}

#[tokio::test(start_paused = true)]
async fn nobody_enters_without_a_name_or_speaks_from_outside() {
    let cluster = three_nodes().await;
    let refusal = cluster.node(0).connect("/", &json!({ "name": " " })).await.unwrap_err();
    assert_eq!(refusal.message(), "what is your name?");

    let mut ann = member(&cluster, 0, "Ann").await;
    let eve = visitor(&cluster, 1, "Eve").await;
    let refused = eve.call::<Value>("message", &Args((ROOM, "let me in"))).await.unwrap_err();
    assert_eq!(refused.code(), Some("not_a_member"));
    ann.silent().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_in_a_partition_is_heard_after_it_and_notices_are_not() {
    let cluster = three_nodes().await;
    let ann = member(&cluster, 0, "Ann").await;
    let mut ben = member(&cluster, 1, "Ben").await;
    let mut cid = member(&cluster, 2, "Cid").await;
    assert_eq!(ben.recv::<Args<(String, String)>>("joined").await.0.1, "Cid");

    cluster.partition(&[0], &[1, 2]);
    cluster.settled().await; // each side has given the other up, which takes seconds, and no time
    ann.call::<()>("typing", ROOM).await.unwrap();
    say(&ann, "is anybody there?").await;
    say(&ben, "where is Ann?").await;
    assert_eq!(text(&mut cid).await, "where is Ann?");
    cid.silent().await;

    cluster.heal();
    assert_eq!(text(&mut ben).await, "is anybody there?");
    assert_eq!(text(&mut cid).await, "is anybody there?");
    ben.silent().await;
    cid.silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_node_was_killed_comes_back_and_joins_again() {
    let mut cluster = three_nodes().await;
    let mut ann = member(&cluster, 0, "Ann").await;
    let mut ben = member(&cluster, 1, "Ben").await;

    cluster.kill(0).await; // as `kill -9`
    assert_eq!(ann.disconnected().await, "transport close");
    ann.reconnect(cluster.node(2)).await.unwrap();
    // It is another socket, which is in no room.
    let refused = ann.call::<Value>("message", &Args((ROOM, "too early"))).await.unwrap_err();
    assert_eq!(refused.code(), Some("not_a_member"));
    ann.call::<Value>("join", ROOM).await.unwrap();
    say(&ann, "I am back").await;
    assert_eq!(ben.recv::<Args<(String, String)>>("joined").await.0.1, "Ann");
    assert_eq!(text(&mut ben).await, "I am back");
}

/// The application as `main` starts it, on three nodes.
async fn three_nodes() -> TestCluster {
    TestCluster::start(3, |_| Node::builder().namespace(chat::app())).await
}

/// Somebody in the chat, and in no room.
async fn visitor(cluster: &TestCluster, node: usize, name: &str) -> Client {
    cluster.node(node).connect("/", &json!({ "name": name })).await.expect("everybody with a name may enter")
}

async fn member(cluster: &TestCluster, node: usize, name: &str) -> Client {
    let client = visitor(cluster, node, name).await;
    client.call::<Value>("join", ROOM).await.expect("everybody may join");
    client
}

/// What the others in the room hear.
async fn say(client: &Client, text: &str) -> Value {
    client.call("message", &Args((ROOM, text))).await.expect("members may speak")
}

/// The text of the next message.
async fn text(client: &mut Client) -> String {
    let said: Value = client.recv("message").await;
    said.get("text").and_then(Value::as_str).expect("every message has a text").to_owned()
}

const ROOM: &str = "kitchen";
