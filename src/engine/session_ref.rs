//! The address of a session: what others hold of it.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use bytes::Bytes;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::actor::Message;
use super::config::Config;
use super::counters::Counters;
use super::frame::{Dialect, Frame};
use super::handshake::{Handshake, Known, Transport};
use super::line::{Director, Line, Stage};
use super::outbox::{Outbox, Pushed};
use super::payload::Payload;
use super::session::{Conn, PollReply, PostReply};
use crate::id::SessionId;

/// Reaches one session from anywhere: sends packets, hands it requests, closes it.
///
/// Holding one keeps no session alive. `K` is what the application above tells its own part of the session
/// ([`Client::Command`](super::Client::Command)).
///
/// What it sends reaches the client in the order of the calls, at most once. See
/// [`Application`](super::Application) for an example.
pub struct SessionRef<K: Send + 'static>(Arc<Shared<K>>);

struct Shared<K: Send + 'static> {
    id: SessionId,
    handshake: Arc<Handshake>,
    config: Arc<Config>,
    counters: Arc<Counters>,
    outbox: Outbox,
    transport: AtomicU8,
    next_conn: AtomicU32,
    actor: OnceLock<ActorRef<Message<K>>>,
}

impl<K: Send + 'static> SessionRef<K> {
    pub(crate) fn new(
        id: SessionId,
        handshake: Arc<Handshake>,
        transport: Transport,
        config: Arc<Config>,
        counters: Arc<Counters>,
    ) -> Self {
        Self(Arc::new(Shared {
            id,
            handshake,
            outbox: Outbox::new(config.max_buffered),
            config,
            counters,
            transport: AtomicU8::new(transport as u8),
            next_conn: AtomicU32::new(0),
            actor: OnceLock::new(),
        }))
    }

    /// The session's actor introduces itself, once, when it starts.
    pub(crate) fn bind(&self, actor: ActorRef<Message<K>>) {
        // Only `pre_start` calls this, and an actor starts once.
        let _already_bound = self.0.actor.set(actor);
    }

    /// The secret id of the session.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The request that opened the session.
    pub fn handshake(&self) -> &Arc<Handshake> {
        &self.0.handshake
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// How polls of this client are answered. Its script tags take text only.
    pub(crate) fn dialect(&self) -> Dialect {
        let handshake = &self.0.handshake;
        let base64 = handshake.base64() || self.jsonp().is_some();
        Dialect { protocol: handshake.protocol(), base64, deflate: None }
    }

    /// The `j` of a client that polls with script tags (JSONP).
    pub(crate) fn jsonp(&self) -> Option<&str> {
        self.0.handshake.query_value("j").filter(|_| self.0.config.allow_eio3)
    }

    /// The transport in use: changes once, when a polling session is upgraded.
    pub fn transport(&self) -> Transport {
        let transport = self.0.transport.load(Ordering::Relaxed);
        let is = |other: &Transport| *other as u8 == transport;
        [Transport::Polling, Transport::WebTransport].into_iter().find(is).unwrap_or(Transport::WebSocket)
    }

    /// What the verifier of a request needs to know.
    pub(crate) fn known(&self) -> Known {
        Known { transport: self.transport(), protocol: self.0.handshake.protocol() }
    }

    pub(crate) fn set_transport(&self, transport: Transport) {
        self.0.transport.store(transport as u8, Ordering::Relaxed);
    }

    /// Sends a text message. Never blocks; dropped when the session is over.
    pub fn send_text(&self, text: &str) {
        self.send(&[Frame::message_text(text)], false);
    }

    /// Sends a binary message. Never blocks; dropped when the session is over.
    pub fn send_binary(&self, data: Bytes) {
        self.send(&[Frame::message_binary(data)], false);
    }

    /// The WebSocket `conn` never came to be.
    pub(crate) fn lost(&self, conn: Conn) {
        self.tell(Message::SocketClosed { conn, clean: true });
    }

    /// Appends the frames of one packet to the outbox; they stay adjacent.
    pub(crate) fn send(&self, frames: &[Frame], volatile: bool) {
        match self.0.outbox.push(frames, volatile) {
            Pushed::TellActor => self.tell(Message::Queued),
            Pushed::Overflow => {
                self.0.counters.slow_clients.increment();
                self.tell(Message::Overflow);
            }
            Pushed::Dropped if volatile => self.0.counters.volatile_dropped.increment(),
            Pushed::Dropped => self.0.counters.late_dropped.increment(),
            Pushed::Queued => {}
        }
    }

    /// Closes the session after what is queued has been sent. Nothing can be sent from now on.
    pub fn close(&self) {
        self.0.outbox.end();
        self.tell(Message::Close);
    }

    /// Tells the application's part of the session something; dropped when the session is over.
    pub fn command(&self, command: K) {
        self.tell(Message::Command(command));
    }

    /// The application has room again after it was busy ([`Client::is_busy`](super::Client::is_busy)).
    pub fn resume(&self) {
        self.tell(Message::Resume);
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// A name for the next request or WebSocket of this session.
    pub(crate) fn next_conn(&self) -> Conn {
        Conn(self.0.next_conn.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn tell(&self, message: Message<K>) {
        if let Some(actor) = self.0.actor.get() {
            // An actor that has stopped has nothing left to be told.
            let _stopped = actor.cast(message);
        }
    }

    /// A GET: waits until there is something to answer. Dropping the future tells the session that the client went
    /// away.
    pub(crate) async fn poll(&self) -> Answer<PollReply> {
        let conn = self.next_conn();
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Poll(conn, reply));
        let mut pending = Pending { session: self, gone: Some(Message::PollAborted(conn)) };
        let answer = answer.await.unwrap_or(Answer::Reply(PollReply::Unknown));
        pending.gone = None;
        answer
    }

    /// A POST whose headers arrived. The session may answer before the body does.
    pub(crate) fn post(&self) -> Post<'_, K> {
        let conn = self.next_conn();
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Post(conn, reply));
        let pending = Pending { session: self, gone: Some(Message::PostAborted(conn)) };
        Post { conn, answer, pending }
    }

    /// A WebSocket, or a stream of WebTransport, with this session's id: the line its I/O task is to obey.
    pub(crate) fn attach(&self, over: Transport) -> (Conn, Arc<Line>) {
        let conn = self.next_conn();
        let line = Arc::new(Line::new(Stage::Waiting));
        self.tell(Message::Socket(conn, over, Director(Arc::clone(&line))));
        (conn, line)
    }
}

