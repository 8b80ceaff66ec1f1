//! socketmesh: an embeddable, actor-based, clustered Socket.IO node.

pub mod engine;
pub mod id;
