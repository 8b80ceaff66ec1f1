//! The port to the other nodes: what `socket` needs from a cluster.

use std::fmt::Debug;
use std::pin::Pin;

use crate::socket::broadcast::Broadcast;

/// The other nodes, as the Socket.IO layer sees them.
pub(crate) trait Peers: Send + Sync + Debug + 'static {
    /// Sends to every other node that may have a member of the selection. Never blocks.
    fn broadcast(&self, broadcast: &Broadcast);

    /// Says that `room` got its first member here, or lost its last. Returns the version for [`Peers::confirmed`].
    fn interest(&self, namespace: &str, room: &str, present: bool) -> u64;

    /// Resolves when every reachable node has applied the interest `version`, or after a bounded wait.
    fn confirmed(&self, version: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
