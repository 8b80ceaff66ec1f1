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
//! Without any I/O, and tested as such: `requests`, `ring`, `interest`, `sequence`, `liveness`, `wire`, `hello`.

mod config;
mod connection;
mod control;
mod endpoint;
mod ground;
mod hello;
mod identity;
mod interest;
mod link;
mod liveness;
mod membership;
mod mesh;
mod peer;
mod requests;
mod ring;
mod sequence;
mod shared;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod view;
mod wire;

pub use config::{Cluster, StartError};
pub use identity::{Certificates, IdentityError, InvalidSecret, Secret, SecretError};
pub use ring::Ring;
pub use view::{LinkState, MemberView, NodeState, View};

#[cfg(any(test, feature = "testing"))]
pub(crate) use ground::Network;
pub(crate) use mesh::{Mesh, OpenError, SessionOwner};
pub(crate) use stream::BiStream;

/// The decoders of the layer, for fuzzing.
#[cfg(feature = "fuzzing")]
mod fuzzed {
    use bytes::{Bytes, BytesMut};

    use super::wire::{Frame, Message};

    /// How many frames there are before the first that is none.
    pub(crate) fn decode_frames(data: &[u8]) -> usize {
        let mut buffer = BytesMut::from(data);
        std::iter::from_fn(|| Frame::decode(&mut buffer).ok().flatten()).count()
    }

    pub(crate) fn decode_message(body: &[u8]) {
        drop(Message::decode(Bytes::copy_from_slice(body)));
    }
}

#[cfg(feature = "fuzzing")]
pub(crate) use fuzzed::{decode_frames, decode_message};
