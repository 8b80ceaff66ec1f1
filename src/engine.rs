//! Engine.IO v4, and v3 where it is allowed: one client session over changing transports.
//!
//! ```text
//!   http ──► polling ──┐                              ┌──► Client (Socket.IO, or an echo)
//!                      ├──► actor ── owns ── Session ─┤
//!   http ──► websocket ┘      │                       └──► timer
//!                             └──► Outbox ──► pending GET, or the live WebSocket
//! ```
//!
//! `session::Session` is the protocol as a value; the actor feeds it and carries out what it decides. What lives on
//! top implements [`Application`] and [`Client`].

mod actor;
mod config;
mod counters;
mod error;
mod frame;
mod handshake;
mod line;
mod outbox;
mod packet;
mod payload;
mod registry;
mod session;
mod session_ref;
pub(crate) mod websocket;
pub(crate) mod webtransport;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use crate::id::{Key, SessionId};
use crate::random::{self, RandomError};

pub use config::{Compression, Config, ConfigError};
pub use error::{CloseReason, HandshakeError};
pub use handshake::{Handshake, Protocol, Transport};
pub use packet::Message;
pub use session_ref::SessionRef;

pub(crate) use counters::Counters;
pub(crate) use frame::Frame;
pub(crate) use handshake::{Opening, Query, Request, Verified, verify};
pub(crate) use payload::Payload;
pub(crate) use session::{PollReply, PostReply};
pub(crate) use session_ref::{Answer, PostBody};

/// What lives on top of the sessions of a node: Socket.IO, or a protocol of your own.
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

    /// A session was opened. What is sent here follows the open packet at once.
    fn accept(self: &Arc<Self>, session: SessionRef<<Self::Client as Client>::Command>) -> Self::Client;
}

/// One session as the application sees it. All methods run in the session's actor, one at a time: they must not block
/// and must not run user code.
///
/// See [`Application`] for one that echoes.
pub trait Client: Send + 'static {
    /// What the rest of the application can tell this part ([`SessionRef::command`]).
    type Command: Send + 'static;

    /// The client sent a message.
    fn handle_message(&mut self, message: Message);

    /// The rest of the application says something.
    fn handle_command(&mut self, command: Self::Command);

    /// When [`Client::handle_timeout`] wants to be called.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time of [`Client::next_timeout`] has come.
    fn handle_timeout(&mut self, _now: Instant) {}

    /// Whether the client should be slowed down: nothing more is read from it until [`SessionRef::resume`].
    fn is_busy(&self) -> bool {
        false
    }

    /// The session is over.
    fn handle_close(self, reason: CloseReason);
}

/// The sessions of one node.
pub(crate) struct Engine<A: Application> {
    app: Arc<A>,
    config: Arc<Config>,
    counters: Arc<Counters>,
    registry: Arc<registry::Registry<Command<A>>>,
    supervisors: registry::Supervisors,
    mint: Box<dyn Fn() -> Key + Send + Sync>,
    closing: AtomicBool,
}

/// What the application tells its part of a session.
pub(crate) type Command<A> = <<A as Application>::Client as Client>::Command;

