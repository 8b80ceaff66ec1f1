//! socketmesh: an embeddable, actor-based, clustered Socket.IO node.

#[cfg(feature = "server")]
pub mod balancer;
pub mod cluster;
pub mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod id;
mod node;
pub mod socket;

pub use node::{Node, NodeBuilder, StartError};
pub use socket::{
    AckError, Args, DisconnectReason, EventError, Handshake, Namespace, NamespaceRef, RawArg, RawArgs,
    Refusal, Result, Socket, Target, namespace,
};
