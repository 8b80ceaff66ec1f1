//! The actor of one client: its [`Session`], its timer and the application's part of it.
//!
//! Requests and WebSockets come in as messages, each with the means to answer it; what the session decides goes out
//! through those. Bytes for the client wait in the [`Outbox`](super::outbox::Outbox), never in the mailbox.
//!
//! While nothing waits in the mailbox, the task that brings a message handles it in the place of the actor ([`StandIn`]),
//! under the lock of the state: an event of a client then takes no other task, and an idle session has none
//! ([`Activation`](super::activation::Activation)). Handlers never run under that lock.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorRuntime};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::activation::StandIn;
use super::admission::Place;
use super::application::{Application, Client, CommandOf, Work};
use super::closed::TransportFault;
use super::config::Config;
use super::error::{CloseReason, PacketError};
use super::frame::Frame;
use super::handshake::Handshake;
use super::mailbox::{PollAnswer, PostBody, SessionMessage};
use super::outbox::PushResult;
use super::packet::{Message, Packet};
use super::payload;
use super::protocol::Transport;
use super::registry::Registration;
use super::session::{ConnId, Output, PollReply, PostReply, Session, StreamOrder};
use super::session_ref::SessionRef;
use super::supervisors::Supervisors;
use super::transport_stage::{Stage, StageCell, StageGuard};
use super::way::Ending;
use crate::catch_panic;
use crate::trace::Trace;

/// What a session starts with.
pub(crate) struct SessionStart<A: Application> {
    pub(crate) session: SessionRef<CommandOf<A>>,
    pub(crate) app: Arc<A>,
    pub(crate) config: Arc<Config>,
    pub(crate) supervisors: Arc<Supervisors>,
    pub(crate) registration: Registration<CommandOf<A>>,
    pub(crate) place: Place,
    /// The WebSocket or WebTransport stream that opened the session, if one did.
    pub(crate) stream: Option<(ConnId, Arc<StageCell>)>,
    /// Of the request that opened the session.
    pub(crate) trace: Trace,
}

/// The state of a session. Who holds the lock acts as its actor; nobody does for long.
pub(crate) struct SessionCell<A: Application> {
    state: Mutex<SessionState<A>>,
    /// The outbox is no longer empty, and nobody has looked at it. Whoever unlocks the state looks.
    queued: AtomicBool,
    /// Handlers are running where a message was brought: what they send first is not to answer a GET alone.
    corked: AtomicBool,
    this: SessionRef<CommandOf<A>>,
    supervisors: Arc<Supervisors>,
    /// Where the session is at home, whoever brings a message.
    runtime: Handle,
}

struct SessionState<A: Application> {
    session: Session,
    this: SessionRef<CommandOf<A>>,
    /// `None` once the application was told that the session is closed.
    client: Option<A::Client>,
    connections: Vec<(ConnId, ClientConnection)>,
    /// The streams that are not read from because the application is busy, so that its client is slowed down instead of
    /// buffered. A payload that is being handled waits in the session.
    held: Vec<Arc<StageCell>>,
    /// The last GET that was answered with packets, as far as the session knows.
    flushed: Option<ConnId>,
    /// Its answer, while that may have been lost on its way through another node.
    kept: Option<PollAnswer>,
    /// Until when a client that is behind may take nothing.
    patient_until: Option<Instant>,
    /// Whether its client was found not to take what it is sent.
    slow: bool,
    timer: Option<Timer>,
    /// Where it runs.
    runtime: Handle,
    /// What streams bring is a part of this trace.
    trace: Trace,
    /// Of the last POST.
    post_trace: Trace,
    /// Takes the session out of the registry when it is dropped.
    registration: Registration<CommandOf<A>>,
    _place: Place,
}

/// A request to be answered, or a stream to be directed.
enum ClientConnection {
    Poll(oneshot::Sender<PollAnswer>),
    Post(oneshot::Sender<PostReply>),
    Stream(StageGuard),
}

struct Timer {
    at: Instant,
    _task: AbortOnDropHandle<()>,
}

/// The behaviour of an actor that was activated for a session.
struct SessionActor<A>(PhantomData<A>);

