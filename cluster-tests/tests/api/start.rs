//! Configurations with which a node does not start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cluster_tests::app::connected;
use cluster_tests::deadline::within;
use cluster_tests::fixture::Suite;
use cluster_tests::member::member;
use cluster_tests::messages::Messages;
use cluster_tests::nodes;
use cluster_tests::target::Target;
use socketmesh::{
    EventError, Handshake, NamespaceError, NamespaceRef, NodeBuilder, RawArgs, RoomEvent, Socket, StartError,
};
use socketmesh::{Node, engine, namespace, namespaces, namespaces_where};

async fn unit(_: Socket, (): ()) -> Result<(), EventError> {
    Ok(())
}

async fn refusal(builder: NodeBuilder) -> String {
    match builder.start().await {
        Err(StartError::Namespace(NamespaceError { path, fault, .. })) => format!("{path}: {fault}"),
        other => panic!("a fault of a namespace, not {other:?}"),
    }
}

#[tokio::test]
async fn registering_two_handlers_for_one_event_is_an_error() {
    let connected = async |_: Socket| Ok(());
    let left = async |_: Socket, _| Ok(());
    let fallback = async |_: Socket, _: String, _: RawArgs| Ok(());
    let room = async |_: NamespaceRef, _: RoomEvent| {};
    for (described, expected) in [
        (namespace("/a").on("x", unit).on("x", unit), r#"/a: two handlers for the event "x""#),
        (namespace("a").on_connect(connected).on_connect(connected), "/a: two handlers for on_connect"),
        (namespace("/").on_disconnect(left).on_disconnect(left), "/: two handlers for on_disconnect"),
        (
            namespace("/").on_disconnecting(left).on_disconnecting(left),
            "/: two handlers for on_disconnecting",
        ),
        (namespace("/").on_room(room).on_room(room), "/: two handlers for on_room"),
        (
            namespace("/").on_update(|_: &(), (): ()| ()).on_update(|_: &(), (): ()| ()),
            "/: two handlers for on_update",
        ),
        (namespace("/").fallback(fallback).fallback(fallback), "/: two handlers for fallback"),
        (namespace("/").events(unit).events(unit), "/: two handlers for events"),
        (namespace("/").concurrent(2).concurrent(3), "/: two handlers for concurrent"),
    ] {
        assert_eq!(refusal(Node::builder().namespace(described)).await, expected);
    }
}

#[tokio::test]
async fn a_limit_that_makes_no_sense_is_an_error() {
    for (described, expected) in [
        (namespace("/").concurrent(0), "/: concurrent(0) lets no handler run"),
        (namespace("/").on("x", unit).concurrent_event("x", 0), "/: concurrent(0) lets no handler run"),
        (
            namespace("/").on("x", unit).concurrent_event("x", 2).concurrent_event("x", 3),
            r#"/: two limits for the event "x""#,
        ),
        (
            namespace("/").on("x", unit).concurrent_event("y", 2),
            r#"/: a limit for the event "y", which has no handler"#,
        ),
    ] {
        assert_eq!(refusal(Node::builder().namespace(described)).await, expected);
    }
}

#[tokio::test]
async fn registering_a_namespace_twice_is_an_error() {
    let builder = Node::builder().namespace(namespace("/a")).namespace(namespace("a"));
    assert_eq!(refusal(builder).await, "/a: described twice");
}

#[tokio::test]
async fn an_invalid_or_repeated_pattern_is_an_error() {
    let fault = refusal(Node::builder().namespace(namespaces("^/room-("))).await;
    assert!(fault.starts_with("^/room-(: not a pattern: "), "{fault}");
    let twice = Node::builder().namespace(namespaces("^/a")).namespace(namespaces("^/a"));
    assert_eq!(refusal(twice).await, "^/a: described twice");
    let nobody = || namespaces_where(async |_: Handshake| Ok(false));
    let predicates = Node::builder().namespace(nobody()).namespace(nobody());
    predicates.start().await.expect("two predicates are two").shutdown().await;
}

#[tokio::test]
async fn a_node_starts_again_after_its_end_as_a_new_life() {
    let handled = Arc::new(AtomicU32::new(0));
    let counting = Arc::clone(&handled);
    let count = async move |_: Socket, (): ()| Ok(counting.fetch_add(1, Ordering::Relaxed) + 1);
    let builder = Node::builder().namespace(namespace("/").on("count", count));
    for life in 1..=3 {
        let node = builder.clone().start().await.expect("it starts");
        let http = nodes::serve(&node).await;
        let mut ws = Target::of(Suite::Socket, http, &[http]).websocket().await;
        ws.send("40").await;
        connected(&ws.packet_text().await, "/");
        ws.send(r#"421["count"]"#).await;
        assert_eq!(ws.packet_text().await, format!("431[{life}]"), "what its handlers hold stays");
        assert!(
            node.counters().contains(&("socketmesh_engine_sessions_opened_total", 1)),
            "counts begin anew"
        );
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_member_starts_again_after_its_end_as_a_new_life() {
    let app = Node::builder().namespace(namespace("/").on("x", unit));
    let first = app.clone().cluster(member(0, None)).start().await.expect("it starts");
    let builder = app.cluster(member(1, first.mesh_addr()));
    for _ in 0..2 {
        let node = builder.clone().start().await.expect("it starts");
        node.ready().await;
        let mut view = first.view().expect("it is in a cluster");
        drop(within("two members", view.wait_for(|view| view.members.len() == 2)).await.expect("it runs"));
        node.shutdown().await;
        drop(within("one member", view.wait_for(|view| view.members.len() == 1)).await.expect("it runs"));
    }
    first.shutdown().await;
}

#[tokio::test]
async fn a_setting_outside_of_its_range_is_an_error() {
    let config = engine::Config::default().max_payload(0);
    let refused = Node::builder().engine(config).start().await.expect_err("no payload at all");
    assert_eq!(refused.to_string(), "max_payload = 0: expected 1 to 268435456 bytes");
}
