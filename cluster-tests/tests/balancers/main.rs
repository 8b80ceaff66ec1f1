//! Each load balancer that `deploy/round-robin` has a file for, really started before four node processes, while official clients and
//! counted requests go through it: one node is stopped in good order, and another one is killed.
//!
//! **Errors that are the ended node's own** are those of sessions that it owned, of WebSockets that passed through it, and of a POST that
//! it had in its hands when it was killed, or that was written to a connection whose end was not read yet: nobody else can know whether it
//! was handled. There may be no other ones. Apache repeats nothing: with it, so is a poll in the hands of the killed node.
#![expect(clippy::panic, reason = "tests fail by panicking")]

mod counted;
mod official;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use cluster_tests::deadline::within;
use cluster_tests::http::Call;
use cluster_tests::interop;
use cluster_tests::load_balancer::{LoadBalancer, Program};
use cluster_tests::process::{Node, Nodes};
use cluster_tests::sources::root;
use hyper::Method;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use counted::Counted;
use official::Official;

#[tokio::test]
async fn nginx_loses_no_request_when_a_node_is_stopped_and_another_killed() {
    loses_no_request(Program::Nginx, "nginx.conf").await;
}

#[tokio::test]
async fn haproxy_loses_no_request_when_a_node_is_stopped_and_another_killed() {
    loses_no_request(Program::Haproxy, "haproxy.cfg").await;
}

#[tokio::test]
async fn apache_loses_what_it_cannot_repeat_and_nothing_else() {
    loses_no_request(Program::Apache, "apache.conf").await;
}

#[tokio::test]
async fn caddy_loses_no_request_when_a_node_is_stopped_and_another_killed() {
    loses_no_request(Program::Caddy, "Caddyfile").await;
}

#[tokio::test]
async fn traefik_loses_no_request_when_a_node_is_stopped_and_another_killed() {
    loses_no_request(Program::Traefik, "traefik-routes.yaml").await;
}

#[tokio::test]
async fn envoy_loses_no_request_when_a_node_is_stopped_and_another_killed() {
    loses_no_request(Program::Envoy, "envoy.yaml").await;
}

#[tokio::test]
async fn official_clients_are_recovered_through_nginx() {
    recovered_through(Program::Nginx, "nginx.conf").await;
}

#[tokio::test]
async fn official_clients_are_recovered_through_haproxy() {
    recovered_through(Program::Haproxy, "haproxy.cfg").await;
}

/// Their schema is that of Compose. No container engine runs them here.
#[tokio::test]
async fn the_compose_files_keep_their_schema_and_are_as_hard_as_they_say() {
    interop::run("compose.mjs", [root().join("deploy")]).await;
}

async fn recovered_through(program: Program, file: &str) {
    let _alone = ALONE.lock().await;
    let nodes = Nodes::start_with(FIXTURE, 3, &[]).await.nodes;
    let addresses: Vec<_> = nodes.iter().map(|node| node.http).collect();
    let balancer = LoadBalancer::start(program, file, &addresses).await;
    balancer.serves("/readyz").await;
    reaches_all(&balancer, nodes.iter().map(|node| node.id().to_owned()).collect()).await;
    let cases = format!("recovered_on_any_node,{}", interop::RECOVERED);
    let urls = [balancer.addr].into_iter().chain(addresses).map(|addr| format!("http://{addr}"));
    interop::run("run.mjs", std::iter::once(cases).chain(urls)).await;
}

async fn loses_no_request(program: Program, file: &str) {
    // Seconds count here: what a node does not answer in one because the machine is busy would be an error.
    let _alone = ALONE.lock().await;
    let mut nodes = Nodes::start_with(FIXTURE, 4, &["--drain-notice", "2500"]).await.nodes;
    let addresses: Vec<_> = nodes.iter().map(|node| node.http).collect();
    let balancer = LoadBalancer::start(program, file, &addresses).await;
    balancer.serves("/readyz").await;
    reaches_all(&balancer, nodes.iter().map(|node| node.id().to_owned()).collect()).await;
    let counted = Counted::start(balancer.addr);
    let official = Official::start(&format!("http://{}", balancer.addr)).await;
    // The load is steady for a while, before and after.
    sleep(Duration::from_secs(1)).await;

    let stopped = End::of(nodes.remove(2), Node::stop).await;
    sleep(Duration::from_secs(1)).await;
    let killed = End::of(nodes.remove(1), async |node| drop(node.kill(&[]).await)).await;
    sleep(Duration::from_secs(4)).await;

    let repeats = !matches!(program, Program::Apache);
    let (counted, official) = (counted.stop().await, official.stop().await);
    #[expect(clippy::print_stdout, reason = "what was counted, for who looks")]
    {
        println!("{program:?}: {}; {}", counted.summary(), official.summary());
    }
    counted.judge(&stopped, &killed, repeats, &balancer);
    official.judge(&stopped, &killed, repeats);
}

/// Waits until the load balancer has checked all nodes and sends each of them newcomers.
async fn reaches_all(balancer: &LoadBalancer, mut missing: BTreeSet<String>) {
    let reaching = async {
        while !missing.is_empty() {
            let call = Call::new(balancer.addr, Method::GET, "/socket.io/?EIO=4&transport=polling");
            let reply = call.send().await;
            missing.remove(reply.header("x-socketmesh-node").unwrap_or_default());
        }
    };
    within("newcomers at every node", reaching).await;
}

/// How a node ended.
struct End {
    name: String,
    pid: u32,
    /// When it was told to, and when the process was gone.
    between: [Instant; 2],
    /// The same in milliseconds since 1970.
    milliseconds: [u64; 2],
}

impl End {
    async fn of(node: Node, end: impl AsyncFnOnce(Node)) -> Self {
        let (name, pid) = (node.id().to_owned(), node.pid().expect("it runs"));
        let began = (Instant::now(), milliseconds());
        end(node).await;
        Self { name, pid, between: [began.0, Instant::now()], milliseconds: [began.1, milliseconds()] }
    }
}

fn milliseconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "official clients report times of the clock")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

static ALONE: Mutex<()> = Mutex::const_new(());
const FIXTURE: Option<&str> = option_env!("CARGO_BIN_EXE_fixture");
