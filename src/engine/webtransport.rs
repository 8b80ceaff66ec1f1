//! The frames of a WebTransport stream, both ways (engine.io protocol v4, "WebTransport").
//!
//! ```text
//!   0LLLLLLL                length of up to 125 bytes      then that many bytes of text
//!   01111110 + 2 bytes      up to 65 535                   or, if the first bit is 1, of data
//!   01111111 + 8 bytes      more
//! ```
//!
//! That is what follows the first byte of a WebSocket's frame, with the first bit in a new sense. So the frame of a
//! broadcast is a part of the one that WebSockets share.

use std::mem;

use bytes::Bytes;
use bytestring::ByteString;

use crate::engine::error::PacketError;
use crate::engine::packet::Packet;
use crate::engine::protocol::Protocol;

/// Reads what one client sends.
///
/// While nothing is partial it owns no heap memory. What is partial grows with the bytes that arrived, at most to twice
/// as much, and never beyond `max_message` bytes, whatever a header announces.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message: usize,
    /// The start of a header that is not complete: the first `held` bytes count.
    head: [u8; MAX_HEADER],
    held: usize,
    /// What the header announced, until that has arrived.
    frame: Option<Announced>,
    body: Vec<u8>,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Announced {
    binary: bool,
    remaining: usize,
}

impl Decoder {
    /// A decoder that refuses frames longer than `max_message` bytes.
    pub(crate) const fn new(max_message: usize) -> Self {
        Self { max_message, head: [0; MAX_HEADER], held: 0, frame: None, body: Vec::new(), over: false }
    }

    /// Takes what was read, in any portions: the packets that are complete. Nothing is read after an error.
    ///
    /// Iterate to the end, or the bytes behind the last packet are lost.
    pub(crate) fn feed<'a>(
        &'a mut self,
        mut bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<Packet, PacketError>> + use<'a> {
        std::iter::from_fn(move || self.next(&mut bytes))
    }

    /// How many bytes are certainly missing before a packet is complete, to read one and nothing behind it.
    #[cfg_attr(
        not(any(test, feature = "webtransport")),
        expect(dead_code, reason = "only WebTransport needs it")
    )]
    pub(crate) fn missing(&self) -> usize {
        match self.frame {
            Some(frame) => frame.remaining,
            None => self.head_size() - self.held,
        }
    }

    fn next(&mut self, bytes: &mut &[u8]) -> Option<Result<Packet, PacketError>> {
        if self.over {
            return None;
        }
        let packet = self.advance(bytes);
        self.over = packet.is_err();
        packet.transpose()
    }

    fn advance(&mut self, bytes: &mut &[u8]) -> Result<Option<Packet>, PacketError> {
        let frame = match self.frame {
            Some(frame) => frame,
            None => {
                if !self.read_head(bytes) {
                    return Ok(None);
                }
                self.begin()?
            }
        };
        let arrived = bytes.split_off(..frame.remaining.min(bytes.len())).unwrap_or_default();
        self.body.extend_from_slice(arrived);
        let remaining = frame.remaining - arrived.len();
        if remaining > 0 {
            self.frame = Some(Announced { remaining, ..frame });
            return Ok(None);
        }
        self.frame = None;
        decode(mem::take(&mut self.body), frame.binary).map(Some)
    }

    /// Whether the header is complete.
    fn read_head(&mut self, bytes: &mut &[u8]) -> bool {
        while self.held < self.head_size() {
            let (Some((first, rest)), Some(slot)) = (bytes.split_first(), self.head.get_mut(self.held))
            else {
                return false;
            };
            *slot = *first;
            *bytes = rest;
            self.held += 1;
        }
        true
    }

    /// What a complete header announces, if that is allowed.
    fn begin(&mut self) -> Result<Announced, PacketError> {
        self.held = 0;
        let [first, a, b, rest @ ..] = self.head;
        let length = match first & LENGTH {
            TWO_BYTES => u64::from(u16::from_be_bytes([a, b])),
            EIGHT_BYTES => {
                let [c, d, e, f, g, h] = rest;
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            short => u64::from(short),
        };
        match usize::try_from(length) {
            Ok(0) => Err(PacketError::Empty),
            Ok(remaining) if remaining <= self.max_message => {
                Ok(Announced { binary: first & BINARY != 0, remaining })
            }
            _ => Err(PacketError::TooLarge),
        }
    }

    /// How long the header is, as far as that is known.
    const fn head_size(&self) -> usize {
        let [first, ..] = self.head;
        match first & LENGTH {
            _ if self.held == 0 => 1,
            TWO_BYTES => 3,
            EIGHT_BYTES => MAX_HEADER,
            _ => 1,
        }
    }
}

/// Bytes are a message; text that is not UTF-8 is repaired, as Node does.
fn decode(body: Vec<u8>, binary: bool) -> Result<Packet, PacketError> {
    if binary {
        return Packet::decode_binary(body.into(), Protocol::V4);
    }
    let text = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Packet::decode_text(ByteString::from(text), Protocol::V4)
}

/// The frame of bytes that is the end of `frame`, a WebSocket's frame of the same bytes: only its header is copied.
pub(crate) fn binary_header(websocket: &[u8]) -> Bytes {
    let mut header = websocket.get(1..).unwrap_or_default().to_vec();
    if let Some(first) = header.first_mut() {
        *first |= BINARY;
    }
    header.into()
}

