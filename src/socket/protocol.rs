//! Socket.IO packets and their arguments, without I/O: `<type>[<attachments>-][<namespace>,][<ack id>][<json>]` as text, followed by the attachments as binary
//! messages (Socket.IO v5, §Packet encoding). Clients of Engine.IO 3 speak v4 of it, which differs in CONNECT and
//! CONNECT_ERROR only.
//!
//! What Node's parser takes and refuses is followed, with these deviations: an ack id is `[0-9]+` up to 2^53 − 1 (Node
//! also takes spaces), a packet that announces attachments has a payload, and one attachment is named at most four times.
//! Whatever JSON can say is data: half a surrogate pair becomes U+FFFD, and what nests too deep for a type, or has numbers
//! beyond an `f64`, is an argument that does not decode.
//!
//! ```text
//!   a client's messages ──► PacketDecoder ──► Packet ──► Event, RawArgs ──► FromArgs
//!   IntoArgs ──► RawArgs ──► encode ──► Encoded ──► Parser::frames ──► frames for clients
//! ```

mod args;
mod date;
mod decoder;
pub(crate) mod encode;
mod error;
mod msgpack;
mod packet;
mod parser;
mod text;

pub use args::{Args, ArgsWriter, FromArg, FromArgs, IntoArgs, RawArg, RawArgs};
pub(crate) use args::{decode_event, encode_event};
pub(crate) use date::Date;
pub(crate) use decoder::PacketDecoder;
pub(crate) use encode::Encoded;
pub use error::{ArgsError, EncodeError, PacketError};
pub(crate) use packet::{Event, Packet, PacketLimits};
pub use parser::Parser;

#[cfg(feature = "fuzzing")]
mod fuzzing;
#[cfg(feature = "fuzzing")]
pub(crate) use fuzzing::{fuzz_arguments, fuzz_packets};
#[cfg(test)]
mod tests;
