//! What a user holds of one socket, and of a namespace.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::args::{FromArgs, IntoArgs, RawArgs, encode_event};
use super::broadcast::Target;
use super::error::{AckError, Disconnected, EncodeError};
use super::handshake::Handshake;
use super::messages::Flags;
use super::operators::Applied;
use super::packet;
use super::raw::RawSocket;
use super::room::Room;
use super::state::NamespaceState;
use crate::id::SocketId;

/// One client in one namespace; `S` is what the namespace's `auth` returned. Node: `Socket`.
///
/// A handle is an address: cloning and keeping it costs little and keeps no connection alive. What is emitted after
/// the socket was disconnected is dropped.
///
/// ```
/// use socketmesh::{Handshake, Refusal, Socket, namespace};
///
/// struct User { name: String }
///
/// let chat = namespace("/chat")
///     .auth(async |handshake: Handshake| Ok::<_, Refusal>(User { name: handshake.auth()? }))
///     .on("say", async |socket: Socket<User>, text: String| {
///         Ok(socket.broadcast().emit("said", &(&socket.data().name, text))?)
///     });
/// ```
pub struct Socket<S = ()> {
    raw: Arc<RawSocket>,
    data: Arc<S>,
}

impl<S: Send + Sync + 'static> Socket<S> {
    /// The handle of an admitted socket of a namespace whose data is an `S`.
    pub(crate) fn of(raw: Arc<RawSocket>) -> Option<Self> {
        let data = Arc::clone(raw.data()?).downcast().ok()?;
        Some(Self { raw, data })
    }

    /// What `auth` returned for this client.
    pub fn data(&self) -> &S {
        &self.data
    }

    /// The public id of this socket: 20 characters, and the name of a room that only it is in.
    pub fn id(&self) -> SocketId {
        self.raw.id
    }

    /// What the client said when it connected.
    pub fn handshake(&self) -> &Handshake {
        &self.raw.handshake
    }

    /// The path of the namespace.
    pub fn namespace(&self) -> &str {
        &self.raw.namespace.path
    }

    /// Whether the socket is still in its namespace.
    pub fn is_connected(&self) -> bool {
        self.raw.is_connected()
    }

    /// The rooms the socket joined. Its own room, named by its id, is not listed.
    ///
    /// Once it is disconnected they are none; but where there is an
    /// [`on_disconnecting`](super::Namespace::on_disconnecting), those that it left, until that has ended.
    pub fn rooms(&self) -> Vec<Room> {
        match self.raw.left_rooms() {
            Some(left) => left,
            None => self.raw.namespace.rooms.read().rooms_of(&self.raw.id).cloned().collect(),
        }
    }

    /// Joins a room: at once on this node. Awaiting the result waits until every member of the cluster knows that this
    /// node has a member there, at most 500 ms: every packet emitted to the room after that, anywhere, reaches this
    /// socket. [`Joining::applied`] says which nodes did not confirm it in time.
    pub fn join(&self, room: impl AsRef<str>) -> Joining {
        let namespace = &self.raw.namespace;
        if !self.raw.is_connected() {
            return Joining(None);
        }
        namespace.join(self.raw.id, &Room::from(room.as_ref()));
        // Ghost members cannot remain: whoever disconnected meanwhile removed the socket from the index first.
        Joining(Some((Arc::clone(namespace), namespace.peers().version())))
    }

    /// Leaves a room: nothing emitted to it from now on, on this node, reaches the socket.
    pub fn leave(&self, room: impl AsRef<str>) {
        self.raw.namespace.leave(self.raw.id, &Room::from(room.as_ref()));
    }

    /// Sends an event to this client. Never blocks. Delivered at most once, in the order of emits.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `args` cannot be written as JSON, has more than 10 attachments, or `event` is reserved.
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        self.emitter().emit(event, args)
    }

    /// Sends a typed event: the variant of `event` is its name, the content its arguments.
    ///
    /// # Errors
    ///
    /// As [`Socket::emit`]; also if `E` is not an enum.
    pub fn send<E: serde::Serialize>(&self, event: &E) -> Result<(), EncodeError> {
        self.emitter().send(event)
    }

    /// Sends a typed event and waits for the client's ack, as [`Socket::emit_with_ack`] does.
    ///
    /// ```
    /// #[derive(serde::Serialize)]
    /// #[serde(rename_all = "snake_case")]
    /// enum Ask { Name, Guess { from: u8, to: u8 } }
    ///
    /// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
    /// let name: String = socket.send_with_ack(&Ask::Name).await?;
    /// let guess: u8 = socket.send_with_ack(&Ask::Guess { from: 1, to: 6 }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Socket::emit_with_ack`]; also if `E` is not an enum.
    pub async fn send_with_ack<R: FromArgs, E: serde::Serialize>(&self, event: &E) -> Result<R, AckError> {
        self.emitter().send_with_ack(event).await
    }

    /// Sends an event and waits for the client's ack, at most 10 seconds ([`Socket::timeout`] says otherwise).
    ///
    /// # Errors
    ///
    /// [`AckError`]: no answer in time, disconnected before it came, an answer that is not an `R`.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        self.emitter().emit_with_ack(event, args).await
    }

    /// How long the next [`Emitter::emit_with_ack`] waits.
    pub fn timeout(&self, timeout: Duration) -> Emitter<'_> {
        Emitter { timeout, ..self.emitter() }
    }

    /// The next packet may be dropped if the client cannot take it at once.
    pub fn volatile(&self) -> Emitter<'_> {
        self.emitter().volatile()
    }

    /// With `false` the next packet is not compressed, as [`Target::compress`].
    pub fn compress(&self, compress: bool) -> Emitter<'_> {
        self.emitter().compress(compress)
    }

    fn emitter(&self) -> Emitter<'_> {
        Emitter { raw: &self.raw, flags: Flags::default(), timeout: ACK_TIMEOUT }
    }

    /// The members of a room but this socket.
    pub fn to(&self, room: impl AsRef<str>) -> Target {
        self.broadcast().to(room)
    }

    /// Everybody in the namespace but this socket and the members of a room.
    pub fn except(&self, room: impl AsRef<str>) -> Target {
        self.broadcast().except(room)
    }

    /// Everybody in the namespace but this socket.
    pub fn broadcast(&self) -> Target {
        Target::new(Arc::clone(&self.raw.namespace)).except(self.raw.id.to_string())
    }

    /// Everybody in the namespace on this node but this socket.
    pub fn local(&self) -> Target {
        self.broadcast().local()
    }

    /// Disconnects the client from this namespace, after what was emitted to it. It does not reconnect by itself.
    /// Node: `socket.disconnect()`.
    pub fn disconnect(&self) {
        self.raw.leave(false);
    }

    /// Disconnects the client from every namespace and closes its connection. Node: `socket.disconnect(true)`.
    pub fn close(&self) {
        self.raw.leave(true);
    }
}

