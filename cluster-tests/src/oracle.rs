//! Node's own server with the application of the fixture: "as Node" is what it does.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use clap::ValueEnum;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::deadline::within;
use crate::fixture::Suite;
use crate::interop;

/// A process of Node.js. It ends with this one, whose end of the pipe it reads.
#[derive(Debug)]
pub struct Oracle {
    /// Where it serves clients.
    pub addr: SocketAddr,
    _process: Child,
}

impl Oracle {
    /// Starts it.
    ///
    /// # Panics
    /// Node.js or npm is missing, or the server does not start in time.
    pub async fn start(suite: Suite) -> Self {
        let package = interop::installed().await;
        let suite = suite.to_possible_value().expect("every suite has a name");
        let mut command = Command::new("node");
        command.arg("oracle.mjs").arg(suite.get_name()).current_dir(package);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("Node.js is needed for this test");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let port = within("Node's own server to start", lines.next_line()).await.expect("a pipe can be read");
        let port = port.and_then(|port| port.parse().ok()).expect("the port of Node's own server");
        Self { addr: (Ipv4Addr::LOCALHOST, port).into(), _process: process }
    }
}
