//! Official clients behind a load balancer, while machines are upgraded.

use std::process::Stdio;

use cluster_tests::deadline::within;
use cluster_tests::interop;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The clients, in a process of their own.
pub(crate) struct Official {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a client has met.
#[derive(Debug, Deserialize)]
struct Met {
    /// Handshakes that failed.
    refused: Vec<String>,
    /// Connections that ended, and why.
    ended: Vec<String>,
    connected: bool,
    /// What came twice or out of order.
    wrong: Vec<String>,
    heard: u64,
}

impl Official {
    pub(crate) async fn start(url: &str) -> Self {
        let mut node = Command::new("node");
        node.arg("fleet.mjs").arg(url).current_dir(interop::installed().await);
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = node.spawn().expect("Node.js");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut official = Self { process, lines };
        assert_eq!(official.line().await, "ready");
        official
    }

    /// Every client found a machine whenever it looked for one, and is back.
    pub(crate) async fn judge(mut self) {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"stop\n").await.expect("it reads");
        let clients: Vec<Met> = serde_json::from_str(&self.line().await).expect("a report");
        for client in &clients {
            assert!(client.refused.is_empty() && client.wrong.is_empty(), "{client:?}");
            assert!(client.connected && client.heard > 100, "{client:?}");
        }
        // Each of five machines takes along the connections that end at it or go through it, and once more, when it ends, those that were
        // opened through it meanwhile: these clients come again after a tenth of a second.
        let ended = clients.iter().map(|client| client.ended.len()).max();
        assert!(ended <= Some(10), "{clients:?}");
    }

    async fn line(&mut self) -> String {
        within("a line of the clients", self.lines.next_line())
            .await
            .expect("it is text")
            .expect("it goes on")
    }
}
