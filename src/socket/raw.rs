//! One client in one namespace, whatever the type of its data.
//!
//! Events wait in the inbox, and one task drains it: it exists only while there is something to handle, so events of
//! one client are handled in order, and a slow handler delays that client's next event and nothing else. Acks bypass
//! the inbox; a client is read from for them, too, until far more waits than usual ([`Backlog`]).

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::acks::Acks;
use super::args::RawArgs;
use super::backlog::Backlog;
use super::connection::{Command, Order, Session};
use super::error::{AckError, DisconnectReason, EventError};
use super::gathering::Share;
use super::handshake::Handshake;
use super::messages::Flags;
use super::packet::{self, Encoded, Event};
use super::room::Room;
use super::state::NamespaceState;
use crate::id::SocketId;

/// What a namespace, a connection and every handle of a user share of one socket.
pub(crate) struct RawSocket {
    pub(crate) id: SocketId,
    pub(crate) namespace: Arc<NamespaceState>,
    pub(crate) session: Session,
    pub(crate) handshake: Handshake,
    data: OnceLock<Arc<dyn Any + Send + Sync>>,
    connected: AtomicBool,
    inbox: Mutex<Inbox>,
    /// Of its client: what waits in the inbox counts there.
    backlog: Arc<Backlog>,
    acks: Mutex<Acks<Waiter>>,
}

/// Whoever waits for an ack.
#[derive(Debug)]
pub(crate) enum Waiter {
    Call(oneshot::Sender<RawArgs>),
    Gathering(Share),
}

/// What waits for the handlers of one socket.
struct Inbox {
    queue: VecDeque<Work>,
    drain: Drain,
    /// The rooms the socket left when it was disconnected, until `on_disconnecting` has ended.
    left: Vec<Room>,
}

#[derive(PartialEq, Eq)]
enum Drain {
    /// Not admitted yet: events wait for their handlers.
    Held,
    Idle,
    Running,
}

/// What a handler is called for.
#[derive(Debug)]
pub(crate) enum Work {
    Connected,
    Event(Event),
    Disconnecting(DisconnectReason),
    Disconnected(DisconnectReason),
}

