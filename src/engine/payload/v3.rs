//! Version 3: each packet behind its length. As text `<length>:<packet>`, where the length counts UTF-16 code units and
//! bytes are base64; as bytes `<0 text | 1 bytes><digits of the length><255><packet>`, where it counts bytes.
//!
//! Deviations from Node's parser: a length is digits only (Node also takes `1e1`), and one beyond the end is an error in
//! a payload of bytes as well.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::body::{Payload, lossy_text};
use crate::engine::error::PacketError;
use crate::engine::frame::Frame;
use crate::engine::packet::{BINARY_MESSAGE, Packet};
use crate::engine::protocol::Protocol;

/// Encodes as bytes only if there is a binary message and the client can receive bytes.
pub(super) fn encode(frames: &[Frame], base64: bool) -> Payload {
    if !base64 && frames.iter().any(|frame| frame.binary().is_some()) {
        Payload { bytes: encode_binary(frames), binary: true }
    } else {
        Payload::text(encode_text(frames))
    }
}

fn encode_text(frames: &[Frame]) -> Bytes {
    let packets: Vec<[Bytes; 2]> = frames.iter().map(|frame| frame.polling(Protocol::V3)).collect();
    let length = packets.iter().flatten().map(Bytes::len).sum::<usize>() + packets.len() * HEADER;
    let mut body = BytesMut::with_capacity(length);
    for packet in packets {
        let length = packet.iter().map(|part| utf16_len(part)).sum::<usize>();
        body.extend_from_slice(length.to_string().as_bytes());
        body.extend_from_slice(b":");
        packet.iter().for_each(|part| body.extend_from_slice(part));
    }
    body.freeze()
}

fn encode_binary(frames: &[Frame]) -> Bytes {
    let length = frames.iter().map(|frame| frame.len() + HEADER).sum();
    let mut body = BytesMut::with_capacity(length);
    for frame in frames {
        if let Some(data) = frame.binary() {
            start(&mut body, BYTES, data.len() + 1);
            body.extend_from_slice(&[BINARY_MESSAGE]);
            body.extend_from_slice(data);
        } else {
            let [_no_prefix, text] = frame.polling(Protocol::V3);
            start(&mut body, TEXT, text.len());
            body.extend_from_slice(&text);
        }
    }
    body.freeze()
}

/// What comes before a packet in a payload of bytes.
fn start(body: &mut BytesMut, kind: u8, length: usize) {
    body.extend_from_slice(&[kind]);
    body.extend(length.to_string().bytes().map(|digit| digit - b'0'));
    body.extend_from_slice(&[END_OF_LENGTH]);
}

/// The UTF-16 code units of UTF-8: one for each character, two for one of four bytes.
fn utf16_len(utf8: &[u8]) -> usize {
    utf8.iter().map(|byte| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0)).sum()
}

/// The packets of a payload of text that are not read yet.
#[derive(Debug)]
pub(crate) struct TextPackets {
    rest: Option<ByteString>,
}

impl TextPackets {
    pub(super) fn new(body: Bytes) -> Self {
        Self { rest: Some(lossy_text(body)) }
    }
}

impl Iterator for TextPackets {
    type Item = Result<Packet, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.take()?;
            let Some((packet, tail)) = split_text(&rest) else {
                return Some(Err(if rest.is_empty() {
                    PacketError::Empty
                } else {
                    PacketError::InvalidLength
                }));
            };
            let next = (!tail.is_empty()).then(|| rest.slice_ref(tail));
            // `0:` is neither a packet nor an error.
            if packet.is_empty() {
                self.rest = next;
                continue;
            }
            let packet = Packet::decode_text(rest.slice_ref(packet), Protocol::V3);
            self.rest = next.filter(|_| packet.is_ok());
            return Some(packet);
        }
    }
}

/// The first packet of a payload, and what follows it.
fn split_text(payload: &str) -> Option<(&str, &str)> {
    let digits = payload.bytes().take(MAX_DIGITS).take_while(u8::is_ascii_digit).count();
    let (length, rest) = payload.split_at_checked(digits)?;
    let length = length.parse().ok()?;
    split_utf16(rest.strip_prefix(':')?, length)
}

