//! The program, `socketmesh demo`, as a process.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::deadline::within;
use crate::fixture::Suite;
use crate::process::{self, Log};
use crate::target::Target;

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    child: Child,
    log: Log,
    said: Option<Lines<BufReader<ChildStdout>>>,
    /// Where its load balancer is.
    pub entry: SocketAddr,
    /// Where its nodes serve clients.
    pub nodes: Vec<SocketAddr>,
}

impl Demo {
    /// Starts `socketmesh demo` on free ports, with these arguments and variables, and waits until it says where it is.
    ///
    /// # Panics
    /// The program cannot be executed, or ends before.
    pub async fn start(
        program: &str,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program);
        command.args(["demo", "--port", "0"]).args(arguments);
        for variable in ["RUST_LOG", "NO_COLOR", "SOCKETMESH_CLIENT_DIR"] {
            command.env_remove(variable);
        }
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program can be executed");
        let log = Log::follow("demo", child.stderr.take().expect("it is piped"));
        let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (mut entry, mut nodes) = (None, Vec::new());
        let greeting = async {
            while let Ok(Some(line)) = said.next_line().await {
                let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://")?.parse().ok());
                match url {
                    Some(url) if line.starts_with("Open ") => entry = Some(url),
                    Some(url) => nodes.push(url),
                    None if line.starts_with("Ctrl-C") => return,
                    None => {}
                }
            }
            panic!("the demo ended before it said where it is: {}", log.text())
        };
        within("the demo to say where it is", greeting).await;
        let entry = entry.expect("the address of the load balancer");
        Self { child, log, said: Some(said), entry, nodes }
    }

    /// Its load balancer.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::of(Suite::Bench, self.entry, &self.nodes)
    }

    /// One of its nodes, counted from 1 as in its name.
    ///
    /// # Panics
    /// There is none of that number.
    #[must_use]
    pub fn node(&self, number: usize) -> Target {
        let addr = *self.nodes.get(number - 1).expect("a node of that number");
        Target::of(Suite::Bench, addr, &[addr])
    }

    /// Reads no further what it prints: its next line is written to a closed pipe.
    pub fn close_stdout(&mut self) {
        self.said = None;
    }

    /// What it wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Sends it a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// There is no `kill`, or it refuses.
    pub async fn signal(&self, signal: &str) -> std::io::Result<()> {
        process::signal(&self.child, signal).await
    }

    /// Waits until it ends, and gives what it wrote to standard error as well.
    ///
    /// # Panics
    /// It does not.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = within("the demo to end", self.child.wait()).await.expect("it can be waited for");
        self.log.ended().await;
        (status, self.log.text())
    }
}
