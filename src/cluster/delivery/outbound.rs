//! What a peer still has to get, and what was told on its current link.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::batch::Batch;
use super::peer_counters::OutgoingCounts;
use super::replay_log::{SendLog, Write};
use crate::cluster::hello::LinkId;
use crate::cluster::wire::{Frame, pb, unsequenced};
use pb::envelope::Kind;

/// What a peer still has to get.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) link: Option<LinkId>,
    pub(super) log: SendLog,
    /// The version of this node's interest that was told on this link.
    pub(super) told: Option<u64>,
    /// When the writer of a relayed link says something, so that the peer knows that it would hear this node. Direct links are
    /// pinged.
    beat: Option<Instant>,
    /// This node leaves.
    leaving: bool,
    /// The life of the peer is over: nothing is kept for it any more.
    over: bool,
    volatile_dropped: u64,
}

impl Outbound {
    /// Nothing was sent yet.
    pub(super) fn new() -> Self {
        Self {
            link: None,
            log: SendLog::new(),
            told: None,
            beat: None,
            leaving: false,
            over: false,
            volatile_dropped: 0,
        }
    }

    /// Returns whether the body was queued. For a life that is over it is not.
    pub(super) fn push(&mut self, body: Bytes, now: Instant) -> bool {
        if !self.over {
            self.log.push(body, now);
        }
        !self.over
    }

    /// Queues a body only if it can be sent soon. Returns whether it was queued.
    pub(super) fn push_volatile(&mut self, body: Bytes, now: Instant) -> bool {
        let soon = self.link.is_some() && self.log.bytes() <= VOLATILE;
        if !soon {
            self.volatile_dropped += u64::from(!self.over);
        }
        soon && self.push(body, now)
    }

    /// A new link takes over. The peer has everything up to `after`; `None` if it does not know this log.
    pub(super) fn attach(&mut self, link: LinkId, relayed: bool, after: Option<u64>, now: Instant) {
        (self.link, self.told, self.beat) = (Some(link), None, relayed.then_some(now));
        // A hello is a sign of life, whatever was believed before.
        self.log.set_dead(false);
        self.log.resume(after);
    }

    /// The link is lost.
    pub(super) fn detach(&mut self) {
        (self.link, self.beat) = (None, None);
    }

    /// This node leaves: a goodbye follows what is queued.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    /// The life of the peer is over; `left`: it left in good order.
    pub(super) fn end(&mut self, left: bool) {
        self.over = true;
        self.log.end(left);
    }

    /// The life of the peer was not over; so many bodies were sent since then.
    pub(super) fn go_on(&mut self, since: u64) {
        self.over = false;
        self.log.go_on(since);
    }

    /// Whether something must be said now, so that the peer does not take this node for silent.
    pub(super) fn beats(&self, now: Instant) -> bool {
        self.beat.is_some_and(|beat| now >= beat)
    }

    /// When something must be said next.
    pub(super) fn next_beat(&self) -> Option<Instant> {
        self.beat
    }

    /// Something is said.
    pub(super) fn speak(&mut self, now: Instant) {
        self.beat = self.beat.map(|_| now + BEAT);
    }

    /// Appends bodies, and gaps where they are not kept any more. Returns whether a goodbye followed the last one.
    pub(super) fn put_bodies(&mut self, batch: &mut Batch) -> bool {
        while batch.has_room() {
            match self.log.next_write() {
                Some(Write::Body { seq, body }) => batch.put(&Frame { seq, body }),
                Some(Write::Gap { to }) => batch.put(&unsequenced(Kind::Gap(pb::Gap { to }))),
                None => break,
            }
        }
        let last = self.leaving && !self.log.has_more() && batch.has_room();
        if last {
            batch.put(&unsequenced(Kind::Goodbye(pb::Goodbye {})));
        }
        last
    }

    /// What became of the bodies.
    pub(super) fn counts(&self) -> OutgoingCounts {
        OutgoingCounts { volatile_dropped: self.volatile_dropped, ..self.log.counts() }
    }
}

/// How often a relayed link says something.
const BEAT: Duration = Duration::from_millis(500);
/// A backlog of this size takes a while to send, so that volatile packets would arrive late.
const VOLATILE: usize = 1 << 20;