/// Splits after a number of UTF-16 code units, unless there are fewer or a character would be torn.
fn split_utf16(text: &str, mut units: usize) -> Option<(&str, &str)> {
    let mut end = 0;
    for char in text.chars() {
        if units == 0 {
            break;
        }
        units = units.checked_sub(char.len_utf16())?;
        end += char.len_utf8();
    }
    if units == 0 { text.split_at_checked(end) } else { None }
}

/// The packets of a payload of bytes that are not read yet.
#[derive(Debug)]
pub(crate) struct BinaryPackets {
    rest: Option<Bytes>,
}

impl BinaryPackets {
    pub(super) fn new(body: Bytes) -> Self {
        Self { rest: Some(body) }
    }
}

impl Iterator for BinaryPackets {
    type Item = Result<Packet, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest.take()?;
        let packet = take_binary(&mut rest);
        self.rest = (packet.is_ok() && !rest.is_empty()).then_some(rest);
        Some(packet)
    }
}

fn take_binary(rest: &mut Bytes) -> Result<Packet, PacketError> {
    let (kind, header) = rest.split_first().ok_or(PacketError::Empty)?;
    let kind = *kind;
    let digits = header.iter().take(MAX_DIGITS).take_while(|digit| **digit <= 9).count();
    let (length, tail) = header.split_at_checked(digits).ok_or(PacketError::InvalidLength)?;
    let length = length.iter().fold(0, |length, digit| length * 10 + usize::from(*digit));
    if digits == 0 || tail.first() != Some(&END_OF_LENGTH) || tail.len() - 1 < length {
        return Err(PacketError::InvalidLength);
    }
    drop(rest.split_to(digits + 2));
    let packet = rest.split_to(length);
    match kind {
        TEXT => match ByteString::try_from(packet) {
            Ok(text) => Packet::decode_text(text, Protocol::V3),
            Err(_) => Err(PacketError::InvalidUtf8),
        },
        BYTES => Packet::decode_binary(packet, Protocol::V3),
        _ => Err(PacketError::InvalidLength),
    }
}

/// What a packet in a payload of bytes is.
const TEXT: u8 = 0;
const BYTES: u8 = 1;

/// No digit, and no byte of UTF-8.
const END_OF_LENGTH: u8 = 255;

/// Enough for every length that a limit lets through, and too few to overflow.
const MAX_DIGITS: usize = 9;