impl<S> Clone for Socket<S> {
    fn clone(&self) -> Self {
        Self { raw: Arc::clone(&self.raw), data: Arc::clone(&self.data) }
    }
}

impl<S> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

/// One socket with what applies to the next packet: what [`Socket::timeout`], [`Socket::volatile`] and
/// [`Socket::compress`] return.
///
/// ```
/// # use std::time::Duration;
/// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
/// socket.volatile().emit("position", &(1.5, 2.5))?;
/// let answer: String = socket.timeout(Duration::from_secs(2)).emit_with_ack("name?", &()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "an emitter does nothing until something is emitted"]
pub struct Emitter<'a> {
    raw: &'a Arc<RawSocket>,
    flags: Flags,
    timeout: Duration,
}

impl Emitter<'_> {
    /// As [`Socket::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// As [`Socket::volatile`].
    pub fn volatile(self) -> Self {
        Self { flags: Flags { volatile: true, ..self.flags }, ..self }
    }

    /// As [`Socket::compress`].
    pub fn compress(self, compress: bool) -> Self {
        Self { flags: Flags { compress, ..self.flags }, ..self }
    }

    /// As [`Socket::emit`].
    ///
    /// # Errors
    ///
    /// As [`Socket::emit`].
    pub fn emit<A: IntoArgs + ?Sized>(self, event: &str, args: &A) -> Result<(), EncodeError> {
        let packet = packet::event(&self.raw.namespace.path, None, event, &RawArgs::encode(args)?)?;
        self.raw.emit(&packet, self.flags);
        Ok(())
    }

    /// As [`Socket::send`].
    ///
    /// # Errors
    ///
    /// As [`Socket::send`].
    pub fn send<E: serde::Serialize>(self, event: &E) -> Result<(), EncodeError> {
        let (name, args) = encode_event(event)?;
        self.emit(name, &args)
    }

    /// As [`Socket::send_with_ack`].
    ///
    /// # Errors
    ///
    /// As [`Socket::send_with_ack`].
    pub async fn send_with_ack<R: FromArgs, E: serde::Serialize>(self, event: &E) -> Result<R, AckError> {
        let (name, args) = encode_event(event)?;
        self.emit_with_ack(name, &args).await
    }

    /// As [`Socket::emit_with_ack`]. Never volatile: a dropped packet would only be a timeout.
    ///
    /// # Errors
    ///
    /// As [`Socket::emit_with_ack`].
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        let answer = self.raw.call(event, &RawArgs::encode(args)?, self.flags.compress, self.timeout).await?;
        Ok(R::from_args(&answer)?)
    }
}

