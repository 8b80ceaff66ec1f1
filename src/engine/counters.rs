//! What happened to the sessions of a node.

use crate::counter::{Count, Counter};
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
    /// All of them.
    pub(crate) fn counts(&self) -> [Count; 8] {
        [
            self.opened.as_count("socketmesh_engine_sessions_opened_total", "Sessions opened on this node"),
            self.slow_clients.as_count(
                "socketmesh_engine_slow_clients_closed_total",
                "Clients closed because they did not take what they were sent",
            ),
            self.node_full.as_count(
                "socketmesh_engine_handshakes_refused_node_full_total",
                "Handshakes refused because the node has as many sessions as it may",
            ),
            self.address_full.as_count(
                "socketmesh_engine_handshakes_refused_address_full_total",
                "Handshakes refused because the address has as many sessions as it may",
            ),
            self.too_often.as_count(
                "socketmesh_engine_handshakes_refused_too_often_total",
                "Handshakes refused because the address asks too often",
            ),
            self.inflated_refused.as_count(
                "socketmesh_engine_deflated_messages_refused_total",
                "Deflated messages refused because as much is held for clients as may be",
            ),
            self.volatile_dropped.as_count(
                "socketmesh_engine_volatile_packets_dropped_total",
                "Volatile packets dropped because the client could not take them at once",
            ),
            self.late_dropped.as_count(
                "socketmesh_engine_late_packets_dropped_total",
                "Packets for clients whose session had just ended",
            ),
        ]
    }
}
