//! Clients with the MessagePack parser: the wire by hand, and the official clients in versions 4 and 2.
//!
//! Every rule is held on one node, and on three nodes of a cluster behind a stateless round-robin load balancer.
#![expect(clippy::panic, reason = "tests fail by panicking")]

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::deadline::within;
use cluster_tests::member::member;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::nodes::Nodes;
use cluster_tests::websocket::WebSocket;
use cluster_tests::{fixture, interop, on_one_and_three_nodes};
use socketmesh::socket::{Config, Parser};
use socketmesh::{Node, NodeBuilder, engine};

/// The nodes that all tests share.
fn nodes(count: usize) -> &'static Nodes {
    static ONE: OnceLock<Nodes> = OnceLock::new();
    static THREE: OnceLock<Nodes> = OnceLock::new();
    Nodes::shared(if count == 1 { &ONE } else { &THREE }, move || Nodes::start(count, |_| described()))
}

fn described() -> NodeBuilder {
    let engine = engine::Config::default().max_payload(4_000_000).allow_eio3(true);
    Node::builder()
        .engine(engine)
        .socket(Config::default().parser(Parser::MessagePack))
        .namespace(fixture::rooms("/"))
        .namespace(fixture::guarded())
}

async fn binary(ws: &mut WebSocket) -> Vec<u8> {
    match ws.packet().await {
        Received::Binary(packet) => packet,
        other => panic!("a binary message, not {other:?}"),
    }
}

