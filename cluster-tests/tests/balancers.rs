//! What `deploy` ships for load balancers, with the real ones: a node dies under load.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::interop;
use cluster_tests::nginx::Nginx;
use cluster_tests::process::Nodes;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::sleep;

#[tokio::test]
async fn behind_nginx_a_killed_node_costs_no_request_of_the_others() {
    let mut nodes = Nodes::start(FIXTURE, 4).await;
    let addresses: Vec<_> = nodes.nodes.iter().map(|node| node.http).collect();
    let nginx = Nginx::start(&addresses).await;
    let load = Load::start(&format!("http://{}", nginx.addr)).await;
    // The load is steady for a while, before and after.
    sleep(Duration::from_secs(2)).await;
    let victim = nodes.nodes.remove(2);
    let (dead, pid) = (victim.http, victim.pid().expect("it runs"));
    victim.kill(&[]).await;
    sleep(Duration::from_secs(6)).await;
    let clients = load.stop().await;

    let passed = nginx.passed();
    let (mut repeated, mut through_the_dead) = (0, BTreeSet::new());
    for request in &passed {
        for (node, status) in &request.tries {
            assert!(*node == dead || *status < 500, "{request:?}\n{}", nginx.errors());
        }
        match request.tries[..] {
            [(first, _), .., (_, 200)] if first == dead => repeated += 1,
            [.., (last, status)] if last == dead && status != 200 => {
                through_the_dead.insert(name(&request.uri));
            }
            _ => {}
        }
    }
    assert!(repeated > 0, "nothing was on its way through the dead node");
    let mut unharmed = 0;
    for client in clients {
        if client.owner == pid || through_the_dead.contains(&client.name) {
            continue;
        }
        assert!(client.disconnects.is_empty() && client.wrong.is_empty(), "{client:?}");
        assert_eq!(client.received, client.sent, "{client:?}");
        unharmed += 1;
    }
    // Of 36 clients a quarter were the dead node's, and at most a quarter of the WebSockets went through it.
    assert!(unharmed >= 10, "{unharmed} clients had nothing to do with the dead node");
}

/// The name that a client puts into the query of all its requests.
fn name(uri: &str) -> String {
    uri.split(['?', '&']).find_map(|pair| pair.strip_prefix("name=")).unwrap_or_default().to_owned()
}

/// Official clients under load, in a process of their own.
struct Load {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a client has met.
#[derive(Debug, Deserialize)]
struct Met {
    name: String,
    /// The process of the node that owned its first session.
    owner: u32,
    disconnects: Vec<String>,
    wrong: Vec<String>,
    sent: u64,
    received: u64,
}

impl Load {
    async fn start(url: &str) -> Self {
        let mut command = Command::new("node");
        command.arg("balanced.mjs").arg(url).current_dir(interop::installed().await);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("Node.js");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut load = Self { process, lines };
        assert_eq!(load.line().await, "ready");
        load
    }

    async fn line(&mut self) -> String {
        within("a line of the load", self.lines.next_line()).await.expect("it is text").expect("it goes on")
    }

    async fn stop(mut self) -> Vec<Met> {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"stop\n").await.expect("it reads");
        serde_json::from_str(&self.line().await).expect("a report")
    }
}

const FIXTURE: Option<&str> = option_env!("CARGO_BIN_EXE_fixture");
