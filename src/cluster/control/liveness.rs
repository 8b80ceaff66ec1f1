//! Who counts as alive (docs/protocol/mesh.md, "Death").
//!
//! Gossip (phi) and the link are the witnesses. Gossip alone only suspects; a link that provably answers outweighs it. The
//! machine of a member outweighs gossip: it knows when the process has ended.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::id::{Incarnation, NodeId};

/// What this node believes about the life of the others.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// How long gossip must take a member for dead when the link is no evidence.
    eviction: Duration,
    members: BTreeMap<NodeId, Evidence>,
    /// Lives that said goodbye, and when. Gossip may still tell of them for a while.
    departed: HashMap<NodeId, (Incarnation, Instant)>,
    /// Lives that have ended as their machines say, and since when that is known. Gossip learns it later.
    refused: HashMap<NodeId, (Incarnation, Instant)>,
    /// This node was stalled. Until then silence of others is no evidence.
    doubt: Option<Instant>,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A life of a node is in the cluster.
    Alive(NodeId, Incarnation),
    /// A life of a node left the ring.
    Dead(NodeId, Incarnation, Death),
}

/// Why a member left the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Death {
    /// Nobody listens at its port, as its machine says, and no other member reaches it.
    Refused,
    /// Gossip and the link agree.
    GossipAndLink,
    /// Gossip says so for long, and no link contradicts it.
    GossipAlone,
    /// A newer life of it has appeared.
    Restarted,
    /// It said goodbye.
    Left,
}

/// What the link to a member says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkHealth {
    /// It answers.
    Healthy,
    /// It is no evidence: there was never a link, or it is connected but does not answer.
    Silent,
    /// It was there and is lost.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Evidence {
    incarnation: Incarnation,
    gossip: GossipEvidence,
    link: LinkHealth,
}

/// What gossip says about a member, and since when.
#[derive(Debug, Clone, Copy)]
enum GossipEvidence {
    /// Gossip has not told of it yet; only a hello did.
    Unheard(Instant),
    Alive,
    Dead(Instant),
}

impl Liveness {
    /// `silence`: how long a link may be silent before it is lost.
    pub(crate) fn new(silence: Duration) -> Self {
        Self {
            eviction: silence + AFTER_SILENCE,
            members: BTreeMap::new(),
            departed: HashMap::new(),
            refused: HashMap::new(),
            doubt: None,
        }
    }

    /// A node sent a hello or answered one, which is evidence of life before any gossip. Returns `None` if a newer life of it is a
    /// member.
    pub(crate) fn handle_hello(
        &mut self,
        now: Instant,
        id: &NodeId,
        incarnation: Incarnation,
    ) -> Option<Vec<Verdict>> {
        if self.incarnation(id).is_some_and(|known| known > incarnation) {
            return None;
        }
        self.refused.remove(id);
        // `departed` stays as it is: after a clock was set back, gossip may still tell of a larger incarnation than this one.
        let verdicts = self.admit(id, incarnation, GossipEvidence::Unheard(now));
        if let Some(known) = self.members.get_mut(id) {
            known.link = LinkHealth::Healthy;
            if matches!(known.gossip, GossipEvidence::Dead(_)) {
                known.gossip = GossipEvidence::Unheard(now);
            }
        }
        Some(verdicts)
    }

    /// What the link to a member says from now on.
    pub(crate) fn handle_link(&mut self, id: &NodeId, health: LinkHealth) {
        if let Some(known) = self.members.get_mut(id) {
            known.link = health;
        }
    }

    /// The lives that gossip takes for alive, the newest of each node.
    pub(crate) fn handle_gossip(
        &mut self,
        now: Instant,
        live: &BTreeMap<NodeId, Incarnation>,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (id, incarnation) in live {
            if !self.has_left(id, *incarnation) {
                verdicts.extend(self.admit(id, *incarnation, GossipEvidence::Alive));
            }
        }
        for (id, known) in &mut self.members {
            let alive = live.get(id) == Some(&known.incarnation);
            known.gossip = match known.gossip {
                _ if alive => GossipEvidence::Alive,
                GossipEvidence::Alive => GossipEvidence::Dead(now),
                silent @ (GossipEvidence::Unheard(_) | GossipEvidence::Dead(_)) => silent,
            };
        }
        verdicts
    }

