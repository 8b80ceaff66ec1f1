//! What nodes tell and ask each other about sockets, beside broadcasts: values that travel (Socket.IO server API:
//! `socketsJoin`, `socketsLeave`, `disconnectSockets`, `fetchSockets`, `emitWithAck`, `serverSideEmit`).

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use serde_json::Value;

pub(crate) use super::args::RawArgs;
use super::broadcast::Broadcast;
pub(crate) use super::remote::RemoteHandshake;
use super::rooms::{Room, Selection};
use crate::id::{Incarnation, NodeId, SocketId};

/// What arrives from another node, in the order in which that node sent it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Inbound {
    Broadcast(Broadcast),
    Command(Command),
    Ask(Asker, Ask),
}

/// Something to do, with nobody waiting for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) namespace: Arc<str>,
    pub(crate) selection: Selection,
    pub(crate) change: Change,
}

/// What a [`Command`] does to the selected sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Join(Vec<Room>),
    Leave(Vec<Room>),
    Disconnect {
        close: bool,
    },
    /// Changes their data, as the namespace says.
    Update(RawArgs),
    /// To be handled by the nodes themselves, whatever is selected.
    Event(Emitted),
}

/// The name and the arguments of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub(crate) name: ByteString,
    pub(crate) args: RawArgs,
}

impl Emitted {
    /// What it holds, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let attachments: usize = self.args.attachments().iter().map(bytes::Bytes::len).sum();
        self.name.len() + self.args.json().len() + attachments
    }
}

/// A question to other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) namespace: Arc<str>,
    pub(crate) selection: Selection,
    pub(crate) question: Question,
    /// For how long somebody waits for the answer.
    pub(crate) timeout: Duration,
}

/// What an [`Ask`] wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// What can be said about the selected sockets.
    Sockets,
    /// The rooms they are in.
    Rooms,
    /// Their acks to this event, which may be compressed on its way to them, or not.
    Acks { event: Emitted, compress: bool },
    /// The answer of the node itself to this event, whatever is selected.
    Event(Emitted),
    /// Whether all nodes know the rooms that are on the asked one now.
    Settled,
}

/// Where an answer goes: one ask of one life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) ask: u64,
}

/// One message of the answer to an ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) part: Option<Part>,
    pub(crate) end: End,
}

impl Answer {
    /// More follows.
    pub(crate) fn more(part: Part) -> Self {
        Self { part: Some(part), end: End::More }
    }

    /// The end of the answer.
    pub(crate) fn done(part: Option<Part>) -> Self {
        Self { part, end: End::Done }
    }

    /// There is no answer, or not the rest of it.
    pub(crate) fn failed() -> Self {
        Self { part: None, end: End::Failed }
    }
}

/// Whether more of an answer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    More,
    Done,
    Failed,
}

/// What an [`Answer`] says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Sockets(Vec<SocketSummary>),
    Rooms(Vec<Room>),
    /// How many sockets were sent the event of [`Question::Acks`]; comes first.
    Expected(u64),
    Replies(Vec<RawArgs>),
}

/// What one node tells others about a socket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SocketSummary {
    pub(crate) id: SocketId,
    pub(crate) rooms: Vec<Room>,
    pub(crate) data: Value,
    pub(crate) handshake: RemoteHandshake,
}

/// What came of an ask: everything that was answered until all had, or the time was over.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Answers {
    pub(crate) parts: Vec<(NodeId, Part)>,
    /// Nodes that died, or said that they could not answer.
    pub(crate) lost: Vec<NodeId>,
    /// Nodes that had not ended their answer when the time was over.
    pub(crate) late: Vec<NodeId>,
}

impl Answers {
    /// Every node whose answer is not whole, sorted.
    pub(crate) fn missing(&self) -> Vec<NodeId> {
        let mut missing: Vec<_> = self.lost.iter().chain(&self.late).cloned().collect();
        missing.sort_unstable();
        missing
    }
}