/// The session of an actor. Dropping it ends the session, also if the actor panics, unless the actor was passivated.
struct Activated<A: Application> {
    cell: Arc<SessionCell<A>>,
    actor: ActorId,
}

impl<A: Application> Actor for SessionActor<A> {
    type Msg = SessionMessage<CommandOf<A>>;
    type State = Activated<A>;
    type Arguments = Arc<SessionCell<A>>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        cell: Arc<SessionCell<A>>,
    ) -> Result<Activated<A>, ActorProcessingErr> {
        Ok(Activated { cell, actor: myself.get_id() })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        activated: &mut Activated<A>,
    ) -> Result<(), ActorProcessingErr> {
        if let SessionMessage::Panicked = message {
            return Err("a panic in the place of the actor".into());
        }
        if let Some(work) = activated.cell.handle_told(message) {
            activated.cell.runtime.spawn(work);
        }
        Ok(())
    }
}

impl<A: Application> Drop for Activated<A> {
    fn drop(&mut self) {
        self.cell.this.activation().actor_ended(self.actor);
    }
}

impl<A: Application> SessionCell<A> {
    /// Starts a session, and what accepting it gave rise to.
    ///
    /// # Errors
    ///
    /// If the application panicked. No session was started.
    pub(crate) fn start(start: SessionStart<A>) -> Result<(), AcceptPanicked> {
        let SessionStart { session: this, app, config, supervisors, registration, place, stream, trace } =
            start;
        let first = stream.as_ref().map(|(conn, _)| (*conn, this.transport()));
        let session = Session::open(this.id(), this.handshake().protocol(), first, config, Instant::now());
        let connections = stream
            .into_iter()
            .map(|(conn, stage)| (conn, ClientConnection::Stream(StageGuard { stage, request: None })))
            .collect();
        let runtime = Handle::current();
        let state = SessionState {
            session,
            this: this.clone(),
            client: None,
            connections,
            held: Vec::new(),
            flushed: None,
            kept: None,
            patient_until: None,
            slow: false,
            timer: None,
            runtime: runtime.clone(),
            trace,
            post_trace: Trace::none(),
            registration,
            _place: place,
        };
        let cell = Arc::new(Self {
            state: Mutex::new(state),
            queued: AtomicBool::new(false),
            corked: AtomicBool::new(false),
            this: this.clone(),
            supervisors,
            runtime,
        });
        let mut state = cell.state.lock();
        this.activation().start(Arc::clone(&cell) as Arc<dyn StandIn<CommandOf<A>>>);
        let work = catch_panic::call(|| {
            state.settle();
            let client = app.accept(this.clone());
            state.session.show_packets(client.sees_packets());
            state.client = Some(client);
            state.settle();
            state.take_work()
        });
        cell.leave(state);
        let Some(work) = work else {
            this.activation().end();
            return Err(AcceptPanicked);
        };
        work.into_iter().for_each(|work| drop(cell.runtime.spawn(work)));
        Ok(())
    }

    /// Handles a message of the mailbox.
    fn handle_told(&self, message: SessionMessage<CommandOf<A>>) -> Option<Work> {
        let mut state = self.state.lock();
        self.this.activation().note_handled();
        let work = state.turn(message);
        self.leave(state);
        work
    }

    /// Unlocks the state. A session that is over goes.
    fn leave(&self, state: MutexGuard<'_, SessionState<A>>) {
        let is_over = state.session.is_finished();
        drop(state);
        if is_over {
            self.this.activation().end();
        } else {
            self.flush_queued();
        }
    }

    /// Looks at the outbox if somebody said that it is no longer empty.
    fn flush_queued(&self) {
        // Either this sees what another task set before it found the state locked or corked, or that task finds it free.
        fence(Ordering::SeqCst);
        while self.queued.load(Ordering::Relaxed) && !self.corked.load(Ordering::Relaxed) {
            let Some(mut state) = self.state.try_lock() else { return };
            if self.queued.swap(false, Ordering::AcqRel) {
                state.flush();
            }
            drop(state);
            fence(Ordering::SeqCst);
        }
    }

