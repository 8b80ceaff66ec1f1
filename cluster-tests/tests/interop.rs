//! The official Socket.IO client in its versions, and the small one of the demo, against three node processes behind a
//! stateless round-robin load balancer.

use cluster_tests::fixture::{Fixture, Suite};
use cluster_tests::member::member;
use cluster_tests::secure::Trust;
use cluster_tests::{interop, process::Nodes};
use socketmesh::http::{Listener, Tls};
use tokio::net::TcpListener;

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
async fn where_the_nodes_say_so_the_id_that_clients_of_version_2_know_reaches_them() {
    case_with("the_id_of_version_2_reaches_it", &["--version-2-ids"]).await;
}

#[tokio::test]
async fn a_failure_is_an_ack_and_silence_is_none() {
    case_on(1, "failures", &[]).await;
}

#[tokio::test]
async fn every_value_is_acknowledged() {
    case("acks").await;
}

#[tokio::test]
async fn the_client_acks_events_of_the_server() {
    case("asked").await;
}

#[tokio::test]
async fn an_event_that_no_handler_hears_is_not_taken_for_delivered() {
    case("unheard").await;
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

#[tokio::test]
async fn messages_of_the_official_client_are_deflated_both_ways() {
    let cases = "deflate,default_upgrade,binary_both_ways,acks,deflate@3,deflate@2,binary_both_ways@2";
    case_with(cases, &["--deflate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_works_over_https_and_wss() {
    let tls = Tls::new(&Trust::new().certificate()).expect("a certificate");
    let (mut nodes, mut urls) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let seed = nodes.first().and_then(Fixture::mesh_addr);
        let node = Fixture::start(Suite::Bench, Some(member(number, seed))).await.expect("the node starts");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        urls.push(format!("https://localhost:{}", tcp.local_addr().expect("an address").port()));
        let (serving, listener) = (node.clone(), Listener::new(tcp).tls(tls.clone()));
        tokio::spawn(async move { serving.serve(Suite::Bench, listener).await });
        nodes.push(node);
    }
    for node in &nodes {
        node.ready().await;
    }
    let cases =
        "polling_only,websocket_only,default_upgrade,acks,binary_both_ways,polling_only@2,default_upgrade@2";
    let arguments = [cases.to_owned(), urls[0].clone()].into_iter().chain(urls);
    interop::run("run.mjs", arguments).await;
}

#[tokio::test]
async fn the_official_client_is_recovered_on_any_node() {
    case("recovered_on_any_node").await;
}

#[tokio::test]
async fn the_official_client_is_recovered_with_all_that_it_has_on_its_way() {
    case(interop::RECOVERED).await;
}

#[tokio::test]
async fn the_official_client_is_recovered_on_one_node() {
    case_on(1, interop::RECOVERED, &[]).await;
}

#[tokio::test]
async fn the_client_of_the_demo_works_on_one_node() {
    case_on(1, OWN, &[]).await;
}

#[tokio::test]
async fn the_client_of_the_demo_works_on_a_cluster() {
    case_on(3, OWN, &[]).await;
}

#[tokio::test]
async fn the_client_of_the_demo_is_back_on_another_node_after_its_own_was_killed() {
    case("back_after_its_node_was_killed@own").await;
}

/// The official client is asked as well: so the rules are those that it keeps.
#[tokio::test]
async fn the_client_of_the_demo_keeps_the_rules_of_the_protocols_as_the_official_one_does() {
    for client in ["official", "own"] {
        interop::run("rules.mjs", [client]).await;
    }
}

const OWN: &str = "polling_only@own,websocket_only@own,default_upgrade@own,acks@own,asked@own";

/// Runs cases of `interop/cases.mjs` against nodes of its own.
async fn case(name: &str) {
    case_with(name, &[]).await;
}

async fn case_with(name: &str, arguments: &[&'static str]) {
    case_on(3, name, arguments).await;
}

async fn case_on(count: usize, name: &str, arguments: &[&'static str]) {
    let nodes = Nodes::start_with(option_env!("CARGO_BIN_EXE_fixture"), count, arguments).await;
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
