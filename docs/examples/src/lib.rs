//! What the examples share: membership of a cluster from the environment, an address, and an end on Ctrl-C or SIGTERM.

use std::env;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::http::{self, ClientAddr, ClientFiles};
use socketmesh::{Drain, Node, NodeBuilder};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::TcpSocket;

pub mod chat;

/// Whatever ends an example.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The description of a node, which is a member of a cluster if the environment says so.
///
/// # Errors
/// As [`cluster_from_env`].
pub fn builder() -> Result<NodeBuilder, BoxError> {
    let builder = Node::builder().http(http_from_env());
    Ok(match cluster_from_env()? {
        Some(cluster) => builder.cluster(cluster),
        None => builder,
    })
}

/// Pages get the browser client from the folder `SOCKETMESH_CLIENT_DIR`, an installed `socket.io-client` package, or without that
/// variable from the official CDN.
pub fn http_from_env() -> http::Config {
    let folder = env::var_os("SOCKETMESH_CLIENT_DIR");
    let client = folder.map_or(ClientFiles::Cdn, |folder| ClientFiles::Folder(folder.into()));
    http::Config::default().client(client)
}

/// A time in milliseconds; `None` without the variable.
///
/// # Errors
/// It is no number.
pub fn millis_from_env(variable: &str) -> io::Result<Option<Duration>> {
    let Ok(text) = env::var(variable) else { return Ok(None) };
    let millis = text.parse().map_err(|error| io::Error::other(format!("{variable}: {error}")))?;
    Ok(Some(Duration::from_millis(millis)))
}

/// The cluster to be a member of: `SOCKETMESH_MESH` is this node's address for the others (UDP), `SOCKETMESH_SEED` theirs,
/// separated by commas, and `SOCKETMESH_SECRET` or `SOCKETMESH_SECRET_FILE` what they share. `SOCKETMESH_NODE_ID` is its name,
/// without it a random one. `None` without the first.
///
/// # Errors
/// The name is none, the secret is too short, or its file cannot be read.
pub fn cluster_from_env() -> Result<Option<Cluster>, BoxError> {
    let Ok(mesh) = env::var("SOCKETMESH_MESH") else { return Ok(None) };
    let seeds = env::var("SOCKETMESH_SEED").unwrap_or_default();
    let seeds = seeds.split(',').map(str::trim).filter(|seed| !seed.is_empty());
    let mut cluster = Cluster::bind(mesh).seeds(seeds.map(str::to_owned));
    if let Ok(name) = env::var("SOCKETMESH_NODE_ID") {
        cluster = cluster.node_id(name.parse()?);
    }
    Ok(Some(match Secret::from_env()? {
        Some(secret) => cluster.secret(secret),
        None => cluster,
    }))
}

/// Serves the node at `/socket.io/` beside other routes, until Ctrl-C; says where, as soon as clients are welcome. Load balancers ask
/// `/readyz` whether the node takes new ones, containers `/healthz` whether it lives.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(node: Node, routes: Router) -> Result<(), BoxError> {
    let app = routes.nest_service("/socket.io", node.service());
    serve_nested(node, app).await
}

/// As [`serve`], for an application that the node is nested in already.
///
/// # Errors
/// As [`serve`].
pub async fn serve_nested(node: Node, app: Router) -> Result<(), BoxError> {
    let asked = node.clone();
    let ready = async move || if asked.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let app = app.route("/readyz", get(ready)).route("/healthz", get(async || "ok"));
    let listener = listen().await?;
    node.ready().await;
    serve_app(&node, listener, app).await
}

/// Serves an application in axum until Ctrl-C or SIGTERM.
///
/// Then the node says goodbye to its clients and to the other nodes. It takes the milliseconds `DRAIN_NOTICE_MS` so that load balancers
/// notice, and lets its clients go over `DRAIN_MS`; none without these variables.
///
/// # Errors
/// The operating system does not tell of signals, a time is no number, or the node has failed.
pub async fn serve_app(node: &Node, listener: TcpListener, app: Router) -> Result<(), BoxError> {
    let (asked, drain) = (asked_to_stop()?, drain_from_env()?);
    announce(&listener, node)?;
    let (listener, app) = (node.listener(listener), app.into_make_service_with_connect_info::<ClientAddr>());
    // Until the node has let its clients go: what they still ask is answered.
    tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(node.stopped()).into_future());
    tokio::select! {
        () = asked => {}
        failure = node.failed() => return Err(failure.into()),
    }
    node.drain(drain).await;
    Ok(())
}

fn drain_from_env() -> io::Result<Drain> {
    let [notice, spread] = ["DRAIN_NOTICE_MS", "DRAIN_MS"].map(millis_from_env);
    Ok(Drain::default().notice(notice?.unwrap_or_default()).spread(spread?.unwrap_or_default()))
}

/// Listens at the IP address in `ADDRESS`, without it on this machine only, and at the port that is the first argument or
/// `PORT`: 0 takes a free one, and the default is 3000. With `REUSE_PORT` several processes share the port, and the operating system
/// deals the connections out among them.
///
/// # Errors
/// It is no address or no port, or it is taken.
pub async fn listen() -> Result<TcpListener, BoxError> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok());
    let port: u16 = port.as_deref().unwrap_or("3000").parse()?;
    let address: IpAddr = env::var("ADDRESS").as_deref().unwrap_or("127.0.0.1").parse()?;
    #[cfg(unix)]
    if env::var_os("REUSE_PORT").is_some() {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind((address, port).into())?;
        return Ok(socket.listen(BACKLOG)?);
    }
    Ok(TcpListener::bind((address, port)).await?)
}

/// How many connections wait for a process that is busy.
#[cfg(unix)]
const BACKLOG: u32 = 1024;

/// Says where the clients of a node connect, and the other nodes: `http://127.0.0.1:3000 (mesh 127.0.0.1:7946)`.
fn announce(listener: &TcpListener, node: &Node) -> io::Result<()> {
    let mesh = node.mesh_addr().map_or_else(String::new, |mesh| format!(" (mesh {mesh})"));
    let mut out = io::stdout();
    writeln!(out, "http://{}{mesh}", listener.local_addr()?)?;
    out.flush()
}

/// Resolves after Ctrl-C or SIGTERM, which are waited for from the call on.
#[cfg(unix)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

#[cfg(windows)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut pressed = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        pressed.recv().await;
    })
}

/// The programs of the documents, compiled; those that start nothing run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/guides/getting-started.md")]
    struct GettingStarted;
    #[doc = include_str!("../../../docs/guides/deploying.md")]
    struct Deploying;
    #[doc = include_str!("../../../docs/guides/from-node.md")]
    struct FromNode;
    #[doc = include_str!("../../../docs/guides/from-socketioxide.md")]
    struct FromSocketioxide;
    #[doc = include_str!("../../../docs/guides/testing-an-application.md")]
    struct TestingAnApplication;
    #[doc = include_str!("../../../docs/guides/security.md")]
    struct Security;
    #[doc = include_str!("../../../docs/guides/load.md")]
    struct Load;
    #[doc = include_str!("../../../docs/guides/tracing.md")]
    struct Tracing;
    #[doc = include_str!("../../../docs/guides/recovery.md")]
    struct Recovery;
    #[doc = include_str!("../../../docs/reference/configuration.md")]
    struct Configuration;
    #[doc = include_str!("../../../docs/reference/admin.md")]
    struct Operators;
    #[doc = include_str!("../../../docs/reference/counters.md")]
    struct Counters;
}
