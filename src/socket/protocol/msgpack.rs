//! Packets as MessagePack, one binary message each: the map `{type, nsp, data?, id?}` of [`socket.io-msgpack-parser`]
//! 3.0, whose `data` holds bytes where they belong.
//!
//! Only clients see this form. Inside a node and between nodes a packet is JSON text with attachments, so that there is
//! one form to queue, to pass on and to decode. This module converts a client's message into that form, and back: one pass
//! over the packet each way, and for a broadcast one for all clients of a node. What JSON cannot express arrives as
//! `JSON.stringify` would write it: a date is its ISO string; `undefined` is absent from objects and `null` in arrays, as
//! are NaN and the infinities.
//!
//! Deviations from the parser: the limits of JSON packets hold here (attachments, names of events, ids). A
//! namespace begins with a slash and has no comma. `auth` has no bytes. Timestamps of the MessagePack specification are
//! dates. What version 2 of the parser writes is accepted from every client: types 5 and 6, and text for packets that are
//! not events.
//!
//! [`socket.io-msgpack-parser`]: https://github.com/socketio/socket.io-msgpack-parser

mod fields;
mod read;
mod write;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::fields::Fields;
use super::error::PacketError;
use super::packet::{Packet, PacketLimits};
use super::text::split;

/// Reads a packet from the message of a client.
pub(super) fn decode(message: &Bytes, limits: PacketLimits) -> Result<Packet, PacketError> {
    let fields = read::fields(message, limits)?;
    if fields.data.as_ref().is_some_and(|data| data.len() > limits.max_pending_bytes) {
        return Err(PacketError::TooLarge);
    }
    fields.packet()
}

/// Reads a packet that is not an event, as version 2 of the parser writes it: the same map as JSON.
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

/// Writes a packet for clients. `None` if the text is not a packet, which only another node could have sent.
pub(super) fn encode(text: &str, attachments: &[Bytes]) -> Option<Bytes> {
    let (packet, _) = split(text, usize::MAX).ok()?;
    Some(write::packet(&packet, attachments))
}

#[cfg(test)]
mod tests;
