//! What the actor of a session can be told, and how it answers.

use tokio::sync::oneshot;

use super::error::{CloseReason, PacketError};
use super::packet::Packet;
use super::payload::Payload;
use super::protocol::Transport;
use super::session::{ConnId, Get, PollReply, PostReply};
use super::transport_stage::StageGuard;
use super::way::Ending;
use crate::trace::Trace;

/// A message to the actor of a session. `K` is what the application tells its own part of the session.
pub(crate) enum SessionMessage<K> {
    /// A GET arrived.
    Poll(Get, oneshot::Sender<PollAnswer>),
    /// A GET ended before its answer was on its way.
    PollEnded(ConnId, Ending),
    /// The node that carries the waiting GET wants it to be answered.
    Release,
    /// The head of a POST arrived. What it brings is a part of its trace.
    Post(ConnId, oneshot::Sender<PostReply>, Trace),
    /// The body of a POST ended.
    PostBody(ConnId, PostBody),
    /// A POST ended before its body did.
    PostEnded(ConnId, Ending),
    /// A WebSocket or WebTransport stream opened for this session.
    StreamOpened(ConnId, Transport, StageGuard),
    /// The packets that one read of a stream brought. Its I/O task reads no more until they are handled.
    Packets(ConnId, Vec<Result<Packet, PacketError>>),
    /// A stream closed; `clean` if its client closed it.
    StreamClosed { conn: ConnId, clean: bool },
    /// The outbox is not empty, and holds more than may wait for long.
    Behind,
    /// The outbox was full, because the client does not take its packets.
    Overflow,
    /// Close the session once the client has what is queued.
    Close(CloseReason),
    /// Close the session at once.
    Shutdown(CloseReason),
    /// The time of the timer has come.
    Timeout,
    /// Whoever acted in the place of the actor panicked.
    Panicked,
    /// The application has room again.
    Resume,
    /// For the application's part of the session.
    Command(K),
}

/// The answer of a session to a GET.
#[derive(Debug, Clone)]
pub(crate) enum PollAnswer {
    /// Everything that was queued, or a packet of the session itself. `compress` if any of the packets may be compressed.
    Payload { payload: Payload, compress: bool },
    /// An answer without a payload.
    Reply(PollReply),
}

/// How the body of a POST ended.
#[derive(Debug)]
pub(crate) enum PostBody {
    /// The whole body arrived.
    Whole(Payload),
    /// The body exceeds the limit. The session lives on.
    TooLarge,
    /// The body is bytes, and its client may send text only.
    Invalid,
}
