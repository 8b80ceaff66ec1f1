//! Bytes from node to node: a network, one QUIC endpoint on it, a connection per node, and the streams of a connection.

pub(crate) mod bi_stream;
mod congestion;
pub(crate) mod connection;
pub(crate) mod driver;
pub(crate) mod endpoint;
mod machine_socket;
pub(crate) mod network;
pub(crate) mod refused_packets;
mod runtime;
pub(crate) mod stream_limits;
