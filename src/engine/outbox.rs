//! What waits to be sent to one client: a bounded queue to which any thread may append.
//!
//! One outbox per session gives program order over every way to emit, and keeps a text packet and its binary
//! attachments adjacent. Bytes never travel in the actor's mailbox, which has no bound.

use std::cmp::Reverse;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::budget::{Budget, Charge, LITTLE};
use super::fifo::Fifo;
use super::frame::Frame;
use super::transport_stage::StageCell;

/// Frames of one session in the order they were emitted, bounded in bytes.
///
/// More than [`lasting`](Limits::lasting) bytes may wait while the client takes some of them now and then: whoever reads is not
/// slow, however large a burst is.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    limits: Limits,
    budget: Arc<Budget>,
    /// Asked only while more than a little waits.
    clock: fn() -> Instant,
    /// Whether more than a little waits.
    is_watched: AtomicBool,
}

/// How many bytes may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For as long as the session lives.
    pub(crate) lasting: usize,
    /// Ever.
    pub(crate) most: usize,
}

#[derive(Debug)]
struct Queue {
    frames: Fifo<Frame>,
    bytes: usize,
    flow: Flow,
    intake: Intake,
    /// Whether the transport could send a packet at once. If not, volatile packets are dropped.
    writable: bool,
    /// Whether a pong may be among the frames.
    pong: bool,
    /// The bytes of a packet beyond the lasting limit that the empty queue accepted. They do not count against the packets
    /// behind it.
    oversized: usize,
    /// The bytes beyond the lasting limit.
    excess: usize,
    /// How many bytes waited when it was weighed.
    weighed: usize,
    /// Since when the client has taken nothing although more than a little waits, or there is an excess.
    slow_since: Option<Instant>,
    /// Since when more than a little waits, or did when the session ended. Nothing that waits has waited for much longer.
    waits_since: Option<Instant>,
    /// What the places in this queue take, while more than a little waits.
    places: Charge,
    /// Who waits until there is none.
    waiters: Vec<(u64, Waker)>,
    next_waiter: u64,
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
    /// Queued in an empty outbox of a polling session, which may have a GET to answer.
    Flush,
    /// Queued, and more waits now than may for long, or for all clients together: the actor must be told, and watch the client.
    Behind,
    /// Dropped: the session is over, or a volatile packet met a busy transport.
    Dropped,
    /// The client does not take what it is sent. The outbox is closed; the session must be, too.
    Overflow,
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(limits: Limits, budget: Arc<Budget>, clock: fn() -> Instant) -> Self {
        let queue = Queue {
            frames: Fifo::new(),
            bytes: 0,
            flow: Flow::Polls,
            intake: Intake::Open,
            writable: false,
            pong: false,
            oversized: 0,
            excess: 0,
            weighed: 0,
            slow_since: None,
            waits_since: None,
            places: Arc::clone(&budget).charge(),
            waiters: Vec::new(),
            next_waiter: 0,
        };
        Self { queue: Mutex::new(queue), limits, budget, clock, is_watched: AtomicBool::new(false) }
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
        if !self.has_room(&mut queue, bytes) {
            self.shut(&mut queue);
            return PushResult::Overflow;
        }
        let was_exceeded = self.budget.is_exceeded();
        frames.iter().for_each(|frame| frame.charge(&self.budget));
        let pushed = queue.append(frames, bytes);
        let (was_behind, was_slow) = (queue.excess > 0, queue.slow_since.is_some());
        self.weigh(&mut queue);
        let is_to_blame = queue.slow_since.is_some() && !was_slow;
        let exceeds = (!was_exceeded || is_to_blame) && self.budget.is_exceeded();
        let is_behind = queue.excess > 0 && !was_behind || exceeds;
        if is_behind { PushResult::Behind } else { pushed }
    }

    fn has_room(&self, queue: &mut Queue, bytes: usize) -> bool {
        if queue.frames.is_empty() {
            queue.oversized = if bytes > self.limits.lasting { bytes } else { 0 };
            return true;
        }
        let all = queue.bytes + bytes;
        all <= self.limits.lasting + queue.oversized || all <= self.limits.most && self.budget.has_room(bytes)
    }

