//! Many nodes that start at once on this machine: how long they take to become one cluster, what that costs, and what it costs
//! them to do nothing afterwards.

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

use super::measure::{Durations, Measure, to_f64};
use super::report::Report;

/// Starts clusters of these sizes, one after the other, all nodes at once and with one of them as the seed of all.
#[derive(Debug, clap::Args)]
pub struct Formation {
    /// How many nodes; may be repeated.
    #[arg(long, default_values_t = [3, 10, 20, 40, 60])]
    nodes: Vec<usize>,
    /// How long each cluster is watched after all are ready.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Until when all have to be ready.
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

impl Formation {
    pub(super) async fn run(self) -> io::Result<Report> {
        let mut report = Report::default();
        for nodes in &self.nodes {
            self.form(*nodes, &mut report).await?;
        }
        Ok(report)
    }

    async fn form(&self, count: usize, report: &mut Report) -> io::Result<()> {
        let seen = Arc::new(Seen::default());
        let mesh = free_ports(count)?;
        let began = Instant::now();
        let seed = mesh.first().ok_or(io::ErrorKind::InvalidInput)?;
        let nodes = mesh.iter().enumerate().map(|(number, address)| start(number, *address, *seed, &seen));
        let mut nodes = nodes.collect::<io::Result<Vec<_>>>()?;
        let all = async {
            while seen.complete(count) < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = timeout(Duration::from_secs(self.patience), all).await.is_ok();
        let took = began.elapsed();
        let pids: Vec<_> = nodes.iter().filter_map(|node| node.process.id()).collect();
        let formed = Measure::total(&pids)?;
        // The last news spread.
        sleep(SETTLE).await;
        seen.lost.store(0, Ordering::Relaxed);
        let idling = Measure::begin(&pids)?;
        sleep(Duration::from_secs(self.seconds)).await;
        let idle = idling.end()?;

        let name = |what: &str| format!("{count}_nodes_{what}");
        let mut ready = Durations::default();
        seen.ready().iter().for_each(|at| ready.push(at.duration_since(began)));
        report.row(&name("ready"), to_f64(seen.ready().len() as u64), "");
        report.row(&name("complete"), to_f64(seen.complete(count) as u64), "");
        ready.report(report, &name("ready"));
        report.row(&name("all_complete"), if in_time { took.as_secs_f64() } else { f64::NAN }, "s");
        report.row(&name("cpu"), formed.as_secs_f64() / to_f64(count as u64), "s/node");
        report.row(&name("lost_again"), to_f64(seen.lost.load(Ordering::Relaxed) as u64), "");
        report.row(&name("idle_cpu"), idle.servers_share() / to_f64(count as u64), "% of a core/node");
        for node in &mut nodes {
            node.process.kill().await?;
        }
        Ok(())
    }
}

/// What the nodes of a cluster have said.
#[derive(Default)]
struct Seen {
    ready: Mutex<Vec<Instant>>,
    /// How many members each node sees.
    members: Mutex<Vec<(usize, usize)>>,
    /// How often a member was lost, or a node was not ready any more.
    lost: AtomicUsize,
}

impl Seen {
    fn ready(&self) -> Vec<Instant> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many nodes are ready and see so many members.
    fn complete(&self, count: usize) -> usize {
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
fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let sockets = (0..count).map(bind).collect::<io::Result<Vec<_>>>()?;
    sockets.iter().map(UdpSocket::local_addr).collect()
}

const SECRET: &str = "a secret of the tests, long enough to be one";
const SETTLE: Duration = Duration::from_secs(2);
