//! The port to the other nodes, and its one-node implementation.

use std::fmt;
use std::future::{self, Future};
use std::pin::Pin;

use super::broadcast::Broadcast;
use super::exchange::{Answer, Answers, Ask, Asker, Command};
use crate::id::NodeId;

/// What Socket.IO needs of the other nodes. None of these block.
pub(crate) trait Peers: fmt::Debug + Send + Sync + 'static {
    /// Carries a broadcast to every other node that may have a socket it selects.
    fn broadcast(&self, broadcast: &Broadcast);

    /// Carries a command to every other node that may have a socket it selects, in order with broadcasts.
    fn command(&self, command: &Command);

    /// Asks every other member that may have a socket it selects, in order with broadcasts and commands; asked when
    /// this returns. Resolves when all have answered or left, at the ask's timeout at the latest.
    fn ask(&self, ask: Ask) -> Pin<Box<dyn Future<Output = Answers> + Send + '_>>;

    /// Answers an ask of another node; said when this returns. Resolves when there is room for more.
    fn answer(&self, to: &Asker, answer: Answer) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// A room has its first member on this node, or lost its last. Each call makes a new version of this node's
    /// interest.
    fn interest(&self, namespace: &str, room: &str, present: bool);

    /// The newest version of this node's interest.
    fn version(&self) -> u64;

    /// Resolves when every member has applied this node's interest up to `version`, with those that did not in time.
    fn confirmed(&self, version: u64) -> Pin<Box<dyn Future<Output = Vec<NodeId>> + Send + '_>>;
}

/// A node on its own.
#[derive(Debug)]
pub(crate) struct Solo;

impl Peers for Solo {
    fn broadcast(&self, _: &Broadcast) {}

    fn command(&self, _: &Command) {}

    fn ask(&self, _: Ask) -> Pin<Box<dyn Future<Output = Answers> + Send + '_>> {
        Box::pin(future::ready(Answers::default()))
    }

    fn answer(&self, _: &Asker, _: Answer) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(future::ready(()))
    }

    fn interest(&self, _: &str, _: &str, _: bool) {}

    fn version(&self) -> u64 {
        0
    }

    fn confirmed(&self, _: u64) -> Pin<Box<dyn Future<Output = Vec<NodeId>> + Send + '_>> {
        Box::pin(future::ready(Vec::new()))
    }
}
