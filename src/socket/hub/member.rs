//! A socket: one client in one namespace, whatever the type of its data.
//!
//! Events wait in the inbox for one task, which calls the handlers. So the events of one socket are handled in order,
//! and a slow handler delays the next events of its own socket only. The handler of an event with a [`Lane`] is started by
//! that task, in its turn, and goes on in one of its own. Acks bypass the inbox. A client is read from for its acks even while
//! its backlog is full, up to a second limit ([`Backlog`]).

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::task::coop;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::acks::PendingAcks;
use super::admission::{Admitted, Data};
use super::backlog::Backlog;
use super::broadcast_acks::ExpectedAck;
use super::carried;
use super::counters::NamespaceCounters;
use super::error::{AckError, DisconnectReason, EventError, Refusal};
use super::handlers::Handled;
use super::handshake::Handshake;
use super::lanes::{Lane, Running};
use super::life::{Life, LifeStage};
use super::limit::{ClientPaces, Excess, Limit};
use super::namespace::LocalNamespace;
use super::notice::Notice;
use super::own_state::OwnState;
use super::recovery::{Claimed, Keep, Keepers, KeptSocket, pid_of};
use super::session::{ClientSession, ConnectionCommand, SocketDecision};
use super::term::{Due, Term};
use super::users::UserSocket;
use super::work_queue::{Work, WorkQueue};
use crate::catch_panic;
use crate::engine::{self, Protocol};
use crate::excerpt::Excerpt;
use crate::id::{Key, NodeId, SocketId};
use crate::random;
use crate::socket::messages::Flags;
use crate::socket::messages::recovery::{Life as SessionLife, Origin, Pid, SessionState, Standing};
use crate::socket::protocol::{EncodeError, Encoded, Event, RawArgs, encode};
use crate::socket::recovery::{OwnNumbers, Position};
use crate::socket::room::Room;
use crate::trace::{Span, Trace};

/// What a namespace, a connection and the application's handles share of one socket.
pub(crate) struct Member {
    pub(crate) id: SocketId,
    pub(crate) namespace: Arc<LocalNamespace>,
    pub(crate) session: ClientSession,
    pub(crate) handshake: Handshake,
    /// What the client said in its auth payload that its events are a part of.
    trace: Trace,
    state: Mutex<MemberState>,
    /// What waits for handlers in all sockets of the client, this one included.
    backlog: Arc<Backlog>,
    acks: Mutex<PendingAcks<AckWaiter>>,
    /// Whether its client came back to it.
    is_recovered: bool,
    /// Whether it has other packets of some origins than its node has handed out.
    is_apart: AtomicBool,
}

/// Locked after the room index if both are needed, and never while the application's code runs.
struct MemberState {
    life: Life,
    /// Bounded by the backlog: a client with a full one is not read from.
    inbox: WorkQueue<HandlerCall>,
    /// What was taken out of the inbox, and runs beside what comes after.
    running: Running,
    /// Boxed, as what follows: few sockets have it.
    login: Option<Box<LoginState>>,
    own: Option<Box<OwnState>>,
    /// If its client may come back.
    keep: Option<Box<Keep>>,
    /// What it has of some origins, and until when that matters.
    apart: Option<(OwnNumbers, Instant)>,
}

/// What a login is beside its data.
#[derive(Debug)]
struct LoginState {
    /// If it ends.
    term: Option<Term>,
    user: Option<Arc<str>>,
    /// The decision about the CONNECT with which the client renews it.
    renewal: Option<AbortOnDropHandle<()>>,
}

impl LoginState {
    fn of(until: Option<Instant>, user: Option<Arc<str>>) -> Option<Box<Self>> {
        let is_more = until.is_some() || user.is_some();
        is_more.then(|| Box::new(Self { term: until.map(Term::new), user, renewal: None }))
    }
}

/// Who gets an ack.
#[derive(Debug)]
pub(crate) enum AckWaiter {
    Caller(oneshot::Sender<RawArgs>),
    Broadcast(ExpectedAck),
}

/// What a handler is to be called for.
#[derive(Debug)]
enum HandlerCall {
    Connect(Trace),
    /// With the request that carried it, where requests are kept.
    Event(Event, Trace, Option<Arc<engine::Handshake>>),
    Notice(Notice),
    Disconnecting(DisconnectReason),
    Disconnect(DisconnectReason),
}

impl Member {
    /// A socket whose admission is being decided.
    pub(crate) fn new(
        id: SocketId,
        namespace: Arc<LocalNamespace>,
        session: ClientSession,
        backlog: Arc<Backlog>,
        handshake: Handshake,
        trace: Trace,
    ) -> Arc<Self> {
        Self::with(id, namespace, session, backlog, handshake, trace, WorkQueue::default(), false)
    }

