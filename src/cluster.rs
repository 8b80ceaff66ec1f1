//! Many nodes as one: who is alive, who owns which session, how bytes travel between them.

mod interest;
mod liveness;
mod ring;
mod sequence;
mod wire;
