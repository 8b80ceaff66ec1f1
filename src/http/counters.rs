//! What happened to the connections of a node.

use std::sync::Arc;

use crate::counter::{Count, Counter};

/// Counted where it happens, read by [`Node::counters`](crate::Node::counters).
#[derive(Debug, Default)]
pub(crate) struct HttpCounters {
    /// Connections closed before their first request, because their places were needed.
    pub(crate) given_up: Arc<Counter>,
    /// Connections refused because their address has as many as it may.
    pub(crate) refused: Counter,
    /// WebTransport sessions refused because there are too many.
    pub(crate) webtransport_refused: Counter,
    /// WebTransport clients that had to prove their address first, because many were opening sessions.
    pub(crate) webtransport_retries: Counter,
}

impl HttpCounters {
    /// All of them.
    pub(crate) fn counts(&self) -> [Count; 4] {
        [
            self.given_up.as_count(
                "socketmesh_http_connections_given_up_total",
                "Connections closed before their first request, because their places were needed",
            ),
            self.refused.as_count(
                "socketmesh_http_connections_refused_total",
                "Connections closed because their address has as many as it may",
            ),
            self.webtransport_refused.as_count(
                "socketmesh_http_webtransport_sessions_refused_total",
                "WebTransport sessions refused because there are too many",
            ),
            self.webtransport_retries.as_count(
                "socketmesh_http_webtransport_retries_total",
                "WebTransport clients that had to prove their address first",
            ),
        ]
    }
}