    /// The socket that its client had before, in the place of this one. Events that wait here wait there from now on.
    pub(crate) fn recovered(self: &Arc<Self>, id: SocketId) -> Arc<Self> {
        let inbox = std::mem::take(&mut self.state.lock().inbox);
        let (namespace, session) = (Arc::clone(&self.namespace), self.session.clone());
        let (backlog, handshake, trace) =
            (Arc::clone(&self.backlog), self.handshake.clone(), Trace::clone(&self.trace));
        Self::with(id, namespace, session, backlog, handshake, trace, inbox, true)
    }

    #[expect(clippy::too_many_arguments, reason = "its fields")]
    fn with(
        id: SocketId,
        namespace: Arc<LocalNamespace>,
        session: ClientSession,
        backlog: Arc<Backlog>,
        handshake: Handshake,
        trace: Trace,
        inbox: WorkQueue<HandlerCall>,
        is_recovered: bool,
    ) -> Arc<Self> {
        let life = Life::Connecting { decision: None };
        let running = Running::default();
        let state = MemberState { life, inbox, running, login: None, own: None, keep: None, apart: None };
        let (state, acks) = (Mutex::new(state), Mutex::default());
        Arc::new(Self {
            id,
            namespace,
            session,
            handshake,
            trace,
            state,
            backlog,
            acks,
            is_recovered,
            is_apart: AtomicBool::new(false),
        })
    }

    /// Keeps the task that decides on the admission: it is aborted with this socket.
    pub(crate) fn set_decision(&self, task: AbortOnDropHandle<()>) {
        if let Life::Connecting { decision } = &mut self.state.lock().life {
            *decision = Some(task);
        }
    }

    pub(crate) fn stage(&self) -> LifeStage {
        self.state.lock().life.stage()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.lock().life.is_connected()
    }

    /// Whether the server disconnected it: nothing that its client sent is handled any more.
    pub(crate) fn was_kicked(&self) -> bool {
        self.state.lock().life.disconnect_reason().is_some_and(DisconnectReason::is_of_the_server)
    }

    /// Whether an ack of the client is awaited.
    pub(crate) fn awaits_acks(&self) -> bool {
        !self.acks.lock().is_empty()
    }

    /// The data, once it was admitted.
    pub(crate) fn data(&self) -> Option<Data> {
        self.state.lock().life.data().cloned()
    }

    /// The rooms it is in. Of one that was disconnected, those that are kept for `on_disconnecting`.
    pub(crate) fn rooms(&self) -> Vec<Room> {
        {
            let state = self.state.lock();
            if !state.life.is_connected() {
                return state.life.left_rooms().to_vec();
            }
        }
        self.namespace.rooms_of(self.id)
    }

    /// Whether [`rooms`](Self::rooms) has this one.
    pub(crate) fn is_in(&self, room: &Room) -> bool {
        {
            let state = self.state.lock();
            if !state.life.is_connected() {
                return state.life.left_rooms().contains(room);
            }
        }
        self.namespace.is_in(self.id, room)
    }

    /// Whether its client came back to it.
    pub(crate) const fn is_recovered(&self) -> bool {
        self.is_recovered
    }

    /// Admits the socket: the client is told, the namespace gets it. The call of its handlers is left to the caller.
    pub(crate) fn admit(self: &Arc<Self>, admitted: Admitted) -> Option<engine::Work> {
        self.admit_with(admitted, |this| {
            let is_told = this.session.handshake().protocol() == Protocol::V4;
            let records = this.namespace.records().filter(|_| is_told);
            match records.zip(random::bytes().ok()) {
                Some((records, secret)) => {
                    let pid = pid_of(this.id.key(), secret);
                    this.namespace.insert_kept(records, this, pid);
                }
                None => {
                    this.write_connect(None);
                    this.namespace.insert(this);
                }
            }
            Ok(())
        })
    }

    /// Admits the socket that its client had before: what it missed comes first. If that is not possible any more, the client has
    /// to come again.
    pub(crate) fn readmit(self: &Arc<Self>, admitted: Admitted, claimed: Claimed) -> Option<engine::Work> {
        self.admit_with(admitted, |this| this.namespace.insert_recovered(this, claimed))
    }

    fn admit_with(
        self: &Arc<Self>,
        admitted: Admitted,
        insert: impl FnOnce(&Arc<Self>) -> Result<(), Box<Claimed>>,
    ) -> Option<engine::Work> {
        let Admitted { data, until, user } = admitted;
        {
            // From here on it can be disconnected, so the call of `on_connect` is in the inbox before that.
            let mut state = self.state.lock();
            state.life.connect(data);
            state.login = LoginState::of(until, user.clone());
            state.inbox.push_front(self.counted(HandlerCall::Connect(Trace::current())));
        }
        if let Err(claimed) = insert(self) {
            self.disconnect(DisconnectReason::TransportClose);
            self.session.close();
            // Only now may its client get it elsewhere: that socket has the same id.
            drop(claimed);
            return None;
        }
        user.into_iter().for_each(|user| self.enter(&user));
        self.handler_calls(self.state.lock())
    }

