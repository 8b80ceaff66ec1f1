//! How clients reach the nodes of a test.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::listener::MemoryListener;

/// A transport, and the nodes that a client's connections go to.
///
/// A node's own routes are [`TestNode::websocket`](super::TestNode::websocket) and
/// [`TestNode::polling`](super::TestNode::polling); [`TestCluster::polling`](super::TestCluster::polling) spreads the
/// requests of each client over several nodes.
#[derive(Clone)]
pub struct Route {
    pub(super) transport: RouteTransport,
    pub(super) nodes: RoundRobin,
}

/// The transport of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteTransport {
    WebSocket,
    Polling,
}

impl Route {
    pub(super) fn new(transport: RouteTransport, nodes: Vec<MemoryListener>) -> Self {
        Self { transport, nodes: RoundRobin::new(nodes) }
    }

    /// The same route with a turn of its own: what other clients of the route request does not change it.
    pub(super) fn for_one_client(&self) -> Self {
        Self { transport: self.transport, nodes: RoundRobin::new(self.nodes.0.lock().clone()) }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// The listeners of one or more nodes, which take connections in turn.
#[derive(Clone)]
pub(super) struct RoundRobin(Arc<Mutex<Vec<MemoryListener>>>);

impl RoundRobin {
    fn new(listeners: Vec<MemoryListener>) -> Self {
        Self(Arc::new(Mutex::new(listeners)))
    }

    /// Lets the following connections go to the listeners of another route.
    pub(super) fn replace(&self, other: &Self) {
        let listeners = other.0.lock().clone();
        *self.0.lock() = listeners;
    }

    /// How many nodes take turns.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// The listener for the next connection: one that takes it, if there is any. `None` where a route has no nodes.
    pub(super) fn next(&self) -> Option<MemoryListener> {
        let mut listeners = self.0.lock();
        let open = listeners.iter().position(MemoryListener::is_open).unwrap_or_default();
        let next = listeners.get(open).cloned()?;
        listeners.rotate_left(open + 1);
        Some(next)
    }
}
