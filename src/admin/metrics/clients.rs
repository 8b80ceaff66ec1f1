//! What a node measures of its clients: handshakes, sessions, traffic, and what happens in namespaces.

use std::fmt;

use super::writer::{Figure, Metrics};
use crate::engine::{Application, Protocol, Transport};
use crate::node::Node;
use crate::socket::{NamespaceFigures, Unrecovered};

pub(super) fn encode<A: Application>(node: &Node<A>, metrics: &mut Metrics<'_>) -> fmt::Result {
    metrics.gauges(
        "socketmesh_build_info",
        "1, with the version of the library",
        [([("version", env!("CARGO_PKG_VERSION"))], 1)],
    )?;
    metrics.gauges(
        "socketmesh_ready",
        "Whether this node takes new clients",
        [([], u32::from(node.refuses_clients().is_none()))],
    )?;
    requests(node, metrics)?;
    sessions(node, metrics)?;
    traffic(node, metrics)?;
    namespaces(&node.namespace_figures(), metrics)?;
    kept(node, metrics)
}

/// What is kept for clients that may come back.
fn kept<A: Application>(node: &Node<A>, metrics: &mut Metrics<'_>) -> fmt::Result {
    let kept = node.kept();
    for (name, help, value) in [
        (
            "socketmesh_socket_kept_sessions",
            "Sessions that this node keeps for clients that may come back, and copies of those of others",
            kept.sessions,
        ),
        ("socketmesh_socket_kept_session_bytes", "About what these sessions take", kept.session_bytes),
        (
            "socketmesh_socket_kept_packet_bytes",
            "About what the packets take that clients may have missed",
            kept.packet_bytes,
        ),
        (
            "socketmesh_socket_kept_namespaces",
            "Namespaces with clients that may come back, and those that such clients were in",
            kept.namespaces,
        ),
    ] {
        metrics.gauges(name, help, [([], value)])?;
    }
    metrics.counters(
        "socketmesh_socket_kept_packets_dropped_total",
        "Packets that clients may have missed, and that were dropped because there were too many",
        [([], kept.packets_dropped)],
    )
}

fn requests<A: Application>(node: &Node<A>, metrics: &mut Metrics<'_>) -> fmt::Result {
    let (http, accepted) = (node.http_counters(), node.engine_counters().opened.get());
    let handshakes = http.refused_handshakes().chain([("accepted", accepted)]);
    metrics.counters(
        "socketmesh_http_handshakes_total",
        "Requests to open a session, by what became of them",
        handshakes.map(|(result, count)| ([("result", result)], count)),
    )?;
    metrics.counters(
        "socketmesh_http_requests_refused_total",
        "Refused requests for sessions that are open",
        http.refused_requests().map(|(reason, count)| ([("reason", reason)], count)),
    )?;
    metrics.counters(
        "socketmesh_http_forwarded_requests_total",
        "Requests that this node carried to the owner of their session, by what became of them",
        http.forwarded.named().map(|(result, count)| ([("result", result)], count)),
    )?;
    metrics.gauges(
        "socketmesh_http_forwarded_requests_in_flight",
        "Requests that this node carries now, polls that wait included",
        [([], node.carried_requests())],
    )
}

fn sessions<A: Application>(node: &Node<A>, metrics: &mut Metrics<'_>) -> fmt::Result {
    let census = node.census();
    let sessions = TRANSPORTS.into_iter().flat_map(|transport| {
        [(Protocol::V3, "3"), (Protocol::V4, "4")].map(|(protocol, version)| {
            let labels = [("transport", transport.as_str()), ("protocol", version)];
            (labels, census.sessions(transport, protocol))
        })
    });
    metrics.gauges("socketmesh_engine_sessions", "Sessions of this node", sessions)?;
    for (name, help, value) in [
        (
            "socketmesh_engine_buffered_bytes",
            "Bytes that wait for clients; what is sent to many counts once",
            census.buffered,
        ),
        (
            "socketmesh_engine_outbox_largest_bytes",
            "Bytes that wait for the client for which most do",
            census.most_buffered,
        ),
        ("socketmesh_engine_slow_sessions", "Sessions for which more waits than max_buffered", census.behind),
    ] {
        metrics.gauges(name, help, [([], value)])?;
    }
    metrics.counters(
        "socketmesh_engine_sessions_closed_total",
        "Sessions of this node that ended, by reason",
        node.engine_counters().closed.named().map(|(reason, count)| ([("reason", reason)], count)),
    )
}

