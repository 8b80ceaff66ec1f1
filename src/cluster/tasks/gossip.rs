//! Gossip: who exists and what they do. The only file that names chitchat (docs/protocol/mesh.md, "Gossip").

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod hearing;
mod living;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable,
    FailureDetectorConfig, NodeState as State, Serializable, spawn_chitchat,
};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::ports::{ControlMessage, PeerGossip, Ports};
use crate::cluster::address::gossip_address;
use crate::cluster::control::{Announcement, GossipMember};
use crate::cluster::gossip_filter::{Filtered, Known, MAX_VALUE, filter};
use crate::cluster::hello::LocalNode;
use crate::cluster::view::NodeState;
use crate::cluster::wire::gossip::Life;
use crate::excerpt::Excerpt;
use crate::id::{Incarnation, NodeId};
use living::Heartbeats;

/// The gossip of this node. It ends when this is dropped.
pub(crate) struct Gossip {
    chitchat: ChitchatHandle,
    inbox: Inbox,
    looks: Arc<Notify>,
    met: Met,
    announced: Option<Announcement>,
    _watch: AbortOnDropHandle<()>,
}

/// Who began an exchange lately, and when that was complete: both know all that either of them knew then.
type Met = Arc<Mutex<HashMap<SocketAddr, Instant>>>;

/// The messages of members that arrive. The gossip that runs has the lock.
type Inbox = Arc<AsyncMutex<mpsc::Receiver<PeerGossip>>>;

impl Gossip {
    /// Starts to gossip over the connections of the mesh. `inbox` brings the messages that arrive on them. The control actor
    /// hears of every change of the living, and when gossip ends. Must be called on the mesh's runtime.
    ///
    /// # Errors
    /// When chitchat does not start.
    pub(crate) async fn start(ports: &Arc<Ports>, inbox: mpsc::Receiver<PeerGossip>) -> anyhow::Result<Self> {
        let inbox = Arc::new(AsyncMutex::new(inbox));
        let keys = vec![(STATE.to_owned(), NodeState::Joining.as_str().to_owned())];
        Self::spawn(ports, inbox, keys, Duration::ZERO).await
    }

    /// Starts anew after it ended, where it was: to the others it is the same life of this node.
    ///
    /// # Errors
    /// When chitchat does not start.
    pub(crate) async fn restart(&self, ports: &Arc<Ports>) -> anyhow::Result<Self> {
        // It lets go of the inbox.
        self.chitchat.abort();
        let past = |chitchat: &mut Chitchat| {
            let own = chitchat.self_node_state();
            (own.heartbeat(), own.max_version())
        };
        let (heartbeat, version) = self.chitchat.with_chitchat(past).await;
        let mut next = Self::spawn(ports, Arc::clone(&self.inbox), Vec::new(), SILENCE).await?;
        let resume = |chitchat: &mut Chitchat| {
            let own = chitchat.self_node_state();
            own.try_set_heartbeat(heartbeat);
            own.set_max_version(version);
        };
        next.chitchat.with_chitchat(resume).await;
        if let Some(announcement) = &self.announced {
            next.announce(announcement).await;
        }
        ports.published.gossip_addresses().into_iter().for_each(|address| next.gossip_with(address));
        Ok(next)
    }

    /// What gossip says within `silence` counts for nothing, because it has not heard of everybody yet.
    async fn spawn(
        ports: &Arc<Ports>,
        inbox: Inbox,
        keys: Vec<(String, String)>,
        silence: Duration,
    ) -> anyhow::Result<Self> {
        let (known, looks, met) = (Arc::default(), Arc::<Notify>::default(), Met::default());
        let transport = MeshTransport {
            ports: Arc::clone(ports),
            inbox: Arc::clone(&inbox),
            known: Arc::clone(&known),
            looks: Arc::clone(&looks),
            met: Arc::clone(&met),
        };
        let chitchat = spawn_chitchat(config(&ports.published.me), keys, &transport).await?;
        // Set once, here.
        let _set_before = known.set(chitchat.chitchat());
        let (ended, ports, known) = (chitchat.termination_watcher(), Arc::clone(ports), chitchat.chitchat());
        let looked = Arc::clone(&looks);
        let watch = tokio::spawn(async move {
            let reason = tokio::select! {
                ended = ended => ended.err().map_or_else(|| "it stopped".to_owned(), |error| error.to_string()),
                () = report_living(&ports, &known, &looked, silence) => "it reports no more".to_owned(),
            };
            ports.tell_control(ControlMessage::GossipEnded(reason));
        });
        Ok(Self { chitchat, inbox, looks, met, announced: None, _watch: AbortOnDropHandle::new(watch) })
    }

    /// Gossips at once with the node of this name.
    pub(crate) fn gossip_with(&self, address: SocketAddr) {
        self.met.lock().remove(&address);
        // Fails only while the mesh stops, or gossip begins again.
        let _stopped = self.chitchat.gossip(address);
    }

