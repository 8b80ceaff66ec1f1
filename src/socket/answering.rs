//! What this node does when another commands or asks: the other end of [`Peers`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::args::RawArgs;
use super::behaviour::BoxFuture;
use super::gathering::Gathering;
use super::messages::{
    Command, CommandKind, Inbound, Request, RequestKind, Requester, Response, ResponsePart, Room, Selection,
    SocketSummary,
};
use super::peers::Peers;
use super::raw::{RawSocket, run_to_end};
use super::server_events::Handling;
use super::state::{NamespaceState, Namespaces};

impl Namespaces {
    /// Does what another node wants. Everything that depends on the order of arrival has happened when it returns.
    pub(crate) fn handle(&self, inbound: Inbound) {
        match inbound {
            // A namespace that there is not has no sockets here.
            Inbound::Broadcast(broadcast) => {
                if let Some(namespace) = self.find(&broadcast.namespace) {
                    namespace.fan_out(&broadcast);
                }
            }
            // It is for the node, whoever is here.
            Inbound::Command(command @ Command { kind: CommandKind::ServerEvent(_), .. }) => {
                self.of(&command.namespace).apply(&command);
            }
            Inbound::Command(command) => {
                if let Some(namespace) = self.find(&command.namespace) {
                    namespace.apply(&command);
                }
            }
            Inbound::Request(requester, request) => self.handle_request(requester, request),
        }
    }

    fn handle_request(&self, requester: Requester, request: Request) {
        let namespace = self.of(&request.namespace);
        let answering = Answering { peers: Arc::clone(namespace.peers()), requester };
        let Ok(permit) = Arc::clone(self.answering()).try_acquire_owned() else {
            tracing::warn!(ns = %namespace.path, "too many questions of other nodes at once: one stays unanswered");
            return answering.failed();
        };
        let answer = namespace.answer(request.kind, &request.selection, answering.clone());
        // Ends at the deadline: by then nobody waits. A node that stops ends its answers before it says goodbye.
        let runtime = namespace.runtime().clone();
        runtime.spawn(async move {
            if timeout(request.timeout, run_to_end(answer)).await == Ok(false) {
                tracing::error!(ns = %namespace.path, "an answer to another node panicked");
                answering.failed();
            }
            drop(permit);
        });
    }
}

impl NamespaceState {
    /// Changes the selected sockets of this node.
    pub(crate) fn apply(self: &Arc<Self>, command: &Command) {
        match &command.kind {
            CommandKind::Join(names) => self.join_selected(&command.selection, names),
            CommandKind::Leave(names) => self.leave_selected(&command.selection, names),
            CommandKind::Disconnect { close } => {
                let selected = self.select(&command.selection);
                selected.iter().for_each(|Selected { socket, .. }| socket.leave(*close));
            }
            CommandKind::Update(update) => self.update(&self.select(&command.selection), update),
            CommandKind::ServerEvent(event) => self.receive_server_event(Handling::told(event.clone())),
        }
    }

    /// Changes the data of sockets. It is user code, and who sent the update is no part of it.
    fn update(&self, selected: &[Selected], update: &RawArgs) {
        for data in selected.iter().filter_map(|Selected { socket, .. }| socket.data()) {
            let changing = AssertUnwindSafe(|| self.behaviour().update(&**data, update));
            let ns = &self.path;
            match catch_unwind(changing) {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) if self.may_warn() => {
                    tracing::warn!(%ns, %error, "an update of data does not decode");
                }
                Ok(None) if self.may_warn() => {
                    tracing::warn!(%ns, "data is to be updated in a namespace without on_update");
                }
                Ok(_) => {}
                Err(_) => tracing::error!(%ns, "on_update panicked"),
            }
        }
    }

    /// The selected sockets of this node, with the rooms they are in now.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<Selected> {
        let rooms = self.rooms.read();
        let mut selected = Vec::new();
        rooms.for_each(selection, |id, socket| {
            let rooms = rooms.rooms_of(id).cloned().collect();
            selected.push(Selected { socket: Arc::clone(socket), rooms });
        });
        selected
    }

    /// The rooms that the selected sockets of this node are in, sorted.
    pub(crate) fn selected_rooms(&self, selection: &Selection) -> Vec<Room> {
        let rooms = self.rooms.read();
        let mut found = std::collections::BTreeSet::new();
        rooms.for_each(selection, |id, _| found.extend(rooms.rooms_of(id).cloned()));
        found.into_iter().collect()
    }

    /// Looks at what is asked for now; the future puts it into words and sends it.
    fn answer(
        self: &Arc<Self>,
        kind: RequestKind,
        selection: &Selection,
        answering: Answering,
    ) -> BoxFuture<'static, ()> {
        match kind {
            RequestKind::Sockets => {
                let (namespace, selected) = (Arc::clone(self), self.select(selection));
                Box::pin(async move { answering.sockets(&namespace, selected).await })
            }
            RequestKind::Rooms => {
                let rooms = self.selected_rooms(selection);
                Box::pin(async move { answering.rooms(rooms).await })
            }
            RequestKind::Acks { event, compress } => match self.gather(selection, &event, compress) {
                Ok(gathering) => Box::pin(async move { answering.acks(gathering).await }),
                // The asking node has encoded it before; only another version could disagree.
                Err(_) => Box::pin(async move { answering.failed() }),
            },
            RequestKind::RoomsConfirmed => {
                let version = self.peers().version();
                Box::pin(async move {
                    // Who asked is told of its own doubts only: whom this node does not reach, it may.
                    let _missing = answering.peers.confirmed(version).await;
                    answering.done(None);
                })
            }
            // In the order of events, which may take longer than this future.
            RequestKind::ServerEvent(event) => {
                self.receive_server_event(Handling::asked(event, answering));
                Box::pin(std::future::ready(()))
            }
        }
    }
}

