//! A client of a test: it speaks Engine.IO and Socket.IO over connections in memory, and tells what it received.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::entrance::{Entrance, Way};
use super::packet::Event;
use super::session::{Answers, Session, State};
use super::transport::Transport;
use crate::socket::{ArgsError, EventError, FromArgs, IntoArgs, RawArgs, Refusal};

/// A client in one namespace. It answers pings by itself; dropped, its connection is cut.
///
/// Whatever it sends and receives takes the way of a real client: through the HTTP service of a node, its WebSocket or
/// polling, and both codecs.
///
/// Events it receives are kept until they are asked for, up to 10 000; then it reads no more, like a slow client.
///
/// # Panics
///
/// Methods that wait panic after [`Client::PATIENCE`], and say what the client received instead.
pub struct Client {
    ns: String,
    auth: Value,
    id: String,
    way: Way,
    session: Arc<Session>,
    events: mpsc::Receiver<Event>,
    /// Received, and not asked for yet.
    unread: VecDeque<Event>,
    driving: JoinSet<()>,
}

impl Client {
    /// How long a client waits for what should happen: far above every bound that a node promises.
    pub const PATIENCE: Duration = Duration::from_secs(30);
    /// How long [`Client::silent`] listens.
    pub const SILENCE: Duration = Duration::from_secs(2);

    pub(super) async fn connect(way: Way, ns: &str, auth: &impl Serialize) -> Result<Self, Refusal> {
        let auth = serde_json::to_value(auth)?;
        Self::enter(way, ns.to_owned(), auth, Arc::default()).await
    }

    async fn enter(way: Way, ns: String, auth: Value, answers: Arc<Answers>) -> Result<Self, Refusal> {
        let ns = if ns.starts_with('/') { ns } else { format!("/{ns}") };
        let opening = async {
            match &way {
                Way::WebSocket(doors) => Transport::websocket(doors).await,
                Way::Polling(doors) => Transport::polling(doors).await,
            }
        };
        let opened = timeout(Self::PATIENCE, opening).await;
        let (transport, opened) =
            opened.unwrap_or_else(|_| Err("no answer".to_owned())).map_err(Refusal::new)?;
        let session = Session::new(&ns, &transport, answers);
        let (received, events) = mpsc::channel(MAX_UNREAD);
        let mut driving = JoinSet::new();
        driving.spawn(Arc::clone(&session).run(transport, opened, received));
        session.enter(&auth).await;
        let id = admitted(&session).await?;
        Ok(Self { ns, auth, id, way, session, events, unread: VecDeque::new(), driving })
    }

    /// The id of its socket. A client that reconnected has another one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is connected, as far as it knows.
    pub fn is_connected(&self) -> bool {
        self.session.closed().is_none()
    }

    /// Sends an event. Node: `socket.emit(event, ...args)`. Dropped when the connection is gone.
    ///
    /// # Panics
    ///
    /// The arguments do not encode.
    pub async fn emit<A: IntoArgs + ?Sized>(&self, event: &str, args: &A) {
        self.session.send(self.session.event(event, &encode(event, args))).await;
    }

    /// Sends an event and waits for its ack. Node: `await socket.emitWithAck(event, ...args)`.
    ///
    /// # Errors
    ///
    /// What came instead of an `R`: an error of the handler, or nothing.
    ///
    /// # Panics
    ///
    /// The arguments do not encode.
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

