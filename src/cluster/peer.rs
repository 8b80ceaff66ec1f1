//! One other node as broadcasts see it: what it still has to get, what came from it, what it wants.
//!
//! Any thread may push; the writer and the reader of the current link take the rest. A new link starts where the last one
//! stopped ([`crate::cluster::sequence`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use crate::cluster::hello::Resume;
use crate::cluster::interest::{LocalInterest, PeerInterest};
use crate::cluster::sequence::{Arrival, ReceiveLog, SendLog, Write};
use crate::cluster::wire::{self, Frame, Message, WireError, pb};
use crate::id::{Incarnation, NodeId};
use pb::envelope::Kind;

/// One life of another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub id: NodeId,
    pub incarnation: Incarnation,
    /// Names the sequence of this node for that peer; unique, so that nobody resumes in a wrong one.
    log: u64,
    /// Held by whoever delivers: one body at a time, in order, whichever link brought it. Nothing is acknowledged and no
    /// interest is told meanwhile, so both know what the body did. The control actor never waits for it.
    delivery: Mutex<()>,
    /// Locked in this order, where more than one is needed: `delivery`, `inbound`, `outbound`, `interest`.
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
    interest: Mutex<PeerInterest>,
    /// The version of this node's interest that the peer has applied.
    confirmed: AtomicU64,
    linked: AtomicBool,
    /// Wakes the writer.
    wake: Notify,
}

#[derive(Debug)]
struct Inbound {
    /// The number of the current link; what older ones still bring is ignored.
    link: u64,
    /// The peer's log, 0 before its first `Start`.
    log: u64,
    /// Whether `Start` was seen on this link.
    started: bool,
    received: ReceiveLog,
    /// Bytes that came since the last acknowledgement.
    owed: usize,
    /// When the next acknowledgement goes out by itself.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Outbound {
    link: u64,
    log: SendLog,
    /// The version of this node's interest that was told on this link.
    told: Option<u64>,
    leaving: bool,
    /// The peer is away for so long that bodies are only numbered: should it come back, it learns how many it missed.
    away: bool,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// It was volatile, and would have had to wait.
    Dropped,
    /// The peer is away: it gets a number, and is not kept.
    Abandoned,
}

/// What the writer should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Write the batch and ask again.
    Write,
    /// Write the batch; it ends with a goodbye.
    Last,
    /// Wait to be woken, at most until then.
    Wait(Option<Instant>),
    /// Another link has taken over.
    Stale,
}

/// Bytes to write at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub bytes: BytesMut,
    /// A body too large to be copied behind the rest.
    pub large: Option<Bytes>,
}

