//! The arguments of an event or ack (Socket.IO v5, §Packet encoding): serde values for the application, JSON text and
//! attachments on the wire.
//!
//! One value is one argument, `()` is none, and [`Args`] of a tuple are several. Bytes ([`bytes::Bytes`] or any serde
//! bytes) become attachments, at any depth. [`RawArgs`] and [`RawArg`] pass through undecoded.

mod check;
mod decode;
mod encode;
mod events;
mod raw;
pub(super) mod scan;
mod surrogates;
mod tree;
mod tuples;

pub(super) use check::{check_args, check_object};
pub use decode::{FromArg, FromArgs};
pub use encode::{ArgsWriter, IntoArgs};
pub(crate) use events::{decode_event, encode_event};
pub use raw::{RawArg, RawArgs};
pub(super) use scan::split_first;
pub(super) use surrogates::replace_lone_surrogates;
pub use tuples::Args;

#[cfg(test)]
mod tests;
