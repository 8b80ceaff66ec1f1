//! The address of a session, through which other tasks reach it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::activation::Activation;
use super::budget::Budget;
use super::closed::{Closed, ClosedCell, TransportFault};
use super::config::Config;
use super::counters::EngineCounters;
use super::error::CloseReason;
use super::frame::{Dialect, Frame};
use super::handshake::Handshake;
use super::mailbox::{PollAnswer, PostBody, SessionMessage};
use super::outbox::{Limits, Outbox, PushResult};
use super::protocol::Transport;
use super::query::Stamp;
use super::session::{ConnId, Get, PollReply, PostReply};
use super::transport_stage::{Stage, StageCell, StageGuard};
use super::verify::LiveSession;
use super::way::{Ending, Way};
use crate::id::SessionId;
use crate::trace::Trace;

/// A handle of one session, which sends messages and closes it from any task.
///
/// It does not keep the session alive. `K` is the type of the commands for the application's part of the session
/// ([`Client::Command`](super::Client::Command)).
///
/// Messages reach the client in the order of the calls, at most once. See
/// [`Application`](super::Application) for an example.
pub struct SessionRef<K: Send + 'static>(Arc<SessionInner<K>>);

struct SessionInner<K: Send + 'static> {
    id: SessionId,
    handshake: Arc<Handshake>,
    config: Arc<Config>,
    counters: Arc<EngineCounters>,
    outbox: Outbox,
    opened: Instant,
    transport: AtomicU8,
    closed: ClosedCell,
    next_conn: AtomicU32,
    /// The request that came last, if requests are kept, and one came behind the first.
    request: Mutex<Option<Arc<Handshake>>>,
    activation: Activation<K>,
}

