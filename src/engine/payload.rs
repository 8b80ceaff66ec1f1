//! The body of one poll or one POST: packets joined by the record separator (engine.io protocol v4, "Payload
//! encoding").

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::error::PacketError;
use super::frame::Frame;
use super::packet::Packet;

/// Joins frames into the body of a poll. One frame alone is not copied.
pub(crate) fn encode(frames: &[Frame]) -> Bytes {
    if let [frame] = frames {
        return frame.polling();
    }
    let packets: Vec<Bytes> = frames.iter().map(Frame::polling).collect();
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

/// Reads the packets of a POST, one at a time, so that a body of a million empty packets costs no more than
/// its bytes.
///
/// Invalid UTF-8 becomes U+FFFD, as in Node. Nothing follows the first error.
pub(crate) fn decode(body: Bytes) -> Packets {
    let text = ByteString::try_from(body.clone())
        .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    Packets { rest: Some(text) }
}

/// The packets of a body that are not read yet.
#[derive(Debug)]
pub(crate) struct Packets {
    rest: Option<ByteString>,
}

impl Iterator for Packets {
    type Item = Result<Packet, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let packet = match rest.split_once(SEPARATOR) {
            Some((head, tail)) => {
                self.rest = Some(rest.slice_ref(tail));
                Packet::decode_text(rest.slice_ref(head))
            }
            None => Packet::decode_text(rest),
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
    use proptest::prelude::*;

    fn text(data: &str) -> Result<Packet, PacketError> {
        Ok(Packet::Message(Message::Text(data.into())))
    }

    fn read(body: &'static [u8]) -> Vec<Result<Packet, PacketError>> {
        decode(Bytes::from_static(body)).collect()
    }

    #[test]
    fn packets_are_joined_by_the_record_separator() {
        let frames =
            [Frame::message_text("a"), Frame::message_binary(vec![1].into()), Frame::control(&Packet::Noop)];
        assert_eq!(encode(&frames), "4a\x1ebAQ==\x1e6");
        assert_eq!(encode(&frames[..1]), "4a");
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

    proptest! {
        #[test]
        fn any_body_decodes_or_errs(body: Vec<u8>) {
            let pieces = body.iter().filter(|&&byte| byte == SEPARATOR as u8).count() + 1;
            let packets: Vec<_> = decode(body.into()).collect();
            prop_assert!(packets.len() <= pieces);
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }

        #[test]
        fn what_is_written_reads_back(texts in proptest::collection::vec("[^\x1e]*", 1..20)) {
            let frames: Vec<_> = texts.iter().map(|text| Frame::message_text(text)).collect();
            let expected: Vec<_> = texts.iter().map(|data| text(data)).collect();
            prop_assert_eq!(decode(encode(&frames)).collect::<Vec<_>>(), expected);
        }
    }
}
