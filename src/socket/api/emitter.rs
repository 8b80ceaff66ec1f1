//! What is sent to one socket, wherever it is.

use std::sync::Arc;
use std::time::Duration;

use super::target::{MESSAGE, Target};
use crate::id::SocketId;
use crate::socket::hub::{AckError, LocalNamespace, Member};
use crate::socket::messages::{EmittedEvent, Flags};
use crate::socket::protocol::{EncodeError, FromArgs, IntoArgs, RawArgs, encode, encode_event};
use crate::socket::room::IntoRooms;
use crate::trace::Span;

/// One socket with what applies to the next packet: what `timeout`, `volatile` and `compress` of a [`Socket`](super::Socket)
/// or [`RemoteSocket`](super::RemoteSocket) return. [`to`](Self::to) and the like go on to other sockets.
///
/// ```
/// # use std::time::Duration;
/// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
/// socket.volatile().emit("position", &(1.5, 2.5))?;
/// socket.volatile().to("watchers").emit("position", &(1.5, 2.5))?;
/// let answer: String = socket.timeout(Duration::from_secs(2)).emit_with_ack("name?", &()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "an emitter does nothing until something is emitted"]
pub struct Emitter<'a> {
    socket: OneSocket<'a>,
    flags: Flags,
    /// Only if it was chosen: there is one default for one socket, and another for many.
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum OneSocket<'a> {
    Here(&'a Arc<Member>),
    /// On whichever node.
    Anywhere(&'a Arc<LocalNamespace>, SocketId),
}

impl<'a> Emitter<'a> {
    pub(super) fn here(member: &'a Arc<Member>) -> Self {
        Self { socket: OneSocket::Here(member), flags: Flags::default(), timeout: None }
    }

    pub(super) fn anywhere(namespace: &'a Arc<LocalNamespace>, id: SocketId) -> Self {
        Self { socket: OneSocket::Anywhere(namespace, id), flags: Flags::default(), timeout: None }
    }

    /// Sets how long to wait for the ack, or for those of others that are selected [from here](Self::to). The default is 10
    /// seconds for one socket, 5 for many; `None` waits as long as it takes.
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { timeout: Some(timeout.into().unwrap_or(Duration::MAX)), ..self }
    }

    /// As [`Target::volatile`].
    pub fn volatile(self) -> Self {
        Self { flags: Flags { volatile: true, ..self.flags }, ..self }
    }

    /// As [`Target::compress`].
    pub fn compress(self, compress: bool) -> Self {
        Self { flags: Flags { compress, ..self.flags }, ..self }
    }

    /// Selects the sockets in a room, or in any of several, except this one, on every node.
    pub fn to(self, rooms: impl IntoRooms) -> Target {
        self.broadcast().to(rooms)
    }

    /// Selects all sockets of the namespace, except this one and those in a room, or in any of several.
    pub fn except(self, rooms: impl IntoRooms) -> Target {
        self.broadcast().except(rooms)
    }

    /// Selects all sockets of the namespace except this one, on every node.
    pub fn broadcast(self) -> Target {
        self.target().except(self.id())
    }

    /// Selects all sockets of the namespace on this node, except this one.
    pub fn local(self) -> Target {
        self.broadcast().local()
    }

    /// Sends an event to this socket, as [`Socket::emit`](super::Socket::emit).
    ///
    /// # Errors
    ///
    /// As [`Socket::emit`](super::Socket::emit).
    pub fn emit<A: IntoArgs + ?Sized>(self, event: &str, args: &A) -> Result<(), EncodeError> {
        let OneSocket::Here(member) = self.socket else {
            return self.target().to(self.id()).emit(event, args);
        };
        let packet = encode::event(&member.namespace.path, None, event, args)?;
        let _span = Span::emit(&member.namespace.path, event);
        member.emit(packet, self.flags)
    }

    /// Sends the event `message`: `send(x)` is `emit("message", x)`.
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit`].
    pub fn send<A: IntoArgs + ?Sized>(self, args: &A) -> Result<(), EncodeError> {
        self.emit(MESSAGE, args)
    }

    /// Sends a typed event: the variant of `event` is its name, the content its arguments.
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit`]; also if `E` is not an enum.
    pub fn emit_event<E: serde::Serialize + ?Sized>(self, event: &E) -> Result<(), EncodeError> {
        let (name, args) = encode_event(event)?;
        self.emit(name, &args)
    }

    /// Sends an event and waits for the client's ack, as [`Socket::emit_with_ack`](super::Socket::emit_with_ack). Never
    /// volatile: a dropped packet would only be a timeout.
    ///
    /// # Errors
    ///
    /// As [`Socket::emit_with_ack`](super::Socket::emit_with_ack).
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        let (args, timeout) = (RawArgs::encode(args)?, self.timeout.unwrap_or(ACK_TIMEOUT));
        let OneSocket::Here(member) = self.socket else {
            let target = Target { timeout, ..self.target().to(self.id()) };
            let outcome = target.call(EmittedEvent { name: event.into(), args }).await?;
            return match outcome.replies.first() {
                Some((_, reply)) => Ok(R::from_args(reply)?),
                None if outcome.timed_out => Err(AckError::Timeout),
                None => Err(AckError::Disconnected),
            };
        };
        let answer = member.call(event, &args, self.flags.compress, timeout).await?;
        Ok(R::from_args(&answer)?)
    }

    /// Sends the event `message` and waits for the client's ack, as [`Emitter::emit_with_ack`] does.
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit_with_ack`].
    pub async fn send_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(self, args: &A) -> Result<R, AckError> {
        self.emit_with_ack(MESSAGE, args).await
    }

    /// Sends a typed event and waits for the client's ack, as [`Emitter::emit_with_ack`] does.
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit_with_ack`]; also if `E` is not an enum.
    pub async fn emit_event_with_ack<R: FromArgs, E: serde::Serialize + ?Sized>(
        self,
        event: &E,
    ) -> Result<R, AckError> {
        let (name, args) = encode_event(event)?;
        self.emit_with_ack(name, &args).await
    }

    /// All sockets of the namespace, with what applies to the next packet.
    fn target(self) -> Target {
        let (namespace, flags) = (Arc::clone(self.namespace()), self.flags);
        let all = Target { flags, ..Target::new(namespace) };
        match self.timeout {
            Some(timeout) => Target { timeout, ..all },
            None => all,
        }
    }

    fn namespace(self) -> &'a Arc<LocalNamespace> {
        match self.socket {
            OneSocket::Here(member) => &member.namespace,
            OneSocket::Anywhere(namespace, _) => namespace,
        }
    }

    fn id(self) -> SocketId {
        match self.socket {
            OneSocket::Here(member) => member.id,
            OneSocket::Anywhere(_, id) => id,
        }
    }
}

/// How long the ack of one socket may take unless said otherwise. Node waits forever, so what waits there is never freed.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
