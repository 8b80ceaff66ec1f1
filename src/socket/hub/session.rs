//! The session of a client, as its sockets see it.

use super::admission::Data;
use super::error::Refusal;
use crate::engine::SessionRef;
use crate::id::SocketId;
use crate::trace::Trace;

/// The session of a Socket.IO client.
pub(crate) type ClientSession = SessionRef<ConnectionCommand>;

/// What the sockets of a session tell its [`Connection`](crate::socket::Connection).
///
/// Only this layer makes one.
#[derive(Debug)]
pub struct ConnectionCommand(pub(crate) SocketDecision);

/// What was decided about a socket outside its connection.
#[derive(Debug)]
pub(crate) enum SocketDecision {
    /// The namespace admitted or refused it.
    Admission { socket: SocketId, outcome: Result<Data, Refusal>, trace: Trace },
    /// The server disconnected it. With `close`, the whole session is to be closed.
    Kicked { socket: SocketId, close: bool },
}
