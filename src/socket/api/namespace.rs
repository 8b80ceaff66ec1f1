//! A namespace as the application describes it: which clients may connect, and what the handlers do.

mod below;
mod carried;
mod concurrent;
mod handler;
mod handlers;
mod limits;
mod login;
mod nodes;
mod observing;
mod recovery;
mod room_events;
mod stage;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use regex_lite::Regex;

pub use self::carried::LostSession;
pub use self::handler::{Answer, ByAck, ByValue, Handler};
use self::handler::{event_fn, events_fn};
use self::handlers::{Auth, AuthFn, Handlers};
pub use self::stage::{BeforeHandlers, NoHandlersYet, WithHandlers};
use super::incoming::{Incoming, Onward};
use super::socket::Socket;
use crate::socket::hub::{
    Description, DisconnectReason, EventError, Handshake, Login, NamespaceCounters, NamespacePaths, Refusal,
    normalize,
};
use crate::socket::protocol::{Event, FromArgs, IntoArgs, RawArgs, decode_event};
use crate::socket::recovery::Recovery;

/// Describes the namespace at `path` (`chat` and `/chat` are the same). Node: `io.of(path)`.
///
/// Handlers belong to the namespace and are fixed when the node starts: nothing is registered per socket.
///
/// ```
/// use socketmesh::{Socket, namespace};
///
/// let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
/// ```
pub fn namespace(path: impl AsRef<str>) -> Namespace<(), BeforeHandlers> {
    Namespace::open(NamespacePaths::One(normalize(path.as_ref())))
}

/// Describes dynamic namespaces: all those in whose path the regular expression finds something. With `^` and `$` it has to
/// match the whole path. Node: `io.of(regex)`.
///
/// Each of these namespaces has sockets and rooms of its own, on all nodes. They share the handlers; [`Socket::namespace`]
/// and [`Handshake::namespace`] say which namespace it is. A namespace is made when a client or the application names it,
/// and is gone when no socket is in it and nothing refers to it any more. Clients choose the path, so let
/// [`auth`](Namespace::auth) decide which client may enter which namespace.
///
/// A namespace with a description of its own ([`namespace`]) has that one. For other paths the patterns and
/// [predicates](namespaces_where) are tried in the order in which the node was given them. The syntax is that of the crate
/// `regex-lite`, and matching takes linear time. A path of more than 1024 bytes matches no pattern. To emit to one of the
/// namespaces, name it: `node.of("/room-1")`. There is no way to emit to all of them at once.
///
/// A pattern that is not valid is an error when the node starts.
///
/// ```
/// use socketmesh::{Socket, namespaces};
///
/// let rooms = namespaces(r"^/room-\d+$")
///     .on_connect(async |socket: Socket| Ok(socket.emit("welcome", socket.namespace())?));
/// ```
pub fn namespaces(pattern: impl AsRef<str>) -> Namespace<(), BeforeHandlers> {
    let pattern = pattern.as_ref();
    match Regex::new(pattern) {
        Ok(pattern) => Namespace::open(NamespacePaths::Pattern(pattern)),
        Err(error) => {
            let mut faulty = Namespace::open(NamespacePaths::One(pattern.into()));
            faulty.faults.push(format!("not a pattern: {error}"));
            faulty
        }
    }
}

/// Describes dynamic namespaces by a function instead of a pattern, otherwise as [`namespaces`]. Node: `io.of(function)`.
///
/// `accepts` is called for every client, before [`admit`](Namespace::admit) and [`auth`](Namespace::auth);
/// [`Handshake::namespace`] is the path that the client asks for. If it returns `false` or an error, or panics, the next
/// description is tried; without another one the client is refused with `Invalid namespace`. As long as a namespace
/// exists on this node, it keeps the description that accepted its first client.
///
/// ```
/// use socketmesh::{Handshake, Socket, namespaces_where};
///
/// # async fn exists(_document: &str) -> socketmesh::Result<bool> { Ok(true) }
/// let documents = namespaces_where(async |client: Handshake| match client.namespace().strip_prefix("/documents/") {
///     Some(document) => exists(document).await,
///     None => Ok(false),
/// })
/// .on("edit", async |socket: Socket, text: String| Ok(socket.broadcast().emit("edited", &text)?));
/// ```
pub fn namespaces_where<F, Fut>(accepts: F) -> Namespace<(), BeforeHandlers>
where
    F: FnOnce(Handshake) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<bool, EventError>> + Send + 'static,
{
    Namespace::open(NamespacePaths::Predicate(Arc::new(move |handshake| {
        Box::pin((accepts.clone())(handshake))
    })))
}

