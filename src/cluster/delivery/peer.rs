//! One other node, as messages see it: what it still has to get, what came from it, and which rooms it is interested in.
//!
//! Any thread may push messages. The tasks of the current link write and receive them. A new link starts where the last one
//! stopped ([`super::replay_log`]).

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, Notify};
use tokio::time::Instant;

use super::batch::Batch;
use super::inbound::{Inbound, Position};
use super::interest::{InterestUpdate, LocalInterest, PeerInterest, PreparedInterest, tell};
use super::outbound::Outbound;
use super::peer_counters::{IncomingCounts, LossLog, Losses, OutgoingCounts, PeerCounters};
use super::replay_log::Arrival;
use crate::cluster::hello::{LinkId, Resume};
use crate::cluster::wire::{Frame, Message, WireError, pb, unsequenced};
use crate::id::{Incarnation, NodeId};
use crate::trace::Trace;
use pb::envelope::Kind;

/// One life of another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Names the log of this node for that peer. The name is unique, so that nobody resumes in a wrong log.
    log: u64,
    /// Held by the reader that delivers, so that bodies are delivered one at a time and in order, whichever link brought them.
    /// A delivery may take a while: the reader of another link waits for it, and nobody else.
    delivery: AsyncMutex<()>,
    /// Where several locks are needed, they are taken in this order: `inbound`, `outbound`, `interest`. Nothing that takes long
    /// is done under any of them, because everybody who emits takes the last two.
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
    interest: Mutex<PeerInterest>,
    /// The version of this node's interest that the peer has applied.
    confirmed: AtomicU64,
    /// When the peer was heard last, in milliseconds since `born`.
    heard: AtomicU64,
    born: Instant,
    logged: Mutex<LossLog>,
    /// Wakes the writer.
    wake: Notify,
}

/// The right to deliver what a peer sends.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _held: AsyncMutexGuard<'a, ()>,
}

/// What the writer should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Write the batch and ask again.
    Write,
    /// Write the batch, which ends with a goodbye, and end.
    Last,
    /// Wait to be woken, or until that time.
    Wait(Option<Instant>),
    /// Another link has taken over.
    Stale,
}

/// What a received frame means to the rest of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Nothing,
    /// The peer has begun to speak on the link.
    Started,
    Delivered,
    Duplicate,
    /// A frame that does not decode was skipped.
    Malformed,
    /// The peer has confirmed something.
    Confirmed,
    Goodbye,
}

