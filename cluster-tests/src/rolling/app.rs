//! The node under test. It emits numbered messages and counts them; how sessions outlive it is said in `recoverable` and `stop`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::{Deserialize, Serialize};
use socketmesh::cluster::{Cluster, Secret};
use socketmesh::id::NodeId;
use socketmesh::socket::Recovery;
use socketmesh::{Args, Drain, Handshake, Namespace, NamespaceRef, Node, Socket, http, namespace};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tower_service::Service as _;

/// A node under test; the harness starts it.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    #[arg(long)]
    host: IpAddr,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    node_id: NodeId,
    #[arg(long)]
    mesh: SocketAddr,
    #[arg(long)]
    seed: Vec<String>,
    /// Sessions are recovered.
    #[arg(long)]
    recovery: bool,
    /// Milliseconds over which a node that stops hands its clients over.
    #[arg(long)]
    drain: u64,
    /// Messages in a second.
    #[arg(long)]
    rate: u32,
    /// To so many rooms.
    #[arg(long)]
    rooms: usize,
    /// And so many users.
    #[arg(long)]
    users: usize,
    /// From the start, as one that joins a cluster under load.
    #[arg(long)]
    talk: bool,
}

/// The sockets of which are kept when their connection or their node is lost, if they are at all.
fn recoverable(described: Namespace<Login>, recovery: bool) -> Namespace<Login> {
    if recovery { described.recover(Recovery::default()) } else { described }
}

/// Stops a node in good order, in this time.
async fn stop(node: &Node, time: Duration) {
    let notice = NOTICED.min(time);
    node.drain(Drain::default().notice(notice).spread(time - notice)).await;
}

/// Whose a socket is.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Login {
    user: usize,
}

/// The room of a user.
#[must_use]
pub fn room_of_user(user: usize) -> String {
    format!("user-{user}")
}

/// A room of many.
#[must_use]
pub fn room(number: usize) -> String {
    format!("room-{number}")
}

/// Serves until it is told to stop, and says then what it has emitted.
///
/// # Errors
/// The node does not start, or its addresses are not free.
pub async fn serve(settings: Settings) -> Result<(), Box<dyn Error>> {
    let streams = Arc::new(Streams::default());
    let mut cluster = Cluster::bind(settings.mesh.to_string()).node_id(settings.node_id.clone());
    if let Some(secret) = Secret::from_env()? {
        cluster = cluster.secret(secret);
    }
    let node = Node::builder()
        .namespace(recoverable(described(&streams), settings.recovery))
        // The clients tell which node carried a WebSocket.
        .http(http::Config::default().expose_node(true))
        .cluster(cluster.seeds(settings.seed.iter().cloned()))
        .start()
        .await?;
    let listener = TcpListener::bind((settings.host, settings.port)).await?;
    let http = listener.local_addr()?;
    let (serving, answering) = (node.clone(), Arc::clone(&streams));
    tokio::spawn(async move {
        let asked = serving.clone();
        serving.serve_at("/socket.io/", listener, move |request| answer(&asked, &answering, request)).await;
    });
    node.ready().await;
    streams.talks.store(settings.talk, Ordering::Relaxed);
    let mut terminated = signal(SignalKind::terminate())?;
    let mesh = node.mesh_addr().ok_or("a member has an address")?;
    writeln!(std::io::stdout(), "listening http={http} mesh={mesh} node={}", node.id())?;
    tokio::spawn(talk(node.clone(), Arc::clone(&streams), settings.clone()));
    terminated.recv().await;
    streams.stopping.store(true, Ordering::Relaxed);
    stop(&node, Duration::from_millis(settings.drain)).await;
    writeln!(std::io::stderr(), "{EMITTED}{}", streams.emitted())?;
    Ok(())
}

/// How the last line of a node begins.
pub const EMITTED: &str = "emitted ";

/// The messages of this life: for each target the next number.
#[derive(Debug, Default)]
struct Streams {
    next: Mutex<BTreeMap<String, u64>>,
    talks: AtomicBool,
    stopping: AtomicBool,
}

impl Streams {
    /// Emits the next message to a target. Under the lock, so that numbers are in the order of the emits.
    fn emit(&self, namespace: &NamespaceRef, target: &str) -> socketmesh::Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = next.entry(target.to_owned()).or_default();
        namespace.to(target).emit("m", &Args((std::process::id(), target, *number)))?;
        *number += 1;
        Ok(())
    }

    fn emitted(&self) -> String {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_string(&*next).unwrap_or_default()
    }
}

fn described(streams: &Arc<Streams>) -> Namespace<Login> {
    let streams = Arc::clone(streams);
    namespace("/")
        .auth(async |handshake: Handshake| handshake.auth::<Login>())
        .on("enter", async |socket: Socket<Login>, rooms: Vec<String>| {
            let joining: Vec<_> = rooms.into_iter().map(|room| socket.join(room)).collect();
            for joined in joining {
                joined.applied().await?;
            }
            // A client that has heard nothing yet has no position from which it could be recovered.
            socket.emit("welcome", &())?;
            Ok(Place::of(&socket))
        })
        .on("where", async |socket: Socket<Login>, (): ()| Ok(Place::of(&socket)))
        .on("say", async move |socket: Socket<Login>, target: String| streams.emit(&socket.nsp(), &target))
}

/// Where a socket is, and what the node knows of it.
#[derive(Debug, Serialize)]
struct Place {
    life: u32,
    user: usize,
    rooms: Vec<String>,
}

impl Place {
    fn of(socket: &Socket<Login>) -> Self {
        let rooms = socket.rooms().iter().map(ToString::to_string).collect();
        Self { life: std::process::id(), user: socket.data().user, rooms }
    }
}

fn answer(node: &Node, streams: &Streams, request: &Request<Incoming>) -> Response<http::Body> {
    match request.uri().path() {
        "/talk" => streams.talks.store(true, Ordering::Relaxed),
        "/quiet" => streams.talks.store(false, Ordering::Relaxed),
        "/emitted" => {}
        // What a node says of itself it says at once.
        "/metrics" => {
            let mut asked = Request::new(());
            asked.uri_mut().clone_from(request.uri());
            let answered = node.admin().call(asked).now_or_never();
            return answered.and_then(Result::ok).unwrap_or_else(|| http::not_found(request));
        }
        _ => return http::not_found(request),
    }
    Response::new(bytes::Bytes::from(streams.emitted()).into())
}

/// Emits to rooms and users in turn, also while the node stops: until it has no clients any more.
async fn talk(node: Node, streams: Arc<Streams>, settings: Settings) {
    let mut ticks = interval(Duration::from_secs(1) / settings.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let namespace = node.of("/");
    for turn in 0_usize.. {
        ticks.tick().await;
        if streams.stopping.load(Ordering::Relaxed) && node.sessions() == 0 {
            return;
        }
        if !streams.talks.load(Ordering::Relaxed) {
            continue;
        }
        let target = match turn % 2 {
            0 => room(turn / 2 % settings.rooms.max(1)),
            _ => room_of_user(turn / 2 % settings.users.max(1)),
        };
        if let Err(error) = streams.emit(&namespace, &target) {
            tracing::error!(%error, "a message was not emitted");
        }
    }
}

/// How long a node that stops is still there for load balancers, until they have noticed.
const NOTICED: Duration = Duration::from_secs(1);
