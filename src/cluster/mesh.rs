//! One node's end of the cluster: what the other layers ask it.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use ractor::{Actor, ActorRef};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, warn};

use crate::cluster::config::{Cluster, StartError};
use crate::cluster::connection::{Deliver, PeerConnection, Serve};
use crate::cluster::control::{Control, Message, Start};
use crate::cluster::endpoint::Endpoint;
use crate::cluster::ground::{Ground, Running, Stop};
use crate::cluster::hello::Me;
use crate::cluster::interest::room_hash;
use crate::cluster::peer::Peer;
use crate::cluster::ring::tokens;
use crate::cluster::shared::{Counters, Route, Shared};
use crate::cluster::stream::BiStream;
use crate::cluster::view::{NodeState, View};
use crate::cluster::wire::{encode_broadcast, encode_command, encode_request, pb};
use crate::id::{Incarnation, Key, NodeId};
use crate::random;
use crate::socket::messages::{
    Broadcast, Command, CommandKind, Request, Requester, Response, Responses, Room, Selection,
};
use crate::socket::peers::Peers;
use pb::stream_header::Kind;

/// A running part of a cluster.
pub(crate) struct Mesh {
    shared: Arc<Shared>,
    control: ActorRef<Message>,
    local: SocketAddr,
    /// This node's own tokens, never empty.
    tokens: Vec<Key>,
    ground: Mutex<Option<Ground>>,
}

/// Where a session lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionOwner {
    Here,
    There(NodeId),
    /// The key belongs to no living node: the session is gone.
    Nobody,
}

impl Mesh {
    /// Binds the address and starts to look for the others. Handlers run on `app`.
    ///
    /// # Errors
    /// When the configuration is refused or the address is taken.
    pub(crate) async fn start(
        cluster: Cluster,
        app: Handle,
        deliver: Deliver,
        serve: Serve,
    ) -> Result<Arc<Self>, StartError> {
        let socket = cluster.socket()?;
        let identity = cluster.identity()?;
        let local = socket.local_addr().map_err(|error| StartError::Bind(cluster.bind.clone(), error))?;
        let me = Me {
            id: identity.id().clone(),
            incarnation: cluster.network.as_ref().map_or_else(now, |network| network.next_life()),
            address: cluster.advertised(local)?,
            cluster: cluster.name,
            parser: cluster.parser.to_owned(),
        };
        let tokens = tokens(&me.id, me.incarnation);
        let shared = Arc::new(Shared::new(me));
        let mut ground = if cluster.network.is_some() { Ground::here() } else { Ground::own()? };
        let (seeds, serve_alone) = (cluster.seeds, cluster.serve_alone);
        let (starting, app) = (Arc::clone(&shared), app);
        let control = ground.run(async move {
            let endpoint =
                Endpoint::new(socket, &identity).map_err(|error| StartError::Mesh(error.to_string()))?;
            let start = Start {
                shared: starting,
                endpoint: endpoint.clone(),
                app,
                serve,
                deliver,
                seeds,
                serve_alone,
            };
            let watched = Arc::clone(&start.shared);
            let (control, actor) = Actor::spawn(None, Control, start)
                .await
                .map_err(|error| StartError::Mesh(error.to_string()))?;
            let watch = tokio::spawn(watch_over(actor, watched)).abort_handle();
            Ok(Running { control, endpoint, watch })
        });
        let control = control.await?;
        Ok(Arc::new(Self { shared, control, local, tokens, ground: Mutex::new(Some(ground)) }))
    }

    /// The name of this node.
    pub(crate) fn id(&self) -> &NodeId {
        &self.shared.me.id
    }

