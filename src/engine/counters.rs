//! What happened to the sessions of a node.

use super::error::CloseReason;
use super::protocol::Transport;
use crate::counter::{Count, Counter, PerThread};
use crate::log_limit::LogLimit;

/// Counted where it happens, read by [`Node::counters`](crate::Node::counters).
#[derive(Debug, Default)]
pub(crate) struct EngineCounters {
    /// Sessions opened.
    pub(crate) opened: Counter,
    /// Sessions closed, by reason.
    pub(crate) closed: Closed,
    /// What sessions sent and received, by transport.
    pub(crate) traffic: Traffic,
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
    /// Sessions closed because this node had too many.
    pub(crate) let_go: Counter,
    /// How often the log tells of slow clients.
    pub(crate) slow_client_log: LogLimit,
}

impl EngineCounters {
    /// All of them.
    pub(crate) fn counts(&self) -> [Count; 9] {
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
            self.let_go.as_count(
                "socketmesh_engine_sessions_let_go_total",
                "Sessions closed because this node had far more than the others",
            ),
        ]
    }
}

/// Sessions that were closed.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    /// Because their clients did not take what they were sent, which is a `transport error` to everybody else.
    slow: Counter,
    transport_error: Counter,
    transport_close: Counter,
    forced_close: Counter,
    ping_timeout: Counter,
    parse_error: Counter,
    shutting_down: Counter,
}

impl Closed {
    /// Those whose node stopped.
    pub(crate) fn by_stops(&self) -> u64 {
        self.shutting_down.get()
    }

    /// One more. `slow`: its client did not take what it was sent.
    pub(crate) fn count(&self, reason: CloseReason, slow: bool) {
        let counter = match reason {
            _ if slow => &self.slow,
            CloseReason::TransportError => &self.transport_error,
            CloseReason::TransportClose => &self.transport_close,
            CloseReason::ForcedClose => &self.forced_close,
            CloseReason::PingTimeout => &self.ping_timeout,
            CloseReason::ParseError => &self.parse_error,
            CloseReason::ServerShuttingDown => &self.shutting_down,
        };
        counter.increment();
    }

    /// Each count with the name of its reason: the values of a label.
    pub(crate) fn named(&self) -> [(&'static str, u64); 7] {
        let Self { slow, transport_error, transport_close, .. } = self;
        [
            ("slow client", slow.get()),
            (CloseReason::TransportError.as_str(), transport_error.get()),
            (CloseReason::TransportClose.as_str(), transport_close.get()),
            (CloseReason::ForcedClose.as_str(), self.forced_close.get()),
            (CloseReason::PingTimeout.as_str(), self.ping_timeout.get()),
            (CloseReason::ParseError.as_str(), self.parse_error.get()),
            (CloseReason::ServerShuttingDown.as_str(), self.shutting_down.get()),
        ]
    }
}

/// Packets of Engine.IO and their bytes: the bodies of polls and POSTs before compression, and what WebSocket and WebTransport
/// streams carry, with its frames. The node that owns the session counts them.
#[derive(Debug, Default)]
pub(crate) struct Traffic(PerThread<[Flow; 3]>);

#[derive(Debug, Default)]
struct Flow {
    packets_received: Counter,
    bytes_received: Counter,
    packets_sent: Counter,
    bytes_sent: Counter,
}

/// What went over one transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Traffic {
    /// Clients sent something.
    pub(crate) fn received(&self, over: Transport, packets: usize, bytes: usize) {
        let Flow { packets_received, bytes_received, .. } = flow(self.0.here(), over);
        packets_received.add(packets as u64);
        bytes_received.add(bytes as u64);
    }

    /// Something is on its way to a client.
    pub(crate) fn sent(&self, over: Transport, packets: usize, bytes: usize) {
        let Flow { packets_sent, bytes_sent, .. } = flow(self.0.here(), over);
        packets_sent.add(packets as u64);
        bytes_sent.add(bytes as u64);
    }

    /// What came from clients so far.
    pub(crate) fn all_received(&self, over: Transport) -> Carried {
        Carried {
            packets: self.0.sum(|flows| flow(flows, over).packets_received.get()),
            bytes: self.0.sum(|flows| flow(flows, over).bytes_received.get()),
        }
    }

    /// What went to clients so far.
    pub(crate) fn all_sent(&self, over: Transport) -> Carried {
        Carried {
            packets: self.0.sum(|flows| flow(flows, over).packets_sent.get()),
            bytes: self.0.sum(|flows| flow(flows, over).bytes_sent.get()),
        }
    }
}

const fn flow([polling, websocket, webtransport]: &[Flow; 3], over: Transport) -> &Flow {
    match over {
        Transport::Polling => polling,
        Transport::WebSocket => websocket,
        Transport::WebTransport => webtransport,
    }
}
