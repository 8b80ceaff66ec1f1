//! The actor of one client: owns its [`Session`], its timer and the application's part of it.
//!
//! Requests and WebSockets come in as messages, each with the means to answer it; what the session decides goes out
//! through those. Bytes for the client wait in the [`Outbox`](super::outbox::Outbox), never in the mailbox. User code
//! never runs here.

use std::marker::PhantomData;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::config::Config;
use super::error::{CloseReason, PacketError};
use super::frame::Frame;
use super::line::{Director, Line, Stage};
use super::outbox::Pushed;
use super::packet::{self, Packet};
use super::payload;
use super::registry::Registration;
use super::session::{Conn, Output, PollReply, PostReply, Session, SocketOrder};
use super::session_ref::{Answer, PostBody, SessionRef};
use super::{Application, Client};

/// The handler; everything arrives in [`Start`].
pub(crate) struct SessionActor<A>(PhantomData<A>);

impl<A> SessionActor<A> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

pub(crate) struct Start<A: Application> {
    pub(crate) session: SessionRef<<A::Client as Client>::Command>,
    pub(crate) app: Arc<A>,
    pub(crate) config: Arc<Config>,
    pub(crate) registration: Registration<<A::Client as Client>::Command>,
    /// The WebSocket or stream of WebTransport that opened the session, if one did.
    pub(crate) socket: Option<(Conn, Arc<Line>)>,
}

/// Everything a session can be told.
pub(crate) enum Message<K> {
    Poll(Conn, oneshot::Sender<Answer<PollReply>>),
    PollAborted(Conn),
    Post(Conn, oneshot::Sender<PostReply>),
    PostBody(Conn, PostBody),
    PostAborted(Conn),
    Socket(Conn, super::Transport, Director),
    /// What one read of a WebSocket brought; the I/O task waits until it is handled.
    Frames(Conn, Vec<Result<Packet, PacketError>>),
    SocketClosed {
        conn: Conn,
        clean: bool,
    },
    /// The outbox is no longer empty.
    Queued,
    Overflow,
    Close,
    Shutdown(CloseReason),
    Timeout,
    Resume,
    Command(K),
}

/// The only owner of a session's state.
pub(crate) struct State<A: Application> {
    session: Session,
    this: SessionRef<<A::Client as Client>::Command>,
    myself: ActorRef<Message<<A::Client as Client>::Command>>,
    /// `None` once the application was told that the session is closed.
    client: Option<A::Client>,
    requests: Vec<(Conn, Request)>,
    /// The application is busy: these WebSockets are not read from until it has room, so that its client is slowed down
    /// instead of buffered. A payload that is being handled waits in the session.
    held: Vec<Arc<Line>>,
    /// The last GET that was answered with a payload, as long as nobody said otherwise.
    flushed: Option<Conn>,
    timer: Option<Timer>,
    /// Takes the session out of the registry when it is dropped, also if the actor panics.
    _registration: Registration<<A::Client as Client>::Command>,
}

/// The means to answer a request, or to direct a WebSocket.
enum Request {
    Poll(oneshot::Sender<Answer<PollReply>>),
    Post(oneshot::Sender<PostReply>),
    Socket(Director),
}

struct Timer {
    at: Instant,
    task: AbortHandle,
}

impl<A: Application> Actor for SessionActor<A> {
    type Msg = Message<<A::Client as Client>::Command>;
    type State = State<A>;
    type Arguments = Start<A>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        start: Start<A>,
    ) -> Result<State<A>, ActorProcessingErr> {
        let Start { session: this, app, config, registration, socket } = start;
        this.bind(myself.clone());
        let first = socket.as_ref().map(|(conn, _)| (*conn, this.transport()));
        let session = Session::open(this.id(), this.handshake().protocol(), first, config, Instant::now());
        let requests =
            socket.into_iter().map(|(conn, line)| (conn, Request::Socket(Director(line)))).collect();
        let mut state = State {
            session,
            this,
            myself,
            client: None,
            requests,
            held: Vec::new(),
            flushed: None,
            timer: None,
            _registration: registration,
        };
        state.settle();
        state.client = Some(app.accept(state.this.clone()));
        state.settle();
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State<A>,
    ) -> Result<(), ActorProcessingErr> {
        state.handle(message);
        state.settle();
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut State<A>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(timer) = state.timer.take() {
            timer.task.abort();
        }
        Ok(())
    }
}

