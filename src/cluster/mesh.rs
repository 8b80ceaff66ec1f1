//! One node's part in a cluster: what the other layers ask of it.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use ractor::{Actor, ActorRef};
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::config::Cluster;
use super::control::{Control, Route};
use super::delivery::interest::room_hash;
use super::delivery::peer::Peer;
use super::delivery::peer_counters::PeerCounters;
use super::error::StartError;
use super::hello::LocalNode;
use super::identity::{Credentials, Identity, IdentityError};
use super::published::Published;
use super::ring::tokens;
use super::tasks::control_actor::{ControlActor, Start};
use super::tasks::host::{Host, Running};
use super::tasks::ports::{ControlMessage, Upward};
use super::transport::bi_stream::BiStream;
use super::transport::connection::{PeerConnection, REACH};
use super::transport::endpoint::Endpoint;
use super::view::{LinkState, MemberView, NodeState, View};
use super::wire::{
    MAX_BODY, encode_broadcast, encode_command, encode_prelude, encode_recovery, encode_request,
    encode_withdrawal, pb,
};
use crate::counter::Count;
use crate::excerpt::Excerpt;
use crate::id::{Incarnation, Key, NodeId, SocketId};
use crate::random;
use crate::socket::messages::RecoveryMessage;
use crate::socket::messages::{
    Broadcast, Command, CommandKind, Request, Requester, Response, Responses, Room, Selection,
};
use crate::socket::peers::{Peers, TooLarge};
use pb::stream_header::Kind;

/// One node's part in a cluster.
pub(crate) struct Mesh {
    pub(crate) published: Arc<Published>,
    pub(super) control: ActorRef<ControlMessage>,
    local: SocketAddr,
    /// This node's own tokens, never empty.
    tokens: Vec<Key>,
    /// Where it runs.
    runtime: Handle,
    /// What runs, and the task that watches over it.
    pub(super) running: Mutex<Option<(Host, AbortOnDropHandle<()>)>>,
}

/// Which node owns a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionOwner {
    Here,
    There(NodeId),
    /// The key belongs to no living node, so the session is gone.
    Nobody,
}

impl Mesh {
    /// Binds the address and starts to look for the other nodes. What they send goes to `upward`, on the runtime `app`.
    ///
    /// # Errors
    /// When the configuration is refused or the address is taken.
    pub(crate) async fn start(
        cluster: Cluster,
        app: Handle,
        upward: Upward,
    ) -> Result<Arc<Self>, StartError> {
        let seeds = cluster.trimmed_seeds()?;
        cluster.check_silence()?;
        let cluster = cluster.resolved().await?;
        let socket = cluster.socket()?;
        let identity = cluster.identity()?;
        let local = socket.local;
        let address = cluster.own_address(local)?;
        let me = LocalNode {
            id: identity.id().clone(),
            incarnation: cluster.network.next_incarnation(),
            address,
            cluster: cluster.name.clone(),
            parser: cluster.parser.to_owned(),
            settings: cluster.shared_settings(),
        };
        let (tokens, silence) = (tokens(&me.id, me.incarnation), cluster.silence_timeout);
        let control = Control::new(me.clone(), seeds, cluster.serve_alone, silence, Instant::now());
        let published = Arc::new(Published::new(me));
        let mut host =
            if cluster.network.shares_runtime() { Host::current_runtime() } else { Host::own_thread()? };
        let (starting, watching) = (Arc::clone(&published), app.clone());
        let running = host.run(async move {
            let endpoint = Endpoint::new(socket, &identity, silence)?;
            let published = starting;
            let start = Start { published, control, endpoint: endpoint.clone(), app, upward };
            let (control, actor) = Actor::spawn(None, ControlActor, start)
                .await
                .map_err(|error| StartError::Mesh(error.to_string()))?;
            Ok((Running { control, endpoint }, actor))
        });
        let (control, actor) = running.await?;
        let watch = watching.spawn(watch_over(host.failed(actor), Arc::clone(&published)));
        let watch = AbortOnDropHandle::new(watch);
        let runtime = host.runtime.clone();
        let running = Mutex::new(Some((host, watch)));
        Ok(Arc::new(Self { published, control, local, tokens, runtime, running }))
    }

