//! The values that nodes send each other about sockets (Socket.IO server API: broadcasts, `socketsJoin`, `socketsLeave`,
//! `disconnectSockets`, `fetchSockets`, `emitWithAck`, `serverSideEmit`).

pub(crate) mod recovery;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value;
use smallvec::SmallVec;

use self::recovery::{LeftRoom, Life, Number, Origin, Pid, SessionQuestion, SessionState};
pub(crate) use super::protocol::RawArgs;
pub(crate) use super::room::Room;
use crate::id::{Incarnation, NodeId, SocketId};

/// What arrives from another node, in the order in which that node sent it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Inbound {
    Broadcast(Broadcast<'static>),
    Command(Command),
    Request(Requester, Request),
    /// Nobody waits for the response to that request any more.
    Withdrawn(Requester),
    /// What another node tells about sessions.
    Recovery(NodeId, Incarnation, RecoveryMessage),
    /// A link to that node begins. What was told it over the last one may arrive late.
    Linked(NodeId),
    /// Something of that life of a node will never arrive.
    Lost(NodeId, Incarnation),
}

/// One encoded packet and the sockets that get it. It is encoded once; every node that has such sockets fans it out as
/// it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broadcast<'a> {
    pub(crate) namespace: Arc<str>,
    /// Of a target that may be emitted to again, or what another node sent.
    pub(crate) selection: Cow<'a, Selection>,
    pub(crate) text: ByteString,
    pub(crate) attachments: Vec<Bytes>,
    pub(crate) flags: Flags,
    /// Of a packet that is kept for clients that are away.
    pub(crate) number: Option<Number>,
}

/// A packet that is kept for clients that are away.
pub(crate) type KeptPacket = Arc<Broadcast<'static>>;

impl Broadcast<'_> {
    /// The same, for longer than it is emitted.
    pub(crate) fn into_owned(self) -> Broadcast<'static> {
        let Self { namespace, selection, text, attachments, flags, number } = self;
        let selection = Cow::Owned(selection.into_owned());
        Broadcast { namespace, selection, text, attachments, flags, number }
    }

    /// At least as many bytes as the message has on its way to other nodes.
    pub(crate) fn size(&self) -> usize {
        self.content_size() + FIXED
    }

    /// The same without what encloses the message, and the context of a trace.
    pub(crate) fn content_size(&self) -> usize {
        let attachments: usize = self.attachments.iter().map(|bytes| FIELD + bytes.len()).sum();
        FIELD + self.namespace.len() + self.selection.size() + FIELD + self.text.len() + attachments
    }
}

/// How a packet is sent to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags {
    /// The packet may be dropped for a client that cannot take it at once.
    pub(crate) volatile: bool,
    /// The packet may be compressed.
    pub(crate) compress: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Self { volatile: false, compress: true }
    }
}

/// Sockets of a namespace: those in any of the rooms (all, if no room is named), minus those in an excepted room. Each
/// node looks the rooms up when the message arrives there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    pub(crate) rooms: SmallVec<[Room; 1]>,
    pub(crate) except: SmallVec<[Room; 1]>,
}

impl Selection {
    fn size(&self) -> usize {
        names_size(&self.rooms) + names_size(&self.except)
    }
}

/// Something to do to the selected sockets. Nothing is sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) namespace: Arc<str>,
    pub(crate) selection: Selection,
    pub(crate) kind: CommandKind,
}

impl Command {
    /// At least as many bytes as the message has on its way to other nodes.
    pub(crate) fn size(&self) -> usize {
        let kind = match &self.kind {
            CommandKind::Join(rooms) | CommandKind::Leave(rooms) => names_size(rooms),
            CommandKind::Disconnect { .. } => 0,
            CommandKind::Update(update) => args_size(update),
            CommandKind::ServerEvent(event) => event.size(),
            CommandKind::Block(blocks) => blocks.iter().map(|block| 6 * FIELD + block.user.len()).sum(),
        };
        FIELD + self.namespace.len() + self.selection.size() + kind + FIXED
    }
}

/// What a [`Command`] does to the selected sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandKind {
    Join(Vec<Room>),
    Leave(Vec<Room>),
    /// Disconnects from the namespace; with `close`, closes the whole connection.
    Disconnect {
        close: bool,
    },
    /// Hands these arguments to the `on_update` of the namespace, which changes the data of the sockets.
    Update(RawArgs),
    /// An event for the receiving nodes themselves: the selection does not matter.
    ServerEvent(EmittedEvent),
    /// Closes the connections of users and refuses them for a time, or ends that: neither namespace nor selection matter.
    Block(Vec<Block>),
}