    /// Time has passed: who was not heard of lives no more.
    pub(crate) fn look(&self) {
        self.looks.notify_one();
    }

    /// Tells every node what this one says about itself.
    pub(crate) async fn announce(&mut self, announcement: &Announcement) {
        let Announcement { state, misses, address, sessions } = announcement;
        let misses = join(misses);
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let sessions = sessions.map(|sessions| sessions.to_string());
        let announce = |chitchat: &mut Chitchat| {
            let own = chitchat.self_node_state();
            own.set(STATE, state.as_str());
            own.set(MISSES, &misses);
            own.set(ADDRESS, &address);
            if let Some(sessions) = &sessions {
                own.set(SESSIONS, sessions);
            }
        };
        self.chitchat.with_chitchat(announce).await;
        self.announced = Some(announcement.clone());
    }

    /// Ends gossip as a panic would.
    #[cfg(test)]
    pub(crate) fn end(&self) {
        self.chitchat.abort();
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.chitchat.abort();
    }
}

/// Tells the control actor who lives and what they say, whenever that changes. It looks when it is told to.
async fn report_living(ports: &Ports, chitchat: &AsyncMutex<Chitchat>, looks: &Notify, silence: Duration) {
    let (mut heartbeats, mut told) = (Heartbeats::new(), Vec::new());
    let begin = Instant::now() + silence;
    loop {
        looks.notified().await;
        let members = {
            let chitchat = chitchat.lock().await;
            let states = chitchat.node_states();
            let known: Vec<_> = states.iter().map(|(id, state)| (id, state.heartbeat())).collect();
            let living = heartbeats.living(&known, Instant::now());
            newest_lives(&ports.published.me.id, living.into_iter().filter_map(|id| states.get_key_value(id)))
        };
        if told != members && Instant::now() >= begin {
            told.clone_from(&members);
            ports.tell_control(ControlMessage::Gossip(members));
        }
    }
}

/// The names with commas between them, as many as a value holds.
fn join(nodes: &[NodeId]) -> String {
    let mut names = String::new();
    for id in nodes.iter().map(NodeId::as_str) {
        if names.len() + 1 + id.len() > MAX_VALUE {
            break;
        }
        if !names.is_empty() {
            names.push(',');
        }
        names.push_str(id);
    }
    names
}

fn config(me: &LocalNode) -> ChitchatConfig {
    let name = gossip_address(&me.id, me.incarnation);
    ChitchatConfig {
        chitchat_id: ChitchatId::new(me.id.as_str(), me.incarnation.0, name),
        cluster_id: me.cluster.clone(),
        gossip_interval: INTERVAL,
        listen_addr: name,
        // Seeds are dialled by the mesh: chitchat would look a name up once a minute only.
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI,
            sampling_window_size: 200,
            max_interval: Duration::from_secs(4),
            initial_interval: INTERVAL,
            dead_node_grace_period: GRACE,
        },
        marked_for_deletion_grace_period: GRACE,
        catchup_callback: None,
        extra_liveness_predicate: None,
    }
}

/// The newest life of each node but this one. A node that restarted is alive twice until the failure detector notices.
fn newest_lives<'a>(
    me: &NodeId,
    live: impl Iterator<Item = (&'a ChitchatId, &'a State)>,
) -> Vec<GossipMember> {
    let mut newest = HashMap::<NodeId, GossipMember>::new();
    for member in live.filter_map(|(id, state)| gossip_member(id, state)).filter(|member| member.id != *me) {
        if newest.get(&member.id).is_none_or(|known| known.incarnation < member.incarnation) {
            newest.insert(member.id.clone(), member);
        }
    }
    let mut members: Vec<_> = newest.into_values().collect();
    members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    members
}

/// `None` for a node whose keys have not arrived yet, or whose id is not one of this mesh.
fn gossip_member(id: &ChitchatId, state: &State) -> Option<GossipMember> {
    let misses = state.get(MISSES).unwrap_or_default();
    Some(GossipMember {
        id: id.node_id.parse().ok()?,
        incarnation: Incarnation(id.generation_id),
        address: state.get(ADDRESS).and_then(|address| address.parse().ok()),
        state: NodeState::parse(state.get(STATE)?).unwrap_or(NodeState::Joining),
        misses: misses.split(',').filter_map(|id| id.parse().ok()).collect(),
        sessions: state.get(SESSIONS).and_then(|sessions| sessions.parse().ok()),
    })
}

/// chitchat's messages over the connections of the mesh.
struct MeshTransport {
    ports: Arc<Ports>,
    inbox: Inbox,
    known: Arc<OnceLock<Arc<AsyncMutex<Chitchat>>>>,
    looks: Arc<Notify>,
    met: Met,
}

#[async_trait]
impl Transport for MeshTransport {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let inbox = Arc::clone(&self.inbox).lock_owned().await;
        Ok(Box::new(MeshSocket {
            ports: Arc::clone(&self.ports),
            inbox,
            known: Arc::clone(&self.known),
            looks: Arc::clone(&self.looks),
            met: Arc::clone(&self.met),
        }))
    }
}

