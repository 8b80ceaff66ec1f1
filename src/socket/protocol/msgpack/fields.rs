//! The map of a packet, in between MessagePack and the packet.

use bytes::Bytes;
use bytestring::ByteString;

use super::super::args::scan::placeholders;
use super::super::error::PacketError;
use super::super::packet::{Kind, MAX_ID, Packet};

/// What the map of a packet holds; `data` as JSON with placeholders for the attachments.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) kind: Option<u64>,
    pub(super) nsp: Option<ByteString>,
    pub(super) id: Option<u64>,
    pub(super) data: Option<ByteString>,
    pub(super) attachments: Vec<Bytes>,
}

impl Fields {
    pub(super) fn packet(self) -> Result<Packet, PacketError> {
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
        if !attachments.is_empty()
            && data.as_deref().map_or(0, |data| placeholders(data).len()) != attachments.len()
        {
            return Err(PacketError::IllegalAttachments);
        }
        let nsp = nsp.filter(|nsp| nsp.starts_with('/') && !nsp.contains(','));
        let ns = nsp.ok_or(PacketError::InvalidNamespace)?;
        let mut packet = kind.packet(ns, id, data, attachments.len())?;
        packet.attach(attachments);
        Ok(packet)
    }
}