    /// Which of its lives this is.
    #[cfg(test)]
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.shared.me.incarnation
    }

    /// The address it is bound to.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Who is in the cluster; follows every change.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.shared.view.subscribe()
    }

    /// What this node does; follows every change.
    pub(crate) fn state(&self) -> watch::Receiver<NodeState> {
        self.shared.state.subscribe()
    }

    /// What happened so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Resolves when this node is in the ring of every member and may take clients.
    pub(crate) async fn ready(&self) {
        let mut state = self.state();
        // The sender lives in `shared`, so this cannot fail.
        drop(state.wait_for(|state| *state != NodeState::Joining).await);
    }

    /// Whether this node takes new clients now.
    pub(crate) fn is_ready(&self) -> bool {
        *self.shared.state.borrow() == NodeState::Ready
    }

    /// A key for a new id: one of this node's tokens that it owns.
    pub(crate) fn mint_key(&self) -> Key {
        let random = random::number().unwrap_or_default();
        let start = usize::try_from(random).unwrap_or_default() % self.tokens.len().max(1);
        let view = self.shared.view.borrow();
        let candidates = || self.tokens.iter().cycle().skip(start).take(self.tokens.len()).copied();
        candidates()
            .find(|token| view.ring.holder(*token) == Some(self.id()))
            // Before the first view.
            .or_else(|| candidates().next())
            .expect("every node has tokens: `start` computes them")
    }

    /// Which node owns the id with this key. Only an exact token counts: nobody else minted it.
    pub(crate) fn owner(&self, key: Key) -> SessionOwner {
        match self.shared.view.borrow().ring.holder(key) {
            Some(id) if id == self.id() => SessionOwner::Here,
            Some(id) => SessionOwner::There(id.clone()),
            None => SessionOwner::Nobody,
        }
    }

    /// Opens a byte stream to the HTTP service of another node: direct, or through one other node.
    ///
    /// # Errors
    /// When the node is not reachable now.
    pub(crate) async fn open(&self, to: &NodeId) -> Result<BiStream, OpenError> {
        let http = pb::Http {};
        match self.shared.route(to).ok_or(OpenError::Unreachable)? {
            Route::Direct(connection) => open(&connection, Kind::Http(http)).await,
            Route::Via(relays) => {
                let inner = Some(pb::relay::Inner::Http(http));
                let relay = relays.first().ok_or(OpenError::Unreachable)?;
                open(relay, Kind::Relay(pb::Relay { to: to.to_string(), inner })).await
            }
        }
    }

    /// Tells everyone that this node takes no new clients.
    pub(crate) fn drain(&self) {
        self.tell(Message::Drain);
    }

    /// Brings what is still queued for the others, says goodbye, closes everything. Takes a second at most.
    pub(crate) async fn leave(&self) {
        let deadline = Instant::now() + LEAVE;
        let (done, said) = oneshot::channel();
        self.tell(Message::Leave(done));
        if timeout_at(deadline, said).await.is_err() {
            warn!(node = %self.id(), "left without a goodbye to everyone");
        }
        self.stop(Stop::Goodbye).await;
    }

    /// After this the port is free, as soon as the last stream is dropped.
    async fn stop(&self, how: Stop) {
        let ground = self.ground.lock().take();
        if let Some(mut ground) = ground {
            let ended = ground.stop(how);
            let _late = timeout(LEAVE, ended).await;
        }
        self.shared.set_routes(HashMap::new(), HashMap::new());
        self.shared.set_roster(Vec::new());
    }

    /// Ends as if the process had been killed: nobody is told.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn kill(&self) {
        self.stop(Stop::Kill).await;
    }

    /// Whether every member has all that this node has for it, and confirmed its interest.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_quiet(&self) -> bool {
        let (version, view) = (self.version(), self.view().borrow().clone());
        let is_member = |peer: &&Arc<Peer>| has(&view, &peer.id, peer.incarnation);
        let mut members =
            self.shared.roster().iter().filter(is_member).cloned().collect::<Vec<_>>().into_iter();
        members.all(|peer| peer.backlog() == 0 && peer.confirmed() >= version)
    }

    /// Ends the control actor as a bug would.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        self.control.kill();
    }

    /// Behaves as if packets to and from that node were lost.
    #[cfg(test)]
    pub(crate) fn deny(&self, id: &NodeId, denied: bool) {
        self.shared.deny(id, denied);
    }

    /// The connection to a node, if there is one.
    #[cfg(test)]
    pub(crate) fn direct(&self, id: &NodeId) -> Option<Arc<PeerConnection>> {
        self.shared.direct(id)
    }

    fn tell(&self, message: Message) {
        if self.control.cast(message).is_err() {
            debug!(node = %self.id(), "the mesh has stopped");
        }
    }

    /// The members that have not yet confirmed this node's interest. One without a link counts: it may still hold the
    /// end of a link that this node has replaced, and act on what it heard there.
    fn behind(&self, version: u64) -> Vec<NodeId> {
        let (roster, view) = (self.shared.roster(), self.shared.view.borrow());
        let is_behind =
            |peer: &&Arc<Peer>| peer.confirmed() < version && has(&view, &peer.id, peer.incarnation);
        roster.iter().filter(is_behind).map(|peer| peer.id.clone()).collect()
    }

    /// What a peer must want, or own, to get a broadcast for these rooms.
    fn targets(&self, namespace: &str, rooms: &[Room]) -> (Vec<u64>, Vec<NodeId>) {
        let view = self.shared.view.borrow();
        let owner = |room: &Room| match room {
            Room::Named(_) => None,
            Room::Own(id) => view.ring.holder(id.key()).cloned(),
        };
        (hashes(namespace, rooms), rooms.iter().filter_map(owner).collect())
    }

    /// Who may have a socket of that selection.
    fn recipients(&self, namespace: &str, selection: &Selection) -> Vec<Arc<Peer>> {
        let (hashes, owners) = self.targets(namespace, &selection.rooms);
        let roster = self.shared.roster();
        let may_have = |peer: &&Arc<Peer>| peer.wants(&hashes) || owners.contains(&peer.id);
        roster.iter().filter(may_have).cloned().collect()
    }

    /// Sends a request to those of its recipients that are members.
    fn open_request(&self, request: &Request, view: &View) -> OpenRequest<'_> {
        let mut asked = self.recipients(&request.namespace, &request.selection);
        asked.retain(|peer| has(view, &peer.id, peer.incarnation));
        let (shared, woken) = (&*self.shared, Arc::new(Notify::new()));
        let lives = asked.iter().map(|peer| (peer.id.clone(), peer.incarnation));
        let id = shared.requests.lock().open(lives, Arc::clone(&woken));
        match encode_request(id, request) {
            Ok(body) => asked.iter().for_each(|peer| shared.push(peer, body.clone())),
            Err(error) => {
                shared.refuse(&error);
                shared.requests.lock().handle_members(id, |_, _| false);
            }
        }
        OpenRequest { shared, id, woken }
    }
}

