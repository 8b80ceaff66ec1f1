//! A namespace as its author describes it: who may connect, and what the handlers do.

mod handlers;
mod nodes;
mod observing;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use regex_lite::Regex;

use self::handlers::{Auth, AuthFn, Handlers, event_fn};
use super::args::{FromArgs, IntoArgs, RawArgs, decode_event};
use super::behaviour::Behaviour;
use super::error::{DisconnectReason, EventError, Refusal};
use super::family::Paths;
use super::handle::Socket;
use super::handshake::Handshake;
use super::packet::Event;
use super::state::normalize;

/// Describes the namespace at `path` (`chat` and `/chat` are the same). Node: `io.of(path)`.
///
/// Handlers belong to the namespace and are fixed when the node starts: nothing is registered per socket.
///
/// ```
/// use socketmesh::{Socket, namespace};
///
/// let echo = namespace("/").on("echo", async |_: Socket, text: String| Ok(text));
/// ```
pub fn namespace(path: impl AsRef<str>) -> Namespace {
    Namespace::open(Paths::One(normalize(path.as_ref())))
}

/// Describes all namespaces whose path the regular expression finds something in; `^` and `$` make it the whole path.
/// Node: `io.of(regex)`.
///
/// Each of them has sockets and rooms of its own, on all nodes; handlers are shared, and [`Socket::namespace`] and
/// [`Handshake::namespace`] say which one it is. It is made when somebody asks for it, and nothing is left of it when
/// nobody is in it any more: clients choose its path, so let [`auth`](Namespace::auth) decide who may enter which.
///
/// A [`namespace`] of its own comes first; then patterns and [predicates](namespaces_where) in the order in which the
/// node was given them. The syntax is that of the crate `regex-lite`; matching takes linear time. A path of more than
/// 1024 bytes is in none. To emit to one namespace, name it: `node.of("/room-1")`. Nothing emits to all of them.
///
/// ```
/// use socketmesh::{Socket, namespaces};
///
/// let rooms = namespaces(r"^/room-\d+$")
///     .on_connect(async |socket: Socket| Ok(socket.emit("welcome", socket.namespace())?));
/// ```
pub fn namespaces(pattern: impl AsRef<str>) -> Namespace {
    let pattern = pattern.as_ref();
    match Regex::new(pattern) {
        Ok(pattern) => Namespace::open(Paths::Pattern(pattern)),
        Err(error) => {
            let mut faulty = Namespace::open(Paths::One(pattern.into()));
            faulty.faults.push(format!("not a pattern: {error}"));
            faulty
        }
    }
}

/// Describes all namespaces that `accepts` says yes to, as [`namespaces`] does with a pattern. Node: `io.of(function)`.
///
/// It is asked about every client ([`Handshake::namespace`] is what that asks for), before anything else decides. No, an
/// error or a panic: the next description is asked, and when none is left, the client is told `Invalid namespace`. While
/// somebody is in a namespace on this node, only who took the first one in is asked.
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
pub fn namespaces_where<F, Fut>(accepts: F) -> Namespace
where
    F: FnOnce(Handshake) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<bool, EventError>> + Send + 'static,
{
    Namespace::open(Paths::Where(Box::new(move |handshake| Box::pin((accepts.clone())(handshake)))))
}

/// The description of a namespace whose sockets carry an `S`: what its `auth` returned.
///
/// A handler is `async fn(Socket<S>, A) -> Result<R, EventError>`: the first argument of the event as `A` (several with
/// [`Args`](super::Args)), the answer to the client's ack as `R`. Handlers of one client run one after another, in the
/// order in which the client sent its events; handlers of different clients run concurrently. An error becomes the
/// ack `{"error": {"code", "message"}}` and a line in the log.
#[must_use = "a namespace serves nothing until it is given to a node"]
pub struct Namespace<S = ()> {
    paths: Paths,
    handlers: Handlers<S>,
    faults: Vec<String>,
}

impl Namespace {
    fn open(paths: Paths) -> Self {
        Self { paths, handlers: Handlers::open(), faults: Vec::new() }
    }

