//! Everything that a node measures, in the text formats of OpenMetrics and Prometheus.
//!
//! The figures are read when they are asked for: measuring costs nothing between two scrapes. Labels have values from small, fixed
//! sets, the names of members, or of namespaces as the application described them.

mod process;
mod writer;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use self::writer::Metrics;
use super::cluster_state::link;
use crate::engine::{Application, Protocol, Transport};
use crate::node::Node;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    /// Version 0.0.4, which is older and has no names without `_total`.
    Prometheus,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics of a node.
pub(super) fn encode<A: Application>(node: &Node<A>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(NodeMetrics(node.clone())));
    let mut metrics = String::new();
    text::encode(&mut metrics, &registry)?;
    Ok(match format {
        Format::OpenMetrics => metrics,
        Format::Prometheus => as_prometheus(&metrics),
    })
}

/// In the older format the metadata of a counter have the name of its samples.
fn as_prometheus(metrics: &str) -> String {
    let lines: Vec<&str> = metrics.lines().collect();
    let counters: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::with_capacity(metrics.len());
    for line in lines {
        let metadata = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match metadata.and_then(|rest| rest.split_once(' ')) {
            _ if line == "# EOF" => {}
            Some((name, rest)) if counters.contains(&name) => {
                let (kind, _) = line.split_at("# HELP ".len());
                older += &format!("{kind}{name}_total {rest}\n");
            }
            _ => {
                older += line;
                older.push('\n');
            }
        }
    }
    older
}

struct NodeMetrics<A: Application>(Node<A>);

impl<A: Application> fmt::Debug for NodeMetrics<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<A: Application> Collector for NodeMetrics<A> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics::new(encoder);
        self.node(&mut metrics)?;
        self.cluster(&mut metrics)?;
        runtime(&mut metrics)?;
        process::encode(&mut metrics)
    }
}

/// What the runtime that answers says of itself.
fn runtime(metrics: &mut Metrics<'_>) -> fmt::Result {
    let Ok(runtime) = Handle::try_current().map(|runtime| runtime.metrics()) else { return Ok(()) };
    for (name, help, value) in [
        ("socketmesh_runtime_tasks", "Tasks of the runtime that are alive", runtime.num_alive_tasks()),
        ("socketmesh_runtime_workers", "Threads of the runtime", runtime.num_workers()),
        (
            "socketmesh_runtime_global_queue_depth",
            "Tasks that wait in the queue of the whole runtime",
            runtime.global_queue_depth(),
        ),
    ] {
        metrics.gauges(name, help, [([], value)])?;
    }
    Ok(())
}

impl<A: Application> NodeMetrics<A> {
    fn node(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let node = &self.0;
        for count in node.counts() {
            metrics.counters(count.name, count.help, [([], count.value)])?;
        }
        let census = node.census();
        let of = |transport: Transport, protocol| census.sessions(transport, protocol);
        let transports = [Transport::Polling, Transport::WebSocket, Transport::WebTransport];
        let sessions = transports.into_iter().flat_map(|transport| {
            [(Protocol::V3, "3"), (Protocol::V4, "4")].map(|(protocol, version)| {
                ([("transport", transport.as_str()), ("protocol", version)], of(transport, protocol))
            })
        });
        metrics.gauges("socketmesh_engine_sessions", "Sessions of this node", sessions)?;
        metrics.gauges(
            "socketmesh_engine_buffered_bytes",
            "Bytes that wait for clients; what is sent to many counts once",
            [([], census.buffered)],
        )?;
        metrics.gauges(
            "socketmesh_engine_slow_sessions",
            "Sessions for which more waits than max_buffered",
            [([], census.behind)],
        )?;
        let namespaces = node.namespaces();
        let by = |size: fn(&crate::socket::NamespaceSize) -> usize| {
            namespaces
                .iter()
                .map(move |namespace| ([("namespace", namespace.name.as_str())], size(namespace)))
        };
        metrics.gauges(
            "socketmesh_socket_sockets",
            "Sockets of this node",
            by(|namespace| namespace.sockets),
        )?;
        metrics.gauges(
            "socketmesh_socket_rooms",
            "Rooms with a socket of this node",
            by(|namespace| namespace.rooms),
        )?;
        metrics.gauges(
            "socketmesh_ready",
            "Whether this node takes new clients",
            [([], u32::from(node.refuses_clients().is_none()))],
        )
    }

