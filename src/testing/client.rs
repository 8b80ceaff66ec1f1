//! The client of a test. It speaks Engine.IO and Socket.IO over connections in memory and keeps what it receives.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::packet::Event;
use super::route::{Route, RouteTransport};
use super::session::{AckHandlers, ClientSession, ClientState};
use super::transport::ClientTransport;
use crate::socket::{ArgsError, EventError, FromArgs, IntoArgs, RawArgs, Refusal};

impl Route {
    /// Opens a session and connects to the namespace `path`. `auth` is sent as the client's `auth`; `&()` sends none. Node:
    /// `io(path, { auth })`.
    ///
    /// # Errors
    ///
    /// What a client sees as `connect_error`: the refusal of the namespace's `auth`, or the reason why no session could be
    /// opened (`503 Service Unavailable: …`).
    pub async fn connect(&self, path: &str, auth: &impl Serialize) -> Result<Client, Refusal> {
        let ns = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let auth = serde_json::to_value(auth)?;
        Client::connect(self.for_one_client(), ns, auth, Arc::default()).await
    }
}

/// A client in one namespace. It answers pings by itself. Dropping it cuts its connection.
///
/// Everything it sends and receives passes through the HTTP service of a node, a WebSocket or polling, and the codecs of
/// both sides, as with a real client.
///
/// It keeps the events that it receives until the test asks for them, up to 10 000. After that it stops reading, as a
/// slow client does.
///
/// # Panics
///
/// Methods that wait panic after [`Client::PATIENCE`]. The message says what the client received instead.
pub struct Client {
    ns: String,
    auth: Value,
    id: String,
    route: Route,
    session: Arc<ClientSession>,
    events: mpsc::Receiver<Event>,
    /// Events that the test has not asked for yet.
    unread: VecDeque<Event>,
    driving: JoinSet<()>,
}

impl Client {
    /// How long a client waits before it panics: 30 seconds, far above every bound that a node promises.
    pub const PATIENCE: Duration = Duration::from_secs(30);
    /// How long [`Client::silent`] listens: 2 seconds.
    pub const SILENCE: Duration = Duration::from_secs(2);

    /// Connects to the namespace `ns` and waits for the decision of the server.
    async fn connect(
        route: Route,
        ns: String,
        auth: Value,
        ack_handlers: Arc<AckHandlers>,
    ) -> Result<Self, Refusal> {
        let opened = timeout(Self::PATIENCE, ClientTransport::open(&route)).await;
        let (transport, opened) =
            opened.unwrap_or_else(|_| Err("no answer".to_owned())).map_err(Refusal::new)?;
        let session = ClientSession::new(&ns, &transport, ack_handlers);
        let (received, events) = mpsc::channel(MAX_UNREAD);
        let mut driving = JoinSet::new();
        driving.spawn(Arc::clone(&session).run(transport, opened, received));
        session.connect(&auth).await;
        let id = connected(&session).await?;
        Ok(Self { ns, auth, id, route, session, events, unread: VecDeque::new(), driving })
    }

    /// The id of the socket. It changes when the client reconnects.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the client is connected, as far as it knows. Node: `socket.connected`.
    pub fn is_connected(&self) -> bool {
        self.session.closed().is_none()
    }

