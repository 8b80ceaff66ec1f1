//! Responses of this node to the requests of others.

use std::sync::Arc;

use bytes::Bytes;

use super::work_queue::Work;
use crate::id::SocketId;
use crate::socket::messages::{
    EmittedEvent, RemoteHandshake, Requester, Response, ResponsePart, SocketSummary,
};
use crate::socket::peers::Peers;
use crate::socket::protocol::RawArgs;
use crate::socket::room::Room;
use crate::trace::Trace;

/// Sends the response to one request.
#[derive(Debug, Clone)]
pub(crate) struct Responder {
    peers: Arc<dyn Peers>,
    requester: Requester,
}

impl Responder {
    pub(crate) fn new(peers: Arc<dyn Peers>, requester: Requester) -> Self {
        Self { peers, requester }
    }

    /// Who asked.
    pub(crate) const fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Sends a part, and waits until the link has room for another.
    pub(crate) async fn more(&self, part: ResponsePart) {
        self.peers.respond(&self.requester, Response::more(part)).await;
    }

    /// Completes the response.
    pub(crate) fn done(&self, part: Option<ResponsePart>) {
        // Nothing follows, so nothing has to wait for room.
        drop(self.peers.respond(&self.requester, Response::done(part)));
    }

    /// Ends a response that is not complete.
    pub(crate) fn failed(&self) {
        drop(self.peers.respond(&self.requester, Response::failed()));
    }

    /// Sends summaries of sockets, which are made one after another, and completes the response.
    pub(crate) async fn sockets(&self, summaries: impl Iterator<Item = SocketSummary> + Send) {
        let mut chunk = Chunk::default();
        for summary in summaries {
            let size = size_of_summary(&summary);
            if let Some(full) = chunk.push(summary, size) {
                self.more(ResponsePart::Sockets(full)).await;
                // A summary is work, in part the application's.
                tokio::task::yield_now().await;
            }
        }
        self.done(Some(ResponsePart::Sockets(chunk.items)));
    }

    /// Sends rooms, and completes the response.
    pub(crate) async fn rooms(&self, rooms: Vec<Room>) {
        let mut chunk = Chunk::default();
        for room in rooms {
            let size = room.name_length();
            if let Some(full) = chunk.push(room, size) {
                self.more(ResponsePart::Rooms(full)).await;
            }
        }
        self.done(Some(ResponsePart::Rooms(chunk.items)));
    }

    /// Says which sockets were sent an event that wants acks. More follows.
    pub(crate) async fn asked(&self, sockets: impl ExactSizeIterator<Item = SocketId> + Send) {
        self.more(ResponsePart::ExpectedAcks(sockets.len() as u64)).await;
        let mut chunk = Chunk::default();
        for socket in sockets {
            if let Some(full) = chunk.push(socket, SocketId::LENGTH) {
                self.more(ResponsePart::Asked(full)).await;
            }
        }
        if !chunk.items.is_empty() {
            self.more(ResponsePart::Asked(chunk.items)).await;
        }
    }

    /// Sends acks of clients. More may follow.
    pub(crate) async fn acks(&self, acks: Vec<(SocketId, RawArgs)>) {
        let mut chunk = Chunk::default();
        for (socket, ack) in acks {
            let attachments: usize = ack.attachments().iter().map(Bytes::len).sum();
            let size = SocketId::LENGTH + ack.json().len() + attachments;
            if let Some(full) = chunk.push((socket, ack), size) {
                self.more(ResponsePart::Acks(full)).await;
            }
        }
        if !chunk.items.is_empty() {
            self.more(ResponsePart::Acks(chunk.items)).await;
        }
    }
}

/// An event of another node for the handlers of this one, and how to respond if that node waits for a reply.
#[derive(Debug)]
pub(crate) struct ServerEvent {
    pub(crate) event: EmittedEvent,
    pub(crate) responder: Option<Responder>,
    pub(crate) trace: Trace,
}

impl ServerEvent {
    /// There will be no reply.
    pub(crate) fn fail(&self) {
        if let Some(responder) = &self.responder {
            responder.failed();
        }
    }
}

impl Work for ServerEvent {
    fn bytes(&self) -> usize {
        self.event.bytes()
    }
}

/// The items of one message of a response.
#[derive(Debug)]
struct Chunk<T> {
    items: Vec<T>,
    bytes: usize,
}

impl<T> Chunk<T> {
    /// Adds an item; returns what was there before if there is no room for it.
    fn push(&mut self, item: T, bytes: usize) -> Option<Vec<T>> {
        let full = !self.items.is_empty() && self.bytes + bytes > MAX_CHUNK;
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
    let rooms: usize = rooms.iter().map(|room| room.name_length() + OVERHEAD).sum();
    rooms + size_of_json(data) + handshake.as_ref().map_or(0, size_of_handshake)
}

fn size_of_handshake(handshake: &RemoteHandshake) -> usize {
    let pairs = handshake.headers.iter().chain(&handshake.query);
    let pairs: usize = pairs.map(|(name, value)| name.len() + value.len() + OVERHEAD).sum();
    pairs + handshake.url.len() + size_of_json(&handshake.auth)
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

/// The bytes of one message of a response, unless one item is larger. They are far below the largest frame, so that
/// broadcasts do not wait long behind it.
const MAX_CHUNK: usize = 256 << 10;
/// About what protobuf or JSON puts around a field.
const OVERHEAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_full_before_it_is_too_large_and_never_empty() {
        let mut chunk = Chunk::default();
        assert_eq!(chunk.push("larger than a chunk", 2 * MAX_CHUNK), None);
        assert_eq!(chunk.push("a", MAX_CHUNK / 2), Some(vec!["larger than a chunk"]));
        assert_eq!(chunk.push("b", MAX_CHUNK / 4), None);
        assert_eq!(chunk.push("c", MAX_CHUNK / 4), Some(vec!["a", "b"]));
        assert_eq!(chunk.items, ["c"]);
    }
}