    fn cluster(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let node = &self.0;
        let Some(view) = node.view().map(|view| view.borrow().clone()) else { return Ok(()) };
        metrics.gauges(
            "socketmesh_cluster_view_epoch",
            "Grows with every change of the members or links",
            [([], view.epoch)],
        )?;
        let others = || view.members.iter().filter(|member| member.id != *node.id());
        let states = ["joining", "ready", "draining", "hung"].map(|state| {
            let members = view.members.iter().filter(|member| member.state.as_str() == state).count();
            ([("state", state)], members)
        });
        metrics.gauges("socketmesh_cluster_members", "Members of the cluster, this node included", states)?;
        let links = others().flat_map(|member| {
            ["up", "relayed", "down"].map(|state| {
                ([("peer", member.id.as_str()), ("state", state)], u32::from(link(member.link) == state))
            })
        });
        metrics.gauges(
            "socketmesh_cluster_link",
            "1 for the state of the link to each other member",
            links,
        )?;
        let rtts = others().filter_map(|member| {
            Some(([("peer", member.id.as_str())], node.link_rtt(&member.id)?.as_secs_f64()))
        });
        metrics.gauges("socketmesh_cluster_link_rtt_seconds", "Round trip time of each direct link", rtts)?;
        let shares =
            view.members.iter().map(|member| ([("peer", member.id.as_str())], view.ring.share(&member.id)));
        metrics.gauges("socketmesh_cluster_ring_share", "Part of the ring that each member owns", shares)?;
        self.peers(metrics)
    }

    /// Of the lives of other nodes those that are members: the number of series is that of the members.
    fn peers(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let node = &self.0;
        let Some(view) = node.view().map(|view| view.borrow().clone()) else { return Ok(()) };
        let mut peers = node.peer_counters();
        peers.retain(|peer| view.has(&peer.node, peer.incarnation));
        let waiting = peers.iter().map(|peer| ([("peer", peer.node.as_str())], peer.outgoing.waiting));
        metrics.gauges(
            "socketmesh_cluster_peer_waiting_messages",
            "Messages that wait for a member or its confirmation",
            waiting,
        )?;
        let sent = peers.iter().map(|peer| ([("peer", peer.node.as_str())], peer.outgoing.sent));
        metrics.counters(
            "socketmesh_cluster_peer_messages_sent_total",
            "Messages queued for a member",
            sent,
        )?;
        let received = peers.iter().map(|peer| ([("peer", peer.node.as_str())], peer.incoming.received));
        metrics.counters(
            "socketmesh_cluster_peer_messages_received_total",
            "Messages of a member delivered here",
            received,
        )?;
        let lost = peers.iter().flat_map(|peer| {
            peer.outgoing
                .lost
                .named()
                .map(|(reason, count)| ([("peer", peer.node.as_str()), ("reason", reason)], count))
        });
        metrics.counters(
            "socketmesh_cluster_peer_messages_lost_total",
            "Messages given up for a member",
            lost,
        )?;
        let missed = peers.iter().map(|peer| ([("peer", peer.node.as_str())], peer.incoming.missed));
        metrics.counters(
            "socketmesh_cluster_peer_messages_missed_total",
            "Messages that a member gave up",
            missed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_with_their_suffix_and_has_no_end() {
        let metrics = "# HELP a_b Sessions.\n# TYPE a_b counter\na_b_total 1\n# HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        assert_eq!(
            as_prometheus(metrics),
            "# HELP a_b_total Sessions.\n# TYPE a_b_total counter\na_b_total 1\n# HELP c Now.\n# TYPE c gauge\nc 2\n"
        );
    }
}
