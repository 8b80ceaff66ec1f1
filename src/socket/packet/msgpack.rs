//! Packets as MessagePack, one binary message each: the map `{type, nsp, data?, id?}` of [`socket.io-msgpack-parser`]
//! 3.0, whose `data` holds bytes where they belong.
//!
//! Only clients see it. Inside a node and between nodes a packet is JSON text with its attachments, so that there is one
//! form to queue, to pass on and to decode; here that form is made of a client's message, and a client's message of it.
//! That costs one pass over the packet each way, a broadcast's once for all clients of a node. What JSON has no form for
//! arrives as what `JSON.stringify` makes of it: a date is its ISO string, `undefined` is absent from objects and `null`
//! in arrays, as are NaN and the infinities.
//!
//! Deviations from the parser: the limits of JSON packets hold here (depth, attachments, names of events, ids); a
//! namespace begins with a slash and has no comma; `auth` has no bytes; timestamps of the MessagePack specification are
//! dates; what version 2 of the parser writes is taken from every client: types 5 and 6, and text for packets that are
//! no events.
//!
//! [`socket.io-msgpack-parser`]: https://github.com/socketio/socket.io-msgpack-parser

mod date;
mod read;
mod write;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::args::placeholders;
use super::{Kind, Limits, MAX_ID, Packet, split};
use crate::socket::error::PacketError;

/// Reads a packet from the message of a client.
pub(super) fn decode(message: &Bytes, limits: Limits) -> Result<Packet, PacketError> {
    let fields = read::fields(message, limits)?;
    if fields.data.as_ref().is_some_and(|data| data.len() > limits.max_pending_bytes) {
        return Err(PacketError::TooLarge);
    }
    fields.packet()
}

/// Reads a packet that is no event, as version 2 of the parser writes it: the same map as JSON.
pub(super) fn decode_text(text: &str) -> Result<Packet, PacketError> {
    #[derive(Deserialize)]
    struct Map<'a> {
        r#type: u8,
        nsp: String,
        id: Option<u64>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let map: Map<'_> = serde_json::from_str(text).map_err(|_invalid| PacketError::InvalidPayload)?;
    let fields = Fields {
        kind: Some(map.r#type.into()),
        nsp: Some(map.nsp.into()),
        id: map.id,
        data: map.data.map(|data| data.get().into()),
        attachments: Vec::new(),
    };
    fields.packet()
}

/// Writes a packet for clients; none if the text is no packet, which only another node could have sent.
pub(super) fn encode(text: &str, attachments: &[Bytes]) -> Option<Bytes> {
    let (packet, _) = split(text, usize::MAX).ok()?;
    Some(write::packet(&packet, attachments))
}

/// What the map of a packet holds; `data` as JSON with placeholders for the attachments.
#[derive(Debug, Default)]
struct Fields {
    kind: Option<u64>,
    nsp: Option<ByteString>,
    id: Option<u64>,
    data: Option<ByteString>,
    attachments: Vec<Bytes>,
}

impl Fields {
    fn packet(self) -> Result<Packet, PacketError> {
        let Self { kind, nsp, id, data, attachments } = self;
        let kind = match (kind, attachments.is_empty()) {
            (Some(0), true) => Kind::Connect,
            (Some(1), true) => Kind::Disconnect,
            // Clients of version 2 have a type of its own for events with bytes, and for acks.
            (Some(2 | 5), true) => Kind::Event,
            (Some(2 | 5), false) => Kind::BinaryEvent,
            (Some(3 | 6), true) => Kind::Ack,
            (Some(3 | 6), false) => Kind::BinaryAck,
            (Some(4), true) => Kind::ConnectError,
            (Some(0 | 1 | 4), false) => return Err(PacketError::IllegalAttachments),
            _ => return Err(PacketError::UnknownType),
        };
        if matches!(kind, Kind::Event | Kind::Ack) && data.is_none() {
            return Err(PacketError::InvalidPayload);
        }
        if id.is_some_and(|id| id > MAX_ID) {
            return Err(PacketError::IllegalId);
        }
        // A map that looks like a placeholder would name bytes that the client did not put there.
        if !attachments.is_empty() && data.as_deref().map_or(0, placeholders) != attachments.len() {
            return Err(PacketError::IllegalAttachments);
        }
        let nsp = nsp.filter(|nsp| nsp.starts_with('/') && !nsp.contains(','));
        let ns = nsp.ok_or(PacketError::InvalidNamespace)?;
        let mut packet = kind.packet(ns, id, data, attachments.len())?;
        packet.attach(attachments);
        Ok(packet)
    }
}

#[cfg(test)]
mod tests;
