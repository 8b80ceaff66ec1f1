//! Many nodes as one: who is alive, who owns which session, how bytes travel between them.

mod endpoint;
mod hello;
mod identity;
mod interest;
mod liveness;
mod peer;
mod ring;
mod sequence;
mod stream;
mod view;
mod wire;

pub use identity::{Certificates, IdentityError, InvalidSecret, Secret};
pub use ring::Ring;
pub use view::{LinkState, MemberView, NodeState, View};