    /// Runs the work up to where it first waits, or this task has had its share. The rest is a task, as all of it is when this
    /// one runs elsewhere.
    fn begin(&self, mut work: Work) {
        let is_at_home = Handle::try_current().is_ok_and(|here| here.id() == self.runtime.id());
        // The task polls it again, with its own waker.
        let mut cx = Context::from_waker(Waker::noop());
        self.corked.store(true, Ordering::Relaxed);
        let is_over =
            is_at_home && catch_panic::call(|| work.as_mut().poll(&mut cx).is_ready()).unwrap_or(true);
        self.corked.store(false, Ordering::Release);
        self.flush_queued();
        if !is_over {
            self.runtime.spawn(work);
        }
    }
}

impl<A: Application> StandIn<CommandOf<A>> for SessionCell<A> {
    fn handle_now(&self, message: SessionMessage<CommandOf<A>>) -> Result<(), SessionMessage<CommandOf<A>>> {
        let Some(mut state) = self.state.try_lock() else { return Err(message) };
        // What one task brings is handled in its order.
        if self.this.activation().has_waiting() || state.session.is_finished() {
            return Err(message);
        }
        let turn = catch_panic::call(|| state.turn(message));
        self.leave(state);
        match turn {
            Some(work) => work.into_iter().for_each(|work| self.begin(work)),
            // It ends the session, as a panic in the actor does.
            None => self.this.tell(SessionMessage::Panicked),
        }
        Ok(())
    }

    fn flush(self: Arc<Self>) {
        self.queued.store(true, Ordering::Release);
        self.flush_queued();
        // The session may have ended meanwhile, and the end of the application's part takes locks.
        if let Some(cell) = Arc::into_inner(self) {
            let runtime = cell.runtime.clone();
            runtime.spawn(async move { drop(cell) });
        }
    }

    fn is_recoverable(&self) -> bool {
        let state = self.state.try_lock();
        state.is_some_and(|state| state.client.as_ref().is_some_and(Client::is_recoverable))
    }

    fn activate(self: Arc<Self>) -> Option<ActorRef<SessionMessage<CommandOf<A>>>> {
        let _home = self.runtime.enter();
        let (handler, supervisor) = (SessionActor(PhantomData), self.supervisors.next());
        let started = match supervisor {
            Some(supervisor) => {
                ActorRuntime::spawn_linked_instant(None, handler, Arc::clone(&self), supervisor)
            }
            None => ActorRuntime::spawn_instant(None, handler, Arc::clone(&self)),
        };
        started.ok().map(|(actor, _task)| actor)
    }
}

impl<A: Application> SessionState<A> {
    fn turn(&mut self, message: SessionMessage<CommandOf<A>>) -> Option<Work> {
        self.handle(message);
        self.settle();
        self.take_work()
    }

    fn take_work(&mut self) -> Option<Work> {
        self.client.as_mut().and_then(Client::take_work)
    }

