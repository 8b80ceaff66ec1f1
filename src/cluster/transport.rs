//! Bytes from node to node: a network, one QUIC endpoint on it, a connection per node, and the streams of a connection.

pub(crate) mod bi_stream;
mod congestion;
pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod network;
pub(crate) mod probe;
pub(crate) mod stream_limits;
