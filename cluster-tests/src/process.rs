//! Nodes as processes, which a test starts, kills, and starts again at the same addresses.

use std::{
    collections::VecDeque,
    fmt::Display,
    io,
    net::{Ipv4Addr, SocketAddr},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use balancer::Balancer;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
    time::timeout,
};

use crate::{deadline::within, fixture::Suite, target::Target};

/// How to start a node.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The executable.
    pub binary: &'static str,
    /// What makes it a node.
    pub command: &'static [&'static str],
    /// Its name.
    pub id: String,
    /// The address for clients; port 0 takes a free one.
    pub http: SocketAddr,
    /// The mesh address; port 0 takes a free one.
    pub mesh: SocketAddr,
    /// The mesh addresses of its seeds.
    pub seeds: Vec<SocketAddr>,
    /// The secret of the cluster.
    pub secret: Option<&'static str>,
    /// Further arguments.
    pub arguments: Vec<&'static str>,
}

impl Launch {
    /// A node of the bench fixture on loopback with the usual secret.
    ///
    /// # Panics
    /// `binary` is absent: the fixture was not built.
    #[must_use]
    pub fn bench(binary: Option<&'static str>, id: &str) -> Self {
        Self {
            binary: binary
                .expect("the fixture's binary (cluster-tests/src/bin/fixture.rs) is built with the tests"),
            command: &["--suite", "bench"],
            id: id.to_owned(),
            http: LOOPBACK,
            mesh: LOOPBACK,
            seeds: Vec::new(),
            secret: Some("a secret of the tests, long enough to be one"),
            arguments: Vec::new(),
        }
    }

    /// Starts the process.
    ///
    /// # Panics
    /// The binary cannot be executed.
    #[must_use]
    pub fn spawn(self) -> Starting {
        let mut command = Command::new(self.binary);
        command.args(self.command).args(["--host", &self.http.ip().to_string(), "--node-id", &self.id]);
        command.args(["--port", &self.http.port().to_string(), "--mesh", &self.mesh.to_string()]);
        for seed in &self.seeds {
            command.args(["--seed", &seed.to_string()]);
        }
        command.args(&self.arguments).env_remove(SECRET).envs(self.secret.map(|secret| (SECRET, secret)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("executing {}: {error}", self.binary));
        let stdout = child.stdout.take().expect("it is piped");
        let log = Log::follow(&self.id, child.stderr.take().expect("it is piped"));
        Starting { launch: self, child, stdout, log }
    }

    /// Starts the process and waits until the node is ready.
    ///
    /// # Panics
    /// The node does not become ready in time.
    pub async fn start(self) -> Node {
        self.spawn().ready().await
    }
}

/// A node that is not ready yet.
#[derive(Debug)]
pub struct Starting {
    launch: Launch,
    child: Child,
    stdout: ChildStdout,
    log: Log,
}

impl Starting {
    /// Waits until the node is ready.
    ///
    /// # Panics
    /// The node does not become ready in time, or ends.
    pub async fn ready(self) -> Node {
        let mut lines = BufReader::new(self.stdout).lines();
        let what = format!("node {} to be ready", self.launch.id);
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(ready) = Ready::parse(&line) {
                    return ready;
                }
            }
            panic!("node {} ended before it was ready", self.launch.id)
        };
        let Ready { http, mesh } = within(what, ready).await;
        // A full pipe would block the node.
        let mut draining = JoinSet::new();
        draining.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Node { launch: self.launch, child: self.child, http, mesh, log: self.log, _draining: draining }
    }

    /// Waits until the node writes a line to stderr that contains `text`.
    ///
    /// # Panics
    /// There is no such line in time.
    pub async fn says(&mut self, text: &str) {
        self.log.says(text).await;
    }

    /// Waits until the process ends, and returns its status and its stderr.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn fails(mut self) -> (ExitStatus, String) {
        let status = within(format!("node {} to give up", self.launch.id), self.child.wait()).await;
        self.log.ended().await;
        (status.expect("a child can be awaited"), self.log.text())
    }
}

/// A ready node. When a test fails, the last lines of its stderr are printed.
#[derive(Debug)]
pub struct Node {
    launch: Launch,
    child: Child,
    /// Its address for clients.
    pub http: SocketAddr,
    /// Its mesh address.
    pub mesh: SocketAddr,
    log: Log,
    _draining: JoinSet<()>,
}

impl Node {
    /// The node as a target.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::of(Suite::Bench, self.http, &[self.http])
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.launch.id
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the process with SIGKILL, and returns how to start it again at the same addresses.
    ///
    /// # Panics
    /// The operating system refuses the signal.
    pub async fn kill(mut self, seeds: &[SocketAddr]) -> Launch {
        self.child.kill().await.expect("a child can be killed");
        self.again(seeds)
    }

    fn again(&self, seeds: &[SocketAddr]) -> Launch {
        Launch { http: self.http, mesh: self.mesh, seeds: seeds.to_vec(), ..self.launch.clone() }
    }

    /// Asks the process to stop in good order, as a service manager does, and waits until it has ended.
    ///
    /// # Panics
    /// It fails, or does not end in time.
    pub async fn stop(mut self) {
        self.signal("TERM").await.expect("a child can be asked to stop");
        let status = within(format!("node {} to stop", self.launch.id), self.child.wait()).await;
        assert!(status.expect("a child can be awaited").success(), "node {} failed", self.launch.id);
    }