    fn handle(&mut self, message: SessionMessage<CommandOf<A>>) {
        let now = Instant::now();
        match message {
            SessionMessage::Poll(get, reply) => {
                self.connections.push((get.conn, ClientConnection::Poll(reply)));
                self.session.handle_poll(get, now);
            }
            SessionMessage::PollEnded(conn, Ending::Aborted) => self.poll_aborted(conn),
            SessionMessage::PollEnded(conn, Ending::Lost) => self.poll_lost(conn),
            SessionMessage::Release => self.session.handle_release(),
            SessionMessage::Post(conn, reply, trace) => {
                self.post_trace = trace;
                self.connections.push((conn, ClientConnection::Post(reply)));
                self.session.handle_post(conn, now);
            }
            SessionMessage::PostBody(conn, PostBody::Whole(payload)) => {
                self.this.counters().traffic.received(Transport::Polling, 0, payload.bytes.len());
                self.session.handle_payload(conn, payload, now);
            }
            SessionMessage::PostBody(conn, PostBody::TooLarge) => self.session.handle_post_too_large(conn),
            SessionMessage::PostBody(conn, PostBody::Invalid) => self.session.handle_post_invalid(conn),
            SessionMessage::PostEnded(conn, Ending::Aborted) => self.session.handle_post_aborted(conn),
            SessionMessage::PostEnded(conn, Ending::Lost) => {
                self.session.handle_post_lost(conn);
                self.take(conn);
            }
            SessionMessage::StreamOpened(conn, over, guard) => {
                self.connections.push((conn, ClientConnection::Stream(guard)));
                self.session.handle_stream(conn, over, now);
            }
            SessionMessage::Packets(conn, packets) => self.packets(conn, packets, now),
            SessionMessage::StreamClosed { conn, clean } => {
                self.session.handle_stream_closed(conn, clean);
                self.take(conn);
            }
            SessionMessage::Behind => {
                if !self.this.outbox().is_empty() {
                    self.session.handle_queued();
                }
                self.watch(now);
                let budget = self.this.outbox().budget();
                if budget.is_exceeded() {
                    self.registration.make_room(budget);
                }
            }
            SessionMessage::Overflow => self.overflow(now),
            SessionMessage::Close(reason) => {
                // What was queued a moment ago may not have been reported yet.
                if !self.this.outbox().is_empty() {
                    self.session.handle_queued();
                }
                self.session.handle_close(reason, now);
            }
            SessionMessage::Shutdown(reason) => self.session.handle_shutdown(reason),
            SessionMessage::Timeout => self.timeout(now),
            // `settle` checks whether there is room again. The actor fails before a panic comes here.
            SessionMessage::Resume | SessionMessage::Panicked => {}
            SessionMessage::Command(command) => {
                if let Some(client) = &mut self.client {
                    client.handle_command(command);
                }
            }
        }
    }

    /// The client does not take what it is sent.
    fn overflow(&mut self, now: Instant) {
        let counters = self.this.counters();
        counters.slow_clients.increment();
        self.slow = true;
        if counters.slow_client_log.allows(SLOW_CLIENT_PAUSE, now) {
            let (address, closed) = (self.this.handshake().address(), counters.slow_clients.get());
            tracing::warn!(?address, closed, "closed a client that does not take what it is sent");
        }
        self.session.handle_fault(TransportFault::SlowClient);
    }

    /// Looks whether the client takes some of what waits, while that is more than may wait for long.
    fn watch(&mut self, now: Instant) {
        let is_polling = self.session.transport() == Transport::Polling;
        let patience = if is_polling { POLLING_PATIENCE } else { PATIENCE };
        self.patient_until = self.this.outbox().behind_since().map(|since| since + patience);
        if self.patient_until.is_some_and(|until| until <= now) {
            self.overflow(now);
        }
    }

    fn packets(&mut self, conn: ConnId, packets: Vec<Result<Packet, PacketError>>, now: Instant) {
        for packet in packets {
            self.session.handle_packet_of(conn, packet, now);
        }
        // The messages are delivered before the application is asked whether it still has room.
        self.outputs();
        if let Some(stage) = self.stage(conn).cloned() {
            if self.is_busy() {
                stage.pause();
                self.held.push(stage);
            } else {
                stage.resume();
            }
        }
    }

    /// The outbox is no longer empty. Nothing that the application is told follows from this: a payload that waits stays.
    fn flush(&mut self) {
        if !self.this.outbox().is_empty() {
            self.session.handle_queued();
        }
        while let Some(output) = self.session.poll_output() {
            self.carry_out(output);
        }
        self.note_writable();
        self.arm();
    }

    fn timeout(&mut self, now: Instant) {
        self.this.activation().passivate();
        // A timer that was replaced may have fired before it was aborted. The armed timer stays the only one.
        self.timer.take_if(|timer| timer.at <= now);
        if self.patient_until.is_some_and(|at| at <= now) {
            self.watch(now);
        }
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
        self.client.as_ref().is_some_and(|client| client.is_busy(self.session.awaits_sign()))
    }

    /// The client of a GET went away. If packets were lost with its answer, the session ends.
    fn poll_aborted(&mut self, conn: ConnId) {
        if self.flushed == Some(conn) {
            self.session.handle_fault(TransportFault::PollAborted);
        } else {
            self.session.handle_poll_aborted(conn);
        }
    }