impl<K: Send + 'static> Clone for SessionRef<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Send + 'static> fmt::Debug for SessionRef<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRef").field("transport", &self.transport()).finish_non_exhaustive()
    }
}

/// The answer of a session to an HTTP request.
#[derive(Debug)]
pub(crate) enum Answer<R> {
    /// A payload for a GET: everything that was queued, or what the session says itself; and whether it may be
    /// compressed: any of its packets may be.
    Payload(Payload, bool),
    Reply(R),
}

/// A POST under way.
pub(crate) struct Post<'a, K: Send + 'static> {
    conn: Conn,
    answer: oneshot::Receiver<PostReply>,
    pending: Pending<'a, K>,
}

/// How the body of a POST ended.
#[derive(Debug)]
pub(crate) enum PostBody {
    Whole(Payload),
    /// More than the limit: the session lives on.
    TooLarge,
    /// Bytes from a client that may send text only.
    Invalid,
}

impl<K: Send + 'static> Post<'_, K> {
    /// The session's answer; resolves early when the POST is refused whatever its body says.
    pub(crate) async fn answer(&mut self) -> PostReply {
        let reply = (&mut self.answer).await.unwrap_or(PostReply::Unknown);
        self.pending.gone = None;
        reply
    }

    /// Hands over the body.
    pub(crate) fn body(&self, body: PostBody) {
        self.pending.session.tell(Message::PostBody(self.conn, body));
    }
}

/// A request whose client may go away before it is answered.
struct Pending<'a, K: Send + 'static> {
    session: &'a SessionRef<K>,
    gone: Option<Message<K>>,
}

impl<K: Send + 'static> Drop for Pending<'_, K> {
    fn drop(&mut self) {
        if let Some(message) = self.gone.take() {
            self.session.tell(message);
        }
    }
}
