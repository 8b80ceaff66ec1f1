//! The session of a client, as its sockets see it.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::admission::Admitted;
use super::error::Refusal;
use super::recovery::Claimed;
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
    Admission { socket: SocketId, outcome: Result<Admitted, Refusal>, trace: Trace },
    /// Its client is back at the socket that it had before.
    Recovery { socket: SocketId, claimed: Box<Claimed>, admitted: Admitted, trace: Trace },
    /// The namespace decided about the CONNECT with which its client renews its login.
    Renewal { socket: SocketId, outcome: Result<Admitted, Refusal> },
    /// The login of one of them was renewed.
    Renewed,
    /// The server disconnected it. With `close`, the whole session is to be closed.
    Kicked { socket: SocketId, close: bool },
    /// Somebody asks for all of them.
    Asked(oneshot::Sender<Vec<SocketOfClient>>),
}

/// A connected socket of a session.
#[derive(Debug)]
pub(crate) struct SocketOfClient {
    pub(crate) namespace: Arc<str>,
    pub(crate) id: SocketId,
    /// A [`Member`](super::Member), which this file is not to know.
    pub(crate) member: Arc<dyn Any + Send + Sync>,
}

/// The sockets of a session, in no order; none once it is over. Not while anything is locked, because the session may be
/// asked in this task.
pub(crate) async fn sockets_of(session: &ClientSession) -> Vec<SocketOfClient> {
    let (asking, answer) = oneshot::channel();
    session.command_now(ConnectionCommand(SocketDecision::Asked(asking)));
    answer.await.unwrap_or_default()
}