/// The description of a namespace whose sockets carry an `S`: what its `auth` returned.
///
/// A [handler](Handler) is `async fn(Socket<S>, A) -> Result<R, EventError>`: `A` is the type of the event's first argument
/// (of several with [`Args`](crate::Args)), `R` that of the reply, which the client gets as its ack if it asked for one. An
/// error becomes the ack `{"error": {"code", "message"}}` and a line in the log. A panic is logged, and disconnects the socket.
///
/// Or it is `async fn(Socket<S>, A, Ack)`, and answers when and where it likes, or never: see [`Ack`](crate::Ack). It returns
/// nothing, or a `Result<(), EventError>` whose error is logged only.
///
/// Handlers of one socket run one after another, in the order in which the client sent the events, unless they are
/// [concurrent](Self::concurrent); handlers of different sockets run concurrently. An event without a handler is logged and
/// never acked.
///
/// The compiler holds the one order that matters: [`auth`](Self::auth) or [`login`](Self::login) come before everything but
/// [`admit`](Self::admit), as long as the `Stage` is [`BeforeHandlers`]. A function that is given a namespace to add handlers to
/// takes any stage and returns a `Namespace<S>`:
///
/// ```
/// use socketmesh::{Namespace, Socket, namespace};
///
/// fn with_echo<Stage>(described: Namespace<(), Stage>) -> Namespace {
///     described.on("echo", async |_: Socket, text: String| Ok(text))
/// }
///
/// let chat = with_echo(namespace("/chat"));
/// let more = with_echo(chat.concurrent(4));
/// ```
#[must_use = "a namespace serves nothing until it is given to a node"]
pub struct Namespace<S = (), Stage = WithHandlers> {
    paths: NamespacePaths,
    handlers: Handlers<S>,
    recovery: Option<Recovery>,
    faults: Vec<String>,
    stage: PhantomData<fn() -> Stage>,
}

impl Namespace<(), BeforeHandlers> {
    fn open(paths: NamespacePaths) -> Self {
        Self { paths, handlers: Handlers::open(), recovery: None, faults: Vec::new(), stage: PhantomData }
    }
}

impl<Before, Stage> Namespace<Before, Stage> {
    /// Decides whether a client may connect. What it returns becomes the [data](Socket::data) of the socket, so no handler
    /// runs without it. Node: `nsp.use()`.
    ///
    /// It has to be given before any handler, because it sets their type: the compiler holds that. A [`Refusal`]
    /// is sent to the client as CONNECT_ERROR `{message, data}`. The connection stays open, and the client may try again.
    /// A panic refuses the client with `internal error`. If the client leaves first, the function is cancelled where it
    /// waits.
    ///
    /// [`login`](Self::login) does the same for clients that may stay for a time only. State that has nothing to do with who the
    /// client is, is kept by [`Socket::state`].
    pub fn auth<S, F, Fut>(self, auth: F) -> Namespace<S>
    where
        Stage: NoHandlersYet,
        S: Send + Sync + 'static,
        F: FnOnce(Handshake) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<S, Refusal>> + Send + 'static,
    {
        // It is called in the task that decides, not in the session's actor, because it is code of the application.
        let auth: AuthFn<S> = Box::new(move |handshake| {
            let auth = auth.clone();
            Box::pin(async move { Ok(Login::new(auth(handshake).await?)) })
        });
        self.asking(auth)
    }

