//! A node: the one place that knows every layer. It builds them and connects those that do not know each other.

mod drain;
mod even_out;
mod handle;
#[cfg(feature = "axum")]
mod host;
mod newcomers;
pub(crate) mod operators;
#[cfg(feature = "webtransport")]
mod webtransport;

use std::any::Any;
use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{SetOnce, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::cluster::{self, BiStream, Cluster, Mesh, PeerCounters, Upward, View};
use crate::counter::Count;
use crate::engine::{self, Application, Census, Engine, EngineCounters};
use crate::http::forwarded;
use crate::http::operator::Answers;
use crate::http::server::{self, Answering, Server};
use crate::http::{self, Body, Edge, HttpCounters, Listener, Owner, Service};
use crate::id::{Key, NodeId, SocketId};
use crate::random::{self, RandomError};
use crate::socket::messages::{Inbound, SocketSummary};
use crate::socket::peers::{NoPeers, Peers};
use crate::socket::{
    self, Description, KeepingFigures, Namespace, NamespaceFigures, NamespaceRef, RoomSize, SocketIo, UserRef,
};
use crate::trace::Span;
use drain::Account;
pub use drain::Drain;
pub use even_out::EvenOut;

/// One node of an application. It serves clients on its own or as a member of a cluster. Node: `Server`.
///
/// A clone is another handle of the same node. The node ends when [`drain`](Self::drain) or [`shutdown`](Self::shutdown) is called,
/// or its last handle is dropped.
///
/// ```no_run
/// use socketmesh::{Node, Socket, namespace};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
/// let node = Node::builder().namespace(echo).start().await?;
/// node.serve(tokio::net::TcpListener::bind("0.0.0.0:3000").await?).await;
/// # Ok(()) }
/// ```
pub struct Node<A: Application = SocketIo>(pub(crate) Arc<Parts<A>>);

pub(crate) struct Parts<A: Application> {
    id: NodeId,
    app: Arc<A>,
    pub(crate) engine: Arc<Engine<A>>,
    pub(crate) cluster: Option<Arc<Mesh>>,
    edge: Arc<Edge<A>>,
    stopping: CancellationToken,
    /// Has a token for each listener that is served, and for each service that a host has.
    serving: TaskTracker,
    hooks: Hooks<A>,
    started: Instant,
    /// What happens when operators ask this node to stop, as long as they may.
    on_drain: Mutex<Weak<OnDrain>>,
    /// What a member does all the time.
    background: OnceLock<Background>,
}

/// The tasks of a member, which end with it.
struct Background {
    /// Ends the node when its mesh fails.
    _end_with_mesh: AbortOnDropHandle<()>,
    /// Tells nodes that join what they have to know.
    _newcomers: AbortOnDropHandle<()>,
    /// Tells the others how many sessions there are here.
    _even_out: AbortOnDropHandle<()>,
}

/// How many handlers have not ended.
type Ended = Pin<Box<dyn Future<Output = usize> + Send>>;

/// The end of handing over.
type Handed = Pin<Box<dyn Future<Output = u64> + Send>>;

/// Is told who asked.
pub(crate) type OnDrain = dyn Fn(&str) + Send + Sync;

/// What a node asks of its application beside what an engine does.
struct Hooks<A> {
    /// Waits until its handlers have ended, once there are no sessions.
    ended: fn(Arc<A>) -> Ended,
    /// Ends them where they wait.
    kill: fn(&A),
    /// Gives what this node keeps for clients that may come back to the others. Returns how many packets they did not get.
    hand_over: fn(Arc<A>) -> Handed,
    namespace_figures: fn(&A) -> Vec<NamespaceFigures>,
    largest_rooms: fn(&A, usize) -> Vec<RoomSize>,
    find_socket: fn(&A, SocketId) -> Option<(String, SocketSummary)>,
    kept: fn(&A) -> KeepingFigures,
    /// Tells the other nodes what those that join have to know: everything, or what is new.
    greet: fn(&A, bool),
    /// Tells it which node it is.
    set_host: fn(&A, Weak<dyn Any + Send + Sync>),
}

impl Node {
    /// Returns the builder of a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// The namespace at `path`, to emit to from anywhere, and to look up its sockets. Node: `io.of(path)`. A handler has it
    /// from its socket: [`Socket::nsp`](crate::Socket::nsp).
    ///
    /// This node need not serve the namespace: other nodes may have sockets in it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
    /// // Both are handles: clone them into any task.
    /// let (io, chat) = (node.clone(), node.of("/chat"));
    /// tokio::spawn(async move {
    ///     tokio::time::sleep(Duration::from_secs(60)).await;
    ///     chat.emit("news", &"a minute has passed")?;
    ///     io.of("/").to("operators").emit("news", &"everybody was told")
    /// });
    /// # Ok(()) }
    /// ```
    pub fn of(&self, path: &str) -> NamespaceRef {
        self.0.app.of(path)
    }

    /// The namespaces that there are on this node, sorted by path: those that it was given, and of the dynamic ones those that
    /// somebody is in or refers to.
    ///
    /// ```
    /// # fn f(node: socketmesh::Node) {
    /// for namespace in node.namespaces() {
    ///     println!("{}: {} sockets here", namespace.path(), namespace.local_count());
    /// }
    /// # }
    /// ```
    pub fn namespaces(&self) -> Vec<NamespaceRef> {
        self.0.app.namespaces()
    }

    /// Serves one more namespace, or those of one more pattern, on this node from now on. Node: `io.of(path)` at any time.
    ///
    /// Clients may enter it as soon as this returns, and [`NamespaceRef`]s that were taken before are of the same namespace. It
    /// cannot be taken away again. Patterns and predicates are tried after those that were given before. The other nodes of a
    /// cluster have to be given it, too, before their clients may enter it; to be emitted to it need not be there.
    ///
    /// ```
    /// # use socketmesh::{Node, Socket, namespace};
    /// # async fn f(node: Node) -> Result<(), socketmesh::NamespaceError> {
    /// node.add_namespace(namespace("/beta").on("echo", async |_: Socket, text: String| Ok(text)))?;
    /// node.of("/beta").emit("open", &()).ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamespaceError`]: the description contradicts itself, it is there already, or a namespace that exists at its path is one
    /// of a pattern or a predicate. Nothing changes then.
    pub fn add_namespace<S: Send + Sync + 'static, Stage>(
        &self,
        namespace: Namespace<S, Stage>,
    ) -> Result<(), NamespaceError> {
        let description = namespace.described();
        let path = description.paths.to_string();
        self.0.app.add(description).map_err(|fault| NamespaceError { path, fault })
    }

    /// The user with this key, on every node and in every namespace: what [`Login::user`](socket::Login::user) said of its sockets.
    ///
    /// ```
    /// # async fn f(node: socketmesh::Node) {
    /// node.user("42").disconnect().await;
    /// # }
    /// ```
    pub fn user(&self, key: impl Into<Arc<str>>) -> UserRef {
        self.of("/").user(key)
    }
}

