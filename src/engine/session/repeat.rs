//! GETs that are sent again. A load balancer or an edge repeats a GET whose way was lost (nginx: `proxy_next_upstream`), and the
//! client does not know of it.
//!
//! The repetition is the same request to the byte, with the stamp that its client gave it. So it takes the place of the GET
//! that it repeats, if that still waits, and gets the answer of that GET, if the answer may have been lost.

use super::output::ConnId;
use crate::engine::query::Stamp;

/// A GET, as far as a session tells one from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Get {
    pub(crate) conn: ConnId,
    pub(crate) stamp: Option<Stamp>,
    /// Whether another node carries it, so that its answer can be lost without a word of the client.
    pub(crate) carried: bool,
}

/// What a session remembers to recognise repetitions.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// The last GET that was answered with packets.
    answered: Option<Answered>,
    /// The client gives its GETs stamps that are not their own, so they tell nothing.
    same_stamps: bool,
}

#[derive(Debug)]
struct Answered {
    stamp: Option<Stamp>,
    carried: bool,
    /// It is known that the answer did not leave this node.
    lost: bool,
    repeated: bool,
}

impl Repeats {
    /// Whether `get` is the waiting GET, sent again.
    pub(super) fn is_again(&self, waiting: &Get, get: &Get) -> bool {
        !self.same_stamps && get.stamp.is_some() && get.stamp == waiting.stamp
    }

    /// `get` is answered with packets.
    pub(super) const fn answered(&mut self, get: &Get) {
        let Get { stamp, carried, .. } = *get;
        self.answered = Some(Answered { stamp, carried, lost: false, repeated: false });
    }

    /// The answer to the answered GET was lost, as this node knows for certain.
    pub(super) const fn lost(&mut self) {
        if let Some(answered) = &mut self.answered {
            answered.lost = true;
        }
    }

    /// `get` arrived. Whether it gets the kept answer: it is the answered GET, sent again, or nobody got that answer. Any other
    /// GET says that its client has the answer.
    pub(super) fn arrived(&mut self, get: &Get) -> bool {
        let Some(answered) = self.answered.take() else { return false };
        if !answered.lost {
            if get.stamp.is_none() || get.stamp != answered.stamp || self.same_stamps {
                return false;
            }
            // An answer that was not carried was not lost, and no GET is lost time and again.
            if !answered.carried || answered.repeated {
                self.same_stamps = true;
                return false;
            }
        }
        self.answered = Some(Answered { stamp: get.stamp, carried: true, lost: false, repeated: true });
        true
    }

    /// Whether the last answer with packets may be asked for again.
    pub(super) fn keeps_answer(&self) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.carried)
    }

    pub(super) fn forget(&mut self) {
        self.answered = None;
    }
}