/// The first bit: bytes instead of text.
const BINARY: u8 = 0x80;
/// The other bits: the length, or how many bytes of length follow.
const LENGTH: u8 = 0x7f;
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;
const MAX_HEADER: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::frame::Frame;
    use crate::engine::packet::Message;
    use proptest::prelude::*;

    const LIMIT: usize = 100_000;

    fn text(text: &str) -> Packet {
        Packet::Message(Message::Text(text.into()))
    }

    fn binary(data: Vec<u8>) -> Packet {
        Packet::Message(Message::Binary(data.into()))
    }

    fn read(bytes: &[u8]) -> Vec<Result<Packet, PacketError>> {
        Decoder::new(LIMIT).feed(bytes).collect()
    }

    fn written(packet: &Packet) -> Vec<u8> {
        Frame::control(packet).webtransport().concat()
    }

    #[test]
    fn a_header_has_the_shortest_form_of_its_length() {
        for (length, head) in [
            (1, &[0x81][..]),
            (125, &[0xfd]),
            (126, &[0xfe, 0, 126]),
            (0xffff, &[0xfe, 0xff, 0xff]),
            (0x1_0000, &[0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(written(&binary(vec![7; length])).strip_suffix(&vec![7; length][..]), Some(head));
            // With its type, text is longer by one.
            let text = written(&text(&"x".repeat(length - 1)));
            assert_eq!(text[0], head[0] & LENGTH);
            assert_eq!(text[1..head.len()], head[1..]);
        }
    }

    #[test]
    fn the_packets_of_the_protocol_are_those_of_the_specification() {
        for (packet, frame) in [
            (Packet::Open("".into()), &b"\x010"[..]),
            (Packet::Pong("probe".into()), b"\x063probe"),
            (Packet::Ping("".into()), b"\x012"),
            (text("\u{20ac}"), b"\x044\xe2\x82\xac"),
            (binary(vec![1, 2, 3, 4]), b"\x84\x01\x02\x03\x04"),
        ] {
            assert_eq!(written(&packet), frame);
            assert_eq!(read(frame), [Ok(packet)]);
        }
    }

    #[test]
    fn an_empty_binary_message_is_sent_as_base64() {
        assert_eq!(written(&binary(vec![])), b"\x01b");
        assert_eq!(read(b"\x01b"), [Ok(binary(vec![]))]);
    }

    #[test]
    fn longer_forms_than_needed_are_read_as_node_does() {
        assert_eq!(read(b"\x7e\x00\x024x"), [Ok(text("x"))]);
        assert_eq!(read(b"\x7f\x00\x00\x00\x00\x00\x00\x00\x024x"), [Ok(text("x"))]);
    }

    #[test]
    fn an_empty_frame_is_an_error_and_ends_the_reading() {
        for head in [&b"\x00"[..], b"\x80", b"\x7e\x00\x00", b"\xff\x00\x00\x00\x00\x00\x00\x00\x00"] {
            let mut decoder = Decoder::new(LIMIT);
            let bytes = [b"\x024x", head, b"\x024y"].concat();
            assert_eq!(decoder.feed(&bytes).collect::<Vec<_>>(), [Ok(text("x")), Err(PacketError::Empty)]);
            assert_eq!(decoder.feed(b"\x024z").count(), 0);
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_an_error_before_its_payload_arrives() {
        let mut decoder = Decoder::new(300);
        assert_eq!(decoder.feed(b"\xfe\x01\x2d").collect::<Vec<_>>(), [Err(PacketError::TooLarge)]);
        assert_eq!(read(&[0xff; 9]), [Err(PacketError::TooLarge)]);
        let taken: Vec<_> = Decoder::new(300).feed(&written(&binary(vec![1; 300]))).collect();
        assert_eq!(taken, [Ok(binary(vec![1; 300]))]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_repaired() {
        assert_eq!(read(b"\x034a\xff"), [Ok(text("a\u{fffd}"))]);
    }

    #[test]
    fn an_idle_decoder_owns_no_memory() {
        let mut decoder = Decoder::new(LIMIT);
        assert_eq!(decoder.feed(&written(&binary(vec![1; 50_000]))).count(), 1);
        assert_eq!(decoder.body.capacity(), 0);
        assert_eq!(decoder.feed(&[0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1]).count(), 0);
        assert!(decoder.body.capacity() < 100, "memory for what was announced");
    }

    #[test]
    fn the_missing_bytes_end_with_the_packet_and_not_beyond() {
        for packet in [text("x"), text(&"x".repeat(1000)), binary(vec![1; 70_000])] {
            let frame = written(&packet);
            let mut decoder = Decoder::new(LIMIT);
            let (mut rest, mut packets) = (&frame[..], Vec::new());
            while packets.is_empty() {
                let portion = rest.split_off(..decoder.missing()).expect("no more than there is");
                packets.extend(decoder.feed(portion));
            }
            assert_eq!((packets, rest), (vec![Ok(packet)], &[][..]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_packets_or_an_error_however_they_are_split(
            bytes: Vec<u8>,
            portion in 1_usize..20,
        ) {
            let whole: Vec<_> = Decoder::new(64).feed(&bytes).collect();
            let mut decoder = Decoder::new(64);
            let split: Vec<_> = bytes.chunks(portion).flat_map(|part| decoder.feed(part).collect::<Vec<_>>()).collect();
            prop_assert_eq!(&whole, &split);
            prop_assert!(whole.iter().rev().skip(1).all(|packet| !matches!(packet, Err(PacketError::Empty | PacketError::TooLarge))));
        }

        #[test]
        fn written_frames_are_read(texts: Vec<String>, data in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut packets: Vec<_> = texts.iter().map(|one| text(one)).collect();
            packets.push(binary(data));
            let stream: Vec<u8> = packets.iter().flat_map(written).collect();
            prop_assert_eq!(read(&stream), packets.into_iter().map(Ok).collect::<Vec<_>>());
        }
    }
}
