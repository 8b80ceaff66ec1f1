//! When a node is dialled, and what can come of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::wire::pb::refusal::Reason;
use crate::id::NodeId;

/// Who is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialTarget {
    /// An address of the seed with this number.
    Seed(usize, SocketAddr),
    /// A known node at its address.
    Node(NodeId, SocketAddr),
    /// A linked node at the address that it advertises, to see whether it is there.
    Advertised(NodeId, SocketAddr),
    /// A known node, through another one.
    Relayed(NodeId),
}

impl fmt::Display for DialTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(_, address) => write!(f, "seed {address}"),
            Self::Node(id, address) => write!(f, "{id} at {address}"),
            Self::Advertised(id, address) => write!(f, "{id} at {address}, which it advertises"),
            Self::Relayed(id) => write!(f, "{id} through another node"),
        }
    }
}

/// Why a dial gave no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the address cannot be dialled: {0}")]
    Address(String),
    /// The node at the address does not belong to the cluster.
    #[error("the TLS handshake failed: {0}")]
    Untrusted(String),
    #[error("no answer in time")]
    Timeout,
    /// The connection or a stream on it broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the certificate of the other node names no node")]
    Unnamed,
    /// The other node refused the hello.
    #[error("refused by {peer}: {detail}")]
    Refused { peer: NodeId, reason: Reason, detail: String },
    /// A node answered to which there is a direct link already, over another address.
    #[error("{0} is linked already")]
    AlreadyLinked(NodeId),
    /// This node itself answered. `bound_here`: the address is the one that it is bound to. Elsewhere, at the address of a
    /// service in front of several nodes, another one may answer the next time.
    #[error("this node itself answered")]
    ThisNode { bound_here: bool },
}

/// When a node is dialled next, directly and through others.
#[derive(Debug)]
pub(crate) struct DialSchedule {
    due: Instant,
    began: Instant,
    failures: u32,
    running: bool,
    /// When a relay may be asked next; `None` while one is asked.
    relay_due: Option<Instant>,
}

impl DialSchedule {
    /// The first dial is due now.
    pub(crate) fn at_once(now: Instant) -> Self {
        Self { due: now, began: now, failures: 0, running: false, relay_due: Some(now) }
    }

    /// Of two nodes the one with the smaller id dials at once. The other one dials when nothing came of that.
    pub(crate) fn in_turn(now: Instant, me: &NodeId, other: &NodeId) -> Self {
        let delay = if me < other { Duration::ZERO } else { DIAL_DELAY };
        Self { due: now + delay, ..Self::at_once(now) }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.running && now >= self.due
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    pub(crate) fn begin(&mut self, now: Instant) {
        (self.running, self.began) = (true, now);
    }

    /// The dial reached the node. It is dialled again only if its answer does not become a link.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        (self.failures, self.running) = (0, false);
        self.due = now + BACKOFF;
    }

    /// The pause counts from the beginning of the dial: one that nobody answers takes longer than the pause.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.running = false;
        self.due = now.max(self.began + (BACKOFF * 2_u32.pow(self.failures.min(3))).min(MAX_BACKOFF));
        self.failures += 1;
    }

    pub(crate) fn is_relay_due(&self, now: Instant) -> bool {
        self.relay_due.is_some_and(|due| now >= due)
    }

    pub(crate) fn begin_relay(&mut self) {
        self.relay_due = None;
    }

    pub(crate) fn end_relay(&mut self, now: Instant) {
        self.relay_due = Some(now + BACKOFF);
    }
}

/// How long the node with the larger id lets the other one dial.
const DIAL_DELAY: Duration = Duration::from_millis(300);
const BACKOFF: Duration = Duration::from_millis(250);
/// At most one dial per second and address. After a partition the mesh is whole again within three seconds.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn pause_after_failure(schedule: &mut DialSchedule, now: &mut Instant) -> Duration {
        schedule.begin(*now);
        assert!(!schedule.is_due(*now + Duration::from_secs(60)), "one dial at a time");
        schedule.failed(*now);
        let began = *now;
        while !schedule.is_due(*now) {
            *now += Duration::from_millis(10);
        }
        *now - began
    }

    #[test]
    fn the_pause_between_dials_grows_up_to_one_second() {
        let mut now = Instant::now();
        let mut schedule = DialSchedule::at_once(now);
        let pauses: Vec<_> =
            (0..4).map(|_| pause_after_failure(&mut schedule, &mut now).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 1000]);
    }

    #[test]
    fn the_smaller_id_dials_at_once_and_the_larger_after_300_ms() {
        let (now, a, b) = (Instant::now(), "a".parse().unwrap(), "b".parse().unwrap());
        assert!(DialSchedule::in_turn(now, &a, &b).is_due(now));
        let later = DialSchedule::in_turn(now, &b, &a);
        assert!(!later.is_due(now + Duration::from_millis(299)));
        assert!(later.is_due(now + Duration::from_millis(300)));
    }
}
