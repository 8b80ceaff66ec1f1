//! What happened to the sessions of a node.

use crate::counter::Counter;
use crate::log_limit::{LogLimit, LogLimits};

/// Counted where it happens, read by [`Node::counters`](crate::Node::counters).
#[derive(Debug, Default)]
pub(crate) struct EngineCounters {
    /// Sessions opened.
    pub(crate) opened: Counter,
    /// Sessions closed because their clients did not take what they were sent.
    pub(crate) slow_clients: Counter,
    /// Handshakes refused because the node has as many sessions as it may.
    pub(crate) node_full: Counter,
    /// Handshakes refused because the address of the client has as many sessions as it may.
    pub(crate) address_full: Counter,
    /// Handshakes refused because the address of the client asks too often.
    pub(crate) too_often: Counter,
    /// Deflated messages of clients refused because the node holds as much for its clients as it may.
    pub(crate) inflated_refused: Counter,
    /// Volatile packets dropped because their client could not take them at once.
    pub(crate) volatile_dropped: Counter,
    /// Packets dropped because their session was over.
    pub(crate) late_dropped: Counter,
    /// How often the log tells of slow clients.
    pub(crate) slow_client_log: LogLimit,
    /// How often the log tells of refused handshakes.
    pub(crate) refused_log: LogLimits,
}

impl EngineCounters {
    /// Each count with the name of its metric.
    pub(crate) fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("socketmesh_engine_sessions_opened_total", &self.opened),
            ("socketmesh_engine_slow_clients_closed_total", &self.slow_clients),
            ("socketmesh_engine_handshakes_refused_node_full_total", &self.node_full),
            ("socketmesh_engine_handshakes_refused_address_full_total", &self.address_full),
            ("socketmesh_engine_handshakes_refused_too_often_total", &self.too_often),
            ("socketmesh_engine_deflated_messages_refused_total", &self.inflated_refused),
            ("socketmesh_engine_volatile_packets_dropped_total", &self.volatile_dropped),
            ("socketmesh_engine_late_packets_dropped_total", &self.late_dropped),
        ]
        .map(|(name, counter)| (name, counter.get()))
    }
}
