//! What applications hold: the description of a namespace, and handles of sockets and namespaces.
//!
//! ```text
//!   Namespace ──► Handlers ──► Handler, Incoming, Ack   what an application describes
//!   Socket ──► Conn                                 the connection below it
//!   Socket, RemoteSocket ──► Emitter ──► Target ──► commands, fetch, broadcast_acks   what its handlers hold
//!           NamespaceRef ─────────────────┘
//!                   └──► local                                               what is on this node
//! ```

mod ack;
mod broadcast_acks;
mod commands;
mod conn;
mod emitter;
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
pub use emitter::Emitter;
pub use fetch::{Counted, Rooms, Sockets};
pub use incoming::{Incoming, Onward};
pub use local::{LocalRoom, WrongData};
pub use namespace::{
    Answer, BeforeHandlers, ByAck, ByValue, Handler, LostSession, Namespace, NoHandlersYet, WithHandlers,
    namespace, namespaces, namespaces_where, reply,
};
pub use namespace_ref::NamespaceRef;
pub use remote::RemoteSocket;
pub use server_side_emit::{Asking, Replies};
pub use socket::{Joining, Socket};
pub use target::Target;
pub use user::UserRef;
