//! The official Socket.IO client in its versions against three node processes behind a balancer without memory.

use cluster_tests::{interop, process::Nodes};

#[tokio::test]
async fn the_official_client_works_over_polling_only() {
    case("polling_only").await;
}

#[tokio::test]
async fn the_official_client_works_over_websocket_only() {
    case("websocket_only").await;
}

#[tokio::test]
async fn the_official_client_upgrades_by_default_and_loses_nothing() {
    case("default_upgrade").await;
}

#[tokio::test]
async fn clients_of_version_2_work_over_every_transport() {
    case("polling_only@2,websocket_only@2,default_upgrade@2,acks@2,asked@2,binary_both_ways@2").await;
}

#[tokio::test]
async fn clients_of_version_3_work_over_every_transport() {
    case("polling_only@3,websocket_only@3,default_upgrade@3,acks@3,asked@3,binary_both_ways@3").await;
}

#[tokio::test]
async fn clients_of_the_oldest_version_4_work_over_every_transport() {
    case("polling_only@4.0,websocket_only@4.0,default_upgrade@4.0,acks@4.0,asked@4.0,binary_both_ways@4.0")
        .await;
}

#[tokio::test]
async fn rooms_span_the_nodes_and_the_versions() {
    case("rooms_across_nodes").await;
}

#[tokio::test]
async fn bytes_travel_between_clients_of_every_version() {
    case("binary_between_versions").await;
}

#[tokio::test]
async fn the_id_that_clients_of_version_2_know_reaches_nobody() {
    case("the_id_of_version_2_reaches_nobody").await;
}

#[tokio::test]
async fn every_value_is_acknowledged() {
    case("acks").await;
}

#[tokio::test]
async fn what_the_server_asks_is_answered() {
    case("asked").await;
}

#[tokio::test]
async fn every_kind_of_client_is_back_on_another_node_after_its_own_was_killed() {
    case("back_after_its_node_was_killed").await;
}

#[tokio::test]
async fn a_megabyte_of_binary_travels_both_ways() {
    case("binary_both_ways").await;
}

#[tokio::test]
async fn a_socket_is_reached_by_its_id_on_any_node() {
    case("targeted_emit").await;
}

#[tokio::test]
async fn every_message_of_two_hundred_clients_in_twenty_rooms_each_is_accounted_for() {
    case("two_hundred_clients_in_twenty_rooms_each").await;
}

/// Runs cases of `interop/cases.mjs` against nodes of its own.
async fn case(name: &str) {
    let nodes = Nodes::start(option_env!("CARGO_BIN_EXE_fixture"), 3).await;
    let addrs = std::iter::once(nodes.target().addr()).chain(nodes.nodes.iter().map(|node| node.http));
    let urls = addrs.map(|addr| format!("http://{addr}"));
    interop::run("run.mjs", std::iter::once(name.to_owned()).chain(urls)).await;
}

/// The client that nodes send browsers to is the one that these tests drive.
#[test]
fn the_client_on_the_cdn_is_the_client_under_test() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/package-lock.json"));
    let lock: serde_json::Value = serde_json::from_str(&lock.expect("the lock file")).expect("JSON");
    let tested = lock.pointer("/packages/node_modules~1socket.io-client/version");
    assert_eq!(tested.and_then(serde_json::Value::as_str), Some(socketmesh::http::CLIENT_VERSION));
}
