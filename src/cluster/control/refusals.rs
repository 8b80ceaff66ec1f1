//! Who does not reach a node any more, as its machine says.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::NodeId;

/// Who found a moment ago that nobody listens where a node was. It counts for nothing later: the node may be there again.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    own: Option<Instant>,
    others: BTreeMap<NodeId, Instant>,
}

impl Refusals {
    /// This node did.
    pub(crate) fn handle_own(&mut self, now: Instant) {
        self.own = Some(now);
    }

    /// Another node did. Returns whether that is news.
    pub(crate) fn handle_told(&mut self, from: &NodeId, now: Instant) -> bool {
        self.others.retain(|_, at| is_fresh(*at, now));
        self.others.insert(from.clone(), now).is_none()
    }

    pub(crate) fn is_own(&self, now: Instant) -> bool {
        self.own.is_some_and(|at| is_fresh(at, now))
    }

    pub(crate) fn is_told_by(&self, other: &NodeId, now: Instant) -> bool {
        self.others.get(other).is_some_and(|at| is_fresh(*at, now))
    }

    /// The node is there.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now < at + FRESH
}

/// Much longer than it takes until every member has seen for itself.
const FRESH: Duration = Duration::from_secs(5);
