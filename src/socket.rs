//! Socket.IO v5: namespaces, rooms, events and acks over the sessions of the engine.
//!
//! ```text
//!   api: what applications hold          connection: one client ◄── the engine's sessions
//!        └──────────────► hub ◄─────────────────┘
//!                          │   what this node runs: namespaces, sockets, handlers
//!                          ▼
//!                        peers      the port to the other nodes ◄── implemented by the cluster
//!                          ▼
//!                       messages    the values that nodes send each other
//!                        ▼    ▼
//!                 protocol    room  the packets of clients; rooms, parsed once
//!
//!   recovery    what clients missed that come back, and their sessions; below hub
//! ```
//!
//! A floor imports only from floors below it, and a test holds that. `application` joins the floors for the engine;
//! `config` has the settings.

mod api;
mod application;
mod config;
mod connection;
mod hub;
pub(crate) mod messages;
pub(crate) mod peers;
mod protocol;
mod recovery;
mod room;

pub use api::{
    Ack, Acks, Answer, Applied, Applying, Asking, BeforeHandlers, ByAck, ByValue, Conn, Counted, Emitter,
    Handler, Incoming, Joining, LocalRoom, LostSession, MissingAck, Namespace, NamespaceRef, NoHandlersYet,
    Onward, RemoteSocket, Replies, Rooms, Socket, Sockets, Target, UserRef, WithHandlers, WrongData,
    namespace, namespaces, namespaces_where, reply,
};
pub use config::Config;
#[cfg(feature = "fuzzing")]
pub(crate) use hub::RoomIndex;
pub use hub::{
    AckError, DisconnectReason, Disconnected, EventError, Excess, Handshake, Limit, Login, Refusal, Result,
    RoomEvent,
};
pub(crate) use hub::{Description, KeepingFigures, NamespaceFigures, RoomSize};
pub use messages::RemoteHandshake;
pub use protocol::{
    Args, ArgsError, ArgsWriter, EncodeError, FromArg, FromArgs, IntoArgs, PacketError, Parser, RawArg,
    RawArgs,
};
#[cfg(feature = "fuzzing")]
pub(crate) use protocol::{
    Packet, PacketDecoder, PacketLimits, encode::event as encode_event_packet, fuzz_arguments, fuzz_packets,
};
pub use recovery::Recovery;
pub(crate) use recovery::Unrecovered;
pub use room::{IntoRooms, Room};

// Public only because `Node<SocketIo>` and the traits of the engine name them.
#[doc(hidden)]
pub use application::SocketIo;
#[doc(hidden)]
pub use connection::Connection;
#[doc(hidden)]
pub use hub::ConnectionCommand;
