//! How far a WebSocket, or a WebTransport stream, has come in its session: what the actor tells the I/O task.

use std::sync::Arc;
use std::task::{Context, Waker};

use parking_lot::Mutex;

use super::handshake::Handshake;

/// How far a stream has come in its session. Stages only ever advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The stream probes for an upgrade and has sent nothing yet. Nothing may be written to it.
    Waiting,
    /// Its `2probe` is to be answered, and nothing else written.
    Probed,
    /// The outbox flows to this stream.
    Live,
    /// What is queued is written, then the stream closes.
    Flushing,
    /// The stream closes at once.
    Closed,
}

/// The stage of one stream, set by the session's actor and obeyed by the I/O task, and the means to wake that task.
///
/// The task needs the newest stage only, so there is no queue.
#[derive(Debug)]
pub(crate) struct StageCell(Mutex<StageState>);

#[derive(Debug)]
struct StageState {
    stage: Stage,
    /// What the task read last is not handled yet, or the application is busy, so the task does not read on.
    paused: bool,
    /// The task waits to be woken. While it runs, it looks itself.
    asleep: bool,
    waker: Option<Waker>,
}

impl StageCell {
    pub(crate) const fn new(stage: Stage) -> Self {
        Self(Mutex::new(StageState { stage, paused: false, asleep: false, waker: None }))
    }

    /// Moves on to `stage`. An earlier stage than the current one is ignored.
    pub(crate) fn advance(&self, stage: Stage) {
        let mut state = self.0.lock();
        if stage > state.stage {
            state.stage = stage;
            state.wake();
        }
    }

    pub(crate) fn get(&self) -> Stage {
        self.0.lock().stage
    }

    /// Wakes the I/O task if it sleeps, because the outbox has something for it.
    pub(crate) fn wake(&self) {
        self.0.lock().wake();
    }

    /// Stops the I/O task from reading until [`StageCell::resume`].
    pub(crate) fn pause(&self) {
        self.0.lock().paused = true;
    }

    /// Lets the I/O task read on: what it read last is handled.
    pub(crate) fn resume(&self) {
        let mut state = self.0.lock();
        if std::mem::take(&mut state.paused) {
            state.wake();
        }
    }

    /// From now on nobody wakes the I/O task, which looks at everything itself before it waits.
    pub(crate) fn stay_awake(&self) {
        self.0.lock().asleep = false;
    }

    /// The stage, and whether reading is paused; wakes `cx` when either changes or the outbox fills.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> (Stage, bool) {
        let mut state = self.0.lock();
        state.asleep = true;
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        (state.stage, state.paused)
    }
}

/// The actor's end of a [`StageCell`]. The stream closes when this is dropped, however the session ends.
#[derive(Debug)]
pub(crate) struct StageGuard {
    pub(crate) stage: Arc<StageCell>,
    /// The request that the stream came of, if it is kept and not the one that opened the session.
    pub(crate) request: Option<Arc<Handshake>>,
}

impl Drop for StageGuard {
    fn drop(&mut self) {
        self.stage.advance(Stage::Closed);
    }
}

impl StageState {
    fn wake(&mut self) {
        if std::mem::take(&mut self.asleep)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }
}
