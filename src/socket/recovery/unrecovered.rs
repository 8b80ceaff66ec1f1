//! Why a client that wants its socket back gets another: as a label of metrics, and in the log.

/// Why a session is not recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unrecovered {
    /// A member is of a version that keeps nothing.
    Version,
    /// Its client has not got any event yet.
    NoEvent,
    /// What its client says is no position.
    NoPosition,
    /// Nobody knows it, it is over, or another connection gets it.
    Unknown,
    /// No node decided in time.
    Undecided,
    /// A node that lives did not say in time what was missed.
    Unanswered,
    /// More was missed than is kept, or may be.
    TooMuch,
    /// Too many come back at once.
    Busy,
    /// Its login ended, or its user is blocked.
    Login,
    /// The application does not take its data.
    Data,
}

impl Unrecovered {
    /// In the order of their counters.
    pub(crate) const ALL: [Self; 10] = [
        Self::Version,
        Self::NoEvent,
        Self::NoPosition,
        Self::Unknown,
        Self::Undecided,
        Self::Unanswered,
        Self::TooMuch,
        Self::Busy,
        Self::Login,
        Self::Data,
    ];

    /// The value of a label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::NoEvent => "no_event",
            Self::NoPosition => "no_position",
            Self::Unknown => "unknown",
            Self::Undecided => "undecided",
            Self::Unanswered => "unanswered",
            Self::TooMuch => "too_much",
            Self::Busy => "busy",
            Self::Login => "login",
            Self::Data => "data",
        }
    }
}
