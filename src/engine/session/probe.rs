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
    /// How long the next GET that arrives waits for that.
    patience: Duration,
}

impl Probe {
    pub(super) const fn new(conn: ConnId, over: Transport, until: Instant) -> Self {
        Self { conn, over, until, answered: false, release: None, patience: SHORTEST }
    }

    /// A GET arrived. The client may not have read the answer to its probe yet, and then waits for this GET, too.
    pub(super) fn poll_arrived(&mut self, now: Instant) {
        if self.answered {
            self.release = Some(now + self.patience);
            self.patience = (self.patience * 2).min(LONGEST);
        }
    }

    pub(super) fn releases(&mut self, now: Instant) -> bool {
        self.release.take_if(|at| *at <= now).is_some()
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.release.map_or(self.until, |release| release.min(self.until))
    }
}

/// How long the first GET after the answer to a probe waits for its release, and how long any may: that is Node's interval. A
/// client that never gets the answer polls no more often than that.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(100);
