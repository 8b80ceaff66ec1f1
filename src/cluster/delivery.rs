//! What has to reach each other node, in order and at most once: broadcasts, commands, requests and answers, and the rooms
//! that this node is interested in. It has no task; the tasks of a link take from it and give to it.

pub(crate) mod batch;
mod inbound;
pub(crate) mod interest;
mod outbound;
pub(crate) mod past_lives;
pub(crate) mod peer;
pub(crate) mod peer_counters;
pub(crate) mod pending_requests;
pub(crate) mod replay_log;
mod replicated_set;
