//! What waits to be sent to one client: a bounded queue to which any thread may append.
//!
//! One outbox per session gives program order over every way to emit, and keeps a text packet and its binary
//! attachments adjacent. Bytes never travel in the actor's mailbox, which has no bound.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::frame::Frame;
use super::transport_stage::StageCell;

/// Frames of one session in the order they were emitted, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    limit: usize,
}

#[derive(Debug)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    flow: Flow,
    intake: Intake,
    /// Whether the transport could send a packet at once. If not, volatile packets are dropped.
    writable: bool,
    /// Whether a pong may be among the frames.
    pong: bool,
    /// The bytes of a packet beyond the limit that the empty queue accepted. They do not count against the packets behind it.
    oversized: usize,
}

/// What empties the outbox.
#[derive(Debug)]
enum Flow {
    /// The session's actor, into the answer of a pending GET.
    Polls,
    /// The I/O task of the live stream.
    Stream(Arc<StageCell>),
}

#[derive(Debug, PartialEq, Eq)]
enum Intake {
    Open,
    /// The session closes gracefully: what is queued still goes out, and nothing more is accepted.
    Ended,
    Closed,
}

/// The result of an attempt to queue frames.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum PushResult {
    /// Queued; the sender already knows that there is something to send.
    Queued,
    /// Queued in an empty outbox of a polling session: its actor must be told.
    TellActor,
    /// Dropped: the session is over, or a volatile packet met a busy transport.
    Dropped,
    /// The client does not take what it is sent. The outbox is closed; the session must be, too.
    Overflow,
}

impl Outbox {
    /// An empty outbox that closes its session when more than `limit` bytes wait for the client.
    pub(crate) const fn new(limit: usize) -> Self {
        let queue = Queue {
            frames: VecDeque::new(),
            bytes: 0,
            flow: Flow::Polls,
            intake: Intake::Open,
            writable: false,
            pong: false,
            oversized: 0,
        };
        Self { queue: Mutex::new(queue), limit }
    }

    /// Appends the frames of one packet, all or none.
    ///
    /// An empty outbox accepts a packet larger than the limit, and up to the limit may wait behind it, because a single large
    /// message does not make a slow client.
    pub(crate) fn push(&self, frames: &[Frame], volatile: bool) -> PushResult {
        let mut queue = self.queue.lock();
        if queue.intake != Intake::Open {
            return PushResult::Dropped;
        }
        if volatile && !(queue.writable && queue.frames.is_empty()) {
            return PushResult::Dropped;
        }
        let bytes = frames.iter().map(cost).sum::<usize>();
        if !queue.has_room(bytes, self.limit) {
            queue.close();
            return PushResult::Overflow;
        }
        queue.append(frames, bytes)
    }

    /// Appends a packet of the session itself (open, ping), which no limit applies to.
    pub(crate) fn push_control(&self, frame: &Frame) -> PushResult {
        let mut queue = self.queue.lock();
        if queue.intake == Intake::Closed {
            return PushResult::Dropped;
        }
        queue.append(std::slice::from_ref(frame), cost(frame))
    }

    /// Appends the answer to a ping of the client, unless one waits already: a client that pings and does not read must
    /// not fill the memory. So the limit applies as well.
    pub(crate) fn push_pong(&self, frame: &Frame) -> PushResult {
        let mut queue = self.queue.lock();
        if queue.intake == Intake::Closed || queue.pong {
            return PushResult::Dropped;
        }
        if !queue.has_room(cost(frame), self.limit) {
            queue.close();
            return PushResult::Overflow;
        }
        queue.pong = true;
        queue.append(std::slice::from_ref(frame), cost(frame))
    }

    /// Takes everything, for the answer of a GET.
    pub(crate) fn take_all(&self) -> Vec<Frame> {
        let mut queue = self.queue.lock();
        queue.writable = false;
        queue.take().into()
    }

    /// Takes frames of about `budget` bytes (at least one), for one write to a WebSocket. Finding nothing makes the
    /// transport writable.
    pub(crate) fn take_batch(&self, budget: usize) -> VecDeque<Frame> {
        let mut queue = self.queue.lock();
        let batch = if queue.bytes <= budget { queue.take() } else { queue.take_some(budget) };
        queue.writable = batch.is_empty();
        batch
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().frames.is_empty()
    }

    /// Sets whether a volatile packet would find a waiting GET.
    pub(crate) fn set_writable(&self, writable: bool) {
        self.queue.lock().writable = writable;
    }

    /// From now on the stream of `stage` sends what is queued.
    pub(crate) fn flow_to(&self, stage: Arc<StageCell>) {
        let mut queue = self.queue.lock();
        stage.wake();
        queue.flow = Flow::Stream(stage);
    }

    /// Refuses new packets; what is queued still goes out.
    pub(crate) fn end(&self) {
        let mut queue = self.queue.lock();
        if queue.intake == Intake::Open {
            queue.intake = Intake::Ended;
        }
    }

    /// Drops what is queued and refuses everything from now on.
    pub(crate) fn close(&self) {
        self.queue.lock().close();
    }
}