    /// The machine of a member says that this life has ended, and nobody says otherwise.
    pub(crate) fn handle_refused(
        &mut self,
        now: Instant,
        id: &NodeId,
        incarnation: Incarnation,
    ) -> Vec<Verdict> {
        self.refused.retain(|_, (_, since)| now < *since + LAG);
        self.refused.insert(id.clone(), (incarnation, now));
        let gone = self.incarnation(id) == Some(incarnation);
        if gone { self.declare_dead(id, Death::Refused) } else { Vec::new() }
    }

    /// Whether that life has ended so lately, as its machine says, that gossip may not know it.
    pub(crate) fn is_refused(&self, id: &NodeId, incarnation: Incarnation, now: Instant) -> bool {
        self.refused.get(id).is_some_and(|(life, since)| *life == incarnation && now < *since + LAG)
    }

    /// Gossip said earlier that this life is alive, and it counts only now.
    pub(crate) fn handle_rumour(&mut self, id: &NodeId, incarnation: Incarnation) -> Vec<Verdict> {
        if self.has_left(id, incarnation) {
            return Vec::new();
        }
        self.admit(id, incarnation, GossipEvidence::Alive)
    }

    /// A member said that it leaves.
    pub(crate) fn handle_goodbye(
        &mut self,
        now: Instant,
        id: &NodeId,
        incarnation: Incarnation,
    ) -> Vec<Verdict> {
        self.departed.retain(|_, (_, left)| now < *left + ECHO);
        self.departed.insert(id.clone(), (incarnation, now));
        let gone = self.members.get(id).is_some_and(|known| known.incarnation <= incarnation);
        if gone { self.declare_dead(id, Death::Left) } else { Vec::new() }
    }

    /// Time passes. Declares members dead. `late`: this node should have run so much earlier.
    pub(crate) fn handle_tick(&mut self, late: Duration, now: Instant) -> Vec<Verdict> {
        if late > STALL {
            self.doubt = Some(now + DOUBT);
        }
        if self.doubts(now) {
            return Vec::new();
        }
        let dead = self
            .members
            .iter()
            .filter_map(|(id, known)| Some((id.clone(), known.death(now, self.eviction)?)));
        let dead: Vec<_> = dead.collect();
        dead.into_iter().flat_map(|(id, death)| self.declare_dead(&id, death)).collect()
    }

    /// Whether this node was stalled a moment ago, so that it declares nobody dead.
    pub(crate) fn doubts(&self, now: Instant) -> bool {
        self.doubt.is_some_and(|until| now < until)
    }

    /// Whether that very life of a node said goodbye. Its next one may have a smaller incarnation, because clocks are set back.
    pub(crate) fn has_left(&self, id: &NodeId, incarnation: Incarnation) -> bool {
        self.departed.get(id).is_some_and(|(departed, _)| *departed == incarnation)
    }

    /// The members of the ring.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&NodeId, Incarnation)> {
        self.members.iter().map(|(id, known)| (id, known.incarnation))
    }

    /// Which life of a node is in the ring.
    pub(crate) fn incarnation(&self, id: &NodeId) -> Option<Incarnation> {
        self.members.get(id).map(|known| known.incarnation)
    }

    fn admit(&mut self, id: &NodeId, incarnation: Incarnation, gossip: GossipEvidence) -> Vec<Verdict> {
        let known = self.incarnation(id);
        if known.is_some_and(|known| known >= incarnation) {
            return Vec::new();
        }
        let mut verdicts = self.declare_dead(id, Death::Restarted);
        let evidence = Evidence { incarnation, gossip, link: LinkHealth::Silent };
        self.members.insert(id.clone(), evidence);
        verdicts.push(Verdict::Alive(id.clone(), incarnation));
        verdicts
    }

    fn declare_dead(&mut self, id: &NodeId, death: Death) -> Vec<Verdict> {
        let dead = self.members.remove(id);
        dead.map(|dead| Verdict::Dead(id.clone(), dead.incarnation, death)).into_iter().collect()
    }
}

