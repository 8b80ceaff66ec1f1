//! The rules of Engine.IO, protocol 4, as a client sees them: the official specification, what the Node implementation
//! does where the specification is silent, and our deliberate deviations (each says so).
//!
//! Every rule is judged on one node and on three nodes behind a stateless round-robin load balancer.

mod close;
mod common;
mod cors;
mod handshake;
mod heartbeat;
mod limits;
mod polling;
mod refusals;
mod under_socket_io;
mod upgrade;
mod websocket;
