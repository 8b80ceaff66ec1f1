//! A node that serves a fixture: `fixture --suite engine|socket|bench --port P [--mesh A --seed A …]`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use balancer::Balancer;
use clap::Parser;
use cluster_tests::fixture::{self, Fixture, More, Suite};
use socketmesh::Drain;
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::engine::Compression;
use socketmesh::id::NodeId;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Serves the fixture of a protocol suite, or of the bench, on one node or as a member of a cluster.
#[derive(Debug, Parser)]
struct Options {
    /// Which fixture.
    #[arg(long, value_enum)]
    suite: Suite,
    /// HTTP port; 0 takes a free one.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// HTTP address.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Address between nodes: makes this node a member of a cluster. The secret comes from `SOCKETMESH_SECRET` or
    /// `SOCKETMESH_SECRET_FILE`.
    #[arg(long)]
    mesh: Option<SocketAddr>,
    /// Mesh address of another node; may be repeated.
    #[arg(long)]
    seed: Vec<String>,
    /// Name in the cluster.
    #[arg(long)]
    node_id: Option<NodeId>,
    /// Serves clients even while no seed answers.
    #[arg(long)]
    serve_alone: bool,
    /// Runs this many nodes of one cluster in this process, and on the port a balancer that sends each request to the
    /// next of them.
    #[arg(long, conflicts_with_all = ["mesh", "seed", "node_id", "serve_alone", "deflate"])]
    nodes: Option<usize>,
    /// Compresses WebSocket messages for clients that offer to read that.
    #[arg(long)]
    deflate: bool,
    /// Has clients of version 2 be reached by the ids that they know.
    #[arg(long)]
    version_2_ids: bool,
    /// Serves its clients for that many milliseconds more when it is asked to stop.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    drain_notice: u64,
    /// Lets its clients go over that many milliseconds then.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    drain_spread: u64,
    /// Writes a line to standard error whenever the view of the cluster changes, with the present and the lost members.
    #[arg(long)]
    log_views: bool,
    /// Lets every thread of the application sleep for that many seconds when SIGUSR1 comes, as a program that blocks them.
    #[arg(long, value_name = "SECONDS")]
    hang: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked = std::env::var("RUST_LOG").ok().and_then(|targets| targets.parse::<Targets>().ok());
    let targets = asked.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    let options = Options::parse();
    if let Some(nodes) = options.nodes {
        return balanced(&options, nodes).await;
    }
    let listener = TcpListener::bind((options.host, options.port)).await?;
    let http = listener.local_addr()?;
    let deflate = options.deflate.then(Compression::default);
    let more = More { deflate, version_2_ids: options.version_2_ids };
    let node = Fixture::start_with(options.suite, cluster(&options)?, more).await?;
    let serving = node.clone();
    let served = tokio::spawn(async move { serving.serve(options.suite, listener).await });
    if let Some(seconds) = options.hang {
        tokio::spawn(hang(SignalKind::user_defined1(), Duration::from_secs(seconds)));
    }
    node.ready().await;
    if options.log_views {
        tokio::spawn(log_views(node.clone()));
    }
    let mut terminated = signal(SignalKind::terminate())?;
    announce(http, &node)?;
    tokio::select! {
        _ = served => return Ok(()),
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    let [notice, spread] = [options.drain_notice, options.drain_spread].map(Duration::from_millis);
    node.drain(Drain::default().notice(notice).spread(spread)).await;
    Ok(())
}

async fn balanced(options: &Options, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let nodes = fixture::start(options.suite, count).await;
    let balancer = Balancer::start((options.host, options.port).into(), nodes.http.clone()).await?;
    for node in &nodes.nodes {
        announce(balancer.addr(), node)?;
    }
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn cluster(options: &Options) -> Result<Option<Cluster>, Box<dyn std::error::Error>> {
    let Some(mesh) = options.mesh else { return Ok(None) };
    let mut cluster = Cluster::bind(mesh.to_string()).seeds(options.seed.iter().cloned());
    if let Some(secret) = Secret::from_env()? {
        cluster = cluster.secret(secret);
    }
    if let Some(id) = &options.node_id {
        cluster = cluster.node_id(id.clone());
    }
    Ok(Some(cluster.serve_alone(options.serve_alone)))
}

/// Blocks every worker of the runtime for a while whenever the signal comes.
async fn hang(kind: SignalKind, pause: Duration) -> std::io::Result<()> {
    let mut signals = signal(kind)?;
    let workers = Handle::current().metrics().num_workers();
    while signals.recv().await.is_some() {
        // Nobody sleeps before each worker has one of them.
        let all_here = Arc::new(Barrier::new(workers));
        for _ in 0..workers {
            let all_here = Arc::clone(&all_here);
            tokio::spawn(async move {
                all_here.wait();
                std::thread::sleep(pause);
            });
        }
    }
    Ok(())
}

/// `view epoch=7 members=a,b gone=c;` until the node shuts down.
async fn log_views(node: Fixture) -> std::io::Result<()> {
    let Some(mut views) = node.view() else { return Ok(()) };
    let mut before: Vec<NodeId> = Vec::new();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let members: Vec<NodeId> = view.members.iter().map(|member| member.id.clone()).collect();
        let gone = before.iter().filter(|id| !members.contains(id)).map(NodeId::as_str).collect::<Vec<_>>();
        let names = members.iter().map(NodeId::as_str).collect::<Vec<_>>();
        let line =
            format!("view epoch={} members={} gone={};\n", view.epoch, names.join(","), gone.join(","));
        std::io::stderr().write_all(line.as_bytes())?;
        before = members;
        if views.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Prints the one line on standard output, for which the process that started this node waits.
fn announce(http: SocketAddr, node: &Fixture) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    write!(out, "listening http={http}")?;
    if let Some(mesh) = node.mesh_addr() {
        write!(out, " mesh={mesh}")?;
    }
    writeln!(out, " node={}", node.id())?;
    out.flush()
}
