//! What the layer above implements.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;

use super::error::CloseReason;
use super::packet::{Message, Packet};
use super::protocol::Transport;
use super::session_ref::SessionRef;

/// The protocol on top of the sessions of a node: Socket.IO, or a protocol of your own.
///
/// ```no_run
/// use std::sync::Arc;
/// use socketmesh::engine::{Application, Client, CloseReason, Message, SessionRef};
///
/// struct Echo;
/// struct Echoing(SessionRef<()>);
///
/// impl Application for Echo {
///     type Client = Echoing;
///
///     fn accept(self: &Arc<Self>, session: SessionRef<()>) -> Echoing {
///         Echoing(session)
///     }
/// }
///
/// impl Client for Echoing {
///     type Command = ();
///
///     fn handle_message(&mut self, message: Message) {
///         match message {
///             Message::Text(text) => self.0.send_text(&text),
///             Message::Binary(bytes) => self.0.send_binary(bytes),
///         }
///     }
///
///     fn handle_command(&mut self, (): ()) {}
///
///     fn handle_close(self, _: CloseReason) {}
/// }
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let node = socketmesh::Node::builder().start_engine(Echo).await?;
/// # Ok(()) }
/// ```
pub trait Application: Send + Sync + 'static {
    /// The application's part of one session.
    type Client: Client;

    /// Accepts a session that was opened. What is sent here follows the open packet at once. It runs in the session's
    /// actor: it must not block.
    fn accept(self: &Arc<Self>, session: SessionRef<<Self::Client as Client>::Command>) -> Self::Client;
}

/// The application's part of one session. All methods run in the place of the session's actor, one at a time, so they must
/// not block. A panic ends the session.
///
/// See [`Application`] for an example.
pub trait Client: Send + 'static {
    /// What [`SessionRef::command`] sends to this part.
    type Command: Send + 'static;

    /// The client sent a message. Messages arrive in the order in which the client sent them.
    fn handle_message(&mut self, message: Message);

    /// The session moved from polling to another transport.
    fn handle_upgrade(&mut self, _to: Transport) {}

    /// Whether [`handle_packet`](Self::handle_packet) is to be called. It is asked once, when the session was accepted.
    fn sees_packets(&self) -> bool {
        false
    }

    /// The client sent a packet on the transport of the session. A message is handled behind this.
    fn handle_packet(&mut self, _packet: &Packet) {}

    /// What the last call of another method wants done outside of the session, where it may take long. It is asked for after
    /// every call. The task that brought a message runs the work up to where it first waits, and it goes on in a task of its
    /// own; so does what others gave rise to.
    fn take_work(&mut self) -> Option<Work> {
        None
    }

    /// [`SessionRef::command`] was called. Commands arrive in the order of the calls.
    fn handle_command(&mut self, command: Self::Command);

    /// When to call [`Client::handle_timeout`]; `None` for never. It is asked after every call of another method.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time that [`Client::next_timeout`] returned has come.
    fn handle_timeout(&mut self, _now: Instant) {}

    /// Whether to slow the client down. While this is true, nothing more is read from the client. Call
    /// [`SessionRef::resume`] when it turns false. `_awaited`: the answer to a ping may come behind what is to be handled, so more
    /// should be read if that is possible.
    fn is_busy(&self, _awaited: bool) -> bool {
        false
    }

    /// Whether the client loses nothing when this node closes the session, because its next session continues this one. Where a
    /// node chooses whom to let go, such clients come first.
    fn is_recoverable(&self) -> bool {
        false
    }

    /// The session has ended. Nothing more can be sent.
    fn handle_close(self, reason: CloseReason);
}

/// What [`Client::take_work`] wants done.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The commands of an application's sessions.
pub(crate) type CommandOf<A> = <<A as Application>::Client as Client>::Command;
