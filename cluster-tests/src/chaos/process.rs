//! Node processes in network namespaces: how they are started and ended, what they say, and what they counted.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::history::Recorder;
use crate::counters::Counters;

/// How to start a node.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The executable of the fixture.
    pub binary: PathBuf,
    /// The namespace.
    pub space: String,
    /// Its number; a node's name is made of it.
    pub number: usize,
    /// Its address for clients.
    pub http: SocketAddr,
    /// Its address for other nodes.
    pub mesh: SocketAddr,
    /// Whom it asks first.
    pub seeds: Vec<String>,
    /// The secret of its cluster.
    pub secret: &'static str,
    /// Further variables of its environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A running node; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The id of the process.
    pub pid: u32,
    /// What names this life in the history.
    pub life: usize,
    ready: watch::Receiver<bool>,
    _following: JoinSet<()>,
}

/// What the nodes said, with the time at which it was read.
#[derive(Debug, Clone, Default)]
pub struct Said(Arc<Mutex<Vec<(Duration, usize, String)>>>);

impl Launch {
    /// Starts the process. Where `life` is what names it in the history.
    ///
    /// # Errors
    /// The command `ip` or the fixture is missing.
    pub fn start(&self, life: usize, recorder: &Recorder, said: &Said) -> io::Result<Process> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space]).arg("env");
        command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(&self.binary).args(["--suite", "bench", "--log-views", "--hang", HANG]);
        command.args(["--host", &self.http.ip().to_string(), "--port", &self.http.port().to_string()]);
        command.args(["--node-id", &name_of(self.number), "--mesh", &self.mesh.to_string()]);
        command.args(self.seeds.iter().flat_map(|seed| ["--seed", seed]));
        command.env("SOCKETMESH_SECRET", self.secret).stdin(Stdio::null()).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (became_ready, ready) = watch::channel(false);
        let mut following = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            following.spawn(announced(stdout, became_ready));
        }
        if let Some(stderr) = child.stderr.take() {
            following.spawn(follow(stderr, self.number, recorder.clone(), said.clone()));
        }
        let pid = child.id().unwrap_or_default();
        Ok(Process { child, pid, life, ready, _following: following })
    }
}

impl Process {
    /// Whether the node has said that it is ready for clients.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until the node is ready for clients; false if it ends before.
    pub async fn ready(&self) -> bool {
        self.ready.clone().wait_for(|ready| *ready).await.is_ok()
    }

    /// Ends the process without a warning.
    ///
    /// # Errors
    /// The operating system refuses.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks the process to stop, and waits until it has.
    ///
    /// # Errors
    /// It has not ended after [`STOP`]; then it is killed.
    pub async fn stop(mut self) -> io::Result<()> {
        self.signal("INT").await?;
        if timeout(STOP, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            return Err(io::Error::other(format!("did not stop within {STOP:?}")));
        }
        Ok(())
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// The process has ended.
    pub async fn signal(&self, signal: &str) -> io::Result<()> {
        crate::process::signal(&self.child, signal).await
    }
}

/// The node's name.
#[must_use]
pub fn name_of(number: usize) -> String {
    format!("node-{number}")
}

/// The number of the node with this name.
#[must_use]
pub fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix("node-")?.parse().ok()
}

async fn announced(stdout: impl AsyncRead + Unpin, ready: watch::Sender<bool>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.starts_with("listening ") {
            ready.send_replace(true);
        }
    }
}

async fn follow(stderr: impl AsyncRead + Unpin, number: usize, recorder: Recorder, said: Said) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        said.note(recorder.now(), number, line);
    }
}

impl Said {
    fn note(&self, at: Duration, number: usize, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES {
            lines.push((at, number, line));
        }
    }

    /// Everything so far, in time order.
    #[must_use]
    pub fn lines(&self) -> Vec<(Duration, usize, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names of the members that a node saw last, sorted.
    #[must_use]
    pub fn view_of(&self, number: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let view = lines.iter().rev().find_map(|(_, from, line)| (*from == number).then(|| members(line))?);
        view.unwrap_or_default()
    }
}

/// The members in a line about a view: `view epoch=7 members=a,b gone=c;`.
fn members(line: &str) -> Option<Vec<String>> {
    names(line.strip_prefix("view ")?, "members=")
}

/// The members that are missing in a line about a view and were not before.
#[must_use]
pub fn gone(line: &str) -> Option<Vec<String>> {
    names(line.strip_prefix("view ")?, "gone=")
}

fn names(line: &str, key: &str) -> Option<Vec<String>> {
    let field = line.split(' ').find_map(|field| field.strip_prefix(key))?;
    let names = field.trim_end_matches(';').split(',').filter(|name| !name.is_empty());
    Some(names.map(str::to_owned).collect())
}

/// What a node counted: `GET /counters` of the fixture.
///
/// # Errors
/// The node does not answer, or not with counters.
pub async fn counters(http: SocketAddr) -> io::Result<Counters> {
    let fetch = async {
        let mut stream = TcpStream::connect(http).await?;
        let request = format!("GET /counters HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        serde_json::from_str(body).map_err(io::Error::other)
    };
    timeout(ANSWER, fetch).await.map_err(io::Error::other)?
}

/// What the nodes counted, by the number of the node.
pub type Counted = BTreeMap<usize, Counters>;

/// The longest time that a node may take to stop in good order.
pub const STOP: Duration = Duration::from_secs(15);
/// How long a hung application hangs, in seconds.
pub const HANG: &str = "12";
/// How long a node may take to tell what it counted.
const ANSWER: Duration = Duration::from_secs(5);
/// The most lines that are kept.
const LINES: usize = 20_000;
