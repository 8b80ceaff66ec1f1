//! What a node says of itself to operators, whichever node they ask: the questions, how they travel, and the answers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use serde_json::{Value, json};

use super::{Node, OnDrain};
use crate::cluster::SessionOwner;
use crate::engine::{Application, Protocol, Transport};
use crate::http::Body;
use crate::http::operator::{self, AskError};
use crate::id::{NodeId, SocketId};
use crate::socket::NamespaceFigures;
use crate::socket::messages::RemoteHandshake;

/// What operators ask one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// How it is, and what it sees of the others.
    Report,
    /// Its largest rooms, at most so many.
    Rooms(usize),
    /// What is known about a socket.
    Socket(SocketId),
    /// To stop in good order, and who wants that.
    Drain(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error(transparent)]
    Unreachable(#[from] AskError),
    #[error("there is no such socket")]
    NotFound,
    #[error("the node cannot be asked to stop")]
    NotOffered,
    #[error("the node does not know the question: its version is another one")]
    Unknown,
}

impl Question {
    fn request(&self) -> (Method, Option<Uri>) {
        let query = |name: &str, value: &str| -> String {
            form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
        };
        let (method, target) = match self {
            Self::Report => (Method::GET, "/report".to_owned()),
            Self::Rooms(most) => (Method::GET, format!("/rooms?{}", query("limit", &most.to_string()))),
            Self::Socket(id) => (Method::GET, format!("/socket?{}", query("id", &id.to_string()))),
            Self::Drain(by) => (Method::POST, format!("/drain?{}", query("by", by))),
        };
        (method, target.parse().ok())
    }

    fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let value = |name: &str| {
            let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
            pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
        };
        match (method, uri.path()) {
            (&Method::GET, "/report") => Some(Self::Report),
            (&Method::GET, "/rooms") => Some(Self::Rooms(value("limit")?.parse().ok()?)),
            (&Method::GET, "/socket") => Some(Self::Socket(value("id")?.parse().ok()?)),
            (&Method::POST, "/drain") => Some(Self::Drain(value("by")?)),
            _ => None,
        }
    }
}

impl NoAnswer {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotOffered | Self::Unknown => StatusCode::NOT_IMPLEMENTED,
        }
    }

    const fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::NOT_IMPLEMENTED => Self::NotOffered,
            _ => Self::Unknown,
        }
    }
}

impl<A: Application> Node<A> {
    /// What a member of the cluster answers, this one or another. It takes two seconds at most.
    pub(crate) async fn ask(&self, node: &NodeId, question: &Question) -> Result<Value, NoAnswer> {
        let Some(mesh) = self.0.cluster.as_ref().filter(|_| node != self.id()) else {
            return self.answer(question);
        };
        let (method, uri) = question.request();
        let uri = uri.ok_or(NoAnswer::Unknown)?;
        match operator::ask(mesh, node, method, uri).await? {
            (StatusCode::OK, body) => serde_json::from_slice(&body)
                .map_err(|error| NoAnswer::Unreachable(AskError::Body(error.to_string()))),
            (status, _) => Err(NoAnswer::of(status)),
        }
    }

    /// The node that owns a socket with this id, if there is one: no message is sent for that.
    pub(crate) fn owner_of(&self, socket: SocketId) -> Option<NodeId> {
        match self.0.cluster.as_ref().map(|mesh| mesh.owner(socket.key())) {
            None | Some(SessionOwner::Here) => Some(self.id().clone()),
            Some(SessionOwner::There(owner)) => Some(owner),
            Some(SessionOwner::Nobody) => None,
        }
    }

    /// Has `drain` called when operators ask this node to stop, as long as somebody holds it.
    pub(crate) fn on_drain(&self, drain: &Arc<OnDrain>) {
        *self.0.on_drain.lock() = Arc::downgrade(drain);
    }

