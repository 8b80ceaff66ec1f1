//! One client that is back: what it missed comes from every node, and what is sent meanwhile waits behind that.
//!
//! Each origin has a gate. While it is closed, the origin has not answered yet: what comes from it now is in the answer, or for
//! somebody else. Behind its answer the gate is open. It stays closed for one that was not asked, as a node that was cut off and is
//! heard again: the client has to ask that one first. So of each origin every packet is there once, in its order, whatever was on
//! its way when the client came.

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::log::cost;
use super::membership::Membership;
use super::position::Position;
use crate::engine::Charge;
use crate::socket::messages::KeptPacket;
use crate::socket::messages::recovery::{Number, Origin};

/// A client that is back, and does not know it yet.
#[derive(Debug)]
pub(crate) struct Recovering {
    membership: Membership,
    /// What the client has.
    position: Position,
    /// What it will have behind what waits here.
    reached: Position,
    /// The origins that have not answered.
    closed: SmallVec<[Origin; 4]>,
    /// Those that have, each with the last number that it said it has sent.
    answered: SmallVec<[(Origin, u64); 4]>,
    /// Those of which some node that answers for them lacks something.
    unfinished: Vec<Origin>,
    queue: Vec<Step>,
    bytes: usize,
    /// What waits here alone, among what waits for all.
    held: Charge,
    limit: usize,
    failed: bool,
    /// Something that a node sent behind the question is lost, maybe of what was missed.
    has_gap: bool,
    /// When another node answered last, as if it had not waited for its link.
    last_answer: Option<Instant>,
}

/// What its client gets, in order.
#[derive(Debug)]
enum Step {
    Packet(KeptPacket),
    /// Of this origin there is nothing more up to that number.
    Reached(Number),
}

/// A packet for the client, and its position behind it.
pub(crate) type Replayed = (KeptPacket, Position);

impl Recovering {
    /// Everything of these origins is still to come, up to `limit` bytes.
    pub(crate) fn new(
        membership: Membership,
        position: Position,
        asked: impl IntoIterator<Item = Origin>,
        limit: usize,
        held: Charge,
    ) -> Self {
        let (closed, reached) = (asked.into_iter().collect(), position.clone());
        let (answered, queue) = (SmallVec::new(), Vec::new());
        Self {
            membership,
            position,
            reached,
            closed,
            answered,
            unfinished: Vec::new(),
            queue,
            bytes: 0,
            held,
            limit,
            failed: false,
            has_gap: false,
            last_answer: None,
        }
    }

    /// The rooms that count.
    pub(crate) const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Up to where the client has what this origin sent.
    pub(crate) fn has(&self, origin: Origin) -> u64 {
        self.position.get(origin).unwrap_or(0)
    }

    /// How many bytes it may have missed, of each node.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// A part of an answer. One node may answer for several origins, and several nodes for one.
    pub(crate) fn replay(&mut self, packets: impl IntoIterator<Item = KeptPacket>) {
        packets.into_iter().for_each(|packet| self.push(packet));
    }

    /// The answer of a node is complete: of each of these origins up to that number. `own` is the origin of the node itself.
    pub(crate) fn answered(&mut self, own: Origin, reached: impl IntoIterator<Item = (Origin, u64)>) {
        for (origin, number) in reached {
            if number > 0 {
                self.reached.advance(Number { origin, number });
                self.queue.push(Step::Reached(Number { origin, number }));
            }
            match self.answered.iter_mut().find(|(known, _)| *known == origin) {
                Some((_, last)) => *last = number.max(*last),
                None => self.answered.push((origin, number)),
            }
        }
        self.closed.retain(|closed| *closed != own);
    }

    /// Who answered cannot say everything of these origins. Each of them may itself, or another that answers for it.
    pub(crate) fn lack(&mut self, origins: Vec<Origin>) {
        self.unfinished.extend(origins);
    }

    /// Whether nobody could say everything of an origin.
    pub(crate) fn is_lacking(&self) -> bool {
        let is_answered = |origin: &Origin| self.answered.iter().any(|(known, _)| known == origin);
        !self.unfinished.iter().all(is_answered)
    }

    /// Another node answered, and would have then, had it not waited for the link.
    pub(crate) fn note_answer(&mut self, at: Instant) {
        self.last_answer = self.last_answer.max(Some(at));
    }

    /// When another node answered last, as if it had not waited for its link; `None` if none did.
    pub(crate) const fn last_answer(&self) -> Option<Instant> {
        self.last_answer
    }

    /// A packet is handed out on this node.
    pub(crate) fn live(&mut self, packet: &KeptPacket, now: Instant) {
        let Some(Number { origin, .. }) = packet.number else { return };
        let is_open = !self.closed.contains(&origin) && self.has_heard(origin);
        if is_open && self.membership.is_selected(packet, now) {
            self.push(Arc::clone(packet));
        }
    }

