//! socketmesh: an embeddable, actor-based, clustered Socket.IO node.

pub mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod socket;