struct MeshSocket {
    ports: Arc<Ports>,
    inbox: OwnedMutexGuard<mpsc::Receiver<PeerGossip>>,
    known: Arc<OnceLock<Arc<AsyncMutex<Chitchat>>>>,
    looks: Arc<Notify>,
    met: Met,
}

#[async_trait]
impl Socket for MeshSocket {
    /// Never waits, because the gossip loop would stand still meanwhile.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        if matches!(message, ChitchatMessage::Syn { .. }) && self.has_met(to) {
            return Ok(());
        }
        let published = &self.ports.published;
        let sent = published
            .gossip_connection(to)
            .is_some_and(|to| to.send_gossip(message.serialize_to_vec().into()));
        if !sent {
            published.counters.gossip_dropped.increment();
        }
        Ok(())
    }

    /// A message that is dropped with the future comes again, as all gossip does.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let Some(gossip) = self.inbox.recv().await else {
                return Err(std::io::Error::other("the mesh has stopped").into());
            };
            let Some(known) = self.known.get() else { continue };
            let filtered = {
                let known = known.lock().await;
                filter_gossip(&gossip, &self.ports.published.me, &known)
            };
            match filtered {
                Ok((message, left_out, is_news)) => {
                    self.report(&gossip.peer, left_out, "there is too much of it");
                    let from = gossip_address(&gossip.peer, gossip.incarnation);
                    if matches!(message, ChitchatMessage::Ack { .. }) {
                        self.met.lock().insert(from, Instant::now());
                    }
                    // It is applied before anybody else runs.
                    if is_news {
                        self.looks.notify_one();
                    }
                    return Ok((from, message));
                }
                Err(error) => self.report(&gossip.peer, 1, error),
            }
        }
    }
}

impl MeshSocket {
    /// Whether a node began an exchange since this one gossiped last, so that another one would only repeat it.
    fn has_met(&self, node: SocketAddr) -> bool {
        let (now, mut met) = (Instant::now(), self.met.lock());
        met.retain(|_, met| now < *met + LATELY);
        met.contains_key(&node)
    }

    /// Counts what is not applied, and says so seldom.
    fn report(&self, peer: &NodeId, refused: u64, reason: impl Display) {
        self.ports.published.counters.gossip_refused.add(refused);
        if refused > 0 && self.ports.may_warn("refused gossip", peer) {
            let node = &self.ports.published.me.id;
            tracing::warn!(%node, %peer, reason = %Excerpt::reason(reason), "refused gossip; is the peer what it should be?");
        }
    }
}

/// What chitchat may apply of a message, how much was left out of it, and whether it is news.
fn filter_gossip(
    gossip: &PeerGossip,
    me: &LocalNode,
    known: &Chitchat,
) -> anyhow::Result<(ChitchatMessage, u64, bool)> {
    let from = (&gossip.peer, gossip.incarnation);
    let Filtered { message, left_out, is_news } = filter(&gossip.message, from, me, known)?;
    Ok((ChitchatMessage::deserialize(&mut &message[..])?, left_out, is_news))
}

impl Known for Chitchat {
    fn version(&self, life: &Life) -> Option<u64> {
        self.node_state(&chitchat_id(life)).map(State::max_version)
    }

    fn keys(&self, life: &Life) -> usize {
        self.node_state(&chitchat_id(life)).map_or(0, State::num_key_values)
    }

    fn has_key(&self, life: &Life, key: &str) -> bool {
        self.node_state(&chitchat_id(life)).is_some_and(|state| state.contains_key(key))
    }

    fn digest_len(&self) -> usize {
        let lives = self.node_states().keys();
        lives.map(|life| Life::digest_len(&life.node_id, life.gossip_advertise_addr)).sum()
    }

    fn keys_len(&self) -> usize {
        let keys = self.node_states().values().flat_map(State::key_values);
        keys.map(|(key, value)| key.len() + value.len()).sum()
    }
}

fn chitchat_id(life: &Life) -> ChitchatId {
    ChitchatId::new(life.node.as_str(), life.incarnation.0, life.address)
}

const STATE: &str = "state";
const MISSES: &str = "misses";
const ADDRESS: &str = "address";
const SESSIONS: &str = "sessions";
/// How often the others are heard of in quiet times. What changes is spread faster, see [`Output::GossipWith`].
///
/// [`Output::GossipWith`]: crate::cluster::control::Output::GossipWith
const INTERVAL: Duration = Duration::from_secs(1);
/// Of two nodes that gossip regularly, only one begins.
const LATELY: Duration = Duration::from_millis(900);
/// chitchat's own detector decides only when it forgets the dead.
const PHI: f64 = 12.0;
/// How long the dead are remembered. Seeds and known addresses are dialled independently of that.
const GRACE: Duration = Duration::from_secs(120);
/// By then gossip that began again has heard of everybody, because it begins with all members at once.
const SILENCE: Duration = Duration::from_secs(2);