/// A join that has happened on this node; awaited, it has happened for every node that answers. What [`Socket::join`]
/// returns; dropping it undoes nothing.
///
/// ```
/// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
/// socket.join("lobby"); // what this node emits reaches it from now on
/// socket.join("arena").await?; // what any node emits does
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Joining(Option<(Arc<NamespaceState>, u64)>);

impl Joining {
    /// Waits as awaiting the join does, and says who did not confirm it in time: what those nodes emit to the room may
    /// not reach the socket until they answer again, or are out of the cluster.
    ///
    /// ```
    /// # use socketmesh::{EventError, Socket};
    /// async fn take_a_seat(socket: Socket) -> Result<bool, EventError> {
    ///     let joined = socket.join("game").applied().await?;
    ///     Ok(joined.missing.is_empty())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The socket was not connected any more, so it joined nothing.
    pub async fn applied(self) -> Result<Applied, Disconnected> {
        let (namespace, version) = self.0.ok_or(Disconnected)?;
        Ok(Applied { missing: namespace.peers().confirmed(version).await })
    }
}

impl IntoFuture for Joining {
    /// The socket was not connected any more, so it joined nothing.
    type Output = Result<(), Disconnected>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.applied().await.map(drop) })
    }
}

/// A namespace to emit to from anywhere: what [`Node::of`](crate::Node::of) returns. Node: `io.of(path)`.
///
/// ```
/// # fn f(node: socketmesh::Node) -> socketmesh::Result<()> {
/// let chat = node.of("/chat");
/// chat.emit("news", &"to everybody")?;
/// chat.to("lobby").except("muted").emit("news", &"to some")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct NamespaceRef(pub(crate) Arc<NamespaceState>);

impl NamespaceRef {
    /// The path of the namespace.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Everybody in the namespace, on every node.
    pub fn all(&self) -> Target {
        Target::new(Arc::clone(&self.0))
    }

    /// The members of a room.
    pub fn to(&self, room: impl AsRef<str>) -> Target {
        self.all().to(room)
    }

    /// Everybody but the members of a room.
    pub fn except(&self, room: impl AsRef<str>) -> Target {
        self.all().except(room)
    }

    /// Everybody in the namespace on this node.
    pub fn local(&self) -> Target {
        self.all().local()
    }

    /// Sends an event to everybody in the namespace.
    ///
    /// # Errors
    ///
    /// As [`Target::emit`].
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        self.all().emit(event, args)
    }

    /// With `false` the next packet to everybody is not compressed, as [`Target::compress`].
    pub fn compress(&self, compress: bool) -> Target {
        self.all().compress(compress)
    }

    /// How long an emit to everybody waits for acks, and a question for the answers of other nodes.
    pub fn timeout(&self, timeout: Duration) -> Target {
        self.all().timeout(timeout)
    }

    /// How many sockets of the namespace are on this node.
    pub fn local_count(&self) -> usize {
        self.0.rooms.read().len()
    }
}

/// How long an ack may take unless said otherwise: Node waits forever, which leaks whatever waits.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(10);
