//! What a node measures of its cluster: the members, and what passes between each of them and this node.

use std::fmt;

use super::writer::{Figure, Metrics};
use crate::cluster::{PeerCounters, View};
use crate::engine::Application;
use crate::node::Node;

/// Nothing without a cluster.
pub(super) fn encode<A: Application>(node: &Node<A>, metrics: &mut Metrics<'_>) -> fmt::Result {
    let Some(view) = node.view().map(|view| view.borrow().clone()) else { return Ok(()) };
    members(node, &view, metrics)?;
    // Of the lives of other nodes those that are members: the number of series is that of the members.
    let mut peers = node.peer_counters();
    peers.retain(|peer| view.has(&peer.node, peer.incarnation));
    messages(&peers, metrics)
}

fn members<A: Application>(node: &Node<A>, view: &View, metrics: &mut Metrics<'_>) -> fmt::Result {
    metrics.gauges(
        "socketmesh_cluster_view_epoch",
        "Grows with every change of the members or links",
        [([], view.epoch)],
    )?;
    let states = ["joining", "ready", "draining", "hung"].map(|state| {
        let members = view.members.iter().filter(|member| member.state.as_str() == state).count();
        ([("state", state)], members)
    });
    metrics.gauges("socketmesh_cluster_members", "Members of the cluster, this node included", states)?;
    let others = || view.members.iter().filter(|member| member.id != *node.id());
    let links = others().flat_map(|member| {
        ["up", "relayed", "down"].map(|state| {
            ([("peer", member.id.as_str()), ("state", state)], u32::from(member.link.as_str() == state))
        })
    });
    metrics.gauges("socketmesh_cluster_link", "1 for the state of the link to each other member", links)?;
    let rtts = others().filter_map(|member| {
        Some(([("peer", member.id.as_str())], node.link_rtt(&member.id)?.as_secs_f64()))
    });
    metrics.gauges("socketmesh_cluster_link_rtt_seconds", "Round trip time of each direct link", rtts)?;
    let shares =
        view.members.iter().map(|member| ([("peer", member.id.as_str())], view.ring.share(&member.id)));
    metrics.gauges("socketmesh_cluster_ring_share", "Part of the ring that each member owns", shares)
}

fn messages(peers: &[PeerCounters], metrics: &mut Metrics<'_>) -> fmt::Result {
    let by_peer = |value: fn(&PeerCounters) -> u64| peers.iter().map(move |peer| (label(peer), value(peer)));
    metrics.gauges(
        "socketmesh_cluster_peer_waiting_messages",
        "Messages that wait for a member or its confirmation",
        by_peer(|peer| peer.outgoing.waiting),
    )?;
    metrics.gauges(
        "socketmesh_cluster_peer_waiting_bytes",
        "Bytes that wait for a member or its confirmation",
        by_peer(|peer| peer.outgoing.waiting_bytes),
    )?;
    let counters: [Figure<PeerCounters>; 5] = [
        ("socketmesh_cluster_peer_messages_sent_total", "Messages queued for a member", |peer| {
            peer.outgoing.sent
        }),
        ("socketmesh_cluster_peer_messages_received_total", "Messages of a member delivered here", |peer| {
            peer.incoming.received
        }),
        (
            "socketmesh_cluster_peer_messages_replayed_total",
            "Messages that were written again to a member after its connection was lost",
            |peer| peer.outgoing.replayed,
        ),
        (
            "socketmesh_cluster_peer_gaps_total",
            "How often a member was told that messages are missing",
            |peer| peer.outgoing.gaps,
        ),
        ("socketmesh_cluster_peer_messages_missed_total", "Messages that a member gave up", |peer| {
            peer.incoming.missed
        }),
    ];
    for (name, help, value) in counters {
        metrics.counters(name, help, by_peer(value))?;
    }
    let lost = peers.iter().flat_map(|peer| {
        let lost = peer.outgoing.lost.named();
        lost.map(|(reason, count)| ([("peer", peer.node.as_str()), ("reason", reason)], count))
    });
    metrics.counters("socketmesh_cluster_peer_messages_lost_total", "Messages given up for a member", lost)
}

fn label(peer: &PeerCounters) -> [(&str, &str); 1] {
    [("peer", peer.node.as_str())]
}