    /// The runtime that reads and writes the packets to other nodes. Nothing on it may take long.
    pub(crate) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The name of this node.
    pub(crate) fn id(&self) -> &NodeId {
        &self.published.me.id
    }

    /// The address it is bound to.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The members of the cluster. The receiver follows every change.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.published.view.subscribe()
    }

    /// The state of this node. The receiver follows every change.
    pub(crate) fn state(&self) -> watch::Receiver<NodeState> {
        self.published.state.subscribe()
    }

    /// Shows other nodes another identity of this one, and accepts theirs by it, from the next connection on.
    ///
    /// # Errors
    /// When it cannot be made or used, or is that of another node. Then nothing changes.
    pub(crate) fn renew(&self, credentials: Credentials) -> Result<(), IdentityError> {
        let identity = match credentials {
            Credentials::Secret(secret) => Identity::from_secret(&secret, self.id())?,
            Credentials::Certificates(certificates) => {
                Identity::from_certificates(certificates, Some(self.id()))?
            }
        };
        self.running.lock().as_ref().map_or(Ok(()), |(host, _watch)| host.renew(&identity))
    }

    /// Waits until the mesh has failed, and says why.
    pub(crate) fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let published = Arc::clone(&self.published);
        async move { published.failure.wait().await.clone() }
    }

    /// Whether a part of this node has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.published.failure.get().is_some()
    }

    /// The round trip time of the link to a node; `None` where there is no direct one.
    pub(crate) fn link_rtt(&self, to: &NodeId) -> Option<Duration> {
        self.published.connection(to).map(|connection| connection.rtt())
    }

    /// The counters of this layer.
    pub(crate) fn counts(&self) -> Vec<Count> {
        self.published.counts()
    }

    /// The counters of each life of another node.
    pub(crate) fn peer_counters(&self) -> Vec<PeerCounters> {
        self.published.peer_counters()
    }

    /// Resolves when this node is in the ring of every member and may take clients.
    pub(crate) async fn ready(&self) {
        let mut state = self.state();
        // The sender lives in `published`, so this cannot fail.
        drop(state.wait_for(|state| !matches!(state, NodeState::Joining | NodeState::Hung)).await);
    }

    /// Whether this node takes new clients now.
    #[cfg(test)]
    pub(crate) fn is_ready(&self) -> bool {
        *self.published.state.borrow() == NodeState::Ready
    }

    /// Why this node takes no new clients, for people; `None` when it does.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.published.obstacle.read().clone()
    }

    /// A key for a new id: one of the tokens that this node owns.
    pub(crate) fn mint_key(&self) -> Key {
        let random = random::number().unwrap_or_default();
        let start = usize::try_from(random).unwrap_or_default() % self.tokens.len().max(1);
        let view = self.published.view.borrow();
        let candidates = || self.tokens.iter().cycle().skip(start).take(self.tokens.len()).copied();
        candidates()
            .find(|token| view.ring.holder(*token) == Some(self.id()))
            // Before the first view.
            .or_else(|| candidates().next())
            .expect("every node has tokens: `start` computes them")
    }

    /// Which node owns the id with this key. Only an exact token counts, because ids are minted on tokens.
    pub(crate) fn owner(&self, key: Key) -> SessionOwner {
        match self.published.view.borrow().ring.holder(key) {
            Some(id) if id == self.id() => SessionOwner::Here,
            Some(id) => SessionOwner::There(id.clone()),
            None => SessionOwner::Nobody,
        }
    }

    /// Opens a byte stream to the HTTP service of another node, which hears of it with the first bytes that are written, on the usual way: directly, or through one other node where
    /// there is no direct link, or where that has missed a ping. Waits for [`REACH`] at most.
    ///
    /// # Errors
    /// When the node is not reachable now.
    pub(crate) async fn open(&self, to: &NodeId) -> Result<(BiStream, Silence), OpenError> {
        match self.published.route(to).ok_or(OpenError::Unreachable)? {
            Route::Direct(connection) if connection.heard().elapsed() < DOUBT => {
                open(connection, Kind::Http(pb::Http {})).await
            }
            Route::Direct(connection) => match self.open_around(to).await {
                Err(OpenError::Unreachable) => open(connection, Kind::Http(pb::Http {})).await,
                opened => opened,
            },
            Route::Through(relays) => {
                let relay = relays.into_iter().next().ok_or(OpenError::Unreachable)?;
                open(relay, to_http_of(to)).await
            }
        }
    }

    /// Another member that takes clients: of two random ones the one with fewer sessions, and none of `tried`.
    pub(crate) fn pick_ready(&self, tried: &[NodeId]) -> Option<NodeId> {
        let view = self.published.view.borrow();
        let takes = |member: &&MemberView| {
            member.state == NodeState::Ready
                && member.link != LinkState::Down
                && member.id != *self.id()
                && !tried.contains(&member.id)
        };
        let ready: Vec<_> = view.members.iter().filter(takes).collect();
        let first = below(ready.len())?;
        let second = (first + 1 + below(ready.len() - 1).unwrap_or_default()) % ready.len();
        let [one, other] = [ready.get(first)?, ready.get(second)?];
        let has_fewer = |(other, one): (u64, u64)| other < one;
        let chosen = if other.sessions.zip(one.sessions).is_some_and(has_fewer) { other } else { one };
        Some(chosen.id.clone())
    }

    /// Opens a byte stream as [`open`](Self::open) does, but not on the direct way: through any other node, which may reach that
    /// one or not; through one that stops only if there is nothing else.
    ///
    /// # Errors
    /// When there is no other node.
    pub(crate) async fn open_around(&self, to: &NodeId) -> Result<(BiStream, Silence), OpenError> {
        let mut others = self.published.around(to);
        others.retain(|(_, other)| other.heard().elapsed() < DOUBT);
        let view = Arc::clone(&self.published.view.borrow());
        let stays = |id: &NodeId| view.member(id).is_none_or(|member| member.state != NodeState::Draining);
        if others.iter().any(|(id, _)| stays(id)) {
            others.retain(|(id, _)| stays(id));
        }
        let chosen = below(others.len()).ok_or(OpenError::Unreachable)?;
        open(others.swap_remove(chosen).1, to_http_of(to)).await
    }

    /// Tells every node that this one takes no new clients.
    pub(crate) fn drain(&self) {
        self.tell(ControlMessage::Drain);
    }

    /// Tells every node that this one owns about so many sessions.
    pub(crate) fn tell_sessions(&self, sessions: u64) {
        self.tell(ControlMessage::Sessions(sessions));
    }

    /// Waits until every member has acknowledged what this node has emitted so far, for [`SETTLE`] at most. Returns how many messages
    /// have no acknowledgement; those for nodes that are gone do not count.
    pub(crate) async fn settle(&self) -> u64 {
        let mut news = self.published.confirmations.subscribe();
        let ends: Vec<_> =
            self.published.roster().iter().map(|peer| (Arc::clone(peer), peer.newest())).collect();
        let outstanding = || {
            let view = self.published.view.borrow();
            let members = ends.iter().filter(|(peer, _)| view.has(&peer.id, peer.incarnation));
            members.map(|(peer, end)| peer.outstanding(*end)).sum::<u64>()
        };
        let all = async { while outstanding() > 0 && news.changed().await.is_ok() {} };
        let _in_time = timeout(SETTLE, all).await;
        outstanding()
    }

    /// Sends what is still queued for the other nodes, says goodbye, and stops. Takes two seconds at most.
    pub(crate) async fn leave(&self) {
        let deadline = Instant::now() + LEAVE;
        let (done, said) = oneshot::channel();
        self.tell(ControlMessage::Leave(done));
        if timeout_at(deadline, said).await.is_err() {
            tracing::warn!(node = %self.id(), "left without a goodbye to every node");
        }
        self.stop().await;
    }

    /// Closes every connection and ends all tasks. The other nodes get nothing that is still queued for them. After this the port
    /// is free, as soon as the last stream is dropped.
    pub(crate) async fn stop(&self) {
        if let Some(mut host) = self.take_host() {
            let _late = timeout(LEAVE, host.stop()).await;
        }
        self.published.unpublish();
    }

    /// Ends all tasks without a word to the other nodes, as the end of the process would. After this the port is free, as soon
    /// as the last stream is dropped.
    pub(crate) async fn kill(&self) {
        if let Some(mut host) = self.take_host() {
            let _late = timeout(LEAVE, host.kill()).await;
        }
        self.published.unpublish();
    }

    /// What runs, to be ended. Nobody watches over it any more.
    fn take_host(&self) -> Option<Host> {
        self.running.lock().take().map(|(host, _watch)| host)
    }

    fn tell(&self, message: ControlMessage) {
        if self.control.cast(message).is_err() {
            tracing::debug!(node = %self.id(), "the mesh has stopped");
        }
    }

    /// The members that have not yet confirmed this version of this node's interest. A member without a link counts as well: it may
    /// still hold the end of a link that this node has replaced, and act on what it heard there.
    fn behind(&self, version: u64) -> Vec<NodeId> {
        let (roster, view) = (self.published.roster(), self.published.view.borrow());
        let is_behind =
            |peer: &&Arc<Peer>| peer.confirmed() < version && view.has(&peer.id, peer.incarnation);
        roster.iter().filter(is_behind).map(|peer| peer.id.clone()).collect()
    }

    /// Whether a member that has not yet confirmed this version could do so. There is no way to the others: they are named, and
    /// not waited for.
    fn may_confirm(&self, version: u64) -> bool {
        let behind = self.behind(version);
        let unreached = self.published.unreached.read();
        behind.iter().any(|id| !unreached.contains(id))
    }

    /// What decides which peers get a message to these rooms: the hashes that a peer may want, and the nodes that own a room named
    /// like a socket id.
    fn targets(&self, namespace: &str, rooms: &[Room]) -> (Hashes, SmallVec<[NodeId; 1]>) {
        let view = self.published.view.borrow();
        let owner = |room: &Room| match room {
            Room::Named(_) => None,
            Room::Own(id) => view.ring.holder(id.key()).cloned(),
        };
        (hashes(namespace, rooms), rooms.iter().filter_map(owner).collect())
    }

    /// The peers of a roster that may have a socket of that selection.
    fn recipients(&self, roster: &[Arc<Peer>], namespace: &str, selection: &Selection) -> Vec<Arc<Peer>> {
        let (hashes, owners) = self.targets(namespace, &selection.rooms);
        let now = Instant::now();
        let may_have = |peer: &&Arc<Peer>| owners.contains(&peer.id) || peer.wants(&hashes, now);
        roster.iter().filter(may_have).cloned().collect()
    }

    /// Sends a request to those of these nodes that are members.
    fn open_request(&self, request: &Request, mut asked: Vec<Arc<Peer>>, view: &View) -> OpenRequest<'_> {
        asked.retain(|peer| view.has(&peer.id, peer.incarnation));
        let (published, woken) = (&*self.published, Arc::new(Notify::new()));
        let lives = asked.iter().map(|peer| (peer.id.clone(), peer.incarnation));
        let id = published.requests.lock().open(lives, Arc::clone(&woken));
        match encode_request(id, request) {
            Ok(body) => asked.iter().for_each(|peer| peer.push(body.clone(), false, Instant::now())),
            Err(error) => {
                published.count_oversized(&error);
                published.requests.lock().handle_members(id, |_, _| false);
            }
        }
        OpenRequest { published, id, woken }
    }

    /// Sends a request to those of these nodes that are members. The future resolves when they have responded.
    fn request_of(
        &self,
        request: Request,
        asked: Vec<Arc<Peer>>,
    ) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        let mut view = self.published.view.subscribe();
        let members = Arc::clone(&view.borrow_and_update());
        let open = self.open_request(&request, asked, &members);
        Box::pin(async move {
            let complete = async {
                while !open.is_complete(&Arc::clone(&view.borrow_and_update())) {
                    tokio::select! {
                        () = open.woken.notified() => {}
                        // The sender lives in `published`.
                        _changed = view.changed() => {}
                    }
                }
            };
            let _in_time = timeout(request.timeout, complete).await;
            open.close()
        })
    }

    /// The link to a member.
    fn peer(&self, id: &NodeId) -> Option<Arc<Peer>> {
        self.published.roster().iter().find(|peer| peer.id == *id).cloned()
    }
}

