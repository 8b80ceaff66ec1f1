//! What happened to the sessions of a node.

use crate::counter::Counter;
use crate::log_limit::LogLimit;

/// Counted where it happens, read by [`Node::counters`](crate::Node::counters).
#[derive(Debug, Default)]
pub(crate) struct EngineCounters {
    /// Sessions opened.
    pub(crate) opened: Counter,
    /// Sessions closed because their clients did not take what they were sent.
    pub(crate) slow_clients: Counter,
    /// Volatile packets dropped because their client could not take them at once.
    pub(crate) volatile_dropped: Counter,
    /// Packets dropped because their session was over.
    pub(crate) late_dropped: Counter,
    /// How often the log tells of slow clients.
    pub(crate) slow_client_log: LogLimit,
}

impl EngineCounters {
    /// Each count with the name of its metric.
    pub(crate) fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("socketmesh_engine_sessions_opened_total", &self.opened),
            ("socketmesh_engine_slow_clients_closed_total", &self.slow_clients),
            ("socketmesh_engine_volatile_packets_dropped_total", &self.volatile_dropped),
            ("socketmesh_engine_late_packets_dropped_total", &self.late_dropped),
        ]
        .map(|(name, counter)| (name, counter.get()))
    }
}