    /// A node will not answer any more: it is dead, and what only it knew is lost.
    pub(crate) fn gone(&mut self, origin: Origin) {
        self.closed.retain(|closed| *closed != origin);
    }

    /// Something of this origin will never arrive. If it was asked, its answer or what followed may have a hole: it has to be asked
    /// again.
    pub(crate) fn lose(&mut self, from: Origin) {
        self.has_gap |= self.closed.contains(&from) || self.has_heard(from);
    }

    /// There is something that the client cannot get: it is not recovered.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
        self.queue = Vec::new();
        self.held.set(0);
    }

    /// Whether nobody has to answer any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.closed.is_empty()
    }

    /// Whether what has come is all that the client missed: nothing is lost of it, and of these members, which are all that there are,
    /// none came after it was asked for.
    pub(crate) fn is_whole(&self, members: &[Origin]) -> bool {
        !self.has_gap && members.iter().all(|member| self.has_heard(*member))
    }

    /// Whether this origin has answered, or another node for it.
    pub(crate) fn has_heard(&self, origin: Origin) -> bool {
        self.answered.iter().any(|(heard, _)| *heard == origin)
    }

    /// Whether something may be lost of it.
    pub(crate) const fn has_gap(&self) -> bool {
        self.has_gap
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The origins that have not answered.
    pub(crate) fn waits_for(&self) -> &[Origin] {
        &self.closed
    }

    /// The origins that have answered, each with the last number that it said it has sent. What the client says may be anything.
    pub(crate) fn heard(&self) -> &[(Origin, u64)] {
        &self.answered
    }

    /// What the client gets, and where it is then.
    pub(crate) fn finish(self) -> (Vec<Replayed>, Position) {
        let mut position = self.position;
        let mut replayed = Vec::new();
        for step in self.queue {
            match step {
                Step::Packet(packet) => {
                    packet.number.into_iter().for_each(|number| position.advance(number));
                    replayed.push((packet, position.clone()));
                }
                Step::Reached(number) => position.advance(number),
            }
        }
        (replayed, position)
    }

    /// One that is there already came from another node as well.
    fn push(&mut self, packet: KeptPacket) {
        let Some(number) = packet.number else { return };
        if self.failed || number.number <= self.reached.get(number.origin).unwrap_or(0) {
            return;
        }
        self.reached.advance(number);
        let cost = cost(&packet);
        self.bytes += cost;
        let is_held_elsewhere = Arc::strong_count(&packet) > 1;
        self.held.set(self.held.bytes() + if is_held_elsewhere { size_of::<Step>() } else { cost });
        if self.bytes > self.limit || self.held.is_exceeded() {
            return self.fail();
        }
        self.queue.push(Step::Packet(packet));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::log::tests::{member, numbers, packet};
    use super::*;
    use crate::engine::Budget;
    use proptest::prelude::*;

    /// There is room for everything.
    pub(crate) fn waiting() -> Charge {
        Budget::new(usize::MAX).charge()
    }

    fn origin(number: u64) -> Origin {
        Origin::from_u64(number)
    }

    fn recovering(position: &[(u64, u64)], asked: &[u64]) -> Recovering {
        let position = position.iter().map(|(from, number)| (origin(*from), *number)).collect();
        let asked = asked.iter().map(|from| origin(*from));
        Recovering::new(member(&["a"], Instant::now()), position, asked, 1 << 20, waiting())
    }

    fn finished(recovering: Recovering) -> (Vec<u64>, Vec<(Origin, u64)>) {
        let (replayed, position) = recovering.finish();
        let packets: Vec<_> = replayed.into_iter().map(|(packet, _)| packet).collect();
        (numbers(&packets), position.to_vec())
    }

    #[test]
    fn what_comes_before_the_answer_is_in_the_answer_and_what_comes_behind_it_waits() {
        let (mut back, now) = (recovering(&[(1, 5)], &[1, 2]), Instant::now());
        back.live(&packet(1, 6, "a"), now);
        back.replay([packet(1, 6, "a"), packet(1, 7, "a")]);
        back.live(&packet(1, 7, "a"), now);
        assert!(!back.is_complete());
        back.answered(origin(1), [(origin(1), 7)]);
        back.live(&packet(1, 8, "a"), now);
        back.live(&packet(1, 9, "b"), now);
        assert_eq!(back.waits_for(), [origin(2)]);
        back.answered(origin(2), [(origin(2), 4)]);
        assert!(back.is_complete() && !back.has_failed());
        assert_eq!(finished(back), (vec![6, 7, 8], vec![(origin(1), 8), (origin(2), 4)]));
    }

    #[test]
    fn a_log_of_which_two_nodes_answer_is_replayed_once() {
        let mut back = recovering(&[], &[1, 2]);
        back.replay([packet(1, 1, "a"), packet(1, 2, "a")]);
        back.answered(origin(2), [(origin(2), 0), (origin(1), 2)]);
        // It still lives, and has not answered itself.
        back.live(&packet(1, 4, "a"), Instant::now());
        back.replay((1..=4).map(|number| packet(1, number, "a")));
        back.answered(origin(1), [(origin(1), 4)]);
        assert_eq!(finished(back), (vec![1, 2, 3, 4], vec![(origin(1), 4)]));
    }

    #[test]
    fn each_packet_carries_what_the_client_has_with_it() {
        let mut back = recovering(&[(1, 5), (2, 9)], &[1, 2]);
        back.replay([packet(2, 11, "a")]);
        back.answered(origin(2), [(origin(2), 12)]);
        back.replay([packet(1, 6, "a")]);
        back.answered(origin(1), [(origin(1), 6)]);
        let (replayed, _) = back.finish();
        let positions: Vec<_> = replayed.iter().map(|(_, position)| position.to_vec()).collect();
        assert_eq!(positions[0], [(origin(1), 5), (origin(2), 11)], "not yet what node 1 has sent");
        assert_eq!(positions[1], [(origin(1), 6), (origin(2), 12)]);
    }

    #[test]
    fn a_client_that_missed_too_much_is_not_recovered() {
        let (membership, position) = (member(&["a"], Instant::now()), Position::default());
        let mut back =
            Recovering::new(membership, position, [origin(1)], 2 * cost(&packet(1, 1, "a")), waiting());
        back.replay([packet(1, 1, "a"), packet(1, 2, "a")]);
        assert!(!back.has_failed());
        back.replay([packet(1, 3, "a")]);
        assert!(back.has_failed());
    }

    #[test]
    fn what_waits_for_all_clients_together_is_bounded_and_what_a_log_keeps_anyway_hardly_counts() {
        let (all, now) = (Budget::new(3 * cost(&packet(1, 1, "a"))), Instant::now());
        let back = || {
            let (membership, held) = (member(&["a"], now), Arc::clone(&all).charge());
            Recovering::new(membership, Position::default(), [origin(1)], usize::MAX, held)
        };
        let (mut one, mut other) = (back(), back());
        let kept: Vec<_> = (1..=9).map(|number| packet(2, number, "a")).collect();
        one.replay(kept.iter().cloned());
        assert!(!one.has_failed() && all.used() < cost(&kept[0]));
        one.replay([packet(1, 1, "a"), packet(1, 2, "a")]);
        other.replay([packet(1, 1, "a")]);
        assert!(!one.has_failed() && other.has_failed());
        drop(one);
        assert_eq!(all.used(), 0, "one that has failed holds nothing");
    }

    #[test]
    fn what_comes_of_a_node_that_was_not_asked_is_not_for_a_client_that_has_less_of_it() {
        let (mut back, now) = (recovering(&[(1, 3), (2, 3)], &[1]), Instant::now());
        back.live(&packet(2, 9, "a"), now);
        back.answered(origin(1), [(origin(1), 3)]);
        back.live(&packet(1, 4, "a"), now);
        back.live(&packet(2, 10, "a"), now);
        let (replayed, position) = back.finish();
        assert_eq!(replayed.len(), 1);
        assert_eq!(position.to_vec(), [(origin(1), 4), (origin(2), 3)]);
    }

    proptest! {
        /// Two origins send while their answers are on their way, in any order of arrivals that links permit.
        #[test]
        fn of_each_origin_everything_behind_the_position_is_there_once_in_order(
            at in [0..9_u64, 0..9], answers in [9..15_u64, 9..15], last in [15..20_u64, 15..20],
            turns in proptest::collection::vec(0..2_usize, 0..80),
        ) {
            let mut back = recovering(&[(0, at[0]), (1, at[1])], &[0, 1]);
            let now = Instant::now();
            // What was on its way to the node when the client came begins earlier.
            let mut next = [at[0].saturating_sub(3) + 1, at[1].saturating_sub(3) + 1];
            let mut answered = [false; 2];
            for from in turns.into_iter().chain(std::iter::repeat_n(0, 40)).chain(std::iter::repeat_n(1, 40)) {
                let id = from as u64;
                if next[from] > answers[from] && !answered[from] {
                    back.replay((at[from] + 1..=answers[from]).map(|number| packet(id, number, "a")));
                    back.answered(origin(id), [(origin(id), answers[from])]);
                    answered[from] = true;
                } else if next[from] <= last[from] {
                    back.live(&packet(id, next[from], "a"), now);
                    next[from] += 1;
                }
            }
            prop_assert!(back.is_complete());
            let (replayed, position) = back.finish();
            for from in 0..2_usize {
                let id = origin(from as u64);
                let of: Vec<u64> = replayed.iter().filter_map(|(packet, _)| packet.number)
                    .filter(|number| number.origin == id).map(|number| number.number).collect();
                prop_assert_eq!(of, (at[from] + 1..=last[from]).collect::<Vec<_>>());
                prop_assert_eq!(position.get(id), Some(last[from]));
            }
        }
    }
}
