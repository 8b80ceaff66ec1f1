//! One other node, as messages see it: what it still has to get, what came from it, and which rooms it is interested in.
//!
//! Any thread may push messages. The tasks of the current link write and receive them. A new link starts where the last one
//! stopped ([`super::replay_log`]).

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::interest::{LocalInterest, PeerInterest};
use super::peer_counters::{IncomingCounts, LossCounts, OutgoingCounts, PeerCounters};
use super::replay_log::{Arrival, ReceiveLog, SendLog, Write};
use crate::cluster::hello::{LinkId, Resume};
use crate::cluster::wire::{Frame, Message, WireError, pb, unsequenced};
use crate::id::{Incarnation, NodeId};
use pb::envelope::Kind;

/// One life of another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Names the log of this node for that peer. The name is unique, so that nobody resumes in a wrong log.
    log: u64,
    /// Held during a delivery, so that bodies are delivered one at a time and in order, whichever link brought them. Nothing
    /// is acknowledged and no interest is told meanwhile, so both know what the body did. The control actor never waits for it.
    delivery: Mutex<()>,
    /// Where several locks are needed, they are taken in this order: `delivery`, `inbound`, `outbound`, `interest`.
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
    interest: Mutex<PeerInterest>,
    /// The version of this node's interest that the peer has applied.
    confirmed: AtomicU64,
    logged: Mutex<LoggedLosses>,
    /// Wakes the writer.
    wake: Notify,
}

#[derive(Debug)]
struct Inbound {
    /// The current link. What older ones still bring is ignored.
    link: Option<LinkId>,
    /// The name of the peer's log; 0 before its first `Start`.
    log: u64,
    /// Whether `Start` was seen on this link.
    started: bool,
    received: ReceiveLog,
    /// Without what the current log of the peer says was lost.
    counts: IncomingCounts,
    /// The peer said goodbye.
    left: bool,
    /// Bytes that came since the last acknowledgement.
    owed: usize,
    /// When the next acknowledgement goes out by itself.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Outbound {
    link: Option<LinkId>,
    log: SendLog,
    /// The version of this node's interest that was told on this link.
    told: Option<u64>,
    /// This node leaves.
    leaving: bool,
    /// The life of the peer is over: nothing is kept for it any more.
    over: bool,
    volatile_dropped: u64,
}

/// Bodies that never arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Those for the peer.
    pub(crate) lost: LossCounts,
    /// Those of the peer.
    pub(crate) missed: u64,
}