impl<A: Application> Engine<A> {
    /// `mint` gives the ring key of each new session: one that this node owns.
    ///
    /// # Errors
    ///
    /// Only if the runtime is shutting down.
    pub(crate) async fn start(
        app: Arc<A>,
        config: Arc<Config>,
        mint: Box<dyn Fn() -> Key + Send + Sync>,
    ) -> Result<Self, ractor::SpawnErr> {
        let supervisors = registry::Supervisors::start().await?;
        let counters = Arc::default();
        Ok(Self {
            app,
            config,
            counters,
            registry: registry::Registry::new(),
            supervisors,
            mint,
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<SessionRef<Command<A>>> {
        self.registry.find(id)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many sessions this node owns.
    pub(crate) fn len(&self) -> usize {
        self.registry.len()
    }

    /// Opens a session. One over a WebSocket or WebTransport comes with the line for its I/O task.
    ///
    /// # Errors
    ///
    /// If the operating system's random generator fails, or the node is shutting down.
    pub(crate) async fn open(
        &self,
        handshake: Arc<Handshake>,
        transport: Transport,
    ) -> Result<Opened<A>, OpenError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(OpenError::Closing);
        }
        let (config, counters) = (Arc::clone(&self.config), Arc::clone(&self.counters));
        let session = SessionRef::new(self.mint_id()?, handshake, transport, config, counters);
        let registration = self.registry.register(&session).ok_or(OpenError::Taken)?;
        let socket = (transport != Transport::Polling)
            .then(|| (session.next_conn(), Arc::new(line::Line::new(line::Stage::Live))));
        let start = actor::Start {
            session: session.clone(),
            app: Arc::clone(&self.app),
            config: Arc::clone(&self.config),
            registration,
            socket: socket.clone(),
        };
        match self.supervisors.next() {
            Some(supervisor) => {
                ractor::Actor::spawn_linked(None, actor::SessionActor::<A>::new(), start, supervisor).await?
            }
            None => ractor::Actor::spawn(None, actor::SessionActor::<A>::new(), start).await?,
        };
        if self.closing.load(Ordering::Acquire) {
            // `shutdown` may have looked before this session could hear of it.
            session.tell(actor::Message::Shutdown(CloseReason::ServerShuttingDown));
        }
        self.counters.opened.increment();
        Ok(Opened { session, socket })
    }

    /// A fresh id on a ring key of this node.
    fn mint_id(&self) -> Result<SessionId, OpenError> {
        Ok(SessionId::new((self.mint)(), random::bytes()?))
    }

    /// Opens no further session, closes every one at once and waits until all are gone.
    pub(crate) async fn shutdown(&self) {
        self.closing.store(true, Ordering::Release);
        for session in self.registry.all() {
            session.tell(actor::Message::Shutdown(CloseReason::ServerShuttingDown));
        }
        self.registry.emptied().await;
        self.supervisors.stop();
    }
}

#[cfg(any(test, feature = "testing"))]
impl<A: Application> Engine<A> {
    /// Ends every session where it stands, as when the process is killed: no client is told.
    pub(crate) fn kill(&self) {
        self.closing.store(true, Ordering::Release);
        self.supervisors.stop();
    }
}

impl<A: Application> fmt::Debug for Engine<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("sessions", &self.len()).finish_non_exhaustive()
    }
}

/// The frames of one Socket.IO packet, or of any message with binary messages that must follow it at once; they may be
/// compressed on their way, or not.
pub(crate) fn frames(text: &str, attachments: &[Bytes], compress: bool) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(1 + attachments.len());
    frames.push(Frame::message_text(text).with_compress(compress));
    let binary = |data| Frame::message_binary(data).with_compress(compress);
    frames.extend(attachments.iter().cloned().map(binary));
    frames
}

/// A session that was just opened.
pub(crate) struct Opened<A: Application> {
    pub(crate) session: SessionRef<Command<A>>,
    pub(crate) socket: Option<(session::Conn, Arc<line::Line>)>,
}

/// Why no session could be opened. Nothing was created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error("two sessions drew the same id")]
    Taken,
    #[error("the node is shutting down")]
    Closing,
    #[error("the runtime is shutting down")]
    Actor(#[from] ractor::SpawnErr),
}

/// The decoders of the layer, for fuzzing.
#[cfg(feature = "fuzzing")]
mod fuzzed {
    use bytes::Bytes;
    use bytestring::ByteString;

    use super::handshake::{Protocol, Query};
    use super::packet::Packet;
    use super::{Config, Payload, payload, webtransport};

    pub(crate) fn decode_packet(data: &Bytes) {
        for protocol in [Protocol::V3, Protocol::V4] {
            if let Ok(text) = ByteString::try_from(data.clone()) {
                drop(Packet::decode_text(text, protocol));
            }
            drop(Packet::decode_binary(data.clone(), protocol));
        }
    }

    /// How many packets there are, in the form that has most.
    pub(crate) fn decode_payload(body: &Bytes) -> usize {
        [(Protocol::V3, false), (Protocol::V3, true), (Protocol::V4, false)]
            .map(|(protocol, binary)| {
                payload::decode(Payload { bytes: body.clone(), binary }, protocol).count()
            })
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    /// What was read of these portions, for a comparison.
    pub(crate) fn decode_webtransport(portions: &[&[u8]]) -> Vec<String> {
        let mut decoder = webtransport::codec::Decoder::new(4096);
        let mut read = Vec::new();
        for portion in portions {
            read.extend(decoder.feed(portion).map(|packet| format!("{packet:?}")));
        }
        read
    }

    pub(crate) fn decode_query(raw: &str) {
        let query = Query::parse(raw);
        drop((query.transport(&Config::default()), query.sid(), query.protocol(), query.b64()));
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) use fuzzed::{decode_packet, decode_payload, decode_query, decode_webtransport};