    /// Notes how much waits. That it changed because the client took some starts its time anew.
    fn weigh(&self, queue: &mut Queue) {
        let waits = queue.bytes > LITTLE.min(self.limits.lasting);
        if !waits && queue.slow_since.is_none() {
            return;
        }
        queue.places.set(if waits { queue.frames.len() * FRAME } else { 0 });
        let excess = queue.bytes.saturating_sub(self.limits.lasting + queue.oversized);
        let is_news = queue.slow_since.is_none() || excess > 0 && queue.excess == 0;
        if !waits {
            queue.slow_since = None;
            if queue.intake == Intake::Open {
                queue.waits_since = None;
            }
        } else if is_news || queue.bytes < queue.weighed {
            let now = (self.clock)();
            queue.slow_since = Some(now);
            queue.waits_since.get_or_insert(now);
        }
        if excess == 0 {
            queue.waiters.drain(..).for_each(|(_, waiter)| waiter.wake());
        }
        self.is_watched.store(waits, Ordering::Relaxed);
        queue.excess = excess;
        queue.weighed = queue.bytes;
    }

    /// The client took some of what is on its way to it.
    pub(crate) fn note_progress(&self) {
        if self.is_watched.load(Ordering::Relaxed) {
            let mut queue = self.queue.lock();
            queue.slow_since = queue.slow_since.map(|_| (self.clock)());
        }
    }

    /// Since when the client has taken nothing although more waits than may for long.
    pub(crate) fn behind_since(&self) -> Option<Instant> {
        let queue = self.queue.lock();
        queue.slow_since.filter(|_| queue.excess > 0)
    }

    /// Since when more than a little has been waiting for the client, or had been when its session ended.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.queue.lock().waits_since
    }

    /// Since when a client has taken nothing for which more than a little waits, and how much does. `None` for any other: it is not
    /// to blame for what waits for all.
    pub(crate) fn blame(&self) -> Option<(Reverse<Instant>, usize)> {
        let queue = self.queue.lock();
        Some((Reverse(queue.slow_since?), queue.bytes))
    }

    /// What waits for all clients.
    pub(crate) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Resolves when no more waits than may for long, or the session is over.
    pub(crate) const fn room(&self) -> Room<'_> {
        Room { outbox: self, waiter: None }
    }

    /// Queues a packet of the session itself (open, ping), before all others and without a limit: a client that reads has the time
    /// of the heartbeat for the answer, however much waits for it.
    pub(crate) fn push_control(&self, frame: &Frame) -> PushResult {
        let mut queue = self.queue.lock();
        if queue.intake == Intake::Closed {
            return PushResult::Dropped;
        }
        queue.prepend(frame)
    }

    /// Appends the answer to a ping of the client, unless one waits already: a client that pings and does not read must
    /// not fill the memory. So the limit applies as well.
    pub(crate) fn push_pong(&self, frame: &Frame) -> PushResult {
        let mut queue = self.queue.lock();
        if queue.intake == Intake::Closed || queue.pong {
            return PushResult::Dropped;
        }
        if !self.has_room(&mut queue, cost(frame)) {
            self.shut(&mut queue);
            return PushResult::Overflow;
        }
        queue.pong = true;
        queue.append(std::slice::from_ref(frame), cost(frame))
    }

    /// Takes frames of about `budget` bytes (at least one), for the answer of a GET. The rest is for the next one.
    pub(crate) fn take_answer(&self, budget: usize) -> Vec<Frame> {
        let mut queue = self.queue.lock();
        queue.writable = false;
        let frames = if queue.bytes <= budget { queue.take() } else { queue.take_some(budget) };
        self.weigh(&mut queue);
        frames.into_iter().collect()
    }

    /// Takes frames of about `budget` bytes (at least one), for one write to a WebSocket. Finding nothing makes the
    /// transport writable.
    pub(crate) fn take_batch(&self, budget: usize) -> Fifo<Frame> {
        let mut queue = self.queue.lock();
        let batch = if queue.bytes <= budget { queue.take() } else { queue.take_some(budget) };
        queue.writable = batch.is_empty();
        self.weigh(&mut queue);
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
        self.shut(&mut self.queue.lock());
    }

    fn shut(&self, queue: &mut Queue) {
        queue.close();
        self.weigh(queue);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// See [`Outbox::room`].
pub(crate) struct Room<'a> {
    outbox: &'a Outbox,
    waiter: Option<u64>,
}

impl Room<'_> {
    fn leave(&mut self, queue: &mut Queue) {
        if let Some(waiter) = self.waiter.take() {
            queue.waiters.retain(|(other, _)| *other != waiter);
        }
    }
}

impl Future for Room<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.outbox.queue.lock();
        self.leave(&mut queue);
        if queue.excess == 0 {
            return Poll::Ready(());
        }
        let waiter = queue.next_waiter;
        queue.next_waiter += 1;
        queue.waiters.push((waiter, cx.waker().clone()));
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut queue = self.outbox.queue.lock();
        self.leave(&mut queue);
    }
}