    /// Decides who may connect; what it returns is the data of the socket, so no handler runs without it.
    /// Node: `nsp.use()`.
    ///
    /// Comes before any handler. A [`Refusal`] becomes CONNECT_ERROR `{message, data}`; the connection stays open and
    /// the client may try again.
    pub fn auth<S, F, Fut>(mut self, auth: F) -> Namespace<S>
    where
        S: Send + Sync + 'static,
        F: FnOnce(Handshake) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<S, Refusal>> + Send + 'static,
    {
        if !self.handlers.is_empty() {
            self.faults.push("auth comes before the handlers".to_owned());
        }
        // Called in the task that decides, not in the session's actor: it is user code.
        let auth: AuthFn<S> = Box::new(move |handshake| {
            let auth = auth.clone();
            Box::pin(async move { auth(handshake).await })
        });
        let handlers = Handlers::new(self.handlers.admit, Auth::Asked(auth));
        Namespace { paths: self.paths, handlers, faults: self.faults }
    }
}

impl<S: Send + Sync + 'static> Namespace<S> {
    /// Checks who may connect, before [`auth`](Namespace::auth) makes the data of the socket. Node: `nsp.use()`.
    ///
    /// Several run in the order in which they were given; the first [`Refusal`] ends it, as one of `auth` does. There is
    /// no socket yet that could emit or join a room: that is for [`on_connect`](Self::on_connect).
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

    /// Runs when a client has connected, before its first event. Node: `nsp.on("connection")`.
    ///
    /// If it fails, the socket is disconnected.
    pub fn on_connect<F, Fut>(mut self, handler: F) -> Self
    where
        F: FnOnce(Socket<S>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_connect", self.handlers.on_connect.is_some());
        self.handlers.on_connect = Some(Box::new(move |socket| Box::pin((handler.clone())(socket))));
        self
    }

    /// Runs for every event of a client before its handler, whether it has one or not; an error stops the event, and
    /// becomes the client's ack as one of the handler does. Node: `socket.use()`, which answers nothing.
    ///
    /// Several run in the order in which they were given. One that disconnects the socket stops the event as well. Name and arguments are those the handler gets.
    ///
    /// ```
    /// # use socketmesh::{EventError, Handshake, RawArgs, Refusal, Socket, namespace};
    /// struct User { may_write: bool }
    /// # async fn login(_: Handshake) -> Result<User, Refusal> { Err(Refusal::new("no")) }
    ///
    /// let wiki = namespace("/wiki").auth(login).middleware(async |socket: Socket<User>, event: String, _: RawArgs| {
    ///     match &*event {
    ///         "write" if !socket.data().may_write => Err(EventError::new("forbidden", "you may only read")),
    ///         _ => Ok(()),
    ///     }
    /// });
    /// ```
    pub fn middleware<F, Fut>(mut self, check: F) -> Self
    where
        F: FnOnce(Socket<S>, String, RawArgs) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        let check = move |socket, event, args| Box::pin((check.clone())(socket, event, args)) as _;
        self.handlers.middleware.push(Box::new(check));
        self
    }

    /// Handles one event. Node: `socket.on(event)`, and the value returned is what Node's handler gives to its `ack`.
    ///
    /// Arguments that do not decode as `A` are an error the client sees in its ack, and a warning in the log.
    pub fn on<A, R, F, Fut>(mut self, event: &str, handler: F) -> Self
    where
        A: FromArgs + Send + 'static,
        R: IntoArgs + Send + 'static,
        F: FnOnce(Socket<S>, A) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, EventError>> + Send + 'static,
    {
        let handler =
            event_fn(|event| A::from_args(&event.args).map_err(EventError::invalid_arguments), handler);
        if self.handlers.on.insert(event.to_owned(), handler).is_some() {
            self.faults.push(format!("two handlers for the event {event:?}"));
        }
        self
    }

    /// Handles every event without an [`on`](Self::on) of its own as a serde enum: the variant is the event's name,
    /// its content the arguments.
    ///
    /// ```
    /// # use socketmesh::{EventError, Socket, namespace};
    /// #[derive(serde::Deserialize)]
    /// #[serde(rename_all = "snake_case")]
    /// enum Said { Message(String), Move(f32, f32), Typing { room: String }, #[serde(other)] Unknown }
    ///
    /// let game = namespace("/game").events(async |socket: Socket, said: Said| match said {
    ///     Said::Message(text) => Ok(socket.broadcast().emit("message", &text)?),
    ///     Said::Move(..) => Ok(()),
    ///     Said::Typing { room } => Ok(socket.to(&room).volatile().emit("typing", &())?),
    ///     Said::Unknown => Err(EventError::new("unknown_event", "not in this protocol")),
    /// });
    /// ```
    pub fn events<E, R, F, Fut>(mut self, handler: F) -> Self
    where
        E: serde::de::DeserializeOwned + Send + 'static,
        R: IntoArgs + Send + 'static,
        F: FnOnce(Socket<S>, E) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, EventError>> + Send + 'static,
    {
        self.once("events", self.handlers.events.is_some());
        let decode =
            |event: &Event| decode_event(&event.name, &event.args).map_err(EventError::invalid_arguments);
        self.handlers.events = Some(event_fn(decode, handler));
        self
    }

    /// Handles every event that nothing else does, by name and undecoded arguments. Node: `socket.onAny()` for events
    /// without listeners.
    pub fn fallback<R, F, Fut>(mut self, handler: F) -> Self
    where
        R: IntoArgs + Send + 'static,
        F: FnOnce(Socket<S>, String, RawArgs) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, EventError>> + Send + 'static,
    {
        self.once("fallback", self.handlers.fallback.is_some());
        let handler = move |socket, (name, args)| handler(socket, name, args);
        let decode = |event: &Event| Ok((event.name.to_string(), event.args.clone()));
        self.handlers.fallback = Some(event_fn(decode, handler));
        self
    }

    /// Runs after a connected socket has left the namespace, whatever the reason, and after the last event handler has
    /// ended: for [`Socket::rooms`], which still lists the rooms it was in. Node: `socket.on("disconnecting")`.
    ///
    /// The socket is in none of them any more: what is emitted to them reaches the others. Then
    /// [`on_disconnect`](Self::on_disconnect) runs.
    ///
    /// ```
    /// # use socketmesh::{DisconnectReason, Socket, namespace};
    /// let chat = namespace("/").on_disconnecting(async |socket: Socket, _: DisconnectReason| {
    ///     for room in socket.rooms() {
    ///         socket.to(room).emit("left", &socket.id().to_string())?;
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn on_disconnecting<F, Fut>(mut self, handler: F) -> Self
    where
        F: FnOnce(Socket<S>, DisconnectReason) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_disconnecting", self.handlers.on_disconnecting.is_some());
        self.handlers.on_disconnecting =
            Some(Box::new(move |socket, reason| Box::pin((handler.clone())(socket, reason))));
        self
    }

    /// Runs after a connected socket has left the namespace and all its rooms, whatever the reason, and after the last
    /// event handler has ended; nothing runs for it after that. Node: `socket.on("disconnect")`.
    ///
    /// A node that [shuts down](crate::Node::shutdown) waits for it, 5 s at most.
    pub fn on_disconnect<F, Fut>(mut self, handler: F) -> Self
    where
        F: FnOnce(Socket<S>, DisconnectReason) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), EventError>> + Send + 'static,
    {
        self.once("on_disconnect", self.handlers.on_disconnect.is_some());
        self.handlers.on_disconnect =
            Some(Box::new(move |socket, reason| Box::pin((handler.clone())(socket, reason))));
        self
    }

    fn once(&mut self, what: &str, taken: bool) {
        if taken {
            self.faults.push(format!("two handlers for {what}"));
        }
    }

    /// Forgets the type of the data.
    pub(crate) fn described(mut self) -> Described {
        if self.handlers.events.is_some() && self.handlers.fallback.is_some() {
            self.faults.push("events handles every event, so fallback never runs".to_owned());
        }
        Described { paths: self.paths, behaviour: Box::new(self.handlers), faults: self.faults }
    }
}

/// A namespace as a node takes it, whatever the type of its sockets' data.
pub(crate) struct Described {
    pub(crate) paths: Paths,
    pub(crate) behaviour: Box<dyn Behaviour>,
    /// What is wrong with the description.
    pub(crate) faults: Vec<String>,
}

impl<S> fmt::Debug for Namespace<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("paths", &format_args!("{}", self.paths)).finish_non_exhaustive()
    }
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Described").field("paths", &format_args!("{}", self.paths)).finish_non_exhaustive()
    }
}
