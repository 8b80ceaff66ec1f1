//! The servers for the protocol suites and the load tests, on one node or on several nodes of a cluster.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use socketmesh::cluster::{Cluster, View};
use socketmesh::engine::{self, Application, CloseReason, Message, SessionRef};
use socketmesh::http::{self, Cors};
use socketmesh::socket::{self, Recovery, SocketIo};
use socketmesh::{
    Ack, Args, Drain, EventError, Namespace, Node, NodeBuilder, RawArg, RawArgs, Refusal, Socket, StartError,
    namespace,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::counters::Counters;
use crate::host::{self, Host};
use crate::member::member;

/// Which fixture a node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Echoes every message, at `/engine.io/`, with the timings of the Engine.IO suite.
    Engine,
    /// The same, and clients of Engine.IO 3 are allowed, which the suite of version 4 wants refused.
    EngineV3,
    /// As `EngineV3`, with default timings, for rules that are not about time. With the timings of the suite a client that
    /// is silent for half a second is closed, which a busy machine can cause.
    EngineV3Patient,
    /// The namespaces of the Socket.IO suite, at `/socket.io/`.
    Socket,
    /// The namespaces of the suite and some more, with default timings; clients of Engine.IO 3 are allowed.
    SocketV3,
    /// As `SocketV3`, but who joins no namespace within a second is closed.
    SocketV3JoinSoon,
    /// Namespaces whose clients may come back, at `/socket.io/`, with default timings; clients of Engine.IO 3 are allowed.
    Recovery,
    /// Rooms, direct emits and echo for the bench and for real clients of every version, at `/socket.io/`, with default
    /// timings. Answers name the node that gives them.
    Bench,
}

impl Suite {
    /// Where the fixture is served.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Engine | Self::EngineV3 | Self::EngineV3Patient => "/engine.io/",
            Self::Socket | Self::SocketV3 | Self::SocketV3JoinSoon | Self::Recovery | Self::Bench => {
                "/socket.io/"
            }
        }
    }
}

/// What some tests want different.
#[derive(Debug, Clone, Copy, Default)]
pub struct More {
    /// The compression of WebSocket messages.
    pub deflate: Option<engine::Compression>,
    /// Whether clients of version 2 are reached by the ids that they know.
    pub version_2_ids: bool,
}

/// A node of a fixture.
#[derive(Debug, Clone)]
pub enum Fixture {
    /// On the bare engine.
    Engine(Node<Echo>),
    /// On Socket.IO.
    Socket(Node<SocketIo>),
}

impl Fixture {
    /// Starts a node, alone or in a cluster.
    ///
    /// # Errors
    /// As [`NodeBuilder::start`].
    pub async fn start(suite: Suite, cluster: Option<Cluster>) -> Result<Self, StartError> {
        Self::start_with(suite, cluster, More::default()).await
    }

    /// Starts a node with more settings.
    ///
    /// # Errors
    /// As [`NodeBuilder::start`].
    pub async fn start_with(suite: Suite, cluster: Option<Cluster>, more: More) -> Result<Self, StartError> {
        let builder = configured(suite, more);
        let builder = match cluster {
            Some(cluster) => builder.cluster(cluster),
            None => builder,
        };
        Ok(match suite {
            Suite::Engine | Suite::EngineV3 | Suite::EngineV3Patient => {
                Self::Engine(builder.start_engine(Echo).await?)
            }
            Suite::Socket => Self::Socket(greeted(builder).start().await?),
            Suite::SocketV3 | Suite::SocketV3JoinSoon => {
                Self::Socket(greeted(builder).namespace(rooms("/rooms")).namespace(guarded()).start().await?)
            }
            Suite::Recovery => Self::Socket(
                builder.namespace(recoverable("/")).namespace(recoverable("/custom")).start().await?,
            ),
            Suite::Bench => {
                let recovered = rooms("/recovered").recover(Recovery::default());
                Self::Socket(builder.namespace(rooms("/")).namespace(recovered).start().await?)
            }
        })
    }

