//! A namespace as its author describes it: who may connect, and what the handlers do.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::{self, Future};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::args::{FromArgs, IntoArgs, RawArgs, decode_event};
use super::error::{DisconnectReason, EventError, Refusal};
use super::exchange::Emitted;
use super::handle::Socket;
use super::handshake::Handshake;
use super::packet::Event;
use super::raw::RawSocket;
use super::state::{Admission, Behaviour, BoxFuture, Data, normalize};

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
    Namespace { path: normalize(path.as_ref()), handlers: Handlers::open(), faults: Vec::new() }
}

/// The description of a namespace whose sockets carry an `S`: what its `auth` returned.
///
/// A handler is `async fn(Socket<S>, A) -> Result<R, EventError>`: the first argument of the event as `A` (several with
/// [`Args`](super::Args)), the answer to the client's ack as `R`. Handlers of one client run one after another, in the
/// order in which the client sent its events; handlers of different clients run concurrently. An error becomes the
/// ack `{"error": {"code", "message"}}` and a line in the log.
#[must_use = "a namespace serves nothing until it is given to a node"]
pub struct Namespace<S = ()> {
    path: Arc<str>,
    handlers: Handlers<S>,
    faults: Vec<String>,
}

type AuthFn<S> = Box<dyn Fn(Handshake) -> BoxFuture<Result<S, Refusal>> + Send + Sync>;
type ConnectFn<S> = Box<dyn Fn(Socket<S>) -> BoxFuture<Result<(), EventError>> + Send + Sync>;
type EventFn<S> = Box<dyn Fn(Socket<S>, Event) -> BoxFuture<Result<RawArgs, EventError>> + Send + Sync>;
type DisconnectFn<S> =
    Box<dyn Fn(Socket<S>, DisconnectReason) -> BoxFuture<Result<(), EventError>> + Send + Sync>;

type ServerEventFn = Box<dyn Fn(&Emitted) -> BoxFuture<Result<RawArgs, EventError>> + Send + Sync>;
type DescribeFn<S> = Box<dyn Fn(&S) -> Value + Send + Sync>;

struct Handlers<S> {
    auth: Auth<S>,
    on_connect: Option<ConnectFn<S>>,
    on: HashMap<String, EventFn<S>>,
    events: Option<EventFn<S>>,
    fallback: Option<EventFn<S>>,
    on_disconnect: Option<DisconnectFn<S>>,
    on_server_event: HashMap<String, ServerEventFn>,
    describe: Option<DescribeFn<S>>,
}

enum Auth<S> {
    Everybody(Arc<S>),
    Asked(AuthFn<S>),
}

impl Namespace {
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
        Namespace { path: self.path, handlers: Handlers::new(Auth::Asked(auth)), faults: self.faults }
    }
}

impl<S: Send + Sync + 'static> Namespace<S> {
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

    /// Runs after a connected socket has left the namespace and all its rooms, whatever the reason, and after the last
    /// event handler has ended. Node: `socket.on("disconnect")`.
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

    /// Handles an event that another node sent with [`server_side_emit`](super::NamespaceRef::server_side_emit); what
    /// it returns is the answer to [`server_side_emit_with_ack`](super::NamespaceRef::server_side_emit_with_ack).
    /// Node: `nsp.on(event)`.
    ///
    /// On each node one event of the namespace is handled after another, those of one node in the order in which it
    /// sent them. So a handler that waits for the answers of other nodes holds up the answers of its own.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::sync::Arc;
    ///
    /// let limit = Arc::new(AtomicU32::new(10));
    /// let chat = socketmesh::namespace("/chat").on_server_event("limit", async move |new: u32| {
    ///     Ok(limit.swap(new, Ordering::Relaxed))
    /// });
    /// ```
    pub fn on_server_event<A, R, F, Fut>(mut self, event: &str, handler: F) -> Self
    where
        A: FromArgs + Send + 'static,
        R: IntoArgs + Send + 'static,
        F: FnOnce(A) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R, EventError>> + Send + 'static,
    {
        let handler: ServerEventFn = Box::new(move |event| match A::from_args(&event.args) {
            Ok(args) => {
                let result = (handler.clone())(args);
                Box::pin(async move { Ok(RawArgs::encode(&result.await?)?) })
            }
            Err(error) => Box::pin(future::ready(Err(EventError::invalid_arguments(error)))),
        });
        if self.handlers.on_server_event.insert(event.to_owned(), handler).is_some() {
            self.faults.push(format!("two handlers for the server event {event:?}"));
        }
        self
    }

    /// Says what others may know of a socket's data: it becomes [`RemoteSocket::data`](super::RemoteSocket::data) for
    /// whoever fetches the socket, on any node. Without it that is `null`. Node: `socket.data`.
    ///
    /// It runs on the socket's node, at each fetch.
    ///
    /// ```
    /// # use socketmesh::{Handshake, Refusal, namespace};
    /// struct User { name: String, token: String }
    /// # async fn login(_: Handshake) -> Result<User, Refusal> { Err(Refusal::new("no")) }
    ///
    /// let chat = namespace("/chat").auth(login).describe(|user: &User| user.name.clone());
    /// ```
    pub fn describe<V: Serialize>(mut self, describe: impl Fn(&S) -> V + Send + Sync + 'static) -> Self {
        self.once("describe", self.handlers.describe.is_some());
        self.handlers.describe =
            Some(Box::new(move |data| serde_json::to_value(describe(data)).unwrap_or_default()));
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
        Described { path: self.path, behaviour: Box::new(self.handlers), faults: self.faults }
    }
}

