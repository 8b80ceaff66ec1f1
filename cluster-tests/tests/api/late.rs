//! Namespaces that nodes are given while clients are connected.

use cluster_tests::app::{App, connected, plain, with_plain_handlers};
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use socketmesh::{Namespace, namespace, namespaces};

/// Gives every node one more description.
fn add<Stage>(app: &App, described: impl Fn() -> Namespace<(), Stage>) {
    for node in &app.nodes.nodes {
        node.add_namespace(described()).expect("there is none like it");
    }
}

fn refusal<Stage>(app: &App, described: Namespace<(), Stage>) -> String {
    app.node(0).add_namespace(described).expect_err("there is one like it").to_string()
}

async fn clients_may_enter_a_namespace_from_when_it_was_added(app: &App) {
    let path = "/late";
    let early = app.of(0, path);
    let mut ws = app.nodes.target.at(1).websocket().await;
    ws.send("40/late,").await;
    assert_eq!(ws.packet_text().await, r#"44/late,{"message":"Invalid namespace"}"#);
    add(app, || plain(path, &app.seen));
    let mut second_try = app.enter(ws, path).await;
    let mut others = [app.guest_in(path, 0).await, app.guest_in(path, 2).await];
    early.emit("said", "to all").expect("it encodes");
    assert_eq!(second_try.event().await, r#"["said","to all"]"#);
    for other in &mut others {
        assert_eq!(other.event().await, r#"["said","to all"]"#);
    }
    assert_eq!(second_try.ask(r#"["echo",1]"#).await, "[1]");
    assert_eq!(early.count().await.sockets, 3);
}

async fn a_pattern_may_be_added(app: &App) {
    let early = app.of(0, "/later-1");
    add(app, || with_plain_handlers(namespaces(r"^/later-\d$"), &app.seen));
    let mut guest = app.guest_in("/later-1", 0).await;
    early.emit("said", "early").expect("it encodes");
    assert_eq!(guest.event().await, r#"["said","early"]"#);
    let mut ws = app.nodes.target.at(2).websocket().await;
    ws.send("40/later-2,").await;
    connected(&ws.packet_text().await, "/later-2");
    ws.send("40/later-x,").await;
    assert_eq!(ws.packet_text().await, r#"44/later-x,{"message":"Invalid namespace"}"#);
}

async fn what_contradicts_what_there_is_already_is_not_added(app: &App) {
    assert_eq!(refusal(app, namespace("/")), "namespace /: described twice");
    add(app, || namespace("/once"));
    assert_eq!(refusal(app, namespace("once")), "namespace /once: described twice");
    let pattern = r"^/room-[a-z0-9-]+$";
    assert_eq!(refusal(app, namespaces(pattern)), format!("namespace {pattern}: described twice"));
    assert!(refusal(app, namespaces("(")).starts_with("namespace (: not a pattern: "));
    let mut guest = app.guest_in("/room-in-use", 0).await;
    assert_eq!(
        refusal(app, namespace("/room-in-use")),
        format!("namespace /room-in-use: it is in use as one of {pattern}")
    );
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

on_one_and_three_nodes! {
    crate::app:
    clients_may_enter_a_namespace_from_when_it_was_added,
    a_pattern_may_be_added,
    what_contradicts_what_there_is_already_is_not_added,
}
