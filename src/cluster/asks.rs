//! Who still owes an answer to which ask (docs/protocol/mesh.md, "Asks").

use std::collections::{BTreeMap, HashMap};

use crate::id::{Incarnation, NodeId};
use crate::socket::exchange::{Answer, Answers, End};

/// The asks of this node that somebody waits for, each with whoever is to be woken.
///
/// It knows no time: whoever waits owns the deadline and [`close`](Self::close)s.
#[derive(Debug)]
pub(crate) struct Asks<W> {
    pending: HashMap<u64, Pending<W>>,
    next: u64,
}

#[derive(Debug)]
struct Pending<W> {
    owed: BTreeMap<NodeId, Incarnation>,
    answers: Answers,
    waiter: W,
}

impl<W> Asks<W> {
    /// Starts without asks.
    pub(crate) fn new() -> Self {
        Self { pending: HashMap::new(), next: 1 }
    }

    /// Waits for the answers of these lives of nodes. Returns the id of the ask.
    pub(crate) fn open(&mut self, asked: impl IntoIterator<Item = (NodeId, Incarnation)>, waiter: W) -> u64 {
        let id = self.next;
        self.next += 1;
        let owed = asked.into_iter().collect();
        self.pending.insert(id, Pending { owed, answers: Answers::default(), waiter });
        id
    }

    /// Takes a part of an answer; returns whom to wake when it was the last one of all. Answers of nodes that were not
    /// asked or have ended theirs, and to asks that nobody waits for, are ignored.
    pub(crate) fn handle_answer(
        &mut self,
        id: u64,
        from: &NodeId,
        incarnation: Incarnation,
        answer: Answer,
    ) -> Option<&W> {
        let pending = self.pending.get_mut(&id)?;
        if pending.owed.get(from) != Some(&incarnation) {
            return None;
        }
        pending.answers.parts.extend(answer.part.map(|part| (from.clone(), part)));
        if answer.end == End::Failed {
            pending.answers.lost.push(from.clone());
        }
        if answer.end != End::More {
            pending.owed.remove(from);
        }
        pending.owed.is_empty().then_some(&pending.waiter)
    }