impl Peers for Mesh {
    fn carries(&self, size: usize) -> Result<(), TooLarge> {
        if size <= MAX_BODY {
            return Ok(());
        }
        self.published.counters.oversized.increment();
        Err(TooLarge { size, limit: MAX_BODY })
    }

    fn broadcast(&self, broadcast: &Broadcast<'_>) {
        let volatile = broadcast.flags.volatile;
        let roster = if volatile { self.published.roster() } else { self.published.emit() };
        let (hashes, owners) = self.targets(&broadcast.namespace, &broadcast.selection.rooms);
        let (mut encoded, now): (Option<Bytes>, _) = (None, Instant::now());
        for peer in roster.iter().filter(|peer| owners.contains(&peer.id) || peer.wants(&hashes, now)) {
            let body = match &encoded {
                Some(body) => body.clone(),
                None => match encode_broadcast(broadcast) {
                    Ok(body) => encoded.insert(body).clone(),
                    Err(error) => return self.published.count_oversized(&error),
                },
            };
            peer.push(body, volatile, now);
        }
    }

    fn command(&self, command: &Command) {
        let recipients = self.recipients(&self.published.emit(), &command.namespace, &command.selection);
        if recipients.is_empty() {
            return;
        }
        let body = match encode_command(command) {
            Ok(body) => body,
            Err(error) => return self.published.count_oversized(&error),
        };
        let joined = match &command.kind {
            CommandKind::Join(rooms) => hashes(&command.namespace, rooms),
            CommandKind::Leave(_)
            | CommandKind::Disconnect { .. }
            | CommandKind::Update(_)
            | CommandKind::ServerEvent(_)
            | CommandKind::Block(_) => Hashes::new(),
        };
        let now = Instant::now();
        for peer in &recipients {
            peer.push_command(body.clone(), &joined, now);
        }
    }

