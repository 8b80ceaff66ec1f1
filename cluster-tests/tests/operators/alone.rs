//! One node, in a cluster or not, does the same alone.

use crate::nodes::{Server, names, sorted};

#[tokio::test]
async fn operators_work_on_a_node_without_a_cluster() {
    operators_work_alone(&Server::serve("a", None).await).await;
}

#[tokio::test]
async fn operators_work_on_a_cluster_of_one_node() {
    let server = Server::start("a", None).await;
    server.sees(1).await;
    operators_work_alone(&server).await;
}

async fn operators_work_alone(server: &Server) {
    let (mut ann, mut bob) = (server.connect("ann").await, server.connect("bob").await);
    let all = server.all();
    assert_eq!(names(&all.fetch_sockets().await), ["ann", "bob"]);
    assert_eq!((all.count().await.sockets, all.to(&ann.id).count().await.sockets), (2, 1));
    all.to(&ann.id).join("red").await;
    assert_eq!(all.all_rooms().await.found, sorted([ann.id.as_str(), bob.id.as_str(), "red"]));
    let asking = tokio::spawn({
        let all = all.clone();
        async move { all.emit_with_ack::<i32, _>("ping", &()).await.expect("it encodes") }
    });
    ann.acknowledges("ping", "1").await;
    bob.acknowledges("ping", "2").await;
    assert_eq!(sorted(asking.await.expect("no panic").replies), [1, 2]);
    let answers = all.server_side_emit_with_ack::<String, _>("name", &()).await.expect("it encodes");
    assert_eq!((answers.replies.len(), answers.missing.len()), (0, 0));
    all.to("red").disconnect();
    assert_eq!(ann.packet().await, "41");
    assert_eq!(names(&all.fetch_sockets().await), ["bob"]);
}
