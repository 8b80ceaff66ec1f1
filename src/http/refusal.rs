//! Why a request is refused: as a label of metrics, and in the log.

use crate::counter::Counter;
use crate::engine::{HandshakeError, NotAdmitted};

/// Why a request is refused. It is in the extensions of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The node takes no new clients now.
    NotReady,
    NodeFull,
    AddressFull,
    TooOften,
    OtherOrigin,
    /// A middleware of the application.
    Middleware,
    /// `allow_request` of the application.
    Forbidden,
    UnknownTransport,
    UnknownSession,
    BadMethod,
    /// The session uses another transport, or speaks another version.
    Mismatch,
    NotAnUpgrade,
    UnsupportedProtocol,
    /// The node is to blame: no session could be opened, or the application panicked.
    Failed,
}

impl Refusal {
    /// In the order of their counters.
    const ALL: [Self; 14] = [
        Self::NotReady,
        Self::NodeFull,
        Self::AddressFull,
        Self::TooOften,
        Self::OtherOrigin,
        Self::Middleware,
        Self::Forbidden,
        Self::UnknownTransport,
        Self::UnknownSession,
        Self::BadMethod,
        Self::Mismatch,
        Self::NotAnUpgrade,
        Self::UnsupportedProtocol,
        Self::Failed,
    ];

    /// The value of a label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::NodeFull => "node_full",
            Self::AddressFull => "address_full",
            Self::TooOften => "too_often",
            Self::OtherOrigin => "other_origin",
            Self::Middleware => "middleware",
            Self::Forbidden => "forbidden",
            Self::UnknownTransport => "unknown_transport",
            Self::UnknownSession => "unknown_session",
            Self::BadMethod => "bad_method",
            Self::Mismatch => "mismatch",
            Self::NotAnUpgrade => "not_an_upgrade",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::Failed => "failed",
        }
    }

    /// Whether it is about a client address rather than about what was asked.
    pub(crate) const fn is_of_an_address(self) -> bool {
        matches!(self, Self::AddressFull | Self::TooOften)
    }

    /// Whether a request that opens a session may be refused so.
    const fn is_of_handshakes(self) -> bool {
        !matches!(self, Self::UnknownSession | Self::Mismatch)
    }

    /// Whether a request of a session may be refused so.
    const fn is_of_sessions(self) -> bool {
        match self {
            Self::OtherOrigin
            | Self::Middleware
            | Self::UnknownTransport
            | Self::UnknownSession
            | Self::Mismatch
            | Self::NotAnUpgrade => true,
            Self::NotReady
            | Self::NodeFull
            | Self::AddressFull
            | Self::TooOften
            | Self::Forbidden
            | Self::BadMethod
            | Self::UnsupportedProtocol
            | Self::Failed => false,
        }
    }
}

impl From<&HandshakeError> for Refusal {
    fn from(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::UnknownTransport { .. } => Self::UnknownTransport,
            HandshakeError::UnknownSession => Self::UnknownSession,
            HandshakeError::BadMethod { .. } => Self::BadMethod,
            HandshakeError::TransportMismatch | HandshakeError::ProtocolMismatch => Self::Mismatch,
            HandshakeError::NotAnUpgrade => Self::NotAnUpgrade,
            HandshakeError::Middleware { .. } => Self::Middleware,
            HandshakeError::Forbidden { .. } => Self::Forbidden,
            HandshakeError::UnsupportedProtocol => Self::UnsupportedProtocol,
        }
    }
}

impl From<NotAdmitted> for Refusal {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::NodeIsFull => Self::NodeFull,
            NotAdmitted::AddressIsFull => Self::AddressFull,
            NotAdmitted::TooOften => Self::TooOften,
        }
    }
}

/// Refused requests, by reason.
#[derive(Debug, Default)]
pub(crate) struct Refusals([Counter; Refusal::ALL.len()]);

impl Refusals {
    /// One more. Returns how many they are.
    pub(crate) fn count(&self, reason: Refusal) -> u64 {
        let counter = self.0.get(reason as usize);
        counter.inspect(|counter| counter.increment()).map(Counter::get).unwrap_or_default()
    }

    /// Of requests that open a session: each count with the name of its reason.
    pub(crate) fn of_handshakes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.named(Refusal::is_of_handshakes)
    }

    /// Of requests of sessions.
    pub(crate) fn of_sessions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.named(Refusal::is_of_sessions)
    }

    fn named(&self, belongs: fn(Refusal) -> bool) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Refusal::ALL.into_iter().zip(&self.0);
        all.filter(move |(reason, _)| belongs(*reason)).map(|(reason, count)| (reason.as_str(), count.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let refusals = Refusals::default();
        for (times, reason) in (1..).zip(Refusal::ALL) {
            assert_eq!((0..times).map(|_| refusals.count(reason)).last(), Some(times));
        }
        let counted: Vec<_> = refusals.named(|_| true).collect();
        let expected: Vec<_> = Refusal::ALL.map(Refusal::as_str).into_iter().zip(1..).collect();
        assert_eq!(counted, expected);
    }
}