impl<A: Application> Node<A> {
    /// The name of this node, unique in its cluster.
    pub fn id(&self) -> &NodeId {
        &self.0.id
    }

    /// The tower service that answers the requests of clients, for axum, hyper or another server on tower.
    ///
    /// It answers every request that it is given, so mount it at the path of Socket.IO. The server must support HTTP
    /// upgrades, as axum's does; without them clients stay on polling. [`Service`] says how the server tells where clients are,
    /// and [`stopped`](Self::stopped) tells it when to end. When the node stops it waits until the service and all clones of it are
    /// dropped, which is when the server has ended, for 1.5 s at most.
    pub fn service(&self) -> Service {
        Service::hosted(Arc::clone(&self.0.edge), self.0.serving.token())
    }

    /// The same for what is a part of this node: nobody waits for it.
    pub(crate) fn own_service(&self) -> Service {
        Service::new(Arc::clone(&self.0.edge))
    }

    /// The number of sessions that this node owns now.
    pub fn sessions(&self) -> usize {
        self.0.engine.len()
    }

    /// Everything that this node has counted since its start, with the names of the metrics. A counter never decreases.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counts().into_iter().map(|Count { name, value, .. }| (name, value)).collect()
    }

    /// What this node has counted about its messages to and from each other node: one entry per life of a node that it knows,
    /// and the last 64 of those that are over. Empty without a cluster.
    pub fn peer_counters(&self) -> Vec<PeerCounters> {
        self.0.cluster.iter().flat_map(|cluster| cluster.peer_counters()).collect()
    }

    /// The members of the cluster as this node sees them, now and after each change; `None` without a cluster.
    pub fn view(&self) -> Option<watch::Receiver<Arc<View>>> {
        self.0.cluster.as_ref().map(|cluster| cluster.view())
    }

    /// The node that does what only one should do, as this node sees it now: [`View::leader`]. Without a cluster it is this one.
    pub fn leader(&self) -> Option<NodeId> {
        match self.view() {
            Some(view) => view.borrow().leader().cloned(),
            None => Some(self.id().clone()),
        }
    }

    /// Whether this node is the [`leader`](Self::leader), which is **no lock**: while a death is not noticed yet (3 s) nobody may
    /// be it, and while the cluster is cut in two each part has one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn f(node: socketmesh::Node) -> Result<(), socketmesh::socket::EncodeError> {
    /// // A task on every node. One of them greets everybody, and another goes on when that one dies.
    /// let mut ticks = tokio::time::interval(Duration::from_secs(30));
    /// loop {
    ///     ticks.tick().await;
    ///     if node.is_leader() {
    ///         node.of("/").emit("hello", "every 30 s")?;
    ///     }
    /// }
    /// # }
    /// ```
    pub fn is_leader(&self) -> bool {
        self.leader().as_ref() == Some(self.id())
    }

    /// The UDP address that this node has bound for the other nodes; `None` without a cluster.
    pub fn mesh_addr(&self) -> Option<std::net::SocketAddr> {
        self.0.cluster.as_ref().map(|cluster| cluster.local_addr())
    }

    /// Waits until this node accepts new clients: without a cluster it does so at once, in a cluster when every live member
    /// knows it.
    ///
    /// It has no time limit: while no seed answers it waits, unless [`Cluster::serve_alone`] is set.
    pub async fn ready(&self) {
        if let Some(cluster) = &self.0.cluster {
            cluster.ready().await;
        }
    }

    /// Whether this node accepts new clients. While it joins its cluster or ends, another node that does opens their sessions, and
    /// this one carries them; if there is none, their handshakes are answered with 503.
    pub fn is_ready(&self) -> bool {
        self.0.edge.refuses_clients().is_none()
    }

    /// Why this node takes no new clients; `None` if it does.
    pub(crate) fn refuses_clients(&self) -> Option<&'static str> {
        self.0.edge.refuses_clients()
    }

    /// What is counted, with what metrics need.
    pub(crate) fn counts(&self) -> Vec<Count> {
        let cluster = self.0.cluster.iter().flat_map(|cluster| cluster.counts());
        let (sessions, connections) = (self.0.engine.counters().counts(), self.0.edge.counters().counts());
        sessions.into_iter().chain(connections).chain(cluster).collect()
    }

    /// What happened to the sessions of this node.
    pub(crate) fn engine_counters(&self) -> &EngineCounters {
        self.0.engine.counters()
    }

    /// What happened to the requests of this node.
    pub(crate) fn http_counters(&self) -> &HttpCounters {
        self.0.edge.counters()
    }

    /// How many requests this node carries to other nodes now.
    pub(crate) fn carried_requests(&self) -> usize {
        self.0.edge.carried()
    }

    /// The sessions of this node, counted.
    pub(crate) fn census(&self) -> Census {
        self.0.engine.census()
    }

    /// What is on this node of each namespace.
    pub(crate) fn namespace_figures(&self) -> Vec<NamespaceFigures> {
        (self.0.hooks.namespace_figures)(&self.0.app)
    }

    /// What this node keeps for clients that may come back.
    pub(crate) fn kept(&self) -> KeepingFigures {
        (self.0.hooks.kept)(&self.0.app)
    }

    /// The round trip time of the link to another node.
    pub(crate) fn link_rtt(&self, to: &NodeId) -> Option<Duration> {
        self.0.cluster.as_ref()?.link_rtt(to)
    }

    /// Changes what this node shows the other nodes, and what it accepts of them, from the next connection between them on; those
    /// that exist go on. So secrets and certificates are changed without a restart: a secret in two steps, because nodes on
    /// both sides of the change have to accept each other (see [`Secret::accepting`](cluster::Secret::accepting)). A node
    /// without a cluster has none, and nothing happens.
    ///
    /// # Errors
    ///
    /// [`IdentityError`](cluster::IdentityError): the certificates cannot be used, or name another node. Nothing changes then.
    pub fn renew_credentials(
        &self,
        credentials: impl Into<cluster::Credentials>,
    ) -> Result<(), cluster::IdentityError> {
        self.0.cluster.as_ref().map_or(Ok(()), |cluster| cluster.renew(credentials.into()))
    }

    /// Resolves when this node has let its clients go and its listeners have closed: after step 4 of [`drain`](Self::drain), also where
    /// it [fails](Self::failed). A host of its [`service`](Self::service) ends then, in axum by `with_graceful_shutdown`: what comes
    /// before is served, and the node waits for it and says goodbye to the other nodes afterwards.
    ///
    /// A host that ends earlier refuses clients that nobody has told to leave. One that goes on answers with errors as soon as the
    /// node has left its cluster, also requests for sessions of other nodes.
    ///
    /// ```no_run
    /// # async fn f(node: socketmesh::Node, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    /// let app = axum::Router::new().nest_service("/socket.io", node.service());
    /// let serving = axum::serve(listener, app).with_graceful_shutdown(node.stopped());
    /// tokio::spawn(serving.into_future());
    /// tokio::signal::ctrl_c().await?;
    /// node.shutdown().await; // or `drain`; axum has ended when it returns, or 1.5 s have passed
    /// # Ok(()) }
    /// ```
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<A> {
        let stopping = self.0.stopping.clone();
        async move {
            stopping.cancelled().await;
            // A host would close what has just been accepted.
            sleep(http::FIRST_REQUEST).await;
        }
    }

    /// Waits until a part of this node has ended that cannot be started anew, which only a bug or the loss of its UDP socket
    /// brings about, and says why. The node is not ready any more then, and shuts itself down: its clients reconnect to another
    /// node, and [`serve`](Self::serve) returns. Restart the process.
    pub async fn failed(&self) -> Failure {
        match &self.0.cluster {
            Some(cluster) => Failure(cluster.failed().await),
            None => std::future::pending().await,
        }
    }

    /// Why this node takes no new clients now, for people: no seed answers, members do not answer, it misses members that
    /// others reach, a newer life of it runs, or it stops. `None` while it takes them.
    pub fn obstacle(&self) -> Option<String> {
        self.0.cluster.as_ref().and_then(|cluster| cluster.obstacle())
    }

    /// Serves clients at `/socket.io/` of `listener` until [`shutdown`](Self::shutdown). It is a [`TcpListener`], or a
    /// [`Listener`] with TLS or with other limits. `/healthz` and `/readyz` answer load balancers
    /// ([`health`](http::Config::health)), and other paths are answered with 404.
    ///
    /// Dropping the future closes the listener and its connections.
    ///
    /// [`TcpListener`]: tokio::net::TcpListener
    pub async fn serve(&self, listener: impl Into<Listener>) {
        self.serve_at("/socket.io/", listener, server::not_found).await;
    }

    /// Serves clients at `path` of `listener` until [`shutdown`](Self::shutdown); requests for other paths are
    /// answered by `fallback`, but for `/healthz` and `/readyz` unless [`health`](http::Config::health) is off.
    ///
    /// As in Node, `path` is a prefix; without a slash at its end it is Node's `addTrailingSlash: false`. A WebSocket for
    /// another path gets the answer of `fallback`, and its connection is closed (Node: `destroyUpgrade`).
    pub async fn serve_at(
        &self,
        path: &str,
        listener: impl Into<Listener>,
        fallback: impl Fn(&Request<Incoming>) -> Response<Body> + Send + Sync + 'static,
    ) {
        let (stop, _serving) = (self.0.stopping.cancelled(), self.0.serving.token());
        let (service, edge) = (Some((self.own_service(), path.to_owned())), Arc::clone(&self.0.edge));
        let fallback = Arc::new(move |request: Request<Incoming>| {
            let response = edge.probed(&request).unwrap_or_else(|| fallback(&request));
            Box::pin(ready(response)) as Answering
        });
        let counters = Arc::clone(self.0.edge.counters());
        let mut listener = listener.into();
        listener.proxies = self.0.edge.config().trusted_proxies.clone();
        Server::serve(service, fallback, counters, listener, stop).await;
    }

    /// Ends the node in order, so that no client sees an error and no message is lost:
    ///
    /// 1. From the beginning it is not [ready](Self::is_ready), and the other nodes know it. It opens no sessions: another node that
    ///    is ready does, also for the handshakes that still arrive here, which this one carries there. Where no other node is ready,
    ///    it opens them itself as long as it can; without a cluster they are answered with 503.
    /// 2. For the time of [`notice`](Drain::notice) everything else is served as before. Load balancers have time to notice.
    /// 3. Over the time of [`spread`](Drain::spread) it closes its sessions, each at a moment of its own and once its client has
    ///    what is queued; those for which much waits come last. Clients see `transport close` and connect again by themselves, to
    ///    another node. Meanwhile it lets go of what it carries for other nodes: polls are answered, so that their clients poll
    ///    another node, and WebSockets are closed when the others know that this node stops, after a second at the earliest.
    /// 4. What is left is closed, after a second more for what is queued. An [`Application`] of your own that blocks its sessions is
    ///    waited for, for 5 s at most. [`serve`](Self::serve) returns, within a second, and hosts are [told](Self::stopped) to end.
    /// 5. It waits for the handlers of sockets and of server events, `on_disconnect` among them, for 5 s at most, and for
    ///    requests that it carries, for 3 s at most; POSTs in flight are finished. Hosts have 1.5 s to end.
    /// 6. What it keeps for clients that may come back it hands to another node, for 5 s at most. After that what is still emitted in a
    ///    namespace with [recovery](crate::socket::Recovery) goes to nobody.
    /// 7. It waits until every member has acknowledged what was emitted here, for 2 s at most, and tells them that it leaves.
    ///
    /// The log says when it begins, and at the end in one line how many sessions other nodes opened for clients of this one (`moved`),
    /// how many it closed, and how many messages are not acknowledged (`outstanding`, 0 where all is well); and how many packets it could
    /// not hand on (`left`), if there are any. To end sooner, drop the
    /// future and call [`shutdown`](Self::shutdown). A clone of its [`NodeBuilder`] starts the node again.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn f(node: socketmesh::Node) -> std::io::Result<()> {
    /// use socketmesh::Drain;
    ///
    /// tokio::signal::ctrl_c().await?;
    /// node.drain(Drain::default().notice(Duration::from_secs(1)).spread(Duration::from_secs(9))).await;
    /// # Ok(()) }
    /// ```
    pub async fn drain(&self, drain: Drain) {
        let node = self.id();
        let (notice, spread) = (drain.notice, drain.spread.min(LONGEST));
        tracing::info!(%node, sessions = self.sessions(), ?notice, ?spread, "stopping: the node takes no new clients");
        self.0.edge.drain();
        if let Some(cluster) = &self.0.cluster {
            cluster.drain();
        }
        sleep(notice).await;
        // Pending polls are answered before their connections go. While something is carried, newcomers that no other node takes are
        // served here.
        tokio::join!(self.0.engine.release(spread), self.0.edge.retire(spread));
        let sessions = self.0.engine.close().await;
        self.0.stopping.cancel();
        // What handlers still emit reaches the other nodes.
        let ended = (self.0.hooks.ended)(Arc::clone(&self.0.app));
        let (handlers, requests, ()) = tokio::join!(ended, self.0.edge.stop(), self.listeners_closed());
        let (left, outstanding) = match &self.0.cluster {
            Some(cluster) => {
                let left = (self.0.hooks.hand_over)(Arc::clone(&self.0.app)).await;
                (left, cluster.settle().await)
            }
            None => (0, 0),
        };
        if let Some(cluster) = &self.0.cluster {
            cluster.leave().await;
        }
        let (moved, closed) = self.moved_and_closed();
        Account { moved, closed, sessions, handlers, requests, left, outstanding }.log(node);
    }

    /// Ends the node in order and at once: [`drain`](Self::drain) without notice, and with nothing spread.
    pub async fn shutdown(&self) {
        self.drain(Drain::default()).await;
    }

    /// Waits until nothing comes over connections of this node or its hosts any more: what came would find no owner when it has
    /// left.
    async fn listeners_closed(&self) {
        self.0.serving.close();
        // Their futures may be held back.
        let _late = timeout(LISTENERS, self.0.serving.wait()).await;
    }

    /// How many sessions other nodes opened for clients of this one, and how many of its own it closed because it stops.
    fn moved_and_closed(&self) -> (u64, u64) {
        (self.http_counters().opened_elsewhere.get(), self.engine_counters().closed.by_stops())
    }

    /// Ends handlers, the mesh and the sessions at once, as if the process had been killed: no client and no other node is
    /// told, and no handler runs any more. For demonstrations and drills of what the death of a node does to the others;
    /// [`shutdown`](Self::shutdown) is how a node stops.
    ///
    /// Returns when the port of the mesh is free, after two seconds at most. Connections of clients are cut when the futures
    /// that serve them ([`serve`](Self::serve) and the others) are dropped. Tasks that the application spawned go on.
    pub async fn kill(&self) {
        (self.0.hooks.kill)(&self.0.app);
        // Before the sessions: the other nodes would hear that their sockets leave.
        if let Some(cluster) = &self.0.cluster {
            cluster.kill().await;
        }
        self.0.engine.abort();
    }
}

