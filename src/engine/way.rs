//! The way of a request to its session: straight from the client, or through another node.

use std::fmt;
use std::sync::Arc;

/// The way of a request through another node, which can be lost without a word of the client.
pub(crate) trait Way: fmt::Debug + Send + Sync {
    /// Whether the other node, or the link to it, was lost.
    fn is_lost(&self) -> bool;
}

/// Why a request ended that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client gave up.
    Aborted,
    /// The way was lost. What the client knows of that is not known here.
    Lost,
}

impl Ending {
    /// Why a request ended that came on this way; `None` is straight from the client.
    pub(crate) fn of(way: Option<&Arc<dyn Way>>) -> Self {
        if way.is_some_and(|way| way.is_lost()) { Self::Lost } else { Self::Aborted }
    }
}