    /// The way of a GET was lost. What was to be its answer is for the next GET.
    fn poll_lost(&mut self, conn: ConnId) {
        if self.flushed == Some(conn) {
            self.session.handle_answer_lost();
        }
        self.session.handle_poll_lost(conn);
        self.take(conn);
        if !self.this.outbox().is_empty() {
            self.session.handle_queued();
        }
    }

    /// Carries out what the session decided, reads on if there is room, then arms the timer.
    fn settle(&mut self) {
        self.outputs();
        let posted = self.session.take_posted();
        if posted > 0 {
            self.this.counters().traffic.received(Transport::Polling, posted, 0);
        }
        if !self.session.keeps_answer() {
            self.kept = None;
        }
        if !self.held.is_empty() && !self.is_busy() {
            self.held.drain(..).for_each(|stage| stage.resume());
        }
        self.note_writable();
        if !self.session.is_finished() {
            self.arm();
        }
    }

    fn note_writable(&self) {
        if self.session.transport() == Transport::Polling {
            self.this.outbox().set_writable(self.session.is_writable());
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.next_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(packet) => self.send(&packet),
            Output::Poll(conn, reply) => self.answer_poll(conn, reply),
            Output::Post(conn, reply) => self.answer_post(conn, reply),
            Output::Stream(conn, order) => self.direct(conn, order),
            Output::Packet(packet) => self.show(&packet),
            Output::Message(message) => self.deliver(message),
            Output::Closed(reason) => self.closed(reason),
        }
    }

    /// Queues a packet of the session itself. The session knows of it already, so it needs no notice.
    fn send(&mut self, packet: &Packet) {
        let frame = Frame::control(packet);
        let pushed = match packet {
            Packet::Pong(_) => self.this.outbox().push_pong(&frame),
            _ => self.this.outbox().push_control(&frame),
        };
        if pushed == PushResult::Overflow {
            self.overflow(Instant::now());
        }
    }

    /// While the application is busy, the packets of a payload wait: their POST stays in progress, so that the client
    /// sends no other.
    fn next_output(&mut self) -> Option<Output> {
        if self.session.transport() == Transport::Polling {
            self.session.hold_payload(self.is_busy());
        }
        self.session.poll_output()
    }

    fn answer_poll(&mut self, conn: ConnId, reply: PollReply) {
        let Some(ClientConnection::Poll(sender)) = self.take(conn) else { return };
        let takes = matches!(reply, PollReply::Open | PollReply::Flush);
        if sender.is_closed() {
            // It has ended; the message that says why is on its way. What it would have got stays queued, and the answer before has
            // arrived.
            self.flushed = Some(conn);
            self.kept.take_if(|_| takes);
            return;
        }
        self.flushed = (takes || reply == PollReply::Again).then_some(conn);
        let answer = self.answer(reply);
        if takes && self.session.keeps_answer() {
            self.kept = Some(answer.clone());
        }
        // If it ends just now, the message that says why is on its way.
        let _ended = sender.send(answer);
        if takes && !self.this.outbox().is_empty() {
            self.session.handle_queued();
        }
    }

    fn answer(&self, reply: PollReply) -> PollAnswer {
        let frames = match (reply, &self.kept) {
            (PollReply::Again, Some(kept)) => return kept.clone(),
            (PollReply::Refused | PollReply::Mismatch | PollReply::Unknown, _) => {
                return PollAnswer::Reply(reply);
            }
            (PollReply::Open, _) => self.take_answer(1),
            (PollReply::Flush, _) => self.take_answer(ANSWER),
            (PollReply::Noop | PollReply::Again, _) => vec![Frame::control(&Packet::Noop)],
            (PollReply::Close, _) => vec![Frame::control(&Packet::Close)],
            (PollReply::NoopClose, _) => vec![Frame::control(&Packet::Noop), Frame::control(&Packet::Close)],
        };
        let compress = frames.iter().any(Frame::compress);
        let payload = payload::encode(&frames, self.this.dialect());
        self.this.counters().traffic.sent(Transport::Polling, frames.len(), payload.bytes.len());
        PollAnswer::Payload { payload, compress }
    }