fn traffic<A: Application>(node: &Node<A>, metrics: &mut Metrics<'_>) -> fmt::Result {
    let traffic = &node.engine_counters().traffic;
    let from = TRANSPORTS.map(|over| ([("transport", over.as_str())], traffic.all_received(over)));
    let to = TRANSPORTS.map(|over| ([("transport", over.as_str())], traffic.all_sent(over)));
    metrics.counters(
        "socketmesh_engine_packets_received_total",
        "Packets of Engine.IO from clients, heartbeats included",
        from.map(|(labels, carried)| (labels, carried.packets)),
    )?;
    metrics.counters(
        "socketmesh_engine_received_bytes_total",
        "Bytes from clients, in bodies of POSTs and on WebSocket and WebTransport streams",
        from.map(|(labels, carried)| (labels, carried.bytes)),
    )?;
    metrics.counters(
        "socketmesh_engine_packets_sent_total",
        "Packets of Engine.IO to clients, heartbeats included",
        to.map(|(labels, carried)| (labels, carried.packets)),
    )?;
    metrics.counters(
        "socketmesh_engine_sent_bytes_total",
        "Bytes to clients, in answers to polls before compression and on WebSocket and WebTransport streams",
        to.map(|(labels, carried)| (labels, carried.bytes)),
    )
}

fn namespaces(namespaces: &[NamespaceFigures], metrics: &mut Metrics<'_>) -> fmt::Result {
    let gauges: [Figure<NamespaceFigures>; 3] = [
        ("socketmesh_socket_sockets", "Sockets of this node", |of| of.sockets as u64),
        ("socketmesh_socket_rooms", "Rooms with a socket of this node", |of| of.rooms as u64),
        ("socketmesh_socket_acks_pending", "Acks of clients that are awaited", |of| of.counts.acks_pending),
    ];
    for (name, help, value) in gauges {
        metrics.gauges(name, help, by_name(namespaces).map(|(labels, of)| (labels, value(of))))?;
    }
    let counters: [Figure<NamespaceFigures>; 10] = [
        ("socketmesh_socket_events_received_total", "Events of clients", |of| of.counts.events_received),
        ("socketmesh_socket_events_limited_total", "Events of clients that were beyond a limit", |of| {
            of.counts.events_limited
        }),
        (
            "socketmesh_socket_events_sent_total",
            "Events to clients of this node, each counted for every client that gets it",
            |of| of.counts.events_sent,
        ),
        ("socketmesh_socket_events_unknown_total", "Events of clients that no handler was found for", |of| {
            of.counts.events_unknown
        }),
        (
            "socketmesh_socket_acks_timed_out_total",
            "Acks of clients that had not come when their time was over",
            |of| of.counts.acks_timed_out,
        ),
        ("socketmesh_socket_acks_too_late_total", "Acks for clients that had left before", |of| {
            of.counts.acks_too_late
        }),
        ("socketmesh_socket_sessions_recovered_total", "Clients that came back to their sockets", |of| {
            of.counts.sessions_recovered
        }),
        ("socketmesh_socket_packets_replayed_total", "Packets that they had missed", |of| {
            of.counts.packets_replayed
        }),
        ("socketmesh_socket_sessions_lost_total", "Sessions whose clients did not come back in time", |of| {
            of.counts.sessions_lost
        }),
        (
            "socketmesh_socket_gaps_total",
            "How often clients had to come again, because something of another node was lost",
            |of| of.counts.gaps_met,
        ),
    ];
    for (name, help, value) in counters {
        metrics.counters(name, help, by_name(namespaces).map(|(labels, of)| (labels, value(of))))?;
    }
    metrics.histograms(
        "socketmesh_socket_handler_seconds",
        "How long the handlers of events took",
        by_name(namespaces).map(|(labels, of)| {
            let calls = &of.counts.calls;
            (labels, calls.sum, calls.count, calls.buckets.as_slice())
        }),
    )?;
    metrics.counters(
        "socketmesh_socket_sessions_refused_total",
        "Clients that asked for their sockets and got others",
        namespaces.iter().flat_map(|of| {
            let counts = Unrecovered::ALL.into_iter().zip(of.counts.sessions_refused);
            counts.map(|(why, count)| ([("namespace", of.name.as_str()), ("reason", why.as_str())], count))
        }),
    )?;
    metrics.counters(
        "socketmesh_socket_handlers_failed_total",
        "Handlers that returned an error or panicked",
        namespaces.iter().flat_map(|of| {
            let kinds = [("error", of.counts.handlers_failed), ("panic", of.counts.handlers_panicked)];
            kinds.map(|(kind, count)| ([("namespace", of.name.as_str()), ("kind", kind)], count))
        }),
    )
}

fn by_name(namespaces: &[NamespaceFigures]) -> impl Iterator<Item = ([(&str, &str); 1], &NamespaceFigures)> {
    namespaces.iter().map(|of| ([("namespace", of.name.as_str())], of))
}

const TRANSPORTS: [Transport; 3] = [Transport::Polling, Transport::WebSocket, Transport::WebTransport];