    fn request(&self, request: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        let asked = self.recipients(&self.published.roster(), &request.namespace, &request.selection);
        self.request_of(request, asked)
    }

    fn respond(&self, to: &Requester, response: Response) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.published.respond(to, response);
        let (peer, mut news) = (self.published.requester(to), self.published.confirmations.subscribe());
        Box::pin(async move {
            while peer.as_ref().is_some_and(|peer| peer.backlog() > RESPONSES) && news.changed().await.is_ok()
            {
            }
        })
    }

    fn gone(&self, requester: &Requester) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut view = self.published.view.subscribe();
        let (node, incarnation) = (requester.node.clone(), requester.incarnation);
        Box::pin(async move {
            // It may know of this node before this node knows of it. The sender lives in `published`.
            let _came = view.wait_for(|view| view.has(&node, incarnation)).await.is_ok();
            let _went = view.wait_for(|view| !view.has(&node, incarnation)).await.is_ok();
        })
    }

    fn interest(&self, namespace: &str, room: &Room, present: bool) {
        let hash = room.with_name(|name| room_hash(namespace, name));
        let mut interest = self.published.interest.lock();
        if present {
            interest.add(hash);
        } else {
            interest.remove(hash);
        }
        drop(interest);
        self.published.roster().iter().for_each(|peer| peer.wake());
    }

    fn may_have(&self, namespace: &str, id: SocketId) -> bool {
        let key = id.key();
        let view = Arc::clone(&self.published.view.borrow());
        let is_of_absent = || self.absent().iter().any(|(node, life)| tokens(node, *life).contains(&key));
        let is_back = || {
            let (mark, now) = (hashes(namespace, &[Room::mark_of(id)]), Instant::now());
            let has = |peer: &Arc<Peer>| view.has(&peer.id, peer.incarnation) && peer.wants(&mark, now);
            self.published.roster().iter().any(has)
        };
        view.ring.holder(key).is_some() || is_of_absent() || is_back()
    }

    fn version(&self) -> u64 {
        self.published.interest.lock().version()
    }

    fn confirmed(
        &self,
        version: u64,
        most: Duration,
    ) -> Pin<Box<dyn Future<Output = Vec<NodeId>> + Send + '_>> {
        let mut news = self.published.confirmations.subscribe();
        Box::pin(async move {
            let all = async {
                while self.may_confirm(version) {
                    if news.changed().await.is_err() {
                        return;
                    }
                }
            };
            let _in_time = timeout(most, all).await;
            let mut behind = self.behind(version);
            if behind.is_empty() {
                return behind;
            }
            behind.sort_unstable();
            let named = Excerpt::list(format!("{behind:?}"));
            tracing::debug!(node = %self.id(), version, behind = %named, "not every member confirmed the interest in time");
            self.published.counters.unconfirmed.increment();
            behind
        })
    }

    fn incarnation(&self) -> Incarnation {
        self.published.me.incarnation
    }

    fn members(&self) -> Vec<(NodeId, Incarnation)> {
        let view = self.published.view.borrow();
        let others = view.members.iter().filter(|member| member.id != *self.id());
        others.map(|member| (member.id.clone(), member.incarnation)).collect()
    }

    fn recover(&self) -> bool {
        self.published.view.borrow().members.iter().all(|member| member.recovers)
    }

    fn absent(&self) -> Vec<(NodeId, Incarnation)> {
        let peers = self.published.peers();
        let view = self.published.view.borrow();
        let absent = peers.iter().filter(|peer| !view.has(&peer.id, peer.incarnation));
        absent.map(|peer| (peer.id.clone(), peer.incarnation)).collect()
    }

    fn successors(&self, key: Key, most: usize) -> SmallVec<[NodeId; 3]> {
        let view = self.published.view.borrow();
        let (mut chosen, mut staying) = (SmallVec::new(), 0);
        for id in view.ring.successors(key).take(view.ring.members().len()) {
            let stays = view.member(id).is_some_and(|member| member.state != NodeState::Draining);
            if chosen.len() < most || stays {
                chosen.push(id.clone());
            }
            staying += usize::from(stays);
            if chosen.len() >= most && staying >= most {
                break;
            }
        }
        chosen
    }

    fn heir(&self, key: Key) -> Option<NodeId> {
        let view = self.published.view.borrow();
        let stays = |id: &&NodeId| view.member(id).is_some_and(|member| member.state != NodeState::Draining);
        let others = || view.ring.successors(key).filter(|id| *id != self.id());
        others().find(stays).or_else(|| others().next()).cloned()
    }

    fn tell(&self, to: &NodeId, message: &RecoveryMessage) {
        let Some(peer) = self.peer(to) else { return };
        match encode_recovery(message) {
            Ok(body) => peer.push(body, false, Instant::now()),
            Err(error) => self.published.count_oversized(&error),
        }
    }

    fn has_room(&self, to: &NodeId) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let (peer, mut news) = (self.peer(to), self.published.confirmations.subscribe());
        Box::pin(async move {
            while peer.as_ref().is_some_and(|peer| peer.backlog() > RESPONSES) && news.changed().await.is_ok()
            {
            }
        })
    }

    fn ask(&self, to: &NodeId, request: Request) -> Pin<Box<dyn Future<Output = Responses> + Send + '_>> {
        let Some(peer) = self.peer(to) else {
            let lost = Responses { lost: vec![to.clone()], ..Responses::default() };
            return Box::pin(std::future::ready(lost));
        };
        self.request_of(request, vec![peer])
    }

    fn presume(&self, of: &NodeId, namespace: &str, rooms: &mut dyn Iterator<Item = &Room>, version: u64) {
        if let Some(peer) = self.peer(of) {
            let rooms: Hashes = rooms.map(|room| room.with_name(|name| room_hash(namespace, name))).collect();
            peer.presume_until(&rooms, version);
        }
    }
}