impl Queue {
    fn has_room(&mut self, bytes: usize, limit: usize) -> bool {
        if self.frames.is_empty() {
            self.oversized = if bytes > limit { bytes } else { 0 };
            return true;
        }
        self.bytes + bytes <= limit + self.oversized
    }

    fn append(&mut self, frames: &[Frame], bytes: usize) -> PushResult {
        let was_empty = self.frames.is_empty();
        self.frames.extend(frames.iter().cloned());
        self.bytes += bytes;
        match &self.flow {
            _ if !was_empty => PushResult::Queued,
            Flow::Polls => PushResult::TellActor,
            Flow::Stream(stage) => {
                stage.wake();
                PushResult::Queued
            }
        }
    }

    /// The queue gives its memory away with the frames: an idle one holds none.
    fn take(&mut self) -> VecDeque<Frame> {
        self.bytes = 0;
        self.pong = false;
        std::mem::take(&mut self.frames)
    }

    fn take_some(&mut self, budget: usize) -> VecDeque<Frame> {
        let (mut batch, mut taken) = (VecDeque::new(), 0);
        while taken < budget
            && let Some(frame) = self.frames.pop_front()
        {
            taken += cost(&frame);
            batch.push_back(frame);
        }
        self.bytes -= taken;
        // The pong may be further back. Then each batch that the client reads lets in one more at most.
        self.pong = false;
        batch
    }

    fn close(&mut self) {
        self.intake = Intake::Closed;
        drop(self.take());
        self.writable = false;
    }
}

/// About the memory that a frame takes, which for the smallest ones is more than their bytes.
fn cost(frame: &Frame) -> usize {
    frame.len() + FRAME
}

/// The frame itself, and the head of what it shares.
const FRAME: usize = size_of::<Frame>() + 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::message_text(text)
    }

    #[test]
    fn only_the_first_frame_of_a_burst_wakes_the_actor() {
        let outbox = Outbox::new(1000);
        assert_eq!(outbox.push(&[frame("a")], false), PushResult::TellActor);
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Queued);
        assert_eq!(outbox.take_all().len(), 2);
        assert_eq!(outbox.push(&[frame("c")], false), PushResult::TellActor);
    }

    #[test]
    fn a_client_that_does_not_take_its_packets_overflows_once_and_is_cut_off() {
        let outbox = Outbox::new(2 * cost(&frame("a")));
        assert_eq!(outbox.push(&[frame("a")], false), PushResult::TellActor);
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Queued);
        assert_eq!(outbox.push(&[frame("c")], false), PushResult::Overflow);
        assert_eq!(outbox.push(&[frame("d")], false), PushResult::Dropped);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_packet_beyond_the_limit_is_taken_alone_and_does_not_count_against_those_behind_it() {
        let outbox = Outbox::new(cost(&frame("a")));
        assert_eq!(
            outbox.push(&[frame("a message"), frame("beyond the limit")], false),
            PushResult::TellActor
        );
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Queued);
        assert_eq!(outbox.take_batch(1).len(), 1, "half of it is on its way");
        assert_eq!(outbox.push(&[frame("another message beyond the limit")], false), PushResult::Overflow);
    }

    #[test]
    fn a_volatile_packet_needs_a_writable_transport_and_an_empty_queue() {
        let outbox = Outbox::new(1000);
        assert_eq!(outbox.push(&[frame("no GET")], true), PushResult::Dropped);
        outbox.set_writable(true);
        assert_eq!(outbox.push(&[frame("a")], true), PushResult::TellActor);
        assert_eq!(outbox.push(&[frame("b")], true), PushResult::Dropped);
        assert_eq!(outbox.take_all().len(), 1);
        assert_eq!(outbox.push(&[frame("the GET was answered")], true), PushResult::Dropped);
    }

    #[test]
    fn one_pong_at_most_waits_for_a_client_that_only_pings() {
        let outbox = Outbox::new(20);
        let pong = Frame::control(&crate::engine::packet::Packet::Pong("".into()));
        assert_eq!(outbox.push_pong(&pong), PushResult::TellActor);
        assert_eq!(outbox.push_pong(&pong), PushResult::Dropped);
        assert_eq!(outbox.take_all().len(), 1);
        let _ = outbox.push(&[frame("fills the outbox")], false);
        outbox.end();
        assert_eq!(outbox.push_pong(&pong), PushResult::Overflow);
    }

    #[test]
    fn an_ended_outbox_keeps_what_it_has_and_takes_only_control_packets() {
        let outbox = Outbox::new(1000);
        let _ = outbox.push(&[frame("a")], false);
        outbox.end();
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Dropped);
        assert_eq!(outbox.push_control(&frame("2")), PushResult::Queued);
        assert_eq!(outbox.take_all().len(), 2);
    }

    #[test]
    fn a_batch_has_at_least_one_frame_and_stops_at_its_budget() {
        let outbox = Outbox::new(1000);
        let _ = outbox.push(&[frame("one"), frame("two"), frame("three")], false);
        assert_eq!(outbox.take_batch(1).len(), 1);
        assert_eq!(outbox.take_batch(1000).len(), 2);
        assert_eq!(outbox.take_batch(1000).len(), 0);
    }
}
