//! The line between a session's actor and the I/O task of one of its WebSockets.

use std::sync::Arc;
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// What the I/O task of a WebSocket should be doing, and the means to wake it.
///
/// Stages only ever advance, so the task needs the newest one and no queue.
#[derive(Debug)]
pub(crate) struct Line(Mutex<State>);

#[derive(Debug)]
struct State {
    stage: Stage,
    /// The actor has not yet handled what the task read last: the task reads no further.
    paused: bool,
    waker: Option<Waker>,
}

/// How far a WebSocket has come in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// A probing WebSocket that has not asked yet: nothing may be written to it.
    Waiting,
    /// Its `2probe` is to be answered, and nothing else written.
    Probed,
    /// The outbox flows here.
    Live,
    /// What is queued goes out, then the WebSocket closes.
    Flushing,
    /// Close at once.
    Closed,
}

impl Line {
    pub(crate) const fn new(stage: Stage) -> Self {
        Self(Mutex::new(State { stage, paused: false, waker: None }))
    }

    /// Moves on to `stage`; a line never goes back.
    pub(crate) fn advance(&self, stage: Stage) {
        let mut state = self.0.lock();
        if stage > state.stage {
            state.stage = stage;
            state.wake();
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.0.lock().stage
    }

    /// Wakes the I/O task: the outbox has something for it.
    pub(crate) fn wake(&self) {
        self.0.lock().wake();
    }

    /// The I/O task hands what it read to the actor and waits for [`Line::resume`].
    pub(crate) fn pause(&self) {
        self.0.lock().paused = true;
    }

    /// What was read last has been handled: read on.
    pub(crate) fn resume(&self) {
        let mut state = self.0.lock();
        state.paused = false;
        state.wake();
    }

    /// The stage and whether reading is paused; wakes `cx` when either changes or the outbox fills.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> (Stage, bool) {
        let mut state = self.0.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        (state.stage, state.paused)
    }
}

/// Directs the I/O task of a WebSocket; the WebSocket closes when this is dropped, however the session ends.
#[derive(Debug)]
pub(crate) struct Director(pub(crate) Arc<Line>);

impl Drop for Director {
    fn drop(&mut self) {
        self.0.advance(Stage::Closed);
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
