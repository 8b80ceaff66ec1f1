//! How a session ended, with what is known beyond the reason (engine.io: the second argument of `close`).

use std::sync::atomic::{AtomicU8, Ordering};

use super::error::CloseReason;
use super::protocol::Transport;

/// How a connection ended. Node: the arguments of the event `close` of `socket.conn`.
///
/// See [`Conn::closed`](crate::socket::Conn::closed) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Why.
    pub reason: CloseReason,
    /// What went wrong with the transport, in Node's words where it has some: `overlap from client`.
    pub description: Option<&'static str>,
}

/// What went wrong with a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransportFault {
    PollOverlap,
    PostOverlap,
    PollAborted,
    PostAborted,
    InvalidContent,
    HeartbeatDirection,
    WebSocket,
    WebTransport,
    /// Node has no limit, and no word for it.
    SlowClient,
}

impl TransportFault {
    const ALL: [Self; 9] = [
        Self::PollOverlap,
        Self::PostOverlap,
        Self::PollAborted,
        Self::PostAborted,
        Self::InvalidContent,
        Self::HeartbeatDirection,
        Self::WebSocket,
        Self::WebTransport,
        Self::SlowClient,
    ];

    /// The fault of a stream that was lost, or whose client broke its protocol.
    pub(crate) const fn of_stream(transport: Transport) -> Self {
        match transport {
            Transport::WebTransport => Self::WebTransport,
            Transport::WebSocket | Transport::Polling => Self::WebSocket,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::PollOverlap => "overlap from client",
            Self::PostOverlap => "data request overlap from client",
            Self::PollAborted => "poll connection closed prematurely",
            Self::PostAborted => "data request connection closed prematurely",
            Self::InvalidContent => "invalid content",
            Self::HeartbeatDirection => "invalid heartbeat direction",
            Self::WebSocket => "websocket error",
            Self::WebTransport => "webtransport error",
            Self::SlowClient => "packets are not taken",
        }
    }
}

/// The end of a session, once it has come: one byte, because every session has it.
#[derive(Debug, Default)]
pub(crate) struct ClosedCell(AtomicU8);

impl ClosedCell {
    /// Keeps how the session ended. Only a transport that failed has a fault.
    pub(crate) fn set(&self, reason: CloseReason, fault: Option<TransportFault>) {
        let position = match (reason, fault) {
            (CloseReason::TransportError, Some(fault)) => REASONS.len() + fault as usize,
            (reason, _) => REASONS.iter().position(|known| *known == reason).unwrap_or_default(),
        };
        self.0.store(u8::try_from(position + 1).unwrap_or(u8::MAX), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<Closed> {
        let position = usize::from(self.0.load(Ordering::Acquire)).checked_sub(1)?;
        if let Some(reason) = REASONS.get(position) {
            return Some(Closed { reason: *reason, description: None });
        }
        let fault = TransportFault::ALL.get(position.checked_sub(REASONS.len())?)?;
        Some(Closed { reason: CloseReason::TransportError, description: Some(fault.as_str()) })
    }
}

const REASONS: [CloseReason; 6] = [
    CloseReason::TransportError,
    CloseReason::TransportClose,
    CloseReason::ForcedClose,
    CloseReason::PingTimeout,
    CloseReason::ParseError,
    CloseReason::ServerShuttingDown,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_session_is_what_was_said_of_it() {
        let cell = ClosedCell::default();
        assert_eq!(cell.get(), None);
        for reason in REASONS {
            cell.set(reason, None);
            assert_eq!(cell.get(), Some(Closed { reason, description: None }));
        }
        for fault in TransportFault::ALL {
            cell.set(CloseReason::TransportError, Some(fault));
            let description = Some(fault.as_str());
            assert_eq!(cell.get(), Some(Closed { reason: CloseReason::TransportError, description }));
        }
        cell.set(CloseReason::PingTimeout, Some(TransportFault::WebSocket));
        assert_eq!(cell.get().and_then(|closed| closed.description), None);
    }
}