impl<A: Application> State<A> {
    fn handle(&mut self, message: Message<<A::Client as Client>::Command>) {
        let now = Instant::now();
        match message {
            Message::Poll(conn, reply) => {
                self.requests.push((conn, Request::Poll(reply)));
                self.session.handle_poll(conn, now);
            }
            Message::PollAborted(conn) => self.poll_aborted(conn),
            Message::Post(conn, reply) => {
                self.requests.push((conn, Request::Post(reply)));
                self.session.handle_post(conn);
            }
            Message::PostBody(conn, PostBody::Whole(payload)) => {
                self.session.handle_payload(conn, payload, now);
            }
            Message::PostBody(conn, PostBody::TooLarge) => self.session.handle_post_too_large(conn),
            Message::PostBody(conn, PostBody::Invalid) => self.session.handle_post_invalid(conn),
            Message::PostAborted(conn) => self.session.handle_post_aborted(conn),
            Message::Socket(conn, over, director) => {
                self.requests.push((conn, Request::Socket(director)));
                self.session.handle_socket(conn, over, now);
            }
            Message::Frames(conn, frames) => self.frames(conn, frames, now),
            Message::SocketClosed { conn, clean } => {
                self.session.handle_socket_closed(conn, clean);
                self.take_request(conn);
            }
            Message::Queued => {
                if !self.this.outbox().is_empty() {
                    self.session.handle_queued();
                }
            }
            Message::Overflow => self.overflow(),
            Message::Close => {
                // What was queued a moment ago may not have been reported yet.
                if !self.this.outbox().is_empty() {
                    self.session.handle_queued();
                }
                self.session.handle_close(now);
            }
            Message::Shutdown(reason) => self.session.handle_shutdown(reason),
            Message::Timeout => self.timeout(now),
            // Whatever happened, `settle` looks whether there is room again.
            Message::Resume => {}
            Message::Command(command) => {
                if let Some(client) = &mut self.client {
                    client.handle_command(command);
                }
            }
        }
    }

    fn overflow(&mut self) {
        tracing::debug!(reason = "slow client", "session closed");
        self.session.handle_shutdown(CloseReason::TransportError);
    }

    fn frames(&mut self, conn: Conn, frames: Vec<Result<Packet, PacketError>>, now: Instant) {
        for frame in frames {
            self.session.handle_frame(conn, frame, now);
        }
        // Deliver now: only then is it known whether the application still has room.
        self.outputs();
        if let Some(line) = self.line(conn).cloned() {
            if self.is_busy() {
                self.held.push(line);
            } else {
                line.resume();
            }
        }
    }

    fn timeout(&mut self, now: Instant) {
        // One that was replaced may have fired before it was aborted: the timer that is armed stays the only one.
        self.timer.take_if(|timer| timer.at <= now);
        if self.session.next_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        if let Some(client) = &mut self.client
            && client.next_timeout().is_some_and(|at| at <= now)
        {
            client.handle_timeout(now);
        }
    }

    fn is_busy(&self) -> bool {
        self.client.as_ref().is_some_and(Client::is_busy)
    }

    /// The client of a GET went away. What it was answered, but never got, must not be lost in silence.
    fn poll_aborted(&mut self, conn: Conn) {
        if self.flushed == Some(conn) {
            self.session.handle_shutdown(CloseReason::TransportError);
        } else {
            self.session.handle_poll_aborted(conn);
        }
    }

