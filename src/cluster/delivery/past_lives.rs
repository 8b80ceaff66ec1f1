//! Lives of other nodes that are over, as far as this node knows.

use std::collections::VecDeque;
use std::sync::Arc;

use super::peer::Peer;
use super::peer_counters::{IncomingCounts, OutgoingCounts, PeerCounters};
use crate::id::{Incarnation, NodeId};

/// The last lives that are over, each by itself, and the sum of what was counted about those before.
///
/// One that was only away for longer than it is looked for goes on where it stopped, so that both ends know what it missed.
#[derive(Debug, Default)]
pub(crate) struct PastLives {
    last: VecDeque<PastLife>,
    outgoing: OutgoingCounts,
    incoming: IncomingCounts,
}

#[derive(Debug)]
struct PastLife {
    peer: Arc<Peer>,
    /// How many bodies this node had sent to whoever wants them.
    emitted: u64,
}

impl PastLives {
    /// A life is over. `emitted` is how many bodies this node has sent so far to whoever wants them.
    pub(crate) fn add(&mut self, peer: Arc<Peer>, emitted: u64) {
        peer.end();
        self.last.push_back(PastLife { peer, emitted });
        if self.last.len() > PAST_LIVES
            && let Some(PastLife { peer, .. }) = self.last.pop_front()
        {
            let PeerCounters { outgoing, incoming, .. } = peer.counters();
            self.outgoing.add(outgoing);
            self.incoming.add(incoming);
        }
    }

    /// The life of a node, if it was not over after all. What was sent meanwhile counts.
    pub(crate) fn take(&mut self, id: &NodeId, incarnation: Incarnation, emitted: u64) -> Option<Arc<Peer>> {
        let is_it = |life: &PastLife| life.peer.id == *id && life.peer.incarnation == incarnation;
        let life = self.last.remove(self.last.iter().position(is_it)?)?;
        life.peer.go_on(emitted.saturating_sub(life.emitted));
        Some(life.peer)
    }

    /// What was counted about the last lives.
    pub(crate) fn last(&self) -> impl Iterator<Item = PeerCounters> {
        self.last.iter().map(|life| life.peer.counters())
    }

    /// The sum of all lives.
    pub(crate) fn total(&self) -> (OutgoingCounts, IncomingCounts) {
        let (mut outgoing, mut incoming) = (self.outgoing, self.incoming);
        for life in self.last() {
            outgoing.add(life.outgoing);
            incoming.add(life.incoming);
        }
        (outgoing, incoming)
    }
}

/// So many are remembered by themselves: a rolling restart of a cluster of that size.
const PAST_LIVES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::time::Instant;

    fn life(incarnation: u64) -> Arc<Peer> {
        let now = Instant::now();
        let peer = Peer::new("b".parse().unwrap(), Incarnation(incarnation), 1, now);
        peer.push(Bytes::from_static(b"x"), false, now);
        Arc::new(peer)
    }

    #[test]
    fn lives_that_are_over_stay_in_the_sum_and_the_last_ones_by_themselves() {
        let mut past = PastLives::default();
        (1..=100).for_each(|incarnation| past.add(life(incarnation), 0));
        assert_eq!((past.total().0.sent, past.total().0.lost.dead), (100, 100));
        let lives: Vec<_> = past.last().map(|life| life.incarnation.0).collect();
        assert_eq!(lives, (37..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_life_that_was_not_over_goes_on_and_what_was_sent_meanwhile_counts() {
        let (mut past, peer) = (PastLives::default(), life(5));
        peer.set_dead(true);
        (0..3).for_each(|_| peer.push(Bytes::from_static(b"x"), false, Instant::now()));
        past.add(peer, 10);
        let (outgoing, _) = past.total();
        assert_eq!((outgoing.sent, outgoing.lost.dead), (1, 1), "no living node wants the others");
        assert!(past.take(&"b".parse().unwrap(), Incarnation(6), 14).is_none());
        let peer = past.take(&"b".parse().unwrap(), Incarnation(5), 14).unwrap();
        peer.push(Bytes::from_static(b"x"), false, Instant::now());
        let OutgoingCounts { sent, lost, waiting, .. } = peer.counters().outgoing;
        assert_eq!((sent, lost.dead, waiting), (9, 8, 1));
        assert_eq!(past.total().0, OutgoingCounts::default(), "it is not past any more");
    }
}
