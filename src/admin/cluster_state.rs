//! The cluster as JSON: what this node sees of it, and what each member says of itself when it is asked.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cluster::{LinkState, MemberView};
use crate::engine::Application;
use crate::id::{NodeId, SocketId};
use crate::node::Node;
use crate::node::operators::{MOST_ROOMS, NoAnswer, Question};

/// The members with their states, links and shares of the ring, each with its own report. All are asked at once, so it takes as
/// long as the slowest, two seconds at most.
pub(super) async fn describe<A: Application>(node: &Node<A>) -> Value {
    let mut reports = ask_all(node, &Question::Report).await;
    let view = node.view().map(|view| view.borrow().clone());
    let waiting: BTreeMap<_, _> = node
        .peer_counters()
        .into_iter()
        .map(|peer| ((peer.node, peer.incarnation), peer.outgoing.waiting))
        .collect();
    let now = millis_since_1970();
    let mut member = |seen: &MemberView, share: f64| {
        let MemberView { id, incarnation, address, state, link, differing, .. } = seen;
        let rtt = node.link_rtt(id).map(|rtt| rtt.as_secs_f64() * 1e3);
        let (report, problem) = told(reports.remove(id));
        json!({
            "id": id.as_str(),
            "incarnation": incarnation.0.to_string(),
            "address": address.to_string(),
            "age_seconds": now.saturating_sub(incarnation.0) / 1000,
            "state": state.as_str(),
            "link": link.as_str(),
            "rtt_ms": rtt,
            "waiting": waiting.get(&(id.clone(), *incarnation)).copied().unwrap_or_default(),
            "ring_share": share,
            "settings_that_differ": differing.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "report": report,
            "problem": problem,
        })
    };
    let members = match &view {
        Some(view) => {
            view.members.iter().map(|seen| member(seen, view.ring.share(&seen.id))).collect::<Vec<_>>()
        }
        None => vec![alone(node, told(reports.remove(node.id())).0)],
    };
    json!({
        "node": node.id().as_str(),
        "ready": node.refuses_clients().is_none(),
        "obstacle": node.obstacle(),
        "sessions": node.sessions(),
        "epoch": view.as_ref().map(|view| view.epoch),
        "members": members,
    })
}

/// The rooms with most sockets in the whole cluster. Each node names its largest ones, so a room that is small on every node may
/// be larger than it looks.
pub(super) async fn largest_rooms<A: Application>(node: &Node<A>, most: usize) -> Value {
    let mut rooms: BTreeMap<(String, String), (u64, usize)> = BTreeMap::new();
    let mut missing = Vec::new();
    for (member, answer) in ask_all(node, &Question::Rooms(MOST_ROOMS)).await {
        match answer.map(Vec::<RoomSize>::deserialize) {
            Ok(Ok(named)) => {
                for RoomSize { namespace, room, sockets } in named.into_iter().take(MOST_ROOMS) {
                    let (all, nodes) = rooms.entry((namespace, room)).or_default();
                    (*all, *nodes) = (all.saturating_add(sockets), *nodes + 1);
                }
            }
            _ => missing.push(member.to_string()),
        }
    }
    let mut rooms: Vec<_> = rooms.into_iter().collect();
    rooms.sort_by(|(_, (one, _)), (_, (other, _))| other.cmp(one));
    let rooms = rooms.into_iter().take(most.min(MOST_ROOMS)).map(|((namespace, room), (sockets, nodes))| {
        json!({ "namespace": namespace, "room": room, "sockets": sockets, "nodes": nodes })
    });
    json!({ "rooms": rooms.collect::<Vec<_>>(), "missing": missing })
}

/// What the node that owns a socket knows about it.
pub(super) async fn socket<A: Application>(node: &Node<A>, id: SocketId) -> Result<Value, NoAnswer> {
    let owner = node.owner_of(id).ok_or(NoAnswer::NotFound)?;
    node.ask(&owner, &Question::Socket(id)).await
}

/// Asks the member of this name to stop. An error has the status and the line of the answer.
pub(super) async fn drain<A: Application>(
    node: &Node<A>,
    name: &str,
    by: String,
) -> Result<Value, (StatusCode, String)> {
    let members = members(node);
    let Some(member) = members.iter().find(|member| member.as_str() == name) else {
        let names: Vec<_> = members.iter().map(NodeId::as_str).collect();
        return Err((
            StatusCode::NOT_FOUND,
            format!("no member has this name; the members are {}", names.join(", ")),
        ));
    };
    let asked = node.ask(member, &Question::Drain(by)).await;
    asked.map_err(|error| (error.status(), format!("{name}: {error}")))
}

/// A link as labels name it.
pub(super) const fn link(state: LinkState) -> &'static str {
    state.as_str()
}

/// The answers of all members, this node included. A node without a cluster answers alone.
async fn ask_all<A: Application>(
    node: &Node<A>,
    question: &Question,
) -> BTreeMap<NodeId, Result<Value, NoAnswer>> {
    let mut asked = JoinSet::new();
    for member in members(node) {
        let (node, question) = (node.clone(), question.clone());
        asked.spawn(async move {
            let answer = node.ask(&member, &question).await;
            (member, answer)
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        // A task that panicked leaves its member without an answer.
        answers.extend(answered.ok());
    }
    answers
}

fn members<A: Application>(node: &Node<A>) -> Vec<NodeId> {
    match node.view() {
        Some(view) => view.borrow().members.iter().map(|member| member.id.clone()).collect(),
        None => vec![node.id().clone()],
    }
}

/// The report of a member, or why there is none.
fn told(answer: Option<Result<Value, NoAnswer>>) -> (Value, Option<String>) {
    match answer {
        Some(Ok(report @ Value::Object(_))) => (report, None),
        Some(Err(error)) => (Value::Null, Some(error.to_string())),
        Some(Ok(_)) | None => (Value::Null, Some("it was not asked yet".to_owned())),
    }
}

/// The one member of a node that is in no cluster.
fn alone<A: Application>(node: &Node<A>, report: Value) -> Value {
    json!({
        "id": node.id().as_str(),
        "incarnation": null,
        "address": null,
        "age_seconds": node.uptime().as_secs(),
        "state": if node.refuses_clients().is_none() { "ready" } else { "draining" },
        "link": "up",
        "rtt_ms": null,
        "waiting": 0,
        "ring_share": 1.0,
        "settings_that_differ": [],
        "report": report,
        "problem": null,
    })
}

/// What the incarnation of a node counts.
#[expect(clippy::disallowed_methods, reason = "the one place of this layer that reads the wall clock")]
fn millis_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// One room, as a node names it.
#[derive(Debug, Deserialize)]
struct RoomSize {
    namespace: String,
    room: String,
    sockets: u64,
}