    /// Carries out what the session decided, reads on if there is room, then arms the timer or ends the actor.
    fn settle(&mut self) {
        self.outputs();
        if !self.is_busy() {
            self.held.drain(..).for_each(|line| line.resume());
        }
        if self.session.transport() == super::Transport::Polling {
            self.this.outbox().set_writable(self.session.is_writable());
        }
        if self.session.is_finished() {
            self.myself.stop(None);
        } else {
            self.arm();
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.next_output() {
            match output {
                Output::Send(packet) => self.send(&packet),
                Output::Poll(conn, reply) => self.answer_poll(conn, reply),
                Output::Post(conn, reply) => self.answer_post(conn, reply),
                Output::Socket(conn, order) => self.direct(conn, order),
                Output::Message(message) => self.deliver(message),
                Output::Closed(reason) => self.closed(reason),
            }
        }
    }

    /// Queues a packet of the session itself. The session knows; nobody need be told.
    fn send(&mut self, packet: &Packet) {
        let frame = Frame::control(packet);
        let pushed = match packet {
            Packet::Pong(_) => self.this.outbox().push_pong(&frame),
            _ => self.this.outbox().push_control(&frame),
        };
        if pushed == Pushed::Overflow {
            self.this.counters().slow_clients.increment();
            self.overflow();
        }
    }

    /// While the application is busy, the packets of a payload wait: their POST stays in progress, so that the client
    /// sends no other.
    fn next_output(&mut self) -> Option<Output> {
        self.session.hold_payload(self.is_busy());
        self.session.poll_output()
    }

    fn answer_poll(&mut self, conn: Conn, reply: PollReply) {
        let Some(Request::Poll(sender)) = self.take_request(conn) else { return };
        if sender.is_closed() {
            // The client went away before its answer: what is queued must not be lost with it in silence.
            self.session.handle_shutdown(CloseReason::TransportError);
            return;
        }
        self.flushed = (reply == PollReply::Flush).then_some(conn);
        let frames = match reply {
            PollReply::Flush => Some(self.this.outbox().take_all()),
            PollReply::Noop => Some(vec![Frame::control(&Packet::Noop)]),
            PollReply::Close => Some(vec![Frame::control(&Packet::Close)]),
            PollReply::NoopClose => Some(vec![Frame::control(&Packet::Noop), Frame::control(&Packet::Close)]),
            PollReply::Refused | PollReply::Mismatch | PollReply::Unknown => None,
        };
        let answer = match frames {
            Some(frames) => {
                let compress = frames.iter().any(Frame::compress);
                Answer::Payload(payload::encode(&frames, self.this.dialect()), compress)
            }
            None => Answer::Reply(reply),
        };
        if sender.send(answer).is_err() {
            self.poll_aborted(conn);
        }
    }

    fn answer_post(&mut self, conn: Conn, reply: PostReply) {
        let Some(Request::Post(sender)) = self.take_request(conn) else { return };
        // Its client may have gone away.
        let _gone = sender.send(reply);
    }

    fn direct(&mut self, conn: Conn, order: SocketOrder) {
        let Some(line) = self.line(conn) else { return };
        match order {
            SocketOrder::AnswerProbe => line.advance(Stage::Probed),
            SocketOrder::Live => {
                line.advance(Stage::Live);
                self.this.outbox().flow_to(Arc::clone(line));
                self.this.set_transport(self.session.transport());
            }
            SocketOrder::FlushThenClose => line.advance(Stage::Flushing),
            SocketOrder::Close => line.advance(Stage::Closed),
        }
    }

    fn deliver(&mut self, message: packet::Message) {
        if let Some(client) = &mut self.client {
            client.handle_message(message);
        }
    }

    fn closed(&mut self, reason: CloseReason) {
        if let Some(client) = self.client.take() {
            client.handle_close(reason);
        }
        self.this.outbox().close();
        tracing::debug!(%reason, "session closed");
    }

    fn line(&self, conn: Conn) -> Option<&Arc<Line>> {
        self.requests.iter().find_map(|(of, request)| match request {
            Request::Socket(director) if *of == conn => Some(&director.0),
            _ => None,
        })
    }

    fn take_request(&mut self, conn: Conn) -> Option<Request> {
        let index = self.requests.iter().position(|(of, _)| *of == conn)?;
        Some(self.requests.swap_remove(index).1)
    }

    /// One timer for everything. A deadline that moves later is noticed when the old one fires, so traffic does not
    /// re-arm it.
    fn arm(&mut self) {
        let client = self.client.as_ref().and_then(Client::next_timeout);
        let Some(at) = self.session.next_timeout().into_iter().chain(client).min() else { return };
        if let Some(timer) = &self.timer {
            if timer.at <= at {
                return;
            }
            timer.task.abort();
        }
        let myself = self.myself.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let _stopped = myself.cast(Message::Timeout);
        });
        self.timer = Some(Timer { at, task: task.abort_handle() });
    }
}
