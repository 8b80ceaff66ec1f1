//! The systems that `deploy` has folders for, as far as they run without containers: the examples as processes, the shipped files in real
//! load balancers, the official clients. One of the nodes ends meanwhile.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use cluster_tests::load_balancer::{LoadBalancer, Program};
use cluster_tests::names::Names;

use crate::{Example, drive};

/// `deploy/named-servers`.
#[tokio::test]
async fn four_named_servers_behind_nginx_carry_private_messages_and_their_acks() {
    let mut servers = Vec::new();
    for name in BEATLES {
        servers.push(named(env!("CARGO_BIN_EXE_private"), servers.first(), name, &[]).await);
    }
    let file = "named-servers/nginx.conf";
    let nginx = LoadBalancer::start_with(Program::Nginx, file, &BEATLES, &addresses(&servers), &[]).await;
    let url = format!("http://{}", nginx.addr);
    drive("deployments/named-servers.mjs", &[&[&*url][..], &BEATLES].concat()).await;
}

/// `deploy/compose-haproxy`.
#[tokio::test]
async fn behind_haproxy_under_a_prefix_one_node_greets_all_and_a_recreated_one_gets_traffic() {
    let port = free_port();
    let at = |number| Ipv4Addr::new(127, 0, 7, number);
    let names = Names::start().await;
    let mut nodes = Vec::new();
    for (name, number) in ["one", "two", "three"].into_iter().zip(1..) {
        nodes.push(container(&nodes, name, at(number), port).await);
    }
    names.set("app", &[at(1), at(2), at(3)]);
    let exchanges = [("127.0.0.11:53", names.addr.to_string()), ("app:3000", format!("app:{port}"))];
    let exchanges = exchanges.each_ref().map(|(from, to)| (*from, to.as_str()));
    let haproxy =
        LoadBalancer::start_with(Program::Haproxy, "compose-haproxy/haproxy.cfg", &[], &[], &exchanges);
    let haproxy = haproxy.await;
    haproxy.serves("/chat/readyz").await;
    let url = format!("http://{}", haproxy.addr);
    drive("deployments/prefix.mjs", &[&url, &processes(&["one", "two", "three"], &nodes)]).await;
    // The leader is gone, and a container comes in its place at another address.
    let _anew = container(&nodes[1..], "anew", at(4), port).await;
    names.set("app", &[at(2), at(3), at(4)]);
    drive("deployments/served-by.mjs", &[&url, "/chat/socket.io/", "anew", "two", "three"]).await;
}

/// `deploy/one-port`.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn workers_share_a_port_and_one_that_is_replaced_costs_its_siblings_nothing() {
    let binary = env!("CARGO_BIN_EXE_leader");
    let first = named(binary, None, "worker-1", &[("REUSE_PORT", "1")]).await;
    let port = first.url.rsplit(':').next().expect("a port").to_owned();
    let shared = [("REUSE_PORT", "1"), ("PORT", &*port)];
    let mut workers = vec![first];
    for name in ["worker-2", "worker-3"] {
        workers.push(named(binary, workers.first(), name, &shared).await);
    }
    let url = workers[0].url.clone();
    drive(
        "deployments/one-port.mjs",
        &[&url, &processes(&["worker-1", "worker-2", "worker-3"], &workers), "worker-2"],
    )
    .await;
    let _replaced = named(binary, workers.first(), "worker-2", &shared).await;
    let exchanges = [("127.0.0.1:3000", url.trim_start_matches("http://"))];
    let nginx = LoadBalancer::start_with(Program::Nginx, "one-port/nginx.conf", &[], &[], &exchanges).await;
    for url in [url, format!("http://{}", nginx.addr)] {
        drive("deployments/served-by.mjs", &[&url, "/socket.io/", "worker-1", "worker-2", "worker-3"]).await;
    }
}

/// `deploy/whiteboard-kubernetes`, whose Ingress makes Traefik the round robin that it is here.
#[tokio::test]
async fn three_whiteboards_behind_traefik_share_what_is_drawn_and_who_is_invited() {
    let mut nodes = Vec::new();
    for name in ["board-1", "board-2", "board-3"] {
        nodes.push(named(env!("CARGO_BIN_EXE_whiteboard"), nodes.first(), name, &[]).await);
    }
    let traefik = LoadBalancer::start(Program::Traefik, "traefik-routes.yaml", &addresses(&nodes)).await;
    traefik.serves("/readyz").await;
    let url = format!("http://{}", traefik.addr);
    for _ in 0..3 {
        drive("whiteboard.mjs", &[&url, &url]).await;
    }
}

/// A node with a name.
async fn named(binary: &str, other: Option<&Example>, name: &str, environment: &[(&str, &str)]) -> Example {
    Example::member(binary, other, &[&[("SOCKETMESH_NODE_ID", name)], environment].concat()).await
}

/// A node that greets often, at an address of its own, as a container has it.
async fn container(others: &[Example], name: &str, address: Ipv4Addr, port: u16) -> Example {
    let (address, port) = (address.to_string(), port.to_string());
    let environment = [("ADDRESS", &*address), ("PORT", &port), ("PERIOD_MS", "200")];
    named(env!("CARGO_BIN_EXE_leader"), others.first(), name, &environment).await
}

fn addresses(nodes: &[Example]) -> Vec<SocketAddr> {
    let address = |node: &Example| node.url.trim_start_matches("http://").parse();
    nodes.iter().map(|node| address(node).expect("an address")).collect()
}

/// The ids of the processes by the names of the nodes, for a script that ends one.
fn processes(names: &[&str], nodes: &[Example]) -> String {
    let processes = names.iter().zip(nodes).map(|(name, node)| (name, node.child.id()));
    serde_json::to_string(&processes.collect::<BTreeMap<_, _>>()).expect("JSON")
}

/// A port that is free on every address of the loopback interface, most likely.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

const BEATLES: [&str; 4] = ["john", "paul", "george", "ringo"];
