//! What a node sees of its cluster, as JSON.

use serde_json::{Value, json};

use crate::cluster::LinkState;
use crate::engine::Application;
use crate::node::Node;

/// The node, its members with their states and links, and how much of the ring each owns.
pub(super) fn describe<A: Application>(node: &Node<A>) -> Value {
    let view = node.view().map(|view| view.borrow().clone());
    let members = view.iter().flat_map(|view| {
        view.members.iter().map(|member| {
            let rtt = node.link_rtt(&member.id).map(|rtt| rtt.as_secs_f64() * 1e3);
            json!({
                "id": member.id.as_str(),
                "incarnation": member.incarnation.0.to_string(),
                "address": member.address.to_string(),
                "state": member.state.as_str(),
                "link": link(member.link),
                "rtt_ms": rtt,
                "settings_that_differ": member.differing.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "ring_share": view.ring.share(&member.id),
            })
        })
    });
    json!({
        "node": node.id().as_str(),
        "ready": node.refuses_clients().is_none(),
        "obstacle": node.obstacle(),
        "sessions": node.sessions(),
        "epoch": view.as_ref().map(|view| view.epoch),
        "members": members.collect::<Vec<_>>(),
    })
}

/// A link as labels and JSON name it.
pub(super) const fn link(state: LinkState) -> &'static str {
    match state {
        LinkState::Up => "up",
        LinkState::Relayed => "relayed",
        LinkState::Down => "down",
    }
}