/// A selected socket and its rooms at that moment.
#[derive(Debug)]
pub(crate) struct Selected {
    socket: Arc<RawSocket>,
    rooms: Vec<Room>,
}

impl Selected {
    /// What others may know of it.
    pub(crate) fn summary(self, namespace: &NamespaceState) -> SocketSummary {
        let data = self.socket.data().map(|data| namespace.behaviour().describe(&**data)).unwrap_or_default();
        SocketSummary {
            id: self.socket.id,
            rooms: self.rooms,
            data,
            handshake: (&self.socket.handshake).into(),
        }
    }
}

/// An ask of another node that is being answered.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    peers: Arc<dyn Peers>,
    requester: Requester,
}

impl Answering {
    /// A part of the answer; waits until the link has room for another.
    async fn more(&self, part: ResponsePart) {
        self.peers.respond(&self.requester, Response::more(part)).await;
    }

    /// The end of the answer.
    pub(crate) fn done(&self, part: Option<ResponsePart>) {
        // Nothing follows, so nothing has to wait for room.
        drop(self.peers.respond(&self.requester, Response::done(part)));
    }

    /// There is no answer, or not the rest of it.
    pub(crate) fn failed(&self) {
        drop(self.peers.respond(&self.requester, Response::failed()));
    }

    async fn sockets(&self, namespace: &NamespaceState, selected: Vec<Selected>) {
        let mut chunk = Chunk::default();
        for selected in selected {
            let summary = selected.summary(namespace);
            let size = size_of_summary(&summary);
            if let Some(full) = chunk.push(summary, size) {
                self.more(ResponsePart::Sockets(full)).await;
                // Putting sockets into words is work, in part the user's.
                tokio::task::yield_now().await;
            }
        }
        self.done(Some(ResponsePart::Sockets(chunk.items)));
    }

    async fn rooms(&self, rooms: Vec<Room>) {
        let mut chunk = Chunk::default();
        for room in rooms {
            let size = room.len();
            if let Some(full) = chunk.push(room, size) {
                self.more(ResponsePart::Rooms(full)).await;
            }
        }
        self.done(Some(ResponsePart::Rooms(chunk.items)));
    }

    async fn acks(&self, gathering: Gathering) {
        self.more(ResponsePart::ExpectedAcks(gathering.expected() as u64)).await;
        while let Some(replies) = gathering.next().await {
            let mut chunk = Chunk::default();
            for reply in replies {
                let attachments: usize = reply.attachments().iter().map(bytes::Bytes::len).sum();
                let size = reply.json().len() + attachments;
                if let Some(full) = chunk.push(reply, size) {
                    self.more(ResponsePart::Replies(full)).await;
                }
            }
            if !chunk.items.is_empty() {
                self.more(ResponsePart::Replies(chunk.items)).await;
            }
        }
        self.done(None);
    }
}

/// What goes into one message of an answer.
#[derive(Debug)]
struct Chunk<T> {
    items: Vec<T>,
    bytes: usize,
}

impl<T> Chunk<T> {
    /// Adds an item; returns what was there before if there is no room for it.
    fn push(&mut self, item: T, bytes: usize) -> Option<Vec<T>> {
        let full = !self.items.is_empty() && self.bytes + bytes > CHUNK;
        let before = full.then(|| std::mem::take(self).items);
        self.items.push(item);
        self.bytes += bytes + OVERHEAD;
        before
    }
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self { items: Vec::new(), bytes: 0 }
    }
}

fn size_of_summary(summary: &SocketSummary) -> usize {
    let SocketSummary { rooms, data, handshake, .. } = summary;
    let pairs = handshake.headers.iter().chain(&handshake.query);
    let pairs: usize = pairs.map(|(name, value)| name.len() + value.len() + OVERHEAD).sum();
    let rooms: usize = rooms.iter().map(|room| room.len() + OVERHEAD).sum();
    pairs + rooms + handshake.url.len() + size_of_json(data) + size_of_json(&handshake.auth)
}

fn size_of_json(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => OVERHEAD,
        Value::String(text) => text.len() + OVERHEAD,
        Value::Array(items) => items.iter().map(size_of_json).sum::<usize>() + OVERHEAD,
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + size_of_json(value) + OVERHEAD).sum::<usize>()
                + OVERHEAD
        }
    }
}

/// Bytes of one message of an answer: far below the largest frame, so that broadcasts do not wait long behind it.
const CHUNK: usize = 256 << 10;
/// About what protobuf or JSON puts around a field.
const OVERHEAD: usize = 8;
/// Questions of other nodes answered at once; each may hold a list of all sockets here.
pub(crate) const MAX_ANSWERING: usize = 1024;

/// How long an ask waits unless said otherwise; Node's adapters wait as long.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_full_before_it_is_too_large_and_never_empty() {
        let mut chunk = Chunk::default();
        assert_eq!(chunk.push("larger than a chunk", 2 * CHUNK), None);
        assert_eq!(chunk.push("a", CHUNK / 2), Some(vec!["larger than a chunk"]));
        assert_eq!(chunk.push("b", CHUNK / 4), None);
        assert_eq!(chunk.push("c", CHUNK / 4), Some(vec!["a", "b"]));
        assert_eq!(chunk.items, ["c"]);
    }
}
