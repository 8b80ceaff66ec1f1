//! What the kit sees of a node.

use std::sync::Arc;

use crate::cluster::Mesh;
use crate::node::Node;
use crate::socket::peers::Peers as _;

impl Node {
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