/// What a frame meant for others than the peer itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Nothing,
    /// The peer has its end of the link.
    Started,
    Delivered,
    Duplicate,
    /// A frame of no use was skipped.
    Malformed,
    /// The peer gave up this many.
    Lost(u64),
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
            inbound: Mutex::new(Inbound { link: 0, log: 0, started: false, received, owed: 0, due: None }),
            outbound: Mutex::new(Outbound {
                link: 0,
                log: SendLog::new(),
                told: None,
                leaving: false,
                away: false,
            }),
            interest: Mutex::new(PeerInterest::default()),
            confirmed: AtomicU64::new(0),
            linked: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Whether the peer may have a member in one of these rooms; no rooms = all.
    pub(crate) fn wants(&self, rooms: &[u64]) -> bool {
        let interest = self.interest.lock();
        rooms.is_empty() || rooms.iter().any(|room| interest.wants(*room))
    }

    /// Queues a body. A volatile one is dropped when it could not be sent soon.
    pub(crate) fn push(&self, body: Bytes, volatile: bool, now: Instant) -> Pushed {
        let mut outbound = self.outbound.lock();
        if volatile && (outbound.link == 0 || outbound.log.bytes() > VOLATILE) {
            return Pushed::Dropped;
        }
        let pushed = outbound.push(body, now);
        drop(outbound);
        self.wake.notify_one();
        pushed
    }

    /// Queues a command that makes sockets of the peer join these rooms: from now on it wants them.
    pub(crate) fn push_command(&self, body: Bytes, rooms: &[u64], now: Instant) -> Pushed {
        let mut outbound = self.outbound.lock();
        let pushed = outbound.push(body, now);
        if pushed == Pushed::Queued {
            let (seq, mut interest) = (outbound.log.newest(), self.interest.lock());
            rooms.iter().for_each(|room| interest.presume(*room, seq));
        }
        drop(outbound);
        self.wake.notify_one();
        pushed
    }

    /// How many bytes wait for the peer or its acknowledgement.
    pub(crate) fn backlog(&self) -> usize {
        self.outbound.lock().log.bytes()
    }

    /// There may be something new to write.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether a link is up.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked.load(Ordering::Acquire)
    }

    /// The version of this node's interest that the peer has applied.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Up to where this node has got the peer's log.
    pub(crate) fn resume(&self) -> Resume {
        let inbound = self.inbound.lock();
        Resume { log: inbound.log, seq: inbound.received.last() }
    }

    /// How many bodies the peer was told that it will never get.
    pub(crate) fn lost(&self) -> u64 {
        self.outbound.lock().log.lost()
    }

    /// A new link is up; the peer said how far it is in our log.
    pub(crate) fn attach(&self, link: u64, resume: Resume) {
        let mut inbound = self.inbound.lock();
        (inbound.link, inbound.started, inbound.owed, inbound.due) = (link, false, 0, None);
        // Until its snapshot on this link is here the peer may have any room.
        self.interest.lock().forget();
        let mut outbound = self.outbound.lock();
        (outbound.link, outbound.told, outbound.away) = (link, None, false);
        let known = resume.log == self.log;
        outbound.log.resume(if known { resume.seq } else { 0 });
        self.linked.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The link is lost; the next one resumes.
    pub(crate) fn detach(&self, link: u64) {
        let mut inbound = self.inbound.lock();
        if inbound.link == link {
            inbound.link = 0;
            self.interest.lock().forget();
            self.outbound.lock().link = 0;
            self.linked.store(false, Ordering::Release);
            self.wake.notify_one();
        }
    }

    /// Drops what got too old.
    pub(crate) fn expire(&self, now: Instant) {
        let mut outbound = self.outbound.lock();
        outbound.log.expire(now);
        if outbound.link == 0 {
            // Nobody joins a room by what it will not get, and what it did get the next link tells.
            self.interest.lock().settle(outbound.log.dropped());
        }
    }

    /// Nothing more is kept for this peer until it is linked again. Returns how many bodies it did not get.
    pub(crate) fn abandon(&self) -> u64 {
        let mut outbound = self.outbound.lock();
        self.interest.lock().settle(u64::MAX);
        outbound.away = true;
        outbound.log.clear()
    }

    /// This node leaves: the writer brings what is left, then says goodbye.
    pub(crate) fn leave(&self) {
        self.outbound.lock().leaving = true;
        self.wake.notify_one();
    }

    /// Resolves when the writer should look again.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The first frame on a new link.
    pub(crate) fn start(&self, batch: &mut Batch) {
        let _delivered = self.delivery.lock();
        let first = self.outbound.lock().log.unconfirmed();
        batch.put(&wire::control(Kind::Start(pb::Start { log: self.log, first })));
    }

    /// Collects what is to be written next on this link: interest, acknowledgement, then bodies in order. Interest comes
    /// first, so that who sees a body acknowledged knows the rooms that were joined because of it.
    pub(crate) fn fill(
        &self,
        link: u64,
        local: &Mutex<LocalInterest>,
        now: Instant,
        batch: &mut Batch,
    ) -> Fill {
        let _delivered = self.delivery.lock();
        let Some((ack, due)) = self.next_ack(link, now) else { return Fill::Stale };
        let mut outbound = self.outbound.lock();
        if outbound.link != link {
            return Fill::Stale;
        }
        if let Some(update) = local.lock().since(outbound.told) {
            outbound.told = Some(update.version);
            batch.put(&wire::control(Kind::Interest(update.into())));
        }
        if let Some(ack) = ack {
            batch.put(&wire::control(Kind::Ack(ack)));
        }
        while batch.has_room() {
            match outbound.log.next_write() {
                Some(Write::Body { seq, body }) => batch.put(&Frame { seq, body }),
                Some(Write::Gap { to }) => batch.put(&wire::control(Kind::Gap(pb::Gap { to }))),
                None => break,
            }
        }
        if outbound.leaving && !outbound.log.has_more() && batch.has_room() {
            batch.put(&wire::control(Kind::Goodbye(pb::Goodbye {})));
            return Fill::Last;
        }
        if batch.is_empty() { Fill::Wait(due) } else { Fill::Write }
    }

    /// The acknowledgement when one is due, or when something goes out anyway; otherwise when it will be. `None`: stale.
    fn next_ack(&self, link: u64, now: Instant) -> Option<(Option<pb::Ack>, Option<Instant>)> {
        let mut inbound = self.inbound.lock();
        if inbound.link != link {
            return None;
        }
        let Some(due) = inbound.due else { return Some((None, None)) };
        if now < due && inbound.owed < ACK_BYTES && !self.outbound.lock().log.has_more() {
            return Some((None, Some(due)));
        }
        (inbound.due, inbound.owed) = (None, 0);
        let (seq, interest) = (inbound.received.last(), self.interest.lock().version());
        Some((Some(pb::Ack { seq, interest }), None))
    }

    /// Handles one frame of this link. Sequenced messages are delivered here, in order, each once.
    ///
    /// # Errors
    /// When the peer breaks the protocol; the link is of no use any more.
    pub(crate) fn receive(
        &self,
        link: u64,
        frame: Frame,
        now: Instant,
        deliver: &dyn Fn(Message),
    ) -> Result<Received, ProtocolError> {
        let _delivering = self.delivery.lock();
        let mut inbound = self.inbound.lock();
        if inbound.link != link {
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
        let lost = match inbound.received.arrived(seq) {
            Arrival::Duplicate => return Ok(Received::Duplicate),
            Arrival::Accept => 0,
            Arrival::Gap(lost) => lost,
        };
        drop(inbound);
        let received = match message {
            Ok(
                message @ (Message::Broadcast(_)
                | Message::Command(_)
                | Message::Request(..)
                | Message::UnknownRequest(_)
                | Message::Response(..)),
            ) => {
                deliver(message);
                Received::Delivered
            }
            Ok(_) => Received::Nothing,
            Err(_) => Received::Malformed,
        };
        Ok(if lost > 0 { Received::Lost(lost) } else { received })
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
                    (inbound.log, inbound.received) = (log, ReceiveLog::starting_at(first));
                }
                if !std::mem::replace(&mut inbound.started, true) {
                    return Ok(Received::Started);
                }
            }
            Message::Interest(update) => {
                self.interest.lock().apply(update);
                // At once: a join may be waiting for it.
                inbound.due = Some(now);
                self.wake.notify_one();
            }
            Message::Ack { seq, interest } => {
                self.outbound.lock().log.acked(seq);
                self.interest.lock().settle(seq);
                self.confirmed.fetch_max(interest, Ordering::AcqRel);
                return Ok(Received::Confirmed);
            }
            Message::Gap { to } => {
                let lost = inbound.received.gave_up(to);
                inbound.owe(0, now);
                return Ok(Received::Lost(lost));
            }
            Message::Goodbye => return Ok(Received::Goodbye),
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
    fn push(&mut self, body: Bytes, now: Instant) -> Pushed {
        if self.away {
            self.log.skip();
            return Pushed::Abandoned;
        }
        self.log.push(body, now);
        Pushed::Queued
    }
}

impl Inbound {
    /// Something came that has to be acknowledged. Returns whether the writer must be told now.
    fn owe(&mut self, bytes: usize, now: Instant) -> bool {
        let first = self.due.is_none();
        self.owed += bytes;
        self.due.get_or_insert(now + ACK_DELAY);
        first || self.owed >= ACK_BYTES
    }
}

impl Batch {
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
/// Acknowledgements wait this long for company; far below the age at which logs drop.
const ACK_DELAY: Duration = Duration::from_millis(50);
/// A sixteenth of what the sender keeps.
const ACK_BYTES: usize = 1 << 20;
/// A backlog that takes more than a moment to send: volatile packets would arrive late.
const VOLATILE: usize = 1 << 20;

#[cfg(test)]
mod tests;
