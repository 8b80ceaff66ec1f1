//! Socket.IO (protocol revision 5): namespaces, rooms, events, acks.
//!
//! The layer sits on [`crate::id`] and the engine's sessions, and knows no node but its own. Its sans-IO files are
//!
//! ```text
//! packet   text + attachments ◄──► Packet          args    serde ◄──► the arguments of an event or ack
//! rooms    socket ◄──► rooms, and selection         acks    what one socket still has to answer
//! ```
//!
//! What a client sent stays undecoded text ([`RawArgs`]) until a handler asks for a type.

mod acks;
mod args;
mod error;
mod packet;
mod rooms;

pub use args::{Args, ArgsWriter, FromArg, FromArgs, IntoArg, IntoArgs, RawArg, RawArgs};
pub use error::{
    AckError, ArgsError, DisconnectReason, EncodeError, EventError, PacketError, Refusal, Result,
};
pub use rooms::Room;