    /// Sends an event. Node: `socket.emit(event, ...args)`. The event is dropped when the client is disconnected.
    ///
    /// # Panics
    ///
    /// The arguments cannot be encoded.
    pub async fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) {
        self.session.send(self.session.event(event, &encode(event, args))).await;
    }

    /// Sends an event and waits for its ack. Node: `await socket.emitWithAck(event, ...args)`.
    ///
    /// # Errors
    ///
    /// The handler's error, an ack that is no `R`, or no ack: see [`CallError`].
    ///
    /// # Panics
    ///
    /// The arguments cannot be encoded.
    pub async fn call<R: FromArgs>(
        &self,
        event: &str,
        args: &(impl IntoArgs + ?Sized),
    ) -> Result<R, CallError> {
        let ack = self.session.call(event, &encode(event, args)).await;
        match timeout(Self::PATIENCE, ack).await {
            Ok(Ok(args)) => match handler_error(&args) {
                Some(error) => Err(CallError::Handler(error)),
                None => Ok(args.decode()?),
            },
            Ok(Err(_)) => Err(CallError::Disconnected),
            Err(_) => Err(CallError::Timeout),
        }
    }

    /// Waits for the next event of this name and returns its arguments. Events of other names stay unread.
    ///
    /// # Panics
    ///
    /// No such event arrives in time, or its arguments are no `T`.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub async fn recv<T: FromArgs>(&mut self, event: &str) -> T {
        let received = self.next_of(event).await;
        match received.args.decode() {
            Ok(args) => args,
            Err(error) => panic!("{self} received {event:?} with {:?}: {error}", received.args),
        }
    }

    /// Waits for the next event of this name that wants an ack. Node: `socket.on(event, (arg, ack) => …)`.
    ///
    /// # Panics
    ///
    /// No such event arrives in time, it wants no ack, or its arguments are no `T`.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub async fn recv_call<T: FromArgs>(&mut self, event: &str) -> Call<T> {
        let received = self.next_of(event).await;
        match (received.args.decode(), received.id) {
            (Ok(args), Some(id)) => Call { args, id, session: Arc::clone(&self.session) },
            (Ok(_), None) => panic!("{self} received {event:?}, which wants no ack"),
            (Err(error), _) => panic!("{self} received {event:?} with {:?}: {error}", received.args),
        }
    }

    /// Acks every following event of this name with what `handler` returns. Those events are not kept for
    /// [`recv`](Self::recv). Events of this name that want no ack are. Node:
    /// `socket.on(event, (arg, ack) => ack(handler(arg)))`.
    ///
    /// # Panics
    ///
    /// The task that serves the connection panics, which closes the connection, when the arguments of such an event are
    /// no `T` or the returned value cannot be encoded.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn on_call<T: FromArgs, R: IntoArgs>(&self, event: &str, handler: impl Fn(T) -> R + Send + 'static) {
        let name = event.to_owned();
        let handler = Box::new(move |args: &RawArgs| match args.decode() {
            Ok(payload) => encode(&name, &handler(payload)),
            Err(error) => panic!("the handler of {name:?} was called with {args:?}: {error}"),
        });
        self.session.ack_handlers.lock().insert(event.to_owned(), handler);
    }

    /// Asserts that the client has no unread events and receives none for [`Client::SILENCE`].
    ///
    /// # Panics
    ///
    /// There is an unread event, an event arrives, or the client is disconnected: then it could not receive anything.
    pub async fn silent(&mut self) {
        let received = timeout(Self::SILENCE, self.events.recv()).await;
        if let Ok(Some(event)) = received {
            self.unread.push_back(event);
        } else if let Some(why) = self.session.closed() {
            self.was_disconnected("silence", &why);
        }
        assert!(self.unread.is_empty(), "{self} should have received nothing, but {}", self.received());
    }

    /// Takes all unread events of this name and returns their arguments, without waiting.
    ///
    /// # Panics
    ///
    /// The arguments of one of them are no `T`.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn take<T: FromArgs>(&mut self, event: &str) -> Vec<T> {
        self.unread();
        let (taken, left) = self.unread.drain(..).partition(|received| received.name == event);
        self.unread = left;
        let decoded = |Event { args, .. }: Event| match args.decode() {
            Ok(args) => args,
            Err(error) => panic!("{event:?} was received with {args:?}: {error}"),
        };
        Vec::from(taken).into_iter().map(decoded).collect()
    }

    /// The names of the unread events, in the order of their arrival.
    pub fn unread(&mut self) -> Vec<String> {
        while let Ok(event) = self.events.try_recv() {
            self.unread.push_back(event);
        }
        self.unread.iter().map(|event| event.name.clone()).collect()
    }

    /// Leaves the namespace and waits until the server has closed the session, at most [`Client::SILENCE`]. Node:
    /// `socket.disconnect()`. The reason on the server is `client namespace disconnect`.
    pub async fn disconnect(&mut self) {
        self.session.leave().await;
        // A node that was killed or partitioned does not answer.
        let _late = timeout(Self::SILENCE, self.driving.join_next()).await;
        self.driving.abort_all();
    }

    /// Cuts the connection without telling the server, as a phone that loses its network. A server notices a cut
    /// WebSocket at once, and a client that stopped polling when its ping times out.
    pub fn drop_connection(&mut self) {
        self.session.close("transport close");
        self.driving.abort_all();
    }

    /// Waits until the client is disconnected and returns the reason, in the words of `socket.io-client`:
    /// `io server disconnect`, `transport close`, `transport error` (a request of polling failed), `ping timeout`, …
    ///
    /// # Panics
    ///
    /// The client stays connected for twice [`Client::PATIENCE`].
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub async fn disconnected(&mut self) -> String {
        let mut state = self.session.state();
        let closed = state.wait_for(|state| matches!(state, ClientState::Closed(_)));
        // With the default settings a client misses its ping after 45 seconds.
        if timeout(2 * Self::PATIENCE, closed).await.is_err() {
            panic!("{self} is still connected; {}", self.received());
        }
        self.session.closed().unwrap_or_default()
    }

    /// What the client says when it connects again: its `auth`, and by what it gets its socket back. Whoever says it comes in its place.
    pub fn returning_auth(&self) -> Value {
        let (pid, offset) = (self.session.pid.get(), self.session.offset.lock().clone());
        let mut auth = serde_json::json!({ "pid": pid, "offset": offset });
        if let (Value::Object(auth), Value::Object(own)) = (&mut auth, &self.auth) {
            auth.retain(|_, value| !value.is_null());
            auth.extend(own.clone());
        }
        auth
    }

    /// Connects again as a client does whose connection was lost: it asks for its socket, and has it if the namespace
    /// [recovers](crate::Namespace::recover) it. Its unread events and the handlers of [`on_call`](Self::on_call) stay. Returns whether
    /// it was recovered. Node: `socket.recovered`.
    ///
    /// # Errors
    ///
    /// As [`Route::connect`].
    pub async fn come_back(&mut self, route: impl Into<Route>) -> Result<bool, Refusal> {
        let (pid, offset) = (self.session.pid.get().cloned(), self.session.offset.lock().clone());
        let auth = self.returning_auth();
        let own = std::mem::replace(&mut self.auth, auth);
        let connected = self.reconnect(route).await;
        self.auth = own;
        connected?;
        let mut known = self.session.offset.lock();
        if known.is_none() {
            *known = offset;
        }
        drop(known);
        Ok(pid.is_some() && self.session.pid.get().cloned() == pid)
    }

    /// Connects again with the same `auth`: to a node, or over a [`Route`]. The client gets a new id and is in no room. Its
    /// unread events and the handlers of [`on_call`](Self::on_call) stay.
    ///
    /// # Errors
    ///
    /// As [`Route::connect`].
    pub async fn reconnect(&mut self, route: impl Into<Route>) -> Result<(), Refusal> {
        self.drop_connection();
        let route = route.into().for_one_client();
        let ack_handlers = Arc::clone(&self.session.ack_handlers);
        let again = Self::connect(route, self.ns.clone(), self.auth.clone(), ack_handlers).await?;
        self.unread();
        let unread = std::mem::take(&mut self.unread);
        *self = Self { unread, ..again };
        Ok(())
    }

    /// Sends the following polling requests over another route, as a stateless load balancer may do. The session, the id
    /// and the rooms stay. A GET that waits for packets stays where it is.
    ///
    /// # Panics
    ///
    /// The client or the route uses a WebSocket, which stays with the node that it was opened to.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn reroute(&self, route: impl Into<Route>) {
        let route = route.into();
        match (self.route.transport, route.transport) {
            (RouteTransport::Polling, RouteTransport::Polling) => self.route.nodes.replace(&route.nodes),
            _ => panic!("{self}: only a client that polls can be rerouted; a WebSocket needs `reconnect`"),
        }
    }

    #[expect(clippy::panic, reason = "a test fails by a panic")]
    async fn next_of(&mut self, name: &str) -> Event {
        let earlier = self.unread.iter().position(|event| event.name == name);
        if let Some(event) = earlier.and_then(|at| self.unread.remove(at)) {
            return event;
        }
        let searching = async {
            loop {
                let event = self.events.recv().await?;
                if event.name == name {
                    return Some(event);
                }
                self.unread.push_back(event);
            }
        };
        match timeout(Self::PATIENCE, searching).await {
            Ok(Some(event)) => event,
            Ok(None) => {
                let why = self.session.closed().unwrap_or_default();
                self.was_disconnected(&format!("{name:?}"), &why)
            }
            Err(_) => panic!("{self} waits for {name:?}; {}", self.received()),
        }
    }

    #[expect(clippy::panic, reason = "a test fails by a panic")]
    fn was_disconnected(&self, waits_for: &str, why: &str) -> ! {
        panic!("{self} waits for {waits_for}, but was disconnected ({why}); {}", self.received())
    }

    /// The unread events, for the message of a failure.
    fn received(&self) -> String {
        if self.unread.is_empty() {
            return "it received nothing else".to_owned();
        }
        let event = |event: &Event| format!("{:?} {:?}", event.name, event.args);
        let named: Vec<_> = self.unread.iter().take(MAX_NAMED).map(event).collect();
        let more = self.unread.len() - named.len();
        format!(
            "it received {}{}",
            named.join(", "),
            if more > 0 { format!(" and {more} more") } else { String::new() }
        )
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} in {}", self.id, self.ns)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).field("ns", &self.ns).finish_non_exhaustive()
    }
}