    /// The same namespace with the data that `auth` returns.
    fn asking<S>(self, auth: AuthFn<S>) -> Namespace<S> {
        let handlers = Handlers::new(self.handlers.admit, Auth::Asked(auth));
        Namespace { paths: self.paths, handlers, recovery: None, faults: self.faults, stage: PhantomData }
    }
}

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Checks whether a client may connect, before [`auth`](Namespace::auth) makes the data of the socket. Node: `nsp.use()`.
    ///
    /// Several checks run in the order in which they were given. The first [`Refusal`] is sent to the client, as one of
    /// `auth` is, and no later check runs. There is no socket yet that could emit or join a room: use
    /// [`on_connect`](Self::on_connect) for that.
    ///
    /// ```
    /// # use socketmesh::{Handshake, Refusal, namespace};
    /// async fn speaks_version_2(handshake: Handshake) -> Result<(), Refusal> {
    ///     match handshake.request().query_value("version").as_deref() {
    ///         Some("2") => Ok(()),
    ///         _ => Err(Refusal::new("update your client")),
    ///     }
    /// }
    ///
    /// let chat = namespace("/chat").admit(speaks_version_2);
    /// ```
    pub fn admit<F, Fut>(mut self, check: F) -> Self
    where
        F: FnOnce(Handshake) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        self.handlers.admit.push(Arc::new(move |handshake| Box::pin((check.clone())(handshake))));
        self
    }

    /// Runs when a client has connected, before its first event is handled. Node: `nsp.on("connection")`.
    ///
    /// If it returns an error, the socket is disconnected.
    pub fn on_connect<F, Fut>(mut self, handler: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_connect", self.handlers.on_connect.is_some());
        self.handlers.on_connect = Some(Box::new(move |socket| Box::pin((handler.clone())(socket))));
        self.settled()
    }

    /// Runs for every event of a client before its handler, whether there is one or not, and returns the event for the handler:
    /// as it came, or with [another name, other arguments, another ack](Incoming). An error stops the event and is sent as the
    /// client's ack, as an error of the handler is. `Ok(None)` stops it, and nobody is told. Node: `socket.use()`, whose errors
    /// are not sent.
    ///
    /// Several run in the order in which they were given, each with what the one before it returned. One that disconnects the
    /// socket stops the event as well.
    ///
    /// ```
    /// # use socketmesh::{EventError, Handshake, Incoming, Refusal, Socket, namespace};
    /// struct User { may_write: bool }
    /// # async fn login(_: Handshake) -> Result<User, Refusal> { Err(Refusal::new("no")) }
    ///
    /// let wiki = namespace("/wiki").auth(login).middleware(async |socket: Socket<User>, event: Incoming| {
    ///     match event.name() {
    ///         "write" if !socket.data().may_write => Err(EventError::new("forbidden", "you may only read")),
    ///         _ => Ok(event),
    ///     }
    /// });
    /// ```
    pub fn middleware<E, F, Fut>(mut self, check: F) -> Namespace<S>
    where
        E: Onward,
        F: FnOnce(Socket<S>, Incoming) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<E, EventError>> + Send + 'static,
    {
        self.handlers.middleware.push(Box::new(move |socket, event| {
            let checking = (check.clone())(socket, event);
            Box::pin(async move { Ok(checking.await?.into_incoming()) })
        }));
        self.settled()
    }

    /// Handles one event. Node: `socket.on(event)`; the value returned is what a handler in Node passes to its ack function.
    /// Behind its value the handler may take an [`Ack`](crate::Ack), to answer later, elsewhere or never.
    ///
    /// If the arguments do not decode as `A`, the handler does not run: the client gets the error `invalid_arguments` as its
    /// ack, and the log a warning. Two handlers for one event are an error when the node starts.
    pub fn on<A, Acks, H>(mut self, event: &str, handler: H) -> Namespace<S>
    where
        A: FromArgs + Send + 'static,
        H: Handler<S, (A,), Acks, Future: Future<Output: Answer<Acks, Value: IntoArgs>> + Send + 'static>,
    {
        let decode = |event: &Event| Ok((A::from_args(&event.args).map_err(EventError::invalid_arguments)?,));
        let handler = event_fn(decode, handler);
        if self.handlers.on.insert(event.to_owned(), handler).is_some() {
            self.faults.push(format!("two handlers for the event {event:?}"));
        }
        self.settled()
    }

    /// Handles events without an [`on`](Self::on) of their own, as a serde enum: the name of the variant is the event, its
    /// content the arguments.
    ///
    /// An event that is no variant goes to the [`fallback`](Self::fallback), or has no handler: it is logged and never acked. A
    /// variant with `#[serde(other)]` takes all of them. Arguments that do not fit their variant are answered as with `on`.
    ///
    /// ```
    /// # use socketmesh::{Socket, namespace};
    /// #[derive(serde::Deserialize)]
    /// #[serde(rename_all = "snake_case")]
    /// enum Said { Message(String), Move(f32, f32), Typing { room: String } }
    ///
    /// let game = namespace("/game").events(async |socket: Socket, said: Said| match said {
    ///     Said::Message(text) => Ok(socket.broadcast().emit("message", &text)?),
    ///     Said::Move(..) => Ok(()),
    ///     Said::Typing { room } => Ok(socket.to(&room).volatile().emit("typing", &())?),
    /// });
    /// ```
    pub fn events<E, Acks, H>(mut self, handler: H) -> Namespace<S>
    where
        E: serde::de::DeserializeOwned + Send + 'static,
        H: Handler<S, (E,), Acks, Future: Future<Output: Answer<Acks, Value: IntoArgs>> + Send + 'static>,
    {
        self.once("events", self.handlers.events.is_some());
        let decode = |event: &Event| {
            let decoded = decode_event(&event.name, &event.args).map_err(EventError::invalid_arguments)?;
            Ok(decoded.map(|event| (event,)))
        };
        self.handlers.events = Some(events_fn(decode, handler));
        self.settled()
    }

    /// Handles every event without a handler of its own, by its name and undecoded arguments, and with an
    /// [`Ack`](crate::Ack) if it takes one: to stay silent, or to say that it knows no such event. Node: `socket.onAny()` for
    /// events without listeners.
    ///
    /// ```
    /// # use socketmesh::{Ack, EventError, RawArgs, Socket, namespace};
    /// let told = namespace("/told").fallback(async |_: Socket, event: String, _: RawArgs| {
    ///     Err::<(), _>(EventError::new("unknown_event", format!("there is no {event}")))
    /// });
    /// let silent = namespace("/silent").fallback(async |_: Socket, event: String, _: RawArgs, _: Ack| {
    ///     println!("there is no {event}");
    /// });
    /// ```
    pub fn fallback<Acks, H>(mut self, handler: H) -> Namespace<S>
    where
        H: Handler<
                S,
                (String, RawArgs),
                Acks,
                Future: Future<Output: Answer<Acks, Value: IntoArgs>> + Send + 'static,
            >,
    {
        self.once("fallback", self.handlers.fallback.is_some());
        let decode = |event: &Event| Ok((event.name.to_string(), event.args.clone()));
        self.handlers.fallback = Some(event_fn(decode, handler));
        self.settled()
    }

    /// Runs after a connected socket has left the namespace, for whatever reason, and after its last event handler has
    /// ended. [`Socket::rooms`] still lists the rooms that it was in. Node: `socket.on("disconnecting")`.
    ///
    /// The socket is in none of these rooms any more, so what is emitted to them reaches the others. Then
    /// [`on_disconnect`](Self::on_disconnect) runs.
    ///
    /// ```
    /// # use socketmesh::{DisconnectReason, Socket, namespace};
    /// let chat = namespace("/").on_disconnecting(async |socket: Socket, _: DisconnectReason| {
    ///     for room in socket.rooms() {
    ///         socket.to(room).emit("left", &socket.id())?;
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn on_disconnecting<F, Fut>(mut self, handler: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, DisconnectReason) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_disconnecting", self.handlers.on_disconnecting.is_some());
        self.handlers.on_disconnecting =
            Some(Box::new(move |socket, reason| Box::pin((handler.clone())(socket, reason))));
        self.settled()
    }

    /// Runs after a connected socket has left the namespace and all its rooms, for whatever reason, and after its last event
    /// handler has ended. No handler runs for the socket after that. Node: `socket.on("disconnect")`.
    ///
    /// A node that [shuts down](crate::Node::shutdown) waits for it, 5 seconds at most.
    pub fn on_disconnect<F, Fut>(mut self, handler: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, DisconnectReason) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_disconnect", self.handlers.on_disconnect.is_some());
        self.handlers.on_disconnect =
            Some(Box::new(move |socket, reason| Box::pin((handler.clone())(socket, reason))));
        self.settled()
    }

    /// From now on it is settled what its sockets carry.
    fn settled(self) -> Namespace<S> {
        let Self { paths, handlers, recovery, faults, .. } = self;
        Namespace { paths, handlers, recovery, faults, stage: PhantomData }
    }

    fn once(&mut self, what: &str, taken: bool) {
        if taken {
            self.faults.push(format!("two handlers for {what}"));
        }
    }

    /// The description without the type of the data.
    pub(crate) fn described(mut self) -> Description {
        self.check_lanes();
        let (handlers, counters) = (Arc::new(self.handlers), NamespaceCounters::default());
        let (paths, recovery, faults) = (self.paths, self.recovery, self.faults);
        Description { paths, handlers, counters, recovery, faults }
    }
}