impl<A: Application> Clone for Node<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Application> fmt::Debug for Node<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.0.id).finish_non_exhaustive()
    }
}

/// The description of a node, before it starts.
///
/// ```no_run
/// use std::time::Duration;
/// use socketmesh::{Node, Socket, engine, namespace};
///
/// # async fn f() -> Result<(), socketmesh::StartError> {
/// let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
/// let sessions = engine::Config::default().ping_interval(Duration::from_secs(10));
/// let node = Node::builder().namespace(echo).engine(sessions).start().await?;
/// # Ok(()) }
/// ```
///
/// A clone describes the same node. So a node is started again after its [`shutdown`](Node::shutdown), in the same process, as
/// another life of it: with the same handlers and what they hold, but without sessions, rooms and counts.
///
/// ```no_run
/// # async fn f(builder: socketmesh::NodeBuilder) -> Result<(), socketmesh::StartError> {
/// let node = builder.clone().start().await?;
/// node.shutdown().await;
/// let node = builder.start().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
#[must_use = "a builder is nothing until it is started"]
pub struct NodeBuilder {
    namespaces: Vec<Description>,
    engine: engine::Config,
    socket: socket::Config,
    http: http::Config,
    cluster: Option<Cluster>,
    even_out: Option<EvenOut>,
}