/// An event that wants an ack. Dropping it sends no ack.
#[must_use = "the server gets no ack before `ack` is called"]
pub struct Call<T> {
    /// The arguments of the event.
    pub args: T,
    id: u64,
    session: Arc<ClientSession>,
}

impl<T> Call<T> {
    /// AckHandlers it. Node: `ack(...args)`.
    ///
    /// # Panics
    ///
    /// The arguments cannot be encoded.
    pub async fn ack(self, args: &(impl IntoArgs + ?Sized)) {
        self.session.send(self.session.ack(self.id, &encode("an ack", args))).await;
    }
}

impl<T: fmt::Debug> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("args", &self.args).finish_non_exhaustive()
    }
}

/// Why [`Client::call`] returned no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The handler of the server failed, with the code, message and data that a client sees.
    #[error("the handler failed: {0}")]
    Handler(EventError),
    /// No ack came within [`Client::PATIENCE`].
    #[error("no ack in time")]
    Timeout,
    /// The connection ended before the ack.
    #[error("disconnected before the ack")]
    Disconnected,
    /// The arguments of the ack are of another type.
    #[error("the ack does not decode")]
    Decode(#[from] ArgsError),
}

impl CallError {
    /// The code of the handler's error; `None` for every other reason.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Handler(error) => Some(error.code()),
            Self::Timeout | Self::Disconnected | Self::Decode(_) => None,
        }
    }
}