    /// The arguments of the next event of that name. Events of other names stay where they are.
    ///
    /// # Panics
    ///
    /// It does not come, or its arguments are no `T`.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub async fn recv<T: FromArgs>(&mut self, event: &str) -> T {
        let received = self.next_of(event).await;
        match received.args.decode() {
            Ok(args) => args,
            Err(error) => panic!("{self} received {event:?} with {:?}: {error}", received.args),
        }
    }

    /// The next event of that name, which wants an ack.
    ///
    /// # Panics
    ///
    /// It does not come, wants no ack, or its arguments are no `T`.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub async fn recv_call<T: FromArgs>(&mut self, event: &str) -> Call<T> {
        let received = self.next_of(event).await;
        match (received.args.decode(), received.id) {
            (Ok(args), Some(id)) => Call { args, id, session: Arc::clone(&self.session) },
            (Ok(_), None) => panic!("{self} received {event:?}, and nobody wants an ack"),
            (Err(error), _) => panic!("{self} received {event:?} with {:?}: {error}", received.args),
        }
    }

    /// From now on answers every event of that name that wants an ack; they are not received otherwise. Node:
    /// `socket.on(event, (arg, ack) => ack(answer(arg)))`.
    ///
    /// # Panics
    ///
    /// Where such an event comes whose arguments are no `T`, and where the answer does not encode: then it ends the
    /// connection.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn answers<T: FromArgs, R: IntoArgs>(&self, event: &str, answer: impl Fn(T) -> R + Send + 'static) {
        let name = event.to_owned();
        let answer = Box::new(move |args: &RawArgs| match args.decode() {
            Ok(payload) => encode(&name, &answer(payload)),
            Err(error) => panic!("an answer for {name:?} with {args:?}: {error}"),
        });
        self.session.answers.lock().insert(event.to_owned(), answer);
    }

    /// Listens for [`Client::SILENCE`].
    ///
    /// # Panics
    ///
    /// Something comes, or had come and was not asked for; or the client is disconnected, now or before: then it could
    /// hear nothing.
    pub async fn silent(&mut self) {
        let heard = timeout(Self::SILENCE, self.events.recv()).await;
        if let Ok(Some(event)) = heard {
            self.unread.push_back(event);
        } else if let Some(why) = self.session.closed() {
            self.was_disconnected("silence", &why);
        }
        assert!(self.unread.is_empty(), "{self} should have received nothing, but {}", self.received());
    }

    /// The arguments of all events of that name that have arrived, without waiting.
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

    /// The names of the events that were received and not asked for.
    pub fn unread(&mut self) -> Vec<String> {
        while let Ok(event) = self.events.try_recv() {
            self.unread.push_back(event);
        }
        self.unread.iter().map(|event| event.name.clone()).collect()
    }

    /// Leaves, and waits until the server has closed the session. Node: `socket.disconnect()`; the server's reason is
    /// `client namespace disconnect`.
    pub async fn disconnect(&mut self) {
        self.session.leave().await;
        // A node that is gone or cut off does not answer.
        let _late = timeout(Self::SILENCE, self.driving.join_next()).await;
        self.driving.abort_all();
    }

    /// Cuts the connection, without a word: the network of a phone that is gone. Over a WebSocket the server sees it at
    /// once.
    pub fn drop_connection(&mut self) {
        self.session.close("transport close");
        self.driving.abort_all();
    }

    /// Waits until the client is not connected any more, and says why, in the words of `socket.io-client`:
    /// `io server disconnect`, `transport close`, `transport error` (a request of polling failed), `ping timeout`, …
    ///
    /// # Panics
    ///
    /// It stays connected.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub async fn disconnected(&mut self) -> String {
        let mut state = self.session.state();
        let over = state.wait_for(|state| matches!(state, State::Closed(_)));
        // Longer than a client takes to miss its pings.
        if timeout(2 * Self::PATIENCE, over).await.is_err() {
            panic!("{self} is still connected; {}", self.received());
        }
        self.session.closed().unwrap_or_default()
    }

    /// Connects again, with the same `auth`: at a node, or as an [`Entrance`] says. It has a new id and is in no room.
    /// Events that were received before stay; answers given to [`Client::answers`] stay, too.
    ///
    /// # Errors
    ///
    /// As [`TestNode::connect`](super::TestNode::connect).
    pub async fn reconnect(&mut self, at: impl Into<Entrance>) -> Result<(), Refusal> {
        self.drop_connection();
        let Entrance(way) = at.into();
        let answers = Arc::clone(&self.session.answers);
        let again = Self::enter(way, self.ns.clone(), self.auth.clone(), answers).await?;
        self.unread();
        let unread = std::mem::take(&mut self.unread);
        *self = Self { unread, ..again };
        Ok(())
    }

    /// From now on its requests go to other nodes, as behind a balancer without memory: the session stays, and with it
    /// the id and the rooms. A GET that waits is not moved.
    ///
    /// # Panics
    ///
    /// One of both is a WebSocket: that stays where it was opened.
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn goes_through(&self, entrance: impl Into<Entrance>) {
        match (&self.way, entrance.into().0) {
            (Way::Polling(doors), Way::Polling(others)) => doors.replace(&others),
            _ => panic!("{self}: only requests of a client that polls take another way, use `reconnect`"),
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

    /// What was received and not asked for, in words.
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

/// An event that wants an ack. Dropped, it is not answered.
#[must_use = "nobody is answered before `answer` is called"]
pub struct Call<T> {
    /// What came with it.
    pub args: T,
    id: u64,
    session: Arc<Session>,
}

impl<T> Call<T> {
    /// Answers it. Node: `ack(...args)`.
    ///
    /// # Panics
    ///
    /// The answer does not encode.
    pub async fn answer(self, args: &(impl IntoArgs + ?Sized)) {
        self.session.send(self.session.ack(self.id, &encode("an ack", args))).await;
    }
}

impl<T: fmt::Debug> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("args", &self.args).finish_non_exhaustive()
    }
}

/// Why a [`Client::call`] has no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The handler failed: this is what the client sees of it.
    #[error("the handler failed: {0}")]
    Handler(EventError),
    /// No ack came within [`Client::PATIENCE`].
    #[error("no ack in time")]
    Timeout,
    /// The connection ended before the ack.
    #[error("disconnected before the ack")]
    Disconnected,
    /// The ack is of another type.
    #[error("the ack does not decode")]
    Decode(#[from] ArgsError),
}

impl CallError {
    /// The code of the handler's error, if it was one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Handler(error) => Some(error.code()),
            Self::Timeout | Self::Disconnected | Self::Decode(_) => None,
        }
    }
}

/// Waits for the answer to CONNECT: the id of the socket.
async fn admitted(session: &Session) -> Result<String, Refusal> {
    let mut state = session.state();
    let decided = state.wait_for(|state| !matches!(state, State::Connecting));
    let decided = timeout(Client::PATIENCE, decided).await;
    // It may have been disconnected since.
    if let Some(id) = session.id.get() {
        return Ok(id.clone());
    }
    Err(match decided {
        Ok(Ok(state)) => match &*state {
            State::Refused(refusal) => copied(refusal),
            State::Closed(reason) => Refusal::new(reason.clone()),
            State::Connecting | State::Connected => Refusal::new("no id"),
        },
        // The sender lives in the session.
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
        Err(error) => panic!("the arguments of {event:?} do not encode: {error}"),
    }
}

/// What an ack says of a handler that failed.
fn handler_error(args: &RawArgs) -> Option<EventError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Failed {
        error: Described,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Described {
        code: String,
        message: String,
    }
    let Failed { error } = args.decode().ok()?;
    Some(EventError::new(error.code, error.message))
}

/// More than a test lets wait.
const MAX_UNREAD: usize = 10_000;
/// How many events a failure lists.
const MAX_NAMED: usize = 10;