    /// The room of what a client of version 2 takes for the id of its socket, if that is to reach it: a second one of its own. It is
    /// a secret, so no list has it.
    pub(crate) fn version_2_id(&self) -> Option<Room> {
        if self.session.handshake().protocol() != Protocol::V3 || !self.namespace.has_version_2_ids() {
            return None;
        }
        let session = self.session.id();
        Some(match &*self.namespace.path {
            "/" => session.to_string().into(),
            path => format!("{path}#{session}").into(),
        })
    }

    /// The answer to its CONNECT.
    pub(crate) fn write_connect(&self, pid: Option<SocketId>) {
        let protocol = self.session.handshake().protocol();
        self.write(&encode::connect(&self.namespace.path, self.id, pid, protocol), Flags::default());
    }

    /// Decides about the client once more, by another auth payload. What the namespace says replaces what it said before.
    ///
    /// # Errors
    /// When it refuses. Then nothing changes.
    pub(crate) async fn reauthenticate(self: &Arc<Self>, auth: ByteString) -> Result<(), Refusal> {
        let handshake = self.handshake.with_auth(Some(auth));
        let decision = async { self.namespace.handlers().admit(handshake).decided().await };
        let outcome = catch_panic::future(decision).await;
        let admitted = outcome.unwrap_or_else(|| Err(Refusal::new("internal error")))?;
        if !self.renew(admitted) {
            return Err(Refusal::new("disconnected"));
        }
        self.session.command_now(ConnectionCommand(SocketDecision::Renewed));
        Ok(())
    }

    /// The namespace admitted the client once more. Returns whether the socket is still connected.
    pub(crate) fn renew(self: &Arc<Self>, admitted: Admitted) -> bool {
        let mut state = self.state.lock();
        if !state.life.is_connected() {
            return false;
        }
        let Admitted { data, until, user } = admitted;
        let _dropped_when_unlocked = state.life.renew(data);
        let mut login = LoginState::of(until, user.clone());
        let mut earlier = state.login.take();
        if let (Some(login), Some(earlier)) = (&mut login, &mut earlier) {
            login.renewal = earlier.renewal.take();
        }
        state.login = login;
        drop(state);
        let earlier = earlier.and_then(|login| login.user);
        if earlier != user {
            earlier.into_iter().for_each(|user| self.namespace.users().leave(&user, &self.as_user()));
            user.into_iter().for_each(|user| self.enter(&user));
        }
        self.note_change();
        true
    }

    /// Says whose the socket is, if it still is. If that user is blocked, it is not for long.
    fn enter(self: &Arc<Self>, user: &Arc<str>) {
        let users = self.namespace.users();
        if !users.enter(user, self.as_user(), Instant::now()) {
            self.kick_for(DisconnectReason::Blocked, true);
        } else if self.user().as_ref() != Some(user) {
            users.leave(user, &self.as_user());
        }
    }

    fn as_user(self: &Arc<Self>) -> Weak<dyn UserSocket> {
        Arc::downgrade(self) as Weak<dyn UserSocket>
    }

    /// Whose it is, while it is connected.
    fn user(&self) -> Option<Arc<str>> {
        self.state.lock().login.as_ref()?.user.clone()
    }

    /// Keeps the task that decides on the renewal of the login, in the place of one that is under way.
    pub(crate) fn set_renewal(&self, task: AbortOnDropHandle<()>) {
        let mut state = self.state.lock();
        let earlier = state.login.as_mut().and_then(|login| login.renewal.replace(task));
        drop(state);
        drop(earlier);
    }

    /// Whether the login of the socket ends at some time.
    pub(crate) fn expires(&self) -> bool {
        self.state.lock().login.as_ref().is_some_and(|login| login.term.is_some())
    }

    /// When something of its login is due.
    pub(crate) fn login_deadline(&self) -> Option<Instant> {
        let before = self.namespace.handlers().warns_before();
        let state = self.state.lock();
        Some(state.login.as_ref()?.term.as_ref()?.next(before))
    }

    /// What of its login is due now.
    pub(crate) fn login_due(&self, now: Instant) -> Option<Due> {
        let before = self.namespace.handlers().warns_before();
        self.state.lock().login.as_mut()?.term.as_mut()?.due(now, before)
    }