    /// How long this node has run.
    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// What this node answers another one.
    pub(super) fn answer_node(&self, method: &Method, uri: &Uri) -> Response<Body> {
        let answer = match Question::of(method, uri) {
            Some(question) => self.answer(&question),
            None => Err(NoAnswer::Unknown),
        };
        let (status, content) = match answer {
            Ok(value) => (StatusCode::OK, value),
            Err(NoAnswer::Unknown) => (StatusCode::BAD_REQUEST, Value::Null),
            Err(error) => (error.status(), Value::Null),
        };
        let mut response = Response::new(Body::from(content.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn answer(&self, question: &Question) -> Result<Value, NoAnswer> {
        match question {
            Question::Report => Ok(self.report()),
            Question::Rooms(most) => Ok(self.rooms(*most)),
            Question::Socket(id) => self.socket(*id).ok_or(NoAnswer::NotFound),
            Question::Drain(by) => {
                let drain = Weak::upgrade(&self.0.on_drain.lock()).ok_or(NoAnswer::NotOffered)?;
                drain(by);
                Ok(json!({ "node": self.id().as_str(), "asked": true }))
            }
        }
    }

    fn report(&self) -> Value {
        let (census, namespaces) = (self.census(), self.namespace_figures());
        let of =
            |transport| census.sessions(transport, Protocol::V3) + census.sessions(transport, Protocol::V4);
        let events = |of: fn(&NamespaceFigures) -> u64| namespaces.iter().map(of).sum::<u64>();
        let of_clients = [
            ("socketmesh_socket_events_received_total", events(|of| of.counts.events_received)),
            ("socketmesh_socket_events_sent_total", events(|of| of.counts.events_sent)),
        ];
        let counts = self.counts().into_iter().map(|count| (count.name, count.value)).chain(of_clients);
        let counters: serde_json::Map<String, Value> =
            counts.map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.uptime().as_secs(),
            "ready": self.refuses_clients().is_none(),
            "reason": self.refuses_clients(),
            "obstacle": self.obstacle(),
            "sessions": self.sessions(),
            "transports": {
                "polling": of(Transport::Polling),
                "websocket": of(Transport::WebSocket),
                "webtransport": of(Transport::WebTransport),
            },
            "buffered_bytes": census.buffered,
            "slow_sessions": census.behind,
            "sockets": namespaces.iter().map(|namespace| namespace.sockets).sum::<usize>(),
            "rooms": namespaces.iter().map(|namespace| namespace.rooms).sum::<usize>(),
            "namespaces": namespaces.iter().map(|namespace| json!({
                "name": namespace.name,
                "sockets": namespace.sockets,
                "rooms": namespace.rooms,
            })).collect::<Vec<_>>(),
            "links": self.links(),
            "counters": counters,
        })
    }

    /// The links to the other members.
    fn links(&self) -> Vec<Value> {
        let Some(view) = self.view().map(|view| view.borrow().clone()) else { return Vec::new() };
        let peers = self.peer_counters();
        let others = view.members.iter().filter(|member| member.id != *self.id());
        let link = |member: &crate::cluster::MemberView| {
            let waiting = peers
                .iter()
                .find(|peer| (&peer.node, peer.incarnation) == (&member.id, member.incarnation))
                .map_or(0, |peer| peer.outgoing.waiting);
            json!({
                "peer": member.id.as_str(),
                "state": member.link.as_str(),
                "rtt_ms": self.link_rtt(&member.id).map(|rtt| rtt.as_secs_f64() * 1e3),
                "waiting": waiting,
            })
        };
        others.map(link).collect()
    }

    fn rooms(&self, most: usize) -> Value {
        let rooms = (self.0.hooks.largest_rooms)(&self.0.app, most.min(MOST_ROOMS));
        let room = |room: crate::socket::RoomSize| {
            json!({
                "namespace": room.namespace,
                "room": room.room.with_name(shortened),
                "sockets": room.sockets,
            })
        };
        rooms.into_iter().map(room).collect()
    }

    fn socket(&self, id: SocketId) -> Option<Value> {
        let (namespace, socket) = (self.0.hooks.find_socket)(&self.0.app, id)?;
        let RemoteHandshake { address, secure, issued, .. } = socket.handshake.as_ref()?;
        Some(json!({
            "id": id.to_string(),
            "node": self.id().as_str(),
            "namespace": namespace,
            "rooms": socket.rooms.iter().map(|room| room.with_name(shortened)).collect::<Vec<_>>(),
            "data": socket.data,
            "address": address,
            "secure": secure,
            "opened": RemoteHandshake::issued_millis(*issued),
        }))
    }
}

/// A name for people: clients may choose those of rooms.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// The most rooms that a node names.
pub(crate) const MOST_ROOMS: usize = 100;
/// The longest name of a room that is told whole, in characters.
const LONGEST_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    #[test]
    fn a_question_survives_its_way_to_another_node() {
        let id = SocketId::new(Key::from_hash(7 << 40), [9; 10]);
        for question in [
            Question::Report,
            Question::Rooms(20),
            Question::Socket(id),
            Question::Drain("127.0.0.1:9 at a & b=c\n%".to_owned()),
        ] {
            let (method, uri) = question.request();
            assert_eq!(Question::of(&method, &uri.unwrap()), Some(question));
        }
        for (method, uri) in
            [(Method::GET, "/drain?by=x"), (Method::GET, "/socket?id=short"), (Method::GET, "/rooms")]
        {
            assert_eq!(Question::of(&method, &uri.parse().unwrap()), None, "{uri}");
        }
    }

    #[test]
    fn a_long_name_is_shortened_between_characters() {
        let long = "ä".repeat(LONGEST_NAME + 1);
        assert_eq!(shortened(&long), format!("{}…", "ä".repeat(LONGEST_NAME)));
        assert_eq!(shortened("lobby"), "lobby");
    }
}
