//! A cluster of the fixture's processes on this machine, and what they say about each other.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Nodes that were started at once. They end when this is dropped.
pub(crate) struct Cluster {
    pub(crate) seen: Arc<Seen>,
    pub(crate) began: Instant,
    nodes: Vec<Running>,
}

impl Cluster {
    /// Starts them, with the first one as the seed of all.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let (seen, mesh, began) = (Arc::new(Seen::default()), free_ports(count)?, Instant::now());
        let seed = mesh.first().ok_or(io::ErrorKind::InvalidInput)?;
        let nodes = mesh.iter().enumerate().map(|(number, address)| start(number, *address, *seed, &seen));
        Ok(Self { began, nodes: nodes.collect::<io::Result<_>>()?, seen })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.process.id()).collect()
    }

    /// Waits until every node is ready and sees all others. Returns how long that took since the start, or `None` when it takes
    /// longer than this.
    pub(crate) async fn complete(&self, patience: Duration) -> Option<Duration> {
        let count = self.nodes.len();
        let complete = async {
            while self.seen.complete(count) < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(patience, complete).await.ok()?;
        Some(self.began.elapsed())
    }
}

/// What the nodes of a cluster have said.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    ready: Mutex<Vec<Instant>>,
    /// How many members each node sees.
    members: Mutex<Vec<(usize, usize)>>,
    /// How often a member was lost, or a node was not ready any more.
    pub(crate) lost: AtomicUsize,
}

impl Seen {
    pub(crate) fn ready(&self) -> Vec<Instant> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many nodes are ready and see so many members.
    pub(crate) fn complete(&self, count: usize) -> usize {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().filter(|(_, members)| *members == count).count().min(self.ready().len())
    }

    fn note(&self, node: usize, line: &str) {
        if line.starts_with("listening") {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        if let Some((_, view)) = line.split_once(" members=") {
            let (names, gone) = view.split_once(" gone=").unwrap_or((view, ""));
            let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.retain(|(number, _)| *number != node);
            members.push((node, names.split(',').count()));
            self.lost.fetch_add(gone.matches(|c| c != ';').count().min(1), Ordering::Relaxed);
        }
        if line.contains("not ready") {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Running {
    process: Child,
    _reading: JoinSet<()>,
}

fn start(number: usize, mesh: SocketAddr, seed: SocketAddr, seen: &Arc<Seen>) -> io::Result<Running> {
    let binary = env::current_exe()?.with_file_name("fixture");
    let mut process = Command::new(binary)
        .args(["--suite", "bench", "--log-views", "--port", "0", "--mesh", &mesh.to_string()])
        .args(["--node-id", &format!("node-{number}"), "--seed", &seed.to_string()])
        .env("SOCKETMESH_SECRET", SECRET)
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut reading = JoinSet::new();
    if let (Some(out), Some(err)) = (process.stdout.take(), process.stderr.take()) {
        reading.spawn(follow(number, BufReader::new(out).lines(), Arc::clone(seen)));
        reading.spawn(follow(number, BufReader::new(err).lines(), Arc::clone(seen)));
    }
    Ok(Running { process, _reading: reading })
}

async fn follow(number: usize, mut lines: Lines<BufReader<impl AsyncRead + Unpin>>, seen: Arc<Seen>) {
    while let Ok(Some(line)) = lines.next_line().await {
        seen.note(number, &line);
    }
}

/// Ports that were free a moment ago, so that every node knows the seed before that is started.
pub(crate) fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let sockets = (0..count).map(bind).collect::<io::Result<Vec<_>>>()?;
    sockets.iter().map(UdpSocket::local_addr).collect()
}

const SECRET: &str = "a secret of the tests, long enough to be one";