/// A namespace as a node takes it, whatever the type of its sockets' data.
pub(crate) struct Described {
    pub(crate) path: Arc<str>,
    pub(crate) behaviour: Box<dyn Behaviour>,
    /// What is wrong with the description.
    pub(crate) faults: Vec<String>,
}

impl<S> fmt::Debug for Namespace<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Handlers<()> {
    fn open() -> Self {
        Self::new(Auth::Everybody(Arc::new(())))
    }
}

impl<S> Handlers<S> {
    fn new(auth: Auth<S>) -> Self {
        Self {
            auth,
            on_connect: None,
            on: HashMap::new(),
            events: None,
            fallback: None,
            on_disconnect: None,
            on_server_event: HashMap::new(),
            describe: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.on_connect.is_none()
            && self.on.is_empty()
            && self.events.is_none()
            && self.fallback.is_none()
            && self.on_disconnect.is_none()
            && self.on_server_event.is_empty()
            && self.describe.is_none()
    }
}

impl<S: Send + Sync + 'static> Behaviour for Handlers<S> {
    fn admit(&self, handshake: Handshake) -> Admission {
        match &self.auth {
            Auth::Everybody(data) => Admission::Open(Arc::clone(data) as Data),
            Auth::Asked(auth) => {
                let decision = auth(handshake);
                Admission::Deciding(Box::pin(async move { Ok(Arc::new(decision.await?) as Data) }))
            }
        }
    }

    fn connected(&self, socket: Arc<RawSocket>) -> BoxFuture<Result<(), EventError>> {
        match (&self.on_connect, Socket::of(socket)) {
            (Some(handler), Some(socket)) => handler(socket),
            _ => Box::pin(future::ready(Ok(()))),
        }
    }

    fn event(&self, socket: Arc<RawSocket>, event: Event) -> BoxFuture<Result<RawArgs, EventError>> {
        let handler = self.on.get(&*event.name).or(self.events.as_ref()).or(self.fallback.as_ref());
        match (handler, Socket::of(socket)) {
            (Some(handler), Some(socket)) => handler(socket, event),
            _ => Box::pin(future::ready(Err(EventError::new("unknown_event", "no handler for this event")))),
        }
    }

    fn disconnected(
        &self,
        socket: Arc<RawSocket>,
        reason: DisconnectReason,
    ) -> BoxFuture<Result<(), EventError>> {
        match (&self.on_disconnect, Socket::of(socket)) {
            (Some(handler), Some(socket)) => handler(socket, reason),
            _ => Box::pin(future::ready(Ok(()))),
        }
    }

    fn server_event(&self, event: &Emitted) -> Option<BoxFuture<Result<RawArgs, EventError>>> {
        Some(self.on_server_event.get(&*event.name)?(event))
    }

    fn describe(&self, data: &(dyn Any + Send + Sync)) -> Value {
        match (&self.describe, data.downcast_ref()) {
            (Some(describe), Some(data)) => describe(data),
            _ => Value::Null,
        }
    }
}

/// A handler with its decoding before and its encoding behind it.
fn event_fn<S, A, R, F, Fut>(
    decode: impl Fn(&Event) -> Result<A, EventError> + Send + Sync + 'static,
    handler: F,
) -> EventFn<S>
where
    S: Send + Sync + 'static,
    A: Send + 'static,
    R: IntoArgs + Send + 'static,
    F: FnOnce(Socket<S>, A) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R, EventError>> + Send + 'static,
{
    Box::new(move |socket, event| match decode(&event) {
        Ok(decoded) => {
            let result = (handler.clone())(socket, decoded);
            Box::pin(async move { Ok(RawArgs::encode(&result.await?)?) })
        }
        Err(error) => Box::pin(future::ready(Err(error))),
    })
}
