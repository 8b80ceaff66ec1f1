//! A broadcast as a value: to whom, and the packet, encoded once.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

/// The name of a room. The room of one socket is named by its id.
pub(crate) type Room = Arc<str>;

/// Which sockets of a namespace are meant: the union of `rooms` minus `except`; no rooms = the whole namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub rooms: Vec<Room>,
    pub except: Vec<Room>,
}

/// One packet for many sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broadcast {
    pub namespace: Arc<str>,
    pub selection: Selection,
    /// The encoded Socket.IO packet.
    pub text: ByteString,
    pub attachments: Vec<Bytes>,
    /// May be dropped where it cannot be sent at once.
    pub volatile: bool,
}
