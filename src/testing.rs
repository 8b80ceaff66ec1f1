//! Tests of applications on a whole cluster: nodes, clients, partitions and virtual time in one process.

mod client;
mod cluster;
mod door;
mod entrance;
mod frames;
mod network;
mod packet;
mod random;
mod session;
#[cfg(test)]
mod tests;
mod transport;

pub use client::{Call, CallError, Client};
pub use cluster::{TestCluster, TestNode};
pub use entrance::Entrance;
