//! `socketmesh demo`: a whiteboard and a chat on a cluster of this process, behind a balancer without memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use balancer::Balancer;
use bytes::Bytes;
use clap::Args as ClapArgs;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::http::{self, Body, ClientFiles};
use socketmesh::id::NodeId;
use socketmesh::{EventError, Handshake, Namespace, Node, Refusal, Result, Socket, namespace};
use tokio::net::TcpListener;

use crate::process::{BoxError, asked_to_stop, say};

#[derive(Debug, ClapArgs)]
pub(crate) struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// Port of the balancer; 0 takes a free one.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Address of the balancer. The nodes themselves are reachable from this machine only.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Folder of an installed socket.io-client package; without it, browsers get it from the official CDN.
    #[arg(long, env = "SOCKETMESH_CLIENT_DIR")]
    client_dir: Option<PathBuf>,
}

/// Runs the demo until it is asked to stop.
pub(crate) async fn run(options: Options) -> std::result::Result<(), BoxError> {
    let secret = Secret::random()?;
    let mut nodes: Vec<Node> = Vec::new();
    let mut addresses = Vec::new();
    for n in 1..=options.nodes {
        let id: NodeId = format!("node-{n}").parse()?;
        let seed = nodes.first().and_then(Node::mesh_addr).map(|address| address.to_string());
        let cluster = Cluster::bind("127.0.0.1:0").node_id(id.clone()).secret(secret.clone()).seeds(seed);
        let node = Node::builder()
            .http(http_config(options.client_dir.clone()))
            .namespace(app(id))
            .cluster(cluster)
            .start()
            .await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        let serving = node.clone();
        tokio::spawn(async move { serving.serve_at("/socket.io/", listener, page).await });
        nodes.push(node);
    }
    for node in &nodes {
        node.ready().await;
    }
    let balancer = Balancer::start(SocketAddr::new(options.host, options.port), addresses.clone()).await?;
    say(format_args!("demo: http://{}", balancer.addr()))?;
    for (node, address) in nodes.iter().zip(&addresses) {
        let mesh = node.mesh_addr().map_or_else(String::new, |mesh| format!(" (mesh {mesh})"));
        say(format_args!("{}: http://{address}{mesh}", node.id()))?;
    }
    asked_to_stop().await?;
    stop(&nodes).await;
    Ok(())
}

async fn stop(nodes: &[Node]) {
    let mut stopping = tokio::task::JoinSet::new();
    for node in nodes {
        let node = node.clone();
        stopping.spawn(async move { node.shutdown().await });
    }
    if tokio::time::timeout(PATIENCE, stopping.join_all()).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
}

/// How the demo answers HTTP: it says which node did.
pub(crate) fn http_config(client_dir: Option<PathBuf>) -> http::Config {
    let client = client_dir.map_or(ClientFiles::Cdn, ClientFiles::Folder);
    http::Config::default().client(client).expose_node(true)
}

