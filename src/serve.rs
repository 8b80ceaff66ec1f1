//! `socketmesh serve`: one node, configured by flags and `SOCKETMESH_*` environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use socketmesh::Node;
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::id::NodeId;
use socketmesh::socket::{self, Parser};
use tokio::net::TcpListener;

use crate::demo;
use crate::process::{BoxError, asked_to_stop, say};

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The secret that the nodes of a cluster share, at least 32 bytes, is never a flag:
  SOCKETMESH_SECRET        the secret itself
  SOCKETMESH_SECRET_FILE   a file that holds it

Examples:
  socketmesh serve                                        one node on its own
  SOCKETMESH_SECRET_FILE=/run/secrets/mesh \\
  socketmesh serve --http 0.0.0.0:3000 --mesh 0.0.0.0:7946 --seed chat-nodes:7946")]
pub(crate) struct Options {
    /// Address for clients.
    #[arg(long, env = "SOCKETMESH_HTTP", default_value = "127.0.0.1:3000")]
    http: SocketAddr,
    /// Address for the other nodes (UDP): makes this node a member of a cluster.
    #[arg(long, env = "SOCKETMESH_MESH")]
    mesh: Option<SocketAddr>,
    /// Mesh address of a node to join, `host:port`; a name stands for all its addresses. May be repeated, or separated
    /// by commas.
    #[arg(long, env = "SOCKETMESH_SEED", value_delimiter = ',', requires = "mesh")]
    seed: Vec<String>,
    /// Mesh address under which the others reach this node, if it is not the one it binds.
    #[arg(long, env = "SOCKETMESH_ADVERTISE", requires = "mesh")]
    advertise: Option<String>,
    /// Name of this node, unique in its cluster and stable over restarts [default: random].
    #[arg(long, env = "SOCKETMESH_NODE_ID", requires = "mesh")]
    node_id: Option<NodeId>,
    /// Name of the cluster; nodes of different clusters refuse each other.
    #[arg(long, env = "SOCKETMESH_CLUSTER", requires = "mesh")]
    cluster: Option<String>,
    /// Takes clients even while no seed answers.
    #[arg(long, env = "SOCKETMESH_SERVE_ALONE", requires = "mesh")]
    serve_alone: bool,
    /// How packets are encoded for clients; they have to be told, and so do the other nodes.
    #[arg(long, env = "SOCKETMESH_PARSER", value_enum, default_value_t)]
    parser: PacketParser,
    /// Folder of an installed socket.io-client package; without it, browsers get it from the official CDN.
    #[arg(long, env = "SOCKETMESH_CLIENT_DIR")]
    client_dir: Option<PathBuf>,
}

/// The parser of Socket.IO packets.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum PacketParser {
    /// The default of every client.
    #[default]
    Json,
    /// `socket.io-msgpack-parser`.
    Msgpack,
}

impl From<PacketParser> for Parser {
    fn from(parser: PacketParser) -> Self {
        match parser {
            PacketParser::Json => Self::Json,
            PacketParser::Msgpack => Self::MessagePack,
        }
    }
}

/// Runs a node until it is asked to stop.
pub(crate) async fn run(options: Options) -> Result<(), BoxError> {
    let id = match options.node_id.clone() {
        Some(id) => id,
        None => NodeId::random()?,
    };
    let mut builder = Node::builder()
        .http(demo::http_config(options.client_dir.clone()))
        .socket(socket::Config::default().parser(options.parser.into()))
        .namespace(demo::app(id.clone()));
    if let Some(mesh) = options.mesh {
        builder = builder.cluster(member(&options, mesh, id)?);
    }
    let listener = TcpListener::bind(options.http).await?;
    let http = listener.local_addr()?;
    let node = builder.start().await?;
    let serving = node.clone();
    let served = tokio::spawn(async move { serving.serve_at("/socket.io/", listener, demo::page).await });
    let mesh = node.mesh_addr().map_or_else(String::new, |mesh| format!(" mesh={mesh}"));
    say(format_args!("listening http={http}{mesh} node={}", node.id()))?;
    tokio::select! {
        () = node.ready() => say(format_args!("ready"))?,
        stopped = asked_to_stop() => return Ok(stopped?),
    }
    asked_to_stop().await?;
    if tokio::time::timeout(PATIENCE, node.shutdown()).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
    served.abort();
    Ok(())
}

fn member(options: &Options, mesh: SocketAddr, id: NodeId) -> Result<Cluster, BoxError> {
    let mut cluster = Cluster::bind(mesh.to_string())
        .node_id(id)
        .seeds(options.seed.iter().cloned())
        .serve_alone(options.serve_alone);
    if let Some(secret) = Secret::from_env()? {
        cluster = cluster.secret(secret);
    }
    if let Some(advertise) = &options.advertise {
        cluster = cluster.advertise(advertise);
    }
    if let Some(name) = &options.cluster {
        cluster = cluster.name(name);
    }
    Ok(cluster)
}

/// How long a stop may take: under the grace period of common service managers.
const PATIENCE: Duration = Duration::from_secs(8);