impl Queue {
    fn append(&mut self, frames: &[Frame], bytes: usize) -> PushResult {
        let was_empty = self.frames.is_empty();
        frames.iter().for_each(|frame| self.frames.push_back(frame.clone()));
        self.added(bytes, was_empty)
    }

    fn prepend(&mut self, frame: &Frame) -> PushResult {
        let was_empty = self.frames.is_empty();
        self.frames.push_front(frame.clone());
        self.added(cost(frame), was_empty)
    }

    fn added(&mut self, bytes: usize, was_empty: bool) -> PushResult {
        self.bytes += bytes;
        match &self.flow {
            _ if !was_empty => PushResult::Queued,
            Flow::Polls => PushResult::Flush,
            Flow::Stream(stage) => {
                stage.wake();
                PushResult::Queued
            }
        }
    }

    /// The queue gives its memory away with the frames: an idle one holds none.
    fn take(&mut self) -> Fifo<Frame> {
        self.bytes = 0;
        self.pong = false;
        std::mem::take(&mut self.frames)
    }

    fn take_some(&mut self, budget: usize) -> Fifo<Frame> {
        let (mut batch, mut taken) = (Fifo::new(), 0);
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

    /// One with the same limit for ever and for a burst.
    fn outbox(limit: usize) -> Outbox {
        bursting(limit, limit, usize::MAX)
    }

    fn bursting(lasting: usize, most: usize, node: usize) -> Outbox {
        Outbox::new(Limits { lasting, most }, Budget::new(node), Instant::now)
    }

    #[test]
    fn only_the_first_frame_of_a_burst_is_told_of() {
        let outbox = outbox(1000);
        assert_eq!(outbox.push(&[frame("a")], false), PushResult::Flush);
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Queued);
        assert_eq!(outbox.take_answer(usize::MAX).len(), 2);
        assert_eq!(outbox.push(&[frame("c")], false), PushResult::Flush);
    }

