//! Many nodes as one: who is alive, who owns which session, how bytes travel between them.

mod identity;
mod interest;
mod liveness;
mod ring;
mod sequence;
mod wire;

pub use identity::{Certificates, IdentityError, InvalidSecret, Secret};
