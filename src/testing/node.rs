//! What the kit does to a node, and what it sees of one.

use std::sync::Arc;

use crate::cluster::Mesh;
use crate::node::Node;
use crate::socket::peers::Peers as _;

impl Node {
    /// Ends the sessions and the mesh as if the process had been killed. The network has to be cut before, so that no other node
    /// is told.
    pub(crate) async fn kill(&self) {
        self.0.engine.abort();
        if let Some(mesh) = &self.0.cluster {
            mesh.stop().await;
        }
    }

    /// Whether the other members have everything that this node has for them.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.cluster.as_deref().is_none_or(is_quiet)
    }
}

/// Whether every member has confirmed all messages of this node, and which rooms it is interested in.
fn is_quiet(mesh: &Mesh) -> bool {
    let (version, view) = (mesh.version(), Arc::clone(&mesh.published.view.borrow()));
    let roster = mesh.published.roster();
    let mut members = roster.iter().filter(|peer| view.has(&peer.id, peer.incarnation));
    members.all(|peer| peer.backlog() == 0 && peer.confirmed() >= version)
}