    /// Serves clients until the node shuts down, and at `/counters` what it counted.
    pub async fn serve(&self, suite: Suite, listener: impl Into<http::Listener>) {
        let counting = self.clone();
        let fallback = move |request: &Request<Incoming>| match request.uri().path() {
            "/counters" => {
                let counters = serde_json::to_vec(&counting.counters()).unwrap_or_default();
                Response::new(bytes::Bytes::from(counters).into())
            }
            _ => http::not_found(request),
        };
        match self {
            Self::Engine(node) => node.serve_at(suite.path(), listener, fallback).await,
            Self::Socket(node) => node.serve_at(suite.path(), listener, fallback).await,
        }
    }

    /// The same in axum, which serves nothing else.
    pub async fn serve_in_axum(&self, suite: Suite, listener: TcpListener) {
        let app = match self {
            Self::Engine(node) => host::mounted(node, suite.path()),
            Self::Socket(node) => host::mounted(node, suite.path()),
        };
        host::serve_in_axum(listener, app).await;
    }

    /// Everything that the node counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match self {
            Self::Engine(node) => Counters::of(node),
            Self::Socket(node) => Counters::of(node),
        }
    }

    /// Waits until the node is ready for clients.
    pub async fn ready(&self) {
        match self {
            Self::Engine(node) => node.ready().await,
            Self::Socket(node) => node.ready().await,
        }
    }

    /// Its address for other nodes; `None` for a node without a cluster.
    #[must_use]
    pub fn mesh_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Engine(node) => node.mesh_addr(),
            Self::Socket(node) => node.mesh_addr(),
        }
    }

    /// Its view of the cluster; `None` for a node without a cluster.
    #[must_use]
    pub fn view(&self) -> Option<watch::Receiver<Arc<View>>> {
        match self {
            Self::Engine(node) => node.view(),
            Self::Socket(node) => node.view(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &socketmesh::id::NodeId {
        match self {
            Self::Engine(node) => node.id(),
            Self::Socket(node) => node.id(),
        }
    }

    /// Ends it in order.
    pub async fn drain(&self, drain: Drain) {
        match self {
            Self::Engine(node) => node.drain(drain).await,
            Self::Socket(node) => node.drain(drain).await,
        }
    }

    /// The same at once.
    pub async fn shutdown(&self) {
        self.drain(Drain::default()).await;
    }
}

/// A node with the timings and limits of a suite. The bench has the defaults.
fn configured(suite: Suite, more: More) -> NodeBuilder {
    let More { deflate: per_message_deflate, version_2_ids } = more;
    let bench = matches!(suite, Suite::Bench);
    let cors = http::Config::default().cors(Cors::any()).expose_node(bench);
    let fast = engine::Config::default()
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .per_message_deflate(per_message_deflate);
    let allow_eio3 = true;
    let patient = engine::Config::default().allow_eio3(allow_eio3).per_message_deflate(per_message_deflate);
    let socket = socket::Config::default().version_2_ids(version_2_ids);
    let join_soon = socket.clone().connect_timeout(Duration::from_secs(1));
    let builder = match suite {
        Suite::Engine => Node::builder().engine(fast),
        Suite::EngineV3 => Node::builder().engine(fast.allow_eio3(allow_eio3)),
        Suite::EngineV3Patient => Node::builder().engine(patient),
        Suite::Socket => Node::builder().engine(fast).socket(join_soon),
        Suite::SocketV3JoinSoon => Node::builder().engine(patient).socket(join_soon),
        Suite::SocketV3 | Suite::Recovery => Node::builder().engine(patient).socket(socket),
        // A binary message of 1 MB is a third larger as base64 in a POST.
        Suite::Bench => Node::builder().socket(socket).engine(
            engine::Config::default()
                .max_payload(4_000_000)
                .allow_eio3(allow_eio3)
                .per_message_deflate(per_message_deflate),
        ),
    };
    builder.http(cors)
}

/// An engine application that sends every message back.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

/// A session of [`Echo`].
#[derive(Debug)]
pub struct Echoing(SessionRef<()>);

impl Application for Echo {
    type Client = Echoing;

    fn accept(self: &Arc<Self>, session: SessionRef<()>) -> Echoing {
        Echoing(session)
    }
}

impl engine::Client for Echoing {
    type Command = ();

    fn handle_message(&mut self, message: Message) {
        match message {
            Message::Text(text) => self.0.send_text(&text),
            Message::Binary(data) => self.0.send_binary(data),
        }
    }

    fn handle_command(&mut self, (): ()) {}

    fn handle_close(self, _: CloseReason) {}
}

/// The namespaces of the Socket.IO suite.
fn greeted(builder: NodeBuilder) -> NodeBuilder {
    builder
        .namespace(greeting("/").on("message", message).on("message-with-ack", message_with_ack))
        .namespace(greeting("/custom"))
}

/// A namespace that tells each client the auth payload it connected with.
fn greeting(path: &str) -> Namespace<serde_json::Value> {
    namespace(path)
        .auth(async |handshake: socketmesh::Handshake| handshake.auth::<serde_json::Value>())
        .on_connect(async |socket: Socket<serde_json::Value>| Ok(socket.emit("auth", socket.data())?))
}

/// A namespace that admits clients with the right word in their auth payload.
pub fn guarded() -> Namespace {
    #[derive(serde::Deserialize)]
    struct Login {
        word: String,
    }
    let auth = async |handshake: socketmesh::Handshake| match handshake.auth::<Login>()?.word.as_str() {
        "please" => Ok(()),
        word => Err(Refusal::new("wrong word").with_data(word.len())),
    };
    namespace("/guarded").auth(auth)
}

async fn message(socket: Socket<serde_json::Value>, args: RawArgs) -> socketmesh::Result<()> {
    Ok(socket.emit("message-back", &args)?)
}

async fn message_with_ack(_: Socket<serde_json::Value>, args: RawArgs) -> socketmesh::Result<RawArgs> {
    Ok(args)
}

/// How often handlers of this process failed, and did not answer.
static FAILED: AtomicU32 = AtomicU32::new(0);
static SILENT: AtomicU32 = AtomicU32::new(0);

/// A namespace with rooms, direct emits and echo.
pub fn rooms(path: &str) -> Namespace {
    namespace(path)
        .on("join", async |socket: Socket, room: String| {
            let missing = socket.join(room).applied().await?.missing;
            Ok(missing.iter().map(ToString::to_string).collect::<Vec<_>>())
        })
        .on("leave", async |socket: Socket, room: String| {
            socket.leave(room);
            Ok(())
        })
        .on("msg", async |socket: Socket, Args((room, payload)): Args<(String, RawArg)>| {
            Ok(socket.to(room).emit("msg", &payload)?)
        })
        .on("direct", async |socket: Socket, Args((sid, payload)): Args<(String, RawArg)>| {
            Ok(socket.to(sid).emit("direct", &payload)?)
        })
        .on("echo", async |_: Socket, payload: RawArg| Ok(payload))
        .on("whoami", async |socket: Socket, (): ()| Ok(socket.id().to_string()))
        .on("ask", async |socket: Socket, payload: RawArg| {
            Ok(socket.emit_with_ack::<RawArg, _>("question", &payload).await?)
        })
        .on("mirror", async |socket: Socket, payload: RawArg| Ok(socket.emit("mirrored", &payload)?))
        .on("pid", async |_: Socket, (): ()| Ok(std::process::id()))
        .on("fail", async |_: Socket, (): ()| {
            FAILED.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(EventError::new("full", "no room"))
        })
        .on("fail inside", async |_: Socket, (): ()| Ok("x".parse::<u8>()?))
        .on("silent", async |_: Socket, (): (), ack: Ack| {
            SILENT.fetch_add(1, Ordering::Relaxed);
            drop(ack);
        })
        .on("failed", async |_: Socket, (): ()| Ok(FAILED.load(Ordering::Relaxed)))
        .on("silences", async |_: Socket, (): ()| Ok(SILENT.load(Ordering::Relaxed)))
}

/// What a client that comes back finds again.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Visit {
    /// Another one each time that the middleware runs.
    number: u64,
    mark: Mutex<String>,
}

/// A namespace whose clients may come back, and have what they missed sent by each other.
fn recoverable(path: &str) -> Namespace<Visit> {
    static VISITS: AtomicU64 = AtomicU64::new(0);
    namespace(path)
        .auth(async |_: socketmesh::Handshake| {
            let number = VISITS.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Refusal>(Visit { number, mark: Mutex::default() })
        })
        .recover(Recovery::default())
        .on("join", async |socket: Socket<Visit>, room: String| Ok(socket.join(room).await?))
        .on("mark", async |socket: Socket<Visit>, mark: String| {
            *socket.data().mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
            Ok(())
        })
        .on("state", async |socket: Socket<Visit>, (): ()| {
            let mut rooms: Vec<_> = socket.rooms().iter().skip(1).map(ToString::to_string).collect();
            rooms.sort();
            let Visit { number, mark } = socket.data();
            let mark = mark.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Ok((socket.recovered(), rooms, *number, mark))
        })
        .on("mirror", async |socket: Socket<Visit>, payload: RawArg| Ok(socket.emit("mirrored", &payload)?))
        .on("volatile", async |socket: Socket<Visit>, payload: RawArg| {
            Ok(socket.volatile().emit("mirrored", &payload)?)
        })
        .on("ask", async |socket: Socket<Visit>, payload: RawArg| {
            Ok(socket.emit_with_ack::<RawArg, _>("question", &payload).await?)
        })
        .on("all", async |socket: Socket<Visit>, payload: RawArg| Ok(socket.nsp().emit("all", &payload)?))
        .on("msg", async |socket: Socket<Visit>, Args((room, payload)): Args<(String, RawArg)>| {
            Ok(socket.to(room).emit("msg", &payload)?)
        })
        .on("present", async |socket: Socket<Visit>, id: String| {
            Ok(socket.nsp().to(id).count().await.sockets)
        })
        .on("leave me", async |socket: Socket<Visit>, (): ()| {
            socket.disconnect();
            Ok(())
        })
        .on("close me", async |socket: Socket<Visit>, (): ()| {
            socket.close();
            Ok(())
        })
}

/// Nodes of a fixture in this process, each with an HTTP listener of its own.
#[derive(Debug)]
pub struct Nodes {
    /// Where each node serves clients.
    pub http: Vec<SocketAddr>,
    /// The nodes themselves.
    pub nodes: Vec<Fixture>,
}

/// Nodes that echo every message at `/engine.io/`.
///
/// # Panics
/// A node does not start.
pub async fn engine(nodes: usize) -> Nodes {
    start(Suite::Engine, nodes).await
}

/// Nodes with the namespaces of the Socket.IO suite at `/socket.io/`.
///
/// # Panics
/// A node does not start.
pub async fn socket(nodes: usize) -> Nodes {
    start(Suite::Socket, nodes).await
}

/// Nodes with the events of the bench at `/socket.io/`.
///
/// # Panics
/// A node does not start.
pub async fn bench(nodes: usize) -> Nodes {
    start(Suite::Bench, nodes).await
}

/// One node on its own, or several in one cluster over real QUIC.
///
/// # Panics
/// A node does not start.
pub async fn start(suite: Suite, count: usize) -> Nodes {
    start_in(Host::Own, suite, count).await
}

/// The same, in that host.
///
/// # Panics
/// A node does not start.
pub async fn start_in(host: Host, suite: Suite, count: usize) -> Nodes {
    let mut running = Nodes { http: Vec::new(), nodes: Vec::new() };
    let mut seed = None;
    for n in 0..count {
        let cluster = (count > 1).then(|| member(n, seed));
        let node = Fixture::start(suite, cluster).await.expect("the node starts");
        seed = seed.or_else(|| node.mesh_addr());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        running.http.push(listener.local_addr().expect("an address"));
        let serving = node.clone();
        tokio::spawn(async move {
            match host {
                Host::Own => serving.serve(suite, listener).await,
                Host::Axum => serving.serve_in_axum(suite, listener).await,
            }
        });
        running.nodes.push(node);
    }
    for node in &running.nodes {
        node.ready().await;
    }
    running
}
