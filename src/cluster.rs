//! Many nodes as one: who is alive, who owns which session, how bytes travel between them.
//!
//! ```text
//!   socket ──broadcast──►┐                       ┌──► link (one ordered stream per peer; application's runtime)
//!   http ──owner, open──►│ mesh ──► peer logs ───┘                 ▲ adopts, replaces
//!                        └──── view ◄──── control (one actor; the mesh's own runtime)
//!                                          ▲ hello, lost     ▲ living          ▲ verdicts
//!                                   connection          membership (gossip)   liveness
//! ```
//!
//! Without any I/O, and tested as such: `asks`, `ring`, `interest`, `sequence`, `liveness`, `wire`, `hello`.

mod asks;
mod config;
mod connection;
mod control;
mod endpoint;
mod hello;
mod identity;
mod interest;
mod link;
mod liveness;
mod membership;
mod mesh;
mod peer;
mod ring;
mod sequence;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod view;
mod wire;

pub use config::{Cluster, StartError};
pub use identity::{Certificates, IdentityError, InvalidSecret, Secret, SecretError};
pub use ring::Ring;
pub use view::{LinkState, MemberView, NodeState, View};

pub(crate) use mesh::{Mesh, OpenError, Owner};
pub(crate) use stream::BiStream;
