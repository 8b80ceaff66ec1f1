//! The official clients, in processes of Node.js: `interop/rolling.mjs`.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::checker::Client;
use crate::interop;

/// What a client is, and where it goes.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) name: String,
    /// The one where it begins, and those that it tries next.
    pub(super) urls: Vec<String>,
    pub(super) transports: &'static [&'static str],
    pub(super) user: usize,
    pub(super) rooms: Vec<String>,
}

/// The running processes; dropping them ends them.
#[derive(Debug)]
pub(super) struct Officials(Vec<Script>);

#[derive(Debug)]
struct Script {
    _process: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

#[derive(Serialize)]
struct Plans<'a> {
    clients: &'a [Plan],
    seed: u64,
    /// Milliseconds between two events of a client, on average.
    every: u64,
}

impl Officials {
    /// Starts them and waits until all are in their rooms.
    ///
    /// # Errors
    /// Node.js does not start the script, or not all clients are connected in time.
    pub(super) async fn start(plans: &[Plan], seed: u64) -> io::Result<Self> {
        let folder = interop::installed().await;
        let mut scripts = Vec::new();
        for (clients, seed) in plans.chunks(PER_PROCESS).zip(seed..) {
            let mut command = Command::new("node");
            command.arg("rolling.mjs").current_dir(&folder);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut process = command.spawn()?;
            let closed = || io::Error::other("the official clients have no pipes");
            let orders = process.stdin.take().ok_or_else(closed)?;
            let lines = BufReader::new(process.stdout.take().ok_or_else(closed)?).lines();
            let mut script = Script { _process: process, orders, lines };
            script.order(&serde_json::to_string(&Plans { clients, seed, every: EVERY })?).await?;
            scripts.push(script);
        }
        for script in &mut scripts {
            let ready = script.line(START).await?;
            if ready != "ready" {
                return Err(io::Error::other(format!("the official clients are not ready: {ready}")));
            }
        }
        Ok(Self(scripts))
    }

    /// Tells all of them something that is not answered.
    pub(super) async fn order(&mut self, order: &str) -> io::Result<()> {
        for script in &mut self.0 {
            script.order(order).await?;
        }
        Ok(())
    }

    /// How many are connected.
    pub(super) async fn connected(&mut self) -> io::Result<usize> {
        let mut connected = 0;
        for script in &mut self.0 {
            connected += script.ask::<usize>("state").await?;
        }
        Ok(connected)
    }

    /// What each of them met so far.
    pub(super) async fn report(&mut self) -> io::Result<Vec<Client>> {
        let mut clients = Vec::new();
        for script in &mut self.0 {
            clients.extend(script.ask::<Vec<Client>>("report").await?);
        }
        Ok(clients)
    }
}

impl Script {
    async fn order(&mut self, order: &str) -> io::Result<()> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(&mut self, order: &str) -> io::Result<T> {
        self.order(order).await?;
        Ok(serde_json::from_str(&self.line(ANSWER).await?)?)
    }

    async fn line(&mut self, patience: Duration) -> io::Result<String> {
        let late = |_| io::Error::other(format!("the official clients said nothing for {patience:?}"));
        let line = timeout(patience, self.lines.next_line()).await.map_err(late)??;
        line.ok_or_else(|| io::Error::other("the official clients ended"))
    }
}

/// How many clients one process has time for.
const PER_PROCESS: usize = 125;
const EVERY: u64 = 5000;
/// How long the start of Node.js and of all clients may take.
const START: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_secs(20);