impl NodeBuilder {
    /// Adds a namespace that this node serves. Every path, and every pattern, may be added once; others can be added
    /// [later](Node::add_namespace).
    pub fn namespace<S: Send + Sync + 'static, Stage>(mut self, namespace: Namespace<S, Stage>) -> Self {
        self.namespaces.push(namespace.described());
        self
    }

    /// Sets the configuration of the sessions: heartbeat, limits, transports. The nodes of a cluster must agree on it.
    pub fn engine(mut self, config: engine::Config) -> Self {
        self.engine = config;
        self
    }

    /// Sets the configuration of Socket.IO: its parser, and the limits of clients.
    pub fn socket(mut self, config: socket::Config) -> Self {
        self.socket = config;
        self
    }

    /// Sets the configuration of HTTP: CORS, the cookie, `allow_request`, middleware, client files.
    pub fn http(mut self, config: http::Config) -> Self {
        self.http = config;
        self
    }

    /// Makes the node a member of a cluster. Nothing else changes for the application.
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Lets clients go while this node owns far more sessions than the other nodes of its cluster, slowly and so that they connect
    /// again. Off by default: then a node that is added gets new clients only. It is of use if it is on everywhere, behind a load
    /// balancer that gives each node its share.
    pub fn even_out(mut self, even_out: EvenOut) -> Self {
        self.even_out = Some(even_out);
        self
    }

    /// Starts the node, in the tokio runtime of the caller. It returns before the node has joined its cluster;
    /// [`Node::ready`] waits for that.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a setting is out of its range, a namespace contradicts itself, or the cluster's address cannot be
    /// bound. Nothing is left running.
    pub async fn start(mut self) -> Result<Node, StartError> {
        let namespaces = std::mem::take(&mut self.namespaces);
        check(&namespaces)?;
        let config = self.socket.clone().heartbeat(self.engine.ping_interval + self.engine.ping_timeout);
        let make = |id: &NodeId, cluster: Option<&Arc<Mesh>>| {
            let peers: Arc<dyn Peers> = match cluster {
                Some(cluster) => Arc::clone(cluster) as Arc<dyn Peers>,
                None => Arc::new(NoPeers),
            };
            SocketIo::new(namespaces, config, id.clone(), peers, mint(cluster))
        };
        let hooks = Hooks {
            ended: |app: Arc<SocketIo>| Box::pin(async move { app.handlers_ended().await }),
            kill: SocketIo::kill_handlers,
            hand_over: |app: Arc<SocketIo>| Box::pin(async move { app.hand_over().await }),
            namespace_figures: SocketIo::namespace_figures,
            largest_rooms: SocketIo::largest_rooms,
            find_socket: SocketIo::find_socket,
            kept: SocketIo::kept,
            greet: SocketIo::greet,
            set_host: SocketIo::set_host,
        };
        self.compose(make, SocketIo::handle, hooks).await
    }

    /// Starts a node with an application of your own on bare Engine.IO sessions, instead of Socket.IO. Namespaces and the
    /// configuration of Socket.IO do not count.
    ///
    /// # Errors
    ///
    /// As [`NodeBuilder::start`].
    pub async fn start_engine<A: Application>(self, app: A) -> Result<Node<A>, StartError> {
        let hooks = Hooks {
            ended: |_| Box::pin(ready(0)),
            kill: |_| {},
            hand_over: |_| Box::pin(ready(0)),
            namespace_figures: |_| Vec::new(),
            largest_rooms: |_, _| Vec::new(),
            find_socket: |_, _| None,
            kept: |_| KeepingFigures::default(),
            greet: |_, _| {},
            set_host: |_, _| {},
        };
        self.compose(|_, _| app, |_, _| {}, hooks).await
    }

    /// Builds the layers from the bottom up. A lower layer calls a higher one through weak references, so that dropping
    /// the node ends it.
    async fn compose<A: Application>(
        self,
        make: impl FnOnce(&NodeId, Option<&Arc<Mesh>>) -> A,
        deliver: fn(&A, Inbound),
        hooks: Hooks<A>,
    ) -> Result<Node<A>, StartError> {
        self.engine.validate()?;
        let (above, begun) = (Arc::<SetOnce<Above<A>>>::default(), Arc::default());
        let cluster = match self.cluster {
            Some(cluster) => {
                let cluster = cluster.parser(self.socket.parser.name()).settings(self.engine.shared());
                Some(join(cluster, &above, Arc::clone(&begun), deliver).await?)
            }
            None => None,
        };
        let id = match &cluster {
            Some(cluster) => cluster.id().clone(),
            None => NodeId::random()?,
        };
        let _starting = Span::start(id.as_str());
        let app = Arc::new(make(&id, cluster.as_ref()));
        let engine = Engine::start(Arc::clone(&app), Arc::new(self.engine), mint(cluster.as_ref())).await;
        let engine = Arc::new(engine.map_err(|_stopped| StartError::Runtime)?);
        let config = Arc::new(self.http);
        let owner = Arc::new(Owner::new(id.clone(), Arc::clone(&engine), Arc::clone(&config)));
        let edge = Arc::new(Edge::new(id.clone(), cluster.clone(), owner, config));
        let parts = Arc::new(Parts {
            id,
            app,
            engine,
            cluster,
            edge,
            stopping: CancellationToken::new(),
            serving: TaskTracker::new(),
            hooks,
            started: Instant::now(),
            on_drain: Mutex::new(Weak::<fn(&str)>::new() as Weak<OnDrain>),
            background: OnceLock::new(),
        });
        // What looks for the node begins when it is there.
        let (Parts { id, app, engine, cluster, edge, hooks, .. }, node) = (&*parts, Arc::downgrade(&parts));
        (hooks.set_host)(app, Weak::clone(&node) as Weak<dyn Any + Send + Sync>);
        // Both are set once, here: from now on it is heard what other nodes say.
        let (operators, edge) = (answers(Weak::clone(&node)), Arc::downgrade(edge));
        let _set_before = above.set(Above { app: Arc::downgrade(app), edge, operators });
        let _set_before = begun.set(());
        let background = cluster.as_ref().map(|cluster| {
            let failed = cluster.failed();
            let end_with_mesh = AbortOnDropHandle::new(tokio::spawn(async move {
                let _reason = failed.await;
                if let Some(parts) = node.upgrade() {
                    Node(parts).shutdown().await;
                }
            }));
            let (app, greet) = (Arc::downgrade(app), hooks.greet);
            let tell = move |everything| app.upgrade().map(|app| greet(&app, everything)).is_some();
            let newcomers = newcomers::greet(id.clone(), cluster.view(), tell);
            let (mesh, engine) = (Arc::downgrade(cluster), Arc::downgrade(engine));
            let even_out = even_out::watch(mesh, engine, self.even_out);
            Background {
                _end_with_mesh: end_with_mesh,
                _newcomers: AbortOnDropHandle::new(tokio::spawn(newcomers)),
                _even_out: AbortOnDropHandle::new(tokio::spawn(even_out)),
            }
        });
        background.into_iter().for_each(|background| drop(parts.background.set(background)));
        Ok(Node(parts))
    }
}

