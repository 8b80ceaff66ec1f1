//! A node that dies or shuts down while a request to it is pending.

use std::time::Duration;

use cluster_tests::deadline::within;
use tokio::runtime::Runtime;

use crate::nodes::{Server, names, sorted, three_with_clients};

/// Nodes a and b, and a third on a runtime of its own, which can end at any moment.
async fn with_a_mortal() -> ([Server; 2], Server, Runtime) {
    let a = Server::start("a", None).await;
    let seed = a.node.mesh_addr();
    let b = Server::start("b", seed).await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a thread");
    let mortal = runtime.spawn(Server::start("mortal", seed)).await.expect("it starts");
    for server in [&a, &b, &mortal] {
        server.sees(3).await;
    }
    ([a, b], mortal, runtime)
}

#[tokio::test]
async fn a_node_that_dies_is_not_waited_for_and_its_sockets_are_missing() {
    let ([a, b], mortal, runtime) = with_a_mortal().await;
    let (mut bob, mut moe) = (b.connect("bob").await, mortal.connect("moe").await);
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_secs(3600));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    bob.acknowledges("ping", "2").await;
    moe.asked("ping").await;
    // Its response with the number of asked sockets arrives before this ack.
    assert_eq!(names(&a.all().fetch_sockets().await), ["bob", "moe"]);
    runtime.shutdown_background();
    drop(mortal);
    let acks = within("the acks", asking).await.unwrap();
    assert_eq!((acks.replies, acks.missing.len()), (vec![2], 1));
    let missing = &acks.missing[0];
    assert_eq!((missing.socket.to_string(), missing.node.as_str()), (moe.id, "mortal"));
    assert_eq!(acks.missing_nodes, ["mortal".parse().unwrap()]);
}

#[tokio::test]
async fn a_node_that_dies_does_not_answer_a_server_event_and_is_not_asked_again() {
    let ([a, _b], mortal, runtime) = with_a_mortal().await;
    let asking = tokio::spawn({
        let all = a.all();
        async move { all.server_side_emit_with_ack::<String, _>("hang or name", &()).await.unwrap() }
    });
    tokio::task::yield_now().await;
    // Behind the event: the others have got that.
    assert!(a.all().fetch_sockets().await.missing.is_empty());
    runtime.shutdown_background();
    drop(mortal);
    let answers = asking.await.unwrap();
    assert_eq!(answers.replies, [("b".parse().unwrap(), "b".to_owned())]);
    assert_eq!(answers.missing, ["mortal".parse().unwrap()]);
    a.sees(2).await;
    let sockets = a.all().timeout(Duration::from_secs(3600)).fetch_sockets();
    assert!(within("the sockets", sockets).await.missing.is_empty());
}

#[tokio::test]
async fn a_node_that_shuts_down_answers_first_and_is_not_waited_for() {
    let ([a, _b, c], [mut ann, mut bob, mut cat]) = three_with_clients().await;
    let asking = tokio::spawn({
        let target = a.all().timeout(Duration::from_secs(3600));
        async move { target.emit_with_ack::<i32, _>("ping", &()).await.unwrap() }
    });
    ann.acknowledges("ping", "1").await;
    bob.acknowledges("ping", "2").await;
    cat.asked("ping").await;
    c.node.shutdown().await;
    let acks = within("the acks", asking).await.unwrap();
    assert_eq!((sorted(acks.replies), acks.missing.len(), acks.missing_nodes), (vec![1, 2], 1, vec![]));
}
