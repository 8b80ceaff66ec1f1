//! How a node ends in order: the settings, and the account of it.

use std::time::Duration;

use crate::setters::setters;

/// How much time a node takes that [ends in order](crate::Node::drain). By default it takes none.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::Drain;
///
/// // A load balancer that asks every 2 s takes this node out after 3 failures.
/// let drain = Drain::default().notice(Duration::from_secs(6)).spread(Duration::from_secs(20));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drain {
    /// How long it serves everything as before, except that it says that it is not ready. Default none. As long as load balancers
    /// need to notice: for checks every 2 s of which 3 have to fail, 6 s.
    pub notice: Duration,
    /// After that, over how long it closes its sessions, each at a moment of its own; sooner if they are few, ten a second. Default none:
    /// all at once. So many clients connect to the other nodes in that time.
    pub spread: Duration,
}

setters! {
    Drain {
        notice: Duration,
        spread: Duration,
    }
}

/// What was done for the clients of a node that ends, and what was not.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Sessions that other nodes opened for clients of this one.
    pub(super) moved: u64,
    /// Sessions of this node that it closed.
    pub(super) closed: u64,
    /// Sessions that did not end in time.
    pub(super) sessions: usize,
    /// Handlers that did not.
    pub(super) handlers: usize,
    /// Requests that it carried and that have no answer.
    pub(super) requests: usize,
    /// Packets kept for clients that may come back, for which no other node answers.
    pub(super) left: u64,
    /// Messages that members have not acknowledged.
    pub(super) outstanding: u64,
}

impl Account {
    /// Says how the node ended, in one line.
    pub(super) fn log(&self, node: &crate::id::NodeId) {
        let Self { moved, closed, sessions, handlers, requests, left, outstanding } = self;
        if *sessions + *handlers + *requests == 0 && *left + *outstanding == 0 {
            tracing::info!(%node, moved, closed, outstanding, "stopped");
        } else {
            tracing::warn!(
                %node, moved, closed, sessions, handlers, requests, left, outstanding,
                "stopped before everything was done"
            );
        }
    }
}
