//! What happened to the connections of a node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::{Refusal, Refusals};
use crate::counter::{Count, Counter};
use crate::log_limit::LogLimits;

/// Counted where it happens, read by [`Node::counters`](crate::Node::counters).
#[derive(Debug, Default)]
pub(crate) struct HttpCounters {
    /// Connections closed before their first request, because their places were needed.
    pub(crate) given_up: Arc<Counter>,
    /// Connections refused because their address has as many as it may.
    pub(crate) refused: Counter,
    /// WebTransport sessions refused because there are too many.
    pub(crate) webtransport_refused: Counter,
    /// WebTransport clients that had to prove their address first, because many were opening sessions.
    pub(crate) webtransport_retries: Counter,
    /// Requests that were to open a session, refused.
    handshakes: Refusals,
    /// Requests of sessions, refused.
    requests: Refusals,
    pub(crate) forwarded: Forwarded,
    /// Sessions that other nodes opened for clients of this one, which took none itself.
    pub(crate) opened_elsewhere: Counter,
    log: LogLimits,
}

/// How the requests ended that were carried to other nodes.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// Its owner answered.
    pub(crate) answered: Counter,
    /// The owner went, and the session with it.
    pub(crate) gone: Counter,
    /// There was no way to the owner.
    pub(crate) unreachable: Counter,
    /// The client went away first.
    pub(crate) aborted: Counter,
}

impl HttpCounters {
    /// A request is refused; `opens`: it was to open a session. That is also logged, seldom.
    pub(crate) fn refuse(&self, reason: Refusal, opens: bool, address: Option<SocketAddr>) {
        if !opens {
            self.requests.count(reason);
            return;
        }
        let refused = self.handshakes.count(reason);
        let (why, address) = (reason.as_str(), address.map(|address| address.ip().to_string()));
        let address = address.unwrap_or_default();
        let target = if reason.is_of_an_address() { &*address } else { "" };
        if self.log.allows(why, target, REFUSED_LOG_PAUSE, Instant::now()) {
            tracing::warn!(why, address, refused, "handshakes are refused");
        }
    }

    /// Refused requests that were to open a session, by reason.
    pub(crate) fn refused_handshakes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.handshakes.of_handshakes()
    }

    /// Refused requests of sessions, by reason.
    pub(crate) fn refused_requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.requests.of_sessions()
    }

    /// All of them.
    pub(crate) fn counts(&self) -> [Count; 5] {
        [
            self.given_up.as_count(
                "socketmesh_http_connections_given_up_total",
                "Connections closed before their first request, because their places were needed",
            ),
            self.refused.as_count(
                "socketmesh_http_connections_refused_total",
                "Connections closed because their address has as many as it may",
            ),
            self.webtransport_refused.as_count(
                "socketmesh_http_webtransport_sessions_refused_total",
                "WebTransport sessions refused because there are too many",
            ),
            self.webtransport_retries.as_count(
                "socketmesh_http_webtransport_retries_total",
                "WebTransport clients that had to prove their address first",
            ),
            self.opened_elsewhere.as_count(
                "socketmesh_http_sessions_opened_elsewhere_total",
                "Sessions that other nodes opened for clients of this one, which took none itself",
            ),
        ]
    }
}

impl Forwarded {
    /// Each count with the name of its result: the values of a label.
    pub(crate) fn named(&self) -> [(&'static str, u64); 4] {
        let Self { answered, gone, unreachable, aborted } = self;
        [
            ("answered", answered.get()),
            ("gone", gone.get()),
            ("unreachable", unreachable.get()),
            ("aborted", aborted.get()),
        ]
    }
}

/// From the first line about refused handshakes of a kind to the second.
const REFUSED_LOG_PAUSE: Duration = Duration::from_secs(10);