/// Waits for the answer to CONNECT and returns the id of the socket.
async fn connected(session: &ClientSession) -> Result<String, Refusal> {
    let mut state = session.state();
    let decided = state.wait_for(|state| !matches!(state, ClientState::Connecting));
    let decided = timeout(Client::PATIENCE, decided).await;
    // The client may already be disconnected again.
    if let Some(id) = session.id.get() {
        return Ok(id.clone());
    }
    Err(match decided {
        Ok(Ok(state)) => match &*state {
            ClientState::Refused(refusal) => copied(refusal),
            ClientState::Closed(reason) => Refusal::new(reason.clone()),
            ClientState::Connecting | ClientState::Connected => {
                Refusal::new("CONNECT was answered without an id")
            }
        },
        // `Err` inside `Ok` cannot happen: the session holds the sender.
        Ok(Err(_)) | Err(_) => Refusal::new("no answer to CONNECT"),
    })
}

fn copied(refusal: &Refusal) -> Refusal {
    let copy = Refusal::new(refusal.message().to_owned());
    match refusal.data() {
        Some(data) => copy.with_data(data),
        None => copy,
    }
}

#[expect(clippy::panic, reason = "a test fails by a panic")]
fn encode(event: &str, args: &(impl IntoArgs + ?Sized)) -> RawArgs {
    match RawArgs::encode(args) {
        Ok(args) => args,
        Err(error) => panic!("the arguments of {event:?} cannot be encoded: {error}"),
    }
}

/// The error of a handler, if the ack carries one.
fn handler_error(args: &RawArgs) -> Option<EventError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Failure {
        error: Description,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Description {
        code: String,
        message: String,
        data: Option<Value>,
    }
    let Failure { error: Description { code, message, data } } = args.decode().ok()?;
    let error = EventError::new(code, message);
    Some(match data {
        Some(data) => error.with_data(data),
        None => error,
    })
}

/// How many events a client keeps before it stops reading.
const MAX_UNREAD: usize = 10_000;
/// How many unread events the message of a failure lists.
const MAX_NAMED: usize = 10;
