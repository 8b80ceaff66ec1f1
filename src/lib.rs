//! socketmesh: an embeddable, actor-based, clustered Socket.IO node.

pub mod cluster;
pub mod id;
pub mod socket;