impl Peers for Mesh {
    fn broadcast(&self, broadcast: &Broadcast) {
        let roster = self.shared.roster();
        let (hashes, owners) = self.targets(&broadcast.namespace, &broadcast.selection.rooms);
        let mut encoded: Option<Bytes> = None;
        for peer in roster.iter().filter(|peer| peer.wants(&hashes) || owners.contains(&peer.id)) {
            let body = match &encoded {
                Some(body) => body.clone(),
                None => match encode_broadcast(broadcast) {
                    Ok(body) => encoded.insert(body).clone(),
                    Err(error) => {
                        self.shared.counters.oversized.increment();
                        warn!(node = %self.id(), ns = %broadcast.namespace, %error, "a broadcast stays on this node");
                        return;
                    }
                },
            };
            self.shared.counters.pushed(peer.push(body, broadcast.flags.volatile, Instant::now()));
        }
    }

    fn command(&self, command: &Command) {
        let recipients = self.recipients(&command.namespace, &command.selection);
        if recipients.is_empty() {
            return;
        }
        let body = match encode_command(command) {
            Ok(body) => body,
            Err(error) => return self.shared.refuse(&error),
        };
        let joined: Vec<u64> = match &command.kind {
            CommandKind::Join(rooms) => hashes(&command.namespace, rooms),
            CommandKind::Leave(_)
            | CommandKind::Disconnect { .. }
            | CommandKind::Update(_)
            | CommandKind::ServerEvent(_) => Vec::new(),
        };
        let now = Instant::now();
        for peer in &recipients {
            self.shared.counters.pushed(peer.push_command(body.clone(), &joined, now));
        }
    }

    fn request(&self, request: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        let mut view = self.shared.view.subscribe();
        let members = Arc::clone(&view.borrow_and_update());
        let open = self.open_request(&request, &members);
        Box::pin(async move {
            let complete = async {
                while !open.is_complete(&Arc::clone(&view.borrow_and_update())) {
                    tokio::select! {
                        () = open.woken.notified() => {}
                        // The sender lives in `shared`.
                        _changed = view.changed() => {}
                    }
                }
            };
            let _in_time = timeout(request.timeout, complete).await;
            open.close()
        })
    }