impl<K: Send + 'static> SessionRef<K> {
    pub(crate) fn new(
        id: SessionId,
        handshake: Arc<Handshake>,
        transport: Transport,
        config: Arc<Config>,
        counters: Arc<EngineCounters>,
        budget: Arc<Budget>,
    ) -> Self {
        let limits = Limits { lasting: config.max_buffered, most: config.max_burst.max(config.max_buffered) };
        Self(Arc::new(SessionInner {
            id,
            handshake,
            outbox: Outbox::new(limits, budget, Instant::now),
            config,
            counters,
            opened: Instant::now(),
            transport: AtomicU8::new(transport as u8),
            closed: ClosedCell::default(),
            next_conn: AtomicU32::new(0),
            request: Mutex::new(None),
            activation: Activation::new(),
        }))
    }

    /// The id of the session (`sid`). It is secret: a client that knows it can take part in the session.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    pub(crate) fn opened(&self) -> Instant {
        self.0.opened
    }

    /// See [`Client::is_recoverable`](super::Client::is_recoverable).
    pub(crate) fn is_recoverable(&self) -> bool {
        self.0.activation.stand_in().is_some_and(|stand_in| stand_in.is_recoverable())
    }

    /// The request that opened the session.
    pub fn handshake(&self) -> &Arc<Handshake> {
        &self.0.handshake
    }

    /// The newest request that brings messages of the client, if requests are kept
    /// ([`keep_requests`](super::Config::keep_requests)); otherwise the one that opened the session.
    pub fn request(&self) -> Arc<Handshake> {
        Arc::clone(self.0.request.lock().as_ref().unwrap_or(&self.0.handshake))
    }

    /// The newest request, if requests are kept.
    pub(crate) fn kept_request(&self) -> Option<Arc<Handshake>> {
        self.0.config.keep_requests.then(|| self.request())
    }

    /// A POST came. Its head is made only where requests are kept. One behind an upgrade brings nothing.
    pub(crate) fn note_request(&self, head: impl FnOnce() -> Handshake) {
        if self.0.config.keep_requests && self.transport() == Transport::Polling {
            *self.0.request.lock() = Some(Arc::new(head()));
        }
    }

    /// The stream that was upgraded to brings all messages from now on.
    pub(crate) fn set_request(&self, request: Option<Arc<Handshake>>) {
        if request.is_some() {
            *self.0.request.lock() = request;
        }
    }

    /// How the session ended; `None` while it lives.
    pub fn closed(&self) -> Option<Closed> {
        self.0.closed.get()
    }

    pub(crate) fn note_closed(&self, reason: CloseReason, fault: Option<TransportFault>) {
        self.0.closed.set(reason, fault);
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// How the answers to polls of this client are encoded. Script tags take text only.
    pub(crate) fn dialect(&self) -> Dialect {
        let handshake = &self.0.handshake;
        let base64 = handshake.base64() || self.jsonp().is_some();
        Dialect { protocol: handshake.protocol(), base64, deflate: None }
    }

    /// The `j` of a client that polls with script tags (JSONP).
    pub(crate) fn jsonp(&self) -> Option<&str> {
        self.0.handshake.jsonp().filter(|_| self.0.config.allow_eio3)
    }

    /// The transport in use. It changes once, when a polling session is upgraded.
    pub fn transport(&self) -> Transport {
        let transport = self.0.transport.load(Ordering::Relaxed);
        let is = |other: &Transport| *other as u8 == transport;
        [Transport::Polling, Transport::WebTransport].into_iter().find(is).unwrap_or(Transport::WebSocket)
    }

    /// What the request for this session is compared with.
    pub(crate) fn live(&self) -> LiveSession {
        LiveSession { transport: self.transport(), protocol: self.0.handshake.protocol() }
    }

    pub(crate) fn set_transport(&self, transport: Transport) {
        self.0.transport.store(transport as u8, Ordering::Relaxed);
    }

    /// Sends a text message. Never blocks. The message is dropped if the session has ended; a client that does not take its
    /// messages is closed ([`max_buffered`](super::Config::max_buffered)).
    pub fn send_text(&self, text: &str) {
        self.send(&[Frame::message_text(text)], false);
    }

    /// Sends a binary message, under the same conditions as [`send_text`](Self::send_text).
    pub fn send_binary(&self, data: Bytes) {
        self.send(&[Frame::message_binary(data)], false);
    }

    /// The upgrade to the WebSocket `conn` failed.
    pub(crate) fn lost(&self, conn: ConnId) {
        self.tell(SessionMessage::StreamClosed { conn, clean: true });
    }

    /// Appends the frames of one packet to the outbox, where they stay adjacent. Returns whether they are on their way.
    pub(crate) fn send(&self, frames: &[Frame], volatile: bool) -> bool {
        let pushed = self.0.outbox.push(frames, volatile);
        let is_queued = !matches!(pushed, PushResult::Dropped | PushResult::Overflow);
        match pushed {
            PushResult::Flush => self.flush(),
            PushResult::Behind => self.tell(SessionMessage::Behind),
            PushResult::Overflow => self.tell(SessionMessage::Overflow),
            PushResult::Dropped if volatile => self.0.counters.volatile_dropped.increment(),
            PushResult::Dropped => self.0.counters.late_dropped.increment(),
            PushResult::Queued => {}
        }
        is_queued
    }

    /// Drops what waits for the client, which does not take it, and closes the session.
    pub(crate) fn give_up(&self) {
        self.0.outbox.close();
        self.tell(SessionMessage::Overflow);
    }

    /// Closes the session once its client has what is queued, or after [`close_timeout`](super::Config::close_timeout).
    /// Messages sent after this call are dropped.
    pub fn close(&self) {
        self.0.outbox.end();
        self.tell(SessionMessage::Close(CloseReason::ForcedClose));
    }

    /// Closes the session as [`close`](Self::close) does, because its node stops; in this task if nobody is at work in the session.
    pub(crate) fn dismiss(&self) {
        self.0.outbox.end();
        self.bring(SessionMessage::Close(CloseReason::ServerShuttingDown));
    }

    /// Calls [`Client::handle_command`](super::Client::handle_command) in the session's actor. Never blocks. The command is
    /// dropped if the session has ended. The queue of commands has no bound.
    pub fn command(&self, command: K) {
        self.tell(SessionMessage::Command(command));
    }

    /// As [`command`](Self::command), but in this task if nobody is at work in the session: not while anything is locked.
    pub(crate) fn command_now(&self, command: K) {
        self.bring(SessionMessage::Command(command));
    }

    /// Lets the session read on from its client, after [`Client::is_busy`](super::Client::is_busy) returned true.
    pub fn resume(&self) {
        self.tell(SessionMessage::Resume);
    }

    /// How many bytes wait for the client.
    pub fn buffered(&self) -> usize {
        self.0.outbox.bytes()
    }

    /// Waits until no more than [`max_buffered`](super::Config::max_buffered) waits for the client, or the session is over.
    pub async fn room(&self) {
        self.0.outbox.room().await;
    }

    pub(crate) fn counters(&self) -> &EngineCounters {
        &self.0.counters
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// The number of the next request, WebSocket or WebTransport stream of this session.
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.0.next_conn.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn activation(&self) -> &Activation<K> {
        &self.0.activation
    }

    /// Has the actor handle the message.
    pub(crate) fn tell(&self, message: SessionMessage<K>) {
        self.0.activation.tell(message);
    }

    /// The outbox is no longer empty.
    fn flush(&self) {
        if let Some(stand_in) = self.0.activation.stand_in() {
            stand_in.flush();
        }
    }

    /// Handles the message in this task if nobody is at work in the session; gives it back otherwise. Must not be called while
    /// anything is locked, because handlers may run here.
    pub(crate) fn handle_now(&self, message: SessionMessage<K>) -> Result<(), SessionMessage<K>> {
        match self.0.activation.stand_in() {
            Some(stand_in) => stand_in.handle_now(message),
            None => Err(message),
        }
    }

    /// Handles the message in this task, or has the actor handle it. As [`handle_now`](Self::handle_now), not while anything is
    /// locked.
    pub(crate) fn bring(&self, message: SessionMessage<K>) {
        if let Err(message) = self.handle_now(message) {
            self.tell(message);
        }
    }

    /// Waits until there is something to answer a GET with. Dropping the future tells the session that the client went
    /// away, or that its way was lost.
    pub(crate) async fn poll(&self, stamp: Option<Stamp>, way: Option<&Arc<dyn Way>>) -> PollAnswer {
        let get = Get { conn: self.next_conn(), stamp, carried: way.is_some() };
        let (reply, answer) = oneshot::channel();
        self.bring(SessionMessage::Poll(get, reply));
        let ended = SessionMessage::PollEnded;
        let mut guard = EndGuard { session: self, conn: get.conn, way, ended: Some(ended) };
        let answer = answer.await.unwrap_or(PollAnswer::Reply(PollReply::Unknown));
        guard.ended = None;
        answer
    }

    /// A POST whose head arrived. The session may answer before the body arrives.
    pub(crate) fn post<'a>(&'a self, way: Option<&'a Arc<dyn Way>>) -> PostInFlight<'a, K> {
        let conn = self.next_conn();
        let (reply, answer) = oneshot::channel();
        self.bring(SessionMessage::Post(conn, reply, Trace::current()));
        let guard = EndGuard { session: self, conn, way, ended: Some(SessionMessage::PostEnded) };
        PostInFlight { answer, guard }
    }

    /// Answers the waiting GET, if there is one, without a message.
    pub(crate) fn release(&self) {
        self.tell(SessionMessage::Release);
    }

    /// Attaches a WebSocket or WebTransport stream to the session. Its I/O task obeys the stage. The `request` that it came of counts
    /// once the session is upgraded to it.
    pub(crate) fn attach(
        &self,
        over: Transport,
        request: Option<Arc<Handshake>>,
    ) -> (ConnId, Arc<StageCell>) {
        let conn = self.next_conn();
        let stage = Arc::new(StageCell::new(Stage::Waiting));
        self.bring(SessionMessage::StreamOpened(
            conn,
            over,
            StageGuard { stage: Arc::clone(&stage), request },
        ));
        (conn, stage)
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

/// A POST in flight.
pub(crate) struct PostInFlight<'a, K: Send + 'static> {
    answer: oneshot::Receiver<PostReply>,
    guard: EndGuard<'a, K>,
}

impl<K: Send + 'static> PostInFlight<'_, K> {
    /// The session's answer; resolves early when the POST is refused whatever its body says.
    pub(crate) async fn answer(&mut self) -> PostReply {
        let reply = (&mut self.answer).await.unwrap_or(PostReply::Unknown);
        self.guard.ended = None;
        reply
    }

    /// Hands over the body.
    pub(crate) fn body(&self, body: PostBody) {
        self.guard.session.bring(SessionMessage::PostBody(self.guard.conn, body));
    }
}

/// Tells the session that a request ended, unless it was answered.
struct EndGuard<'a, K: Send + 'static> {
    session: &'a SessionRef<K>,
    conn: ConnId,
    way: Option<&'a Arc<dyn Way>>,
    ended: Option<fn(ConnId, Ending) -> SessionMessage<K>>,
}

impl<K: Send + 'static> Drop for EndGuard<'_, K> {
    fn drop(&mut self) {
        if let Some(ended) = self.ended {
            self.session.tell(ended(self.conn, Ending::of(self.way)));
        }
    }
}
