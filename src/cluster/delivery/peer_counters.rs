//! What became of the messages between this node and one life of another (docs/reference/counters.md, "Per peer").

use std::time::Duration;

use tokio::time::Instant;

use crate::id::{Incarnation, NodeId};

/// What this node has counted about its messages to and from one life of another node: what
/// [`Node::peer_counters`](crate::Node::peer_counters) returns.
///
/// ```
/// # fn f(node: socketmesh::Node) {
/// for peer in node.peer_counters() {
///     for (reason, count) in peer.outgoing.lost.named() {
///         println!("messages_lost_total{{peer=\"{}\",reason=\"{reason}\"}} {count}", peer.node);
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCounters {
    /// The other node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// What this node sent to it.
    pub outgoing: OutgoingCounts,
    /// What came from it.
    pub incoming: IncomingCounts,
}

/// Messages from this node to another one. At every moment `sent` is the sum of `confirmed`, `waiting`, `unneeded` and
/// everything [`lost`](Self::lost).
///
/// See [`PeerCounters`] for an example.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutgoingCounts {
    /// Messages that were queued for it while it was a member.
    pub sent: u64,
    /// Of these, those that it has confirmed.
    pub confirmed: u64,
    /// Of these, those that wait for it or for its confirmation. This one goes up and down.
    pub waiting: u64,
    /// The bytes that these hold, and those that wait for it while it counts as dead. This one goes up and down, too.
    pub waiting_bytes: u64,
    /// Of these, those that were given up, by reason.
    pub lost: LossCounts,
    /// Of these, those that it had not confirmed when it left in good order, without clients.
    pub unneeded: u64,
    /// Of those counted as lost, how many had arrived all the same: it said so when it was reached again.
    pub arrived: u64,
    /// Messages that were sent while it counted as dead, and were given up. They count as lost if it comes back, and not at
    /// all if it does not. This one goes up and down.
    pub withheld: u64,
    /// Volatile messages that were dropped because it could not take them at once. They count as nothing else.
    pub volatile_dropped: u64,
    /// Messages that were written again, because their connection was lost before they were confirmed.
    pub replayed: u64,
    /// How often it was told that messages are missing, of which each time any number were given up.
    pub gaps: u64,
}

/// Messages that were given up for another node, each counted once, when it happened, with its reason.
///
/// See [`PeerCounters`] for an example.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LossCounts {
    /// The node did not confirm the message for 10 s.
    pub expired: u64,
    /// More than 16 MiB waited, and this was the oldest message.
    pub overflow: u64,
    /// The node counted as dead when the message was given up, or its life was over.
    pub dead: u64,
}

/// Messages from another node to this one.
///
/// See [`PeerCounters`] for an example.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IncomingCounts {
    /// Messages that were delivered here.
    pub received: u64,
    /// Messages that came a second time after a lost connection, and were dropped.
    pub duplicates: u64,
    /// Messages that the other node gave up before they came here.
    pub missed: u64,
}

impl LossCounts {
    /// Each count with the name of its reason: the values of a label.
    pub fn named(&self) -> [(&'static str, u64); 3] {
        [("expired", self.expired), ("overflow", self.overflow), ("dead", self.dead)]
    }

    /// Whatever the reason.
    pub fn total(&self) -> u64 {
        self.expired + self.overflow + self.dead
    }

    fn add(&mut self, other: Self) {
        let Self { expired, overflow, dead } = other;
        self.expired += expired;
        self.overflow += overflow;
        self.dead += dead;
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            expired: self.expired - earlier.expired,
            overflow: self.overflow - earlier.overflow,
            dead: self.dead - earlier.dead,
        }
    }
}

impl OutgoingCounts {
    /// Adds the counts of another life.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { sent, confirmed, waiting, waiting_bytes, lost, unneeded, arrived, withheld, .. } = other;
        self.sent += sent;
        self.confirmed += confirmed;
        self.waiting += waiting;
        self.waiting_bytes += waiting_bytes;
        self.lost.add(lost);
        self.unneeded += unneeded;
        self.arrived += arrived;
        self.withheld += withheld;
        self.volatile_dropped += other.volatile_dropped;
        self.replayed += other.replayed;
        self.gaps += other.gaps;
    }
}

impl IncomingCounts {
    /// Adds the counts of another life.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { received, duplicates, missed } = other;
        self.received += received;
        self.duplicates += duplicates;
        self.missed += missed;
    }
}

/// Messages between this node and a peer that never arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Those for the peer.
    pub(crate) lost: LossCounts,
    /// Those of the peer.
    pub(crate) missed: u64,
}

/// When the losses of a peer are logged, and which were.
#[derive(Debug, Default)]
pub(crate) struct LossLog {
    last: Option<Instant>,
    logged: Losses,
}

impl LossLog {
    /// What of all losses was not logged yet, if it is to be logged now: at most once in [`LOG_INTERVAL`], so that a lasting cut
    /// does not fill the log; with `None` the last time.
    pub(crate) fn due(&mut self, all: Losses, now: Option<Instant>) -> Option<Losses> {
        if let (Some(now), Some(last)) = (now, self.last)
            && now < last + LOG_INTERVAL
        {
            return None;
        }
        let new = Losses { lost: all.lost.since(&self.logged.lost), missed: all.missed - self.logged.missed };
        if new == Losses::default() {
            return None;
        }
        *self = Self { last: now, logged: all };
        Some(new)
    }
}

/// How often losses of one peer are logged at most.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
