//! The handle of one socket of this node.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::ack::Ack;
use super::commands::Applied;
use super::conn::Conn;
use super::emitter::Emitter;
use super::namespace_ref::NamespaceRef;
use super::target::Target;
use crate::id::{NodeId, SocketId};
use crate::socket::hub::{
    AckError, Disconnected, Handshake, LocalNamespace, Member, Refusal, normalize, sockets_of,
};
use crate::socket::protocol::{EncodeError, Event, FromArgs, IntoArgs};
use crate::socket::room::{self, IntoRooms, Room};

/// One client in one namespace; `S` is the type that the namespace's `auth` returns. Node: `Socket`.
///
/// It is a handle: cloning and keeping it costs little and keeps no connection alive. What is emitted after the socket was
/// disconnected is dropped. Sockets of other nodes are [`RemoteSocket`](crate::RemoteSocket)s.
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
    member: Arc<Member>,
    data: Arc<S>,
}

impl<S: Send + Sync + 'static> Socket<S> {
    /// The handle of an admitted socket of a namespace whose data is an `S`.
    pub(crate) fn of(member: Arc<Member>) -> Option<Self> {
        let data = member.data()?.downcast().ok()?;
        Some(Self { member, data })
    }

    /// The ack that the client asked for with this event, if it did.
    pub(crate) fn ack_of(&self, event: &Event) -> Ack {
        Ack::of(Arc::clone(&self.member), event)
    }

    /// What `auth` returned for this client. After a [renewal](Self::reauthenticate) of the login, handlers that are called from
    /// then on find what it returned last.
    pub fn data(&self) -> &S {
        &self.data
    }

    /// What the application keeps at this socket, of this type: `T::default()` at first, and gone with the last handle of the
    /// socket. It has nothing to do with [`data`](Self::data), which is who the client is, and survives a renewal of the login.
    /// Parts of an application that do not know each other have types of their own. Node: `socket.data`.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use socketmesh::{Socket, namespace};
    ///
    /// #[derive(Default)]
    /// struct Attempts(AtomicU32);
    ///
    /// let quiz = namespace("/quiz").on("guess", async |socket: Socket, guess: u32| {
    ///     let attempts = socket.state::<Attempts>().0.fetch_add(1, Ordering::Relaxed) + 1;
    ///     Ok((guess == 42, attempts))
    /// });
    /// ```
    pub fn state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.member.own()
    }

    /// Decides about the client once more, by another auth payload: `admit` and `auth` (or `login`) of the namespace are asked, with
    /// `auth` in the place of what the client said when it connected. What they return replaces the [data](Self::data) of the socket
    /// and the end of its login. Id, rooms and [state](Self::state) stay.
    ///
    /// [`renew_event`](super::Namespace::renew_event) lets clients ask for it.
    ///
    /// # Errors
    ///
    /// The [`Refusal`]. Nothing changes then: a login that ends, ends when it would have.
    ///
    /// ```
    /// # use socketmesh::{EventError, Socket};
    /// async fn change_role(socket: Socket<String>, token: String) -> Result<(), EventError> {
    ///     Ok(socket.reauthenticate(&serde_json::json!({ "token": token })).await?)
    /// }
    /// ```
    pub async fn reauthenticate<A: serde::Serialize + ?Sized>(&self, auth: &A) -> Result<(), Refusal> {
        let auth = serde_json::to_string(auth)?;
        self.member.reauthenticate(auth.into()).await
    }

    /// The public id of this socket: 20 characters. It also names a room that this socket is always in.
    pub fn id(&self) -> SocketId {
        self.member.id
    }

    /// What the client said when it connected.
    pub fn handshake(&self) -> &Handshake {
        &self.member.handshake
    }

    /// The connection of the client, which it shares with the client's sockets in other namespaces. Node: `socket.conn`.
    pub fn conn(&self) -> Conn {
        Conn::new(self.member.session.clone())
    }

    /// The socket of the same client in another namespace of this node, whose data is a `T`; `None` if the client is not there.
    /// Node: `socket.client.sockets`.
    ///
    /// ```
    /// struct Admin { may_ban: bool }
    ///
    /// # use socketmesh::Socket;
    /// async fn may_ban(socket: &Socket) -> bool {
    ///     socket.in_namespace::<Admin>("/admin").await.is_some_and(|admin| admin.data().may_ban)
    /// }
    /// ```
    pub async fn in_namespace<T: Send + Sync + 'static>(&self, path: &str) -> Option<Socket<T>> {
        let path = normalize(path);
        let sockets = sockets_of(&self.member.session).await;
        let there = sockets.into_iter().find(|socket| socket.namespace == path)?;
        Socket::of(there.member.downcast().ok()?)
    }

    /// The path of the namespace.
    pub fn namespace(&self) -> &str {
        &self.member.namespace.path
    }

    /// The namespace of the socket, to emit to everybody in it, this socket included, to look up the others, and to reach other
    /// namespaces and nodes. Node: `socket.nsp`, and `io` of a handler.
    ///
    /// ```
    /// # use socketmesh::Socket;
    /// # async fn f(socket: Socket) -> socketmesh::Result<()> {
    /// socket.nsp().emit("news", &"to everybody, me included")?; // Node: io.emit("news", …)
    /// let here: Vec<Socket> = socket.nsp().sockets()?; // those of this node, at once
    /// socket.nsp().of("/admin").emit("busy", &here.len())?;
    /// socket.nsp().server_side_emit("cache", &"stale")?; // to the other nodes
    /// # Ok(()) }
    /// ```
    pub fn nsp(&self) -> NamespaceRef {
        NamespaceRef(Arc::clone(&self.member.namespace))
    }

    /// The name of the node that the socket is on: this one.
    pub fn node(&self) -> &NodeId {
        self.member.namespace.node()
    }

    /// Whether the socket is still in its namespace.
    pub fn is_connected(&self) -> bool {
        self.member.is_connected()
    }

    /// The rooms that the socket is in: its own, which its id names, and those that it has joined. Node: `socket.rooms`.
    ///
    /// A disconnected socket is in no room. Only if the namespace has an
    /// [`on_disconnecting`](super::Namespace::on_disconnecting), the rooms that it left are listed until that has ended.
    pub fn rooms(&self) -> Vec<Room> {
        self.member.rooms()
    }

    /// Whether the client came back to this socket, with its id, rooms and data, and what it had missed. Node: `socket.recovered`.
    ///
    /// See [`Namespace::recover`](super::Namespace::recover).
    pub fn recovered(&self) -> bool {
        self.member.is_recovered()
    }

    /// Says that what is inside of the [data](Self::data) changed, so that a client that comes back to another node finds it there. Data
    /// are written by themselves when the client connects, when its login is renewed, at every
    /// [update](super::Namespace::on_update), and when its connection is lost.
    ///
    /// Where clients may not come back it does nothing.
    pub fn save(&self) {
        self.member.note_change();
    }

    /// Whether the socket is in a room. It costs no list of all of them.
    pub fn is_in(&self, room: impl Into<Room>) -> bool {
        self.member.is_in(&room.into())
    }

    /// Joins a room, or several at once. What this node emits to them reaches the socket as soon as this returns; on a socket
    /// that is not connected any more it does nothing.
    ///
    /// Await the result to wait until every node of the cluster knows, at most 500 ms ([`Joining::timeout`] changes that): from
    /// then on what any node emits to the rooms reaches the socket. It is one round trip for all of them. [`Joining::applied`]
    /// says which nodes did not confirm it in time.
    pub fn join(&self, rooms: impl IntoRooms) -> Joining {
        let namespace = &self.member.namespace;
        if !self.member.is_connected() {
            return Joining { joined: None, timeout: LocalNamespace::CONFIRMATION };
        }
        namespace.join(self.member.id, &room::rooms(rooms));
        // A socket that was disconnected meanwhile is not in the index any more, and has joined nothing.
        let joined = Some((Arc::clone(namespace), namespace.peers().version()));
        Joining { joined, timeout: LocalNamespace::CONFIRMATION }
    }

    /// Leaves a room, or several. What this node emits to them from now on does not reach the socket. The socket's own room
    /// cannot be left.
    pub fn leave(&self, rooms: impl IntoRooms) {
        self.member.namespace.leave(self.member.id, &room::rooms(rooms));
    }

    /// Changes the data of the socket by [`on_update`](super::Namespace::on_update) of the namespace, as [`Target::update`] does
    /// for sockets on any node. It has happened when this returns.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `update` cannot be written as JSON, or has more than 10 attachments.
    pub fn update<U: IntoArgs + ?Sized>(&self, update: &U) -> Result<(), EncodeError> {
        self.nsp().to(self.id()).local().update(update).map(drop)
    }

    /// Sends an event to this client. It does not block. The event is delivered at most once, in the order of emits; it is
    /// dropped if the socket is disconnected.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if `args` cannot be written as JSON, has more than 10 attachments, or `event` is reserved. For a
    /// socket of another node also if the event is too large for that ([`EncodeError::TooLarge`]).
    pub fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) -> Result<(), EncodeError> {
        self.emitter().emit(event, args)
    }

    /// Sends the event `message`: `send(x)` is `emit("message", x)`. Node: `socket.send()`.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit).
    pub fn send<A: IntoArgs + ?Sized>(&self, args: &A) -> Result<(), EncodeError> {
        self.emitter().send(args)
    }

    /// Sends a typed event: the variant of `event` is its name, the content its arguments.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit); also if `E` is not an enum.
    pub fn emit_event<E: serde::Serialize + ?Sized>(&self, event: &E) -> Result<(), EncodeError> {
        self.emitter().emit_event(event)
    }

    /// Sends an event and waits for the client's ack, at most 10 seconds ([`timeout`](Self::timeout) changes that).
    ///
    /// # Errors
    ///
    /// [`AckError`]: there was no ack in time, the socket was disconnected first or its node went away, the ack is not an
    /// `R`, `args` cannot be sent, or too many acks of this socket are pending.
    pub async fn emit_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(
        &self,
        event: &str,
        args: &A,
    ) -> Result<R, AckError> {
        self.emitter().emit_with_ack(event, args).await
    }

    /// Sends the event `message` and waits for the client's ack, as [`emit_with_ack`](Self::emit_with_ack) does.
    ///
    /// # Errors
    ///
    /// As [`emit_with_ack`](Self::emit_with_ack).
    pub async fn send_with_ack<R: FromArgs, A: IntoArgs + ?Sized>(&self, args: &A) -> Result<R, AckError> {
        self.emitter().send_with_ack(args).await
    }

    /// Sends a typed event and waits for the client's ack, as [`emit_with_ack`](Self::emit_with_ack) does.
    ///
    /// ```
    /// #[derive(serde::Serialize)]
    /// #[serde(rename_all = "snake_case")]
    /// enum Ask { Name, Guess { from: u8, to: u8 } }
    ///
    /// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
    /// let name: String = socket.emit_event_with_ack(&Ask::Name).await?;
    /// let guess: u8 = socket.emit_event_with_ack(&Ask::Guess { from: 1, to: 6 }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`emit_with_ack`](Self::emit_with_ack); also if `E` is not an enum.
    pub async fn emit_event_with_ack<R: FromArgs, E: serde::Serialize + ?Sized>(
        &self,
        event: &E,
    ) -> Result<R, AckError> {
        self.emitter().emit_event_with_ack(event).await
    }

    /// Sets how long the next [`Emitter::emit_with_ack`] waits; `None` as long as it takes, until the socket is
    /// disconnected.
    ///
    /// At most 10,000 acks of a socket may be pending. Node waits forever unless told otherwise, so what waits there for a
    /// client that never answers is never freed.
    pub fn timeout(&self, timeout: impl Into<Option<Duration>>) -> Emitter<'_> {
        self.emitter().timeout(timeout)
    }

    /// Lets the next packet be dropped if the client cannot take it at once: it polls and has no pending request, or its
    /// WebSocket is still writing.
    pub fn volatile(&self) -> Emitter<'_> {
        self.emitter().volatile()
    }

    /// With `false`, does not compress the next packet, as [`Target::compress`].
    pub fn compress(&self, compress: bool) -> Emitter<'_> {
        self.emitter().compress(compress)
    }

    /// Selects the sockets in a room, or in any of several, except this one, on every node.
    pub fn to(&self, rooms: impl IntoRooms) -> Target {
        self.emitter().to(rooms)
    }

    /// Selects all sockets of the namespace, except this one and those in a room, or in any of several.
    pub fn except(&self, rooms: impl IntoRooms) -> Target {
        self.emitter().except(rooms)
    }

    /// Selects all sockets of the namespace except this one, on every node.
    pub fn broadcast(&self) -> Target {
        self.emitter().broadcast()
    }

    /// Selects all sockets of the namespace on this node, except this one.
    pub fn local(&self) -> Target {
        self.emitter().local()
    }

    fn emitter(&self) -> Emitter<'_> {
        Emitter::here(&self.member)
    }

    /// How many bytes wait for this client, in all its namespaces together. Node: `socket.conn.writeBuffer`.
    pub fn buffered(&self) -> usize {
        self.member.session.buffered()
    }

    /// Waits until no more than [`max_buffered`](crate::engine::Config::max_buffered) waits for this client, or it is
    /// gone: for who sends more than [`max_burst`](crate::engine::Config::max_burst) at once. Node: the event `drain` of
    /// `socket.conn`.
    ///
    /// ```
    /// # async fn f(socket: socketmesh::Socket, pieces: Vec<bytes::Bytes>) -> socketmesh::Result<()> {
    /// for piece in pieces {
    ///     socket.emit("piece", &piece)?;
    ///     socket.room().await;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn room(&self) {
        self.member.session.room().await;
    }

    /// Disconnects the client from this namespace. What was emitted to it before still reaches it. Clients do not reconnect
    /// by themselves after that. Node: `socket.disconnect()`.
    pub fn disconnect(&self) {
        self.member.kick(false);
    }

    /// Disconnects the client from every namespace and closes its connection. Node: `socket.disconnect(true)`.
    pub fn close(&self) {
        self.member.kick(true);
    }
}

