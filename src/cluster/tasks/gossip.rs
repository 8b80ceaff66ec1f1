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

use super::ports::{ControlMessage, Ports};
use crate::cluster::control::GossipMember;
use crate::cluster::hello::LocalNode;
use crate::cluster::published::Published;
use crate::cluster::view::NodeState;
use crate::id::{Incarnation, NodeId};

/// The gossip of this node. It ends when this is dropped.
pub(crate) struct Gossip {
    chitchat: ChitchatHandle,
}

impl Gossip {
    /// Starts to gossip over the connections of the mesh. `inbox` brings the messages that arrive on them. The control actor
    /// hears of every change of the living. Must be called on the mesh's runtime.
    ///
    /// # Errors
    /// When chitchat does not start.
    pub(crate) async fn start(
        ports: &Arc<Ports>,
        inbox: mpsc::Receiver<(SocketAddr, Bytes)>,
    ) -> anyhow::Result<Self> {
        let published = &ports.published;
        let transport = MeshTransport { published: Arc::clone(published), inbox: Mutex::new(Some(inbox)) };
        let keys = vec![(STATE.to_owned(), NodeState::Joining.as_str().to_owned())];
        let chitchat = spawn_chitchat(config(&published.me), keys, &transport).await?;
        let mut live = chitchat.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        let ports = Arc::clone(ports);
        tokio::spawn(async move {
            while live.changed().await.is_ok() {
                let members = newest_lives(&ports.published.me.id, live.borrow_and_update().iter());
                ports.tell_control(ControlMessage::Gossip(members));
            }
        });
        Ok(Self { chitchat })
    }

    /// Gossips at once with the node at this address.
    pub(crate) fn gossip_with(&self, address: SocketAddr) {
        // Fails only while the mesh stops.
        let _stopped = self.chitchat.gossip(address);
    }

    /// Tells every node this node's state, and the nodes to which it has a direct link.
    pub(crate) async fn announce(&self, state: NodeState, neighbours: &[NodeId]) {
        let neighbours: Vec<_> = neighbours.iter().map(NodeId::as_str).collect();
        let announce = |chitchat: &mut chitchat::Chitchat| {
            let own = chitchat.self_node_state();
            own.set(STATE, state.as_str());
            own.set(LINKS, neighbours.join(","));
        };
        self.chitchat.with_chitchat(announce).await;
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.chitchat.abort();
    }
}

fn config(me: &LocalNode) -> ChitchatConfig {
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
    newest.into_values().collect()
}

/// `None` for a node whose keys have not arrived yet, or whose id is not one of this mesh.
fn gossip_member(id: &ChitchatId, state: &State) -> Option<GossipMember> {
    let links = state.get(LINKS).unwrap_or_default();
    Some(GossipMember {
        id: id.node_id.parse().ok()?,
        incarnation: Incarnation(id.generation_id),
        address: id.gossip_advertise_addr,
        state: NodeState::parse(state.get(STATE)?).unwrap_or(NodeState::Joining),
        neighbours: links.split(',').filter_map(|id| id.parse().ok()).collect(),
    })
}

/// chitchat's messages over the connections of the mesh.
struct MeshTransport {
    published: Arc<Published>,
    inbox: Mutex<Option<mpsc::Receiver<(SocketAddr, Bytes)>>>,
}

#[async_trait]
impl Transport for MeshTransport {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let inbox = self.inbox.lock().take().ok_or_else(|| std::io::Error::other("opened twice"))?;
        Ok(Box::new(MeshSocket { published: Arc::clone(&self.published), inbox }))
    }
}

struct MeshSocket {
    published: Arc<Published>,
    inbox: mpsc::Receiver<(SocketAddr, Bytes)>,
}

#[async_trait]
impl Socket for MeshSocket {
    /// Never waits, because the gossip loop would stand still meanwhile.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let sent = self
            .published
            .gossip_connection(to)
            .is_some_and(|to| to.send_gossip(message.serialize_to_vec().into()));
        if !sent {
            self.published.counters.gossip_dropped.increment();
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
                Err(error) => tracing::debug!(%from, %error, "gossip does not decode"),
            }
        }
    }
}

const STATE: &str = "state";
const LINKS: &str = "links";
/// Joins are known everywhere after two or three of these. It costs 50 messages per second and node.
const INTERVAL: Duration = Duration::from_millis(200);
/// Suspects a node after 1.5 s of silence, and not falsely under 20 % loss or on overloaded machines. A death needs the link
/// as a second witness.
const PHI: f64 = 12.0;
/// How long the dead are remembered. Seeds and known addresses are dialled independently of that.
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
