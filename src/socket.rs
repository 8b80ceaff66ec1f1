//! Socket.IO v5: namespaces, rooms, events, acks.

pub(crate) mod broadcast;
pub(crate) mod peers;