/// What was said last of a user: whether it may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The key that the application chose.
    pub(crate) user: Arc<str>,
    /// For how long it may not, or this is remembered, from now on.
    pub(crate) time: Duration,
    /// The number of the newest block, and of the newest end of one. If that is larger, the user may.
    pub(crate) blocked: u64,
    pub(crate) lifted: u64,
}

/// The name and the arguments of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EmittedEvent {
    pub(crate) name: ByteString,
    pub(crate) args: RawArgs,
}

impl EmittedEvent {
    /// The memory that the event holds, in bytes: what queues count.
    pub(crate) fn bytes(&self) -> usize {
        let attachments: usize = self.args.attachments().iter().map(Bytes::len).sum();
        self.name.len() + self.args.json().len() + attachments
    }

    fn size(&self) -> usize {
        FIELD + self.name.len() + args_size(&self.args)
    }
}

/// A question to other nodes, each of which sends a [`Response`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) namespace: Arc<str>,
    pub(crate) selection: Selection,
    pub(crate) kind: RequestKind,
    /// How long the requesting node waits; [`Duration::MAX`] as long as it takes.
    pub(crate) timeout: Duration,
}

impl Request {
    /// At least as many bytes as the message has on its way to other nodes.
    pub(crate) fn size(&self) -> usize {
        let kind = match &self.kind {
            RequestKind::Sockets { .. }
            | RequestKind::Rooms
            | RequestKind::Count
            | RequestKind::RoomsConfirmed
            | RequestKind::Session { .. } => 0,
            RequestKind::Acks { event, .. } | RequestKind::ServerEvent(event) => event.size(),
        };
        FIELD + self.namespace.len() + self.selection.size() + kind + FIXED
    }
}

/// What a [`Request`] asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// A [`SocketSummary`] of each selected socket, with its handshake or without.
    Sockets { handshake: bool },
    /// The rooms that the selected sockets are in.
    Rooms,
    /// How many sockets are selected.
    Count,
    /// The acks of the selected sockets to this event. `compress` says whether the event may be compressed on its way
    /// to them.
    Acks { event: EmittedEvent, compress: bool },
    /// The reply of the node's own handler to this event: the selection does not matter.
    ServerEvent(EmittedEvent),
    /// A confirmation that all nodes know the rooms which the responding node has at this moment.
    RoomsConfirmed,
    /// A session of that namespace: the selection does not matter.
    Session { pid: Pid, question: SessionQuestion },
}

/// Where a response goes: one request of one life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Requester {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// The id of the request, unique within that life.
    pub(crate) request: u64,
}

/// One message of the response to a request. A response may take several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Response {
    pub(crate) part: Option<ResponsePart>,
    pub(crate) end: ResponseEnd,
}

impl Response {
    /// A part after which more follows.
    pub(crate) fn more(part: ResponsePart) -> Self {
        Self { part: Some(part), end: ResponseEnd::More }
    }

    /// The last message of a complete response.
    pub(crate) fn done(part: Option<ResponsePart>) -> Self {
        Self { part, end: ResponseEnd::Done }
    }

    /// The last message of a response that is not complete.
    pub(crate) fn failed() -> Self {
        Self { part: None, end: ResponseEnd::Failed }
    }
}

/// Whether more messages of a response follow, and if not, whether the response is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseEnd {
    More,
    Done,
    Failed,
}

/// What one message of a [`Response`] carries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ResponsePart {
    Sockets(Vec<SocketSummary>),
    Rooms(Vec<Room>),
    Count(u64),
    /// How many sockets were sent the event of [`RequestKind::Acks`]. It is the first part of such a response.
    ExpectedAcks(u64),
    /// Which these are. One such part follows another until all are named.
    Asked(Vec<SocketId>),
    /// The acks of some of them.
    Acks(Vec<(SocketId, RawArgs)>),
    /// The reply to [`RequestKind::ServerEvent`].
    Replies(Vec<RawArgs>),
    /// What is known of a session. A response without one says that there is none.
    Session(Box<SessionState>),
}

/// All responses to one request that came before the timeout.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Responses {
    pub(crate) parts: Vec<(NodeId, ResponsePart)>,
    /// Nodes that died, or whose response failed.
    pub(crate) lost: Vec<NodeId>,
    /// Nodes whose response was not complete at the timeout.
    pub(crate) late: Vec<NodeId>,
}

impl Responses {
    /// Every node whose response is not complete, sorted.
    pub(crate) fn missing(&self) -> Vec<NodeId> {
        let mut missing: Vec<_> = self.lost.iter().chain(&self.late).cloned().collect();
        missing.sort_unstable();
        missing
    }
}

/// What one node tells others about a socket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SocketSummary {
    pub(crate) id: SocketId,
    pub(crate) rooms: Vec<Room>,
    pub(crate) data: Value,
    /// If it was asked for: it is much larger than the rest.
    pub(crate) handshake: Option<RemoteHandshake>,
}

