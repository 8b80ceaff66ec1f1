//! Frames of a WebSocket to a session and back.

pub(crate) mod codec;