    /// What the application keeps at this socket, of this type. It is made at the first call.
    pub(crate) fn own<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let found = self.state.lock().own.as_ref().and_then(|own| own.get());
        found.unwrap_or_else(|| {
            let made = Arc::new(T::default());
            self.state.lock().own.get_or_insert_default().get_or_keep(made)
        })
    }

    /// Takes an event of the client, which is handled after those before it. After a disconnect it is dropped. The call of its
    /// handler is left to the caller, unless a task is at it. `paces` are those of the client.
    pub(crate) fn receive(self: &Arc<Self>, event: Event, paces: &mut ClientPaces) -> Option<engine::Work> {
        let mut state = self.state.lock();
        if state.life.disconnect_reason().is_some() {
            return None;
        }
        if let Some(limit) = self.limit_before(&state, &event, paces) {
            drop(state);
            self.reject(&event, limit);
            return None;
        }
        self.namespace.count(NamespaceCounters::event_received);
        state.inbox.push(self.counted(HandlerCall::Event(
            event,
            self.trace.or_current(),
            self.session.kept_request(),
        )));
        self.handler_calls(state)
    }

    /// The limit of the namespace that the event is beyond.
    fn limit_before(&self, state: &MemberState, event: &Event, paces: &mut ClientPaces) -> Option<&Limit> {
        let limits = self.namespace.handlers().limits();
        if limits.is_empty() {
            return None;
        }
        let paces = paces.of(&self.namespace.path, limits, Instant::now);
        let user = state.login.as_ref().and_then(|login| login.user.as_ref());
        Limit::beyond_any(limits, (&event.name, event.len()), user, paces, Instant::now)
    }

    fn reject(self: &Arc<Self>, event: &Event, limit: &Limit) {
        self.namespace.count(NamespaceCounters::event_limited);
        match (limit.excess(), event.id) {
            (Excess::Refuse, Some(id)) if self.is_connected() => {
                let error = EventError::new("limit_exceeded", limit.reason()).to_args();
                self.write(&encode::ack(&self.namespace.path, id, &error), Flags::default());
            }
            (Excess::Refuse | Excess::Drop, _) => {}
            (Excess::Disconnect, _) => self.kick_for(DisconnectReason::LimitExceeded, true),
        }
    }

    /// Takes what happened to the connection of the socket. The call of the handler is left to the caller, as that of an event.
    pub(crate) fn receive_notice(self: &Arc<Self>, notice: Notice) -> Option<engine::Work> {
        let mut state = self.state.lock();
        if !state.life.is_connected() {
            return None;
        }
        state.inbox.push(self.counted(HandlerCall::Notice(notice)));
        self.handler_calls(state)
    }

    /// Counts in the backlog what is put into the inbox.
    fn counted(&self, call: HandlerCall) -> HandlerCall {
        self.backlog.add(call.bytes());
        call
    }

    /// Takes an ack of the client. One that nobody waits for is dropped.
    pub(crate) fn receive_ack(&self, id: u64, args: RawArgs) {
        let waiter = self.acks.lock().take(id);
        self.count_acks_ended(usize::from(waiter.is_some()));
        match waiter {
            // The caller may have given up this instant.
            Some(AckWaiter::Caller(caller)) => drop(caller.send(args)),
            Some(AckWaiter::Broadcast(expected)) => expected.complete(args),
            None => {}
        }
    }

    /// Registers who gets the ack of an event that is about to be sent.
    pub(crate) fn expect_ack(&self, id: u64, waiter: AckWaiter) -> Result<(), AckError> {
        self.acks.lock().insert(id, waiter)?;
        self.namespace.count(NamespaceCounters::ack_awaited);
        if !self.is_connected() {
            self.count_acks_ended(usize::from(self.acks.lock().cancel(id)));
            return Err(AckError::Disconnected);
        }
        if self.backlog.is_full() {
            // The ack may wait behind what is not read.
            self.session.resume();
        }
        Ok(())
    }

    /// Nobody waits for that ack any more.
    pub(crate) fn forget_ack(&self, id: u64) {
        if self.acks.lock().cancel(id) {
            self.namespace.count(NamespaceCounters::ack_timed_out);
        }
    }

    fn count_acks_ended(&self, count: usize) {
        if count > 0 {
            self.namespace.count(|counters| counters.acks_ended(count as u64));
        }
    }

    /// Takes the socket out of its namespace: it gets nothing from now on. What its client sent before is still
    /// handled, unless it is the server that disconnects it. Returns whether it was connected.
    pub(crate) fn disconnect(self: &Arc<Self>, reason: DisconnectReason) -> bool {
        let in_hand = self.namespace.records().map(|_| self.namespace.keeping().in_hand());
        if !self.state.lock().life.begin_disconnect(reason) {
            return false;
        }
        let left = self.namespace.remove(self.id);
        self.part(reason);
        drop(in_hand);
        let given_up = self.acks.lock().drain().count();
        self.count_acks_ended(given_up);
        let mut state = self.state.lock();
        if reason.is_of_the_server() {
            let is_unwanted =
                |call: &HandlerCall| matches!(call, HandlerCall::Event(..) | HandlerCall::Notice(_));
            let (calls, bytes) = state.inbox.remove(is_unwanted);
            // The session is resumed below in any case.
            let _has_room = self.backlog.remove(calls, bytes);
        }
        state.life.keep_left_rooms(left);
        let login = state.login.take();
        if self.namespace.handlers().has_on_disconnecting() {
            state.inbox.push(self.counted(HandlerCall::Disconnecting(reason)));
        }
        state.inbox.push(self.counted(HandlerCall::Disconnect(reason)));
        if let Some(calls) = self.handler_calls(state) {
            self.namespace.tasks().spawn_tracked(calls);
        }
        if let Some(user) = login.and_then(|login| login.user) {
            self.namespace.users().leave(&user, &self.as_user());
        }
        self.session.resume();
        true
    }

    /// The server's side of a disconnect: the socket leaves the namespace at once, and the client is told. With `close`,
    /// the client leaves every namespace, and its session closes.
    pub(crate) fn kick(self: &Arc<Self>, close: bool) {
        self.kick_for(DisconnectReason::ServerNamespaceDisconnect, close);
    }

    fn kick_for(self: &Arc<Self>, reason: DisconnectReason, close: bool) {
        // One that has left already closes nothing: its client may be back.
        if self.disconnect(reason) {
            self.write(&encode::disconnect(&self.namespace.path), Flags::default());
            self.session.command(ConnectionCommand(SocketDecision::Kicked { socket: self.id, close }));
        }
    }

    /// Sends an event to the client. After a disconnect it is dropped, unless the client may come back: then it gets it, wherever it
    /// does. A volatile one is not kept.
    ///
    /// # Errors
    /// When an event that is kept is too large for other nodes.
    pub(crate) fn emit(self: &Arc<Self>, packet: Encoded, flags: Flags) -> Result<(), EncodeError> {
        if self.namespace.records().is_some() && !flags.volatile && self.may_get_kept() {
            return self.namespace.emit_to(self.id, packet, flags);
        }
        self.emit_unkept(&packet, flags);
        Ok(())
    }

    /// Sends a packet to the client. After a disconnect it is dropped.
    fn emit_unkept(self: &Arc<Self>, packet: &Encoded, flags: Flags) {
        if self.is_connected() {
            self.note_sent(self.namespace.send_unkept(self, packet, flags), packet);
        }
    }

    fn note_sent(self: &Arc<Self>, is_sent: bool, packet: &Encoded) {
        self.namespace.count(|counters| counters.events_sent(u64::from(is_sent)));
        self.namespace.observe_outgoing(|| vec![Arc::clone(self)], &packet.text, &packet.attachments);
    }

    /// Whether its client is here, or may come back somewhere.
    pub(crate) fn may_get_kept(&self) -> bool {
        let state = self.state.lock();
        state.keep.is_some() && state.life.disconnect_reason().is_none_or(DisconnectReason::keeps_session)
    }

    /// Its client may come back from now on. Of one that did, the id is not one of this node: other nodes find it by interest.
    pub(crate) fn begin_keeping(&self, keep: Keep) {
        self.state.lock().keep = Some(Box::new(keep));
    }

    /// The rooms by which other nodes find the socket of a client that came back.
    pub(crate) fn own_interest(&self) -> impl Iterator<Item = Room> {
        let rooms = self.is_recovered.then(|| [Room::Own(self.id), Room::mark_of(self.id)]);
        rooms.into_iter().flatten()
    }

    /// The secret by which its client may come back.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.state.lock().keep.as_ref().map(|keep| keep.pid)
    }

    /// Whether its client may come back.
    pub(crate) fn is_kept(&self) -> bool {
        self.state.lock().keep.is_some()
    }

    /// Its client has other packets of some origins than this node has handed out: its position says so, until that time.
    pub(crate) fn set_apart(&self, numbers: Vec<(Origin, u64)>, until: Instant) {
        if !numbers.is_empty() {
            self.state.lock().apart = Some((numbers.into(), until));
            self.is_apart.store(true, Ordering::Relaxed);
        }
    }

    /// What it has of some origins, if that is not what its node has handed out.
    pub(crate) fn apart(&self) -> Option<OwnNumbers> {
        if !self.is_apart.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state.lock();
        state.apart.take_if(|(_, until)| *until <= Instant::now());
        self.is_apart.store(state.apart.is_some(), Ordering::Relaxed);
        state.apart.as_ref().map(|(numbers, _)| Arc::clone(numbers))
    }

    /// Whether that origin did not answer when its client came back.
    pub(crate) fn is_behind(&self, origin: Origin) -> bool {
        let is_it = |(unheard, _): &(Origin, u64)| *unheard == origin;
        self.state.lock().keep.as_ref().is_some_and(|keep| keep.behind.iter().any(is_it))
    }

    pub(crate) fn note_join(self: &Arc<Self>, room: &Room) {
        if *room != Room::Own(self.id) {
            self.note(|keep| keep.join(room, Instant::now()));
        }
    }

    pub(crate) fn note_leave(self: &Arc<Self>, room: &Room, position: &Position) {
        let Some(slack) = self.namespace.records().map(|records| records.slack()) else { return };
        self.note(|keep| keep.leave(room, position, slack, Instant::now()));
    }

    /// Its data or its login are others, or nobody was told of it yet.
    pub(crate) fn note_change(self: &Arc<Self>) {
        self.note(Keep::touch);
    }

    fn note(self: &Arc<Self>, change: impl FnOnce(&mut Keep) -> bool) {
        let mut state = self.state.lock();
        let Some(keep) = &mut state.keep else { return };
        let is_first = change(keep) && keep.queue();
        drop(state);
        if is_first {
            self.namespace.keeping().note(Arc::downgrade(self) as Weak<dyn KeptSocket>);
        }
    }

    /// Tells it again to a node that keeps it: what it was told may have come late.
    pub(crate) fn note_again(self: &Arc<Self>, to: &NodeId) {
        let is_told = self.state.lock().keep.as_ref().is_some_and(|keep| keep.told.contains(to));
        if is_told {
            self.note_change();
        }
    }

    /// Tells the nodes that keep it, if they are others than before.
    pub(crate) fn note_keepers(self: &Arc<Self>, keepers: &dyn Fn(Key) -> Keepers) {
        let mut state = self.state.lock();
        let Some(keep) = &mut state.keep else { return };
        if keep.told == keepers(keep.pid.0.key()) {
            return;
        }
        drop(state);
        self.note_change();
    }

    /// What is known of it. Runs the application's function that writes data.
    pub(crate) fn session_state(&self, standing: Standing) -> Option<SessionState> {
        self.described(self.state.lock(), standing)
    }

    /// What is known of it in this state.
    fn described(&self, state: MutexGuard<'_, MemberState>, standing: Standing) -> Option<SessionState> {
        let now = Instant::now();
        let keep = state.keep.as_ref()?;
        let login = state.login.as_ref();
        let mut described = SessionState {
            pid: keep.pid,
            namespace: Arc::clone(&self.namespace.path),
            socket: self.id,
            life: keep.life,
            version: 0,
            standing,
            lasts: self.namespace.records()?.settings.max_disconnection,
            age: Duration::ZERO,
            rooms: Vec::new(),
            left: Vec::new(),
            forgotten: None,
            data: Bytes::new(),
            user: login.and_then(|login| login.user.clone()),
            login: login.and_then(|login| Some(login.term.as_ref()?.left(now))),
            start: Vec::new(),
        };
        keep.describe(&mut described, now);
        let data = state.life.data().cloned();
        drop(state);
        let handlers = self.namespace.handlers();
        let saved = data.and_then(|data| catch_panic::call(|| handlers.save(&*data)).flatten());
        described.data = saved.unwrap_or_default();
        Some(described)
    }

    /// The socket has left. Whether its client may come back depends on why.
    fn part(&self, reason: DisconnectReason) {
        let Some(records) = self.namespace.records() else { return };
        if let Some(keep) = &mut self.state.lock().keep {
            keep.touch();
        }
        // What was sent so long ago that it is not kept any more may have waited for the client until now.
        let waits_since = self.session.outbox().waits_since();
        let is_behind = waits_since.is_some_and(|since| since.elapsed() > records.slack());
        let standing = match reason.keeps_session() && !is_behind {
            true => Standing::Away(records.settings.max_disconnection),
            false => Standing::Over,
        };
        let Some(state) = self.session_state(standing) else { return };
        self.namespace.keeping().publish(state.clone(), Instant::now());
        if reason.keeps_session() && is_behind {
            self.namespace.tell_lost(state, NamespaceCounters::session_lost);
        }
    }

    /// Has the client come again, as if it had lost its connection.
    pub(crate) fn lose(self: &Arc<Self>) {
        if self.disconnect(DisconnectReason::TransportClose) {
            self.session.close();
        }
    }

    /// Appends a packet to the client's outbox, whatever the state of the socket. Returns whether it is on its way.
    pub(crate) fn write(&self, packet: &Encoded, Flags { volatile, compress }: Flags) -> bool {
        let frames = self.namespace.parser().frames(&packet.text, &packet.attachments, compress);
        self.session.send(&frames, volatile)
    }

    /// Emits an event and waits for the client's ack.
    pub(crate) async fn call(
        self: &Arc<Self>,
        event: &str,
        args: &RawArgs,
        compress: bool,
        timeout: Duration,
    ) -> Result<RawArgs, AckError> {
        let id = self.namespace.next_ack_id();
        let packet = encode::event(&self.namespace.path, Some(id), event, args)?;
        if !self.is_connected() {
            return Err(AckError::Disconnected);
        }
        let (sender, ack) = oneshot::channel();
        self.expect_ack(id, AckWaiter::Caller(sender))?;
        // Forgets the ack however this future ends.
        let _pending = PendingAck { member: self, id };
        let _span = Span::emit(&self.namespace.path, event);
        // Where an ack is asked, clients take nothing for a position: one more argument would only be in the way.
        if self.is_connected() {
            self.note_sent(self.write(&packet, Flags { compress, ..Flags::default() }), &packet);
        }
        match tokio::time::timeout(timeout, ack).await {
            Ok(Ok(args)) => Ok(args),
            Ok(Err(_)) => Err(AckError::Disconnected),
            Err(_) => Err(AckError::Timeout),
        }
    }

    /// What calls the handlers, if there is something to do, the socket was admitted, and nobody is at it.
    fn handler_calls(self: &Arc<Self>, mut state: MutexGuard<'_, MemberState>) -> Option<engine::Work> {
        if state.life.is_connecting() || !state.inbox.start() {
            return None;
        }
        let member = Arc::clone(self);
        Some(Box::pin(self.namespace.tasks().tracked(|| member.call_handlers())))
    }

    async fn call_handlers(self: Arc<Self>) {
        // One look at the clock between two calls: the end of the one is the beginning of the next.
        let mut began = Instant::now();
        loop {
            // A client with very many events lets other tasks run. Not between the two lines below: a disconnect by the server
            // drops what waits.
            coop::consume_budget().await;
            let Some((call, lane)) = self.next_call() else { return };
            if let Some(lane) = lane {
                self.start_beside(call, lane).await;
                began = Instant::now();
            } else {
                began = self.call_from(call, began).await;
            }
        }
    }

    /// Starts a handler that what comes after does not wait for: here up to where it first waits, then in a task of its own.
    async fn start_beside(self: &Arc<Self>, call: HandlerCall, lane: Lane) {
        let mut calling = Box::pin(Arc::clone(self).call_beside(call, lane));
        if poll_fn(|cx| Poll::Ready(calling.as_mut().poll(cx))).await.is_pending() {
            self.namespace.tasks().spawn(calling);
        }
    }

    /// Calls a handler, and then those that wait because its lane was full, or for the last one to end.
    async fn call_beside(self: Arc<Self>, call: HandlerCall, lane: Lane) {
        self.call_from(call, Instant::now()).await;
        let calls = {
            let mut state = self.state.lock();
            state.running.leave(lane);
            state.inbox.resume();
            self.handler_calls(state)
        };
        if let Some(calls) = calls {
            calls.await;
        }
    }

    /// Calls a handler, whatever comes of it; returns when it ended.
    async fn call_from(self: &Arc<Self>, call: HandlerCall, began: Instant) -> Instant {
        let is_event = matches!(call, HandlerCall::Event(..));
        let ended = catch_panic::future(pin!(self.call_handler(call))).await;
        let now = Instant::now();
        if is_event {
            self.namespace.count(|counters| counters.event_handled(now.saturating_duration_since(began)));
        }
        if ended.is_none() {
            self.namespace.count(NamespaceCounters::handler_panicked);
            let ns = Excerpt::name(&self.namespace.path);
            tracing::error!(socket = %self.id, %ns, "a handler panicked: the socket is disconnected");
            self.kick(false);
        }
        now
    }

    /// The next call, which has a place in its lane if it has one. Without any the task must end.
    fn next_call(&self) -> Option<(HandlerCall, Option<Lane>)> {
        let mut state = self.state.lock();
        let lane = match self.namespace.handlers().has_lanes() {
            true => self.enter_lane(&mut state)?,
            false => None,
        };
        let call = state.inbox.next()?;
        if matches!(call, HandlerCall::Disconnect(_)) {
            state.life.finish_disconnect();
        }
        drop(state);
        if self.backlog.remove(1, call.bytes()) {
            self.session.resume();
        }
        Some((call, lane))
    }

    /// Takes a place in the lane of the next call. `None` if that has to wait: for room in its lane, or, at a disconnect, for all
    /// that still runs.
    fn enter_lane(&self, MemberState { inbox, running, .. }: &mut MemberState) -> Option<Option<Lane>> {
        let (lane, may_start) = match inbox.peek() {
            Some(HandlerCall::Event(event, ..)) => {
                let lane = self.namespace.handlers().lane(&event.name);
                (lane, lane.is_none_or(|lane| running.enter(lane)))
            }
            Some(HandlerCall::Disconnecting(_) | HandlerCall::Disconnect(_)) => (None, running.is_empty()),
            Some(HandlerCall::Connect(_) | HandlerCall::Notice(_)) | None => (None, true),
        };
        if !may_start {
            inbox.pause();
        }
        may_start.then_some(lane)
    }

    async fn call_handler(self: &Arc<Self>, call: HandlerCall) {
        let (handlers, member) = (self.namespace.handlers(), Arc::clone(self));
        match call {
            HandlerCall::Connect(trace) => {
                let span = self.span(&trace, "connect");
                if let Err(error) = span.scope(handlers.on_connect(member)).await {
                    span.failed();
                    self.log_failure("on_connect", &error);
                    self.kick(false);
                }
            }
            HandlerCall::Event(event, trace, request) => {
                let (id, name) = (event.id, event.name.clone());
                let span = self.span(&trace, &name);
                let handling = || handlers.on_event(member, event);
                let handled = span.scope(carried::by(&self.session, request, handling)).await;
                if !matches!(handled, Handled::Value(_) | Handled::Taken(Ok(()))) {
                    span.failed();
                }
                self.conclude(&name, id, handled);
            }
            HandlerCall::Notice(notice) => {
                let handler = notice.handler();
                if let Err(error) = handlers.on_notice(member, notice).await {
                    self.log_failure(handler, &error);
                }
            }
            HandlerCall::Disconnecting(reason) => {
                if let Err(error) = handlers.on_disconnecting(member, reason).await {
                    self.log_failure("on_disconnecting", &error);
                }
            }
            HandlerCall::Disconnect(reason) => {
                if let Err(error) = handlers.on_disconnect(member, reason).await {
                    self.log_failure("on_disconnect", &error);
                }
            }
        }
    }

    fn span(&self, trace: &Trace, event: &str) -> Span {
        let (node, path) = (self.namespace.node().as_str(), &self.namespace.path);
        let is_known = || event == "connect" || self.namespace.handlers().knows(event);
        Span::handler(trace, node, path, event, is_known)
    }

    /// Tells the client and the log how the handling of an event ended.
    fn conclude(&self, event: &str, id: Option<u64>, handled: Handled) {
        let args = match handled {
            Handled::Value(args) => args,
            Handled::Failed(error) => {
                self.log_failure(event, &error);
                error.to_args()
            }
            Handled::Taken(Ok(())) => return,
            Handled::Taken(Err(error)) => return self.log_failure(event, &error),
            Handled::Unknown => return self.log_unknown(event),
        };
        if let Some(id) = id {
            self.write(&encode::ack(&self.namespace.path, id, &args), Flags::default());
        }
    }

    /// Answers an event of the client, at any time. Returns whether the client was still there.
    pub(crate) fn answer(&self, id: u64, args: &RawArgs) -> bool {
        let ack = encode::ack(&self.namespace.path, id, args);
        let sent = self.is_connected() && self.write(&ack, Flags::default());
        if !sent {
            self.namespace.count(NamespaceCounters::ack_too_late);
        }
        sent
    }

    fn log_unknown(&self, event: &str) {
        self.namespace.count(NamespaceCounters::event_unknown);
        let (ns, event) = (Excerpt::name(&self.namespace.path), Excerpt::name(event));
        let socket = self.id;
        if self.namespace.may_warn() {
            tracing::warn!(%ns, %socket, %event, "an event has no handler");
        } else {
            tracing::debug!(%ns, %socket, %event, "an event has no handler");
        }
    }

    pub(crate) fn log_failure(&self, event: &str, error: &EventError) {
        self.namespace.count(NamespaceCounters::handler_failed);
        let (ns, event) = (Excerpt::name(&self.namespace.path), Excerpt::name(event));
        let (socket, error) = (self.id, Excerpt::reason(format!("{error:?}")));
        if self.namespace.may_warn() {
            tracing::warn!(%ns, %socket, %event, %error, "a handler failed");
        } else {
            tracing::debug!(%ns, %socket, %event, %error, "a handler failed");
        }
    }
}