    fn respond(&self, to: &Requester, response: Response) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.shared.respond(to, response);
        let (peer, mut news) = (self.shared.requester(to), self.shared.confirmations.subscribe());
        Box::pin(async move {
            while peer.as_ref().is_some_and(|peer| peer.backlog() > RESPONSES) && news.changed().await.is_ok()
            {
            }
        })
    }

    fn interest(&self, namespace: &str, room: &Room, present: bool) {
        let hash = room.with_name(|name| room_hash(namespace, name));
        self.shared.interest.lock().set(hash, present);
        self.shared.roster().iter().for_each(|peer| peer.wake());
    }

    fn version(&self) -> u64 {
        self.shared.interest.lock().version()
    }

    fn confirmed(&self, version: u64) -> Pin<Box<dyn Future<Output = Vec<NodeId>> + Send + '_>> {
        let mut news = self.shared.confirmations.subscribe();
        Box::pin(async move {
            let all = async {
                while !self.behind(version).is_empty() {
                    if news.changed().await.is_err() {
                        return;
                    }
                }
            };
            if timeout(CONFIRMATION, all).await.is_ok() {
                return Vec::new();
            }
            let mut behind = self.behind(version);
            behind.sort_unstable();
            debug!(node = %self.id(), version, ?behind, "not every member confirmed the interest in time");
            self.shared.counters.unconfirmed.add(u64::from(!behind.is_empty()));
            behind
        })
    }
}

/// A request that a task waits for. Dropping it ends the waiting.
struct OpenRequest<'a> {
    shared: &'a Shared,
    id: u64,
    woken: Arc<Notify>,
}

impl OpenRequest<'_> {
    /// Whether every node that was asked has responded, or is not a member any more.
    fn is_complete(&self, view: &View) -> bool {
        let is_member = |id: &NodeId, incarnation| has(view, id, incarnation);
        self.shared.requests.lock().handle_members(self.id, is_member)
    }

    fn close(&self) -> Responses {
        self.shared.requests.lock().close(self.id)
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// What interest in these rooms is told by.
fn hashes(namespace: &str, rooms: &[Room]) -> Vec<u64> {
    rooms.iter().map(|room| room.with_name(|name| room_hash(namespace, name))).collect()
}

fn has(view: &View, id: &NodeId, incarnation: Incarnation) -> bool {
    view.member(id).is_some_and(|member| member.incarnation == incarnation)
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("me", &self.shared.me).finish_non_exhaustive()
    }
}

async fn open(connection: &PeerConnection, kind: Kind) -> Result<BiStream, OpenError> {
    let header = pb::StreamHeader { kind: Some(kind), origin: String::new() };
    let in_use = connection.streams.enter();
    match timeout(OPEN, connection.open(&header)).await {
        Ok(Ok(halves)) => Ok(BiStream::new(halves, in_use)),
        Ok(Err(error)) => Err(OpenError::Broken(error.to_string())),
        Err(_) => Err(OpenError::Busy),
    }
}

/// The control actor ends with the runtime of the mesh, and this task with it. When it ends before, it has failed: this node
/// learns of no change any more.
async fn watch_over(actor: JoinHandle<()>, shared: Arc<Shared>) {
    let how = actor.await;
    shared.state.send_if_modified(|state| std::mem::replace(state, NodeState::Joining) == NodeState::Ready);
    let panicked = how.is_err();
    error!(node = %shared.me.id, panicked, "the control actor of the mesh ended: not ready any more, restart the node");
}

/// Why no stream to another node could be opened. Trying again soon may help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// No link, direct or through another node.
    #[error("the node is not reachable")]
    Unreachable,
    /// The connection ended just now.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// As many streams as allowed are in use.
    #[error("too many streams to the node")]
    Busy,
}

#[expect(clippy::disallowed_methods, reason = "the one place of this layer that reads the wall clock")]
fn now() -> Incarnation {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Incarnation(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The bound of an awaited join.
const CONFIRMATION: Duration = Duration::from_millis(500);
/// Responses wait while that much is on its way to a node: a sixteenth of what a link keeps, so that they never push out
/// a broadcast.
const RESPONSES: usize = 1 << 20;
const OPEN: Duration = Duration::from_secs(2);
const LEAVE: Duration = Duration::from_secs(1);
