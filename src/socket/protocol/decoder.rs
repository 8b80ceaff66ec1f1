//! From the messages of a client to packets.

use bytes::Bytes;
use bytestring::ByteString;

use super::error::PacketError;
use super::msgpack;
use super::packet::{Packet, PacketLimits};
use super::parser::Parser;
use super::text::parse;

/// Puts the packets of one client together from its text and binary messages.
///
/// After an error the connection of the client is to be closed. A decoder that is used nevertheless starts with a new
/// packet. It knows no time: its owner bounds how long it may be [pending](Self::is_pending).
#[derive(Debug)]
pub(crate) struct PacketDecoder {
    parser: Parser,
    limits: PacketLimits,
    /// Boxed: most clients never send an attachment, and every client has a decoder.
    pending: Option<Box<IncompletePacket>>,
}

impl PacketDecoder {
    /// A decoder that expects a new packet.
    pub(crate) const fn new(parser: Parser, limits: PacketLimits) -> Self {
        Self { parser, limits, pending: None }
    }

    /// Takes a text message, without the engine's packet type. Returns the packet, or `None` if attachments are to follow.
    pub(crate) fn text(&mut self, text: &ByteString) -> Result<Option<Packet>, PacketError> {
        if self.pending.take().is_some() {
            return Err(PacketError::UnexpectedText);
        }
        if text.len() > self.limits.max_pending_bytes {
            return Err(PacketError::TooLarge);
        }
        if self.parser == Parser::MessagePack {
            return msgpack::decode_text(text).map(Some);
        }
        let (packet, missing) = parse(text, self.limits.max_attachments)?;
        if missing == 0 {
            return Ok(Some(packet));
        }
        self.pending =
            Some(Box::new(IncompletePacket { packet, missing, attachments: Vec::new(), bytes: text.len() }));
        Ok(None)
    }

    /// Takes a binary message: an attachment, or with MessagePack a packet. Returns the packet if it is complete now.
    pub(crate) fn binary(&mut self, bytes: Bytes) -> Result<Option<Packet>, PacketError> {
        if self.parser == Parser::MessagePack {
            return msgpack::decode(&bytes, self.limits).map(Some);
        }
        let mut pending = self.pending.take().ok_or(PacketError::UnexpectedBinary)?;
        pending.bytes = pending.bytes.saturating_add(bytes.len());
        if pending.bytes > self.limits.max_pending_bytes {
            return Err(PacketError::TooLarge);
        }
        pending.attachments.push(bytes);
        if pending.attachments.len() < pending.missing {
            self.pending = Some(pending);
            return Ok(None);
        }
        let IncompletePacket { mut packet, attachments, .. } = *pending;
        packet.attach(attachments);
        Ok(Some(packet))
    }

    /// Whether attachments of a packet are still to come.
    pub(crate) const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }
}

/// A packet that waits for its attachments.
#[derive(Debug)]
struct IncompletePacket {
    packet: Packet,
    missing: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
}
