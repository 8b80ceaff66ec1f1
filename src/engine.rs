//! Engine.IO: one client session over changing transports.

pub(crate) mod websocket;