impl KeptSocket for Member {
    fn changed(&self, keepers: &dyn Fn(Key) -> Keepers) -> Option<SessionState> {
        let mut state = self.state.lock();
        let is_connected = state.life.is_connected();
        let keep = state.keep.as_mut()?;
        keep.dequeue();
        if !is_connected {
            return None;
        }
        keep.told = keepers(keep.pid.0.key());
        // Not unlocked between: it would be told as connected by the version that tells that it has left.
        self.described(state, Standing::Live(self.namespace.node().clone()))
    }

    fn outlived(self: Arc<Self>, by: SessionLife) {
        let is_older = self.state.lock().keep.as_ref().is_some_and(|keep| keep.life < by);
        if is_older {
            self.lose();
        }
    }
}

impl UserSocket for Member {
    fn close_blocked(self: Arc<Self>) {
        self.kick_for(DisconnectReason::Blocked, true);
    }
}

impl Work for HandlerCall {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event, ..) => event.len(),
            Self::Notice(notice) => notice.bytes(),
            Self::Connect(_) | Self::Disconnecting(_) | Self::Disconnect(_) => 0,
        }
    }
}

impl Drop for Member {
    /// Only the events of a client that was not admitted still wait here.
    fn drop(&mut self) {
        let (calls, bytes) = self.state.get_mut().inbox.remove(|_| true);
        let _has_room = self.backlog.remove(calls, bytes);
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.id)
            .field("ns", &self.namespace.path)
            .finish_non_exhaustive()
    }
}

struct PendingAck<'a> {
    member: &'a Member,
    id: u64,
}

impl Drop for PendingAck<'_> {
    fn drop(&mut self) {
        self.member.forget_ack(self.id);
    }
}
