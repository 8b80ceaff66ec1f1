//! The port to the other nodes, and its one-node implementation.

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;

use super::broadcast::Broadcast;

/// What Socket.IO needs of the other nodes. None of these block.
pub(crate) trait Peers: fmt::Debug + Send + Sync + 'static {
    /// Carries a broadcast to every other node that may have a socket it selects.
    fn broadcast(&self, broadcast: &Broadcast);

    /// A room has its first member on this node, or lost its last. Each call makes a new version of this node's
    /// interest.
    fn interest(&self, namespace: &str, room: &str, present: bool);

    /// The newest version of this node's interest.
    fn version(&self) -> u64;

    /// Resolves when every reachable node has applied this node's interest up to `version`, or did not answer in time.
    fn confirmed(&self, version: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A node on its own.
#[derive(Debug)]
pub(crate) struct Solo;

impl Peers for Solo {
    fn broadcast(&self, _: &Broadcast) {}

    fn interest(&self, _: &str, _: &str, _: bool) {}

    fn version(&self) -> u64 {
        0
    }

    fn confirmed(&self, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(future::ready(()))
    }
}