/// A request that a task waits for. Dropping it ends the waiting.
struct OpenRequest<'a> {
    published: &'a Published,
    id: u64,
    woken: Arc<Notify>,
}

impl OpenRequest<'_> {
    /// Whether every node that was asked has responded, or is not a member any more.
    fn is_complete(&self, view: &View) -> bool {
        let is_member = |id: &NodeId, incarnation| view.has(id, incarnation);
        self.published.requests.lock().handle_members(self.id, is_member)
    }

    fn close(&self) -> Responses {
        self.published.requests.lock().close(self.id)
    }
}

impl Drop for OpenRequest<'_> {
    /// Nodes that would still respond are told that nobody waits: only if it was not closed before.
    fn drop(&mut self) {
        let unanswered = self.close().late;
        if unanswered.is_empty() {
            return;
        }
        let withdrawal = encode_withdrawal(self.id);
        for peer in unanswered.iter().filter_map(|node| self.published.peer(node)) {
            peer.push(withdrawal.clone(), false, Instant::now());
        }
    }
}

/// Most messages are for one room.
type Hashes = SmallVec<[u64; 2]>;

/// The hashes by which nodes tell their interest in these rooms.
fn hashes(namespace: &str, rooms: &[Room]) -> Hashes {
    rooms.iter().map(|room| room.with_name(|name| room_hash(namespace, name))).collect()
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("me", &self.published.me).finish_non_exhaustive()
    }
}