/// The request that opened the session of a [`RemoteSocket`](super::RemoteSocket), and its auth payload: a copy that can
/// be kept and sent. [`Target::with_handshake`](super::Target::with_handshake) asks for it.
///
/// It holds all headers, including cookies and authorization, so be careful to whom you show it.
///
/// ```
/// # async fn f(chat: socketmesh::NamespaceRef) {
/// for socket in chat.with_handshake().fetch_sockets().await.found {
///     let browser = socket.handshake.as_ref().and_then(|handshake| handshake.header("user-agent"));
///     println!("{} is {}", socket.id, browser.unwrap_or("unknown"));
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteHandshake {
    /// The headers of the request, in their order. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub headers: Vec<(String, String)>,
    /// The pairs of the query, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// Path and query as requested.
    pub url: String,
    /// The address of the client, as [`Handshake::address`](crate::engine::Handshake::address) has it.
    pub address: Option<SocketAddr>,
    /// Whether the client came over TLS.
    pub secure: bool,
    /// When the session was opened, by the wall clock of the socket's node, in whole milliseconds.
    pub issued: SystemTime,
    /// The auth payload; `{}` if the client sent none.
    pub auth: Value,
}

impl RemoteHandshake {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a key of the query.
    pub fn query_value(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    /// A time in whole milliseconds since 1970: what nodes tell each other, and what `issued` is for sockets here and on
    /// other nodes.
    pub(crate) fn issued_millis(issued: SystemTime) -> u64 {
        let since = issued.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn issued_at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// What one node tells another about sessions. It is in order with broadcasts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RecoveryMessage {
    /// The newest states of sessions that the receiver is to keep.
    Copies {
        /// What the clock of the sender said.
        clock: Option<Duration>,
        states: Vec<SessionState>,
    },
    /// A session lives elsewhere, by a younger life: the receiver ends its socket.
    Close { pid: Pid, namespace: Arc<str>, socket: SocketId, life: Life },
    /// A client is back at the sender.
    Recover(Recover),
    /// A part of the answer.
    Replay(Replay),
    /// A part of the log of a node that leaves, for the receiver to answer for it.
    Log(InheritedLog),
    /// The sender missed something: tell it again of every session that it keeps.
    Again,
}

/// What a client that is back misses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recover {
    /// Unique in the life of the node that asks.
    pub(crate) id: u64,
    pub(crate) namespace: Arc<str>,
    pub(crate) socket: SocketId,
    /// For how long the socket has been in its namespace.
    pub(crate) age: Duration,
    pub(crate) rooms: Vec<(Room, Duration)>,
    /// Those that it left lately.
    pub(crate) left: Vec<LeftRoom>,
    /// What it has of each origin.
    pub(crate) after: Vec<(Origin, u64)>,
    /// How many bytes the answer may have.
    pub(crate) limit: u64,
    /// The version of the sender's interest that names its rooms.
    pub(crate) interest: u64,
}

/// A part of the answer to [`Recover`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replay {
    pub(crate) id: u64,
    pub(crate) namespace: Arc<str>,
    /// Numbered, in order.
    pub(crate) packets: Vec<KeptPacket>,
    /// For how long the question has waited for it at the sender.
    pub(crate) waited: Duration,
    /// What follows, or how it ended.
    pub(crate) end: ReplayEnd,
}

/// How a [`Replay`] goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplayEnd {
    More,
    /// It is complete.
    Done(Reached),
    /// The log is too short, or the answer too large.
    Refused,
}

/// How far an answer reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Of each of these origins up to that number.
    pub(crate) numbers: Vec<(Origin, u64)>,
    /// Of these, for which the node answers, something may be missing: another has to say it.
    pub(crate) unfinished: Vec<Origin>,
}

/// A part of the log of one namespace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InheritedLog {
    pub(crate) namespace: Arc<str>,
    pub(crate) origin: Origin,
    /// With the age of each.
    pub(crate) packets: Vec<(Duration, KeptPacket)>,
    /// The largest number that there was.
    pub(crate) last: u64,
    /// Packets up to this number were dropped too early, and for how long that matters.
    pub(crate) cut: Option<(u64, Duration)>,
    /// Whether another part has to follow: until it is there nobody is told that this is everything.
    pub(crate) more: bool,
}

fn names_size(rooms: &[Room]) -> usize {
    rooms.iter().map(|room| FIELD + room.name_length()).sum()
}

fn args_size(args: &RawArgs) -> usize {
    let attachments: usize = args.attachments().iter().map(|bytes| FIELD + bytes.len()).sum();
    FIELD + "[]".len() + args.json().len() + attachments
}

/// What a field has beside its content on the wire: its number and its length.
const FIELD: usize = 6;
/// The fields of fixed size, what wraps the others, and the context of a trace.
const FIXED: usize = 704;
