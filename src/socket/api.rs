//! What applications hold: the description of a namespace, and handles of sockets and namespaces.
//!
//! ```text
//!   Namespace ──► Handlers ──► Handler, Incoming, Ack   what an application describes
//!   Socket ──► Conn                                 the connection below it
//!   Socket, NamespaceRef ──► Target ──► commands, fetch, broadcast_acks      what its handlers hold
//!                   └──► local                                               what is on this node
//! ```

mod ack;
mod broadcast_acks;
mod commands;
mod conn;
mod fetch;
mod incoming;
mod local;
mod namespace;
mod namespace_ref;
mod remote;
mod server_side_emit;
mod socket;
mod target;
mod user;

pub use ack::Ack;
pub use broadcast_acks::{Acks, MissingAck};
pub use commands::{Applied, Applying};
pub use conn::Conn;
pub use fetch::{Counted, Rooms, Sockets};
pub use incoming::{Incoming, Onward};
pub use local::{LocalRoom, WrongData};
pub use namespace::{
    Answer, ByAck, ByValue, Handler, Namespace, namespace, namespaces, namespaces_where, reply,
};
pub use namespace_ref::NamespaceRef;
pub use remote::{RemoteEmitter, RemoteSocket};
pub use server_side_emit::Replies;
pub use socket::{Emitter, Joining, Socket};
pub use target::Target;
pub use user::UserRef;