/// The page of the demo, for everything that is not Socket.IO.
pub(crate) fn page(request: &Request<hyper::body::Incoming>) -> Response<Body> {
    if request.uri().path() != "/" || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return http::not_found(request);
    }
    let mut response = Response::new(Body::from(Bytes::from_static(PAGE.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// The application of the demo, as served by one node.
pub(crate) fn app(node: NodeId) -> Namespace<Person> {
    namespace("/")
        .auth(move |_: Handshake| async move { Ok::<_, Refusal>(Person { node, name: Mutex::default() }) })
        .on_connect(async |socket: Socket<Person>| {
            let welcome = Welcome {
                node: socket.data().node.as_str(),
                id: socket.id().to_string(),
                color: color(&socket),
            };
            socket.emit("welcome", &welcome)?;
            who(&socket, true)
        })
        .on("stroke", async |socket: Socket<Person>, stroke: Stroke| {
            let node = socket.data().node.as_str();
            Ok(socket.broadcast().emit("stroke", &Drawn { stroke, node })?)
        })
        .on("clear", async |socket: Socket<Person>, ()| Ok(socket.broadcast().emit("clear", &())?))
        .on("chat", chat)
        .on("typing", async |socket: Socket<Person>, ()| {
            let from = socket.data().name(&socket);
            Ok(socket.broadcast().volatile().emit("typing", &Typing { from })?)
        })
        .on("name", async |socket: Socket<Person>, Name { name }: Name| {
            *socket.data().name.lock() = shorten(&name, NAME_LENGTH);
            who(&socket, true)
        })
        .on("here", async |socket: Socket<Person>, Here { to }: Here| {
            Ok(socket.to(to).emit("who", &Who::of(&socket, true))?)
        })
        .on("where", async |socket: Socket<Person>, ()| Ok(Served::by(&socket)))
        .on_disconnect(async |socket: Socket<Person>, _| who(&socket, false))
}

async fn chat(socket: Socket<Person>, Chat { text }: Chat) -> Result<Served> {
    let text = shorten(&text, TEXT_LENGTH);
    if text.is_empty() {
        return Err(EventError::new("empty", "say something"));
    }
    let said = Said { from: socket.data().name(&socket), text, node: socket.data().node.as_str() };
    socket.broadcast().emit("chat", &said)?;
    Ok(Served::by(&socket))
}

fn who(socket: &Socket<Person>, joined: bool) -> Result<()> {
    Ok(socket.broadcast().emit("who", &Who::of(socket, joined))?)
}

/// A pen for each socket, so that people differ.
fn color(socket: &Socket<Person>) -> &'static str {
    let index = usize::from(socket.id().to_string().as_bytes().last().copied().unwrap_or_default());
    COLORS.get(index % COLORS.len()).copied().unwrap_or_default()
}

fn shorten(text: &str, length: usize) -> String {
    text.trim().chars().take(length).collect()
}

/// Somebody at the whiteboard.
#[derive(Debug)]
pub(crate) struct Person {
    node: NodeId,
    name: Mutex<String>,
}

impl Person {
    fn name(&self, socket: &Socket<Self>) -> String {
        let name = self.name.lock();
        if name.is_empty() { format!("guest-{}", shorten(&socket.id().to_string(), 4)) } else { name.clone() }
    }
}

#[derive(Serialize)]
struct Welcome<'a> {
    node: &'a str,
    id: String,
    color: &'static str,
}

#[derive(Deserialize, Serialize)]
struct Stroke {
    x0: f32,
    y0: f32,
    x1: f32,
    y1: f32,
    color: String,
}

#[derive(Serialize)]
struct Drawn<'a> {
    #[serde(flatten)]
    stroke: Stroke,
    node: &'a str,
}

#[derive(Deserialize)]
struct Chat {
    text: String,
}

#[derive(Serialize)]
struct Said<'a> {
    from: String,
    text: String,
    node: &'a str,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Here {
    to: String,
}

#[derive(Serialize)]
struct Typing {
    from: String,
}

#[derive(Serialize)]
struct Who {
    id: String,
    node: String,
    name: String,
    joined: bool,
}

impl Who {
    fn of(socket: &Socket<Person>, joined: bool) -> Self {
        let person = socket.data();
        Self { id: socket.id().to_string(), node: person.node.to_string(), name: person.name(socket), joined }
    }
}

/// Which node owns the connection.
#[derive(Serialize)]
struct Served {
    node: String,
}

impl Served {
    fn by(socket: &Socket<Person>) -> Self {
        Self { node: socket.data().node.to_string() }
    }
}

const PAGE: &str = include_str!("demo/index.html");
const COLORS: [&str; 8] =
    ["#c2410c", "#0f766e", "#7c3aed", "#b91c1c", "#1d4ed8", "#4d7c0f", "#be185d", "#a16207"];
const NAME_LENGTH: usize = 24;
const TEXT_LENGTH: usize = 2000;

/// Long enough for every client to be told, short enough for whoever pressed Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(4);