/// A client in the main namespace, on the `n`th node.
async fn connected(nodes: &Nodes, n: usize) -> WebSocket {
    let mut ws = nodes.target.at(n).websocket().await;
    ws.send_binary(b"\x82\xa4type\x00\xa3nsp\xa1/").await;
    let answer = binary(&mut ws).await;
    assert!(answer.starts_with(b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\x81\xa3sid\xb4"), "{answer:?}");
    ws
}

async fn a_packet_is_one_binary_message(nodes: &Nodes) {
    let mut ws = connected(nodes, 0).await;
    let event = b"\x85\xa4type\x02\xa4data\x92\xa4echo\x93\xc2\xcb\x3f\xe0\0\0\0\0\0\0\xa3yes\
        \xa7options\x81\xa8compress\xc3\xa2id\x00\xa3nsp\xa1/";
    ws.send_binary(event).await;
    let ack = b"\x84\xa4type\x03\xa3nsp\xa1/\xa4data\x91\x93\xc2\xcb\x3f\xe0\0\0\0\0\0\0\xa3yes\xa2id\x00";
    assert_eq!(binary(&mut ws).await, ack);
}

async fn bytes_stay_in_their_place(nodes: &Nodes) {
    let mut ws = connected(nodes, 0).await;
    ws.send_binary(
        b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa4echo\x81\xa1k\x91\xc4\x02\x01\xff\xa2id\x07",
    )
    .await;
    let ack = b"\x84\xa4type\x03\xa3nsp\xa1/\xa4data\x91\x81\xa1k\x91\xc4\x02\x01\xff\xa2id\x07";
    assert_eq!(binary(&mut ws).await, ack);
}

async fn a_room_is_reached_from_any_node(nodes: &Nodes) {
    let (mut one, mut other) = (connected(nodes, 0).await, connected(nodes, 2).await);
    for ws in [&mut one, &mut other] {
        ws.send_binary(b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa4join\xa3red\xa2id\x01").await;
        assert_eq!(binary(ws).await, b"\x84\xa4type\x03\xa3nsp\xa1/\xa4data\x91\x90\xa2id\x01");
    }
    one.send_binary(b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x93\xa3msg\xa3red\x92\x01\xc4\x01\x09").await;
    assert_eq!(
        binary(&mut other).await,
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa3msg\x92\x01\xc4\x01\x09"
    );
}

async fn a_refusal_is_connect_error(nodes: &Nodes) {
    let mut ws = nodes.target.websocket().await;
    ws.send_binary(b"\x83\xa4type\x00\xa3nsp\xa8/guarded\xa4data\x81\xa4word\xa2no").await;
    let refused = b"\x83\xa4type\x04\xa3nsp\xa8/guarded\xa4data\x82\xa7message\xaawrong word\xa4data\x02";
    assert_eq!(binary(&mut ws).await, refused);
    ws.send_binary(b"\x82\xa4type\x00\xa3nsp\xa5/none").await;
    let refused = b"\x83\xa4type\x04\xa3nsp\xa5/none\xa4data\x81\xa7message\xb1Invalid namespace";
    assert_eq!(binary(&mut ws).await, refused);
}

async fn leaving_and_coming_back_is_the_same_as_in_json(nodes: &Nodes) {
    let mut ws = connected(nodes, 0).await;
    ws.send_binary(b"\x82\xa4type\x01\xa3nsp\xa1/").await;
    ws.send_binary(b"\x82\xa4type\x00\xa3nsp\xa1/").await;
    assert!(binary(&mut ws).await.starts_with(b"\x83\xa4type\x00"));
}

async fn over_polling_a_packet_is_base64(nodes: &Nodes) {
    let polling = nodes.target.polling().await;
    polling.send(format!("b{}", STANDARD.encode(b"\x82\xa4type\x00\xa3nsp\xa1/"))).await;
    let packet = polling.packets(1).await.concat();
    let packet = packet.strip_prefix('b').and_then(|base64| STANDARD.decode(base64).ok()).expect("bytes");
    assert!(packet.starts_with(b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\x81\xa3sid\xb4"), "{packet:?}");
}

async fn an_invalid_packet_closes_the_session(nodes: &Nodes) {
    for message in [&b""[..], b"\xc1", b"\x82\xa4type\x09\xa3nsp\xa1/", b"\x82\xa4type\x02\xa3nsp\xa1/"] {
        let mut ws = connected(nodes, 0).await;
        ws.send_binary(message).await;
        ws.closed().await;
    }
    // This is the first packet of a client with the other parser.
    let mut ws = nodes.target.websocket().await;
    ws.send("40").await;
    ws.closed().await;
}

on_one_and_three_nodes! {
    crate::nodes:
    a_packet_is_one_binary_message,
    bytes_stay_in_their_place,
    a_room_is_reached_from_any_node,
    a_refusal_is_connect_error,
    leaving_and_coming_back_is_the_same_as_in_json,
    over_polling_a_packet_is_base64,
    an_invalid_packet_closes_the_session,
}

#[tokio::test]
async fn nodes_with_different_parsers_refuse_each_other() {
    let first = described().cluster(member(0, None)).start().await.expect("it starts");
    let json = Node::builder().namespace(fixture::rooms("/"));
    let stranger = json.cluster(member(1, first.mesh_addr())).start().await.expect("it starts");
    let kin = described().cluster(member(2, first.mesh_addr())).start().await.expect("it starts");
    within("the kin to be ready", kin.ready()).await;
    let view = first.view().expect("it is in a cluster");
    assert_eq!(view.borrow().members.len(), 2);
    assert!(!stranger.is_ready());
}

/// Runs cases of `interop/cases.mjs` against three nodes.
async fn case(names: &str) {
    let nodes = nodes(3);
    let addrs = std::iter::once(nodes.target.addr()).chain((0..3).map(|n| nodes.target.at(n).addr()));
    let urls = addrs.map(|addr| format!("http://{addr}"));
    interop::run("run.mjs", std::iter::once(names.to_owned()).chain(urls)).await;
}

#[tokio::test]
async fn the_official_client_works_over_every_transport() {
    case("polling_only@msgpack,websocket_only@msgpack,default_upgrade@msgpack").await;
}

#[tokio::test]
async fn every_value_is_acknowledged_and_bytes_travel_both_ways() {
    case("acks@msgpack,binary_both_ways@msgpack,targeted_emit@msgpack").await;
}

#[tokio::test]
async fn values_beyond_json_arrive_as_javascript_would_write_them_in_json() {
    case("values_beyond_json@msgpack").await;
}

#[tokio::test]
async fn the_official_client_sends_auth_and_receives_a_refusal() {
    case("a_guarded_namespace@msgpack").await;
}

#[tokio::test]
async fn clients_of_version_2_work_with_their_parser() {
    case("polling_only@msgpack2,websocket_only@msgpack2,acks@msgpack2,binary_both_ways@msgpack2").await;
}