impl Evidence {
    fn death(&self, now: Instant, eviction: Duration) -> Option<Death> {
        match (self.gossip, self.link) {
            (GossipEvidence::Alive, _) | (_, LinkHealth::Healthy) => None,
            (GossipEvidence::Dead(_), LinkHealth::Lost) => Some(Death::GossipAndLink),
            (GossipEvidence::Dead(since), LinkHealth::Silent) | (GossipEvidence::Unheard(since), _) => {
                (now >= since + eviction).then_some(Death::GossipAlone)
            }
        }
    }
}

/// A tick that is this late means that this node was stalled, not the others.
pub(crate) const STALL: Duration = Duration::from_millis(500);
/// Time for the others to be heard again: four pings, and two gossip intervals.
const DOUBT: Duration = Duration::from_secs(2);
/// How much longer than a link gossip must be silent: two of its intervals.
const AFTER_SILENCE: Duration = Duration::from_secs(2);
/// How long gossip may tell of a life that was refused: longer than it takes to suspect one, in a large cluster as well.
const LAG: Duration = Duration::from_secs(10);
/// How long gossip may tell of a life that said goodbye. This is longer than it remembers the dead.
const ECHO: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::super::rhythm::TICK;
    use super::*;

    /// A node that watches one other, `b`, with a clock that it moves itself.
    struct Watch {
        liveness: Liveness,
        now: Instant,
        /// How late the next tick is.
        late: Duration,
    }

    fn b() -> NodeId {
        "b".parse().unwrap()
    }

    impl Watch {
        fn new() -> Self {
            Self { liveness: Liveness::new(3 * SECOND), now: Instant::now(), late: Duration::ZERO }
        }

        /// b is linked and gossip speaks of it.
        fn linked() -> Self {
            let mut watch = Self::new();
            assert_eq!(watch.hello(5), Some(vec![Verdict::Alive(b(), Incarnation(5))]));
            assert!(watch.gossip(Some(5)).is_empty());
            watch
        }

        fn hello(&mut self, incarnation: u64) -> Option<Vec<Verdict>> {
            self.liveness.handle_hello(self.now, &b(), Incarnation(incarnation))
        }

        fn gossip(&mut self, incarnation: Option<u64>) -> Vec<Verdict> {
            let live = incarnation.map(|incarnation| (b(), Incarnation(incarnation))).into_iter().collect();
            self.liveness.handle_gossip(self.now, &live)
        }

        fn goodbye(&mut self) -> Vec<Verdict> {
            self.liveness.handle_goodbye(self.now, &b(), Incarnation(5))
        }

        fn link(&mut self, health: LinkHealth) {
            self.liveness.handle_link(&b(), health);
        }

        /// Ticks through this much time and collects the verdicts.
        fn after(&mut self, time: Duration) -> Vec<Verdict> {
            let end = self.now + time;
            let late = std::mem::take(&mut self.late);
            let mut verdicts = self.liveness.handle_tick(late, self.now);
            while self.now < end {
                self.now += TICK;
                verdicts.extend(self.liveness.handle_tick(Duration::ZERO, self.now));
            }
            verdicts
        }
    }

    fn dead(incarnation: u64, death: Death) -> Vec<Verdict> {
        vec![Verdict::Dead(b(), Incarnation(incarnation), death)]
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn gossip_and_the_link_together_are_death_at_once() {
        let mut watch = Watch::linked();
        watch.gossip(None);
        watch.link(LinkHealth::Lost);
        assert_eq!(watch.after(TICK), dead(5, Death::GossipAndLink));
        assert_eq!(watch.liveness.members().count(), 0);
    }

    #[test]
    fn a_healthy_link_outweighs_gossip_for_ever() {
        let mut watch = Watch::linked();
        watch.gossip(None);
        assert_eq!(watch.after(60 * SECOND), []);
    }

    #[test]
    fn a_lost_link_with_living_gossip_is_a_partial_partition() {
        let mut watch = Watch::linked();
        watch.link(LinkHealth::Lost);
        assert_eq!(watch.after(60 * SECOND), []);
    }

    #[test]
    fn gossip_alone_needs_five_seconds() {
        let mut watch = Watch::linked();
        watch.link(LinkHealth::Silent);
        watch.gossip(None);
        assert_eq!(watch.after(5 * SECOND - TICK), []);
        assert_eq!(watch.after(TICK), dead(5, Death::GossipAlone));
    }

    #[test]
    fn a_link_lost_before_gossip_spoke_leaves_five_seconds() {
        let mut watch = Watch::new();
        watch.hello(5);
        watch.gossip(None);
        watch.link(LinkHealth::Lost);
        assert_eq!(watch.after(5 * SECOND - TICK), []);
        assert_eq!(watch.after(TICK), dead(5, Death::GossipAlone));
    }

    #[test]
    fn a_member_known_by_gossip_only_dies_by_gossip_only() {
        let mut watch = Watch::new();
        assert_eq!(watch.gossip(Some(5)), [Verdict::Alive(b(), Incarnation(5))]);
        watch.gossip(None);
        assert_eq!(watch.after(4 * SECOND), []);
        watch.gossip(Some(5));
        watch.gossip(None);
        assert_eq!(watch.after(4 * SECOND), [], "gossip took it back, so the five seconds start anew");
        assert_eq!(watch.after(SECOND), dead(5, Death::GossipAlone));
    }

    #[test]
    fn a_newer_life_replaces_the_older_at_once() {
        let replaced: Vec<_> =
            dead(5, Death::Restarted).into_iter().chain([Verdict::Alive(b(), Incarnation(6))]).collect();
        assert_eq!(Watch::linked().gossip(Some(6)), replaced);
        assert_eq!(Watch::linked().hello(6), Some(replaced));
    }

    #[test]
    fn an_older_life_is_refused_while_the_newer_is_alive() {
        let mut watch = Watch::linked();
        assert_eq!(watch.hello(4), None);
        assert_eq!(watch.gossip(Some(4)), []);
        assert_eq!(watch.liveness.incarnation(&b()), Some(Incarnation(5)));
    }

    #[test]
    fn a_clock_that_went_back_keeps_nobody_out_for_ever() {
        let mut watch = Watch::linked();
        watch.link(LinkHealth::Lost);
        watch.gossip(None);
        watch.after(TICK);
        assert_eq!(watch.hello(4), Some(vec![Verdict::Alive(b(), Incarnation(4))]));
    }

    #[test]
    fn goodbye_is_death_at_once_and_gossip_does_not_revive_it() {
        let mut watch = Watch::linked();
        assert_eq!(watch.goodbye(), dead(5, Death::Left));
        assert_eq!(watch.gossip(Some(5)), []);
        assert_eq!(watch.gossip(Some(6)), [Verdict::Alive(b(), Incarnation(6))]);
    }

    #[test]
    fn after_a_goodbye_gossip_of_that_life_does_not_evict_the_next_one() {
        for next in [4, 6] {
            let mut watch = Watch::linked();
            watch.goodbye();
            assert_eq!(watch.hello(next), Some(vec![Verdict::Alive(b(), Incarnation(next))]));
            assert_eq!(watch.gossip(Some(5)), [], "the echo of the departed life");
            assert_eq!(watch.liveness.incarnation(&b()), Some(Incarnation(next)));
            assert_eq!(watch.gossip(Some(next)), []);
            watch.link(LinkHealth::Lost);
            assert_eq!(watch.after(60 * SECOND), [], "gossip speaks for the next life");
        }
    }

    #[test]
    fn a_stalled_node_pronounces_nobody_dead_for_two_seconds() {
        let mut watch = Watch::linked();
        watch.after(SECOND);
        watch.late = Duration::from_millis(600);
        watch.link(LinkHealth::Lost);
        watch.gossip(None);
        assert_eq!(watch.after(2 * SECOND - TICK), []);
        assert_eq!(watch.after(TICK), dead(5, Death::GossipAndLink));
    }

    #[test]
    fn a_tick_a_little_late_is_no_stall() {
        let mut watch = Watch::linked();
        watch.after(SECOND);
        watch.late = Duration::from_millis(400);
        watch.link(LinkHealth::Lost);
        watch.gossip(None);
        assert_eq!(watch.after(Duration::ZERO), dead(5, Death::GossipAndLink));
    }

    #[test]
    fn the_dead_come_back_with_a_hello() {
        let mut watch = Watch::linked();
        watch.gossip(None);
        watch.link(LinkHealth::Lost);
        watch.after(TICK);
        assert_eq!(watch.hello(5), Some(vec![Verdict::Alive(b(), Incarnation(5))]));
        assert_eq!(watch.after(60 * SECOND), []);
    }
}