/// The losses that were logged so far.
#[derive(Debug, Default)]
struct LoggedLosses {
    last: Option<Instant>,
    total: Losses,
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

/// Bytes to write at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: BytesMut,
    /// A body that is too large to be copied. It is written after `bytes`.
    pub(crate) large: Option<Bytes>,
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
    pub(crate) fn new(id: NodeId, incarnation: Incarnation, log: u64) -> Self {
        let received = ReceiveLog::starting_at(1);
        Self {
            id,
            incarnation,
            log,
            delivery: Mutex::new(()),
            inbound: Mutex::new(Inbound {
                link: None,
                log: 0,
                started: false,
                received,
                counts: IncomingCounts::default(),
                left: false,
                owed: 0,
                due: None,
            }),
            outbound: Mutex::new(Outbound {
                link: None,
                log: SendLog::new(),
                told: None,
                leaving: false,
                over: false,
                volatile_dropped: 0,
            }),
            interest: Mutex::new(PeerInterest::unknown()),
            confirmed: AtomicU64::new(0),
            logged: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Whether the peer may have a member in one of these rooms. An empty list stands for all sockets.
    pub(crate) fn wants(&self, rooms: &[u64]) -> bool {
        let interest = self.interest.lock();
        rooms.is_empty() || rooms.iter().any(|room| interest.wants(*room))
    }

    /// Queues a body. A volatile body is dropped if it cannot be sent soon.
    pub(crate) fn push(&self, body: Bytes, volatile: bool, now: Instant) {
        let mut outbound = self.outbound.lock();
        if volatile && (outbound.link.is_none() || outbound.log.bytes() > VOLATILE) {
            outbound.volatile_dropped += 1;
            return;
        }
        outbound.push(body, now);
        drop(outbound);
        self.wake.notify_one();
    }

    /// Queues a command that makes sockets of the peer join these rooms. From now on messages to these rooms go to the peer.
    pub(crate) fn push_command(&self, body: Bytes, rooms: &[u64], now: Instant) {
        let mut outbound = self.outbound.lock();
        if outbound.push(body, now) {
            let (seq, mut interest) = (outbound.log.newest(), self.interest.lock());
            rooms.iter().for_each(|room| interest.presume(*room, seq));
        }
        drop(outbound);
        self.wake.notify_one();
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
        let inbound = self.inbound.lock();
        Resume { log: inbound.log, seq: inbound.received.last() }
    }

    /// What became of the bodies to and from the peer.
    pub(crate) fn counters(&self) -> PeerCounters {
        let (outgoing, incoming) = self.counts();
        PeerCounters { node: self.id.clone(), incarnation: self.incarnation, outgoing, incoming }
    }

    fn counts(&self) -> (OutgoingCounts, IncomingCounts) {
        let incoming = self.inbound.lock().counts();
        let outbound = self.outbound.lock();
        let volatile_dropped = outbound.volatile_dropped;
        (OutgoingCounts { volatile_dropped, ..outbound.log.counts() }, incoming)
    }

    /// What was lost and not logged yet. At most once in [`LOG_INTERVAL`], so that a lasting cut does not fill the log; with
    /// `None` the last time.
    pub(crate) fn losses_to_log(&self, now: Option<Instant>) -> Option<Losses> {
        let mut logged = self.logged.lock();
        if let (Some(now), Some(last)) = (now, logged.last)
            && now < last + LOG_INTERVAL
        {
            return None;
        }
        let (OutgoingCounts { lost, .. }, IncomingCounts { missed, .. }) = self.counts();
        let new = Losses { lost: lost.since(&logged.total.lost), missed: missed - logged.total.missed };
        let any = new.lost.total() + new.missed > 0;
        if any {
            *logged = LoggedLosses { last: now, total: Losses { lost, missed } };
        }
        any.then_some(new)
    }

    /// A new link takes over. `resume` is how far the peer has received this node's log.
    pub(crate) fn attach(&self, link: LinkId, resume: Resume) {
        let mut inbound = self.inbound.lock();
        (inbound.link, inbound.started, inbound.owed, inbound.due) = (Some(link), false, 0, None);
        // Until its snapshot arrives on this link, the peer may be interested in every room.
        self.interest.lock().forget();
        let mut outbound = self.outbound.lock();
        (outbound.link, outbound.told) = (Some(link), None);
        // A hello is a sign of life, whatever was believed before.
        outbound.log.set_dead(false);
        outbound.log.resume((resume.log == self.log).then_some(resume.seq));
        self.wake.notify_one();
    }

    /// The link is lost. The next one resumes where it stopped.
    pub(crate) fn detach(&self, link: LinkId) {
        let mut inbound = self.inbound.lock();
        if inbound.link == Some(link) {
            inbound.link = None;
            self.interest.lock().forget();
            self.outbound.lock().link = None;
            self.wake.notify_one();
        }
    }

    /// Drops bodies that are too old.
    pub(crate) fn expire(&self, now: Instant) {
        let mut outbound = self.outbound.lock();
        outbound.log.expire(now);
        if outbound.link.is_none() {
            // A dropped body makes nobody join a room. What the peer did receive, the next link tells.
            self.interest.lock().settle(outbound.log.given_up());
        }
    }

    /// Sets whether the peer counts as dead. It has no link then.
    pub(crate) fn set_dead(&self, dead: bool) {
        self.outbound.lock().log.set_dead(dead);
    }

    /// This life of the peer is over. Nothing is kept for it any more, and nothing counts.
    pub(crate) fn end(&self) {
        let left = self.inbound.lock().left;
        let mut outbound = self.outbound.lock();
        outbound.over = true;
        outbound.log.end(left);
        self.interest.lock().settle(u64::MAX);
    }

    /// This node leaves. The writer sends what is queued, then a goodbye.
    pub(crate) fn leave(&self) {
        self.outbound.lock().leaving = true;
        self.wake.notify_one();
    }

    /// Waits until the writer is woken.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Appends the first frame on a new link.
    pub(crate) fn start(&self, batch: &mut Batch) {
        let _delivered = self.delivery.lock();
        let first = self.outbound.lock().log.unconfirmed();
        batch.put(&unsequenced(Kind::Start(pb::Start { log: self.log, first })));
    }

    /// Collects what is to be written next on this link: interest, an acknowledgement, then bodies in order. The interest comes
    /// first, so that a node that sees a body acknowledged knows the rooms that were joined because of it.
    pub(crate) fn fill(
        &self,
        link: LinkId,
        local: &Mutex<LocalInterest>,
        now: Instant,
        batch: &mut Batch,
    ) -> Fill {
        let _delivered = self.delivery.lock();
        let (mut inbound, mut outbound) = (self.inbound.lock(), self.outbound.lock());
        if inbound.link != Some(link) || outbound.link != Some(link) {
            return Fill::Stale;
        }
        if let Some(update) = local.lock().since(outbound.told) {
            outbound.told = Some(update.version);
            batch.put(&unsequenced(Kind::Interest(update.into())));
        }
        if batch.has_room() && inbound.owes_ack(now, outbound.log.has_more()) {
            let (seq, interest) = (inbound.received.last(), self.interest.lock().version());
            (inbound.due, inbound.owed) = (None, 0);
            let lost = Some(inbound.received.missed());
            batch.put(&unsequenced(Kind::Ack(pb::Ack { seq, interest, lost })));
        }
        while batch.has_room() {
            match outbound.log.next_write() {
                Some(Write::Body { seq, body }) => batch.put(&Frame { seq, body }),
                Some(Write::Gap { to }) => batch.put(&unsequenced(Kind::Gap(pb::Gap { to }))),
                None => break,
            }
        }
        if outbound.leaving && !outbound.log.has_more() && batch.has_room() {
            batch.put(&unsequenced(Kind::Goodbye(pb::Goodbye {})));
            return Fill::Last;
        }
        if batch.is_empty() { Fill::Wait(inbound.due) } else { Fill::Write }
    }

    /// Handles one frame of this link. Sequenced messages are delivered here, in order, each once.
    ///
    /// # Errors
    /// When the peer breaks the protocol. The link must end then.
    pub(crate) fn receive(
        &self,
        link: LinkId,
        frame: Frame,
        now: Instant,
        deliver: &dyn Fn(Message),
    ) -> Result<Received, ProtocolError> {
        let _delivering = self.delivery.lock();
        let mut inbound = self.inbound.lock();
        if inbound.link != Some(link) {
            return Ok(Received::Nothing);
        }
        let (seq, size) = (frame.seq, frame.body.len());
        let message = Message::decode(frame.body);
        if seq == 0 {
            return self.receive_control(&mut inbound, message?, now);
        }
        if !inbound.started {
            return Err(ProtocolError::NoStart);
        }
        if inbound.owe(size, now) {
            self.wake.notify_one();
        }
        if inbound.received.arrived(seq) == Arrival::Duplicate {
            inbound.counts.duplicates += 1;
            return Ok(Received::Duplicate);
        }
        let Ok(message) = message else { return Ok(Received::Malformed) };
        if !message.is_body() {
            return Ok(Received::Nothing);
        }
        inbound.counts.received += 1;
        drop(inbound);
        deliver(message);
        Ok(Received::Delivered)
    }

    fn receive_control(
        &self,
        inbound: &mut Inbound,
        message: Message,
        now: Instant,
    ) -> Result<Received, ProtocolError> {
        match message {
            Message::Start { log, first } => {
                if inbound.log != log {
                    inbound.counts.missed = inbound.counts().missed;
                    (inbound.log, inbound.received) = (log, ReceiveLog::starting_at(first));
                }
                if !std::mem::replace(&mut inbound.started, true) {
                    return Ok(Received::Started);
                }
            }
            Message::Interest(update) => {
                self.interest.lock().apply(update.into());
                // It is acknowledged at once, because a join may be waiting for that.
                inbound.due = Some(now);
                self.wake.notify_one();
            }
            Message::Ack { seq, interest, lost } => {
                let mut outbound = self.outbound.lock();
                outbound.log.acked(seq);
                // A node of an earlier version does not say it.
                lost.into_iter().for_each(|lost| outbound.log.settle(lost));
                drop(outbound);
                self.interest.lock().settle(seq);
                self.confirmed.fetch_max(interest, Ordering::AcqRel);
                return Ok(Received::Confirmed);
            }
            Message::Gap { to } => {
                inbound.received.gave_up(to);
                inbound.owe(0, now);
            }
            Message::Goodbye => {
                inbound.left = true;
                return Ok(Received::Goodbye);
            }
            Message::Broadcast(_)
            | Message::Command(_)
            | Message::Request(..)
            | Message::UnknownRequest(_)
            | Message::Response(..)
            | Message::Unknown => {}
        }
        Ok(Received::Nothing)
    }
}

impl Outbound {
    /// Returns whether the body was queued. For a life that is over it is not.
    fn push(&mut self, body: Bytes, now: Instant) -> bool {
        if !self.over {
            self.log.push(body, now);
        }
        !self.over
    }
}

impl Inbound {
    /// What came, and what never will. The log of the peer counts the latter.
    fn counts(&self) -> IncomingCounts {
        IncomingCounts { missed: self.counts.missed + self.received.missed(), ..self.counts }
    }

    /// Whether an acknowledgement is due, or can go out with something else.
    fn owes_ack(&self, now: Instant, has_more: bool) -> bool {
        self.due.is_some_and(|due| now >= due || self.owed >= ACK_BYTES || has_more)
    }

    /// Something arrived that has to be acknowledged. Returns whether the writer must be woken now.
    fn owe(&mut self, bytes: usize, now: Instant) -> bool {
        let first = self.due.is_none();
        self.owed += bytes;
        self.due.get_or_insert(now + ACK_DELAY);
        first || self.owed >= ACK_BYTES
    }
}

impl Batch {
    /// Appends a frame. Only while there is room: behind a large body nothing can be appended.
    fn put(&mut self, frame: &Frame) {
        self.bytes.put_slice(&frame.header());
        if frame.body.len() > BATCH {
            self.large = Some(frame.body.clone());
        } else {
            self.bytes.put_slice(&frame.body);
        }
    }

    fn has_room(&self) -> bool {
        self.large.is_none() && self.bytes.len() < BATCH
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
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

/// Many small bodies in one write cost a quarter of one write each.
const BATCH: usize = 64 << 10;
/// How long an acknowledgement waits for others. This is far below the age at which logs drop bodies.
const ACK_DELAY: Duration = Duration::from_millis(50);
/// After that many bytes an acknowledgement does not wait: a sixteenth of what the sender keeps.
const ACK_BYTES: usize = 1 << 20;
/// How often losses of one peer are logged at most.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// A backlog of this size takes a while to send, so that volatile packets would arrive late.
const VOLATILE: usize = 1 << 20;

#[cfg(test)]
mod tests;
