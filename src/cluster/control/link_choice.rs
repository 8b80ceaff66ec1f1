//! Which of several connections to a node is the link (docs/protocol/mesh.md, "Links").
//!
//! Each end decides by itself. The rules are symmetric, so both ends choose the same connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::rhythm::{PING, TICK};
use crate::cluster::hello::LinkId;

/// How a link reaches the other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Over a connection to the node. Its packets come from this address.
    Direct(SocketAddr),
    /// Over a stream through one other node.
    Relayed,
}

/// The link to a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActiveLink {
    pub(crate) id: LinkId,
    pub(crate) path: Path,
    /// Whether this node opened it.
    pub(crate) dialled: bool,
    pub(crate) since: Instant,
    /// When the other node answered last; for direct links only.
    pub(crate) answered: Instant,
    /// When it was asked last.
    pub(crate) pinged: Option<Instant>,
    /// Its connection is closed, and its loss is on the way.
    pub(crate) closed: bool,
}

impl ActiveLink {
    pub(crate) fn is_direct(&self) -> bool {
        self.path.is_direct()
    }

    /// Whether the other end answered a moment ago. Only a direct link is asked.
    pub(crate) fn is_healthy(&self, now: Instant) -> bool {
        self.is_direct() && !self.closed && now.saturating_duration_since(self.answered) < HEALTHY
    }

    /// When the other end should have asked or answered again.
    pub(crate) fn late_at(&self) -> Instant {
        self.answered + PING + TICK
    }

    /// Whether it was asked since it answered last.
    pub(crate) fn is_asked(&self) -> bool {
        self.pinged.is_some_and(|pinged| self.answered < pinged)
    }

    /// Whether the last ping should have had an answer by now, and has none.
    pub(crate) fn owes_an_answer(&self, now: Instant) -> bool {
        self.is_asked() && self.pinged.is_some_and(|pinged| now >= pinged + ANSWER)
    }

    /// Whether this link gives way to a new one. `smaller`: this node has the smaller id of the two.
    pub(crate) fn gives_way(&self, path: Path, dialled: bool, smaller: bool, now: Instant) -> bool {
        let old = Candidate { direct: self.is_direct(), dialled: self.dialled };
        let new = Candidate { direct: path.is_direct(), dialled };
        // The other end would not offer a new link if it still had one of that age.
        self.closed || now >= self.since + SETTLED || new.replaces(old, smaller)
    }
}

impl Path {
    /// Where the packets of the other node come from, if the link is direct.
    pub(crate) fn remote(self) -> Option<SocketAddr> {
        match self {
            Self::Direct(remote) => Some(remote),
            Self::Relayed => None,
        }
    }

    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::Direct(_))
    }
}

/// The properties of a link that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    direct: bool,
    dialled: bool,
}

impl Candidate {
    /// Whether this new link replaces a young one.
    fn replaces(self, old: Self, smaller: bool) -> bool {
        if self.direct != old.direct {
            return self.direct;
        }
        // Of two links that the same end opened, the later one counts. Else the one that the smaller id opened.
        self.dialled == old.dialled || self.dialled == smaller
    }
}

/// Longer than an answer takes within a data centre.
const ANSWER: Duration = Duration::from_millis(50);
/// After this silence, three lost pings, a link is not a witness of life any more.
const HEALTHY: Duration = Duration::from_millis(1700);
/// Longer than a dial takes. After it a second connection does not come from crossing dials: it answers a loss.
const SETTLED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATES: [Candidate; 4] = [
        Candidate { direct: true, dialled: true },
        Candidate { direct: true, dialled: false },
        Candidate { direct: false, dialled: true },
        Candidate { direct: false, dialled: false },
    ];

    fn from_the_other_end(link: Candidate) -> Candidate {
        Candidate { dialled: !link.dialled, ..link }
    }

    #[test]
    fn both_ends_prefer_the_same_connection() {
        for (old, new) in CANDIDATES.iter().flat_map(|old| CANDIDATES.map(|new| (*old, new))) {
            for smaller in [true, false] {
                let there = from_the_other_end(new).replaces(from_the_other_end(old), !smaller);
                assert_eq!(new.replaces(old, smaller), there, "{old:?} {new:?} {smaller}");
            }
        }
    }

    #[test]
    fn of_crossing_dials_one_survives_in_whichever_order_they_are_seen() {
        let [mine, theirs, ..] = CANDIDATES;
        for smaller in [true, false] {
            assert_ne!(mine.replaces(theirs, smaller), theirs.replaces(mine, smaller));
            assert_eq!(mine.replaces(theirs, smaller), smaller);
        }
    }

    #[test]
    fn a_direct_connection_replaces_a_relayed_one_and_not_the_other_way_round() {
        for smaller in [true, false] {
            let [direct, _, _, relayed] = CANDIDATES;
            assert!(direct.replaces(relayed, smaller) && !relayed.replaces(direct, smaller));
        }
    }
}
