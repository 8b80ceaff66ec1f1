//! Who is measured: nodes as processes, and what they need.

use std::env;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::process::{Launch, Node};
use crate::sources::root;

/// Ours and its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// Our nodes.
    #[value(skip)]
    Socketmesh,
    /// Node's own server with its Redis adapter.
    NodeRedis,
    /// socketioxide with its Redis adapter.
    SocketioxideRedis,
    /// The least work that does the same, over the same kind of link between two nodes.
    Floor,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socketmesh => "socketmesh",
            Self::NodeRedis => "node-redis",
            Self::SocketioxideRedis => "socketioxide-redis",
            Self::Floor => "floor",
        })
    }
}

/// A cluster. Its processes end when it is dropped.
pub(super) struct Running {
    pub(super) addresses: Vec<String>,
    /// The processes, with their names.
    pub(super) pids: Vec<(String, u32)>,
    _nodes: Vec<Node>,
    _peers: Vec<Peer>,
}

/// A process of a peer.
struct Peer {
    process: Child,
    /// Where it listens.
    address: String,
    /// What other processes have to be told.
    more: Vec<String>,
    _out: Option<BufReader<ChildStdout>>,
}

impl System {
    /// Gets and builds what it needs; or says why it cannot be had.
    pub(super) async fn install(self, say: &mut impl FnMut(&str)) -> Result<(), String> {
        say(&format!("{self}: what it needs is looked up, and built where that is not done"));
        if matches!(self, Self::NodeRedis | Self::SocketioxideRedis) {
            finish(Command::new("redis-server").arg("--version")).await?;
        }
        let folder = folder(self);
        match self {
            Self::Socketmesh => {
                // Without cargo both were built before.
                let Some(cargo) = env::var_os("CARGO") else { return Ok(()) };
                let mut cargo = Command::new(cargo);
                cargo.args(["build", "--locked", "--package", "cluster-tests", "--bin", "fixture"]);
                cargo.args((!cfg!(debug_assertions)).then_some("--release"));
                finish(cargo.arg("--target-dir").arg(target()?).current_dir(root())).await
            }
            Self::NodeRedis => {
                let changed = |path: &str| folder.join(path).metadata().and_then(|file| file.modified()).ok();
                if changed("node_modules/.package-lock.json") >= changed("package-lock.json") {
                    return Ok(());
                }
                finish(Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(&folder)).await
            }
            Self::SocketioxideRedis | Self::Floor => {
                let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo.args(["build", "--release", "--locked", "--target-dir"]).arg(target()?.join("bench"));
                finish(cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"))).await
            }
        }
    }

    /// Starts nodes of one cluster.
    pub(super) async fn start(self, nodes: usize) -> io::Result<Running> {
        if self == Self::Socketmesh {
            return ours(nodes).await;
        }
        let mut peers = Vec::new();
        let mut pids = Vec::new();
        let mut told = Vec::new();
        if self != Self::Floor {
            let peer = redis().await?;
            told.push(peer.address.clone());
            pids.push(("redis".to_owned(), peer.process.id().unwrap_or_default()));
            peers.push(peer);
        }
        let mut addresses = Vec::new();
        for number in 0..nodes {
            let mut command = self.command().map_err(io::Error::other)?;
            let peer = Peer::start(command.args(&told)).await?;
            addresses.push(peer.address.clone());
            told.extend(peer.more.iter().cloned());
            pids.push((format!("node-{number}"), peer.process.id().unwrap_or_default()));
            peers.push(peer);
        }
        sleep(SUBSCRIBED).await;
        Ok(Running { addresses, pids, _nodes: Vec::new(), _peers: peers })
    }

    fn command(self) -> Result<Command, String> {
        let program = |name| target().map(|target| Command::new(target.join("bench/release").join(name)));
        match self {
            Self::NodeRedis => {
                let mut node = Command::new("node");
                node.arg(folder(self).join("server.mjs"));
                Ok(node)
            }
            Self::SocketioxideRedis => program("socketioxide-redis-fixture"),
            Self::Socketmesh | Self::Floor => program("floor"),
        }
    }
}

async fn ours(count: usize) -> io::Result<Running> {
    let binary = env::current_exe()?.with_file_name("fixture");
    let binary: &'static str = binary.to_string_lossy().into_owned().leak();
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..count {
        let seeds = nodes.iter().map(|node| node.mesh).collect();
        nodes.push(Launch { seeds, ..Launch::bench(Some(binary), &format!("node-{number}")) }.start().await);
    }
    let addresses = nodes.iter().map(|node| node.http.to_string()).collect();
    let pids = nodes.iter().map(|node| (node.id().to_owned(), node.pid().unwrap_or_default())).collect();
    Ok(Running { addresses, pids, _nodes: nodes, _peers: Vec::new() })
}

/// Redis as the adapters need it: nothing is kept, and subscribers that are slow are not closed.
async fn redis() -> io::Result<Peer> {
    let free: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let port = free.port().to_string();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
    command.args(["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let process = command.spawn()?;
    let reachable = async {
        while TcpStream::connect(free).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reachable).await?;
    Ok(Peer { process, address: free.to_string(), more: Vec::new(), _out: None })
}

impl Peer {
    /// Starts it, and waits until it says `listening`, its address, and what others have to be told.
    async fn start(command: &mut Command) -> io::Result<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut out = process.stdout.take().map(BufReader::new).ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        timeout(PATIENCE, out.read_line(&mut line)).await??;
        let said = line.trim().strip_prefix("listening ");
        let said =
            said.ok_or_else(|| io::Error::other(format!("a peer ended before it listened: {line}")))?;
        let mut words = said.split(' ').map(str::to_owned);
        let address = words.next().unwrap_or_default();
        Ok(Self { process, address, more: words.collect(), _out: Some(out) })
    }
}

/// Runs a command to its end.
async fn finish(command: &mut Command) -> Result<(), String> {
    let output =
        command.stdin(Stdio::null()).output().await.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {}", output.status, said.trim().lines().last().unwrap_or_default()))
}

fn folder(system: System) -> PathBuf {
    root().join("cluster-tests/bench").join(system.to_string())
}

/// Where cargo has built this program.
fn target() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    own.ancestors().nth(2).map(PathBuf::from).ok_or_else(|| "no target directory".to_owned())
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Redis does not tell when every node hears every other.
const SUBSCRIBED: Duration = Duration::from_millis(500);
