//! What came from a peer, and what of it is still to be acknowledged (docs/protocol/mesh.md, "Replay log").

use std::time::Duration;

use tokio::time::Instant;

use super::peer_counters::IncomingCounts;
use super::replay_log::{Arrival, ReceiveLog};
use crate::cluster::hello::{LinkId, Resume};

/// What came from a peer.
#[derive(Debug)]
pub(super) struct Inbound {
    /// The current link. What older ones still bring is ignored.
    pub(super) link: Option<LinkId>,
    /// The name of the peer's log; 0 before its first `Start`.
    log: u64,
    /// Whether `Start` was seen on this link.
    pub(super) started: bool,
    received: ReceiveLog,
    /// Without what the current log of the peer says was lost.
    counts: IncomingCounts,
    /// How many bodies were known to be lost when that was told last.
    told_missed: u64,
    /// The peer said goodbye.
    pub(super) left: bool,
    /// Whether anything came since the last acknowledgement, and how many bytes.
    owes: bool,
    owed: usize,
    /// When an acknowledgement goes out by itself, should one be owed then. One that goes out with something else leaves this as it
    /// is, so that the writer is woken for the first body of many only.
    due: Option<Instant>,
}

/// Up to where a log has been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    log: u64,
    pub(super) delivered: u64,
    /// How many bodies will never come.
    pub(super) missed: u64,
}

impl Inbound {
    /// Nothing has come yet.
    pub(super) fn new() -> Self {
        Self {
            link: None,
            log: 0,
            started: false,
            received: ReceiveLog::starting_at(1),
            counts: IncomingCounts::default(),
            told_missed: 0,
            left: false,
            owes: false,
            owed: 0,
            due: None,
        }
    }

    /// A new link brings what comes from now on.
    pub(super) fn attach(&mut self, link: LinkId) {
        (self.link, self.started, self.owes, self.owed, self.due) = (Some(link), false, false, 0, None);
    }

    /// The peer names its log, and the first number that may come.
    pub(super) fn start(&mut self, log: u64, first: u64) {
        if self.log != log {
            // Of what the peer kept under another name, something may be lost that nobody counts.
            if self.log != 0 {
                self.told_missed = u64::MAX;
            }
            self.counts.missed = self.counts().missed;
            (self.log, self.received) = (log, ReceiveLog::starting_at(first));
        }
        self.started = true;
    }

    /// A body arrived. Unless it is a duplicate, [`delivered`](Self::delivered) follows.
    pub(super) fn arrived(&mut self, seq: u64, to_be_delivered: bool) -> Arrival {
        let arrival = self.received.arrived(seq);
        match arrival {
            Arrival::Duplicate => self.counts.duplicates += 1,
            Arrival::Accept => self.counts.received += u64::from(to_be_delivered),
        }
        arrival
    }

    /// What arrived has been delivered.
    pub(super) fn delivered(&mut self) {
        self.received.delivered();
    }

    /// The peer gave up bodies.
    pub(super) fn gave_up(&mut self, to: u64) {
        self.received.gave_up(to);
    }

    /// Up to where something was lost, once after each loss.
    pub(super) fn take_gap(&mut self) -> Option<u64> {
        let missed = self.counts().missed;
        let is_news = missed != self.told_missed;
        self.told_missed = missed;
        is_news.then(|| self.received.last())
    }

    /// Where the peer's next link resumes. What is being delivered is not asked for again.
    pub(super) fn resume(&self) -> Resume {
        Resume { log: self.log, seq: self.received.last() }
    }

    /// What can be acknowledged now.
    pub(super) fn position(&self) -> Position {
        Position { log: self.log, delivered: self.received.last_delivered(), missed: self.received.missed() }
    }

    /// What came, and what never will.
    pub(super) fn counts(&self) -> IncomingCounts {
        IncomingCounts { missed: self.counts.missed.saturating_add(self.received.missed()), ..self.counts }
    }

    /// Whether an acknowledgement is due, or can go out with something else.
    pub(super) fn owes_ack(&self, now: Instant, has_more: bool) -> bool {
        self.owes && (has_more || self.owed >= ACK_BYTES || self.due.is_none_or(|due| now >= due))
    }

    /// An acknowledgement of this position goes out. Returns whether it is still one in the peer's log.
    pub(super) fn acknowledge(&mut self, position: Position, now: Instant) -> bool {
        if position.log != self.log {
            return false;
        }
        if position == self.position() {
            (self.owes, self.owed) = (false, 0);
            self.due = self.due.map(|due| if now >= due { now + ACK_DELAY } else { due });
        }
        true
    }

    /// When the writer has to look whether an acknowledgement is owed.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        self.due = self.due.filter(|due| self.owes || now < *due);
        self.due
    }

    /// Something has to be acknowledged at once.
    pub(super) fn owe_now(&mut self, now: Instant) {
        (self.owes, self.due) = (true, Some(now));
    }

    /// Something has to be acknowledged. Returns whether the writer must be woken now.
    pub(super) fn owe(&mut self, bytes: usize, now: Instant) -> bool {
        let first = self.due.is_none();
        self.owes = true;
        self.owed += bytes;
        self.due.get_or_insert(now + ACK_DELAY);
        first || self.owed >= ACK_BYTES
    }
}

/// How long an acknowledgement waits for others. This is far below the age at which logs drop bodies.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(50);
/// After that many bytes an acknowledgement does not wait: a sixteenth of what the sender keeps.
const ACK_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_is_woken_for_the_first_body_of_many_whatever_acknowledged_the_others() {
        let start = Instant::now();
        let at = |tenths| start + ACK_DELAY * tenths / 10;
        let mut inbound = Inbound::new();
        assert!(inbound.owe(1, start) && !inbound.owe(1, at(1)));
        let position = inbound.position();
        assert!(!inbound.owes_ack(at(2), false) && inbound.owes_ack(at(2), true), "with something else");
        inbound.acknowledge(position, at(2));
        assert!(!inbound.owes_ack(at(3), true) && !inbound.owe(1, at(3)));
        assert_eq!(inbound.due(at(3)), Some(at(10)));
        assert!(inbound.owes_ack(at(10), false));
        inbound.acknowledge(position, at(10));
        assert_eq!(inbound.due(at(10)), Some(at(20)));
        assert_eq!(inbound.due(at(20)), None, "nothing came meanwhile");
        assert!(inbound.owe(1, at(21)));
    }
}
