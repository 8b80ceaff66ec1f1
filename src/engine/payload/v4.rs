//! Version 4: packets joined by the record separator.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::body::lossy_text;
use crate::engine::error::PacketError;
use crate::engine::frame::Frame;
use crate::engine::packet::Packet;
use crate::engine::protocol::Protocol;

/// Joins the packets with the record separator. A single packet is not copied.
pub(super) fn encode(frames: &[Frame]) -> Bytes {
    let packet = |frame: &Frame| {
        let [_no_prefix, packet] = frame.polling(Protocol::V4);
        packet
    };
    if let [frame] = frames {
        return packet(frame);
    }
    let packets: Vec<Bytes> = frames.iter().map(packet).collect();
    let length = packets.iter().map(|packet| packet.len() + 1).sum();
    let mut body = BytesMut::with_capacity(length);
    for packet in packets {
        if !body.is_empty() {
            body.extend_from_slice(&[SEPARATOR as u8]);
        }
        body.extend_from_slice(&packet);
    }
    body.freeze()
}

/// The packets of a body that are not read yet.
#[derive(Debug)]
pub(crate) struct JoinedPackets {
    rest: Option<ByteString>,
    /// How large the body was.
    whole: usize,
}

impl JoinedPackets {
    pub(super) fn new(body: Bytes) -> Self {
        let whole = body.len();
        Self { rest: Some(lossy_text(body)), whole }
    }
}

impl JoinedPackets {
    /// Copies a packet that is a small part of its body. A slice would keep the whole body in memory.
    fn piece(&self, packet: ByteString) -> ByteString {
        if 2 * packet.len() < self.whole { ByteString::from(&*packet) } else { packet }
    }
}

impl Iterator for JoinedPackets {
    type Item = Result<Packet, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let packet = match rest.split_once(SEPARATOR) {
            Some((head, tail)) => {
                self.rest = Some(rest.slice_ref(tail));
                Packet::decode_text(self.piece(rest.slice_ref(head)), Protocol::V4)
            }
            None => Packet::decode_text(self.piece(rest), Protocol::V4),
        };
        if packet.is_err() {
            self.rest = None;
        }
        Some(packet)
    }
}

const SEPARATOR: char = '\x1e';

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packet::Message;

    fn text(data: &str) -> Result<Packet, PacketError> {
        Ok(Packet::Message(Message::Text(data.into())))
    }

    fn read(body: &'static [u8]) -> Vec<Result<Packet, PacketError>> {
        JoinedPackets::new(Bytes::from_static(body)).collect()
    }

    #[test]
    fn packets_are_joined_by_the_record_separator() {
        let frames =
            [Frame::message_text("a"), Frame::message_binary(vec![1].into()), Frame::control(&Packet::Noop)];
        assert_eq!(encode(&frames), "4a\x1ebAQ==\x1e6");
        assert_eq!(encode(&frames[..1]), "4a");
        assert_eq!(encode(&frames[1..2]), "bAQ==");
        assert_eq!(encode(&[]), "");
    }

    #[test]
    fn reading_stops_at_the_first_invalid_packet() {
        assert_eq!(read(b"4a\x1ex\x1e4b"), [text("a"), Err(PacketError::UnknownType('x'))]);
        assert_eq!(read(b"4a\x1e\x1e4b"), [text("a"), Err(PacketError::Empty)]);
        assert_eq!(read(b"4a\x1e"), [text("a"), Err(PacketError::Empty)]);
        assert_eq!(read(b""), [Err(PacketError::Empty)]);
    }

    #[test]
    fn invalid_utf8_is_replaced_as_node_does() {
        assert_eq!(read(b"4a\xffb\x1e4\xe2\x82"), [text("a\u{fffd}b"), text("\u{fffd}")]);
    }
}
