//! When a node is dialled, and what can come of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::jitter::Jitter;
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
    /// How many relays were asked in vain: each of them has its turn.
    relay_failures: usize,
}

impl DialSchedule {
    /// The first dial is due now.
    pub(crate) fn at_once(now: Instant) -> Self {
        let (began, relay_due) = (now, Some(now));
        Self { due: now, began, failures: 0, running: false, relay_due, relay_failures: 0 }
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

    /// Of the nodes that are due, those with the smaller rank come first: whoever was not dialled in vain, then who has waited
    /// longest.
    pub(crate) fn rank(&self) -> Option<Instant> {
        (self.failures > 0).then_some(self.began)
    }

    /// Somebody says that the node is there, which was dialled in vain.
    pub(crate) fn retry(&mut self, now: Instant) {
        // Whoever says so again and again does not hasten it.
        if !self.running && self.failures > 0 && now >= self.began + MAX_BACKOFF {
            (self.failures, self.due) = (0, self.due.min(now));
        }
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
    pub(crate) fn failed(&mut self, jitter: &mut Jitter, now: Instant) {
        self.running = false;
        let pause = (BACKOFF * 2_u32.pow(self.failures.min(3))).min(MAX_BACKOFF);
        self.due = now.max(self.began + pause - jitter.up_to(pause / JITTER));
        self.failures += 1;
    }

    pub(crate) fn is_relay_due(&self, now: Instant) -> bool {
        self.relay_due.is_some_and(|due| now >= due)
    }

    pub(crate) fn begin_relay(&mut self) {
        self.relay_due = None;
    }

    pub(crate) fn end_relay(&mut self, linked: bool, now: Instant) {
        self.relay_due = Some(now + BACKOFF);
        self.relay_failures = if linked { 0 } else { self.relay_failures + 1 };
    }

    pub(crate) fn relay_failures(&self) -> usize {
        self.relay_failures
    }
}

/// How long the node with the larger id lets the other one dial.
const DIAL_DELAY: Duration = Duration::from_millis(300);
const BACKOFF: Duration = Duration::from_millis(250);
/// About one dial per second and address, while few are dialled. After a partition the mesh is whole again within three seconds.
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A pause is shorter by up to this part, so that nodes that failed together do not dial together for ever.
const JITTER: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    fn pause_after_failure(schedule: &mut DialSchedule, now: &mut Instant) -> Duration {
        schedule.begin(*now);
        assert!(!schedule.is_due(*now + Duration::from_secs(60)), "one dial at a time");
        schedule.failed(&mut Jitter::new(&"a".parse().unwrap(), Incarnation(1)), *now);
        let began = *now;
        while !schedule.is_due(*now) {
            *now += Duration::from_millis(10);
        }
        *now - began
    }

    #[test]
    fn the_pause_between_dials_grows_up_to_one_second_and_is_never_the_same_for_all() {
        let mut now = Instant::now();
        let mut schedule = DialSchedule::at_once(now);
        for longest in [250, 500, 1000, 1000] {
            let pause = pause_after_failure(&mut schedule, &mut now).as_millis();
            assert!((longest * 3 / 4..=longest).contains(&pause), "{pause} ms of {longest}");
        }
    }

    #[test]
    fn who_was_not_dialled_in_vain_comes_first_and_then_who_waited_longest() {
        let (now, mut jitter) = (Instant::now(), Jitter::new(&"a".parse().unwrap(), Incarnation(1)));
        let mut failed = [0, 1].map(|second| {
            let mut schedule = DialSchedule::at_once(now);
            schedule.begin(now + Duration::from_secs(second));
            schedule.failed(&mut jitter, now + Duration::from_secs(second));
            schedule
        });
        let fresh = DialSchedule::at_once(now + Duration::from_secs(9));
        assert!(fresh.rank() < failed[0].rank() && failed[0].rank() < failed[1].rank());
        let later = now + Duration::from_secs(2);
        failed[1].retry(later);
        assert_eq!((failed[1].rank(), failed[1].is_due(later)), (None, true));
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
