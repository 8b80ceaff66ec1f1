//! Gossip: who exists and what they do. The only file that names chitchat (docs/protocol/mesh.md, "Gossip").

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable, FailureDetectorConfig,
    NodeState as State, Serializable, spawn_chitchat,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::debug;

use crate::cluster::hello::Me;
use crate::cluster::shared::Shared;
use crate::cluster::view::NodeState;
use crate::id::{Incarnation, NodeId};

/// This node's part in the gossip.
pub(crate) struct Membership {
    chitchat: ChitchatHandle,
}

/// What gossip says about one living node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rumour {
    pub id: NodeId,
    pub incarnation: Incarnation,
    pub address: SocketAddr,
    pub state: NodeState,
    /// To whom it has a direct link.
    pub links: Vec<NodeId>,
}

impl Membership {
    /// Starts to gossip over the connections of the mesh. `inbox` brings what comes from them; `hear` is told about
    /// every change of the living. Must run on the mesh's runtime.
    ///
    /// # Errors
    /// What chitchat says.
    pub(crate) async fn start(
        shared: &Arc<Shared>,
        inbox: mpsc::Receiver<(SocketAddr, Bytes)>,
        hear: impl Fn(Vec<Rumour>) + Send + 'static,
    ) -> Result<Self, String> {
        let over = OverMesh { shared: Arc::clone(shared), inbox: Mutex::new(Some(inbox)) };
        let keys = vec![(STATE.to_owned(), NodeState::Joining.as_str().to_owned())];
        let chitchat =
            spawn_chitchat(config(&shared.me), keys, &over).await.map_err(|error| error.to_string())?;
        let mut live = chitchat.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        let me = shared.me.id.clone();
        tokio::spawn(async move {
            while live.changed().await.is_ok() {
                let rumours = rumours(&me, live.borrow_and_update().iter());
                hear(rumours);
            }
        });
        Ok(Self { chitchat })
    }

    /// Gossips with a node that was just linked.
    pub(crate) fn greet(&self, address: SocketAddr) {
        // Fails only while the mesh stops.
        let _stopped = self.chitchat.gossip(address);
    }

    /// Tells everyone what this node does and to whom it has a direct link.
    pub(crate) async fn announce(&self, state: NodeState, links: &str) {
        let announce = |chitchat: &mut chitchat::Chitchat| {
            let own = chitchat.self_node_state();
            own.set(STATE, state.as_str());
            own.set(LINKS, links);
        };
        self.chitchat.with_chitchat(announce).await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.chitchat.abort();
    }
}

fn config(me: &Me) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(me.id.as_str(), me.incarnation.0, me.address),
        cluster_id: me.cluster.clone(),
        gossip_interval: INTERVAL,
        listen_addr: me.address,
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

/// The newest life of each node; a restarted one is alive twice until phi notices.
fn rumours<'a>(me: &NodeId, live: impl Iterator<Item = (&'a ChitchatId, &'a State)>) -> Vec<Rumour> {
    let mut newest = HashMap::<NodeId, Rumour>::new();
    for rumour in live.filter_map(|(id, state)| Rumour::new(id, state)) {
        if rumour.id != *me
            && newest.get(&rumour.id).is_none_or(|known| known.incarnation < rumour.incarnation)
        {
            newest.insert(rumour.id.clone(), rumour);
        }
    }
    newest.into_values().collect()
}

impl Rumour {
    /// `None` for a node whose keys have not arrived yet, or that is none of ours.
    fn new(id: &ChitchatId, state: &State) -> Option<Self> {
        let links = state.get(LINKS).unwrap_or_default();
        Some(Self {
            id: id.node_id.parse().ok()?,
            incarnation: Incarnation(id.generation_id),
            address: id.gossip_advertise_addr,
            state: NodeState::parse(state.get(STATE)?).unwrap_or(NodeState::Joining),
            links: links.split(',').filter_map(|id| id.parse().ok()).collect(),
        })
    }
}

/// chitchat's messages over the connections of the mesh.
struct OverMesh {
    shared: Arc<Shared>,
    inbox: Mutex<Option<mpsc::Receiver<(SocketAddr, Bytes)>>>,
}

#[async_trait]
impl Transport for OverMesh {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let inbox = self.inbox.lock().take().ok_or_else(|| std::io::Error::other("opened twice"))?;
        Ok(Box::new(MeshSocket { shared: Arc::clone(&self.shared), inbox }))
    }
}

struct MeshSocket {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<(SocketAddr, Bytes)>,
}

#[async_trait]
impl Socket for MeshSocket {
    /// Never waits: the gossip loop stands still meanwhile.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let sent = self.shared.gossips_at(to).is_some_and(|to| to.gossip(message.serialize_to_vec().into()));
        if !sent {
            self.shared.counters.gossip_dropped.increment();
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let Some((from, bytes)) = self.inbox.recv().await else {
                return Err(std::io::Error::other("the mesh has stopped").into());
            };
            match ChitchatMessage::deserialize(&mut &bytes[..]) {
                Ok(message) => return Ok((from, message)),
                Err(error) => debug!(%from, %error, "gossip that makes no sense"),
            }
        }
    }
}

const STATE: &str = "state";
const LINKS: &str = "links";
/// Joins are known everywhere after two or three of these, 50 messages a second and node.
const INTERVAL: Duration = Duration::from_millis(200);
/// Suspects after 1.5 s of silence; no false suspicion under 20 % loss or on overloaded machines. Death needs the link's
/// word as well.
const PHI: f64 = 12.0;
/// How long the dead are remembered; seeds and known addresses are dialled independently of it.
const GRACE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_gossip_decodes_or_is_refused(
            head in proptest::option::of(0..4_u8), tail in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            // With a valid head (magic number, version, kind) the bytes get deeper into the decoder.
            let head = head.map_or(Vec::new(), |kind| vec![0x53, 0xb0, 0, kind]);
            let _decoded = ChitchatMessage::deserialize(&mut &[head, tail].concat()[..]);
        }
    }
}