    #[test]
    fn a_client_that_does_not_take_its_packets_overflows_once_and_is_cut_off() {
        let outbox = outbox(2 * cost(&frame("a")));
        assert_eq!(outbox.push(&[frame("a")], false), PushResult::Flush);
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Queued);
        assert_eq!(outbox.push(&[frame("c")], false), PushResult::Overflow);
        assert_eq!(outbox.push(&[frame("d")], false), PushResult::Dropped);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_packet_beyond_the_limit_is_taken_alone_and_does_not_count_against_those_behind_it() {
        let outbox = outbox(cost(&frame("a")));
        assert_eq!(outbox.push(&[frame("a message"), frame("beyond the limit")], false), PushResult::Flush);
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Queued);
        assert_eq!(outbox.take_batch(1).len(), 1, "half of it is on its way");
        assert_eq!(outbox.push(&[frame("another message beyond the limit")], false), PushResult::Overflow);
    }

    #[test]
    fn a_volatile_packet_needs_a_writable_transport_and_an_empty_queue() {
        let outbox = outbox(1000);
        assert_eq!(outbox.push(&[frame("no GET")], true), PushResult::Dropped);
        outbox.set_writable(true);
        assert_eq!(outbox.push(&[frame("a")], true), PushResult::Flush);
        assert_eq!(outbox.push(&[frame("b")], true), PushResult::Dropped);
        assert_eq!(outbox.take_answer(usize::MAX).len(), 1);
        assert_eq!(outbox.push(&[frame("the GET was answered")], true), PushResult::Dropped);
    }

    #[test]
    fn one_pong_at_most_waits_for_a_client_that_only_pings() {
        let outbox = outbox(20);
        let pong = Frame::control(&crate::engine::packet::Packet::Pong("".into()));
        assert_eq!(outbox.push_pong(&pong), PushResult::Flush);
        assert_eq!(outbox.push_pong(&pong), PushResult::Dropped);
        assert_eq!(outbox.take_answer(usize::MAX).len(), 1);
        let _ = outbox.push(&[frame("fills the outbox")], false);
        outbox.end();
        assert_eq!(outbox.push_pong(&pong), PushResult::Overflow);
    }

    #[test]
    fn a_ping_goes_before_what_waits() {
        let outbox = outbox(1000);
        let _ = outbox.push(&[frame("a"), frame("b")], false);
        let _ = outbox.push_control(&frame("a ping"));
        let taken = outbox.take_answer(usize::MAX).into_iter().map(|frame| frame.len()).collect::<Vec<_>>();
        assert_eq!(taken, [frame("a ping"), frame("a"), frame("b")].map(|frame| frame.len()));
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn an_ended_outbox_keeps_what_it_has_and_takes_only_control_packets() {
        let outbox = outbox(1000);
        let _ = outbox.push(&[frame("a")], false);
        outbox.end();
        assert_eq!(outbox.push(&[frame("b")], false), PushResult::Dropped);
        assert_eq!(outbox.push_control(&frame("2")), PushResult::Queued);
        assert_eq!(outbox.take_answer(usize::MAX).len(), 2);
    }

    #[test]
    fn a_batch_has_at_least_one_frame_and_stops_at_its_budget() {
        let outbox = outbox(1000);
        let _ = outbox.push(&[frame("one"), frame("two"), frame("three")], false);
        assert_eq!(outbox.take_batch(1).len(), 1);
        assert_eq!(outbox.take_batch(1000).len(), 2);
        assert_eq!(outbox.take_batch(1000).len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn more_may_wait_than_for_long_while_the_client_takes_some() {
        let one = cost(&frame("a"));
        let outbox = bursting(one, 4 * one, usize::MAX);
        let start = Instant::now();
        let pushed = [(); 5].map(|()| {
            let pushed = outbox.push(&[frame("a")], false);
            (pushed, outbox.behind_since())
        });
        assert_eq!(pushed[0], (PushResult::Flush, None));
        assert_eq!(pushed[1], (PushResult::Behind, Some(start)));
        assert_eq!(pushed[3], (PushResult::Queued, Some(start)));
        assert_eq!(pushed[4], (PushResult::Overflow, None));

        let outbox = bursting(one, 4 * one, usize::MAX);
        for _ in 0..3 {
            let _ = outbox.push(&[frame("a")], false);
        }
        for second in 1..3 {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            if second == 1 {
                outbox.note_progress();
            } else {
                drop(outbox.take_batch(1));
            }
            assert_eq!(outbox.behind_since(), Some(Instant::now()), "that is progress");
        }
        assert!(futures_util::poll!(std::pin::pin!(outbox.room())).is_pending());
        assert!(outbox.queue.lock().waiters.is_empty(), "who does not wait any more is forgotten");
        let mut room = std::pin::pin!(outbox.room());
        assert!(futures_util::poll!(&mut room).is_pending());
        drop(outbox.take_batch(1));
        room.await;
        assert_eq!((outbox.behind_since(), outbox.bytes()), (None, one));
    }

    #[test]
    fn what_waits_for_all_clients_is_counted_once_and_no_burst_goes_beyond_it() {
        let long = frame(&"x".repeat(1000));
        let budget = Budget::new(2500);
        let outbox =
            || Outbox::new(Limits { lasting: 1500, most: 1 << 20 }, Arc::clone(&budget), Instant::now);
        let (first, second) = (outbox(), outbox());
        for outbox in [&first, &second] {
            assert_eq!(outbox.push(std::slice::from_ref(&long), false), PushResult::Flush);
        }
        drop(long);
        assert!(budget.has_room(1200), "one message to two clients");
        assert_eq!(second.push(&[frame(&"y".repeat(1000))], false), PushResult::Behind, "it may burst");
        assert!(!budget.is_exceeded());
        assert_eq!(
            first.push(&[frame(&"z".repeat(1000))], false),
            PushResult::Overflow,
            "the room is used up"
        );
        assert!(second.blame() > first.blame());
        assert_eq!(second.take_answer(1).len(), 1);
        assert!(budget.has_room(1300), "nobody holds the first message any more");
        drop((first, second));
        assert!(budget.has_room(2500));
    }

    #[test]
    fn a_push_that_exceeds_the_budget_of_the_node_tells_the_actor_once() {
        let budget = Budget::new(2500);
        let outbox =
            || Outbox::new(Limits { lasting: 1 << 20, most: 1 << 20 }, Arc::clone(&budget), Instant::now);
        let outboxes = [(); 4].map(|()| outbox());
        let pushed = outboxes.each_ref().map(|outbox| outbox.push(&[frame(&"x".repeat(1000))], false));
        use PushResult::{Behind, Flush};
        assert_eq!(pushed, [Flush, Flush, Behind, Flush]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_took_nothing_for_longest_is_to_blame_and_then_who_has_most() {
        let outboxes = [(); 4].map(|()| outbox(1 << 20));
        let [early, late, much, little] = &outboxes;
        let large = frame(&"x".repeat(LITTLE));
        let _ = early.push(std::slice::from_ref(&large), false);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        let _ = late.push(std::slice::from_ref(&large), false);
        let _ = much.push(&[large.clone(), frame("b")], false);
        let _ = little.push(&[frame("a")], false);
        assert!(early.blame() > much.blame() && much.blame() > late.blame() && late.blame().is_some());
        assert_eq!(little.blame(), None, "a little may wait for anybody");
        early.note_progress();
        assert_eq!(early.blame(), late.blame());
    }
}