impl<S> Clone for Socket<S> {
    fn clone(&self) -> Self {
        Self { member: Arc::clone(&self.member), data: Arc::clone(&self.data) }
    }
}

impl<S> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.member.fmt(f)
    }
}

/// A join, which has happened on this node: what [`Socket::join`] returns. Await it to wait for the other nodes. Dropping it
/// undoes nothing.
///
/// ```
/// # async fn f(socket: socketmesh::Socket) -> socketmesh::Result<()> {
/// socket.join("lobby"); // what this node emits reaches it from now on
/// socket.join(["arena", "duel:42"]).await?; // what any node emits does
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Joining {
    /// The version of this node's interest after the join; `None` if there was none.
    joined: Option<(Arc<LocalNamespace>, u64)>,
    timeout: Duration,
}

impl Joining {
    /// Sets how long to wait for the other nodes; `None` as long as it takes. A node that leaves the cluster is not waited for.
    #[must_use = "the socket has joined; await this to wait for the other nodes"]
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { timeout: timeout.into().unwrap_or(Duration::MAX), ..self }
    }

    /// Waits until every node of the cluster knows of the join, at most 500 ms unless [said otherwise](Self::timeout), and
    /// returns the nodes that did not confirm it. What those nodes emit to the rooms may not reach the socket until they confirm
    /// it.
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
    /// [`Disconnected`]: the socket was not connected any more and has joined nothing.
    pub async fn applied(self) -> Result<Applied, Disconnected> {
        let (namespace, version) = self.joined.ok_or(Disconnected)?;
        Ok(Applied { missing: namespace.peers().confirmed(version, self.timeout).await })
    }
}

impl IntoFuture for Joining {
    /// [`Disconnected`]: the socket was not connected any more and has joined nothing.
    type Output = Result<(), Disconnected>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.applied().await.map(drop) })
    }
}
