//! What all namespaces of a node share.

use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};

use super::recovery::Keeping;
use super::tasks::HandlerTasks;
use super::users::Users;
use crate::id::NodeId;
use crate::socket::peers::Peers;
use crate::socket::protocol::Parser;

/// The surroundings of a namespace.
#[derive(Debug, Clone)]
pub(crate) struct HubContext {
    /// This node.
    pub(crate) node: NodeId,
    /// The other nodes.
    pub(crate) peers: Arc<dyn Peers>,
    /// How packets are encoded for clients.
    pub(crate) parser: Parser,
    /// Whether the id that a client of version 2 knows names a second room of its own.
    pub(crate) version_2_ids: bool,
    /// Where handlers run.
    pub(crate) tasks: HandlerTasks,
    /// Whose the sockets are.
    pub(crate) users: Arc<Users>,
    /// What lets clients come back.
    pub(crate) keeping: Arc<Keeping>,
    /// The node itself, which this layer is not to know.
    pub(crate) host: Arc<OnceLock<Weak<dyn Any + Send + Sync>>>,
}
