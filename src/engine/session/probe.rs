//! The probe of an upgrade (engine.io protocol v4, "Upgrade").

use std::time::Duration;

use tokio::time::Instant;

use super::output::ConnId;
use crate::engine::protocol::Transport;

/// A WebSocket or WebTransport stream that may take over the session.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) conn: ConnId,
    pub(super) over: Transport,
    pub(super) until: Instant,
    pub(super) answered: bool,
    /// When the pending GET is answered, so that the client can go on.
    release: Option<Instant>,
    /// Whether the latest GET arrived after the answer.
    pub(super) late: bool,
}

impl Probe {
    pub(super) const fn new(conn: ConnId, over: Transport, until: Instant) -> Self {
        Self { conn, over, until, answered: false, release: None, late: false }
    }

    pub(super) fn answer(&mut self, poll_pending: bool, now: Instant) {
        self.answered = true;
        self.release = poll_pending.then(|| now + RELEASE_DELAY);
    }

    pub(super) fn poll_arrived(&mut self, now: Instant) {
        if self.answered {
            self.late = true;
            self.release = Some(now + RELEASE_DELAY);
        }
    }

    pub(super) fn releases(&mut self, now: Instant) -> bool {
        self.release.take_if(|at| *at <= now).is_some()
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.release.map_or(self.until, |release| release.min(self.until))
    }
}

/// The time from the answer to a probe to the release of a pending GET: Node's interval, in which a real packet may answer
/// the GET instead.
const RELEASE_DELAY: Duration = Duration::from_millis(100);