    fn take_answer(&self, budget: usize) -> Vec<Frame> {
        match self.this.outbox().take_answer(budget) {
            // The client did not take enough, and the message that ends the session for it is on its way.
            nothing if nothing.is_empty() => vec![Frame::control(&Packet::Close)],
            frames => frames,
        }
    }

    fn answer_post(&mut self, conn: ConnId, reply: PostReply) {
        let Some(ClientConnection::Post(sender)) = self.take(conn) else { return };
        // Its client may have gone away.
        let _gone = sender.send(reply);
    }

    fn direct(&mut self, conn: ConnId, order: StreamOrder) {
        let Some(stage) = self.stage(conn) else { return };
        match order {
            StreamOrder::AnswerProbe => stage.advance(Stage::Probed),
            StreamOrder::Live => {
                stage.advance(Stage::Live);
                self.this.outbox().flow_to(Arc::clone(stage));
                self.this.set_transport(self.session.transport());
                self.this.set_request(self.request(conn));
                // A session that opened on this stream has no client yet.
                if let Some(client) = &mut self.client {
                    client.handle_upgrade(self.session.transport());
                }
            }
            StreamOrder::FlushThenClose => stage.advance(Stage::Flushing),
            StreamOrder::Close => stage.advance(Stage::Closed),
        }
    }

    fn deliver(&mut self, message: Message) {
        let is_posted = self.session.transport() == Transport::Polling;
        let _within = if is_posted { self.post_trace.enter() } else { self.trace.enter() };
        if let Some(client) = &mut self.client {
            client.handle_message(message);
        }
    }

    fn show(&mut self, packet: &Packet) {
        if let Some(client) = &mut self.client {
            client.handle_packet(packet);
        }
    }

    fn closed(&mut self, reason: CloseReason) {
        self.this.note_closed(reason, self.session.fault());
        if let Some(client) = self.client.take() {
            client.handle_close(reason);
        }
        self.this.outbox().close();
        self.this.counters().closed.count(reason, self.slow);
        tracing::debug!(%reason, "session closed");
    }

    fn stage(&self, conn: ConnId) -> Option<&Arc<StageCell>> {
        self.connections.iter().find_map(|(of, connection)| match connection {
            ClientConnection::Stream(guard) if *of == conn => Some(&guard.stage),
            _ => None,
        })
    }

    /// The request of a stream, if it is kept.
    fn request(&self, conn: ConnId) -> Option<Arc<Handshake>> {
        self.connections.iter().find_map(|(of, connection)| match connection {
            ClientConnection::Stream(guard) if *of == conn => guard.request.clone(),
            _ => None,
        })
    }

    fn take(&mut self, conn: ConnId) -> Option<ClientConnection> {
        let index = self.connections.iter().position(|(of, _)| *of == conn)?;
        Some(self.connections.swap_remove(index).1)
    }

    /// One timer for everything. A deadline that moves later is noticed when the old one fires, so traffic does not
    /// re-arm it.
    fn arm(&mut self) {
        let client = self.client.as_ref().and_then(Client::next_timeout);
        let all = [self.session.next_timeout(), client, self.patient_until];
        let Some(at) = all.into_iter().flatten().min() else { return };
        if self.timer.as_ref().is_some_and(|timer| timer.at <= at) {
            return;
        }
        let this = self.this.clone();
        let task = self.runtime.spawn(async move {
            tokio::time::sleep_until(at).await;
            this.bring(SessionMessage::Timeout);
        });
        self.timer = Some(Timer { at, _task: AbortOnDropHandle::new(task) });
    }
}

/// The application panicked when it was to accept a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the application panicked when it was to accept a session")]
pub(crate) struct AcceptPanicked;

/// How long a client may take nothing while more waits for it than may for long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same on polling, from one GET to the next: the client reads the last answer meanwhile.
const POLLING_PATIENCE: Duration = Duration::from_secs(30);
/// About how much one answer to a GET holds: what a client reads within the patience, at 300 kbit/s.
const ANSWER: usize = 1 << 20;
/// Between two lines in the log about slow clients.
const SLOW_CLIENT_PAUSE: Duration = Duration::from_secs(3);
