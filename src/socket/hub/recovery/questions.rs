//! What other nodes ask for clients that are back there, until it is answered.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::id::NodeId;
use crate::socket::messages::Recover;

/// What other nodes asked and this one has not answered yet, by who asked: one task answers each of them, in the order of the questions.
#[derive(Debug, Default)]
pub(crate) struct Questions(Mutex<HashMap<NodeId, VecDeque<Question>>>);

/// A question, and when it came.
type Question = (Recover, Instant);

/// What is to be done with a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A task has to begin.
    First,
    Waits,
    /// It is one too many.
    TooMany,
}

impl Questions {
    /// A node asks.
    pub(super) fn push(&self, from: &NodeId, question: Question) -> Asked {
        match self.0.lock().entry(from.clone()) {
            Entry::Vacant(free) => {
                free.insert([question].into());
                Asked::First
            }
            Entry::Occupied(waiting) if waiting.get().len() >= QUESTIONS => Asked::TooMany,
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(question);
                Asked::Waits
            }
        }
    }

    /// The next question of that node. Without any its task has to end.
    pub(super) fn next(&self, from: &NodeId) -> Option<Question> {
        let mut all = self.0.lock();
        let next = all.get_mut(from)?.pop_front();
        if next.is_none() {
            all.remove(from);
        }
        next
    }
}

/// So many questions of one node wait at most.
const QUESTIONS: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::{Key, SocketId};

    fn question(id: u64) -> Question {
        let recover = Recover {
            id,
            namespace: "/".into(),
            socket: SocketId::new(Key::from_hash(1), [1; 10]),
            age: Duration::ZERO,
            rooms: Vec::new(),
            left: Vec::new(),
            after: Vec::new(),
            limit: 0,
            interest: 0,
        };
        (recover, Instant::now())
    }

    #[test]
    fn one_task_answers_the_questions_of_a_node_in_their_order_and_they_are_bounded() {
        let questions = Questions::default();
        let [one, other] = ["one", "other"].map(|name| name.parse::<NodeId>().unwrap());
        let next = || questions.next(&one).map(|(recover, _)| recover.id);
        assert_eq!(questions.push(&one, question(0)), Asked::First);
        assert_eq!(next(), Some(0));
        for id in 1..=QUESTIONS as u64 {
            assert_eq!(questions.push(&one, question(id)), Asked::Waits);
        }
        assert_eq!(questions.push(&one, question(0)), Asked::TooMany);
        assert_eq!(questions.push(&other, question(0)), Asked::First);
        assert!((1..=QUESTIONS as u64).all(|id| next() == Some(id)));
        assert_eq!(next(), None);
        assert_eq!(questions.push(&one, question(7)), Asked::First, "the task has ended");
    }
}
