//! What happened to the connections of a node.

use std::sync::Arc;

use crate::counter::Counter;

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
    /// Each count with the name of its metric.
    pub(crate) fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("socketmesh_http_connections_given_up_total", &*self.given_up),
            ("socketmesh_http_connections_refused_total", &self.refused),
            ("socketmesh_http_webtransport_sessions_refused_total", &self.webtransport_refused),
            ("socketmesh_http_webtransport_retries_total", &self.webtransport_retries),
        ]
        .map(|(name, counter)| (name, counter.get()))
    }
}