impl<S: Send + Sync + 'static> From<Namespace<S, BeforeHandlers>> for Namespace<S> {
    /// For a variable that gets handlers under conditions.
    ///
    /// ```
    /// use socketmesh::{Namespace, Socket, namespace};
    ///
    /// let mut chat = Namespace::from(namespace("/chat"));
    /// if cfg!(debug_assertions) {
    ///     chat = chat.on("echo", async |_: Socket, text: String| Ok(text));
    /// }
    /// ```
    fn from(open: Namespace<S, BeforeHandlers>) -> Self {
        open.settled()
    }
}

impl<S, Stage> fmt::Debug for Namespace<S, Stage> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("paths", &format_args!("{}", self.paths)).finish_non_exhaustive()
    }
}

/// Encodes the reply to an event, for a handler whose replies are of several types.
///
/// # Errors
///
/// As [`RawArgs::encode`]; the client gets the error `internal`.
///
/// ```
/// use socketmesh::{Socket, namespace, reply};
///
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Asked { Name, Add(i32, i32), Leave }
///
/// let calculator = namespace("/").events(async |_: Socket, asked: Asked| match asked {
///     Asked::Name => reply("calculator"),
///     Asked::Add(a, b) => reply(&(a + b)),
///     Asked::Leave => reply(&()), // an empty ack
/// });
/// ```
pub fn reply<A: IntoArgs + ?Sized>(answer: &A) -> Result<RawArgs, EventError> {
    Ok(RawArgs::encode(answer)?)
}
