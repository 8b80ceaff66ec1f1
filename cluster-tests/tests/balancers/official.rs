//! The official clients of versions 2.5 and 4.8 under load, in a process of their own: `interop/balanced.mjs`.

use std::process::Stdio;

use cluster_tests::interop;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Duration, timeout};

use crate::End;

/// The process.
pub(crate) struct Official {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Official {
    pub(crate) async fn start(url: &str) -> Self {
        let mut command = Command::new("node");
        command.arg("balanced.mjs").arg(url).current_dir(interop::installed().await);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("Node.js");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let ready = timeout(READY, lines.next_line()).await.expect("clients that are connected");
        let ready = ready.expect("it is text");
        assert_eq!(ready.as_deref(), Some("ready"));
        Self { process, lines }
    }

    pub(crate) async fn stop(mut self) -> Clients {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"stop\n").await.expect("it reads");
        let report = timeout(BACK, self.lines.next_line()).await.expect("a report in time");
        let report = report.expect("it is text").expect("a report");
        Clients(serde_json::from_str(&report).expect("a report"))
    }
}

/// What they have met.
pub(crate) struct Clients(Vec<Client>);

#[derive(Debug, Deserialize)]
struct Client {
    /// Its transport and version.
    name: String,
    kind: String,
    /// The processes of the nodes that owned its sessions.
    owners: Vec<u32>,
    disconnects: Vec<Disconnect>,
    wrong: Vec<String>,
    sent: u64,
    received: u64,
    connected: bool,
}

#[derive(Debug, Deserialize)]
struct Disconnect {
    at: u64,
    #[expect(dead_code, reason = "it is printed")]
    reason: String,
}

impl Clients {
    pub(crate) fn summary(&self) -> String {
        let disconnects = |client: &Client| client.disconnects.len();
        let events: u64 = self.0.iter().map(|client| client.received).sum();
        let closed: usize = self.0.iter().map(disconnects).sum();
        format!("{} clients, {closed} disconnected, {events} events", self.0.len())
    }

    pub(crate) fn judge(&self, stopped: &End, killed: &End, repeats: bool) {
        let (mut unharmed, mut posts) = (0, 0);
        for client in &self.0 {
            assert!(client.connected, "a client did not come back: {client:?}");
            assert!(client.wrong.is_empty(), "{client:?}");
            if client.disconnects.is_empty() {
                assert_eq!(client.received, client.sent, "{client:?}");
                unharmed += 1;
            }
            for (disconnect, owner) in client.disconnects.iter().zip(&client.owners) {
                // The WebSocket of a session may pass another node than its owner. Of a polling client the killed node may have had a
                // POST in its hands, which is seldom.
                let caused = |end: &&End| {
                    let [from, to] = end.milliseconds;
                    let passing = client.kind != "polling" || end.pid == killed.pid;
                    (from..to + LATE).contains(&disconnect.at) && (*owner == end.pid || passing)
                };
                let Some(end) = [stopped, killed].into_iter().find(caused) else {
                    panic!("{}: a session of a living node was closed: {client:?}", client.name)
                };
                posts += usize::from(client.kind == "polling" && *owner != end.pid);
            }
        }
        assert!(!repeats || posts <= 2, "polling clients of living nodes were disconnected: {:?}", self.0);
        // Of 24 clients a quarter were each node's, and some WebSockets passed it.
        assert!(unharmed >= 5, "{unharmed} clients had nothing to do with the two nodes: {:?}", self.0);
    }
}

/// Milliseconds until a client notices on a busy machine.
const LATE: u64 = 5000;
/// Clients of every kind have connected through a load balancer that has just been started.
const READY: Duration = Duration::from_secs(60);
/// Clients are given so long to be back.
const BACK: Duration = Duration::from_secs(35);
