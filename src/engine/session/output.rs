//! What a session asks its caller to do.

use crate::engine::error::CloseReason;
use crate::engine::packet::{Message, Packet};

/// The number of one GET, POST, WebSocket or WebTransport stream of a session. Its caller uses each number once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnId(pub(crate) u32);

/// What the caller of a session has to do, in the order of the outputs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Append this packet to the outbox.
    Send(Packet),
    /// Answer a GET.
    Poll(ConnId, PollReply),
    /// Answer a POST.
    Post(ConnId, PostReply),
    /// Do this with a WebSocket or WebTransport stream.
    Stream(ConnId, StreamOrder),
    /// The application sees this, if it wants to see packets.
    Packet(Packet),
    /// The application receives this.
    Message(Message),
    /// The session ended. Exactly once; nothing follows but replies to requests that still arrive.
    Closed(CloseReason),
}

/// The answer to a GET. Each gets exactly one, unless its client aborts it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollReply {
    /// 200 with the packet that opens the session, which is the first in the outbox, and nothing else: libraries read no further.
    Open,
    /// 200 with everything in the outbox, which is not empty.
    Flush,
    /// 200 with what the last `Flush` had, which may have been lost on its way.
    Again,
    /// 200 `6`.
    Noop,
    /// 200 `1`.
    Close,
    /// 200 with a `6` and a `1`.
    NoopClose,
    /// 400 without a body.
    Refused,
    /// 400 with [`HandshakeError::TransportMismatch`](crate::engine::HandshakeError::TransportMismatch).
    Mismatch,
    /// 400 with [`HandshakeError::UnknownSession`](crate::engine::HandshakeError::UnknownSession).
    Unknown,
}

/// The answer to a POST. Each gets exactly one, unless its client aborts it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostReply {
    /// 200 `ok`.
    Ok,
    /// 400 without a body.
    Refused,
    /// 413 without a body.
    TooLarge,
    /// 400 with [`HandshakeError::TransportMismatch`](crate::engine::HandshakeError::TransportMismatch).
    Mismatch,
    /// 400 with [`HandshakeError::UnknownSession`](crate::engine::HandshakeError::UnknownSession).
    Unknown,
}

/// What to do with a WebSocket or WebTransport stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamOrder {
    /// Write `3probe` and nothing else.
    AnswerProbe,
    /// From now on the outbox flows here.
    Live,
    /// Write what is in the outbox, then close without a code, and report the stream closed.
    FlushThenClose,
    /// Close without a code; the outbox is discarded.
    Close,
}