    /// The same with more patience. Returns how to start it again at the same addresses, and the last lines of its stderr.
    ///
    /// # Errors
    /// It fails, or does not end in time.
    pub async fn stop_within(
        mut self,
        patience: Duration,
        seeds: &[SocketAddr],
    ) -> io::Result<(Launch, String)> {
        self.signal("TERM").await?;
        let failed = |how: &dyn Display| io::Error::other(format!("node {}: {how}", self.launch.id));
        let status = timeout(patience, self.child.wait()).await;
        let status =
            status.map_err(|_elapsed| failed(&format_args!("did not stop within {patience:?}")))??;
        self.log.ended().await;
        if status.success() { Ok((self.again(seeds), self.said())) } else { Err(failed(&status)) }
    }

    /// Waits until the node writes a line to stderr that contains `text`.
    ///
    /// # Panics
    /// There is no such line in time.
    pub async fn says(&mut self, text: &str) {
        self.log.says(text).await;
    }

    /// The last lines of its stderr.
    #[must_use]
    pub fn said(&self) -> String {
        self.log.text()
    }

    /// The last line of its stderr with this beginning.
    #[must_use]
    pub fn last(&self, prefix: &str) -> Option<String> {
        self.log.text().lines().rfind(|line| line.starts_with(prefix)).map(str::to_owned)
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// The command `kill` is missing, or it fails.
    pub async fn signal(&self, signal: &str) -> io::Result<()> {
        self::signal(&self.child, signal).await
    }
}

/// Sends a signal, by its name without `SIG`.
pub(crate) async fn signal(child: &Child, signal: &str) -> io::Result<()> {
    let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().await?;
    if sent.success() { Ok(()) } else { Err(io::Error::other(format!("kill -s {signal} {pid}: {sent}"))) }
}

/// Processes of one cluster behind a stateless round-robin load balancer.
#[derive(Debug)]
pub struct Nodes {
    /// The nodes, in the order in which they were started.
    pub nodes: Vec<Node>,
    balancer: Balancer,
}

impl Nodes {
    /// Starts `count` nodes of the bench fixture, each with all earlier ones as seeds.
    ///
    /// # Panics
    /// A node does not become ready.
    pub async fn start(binary: Option<&'static str>, count: usize) -> Self {
        Self::start_with(binary, count, &[]).await
    }

    /// Starts `count` nodes with further arguments.
    ///
    /// # Panics
    /// A node does not become ready.
    pub async fn start_with(binary: Option<&'static str>, count: usize, arguments: &[&'static str]) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for number in 1..=count {
            let seeds = nodes.iter().map(|node| node.mesh).collect();
            let arguments = arguments.to_vec();
            let launch = Launch::bench(binary, &format!("node-{number}"));
            nodes.push(Launch { seeds, arguments, ..launch }.start().await);
        }
        let addrs = nodes.iter().map(|node| node.http).collect();
        let balancer = Balancer::start(LOOPBACK, addrs).await.expect("a free port on loopback");
        Self { nodes, balancer }
    }

    /// All nodes, behind the load balancer.
    #[must_use]
    pub fn target(&self) -> Target {
        let addrs: Vec<_> = self.nodes.iter().map(|node| node.http).collect();
        Target::of(Suite::Bench, self.balancer.addr(), &addrs)
    }
}

/// The line that a fixture prints when it is ready: `listening http=… mesh=… node=…`.
#[derive(Debug, PartialEq, Eq)]
struct Ready {
    http: SocketAddr,
    mesh: SocketAddr,
}

impl Ready {
    fn parse(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("listening ")?;
        let field = |name| fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        Some(Self { http: field("http")?.parse().ok()?, mesh: field("mesh")?.parse().ok()? })
    }
}

/// The last lines that a node wrote to stderr.
#[derive(Debug)]
pub(crate) struct Log {
    id: String,
    lines: Arc<Mutex<VecDeque<String>>>,
    written: Arc<tokio::sync::Notify>,
    following: JoinSet<()>,
}

impl Log {
    pub(crate) fn follow(id: &str, stderr: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let written = Arc::new(tokio::sync::Notify::new());
        let mut following = JoinSet::new();
        let (kept, notify) = (Arc::clone(&lines), Arc::clone(&written));
        following.spawn(async move {
            let mut stderr = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = stderr.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
                notify.notify_one();
            }
        });
        Self { id: id.to_owned(), lines, written, following }
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// Waits until everything is read.
    pub(crate) async fn ended(&mut self) {
        within("the end of stderr", async { while self.following.join_next().await.is_some() {} }).await;
    }

    /// Reads no more.
    pub(crate) async fn close(&mut self) {
        self.following.shutdown().await;
    }

    pub(crate) async fn says(&mut self, text: &str) {
        self.says_times(text, 1).await;
    }

    pub(crate) async fn says_times(&mut self, text: &str, times: usize) {
        let saying = async {
            while self.text().matches(text).count() < times {
                self.written.notified().await;
            }
        };
        within(format!("node {} to say {text:?}", self.id), saying).await;
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the output of a failed test")]
            {
                eprintln!("--- node {} said:\n{}", self.id, self.text());
            }
        }
    }
}

const SECRET: &str = "SOCKETMESH_SECRET";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How many lines of stderr are kept.
const KEPT_LINES: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_ready_node_is_understood() {
        let ready = Ready::parse("listening http=127.0.0.1:80 mesh=127.0.0.1:81 node=a").unwrap();
        assert_eq!((ready.http.port(), ready.mesh.port()), (80, 81));
        for other in ["", "listening", "listening http=127.0.0.1:80", "listening http=x mesh=y node=z"] {
            assert_eq!(Ready::parse(other), None, "{other}");
        }
    }
}