/// Why a node ended by itself. See [`Node::failed`].
///
/// ```
/// # async fn f(node: socketmesh::Node) -> Result<(), socketmesh::Failure> {
/// tokio::select! {
///     failure = node.failed() => Err(failure),
///     stop = tokio::signal::ctrl_c() => Ok(drop(stop)),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the mesh of this node has failed: {0}")]
pub struct Failure(String);

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// What the cluster calls when something arrives from another node.
struct Above<A: Application> {
    app: Weak<A>,
    edge: Weak<Edge<A>>,
    operators: Answers,
}

/// What this node says to the operators of others.
fn answers<A: Application>(node: Weak<Parts<A>>) -> Answers {
    Arc::new(move |method, uri| match node.upgrade() {
        Some(parts) => Node(parts).answer_node(method, uri),
        None => Response::new(Body::default()),
    })
}

async fn join<A: Application>(
    cluster: Cluster,
    above: &Arc<SetOnce<Above<A>>>,
    begun: Arc<SetOnce<()>>,
    deliver: fn(&A, Inbound),
) -> Result<Arc<Mesh>, cluster::StartError> {
    let (for_peers, for_requests) = (Arc::clone(above), Arc::clone(above));
    let inbound = move |inbound| {
        if let Some(app) = for_peers.get().and_then(|above| above.app.upgrade()) {
            deliver(&app, inbound);
        }
    };
    let serve = move |stream: BiStream| {
        let Some(above) = for_requests.get() else { return };
        if let Some(edge) = above.edge.upgrade() {
            tokio::spawn(forwarded::serve_forwarded(edge, Arc::clone(&above.operators), stream));
        }
    };
    let upward = Upward { serve: Arc::new(serve), deliver: Arc::new(inbound), begun };
    Mesh::start(cluster, Handle::current(), upward).await
}

