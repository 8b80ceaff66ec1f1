//! What all threads of a run know.

use std::sync::Arc;

use crate::clock::Clock;
use crate::options::{Common, Scenario};
use crate::plan::Source;
use crate::traffic::Traffic;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) scenario: Scenario,
    pub(crate) common: Arc<Common>,
    pub(crate) sources: Vec<Source>,
    pub(crate) traffic: Traffic,
    pub(crate) clock: Clock,
    /// What the names of rooms begin with, so that two runs on one server do not meet.
    pub(crate) rooms: String,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Connecting,
    Sending,
    /// Nothing is sent any more, and what is under way arrives.
    Draining,
    Ended,
}