/// What a length usually takes.
const HEADER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packet::Message;
    use proptest::prelude::*;

    fn text(data: &str) -> Result<Packet, PacketError> {
        Ok(Packet::Message(Message::Text(data.into())))
    }

    fn binary(data: &'static [u8]) -> Result<Packet, PacketError> {
        Ok(Packet::Message(Message::Binary(Bytes::from_static(data))))
    }

    fn read(body: &'static str) -> Vec<Result<Packet, PacketError>> {
        TextPackets::new(body.into()).collect()
    }

    fn read_binary(body: &'static [u8]) -> Vec<Result<Packet, PacketError>> {
        BinaryPackets::new(Bytes::from_static(body)).collect()
    }

    #[test]
    fn the_examples_of_the_specification_are_written_and_read() {
        let frames = [Frame::message_text("€"), Frame::message_binary(vec![1, 2, 3, 4].into())];
        let both = [text("€"), binary(&[1, 2, 3, 4])];
        let base64 = "2:4€10:b4AQIDBA==";
        assert_eq!(encode(&frames, true), Payload::text(base64.into()));
        assert_eq!(read(base64), both);
        let bytes: &[u8] = &[0, 4, 255, 0x34, 0xe2, 0x82, 0xac, 1, 5, 255, 4, 1, 2, 3, 4];
        assert_eq!(encode(&frames, false), Payload { bytes: Bytes::from_static(bytes), binary: true });
        assert_eq!(read_binary(bytes), both);
        let frames = [Frame::message_text("hello"), Frame::message_text("€")];
        assert_eq!(encode(&frames, false), Payload::text("6:4hello2:4€".into()));
        assert_eq!(read("6:4hello2:4€"), [text("hello"), text("€")]);
    }

    #[test]
    fn a_length_of_text_counts_utf16_code_units() {
        let frames = [Frame::message_text("a😀é€"), Frame::control(&Packet::Noop)];
        assert_eq!(encode(&frames, true).bytes, "6:4a😀é€1:6");
        assert_eq!(read("6:4a😀é€1:6"), [text("a😀é€"), Ok(Packet::Noop)]);
        assert_eq!(read("2:4😀"), [Err(PacketError::InvalidLength)]);
    }

    #[test]
    fn reading_text_stops_at_the_first_invalid_packet() {
        let wrong = || Err(PacketError::InvalidLength);
        for (body, packets) in [
            ("", vec![Err(PacketError::Empty)]),
            ("abc", vec![wrong()]),
            (":4a", vec![wrong()]),
            ("4", vec![wrong()]),
            ("2:", vec![wrong()]),
            ("-1:4", vec![wrong()]),
            ("1e1:4", vec![wrong()]),
            (" 2:4a", vec![wrong()]),
            ("3:4a", vec![wrong()]),
            ("9999999999:4a", vec![wrong()]),
            ("2:4a2", vec![text("a"), wrong()]),
            ("2:4a2:x", vec![text("a"), wrong()]),
            ("2:4a1:x2:4b", vec![text("a"), Err(PacketError::UnknownType('x'))]),
            ("0:2:4a0:0:", vec![text("a")]),
            ("002:4a", vec![text("a")]),
            ("2:4:1:6", vec![text(":"), Ok(Packet::Noop)]),
        ] {
            assert_eq!(read(body), packets, "{body}");
        }
    }

    #[test]
    fn reading_bytes_stops_at_the_first_invalid_packet() {
        let wrong = || Err(PacketError::InvalidLength);
        for (body, packets) in [
            (&b""[..], vec![Err(PacketError::Empty)]),
            (&[0], vec![wrong()]),
            (&[0, 255], vec![wrong()]),
            (&[0, 1], vec![wrong()]),
            (&[0, 1, 255], vec![wrong()]),
            (&[0, 10, 255, b'4'], vec![wrong()]),
            (&[2, 1, 255, b'4'], vec![wrong()]),
            (&[0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 255], vec![wrong()]),
            (&[0, 0, 255], vec![Err(PacketError::Empty)]),
            (&[1, 1, 255, 2], vec![Err(PacketError::BinaryType(2))]),
            (&[0, 2, 255, b'4', 0xff], vec![Err(PacketError::InvalidUtf8)]),
            (&[0, 1, 255, b'6', 1, 0, 2, 255, 4, 7], vec![Ok(Packet::Noop), binary(&[7])]),
            (&[0, 1, 255, b'6', 0], vec![Ok(Packet::Noop), wrong()]),
        ] {
            assert_eq!(read_binary(body), packets, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn the_length_of_utf8_in_utf16_is_that_of_the_standard_library(text: String) {
            prop_assert_eq!(utf16_len(text.as_bytes()), text.encode_utf16().count());
        }

        #[test]
        fn lengths_and_bytes_that_nearly_fit_decode_or_err(parts in proptest::collection::vec("[0-9]{0,3}:?[0-6b]?.{0,3}", 0..6)) {
            let packets: Vec<_> = TextPackets::new(parts.concat().into()).collect();
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }

        #[test]
        fn headers_of_bytes_that_nearly_fit_decode_or_err(parts in proptest::collection::vec(
            (0..3u8, proptest::collection::vec(0..11u8, 0..3), any::<[u8; 3]>()), 0..6)) {
            let body: Vec<u8> = parts.iter().flat_map(|(kind, digits, data)| {
                [&[*kind][..], digits, &[255, 4], data].concat()
            }).collect();
            let packets: Vec<_> = BinaryPackets::new(body.into()).collect();
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