    /// The members have changed: nobody waits for one that is gone, or has begun another life. Returns whether all
    /// who are left have answered this ask.
    pub(crate) fn handle_members(
        &mut self,
        id: u64,
        is_member: impl Fn(&NodeId, Incarnation) -> bool,
    ) -> bool {
        let Some(pending) = self.pending.get_mut(&id) else { return true };
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut pending.owed)
            .into_iter()
            .partition(|(node, incarnation)| is_member(node, *incarnation));
        pending.owed = stay;
        pending.answers.lost.extend(gone.into_keys());
        pending.owed.is_empty()
    }

    /// Stops waiting: who still owes an answer is late.
    pub(crate) fn close(&mut self, id: u64) -> Answers {
        let Some(pending) = self.pending.remove(&id) else { return Answers::default() };
        Answers { late: pending.owed.into_keys().collect(), ..pending.answers }
    }

    /// How many asks are pending.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::exchange::Part;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    const LIFE: Incarnation = Incarnation(1);

    fn ask(asked: &[&str]) -> (Asks<&'static str>, u64) {
        let mut asks = Asks::new();
        let id = asks.open(asked.iter().map(|name| (node(name), LIFE)), "waiter");
        (asks, id)
    }

    fn expected(count: u64) -> Part {
        Part::Expected(count)
    }

    #[test]
    fn the_last_answer_of_the_last_node_wakes_the_waiter() {
        let (mut asks, id) = ask(&["a", "b"]);
        for (from, answer, wakes) in [
            ("a", Answer::more(expected(1)), false),
            ("b", Answer::done(Some(expected(2))), false),
            ("a", Answer::more(expected(3)), false),
            ("a", Answer::done(None), true),
        ] {
            assert_eq!(asks.handle_answer(id, &node(from), LIFE, answer).is_some(), wakes, "{from}");
        }
        let answers = asks.close(id);
        let parts = [("a", 1), ("b", 2), ("a", 3)].map(|(from, count)| (node(from), expected(count)));
        assert_eq!(answers, Answers { parts: parts.into(), ..Answers::default() });
        assert_eq!(asks.len(), 0);
    }

    #[test]
    fn nobody_asked_is_nobody_missing() {
        let (mut asks, id) = ask(&[]);
        assert!(asks.handle_members(id, |_, _| true));
        assert_eq!(asks.close(id), Answers::default());
    }

    #[test]
    fn who_died_is_lost_at_once_and_who_did_not_answer_is_late() {
        let (mut asks, id) = ask(&["a", "b", "c"]);
        asks.handle_answer(id, &node("b"), LIFE, Answer::more(expected(5)));
        assert!(!asks.handle_members(id, |member, _| *member != node("b")));
        asks.handle_answer(id, &node("c"), LIFE, Answer::done(None));
        let answers = asks.close(id);
        assert_eq!((&answers.lost[..], &answers.late[..]), (&[node("b")][..], &[node("a")][..]));
        assert_eq!(answers.parts, [(node("b"), expected(5))], "what it said before it died counts");
        assert_eq!(answers.missing(), [node("a"), node("b")]);
    }

    #[test]
    fn the_death_of_the_last_who_owes_completes_the_ask() {
        let (mut asks, id) = ask(&["a", "b"]);
        asks.handle_answer(id, &node("a"), LIFE, Answer::done(None));
        assert!(asks.handle_members(id, |member, _| *member != node("b")));
    }

    #[test]
    fn another_life_of_a_node_was_not_asked() {
        let (mut asks, id) = ask(&["a"]);
        assert!(asks.handle_answer(id, &node("a"), Incarnation(2), Answer::done(None)).is_none());
        assert!(asks.handle_members(id, |_, incarnation| incarnation == Incarnation(2)));
        assert_eq!(asks.close(id).lost, [node("a")]);
    }

    #[test]
    fn a_node_that_cannot_answer_is_lost_and_not_waited_for() {
        let (mut asks, id) = ask(&["a"]);
        assert_eq!(asks.handle_answer(id, &node("a"), LIFE, Answer::failed()), Some(&"waiter"));
        assert!(asks.handle_answer(id, &node("a"), LIFE, Answer::more(expected(1))).is_none());
        assert_eq!(asks.close(id), Answers { lost: vec![node("a")], ..Answers::default() });
    }

    #[test]
    fn answers_nobody_waits_for_are_ignored() {
        let (mut asks, id) = ask(&["a"]);
        for (id, from) in [(id + 1, "a"), (0, "a"), (id, "x")] {
            assert!(asks.handle_answer(id, &node(from), LIFE, Answer::done(Some(expected(1)))).is_none());
        }
        asks.close(id);
        assert!(asks.handle_answer(id, &node("a"), LIFE, Answer::done(None)).is_none());
        assert_eq!((asks.close(id), asks.len()), (Answers::default(), 0));
    }

    proptest! {
        /// Whatever happens in whichever order: each node that was asked ends as answered, lost or late, once.
        #[test]
        fn everyone_asked_is_accounted_for_once(steps in proptest::collection::vec((0..5_usize, 0..4_u8), 0..40)) {
            let names = ["a", "b", "c", "d", "stranger"];
            let (mut asks, id) = ask(&names[..4]);
            let mut done = BTreeSet::new();
            let mut lost = BTreeSet::new();
            for (who, what) in steps {
                let from = node(names[who]);
                let over = who == 4 || done.contains(&from) || lost.contains(&from);
                match what {
                    0 => { asks.handle_answer(id, &from, LIFE, Answer::more(expected(1))); }
                    1 => {
                        asks.handle_answer(id, &from, LIFE, Answer::done(None));
                        if !over { done.insert(from); }
                    }
                    2 => {
                        asks.handle_answer(id, &from, LIFE, Answer::failed());
                        if !over { lost.insert(from); }
                    }
                    _ => {
                        let complete = asks.handle_members(id, |member, _| *member != from);
                        if !over { lost.insert(from); }
                        prop_assert_eq!(complete, done.len() + lost.len() == 4);
                    }
                }
            }
            let answers = asks.close(id);
            prop_assert_eq!(answers.lost.len(), lost.len());
            prop_assert_eq!(answers.lost.into_iter().collect::<BTreeSet<_>>(), lost.clone());
            prop_assert_eq!(answers.late.len(), 4 - done.len() - lost.len());
            prop_assert!(answers.late.iter().all(|node| !done.contains(node) && !lost.contains(node)));
        }
    }
}