impl Peer {
    pub(crate) fn new(id: NodeId, incarnation: Incarnation, log: u64, now: Instant) -> Self {
        Self {
            id,
            incarnation,
            log,
            delivery: AsyncMutex::new(()),
            inbound: Mutex::new(Inbound::new()),
            outbound: Mutex::new(Outbound::new()),
            interest: Mutex::new(PeerInterest::unknown()),
            confirmed: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            born: now,
            logged: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// The peer has members in these rooms, and says so by that version of its interest.
    pub(crate) fn presume_until(&self, rooms: &[u64], version: u64) {
        self.interest.lock().presume_until(rooms, version);
    }

    /// Whether the peer may have a member in one of these rooms. An empty list stands for all sockets. A peer that is silent may
    /// have joined any room meanwhile.
    pub(crate) fn wants(&self, rooms: &[u64], now: Instant) -> bool {
        if rooms.is_empty() || self.is_silent(now) {
            return true;
        }
        let interest = self.interest.lock();
        rooms.iter().any(|room| interest.wants(*room))
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.since_birth(now) >= self.heard.load(Ordering::Relaxed) + SILENCE
    }

    /// The peer was heard at that time.
    pub(crate) fn heard(&self, at: Instant) {
        self.heard.fetch_max(self.since_birth(at), Ordering::Relaxed);
    }

    /// In milliseconds.
    fn since_birth(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }

    /// Queues a body. A volatile body is dropped if it cannot be sent soon.
    pub(crate) fn push(&self, body: Bytes, volatile: bool, now: Instant) {
        let mut outbound = self.outbound.lock();
        let queued = if volatile { outbound.push_volatile(body, now) } else { outbound.push(body, now) };
        drop(outbound);
        if queued {
            self.wake.notify_one();
        }
    }

    /// Queues a command that makes sockets of the peer join these rooms. From now on messages to these rooms go to the peer. There
    /// may be very many, so the interest is locked for some of them at a time.
    pub(crate) fn push_command(&self, body: Bytes, rooms: &[u64], now: Instant) {
        let presume = |seq| {
            for some in rooms.chunks(ROOMS_AT_ONCE) {
                let mut interest = self.interest.lock();
                some.iter().for_each(|room| interest.presume(*room, seq));
            }
        };
        // Before the command has a number, so that no acknowledgement of it comes between.
        presume(None);
        let mut outbound = self.outbound.lock();
        let queued = outbound.push(body, now);
        let seq = outbound.log.newest();
        drop(outbound);
        presume(Some(seq));
        if queued {
            self.wake.notify_one();
        }
    }

    /// The number of the newest message for the peer.
    pub(crate) fn newest(&self) -> u64 {
        self.outbound.lock().log.newest()
    }

    /// How many messages up to this number the peer has not acknowledged.
    pub(crate) fn outstanding(&self, end: u64) -> u64 {
        (end + 1).saturating_sub(self.outbound.lock().log.unconfirmed())
    }

    /// How many bytes wait for the peer or its acknowledgement.
    pub(crate) fn backlog(&self) -> usize {
        self.outbound.lock().log.bytes()
    }

    /// Wakes the writer, because there may be something new to write.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The version of this node's interest that the peer has applied.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Up to where this node has received the peer's log.
    pub(crate) fn resume(&self) -> Resume {
        self.inbound.lock().resume()
    }

    /// What became of the bodies to and from the peer.
    pub(crate) fn counters(&self) -> PeerCounters {
        let (outgoing, incoming) = self.counts();
        PeerCounters { node: self.id.clone(), incarnation: self.incarnation, outgoing, incoming }
    }

    fn counts(&self) -> (OutgoingCounts, IncomingCounts) {
        let incoming = self.inbound.lock().counts();
        (self.outbound.lock().counts(), incoming)
    }

    /// What was lost and is to be logged now; with `None` the last time.
    pub(crate) fn losses_to_log(&self, now: Option<Instant>) -> Option<Losses> {
        let (OutgoingCounts { lost, .. }, IncomingCounts { missed, .. }) = self.counts();
        self.logged.lock().due(Losses { lost, missed }, now)
    }

    /// A new link takes over. `resume` is how far the peer has received this node's log.
    pub(crate) fn attach(&self, link: LinkId, relayed: bool, resume: Resume, now: Instant) {
        let mut inbound = self.inbound.lock();
        inbound.attach(link);
        self.heard(now);
        // Until its snapshot arrives on this link, the peer may be interested in every room.
        self.interest.lock().forget();
        let after = (resume.log == self.log).then_some(resume.seq);
        self.outbound.lock().attach(link, relayed, after, now);
        self.wake.notify_one();
    }

    /// The link is lost. The next one resumes where it stopped.
    pub(crate) fn detach(&self, link: LinkId) {
        let mut inbound = self.inbound.lock();
        if inbound.link == Some(link) {
            inbound.link = None;
            self.interest.lock().forget();
            self.outbound.lock().detach();
            self.wake.notify_one();
        }
    }

    /// Drops bodies that are too old.
    pub(crate) fn expire(&self, now: Instant) {
        let mut outbound = self.outbound.lock();
        outbound.log.expire(now);
        if outbound.link.is_none() {
            // A dropped body makes nobody join a room. What the peer did receive, the next link tells.
            self.interest.lock().settle_dropped(outbound.log.unconfirmed()..=outbound.log.given_up());
        }
    }

    /// Sets whether the peer counts as dead. It has no link then.
    pub(crate) fn set_dead(&self, dead: bool) {
        self.outbound.lock().log.set_dead(dead);
    }

    /// This life of the peer is over. Nothing is kept for it any more, and nothing counts.
    pub(crate) fn end(&self) {
        let left = self.inbound.lock().left;
        self.outbound.lock().end(left);
        let mut interest = self.interest.lock();
        interest.settle(u64::MAX);
        interest.forget();
    }

    /// This life was not over. So many bodies were sent since then to whoever wants them.
    pub(crate) fn go_on(&self, since: u64) {
        self.outbound.lock().go_on(since);
    }

    /// This node leaves. The writer sends what is queued, then a goodbye.
    pub(crate) fn leave(&self) {
        self.outbound.lock().leave();
        self.wake.notify_one();
    }

    /// Waits until the writer is woken.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Appends the first frame on a new link.
    pub(crate) fn start(&self, batch: &mut Batch) {
        let first = self.outbound.lock().log.unconfirmed();
        batch.put(&unsequenced(Kind::Start(pb::Start { log: self.log, first })));
    }

    /// Collects what is to be written next on this link: interest, an acknowledgement, then bodies in order.
    pub(crate) fn fill(
        &self,
        link: LinkId,
        local: &Mutex<LocalInterest>,
        now: Instant,
        batch: &mut Batch,
    ) -> Fill {
        // The position is taken before the interest, and written behind it. So a node that sees a body acknowledged knows the
        // rooms that were joined because of it.
        let Some((position, told)) = self.before_fill(link) else { return Fill::Stale };
        let told = tell(local, told, batch);
        let (mut inbound, mut outbound) = (self.inbound.lock(), self.outbound.lock());
        if inbound.link != Some(link) || outbound.link != Some(link) {
            return Fill::Stale;
        }
        outbound.told = told.version;
        let due = outbound.beats(now) || inbound.owes_ack(now, outbound.log.has_more());
        if due && told.all && batch.has_room() && inbound.acknowledge(position, now) {
            let Position { delivered: seq, missed, .. } = position;
            let interest = self.interest.lock().version();
            batch.put(&unsequenced(Kind::Ack(pb::Ack { seq, interest, lost: Some(missed) })));
        }
        if outbound.put_bodies(batch) {
            return Fill::Last;
        }
        if batch.is_empty() {
            return Fill::Wait(inbound.due(now).into_iter().chain(outbound.next_beat()).min());
        }
        outbound.speak(now);
        Fill::Write
    }

    /// `None` if another link has taken over.
    fn before_fill(&self, link: LinkId) -> Option<(Position, Option<u64>)> {
        let inbound = self.inbound.lock();
        let position = inbound.position();
        (inbound.link == Some(link)).then(|| (position, self.outbound.lock().told))
    }

    /// Waits for the end of a delivery that another link brought.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        Turn { _held: self.delivery.lock().await }
    }

    /// Handles one frame of this link. Sequenced messages are delivered here, in order, each once. Where some before them are lost, a
    /// [`Message::Gap`] is delivered first.
    ///
    /// # Errors
    /// When the peer breaks the protocol. The link must end then.
    pub(crate) fn receive(
        &self,
        _turn: &Turn<'_>,
        link: LinkId,
        frame: Frame,
        now: Instant,
        deliver: &dyn Fn(Message),
    ) -> Result<Received, ProtocolError> {
        let (seq, size) = (frame.seq, frame.body.len());
        let (message, trace) = match Message::decode_traced(frame.body) {
            Ok((message, trace)) => (Ok(message), trace),
            Err(error) => (Err(error), Trace::none()),
        };
        if seq == 0 {
            let received = self.receive_control(link, message, now);
            self.deliver_gap(deliver);
            return received;
        }
        let mut inbound = self.inbound.lock();
        if inbound.link != Some(link) {
            return Ok(Received::Nothing);
        }
        if !inbound.started {
            return Err(ProtocolError::NoStart);
        }
        self.heard(now);
        let body = message.as_ref().is_ok_and(Message::is_body);
        let arrival = inbound.arrived(seq, body);
        drop(inbound);
        self.deliver_gap(deliver);
        let received = match message {
            _ if arrival == Arrival::Duplicate => Received::Duplicate,
            Ok(message) if body => {
                let _within = trace.enter();
                deliver(message);
                Received::Delivered
            }
            Ok(_) => Received::Nothing,
            Err(_) => Received::Malformed,
        };
        let mut inbound = self.inbound.lock();
        inbound.delivered();
        if inbound.owe(size, now) {
            self.wake.notify_one();
        }
        Ok(received)
    }

    /// Says that something of the peer will never come, if that is news.
    fn deliver_gap(&self, deliver: &dyn Fn(Message)) {
        let gap = self.inbound.lock().take_gap();
        if let Some(to) = gap {
            deliver(Message::Gap { to });
        }
    }

    fn receive_control(
        &self,
        link: LinkId,
        message: Result<Message, WireError>,
        now: Instant,
    ) -> Result<Received, ProtocolError> {
        // A snapshot may list a million rooms, so it is made ready before anything is locked, and what it replaces is dropped
        // behind that.
        let (message, interest) = match message {
            Ok(Message::Interest(update)) => {
                (None, Some(PreparedInterest::from(InterestUpdate::from(update))))
            }
            message => (Some(message), None),
        };
        let _replaced;
        let mut inbound = self.inbound.lock();
        if inbound.link != Some(link) {
            return Ok(Received::Nothing);
        }
        self.heard(now);
        if let Some(interest) = interest {
            _replaced = self.interest.lock().apply(interest);
            // It is acknowledged at once, because a join may be waiting for that.
            inbound.owe_now(now);
            self.wake.notify_one();
        }
        match message.transpose()? {
            Some(Message::Start { log, first }) => {
                let again = inbound.started;
                inbound.start(log, first);
                return Ok(if again { Received::Nothing } else { Received::Started });
            }
            Some(Message::Ack { seq, interest, lost }) => {
                let mut outbound = self.outbound.lock();
                outbound.log.acked(seq);
                // A node of an earlier version does not say it.
                lost.into_iter().for_each(|lost| outbound.log.settle(lost));
                drop(outbound);
                self.interest.lock().settle(seq);
                self.confirmed.fetch_max(interest, Ordering::AcqRel);
                return Ok(Received::Confirmed);
            }
            Some(Message::Gap { to }) => {
                inbound.gave_up(to);
                inbound.owe(0, now);
            }
            Some(Message::Goodbye) => {
                inbound.left = true;
                return Ok(Received::Goodbye);
            }
            // Bodies have numbers.
            Some(_) | None => {}
        }
        Ok(Received::Nothing)
    }
}

/// How a peer broke the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a body before the start of its log")]
    NoStart,
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// How many rooms are marked while the interest is locked.
const ROOMS_AT_ONCE: usize = 1024;
/// After that many milliseconds without a word a peer may have joined any room. Two pings of a direct link, or beats of a relayed
/// one, were lost then.
const SILENCE: u64 = 1000;

#[cfg(test)]
mod tests;