impl RawSocket {
    pub(crate) fn new(
        id: SocketId,
        namespace: Arc<NamespaceState>,
        session: Session,
        backlog: Arc<Backlog>,
        handshake: Handshake,
    ) -> Arc<Self> {
        let inbox = Inbox { queue: VecDeque::new(), drain: Drain::Held, left: Vec::new() };
        Arc::new(Self {
            id,
            namespace,
            session,
            handshake,
            data: OnceLock::new(),
            connected: AtomicBool::new(false),
            inbox: Mutex::new(inbox),
            backlog,
            acks: Mutex::new(Acks::default()),
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// Whether an ack of the client is awaited.
    pub(crate) fn awaits_acks(&self) -> bool {
        !self.acks.lock().is_empty()
    }

    pub(crate) fn data(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.data.get()
    }

    /// Whether the server disconnected it: nothing that its client sent is handled any further.
    pub(crate) fn is_turned_out(&self) -> bool {
        let of_the_server = |work: &Work| matches!(work, Work::Disconnected(why) if why.is_of_the_server());
        !self.is_connected() && self.inbox.lock().queue.iter().any(of_the_server)
    }

    /// The rooms it left when it was disconnected, while they are kept.
    pub(crate) fn left_rooms(&self) -> Option<Vec<Room>> {
        (!self.is_connected()).then(|| self.inbox.lock().left.clone())
    }

    /// Admits the socket: CONNECT is written, the namespace knows it, then its handlers run.
    pub(crate) fn admit(self: &Arc<Self>, data: Arc<dyn Any + Send + Sync>) {
        // An admission is decided once per socket, by the connection that owns it.
        let _decided_before = self.data.set(data);
        self.connected.store(true, Ordering::Release);
        let protocol = self.session.handshake().protocol();
        self.write(&packet::connect(&self.namespace.path, self.id, protocol), Flags::default());
        self.namespace.insert(self);
        let mut inbox = self.inbox.lock();
        inbox.queue.push_front(self.counted(Work::Connected));
        inbox.drain = Drain::Idle;
        self.start(inbox);
    }

    /// An event of the client: handled after those before it, and not after the socket was disconnected.
    pub(crate) fn receive(self: &Arc<Self>, event: Event) {
        let mut inbox = self.inbox.lock();
        if inbox.drain != Drain::Held && !self.is_connected() {
            return;
        }
        inbox.queue.push_back(self.counted(Work::Event(event)));
        self.start(inbox);
    }

    /// Whatever is queued waits from now on.
    fn counted(&self, work: Work) -> Work {
        self.backlog.add(work.bytes());
        work
    }

    /// The answer to an [`RawSocket::call`]; one that nobody waits for is ignored.
    pub(crate) fn receive_ack(&self, id: u64, args: RawArgs) {
        let waiting = self.acks.lock().take(id);
        match waiting {
            // The caller may have given up this instant.
            Some(Waiter::Call(caller)) => drop(caller.send(args)),
            Some(Waiter::Gathering(share)) => share.answer(args),
            None => {}
        }
    }

    /// Waits for the ack of an event that goes to many.
    pub(crate) fn expect_ack(&self, id: u64, waiter: Waiter) -> Result<(), AckError> {
        self.acks.lock().insert(id, waiter)?;
        if !self.is_connected() {
            self.forget_ack(id);
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
        self.acks.lock().cancel(id);
    }

    /// Takes the socket out of its namespace: it gets nothing from now on. What it sent before it left is still handled,
    /// unless it is the server that wants no more of it. Returns whether it was connected.
    pub(crate) fn disconnect(self: &Arc<Self>, reason: DisconnectReason) -> bool {
        if !self.connected.swap(false, Ordering::AcqRel) {
            return false;
        }
        let left = self.namespace.remove(self.id);
        drop(self.acks.lock().drain());
        let mut inbox = self.inbox.lock();
        if reason.is_of_the_server() {
            inbox.forget(&self.backlog, |work| matches!(work, Work::Event(_)));
        }
        inbox.left = left;
        if self.namespace.behaviour().awaits_disconnecting() {
            inbox.queue.push_back(self.counted(Work::Disconnecting(reason)));
        }
        inbox.queue.push_back(self.counted(Work::Disconnected(reason)));
        self.start(inbox);
        self.session.resume();
        true
    }

    /// Appends a packet to the client's outbox; dropped after the socket was disconnected.
    pub(crate) fn emit(self: &Arc<Self>, packet: &Encoded, flags: Flags) {
        if !self.is_connected() {
            return;
        }
        self.write(packet, flags);
        if self.namespace.behaviour().watches_outgoing() {
            self.namespace.observe_outgoing(vec![Arc::clone(self)], &packet.text, &packet.attachments);
        }
    }

    pub(crate) fn write(&self, packet: &Encoded, Flags { volatile, compress }: Flags) {
        let frames = self.namespace.parser().frames(&packet.text, &packet.attachments, compress);
        self.session.send(&frames, volatile);
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
        let packet = packet::event(&self.namespace.path, Some(id), event, args)?;
        let (sender, answer) = oneshot::channel();
        if !self.is_connected() {
            return Err(AckError::Disconnected);
        }
        self.expect_ack(id, Waiter::Call(sender))?;
        // Forgets the ack however this future ends.
        let _pending = PendingAck { socket: self, id };
        self.emit(&packet, Flags { compress, ..Flags::default() });
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(args)) => Ok(args),
            Ok(Err(_)) => Err(AckError::Disconnected),
            Err(_) => Err(AckError::Timeout),
        }
    }

    /// Starts the draining task if there is something to handle and none runs.
    fn start(self: &Arc<Self>, mut inbox: parking_lot::MutexGuard<'_, Inbox>) {
        if inbox.drain == Drain::Idle && !inbox.queue.is_empty() {
            inbox.drain = Drain::Running;
            self.namespace.runtime().spawn(Arc::clone(self).drain());
        }
    }

    async fn drain(self: Arc<Self>) {
        while let Some(work) = self.next() {
            if !run_to_end(self.handle(work)).await {
                tracing::error!(socket = %self.id, ns = %self.namespace.path, "a handler panicked: socket disconnected");
                self.leave(false);
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut inbox = self.inbox.lock();
        let Some(work) = inbox.queue.pop_front() else {
            inbox.drain = Drain::Idle;
            inbox.queue = VecDeque::new();
            return None;
        };
        if self.backlog.remove(1, work.bytes()) {
            self.session.resume();
        }
        Some(work)
    }

    async fn handle(self: &Arc<Self>, work: Work) {
        let behaviour = self.namespace.behaviour();
        match work {
            Work::Connected => {
                if let Err(error) = behaviour.connected(Arc::clone(self)).await {
                    self.warn("on_connect", &error);
                    self.leave(false);
                }
            }
            Work::Event(event) => {
                let id = event.id;
                let name = event.name.clone();
                let result = behaviour.event(Arc::clone(self), event).await;
                self.reply(&name, id, result);
            }
            Work::Disconnecting(reason) => {
                if let Err(error) = behaviour.disconnecting(Arc::clone(self), reason).await {
                    self.warn("on_disconnecting", &error);
                }
            }
            Work::Disconnected(reason) => {
                self.inbox.lock().left = Vec::new();
                if let Err(error) = behaviour.disconnected(Arc::clone(self), reason).await {
                    self.warn("on_disconnect", &error);
                }
            }
        }
    }

    fn reply(&self, event: &str, id: Option<u64>, result: Result<RawArgs, EventError>) {
        if let Err(error) = &result {
            self.warn(event, error);
        }
        let Some(id) = id else { return };
        let args = result.unwrap_or_else(|error| error.to_args());
        self.write(&packet::ack(&self.namespace.path, id, &args), Flags::default());
    }

    fn warn(&self, event: &str, error: &EventError) {
        let ns = &self.namespace.path;
        if self.namespace.may_warn() {
            tracing::warn!(%ns, socket = %self.id, event, ?error, "a handler failed");
        } else {
            tracing::debug!(%ns, socket = %self.id, event, ?error, "a handler failed");
        }
    }

    /// The server's side of a disconnect: out of the namespace at once, and the client is told. With `close`, out of
    /// every namespace, and the session closes.
    pub(crate) fn leave(self: &Arc<Self>, close: bool) {
        // One that has left already closes nothing: its client may be back.
        if self.disconnect(DisconnectReason::ServerNamespaceDisconnect) {
            self.write(&packet::disconnect(&self.namespace.path), Flags::default());
            self.session.command(Command(Order::Left { socket: self.id, close }));
        }
    }
}

impl Inbox {
    /// Drops what waits, as far as it is like that.
    fn forget(&mut self, backlog: &Backlog, is_like: impl Fn(&Work) -> bool) {
        let (mut calls, mut bytes) = (0, 0);
        self.queue.retain(|work| {
            let dropped = is_like(work);
            if dropped {
                (calls, bytes) = (calls + 1, bytes + work.bytes());
            }
            !dropped
        });
        // Whoever disconnects has the session look whether there is room again.
        let _has_room = backlog.remove(calls, bytes);
    }
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.len(),
            Self::Connected | Self::Disconnecting(_) | Self::Disconnected(_) => 0,
        }
    }
}

impl Drop for RawSocket {
    /// A client that was not admitted: what it sent waits for nobody.
    fn drop(&mut self) {
        self.inbox.get_mut().forget(&self.backlog, |_| true);
    }
}

impl fmt::Debug for RawSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.id)
            .field("ns", &self.namespace.path)
            .finish_non_exhaustive()
    }
}

struct PendingAck<'a> {
    socket: &'a RawSocket,
    id: u64,
}

impl Drop for PendingAck<'_> {
    fn drop(&mut self) {
        self.socket.forget_ack(self.id);
    }
}

/// Runs a handler; `false` if it panicked.
pub(crate) async fn run_to_end(handler: impl Future<Output = ()>) -> bool {
    caught(handler).await.is_some()
}

/// Runs what a user wrote; `None` if it panicked.
pub(crate) async fn caught<T>(handler: impl Future<Output = T>) -> Option<T> {
    let mut handler = std::pin::pin!(handler);
    std::future::poll_fn(|cx| {
        // A handler that panicked is not polled again, so no broken state of it is seen.
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}
