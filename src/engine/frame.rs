//! One packet as it is written: encoded once, ready for every transport, shared by everyone it goes to
//! (engine.io protocol v4, "Packet encoding"; RFC 6455 section 5.2).

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use bytes::Bytes;

use super::packet::{BASE64, Message, Packet};
use super::websocket::codec::{Opcode, header};

/// An encoded packet. A clone shares the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Frame(Encoding);

#[derive(Clone, Debug)]
enum Encoding {
    /// The WebSocket frame; behind its header lies the packet as polling writes it.
    Text {
        frame: Bytes,
        header: usize,
    },
    Binary(Arc<Binary>),
}

#[derive(Debug)]
struct Binary {
    header: Bytes,
    payload: Bytes,
    /// What polling and `b64=1` need; made at the first of them.
    base64: OnceLock<Bytes>,
}

impl Frame {
    /// A message of text, given without its type.
    pub(crate) fn message_text(text: &str) -> Self {
        Self::text(&["4", text])
    }

    /// A message of bytes, which are not copied.
    pub(crate) fn message_binary(payload: Bytes) -> Self {
        let header = Bytes::copy_from_slice(&header(Opcode::Binary, payload.len()));
        Self(Encoding::Binary(Arc::new(Binary { header, payload, base64: OnceLock::new() })))
    }

    /// Any packet; those without data cost no allocation.
    pub(crate) fn control(packet: &Packet) -> Self {
        match packet {
            Packet::Open(data) => Self::text(&["0", data]),
            Packet::Close => Self::fixed(b"\x81\x011"),
            Packet::Ping(data) if data.is_empty() => Self::fixed(b"\x81\x012"),
            Packet::Ping(data) => Self::text(&["2", data]),
            Packet::Pong(data) => Self::text(&["3", data]),
            Packet::Message(Message::Text(text)) => Self::message_text(text),
            Packet::Message(Message::Binary(bytes)) => Self::message_binary(bytes.clone()),
            Packet::Upgrade => Self::fixed(b"\x81\x015"),
            Packet::Noop => Self::fixed(b"\x81\x016"),
        }
    }

    /// The WebSocket frame, in two pieces for a vectored write; the second is empty for text.
    pub(crate) fn websocket(self) -> [Bytes; 2] {
        match self.0 {
            Encoding::Text { frame, .. } => [frame, Bytes::new()],
            Encoding::Binary(binary) => [binary.header.clone(), binary.payload.clone()],
        }
    }

    /// The WebSocket frame for a client that asked for `b64=1`: bytes travel as a text frame of `b` and
    /// base64.
    pub(crate) fn websocket_base64(self) -> [Bytes; 2] {
        match self.0 {
            Encoding::Text { frame, .. } => [frame, Bytes::new()],
            Encoding::Binary(binary) => {
                let packet = binary.base64();
                [Bytes::copy_from_slice(&header(Opcode::Text, packet.len())), packet]
            }
        }
    }

    /// The packet as one piece of a polling payload.
    pub(crate) fn polling(&self) -> Bytes {
        match &self.0 {
            Encoding::Text { frame, header } => frame.slice(*header..),
            Encoding::Binary(binary) => binary.base64(),
        }
    }

    /// Bytes on a WebSocket, header included: what limits count.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Encoding::Text { frame, .. } => frame.len(),
            Encoding::Binary(binary) => binary.header.len() + binary.payload.len(),
        }
    }

    fn text(parts: &[&str]) -> Self {
        Self::text_of(parts.iter().copied())
    }

    fn text_of<'a>(parts: impl Iterator<Item = &'a str> + Clone) -> Self {
        let length = parts.clone().map(str::len).sum();
        let header = header(Opcode::Text, length);
        let mut frame = Vec::with_capacity(header.len() + length);
        frame.extend_from_slice(&header);
        parts.for_each(|part| frame.extend_from_slice(part.as_bytes()));
        Self(Encoding::Text { frame: frame.into(), header: header.len() })
    }

    /// A text packet of one character, with its frame header of two bytes.
    const fn fixed(frame: &'static [u8; 3]) -> Self {
        Self(Encoding::Text { frame: Bytes::from_static(frame), header: 2 })
    }
}

impl Binary {
    fn base64(&self) -> Bytes {
        self.base64.get_or_init(|| encode_base64(&self.payload)).clone()
    }
}

fn encode_base64(payload: &[u8]) -> Bytes {
    let mut text = String::with_capacity(payload.len().div_ceil(3) * 4 + 1);
    text.push('b');
    BASE64.encode_string(payload, &mut text);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn websocket(frame: &Frame) -> Vec<u8> {
        frame.clone().websocket().concat()
    }

    #[test]
    fn a_packet_is_one_frame_and_one_piece_of_a_payload() {
        for (packet, wire) in [
            (Packet::Open("{}".into()), "0{}"),
            (Packet::Close, "1"),
            (Packet::Ping("".into()), "2"),
            (Packet::Ping("x".into()), "2x"),
            (Packet::Pong("probe".into()), "3probe"),
            (Packet::Message(Message::Text("hi €".into())), "4hi €"),
            (Packet::Upgrade, "5"),
            (Packet::Noop, "6"),
        ] {
            let frame = Frame::control(&packet);
            assert_eq!(frame.polling(), wire);
            assert_eq!(
                websocket(&frame),
                [&[0x81, u8::try_from(wire.len()).unwrap()], wire.as_bytes()].concat()
            );
            assert_eq!(frame.len(), wire.len() + 2);
        }
    }

    #[test]
    fn a_length_takes_7_16_or_64_bits() {
        for (length, header) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_535, vec![0x82, 126, 0xff, 0xff]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = Frame::message_binary(vec![7; length].into());
            assert_eq!(frame.clone().websocket()[0], header);
            assert_eq!(frame.clone().websocket()[1].len(), length);
            assert_eq!(frame.len(), header.len() + length);
        }
        assert_eq!(Frame::message_text(&"x".repeat(125)).websocket()[0][..5], [0x81, 126, 0, 126, b'4']);
    }

    #[test]
    fn bytes_are_base64_on_polling_and_after_b64() {
        let frame = Frame::message_binary(Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(frame.polling(), "bAQIDBA==");
        assert_eq!(frame.clone().websocket_base64().concat(), b"\x81\x09bAQIDBA==");
        assert_eq!(Frame::message_text("a").websocket_base64().concat(), b"\x81\x024a");
    }

    #[test]
    fn clones_share_every_encoding() {
        let bytes = Bytes::from(vec![1; 100]);
        let frame = Frame::message_binary(bytes.clone());
        let clone = frame.clone();
        assert_eq!(frame.clone().websocket()[1].as_ptr(), bytes.as_ptr());
        assert_eq!(frame.polling().as_ptr(), clone.polling().as_ptr());
        let text = Frame::message_text("shared");
        assert_eq!(text.polling().as_ptr(), text.clone().websocket()[0].as_ptr().wrapping_add(2));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text: String, bytes: Vec<u8>) {
            let read = |frame: &Frame| Packet::decode_text(frame.polling().try_into().unwrap());
            let expected = Packet::Message(Message::Text(text.as_str().into()));
            prop_assert_eq!(read(&Frame::message_text(&text)), Ok(expected.clone()));
            prop_assert_eq!(read(&Frame::message_text(&text)), Ok(expected));
            let frame = Frame::message_binary(bytes.clone().into());
            prop_assert_eq!(read(&frame), Ok(Packet::decode_binary(bytes.into())));
        }
    }
}