/// The ring key of each new id: in a cluster one of this node's tokens, which tell everybody who owns it.
fn mint(cluster: Option<&Arc<Mesh>>) -> Box<dyn Fn() -> Key + Send + Sync> {
    match cluster {
        Some(cluster) => {
            let cluster = Arc::downgrade(cluster);
            Box::new(move || cluster.upgrade().map_or(Key::from_hash(0), |cluster| cluster.mint_key()))
        }
        None => Box::new(|| Key::from_hash(random::number().unwrap_or_default())),
    }
}

fn check(namespaces: &[Description]) -> Result<(), NamespaceError> {
    let mut seen = std::collections::HashSet::new();
    for namespace in namespaces {
        let fault = namespace.faults.first().cloned();
        let path = namespace.paths.to_string();
        let known = !namespace.paths.depend_on_the_client() && !seen.insert(path.clone());
        let twice = known.then(|| "described twice".to_owned());
        if let Some(fault) = fault.or(twice) {
            return Err(NamespaceError { path, fault });
        }
    }
    Ok(())
}

/// What is wrong with the description of a namespace. Nothing was changed.
///
/// See [`Node::add_namespace`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("namespace {path}: {fault}")]
#[non_exhaustive]
pub struct NamespaceError {
    /// The path, the pattern or `(a predicate)`.
    pub path: String,
    /// What is wrong, for people.
    pub fault: String,
}

/// Why a node did not start. Nothing is left running.
///
/// ```
/// # async fn f() {
/// use socketmesh::{Node, Socket, StartError, namespace};
///
/// let twice = namespace("/")
///     .on("echo", async |_: Socket, text: String| Ok(text))
///     .on("echo", async |_: Socket, number: u8| Ok(number));
/// let refused = Node::builder().namespace(twice).start().await;
/// assert!(matches!(refused, Err(StartError::Namespace(_))));
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(f());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting of the sessions is out of its range: correct it.
    #[error(transparent)]
    Config(#[from] engine::ConfigError),
    /// The description of a namespace contradicts itself: correct it.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The node could not become a member of its cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::StartError),
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    Runtime,
    /// The operating system's random generator failed.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Longer than it takes until the last connection of a listener has ended. Hosts have no more.
const LISTENERS: Duration = Duration::from_millis(1500);
/// Over no longer time a node closes its sessions, whatever it is told.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