/// Tells when the first node on the way of a stream turns out to be silent. Behind it, that node does the same.
#[derive(Debug)]
pub(crate) struct Silence {
    connection: Arc<PeerConnection>,
    opened: Instant,
}

impl Silence {
    /// Resolves when there was no sign of life since the stream was opened, until [`REACH`] after that and at the latest until
    /// `until`.
    pub(crate) async fn falls(&self, until: Instant) {
        self.connection.falls_silent(self.opened, until.min(self.opened + REACH)).await;
    }
}

/// What asks the node in between for the HTTP service of another one.
fn to_http_of(node: &NodeId) -> Kind {
    let inner = Some(pb::relay::Inner::Http(pb::Http {}));
    Kind::Relay(pb::Relay { to: node.to_string(), inner })
}

/// A random number below this one; `None` if that is 0.
fn below(number: usize) -> Option<usize> {
    let random = usize::try_from(random::number().unwrap_or_default() >> 1).unwrap_or_default();
    random.checked_rem(number)
}

async fn open(connection: Arc<PeerConnection>, kind: Kind) -> Result<(BiStream, Silence), OpenError> {
    let header = pb::StreamHeader { kind: Some(kind), origin: String::new() };
    let (permit, opened) = (connection.limits.enter(), Instant::now());
    match timeout(REACH, connection.open_silently()).await {
        Ok(Ok(halves)) => {
            let stream = BiStream::opening(halves, encode_prelude(&header), permit);
            Ok((stream, Silence { connection, opened }))
        }
        Ok(Err(error)) => Err(OpenError::Broken(error.to_string())),
        Err(_) => Err(OpenError::Busy),
    }
}

/// The mesh ends when it is stopped, and this task before it. When a part of it ends otherwise, this node learns of no change
/// any more.
async fn watch_over(failed: impl Future<Output = String>, published: Arc<Published>) {
    let reason = failed.await;
    tracing::error!(node = %published.me.id, reason = %Excerpt::reason(&reason), "the mesh of this node has failed: the node ends");
    published.publish_failure(reason);
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

/// Responses wait while that much is on its way to a node: a sixteenth of what a link keeps, so that they never push out
/// a broadcast.
const RESPONSES: usize = 1 << 20;
/// A link that has not answered for that long has missed a ping. New requests take another way, if there is one.
const DOUBT: Duration = Duration::from_millis(800);
const LEAVE: Duration = Duration::from_secs(1);
/// A peer acknowledges within 50 ms. One that is cut off is not waited for any longer.
const SETTLE: Duration = Duration::from_secs(2);
