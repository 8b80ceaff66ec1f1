//! One packet as it is written: encoded once for every transport and version, and shared by all its receivers
//! (engine.io protocol v4, "Packet encoding"; v3, "Packet"; RFC 6455 section 5.2).

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use bytes::Bytes;
use smallvec::SmallVec;

use super::budget::{Budget, Charge};
use super::config::Compression;
use super::packet::{BASE64, BINARY_MESSAGE, Message, Packet};
use super::protocol::Protocol;
use super::websocket::{Deflated, Opcode, header};
use super::webtransport::binary_header;

/// An encoded packet. A clone shares the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    encoding: Encoding,
    /// Whether the packet may be compressed.
    compress: bool,
}

#[derive(Clone, Debug)]
enum Encoding {
    /// The WebSocket frame; behind its header lies the packet as polling writes it.
    Text {
        frame: Bytes,
        header: u8,
        /// `None` if the packet is too short to be deflated, or to count.
        shared: Option<Arc<SharedText>>,
    },
    Binary(Arc<BinaryFrame>),
}

/// What the clones of a text share beside its bytes.
#[derive(Debug, Default)]
struct SharedText {
    deflated: Deflated,
    charge: OnceLock<Charge>,
}

#[derive(Debug)]
struct BinaryFrame {
    header: Bytes,
    payload: Bytes,
    /// The header of version 3 and the type of the packet. Made for the first client of that version.
    header_v3: OnceLock<Bytes>,
    /// `b` and base64, for polling and `b64=1`. Made for the first client that needs it.
    base64: OnceLock<Bytes>,
    deflated: Deflated,
    deflated_v3: Deflated,
    charge: OnceLock<Charge>,
}

/// The frames of one packet of the application.
pub(crate) type Frames = SmallVec<[Frame; 1]>;

/// The frames of a text message and of the binary messages that must follow it at once, as in a Socket.IO packet.
/// `compress` says whether they may be compressed.
pub(crate) fn frames(text: &str, attachments: &[Bytes], compress: bool) -> Frames {
    let mut frames = Frames::with_capacity(1 + attachments.len());
    frames.push(Frame::message_text(text).with_compress(compress));
    let binary = |data| Frame::message_binary(data).with_compress(compress);
    frames.extend(attachments.iter().cloned().map(binary));
    frames
}

/// How the packets for one client are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) protocol: Protocol,
    /// The client cannot receive bytes: they are sent as base64.
    pub(crate) base64: bool,
    /// Which packets are deflated, and how, on a WebSocket where that was negotiated.
    pub(crate) deflate: Option<Compression>,
}

impl Frame {
    /// A message of text, given without its type.
    pub(crate) fn message_text(text: &str) -> Self {
        Self::text(&["4", text])
    }

    /// A message of bytes, which are not copied.
    pub(crate) fn message_binary(payload: Bytes) -> Self {
        let header = Bytes::copy_from_slice(&header(Opcode::Binary, payload.len()));
        let binary = BinaryFrame {
            header,
            payload,
            header_v3: OnceLock::new(),
            base64: OnceLock::new(),
            deflated: Deflated::default(),
            deflated_v3: Deflated::default(),
            charge: OnceLock::new(),
        };
        Self::of(Encoding::Binary(Arc::new(binary)))
    }

    const fn of(encoding: Encoding) -> Self {
        Self { encoding, compress: true }
    }

    /// Sets whether the packet may be compressed.
    pub(crate) fn with_compress(self, compress: bool) -> Self {
        Self { compress, ..self }
    }

    /// Any packet. Packets without data cost no allocation.
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

    /// Counts the bytes as held for clients, from the first call until the last clone is dropped.
    pub(crate) fn charge(&self, budget: &Arc<Budget>) {
        let charge = match &self.encoding {
            Encoding::Text { shared: Some(shared), .. } => &shared.charge,
            Encoding::Text { shared: None, .. } => return,
            Encoding::Binary(binary) => &binary.charge,
        };
        charge.get_or_init(|| {
            let mut charge = Arc::clone(budget).charge();
            charge.set(self.len());
            charge
        });
    }

    /// Whether the packet may be compressed.
    pub(crate) const fn compress(&self) -> bool {
        self.compress
    }

    /// Makes the next step of deflating the packet for clients of this dialect, if they want that. Returns whether
    /// [`Frame::websocket`] may follow. A large packet takes several calls, so that no call takes long.
    pub(crate) fn deflate(&self, dialect: Dialect) -> bool {
        let (Some(deflated), Some(compression)) = (self.deflated(dialect), dialect.deflate) else {
            return true;
        };
        let how = compression.deflation();
        match &self.encoding {
            Encoding::Text { frame, header, .. } => {
                let packet = frame.get(usize::from(*header)..).unwrap_or_default();
                deflated.advance(how, Opcode::Text, [packet, &[]])
            }
            Encoding::Binary(binary) => {
                let kind: &[u8] = if dialect.protocol == Protocol::V3 { &[BINARY_MESSAGE] } else { &[] };
                deflated.advance(how, Opcode::Binary, [kind, &binary.payload])
            }
        }
    }

    /// Where the deflated frame is, if clients of this dialect get one. Base64 is for clients too old to want it.
    fn deflated(&self, dialect: Dialect) -> Option<&Deflated> {
        let Compression { threshold, .. } = dialect.deflate.filter(|_| self.compress)?;
        match &self.encoding {
            Encoding::Text { frame, header, shared } => {
                let shared = shared.as_deref().filter(|_| frame.len() - usize::from(*header) >= threshold);
                shared.map(|shared| &shared.deflated)
            }
            Encoding::Binary(binary)
                if dialect.base64 || binary.payload.len() < threshold.max(WORTHWHILE) =>
            {
                None
            }
            Encoding::Binary(binary) => Some(match dialect.protocol {
                Protocol::V3 => &binary.deflated_v3,
                Protocol::V4 => &binary.deflated,
            }),
        }
    }

    /// The WebSocket frame, in two pieces for a vectored write; the second is empty for plain text.
    ///
    /// A client that cannot receive bytes gets them in a text frame, as base64.
    pub(crate) fn websocket(self, dialect: Dialect) -> [Bytes; 2] {
        if let Some(frame) = self.deflated(dialect).and_then(Deflated::frame) {
            return frame;
        }
        let binary = match self.encoding {
            Encoding::Text { frame, .. } => return [frame, Bytes::new()],
            Encoding::Binary(binary) => binary,
        };
        match dialect {
            Dialect { protocol: Protocol::V4, base64: false, .. } => {
                [binary.header.clone(), binary.payload.clone()]
            }
            Dialect { protocol: Protocol::V3, base64: false, .. } => {
                [binary.header_v3(), binary.payload.clone()]
            }
            Dialect { protocol, base64: true, .. } => {
                let [prefix, base64] = binary.base64(protocol);
                let header = header(Opcode::Text, prefix.len() + base64.len());
                [[&*header, &*prefix].concat().into(), base64]
            }
        }
    }

    /// The frame on a stream of WebTransport, in two pieces for a vectored write; the second is empty for text.
    pub(crate) fn webtransport(self) -> [Bytes; 2] {
        match self.encoding {
            Encoding::Text { frame, .. } => [frame.slice(1..), Bytes::new()],
            // A frame without bytes is an error to the client, so they are sent as base64.
            Encoding::Binary(binary) if binary.payload.is_empty() => {
                [Bytes::from_static(b"\x01b"), Bytes::new()]
            }
            Encoding::Binary(binary) => [binary_header(&binary.header), binary.payload.clone()],
        }
    }

    /// The packet as text, as one piece of a polling payload: a prefix, and the rest. The prefix is empty in version 4.
    pub(crate) fn polling(&self, protocol: Protocol) -> [Bytes; 2] {
        match &self.encoding {
            Encoding::Text { frame, header, .. } => [Bytes::new(), frame.slice(usize::from(*header)..)],
            Encoding::Binary(binary) => binary.base64(protocol),
        }
    }

    /// The bytes of a binary message.
    pub(crate) fn binary(&self) -> Option<&Bytes> {
        match &self.encoding {
            Encoding::Text { .. } => None,
            Encoding::Binary(binary) => Some(&binary.payload),
        }
    }

    /// Bytes on a WebSocket, header included: what limits count.
    pub(crate) fn len(&self) -> usize {
        match &self.encoding {
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
        // A header has ten bytes at most.
        let header = u8::try_from(header.len()).unwrap_or_default();
        let shared = (length >= WORTHWHILE).then(Arc::default);
        Self::of(Encoding::Text { frame: frame.into(), header, shared })
    }

    /// A text packet of one character, with its frame header of two bytes.
    const fn fixed(frame: &'static [u8; 3]) -> Self {
        Self::of(Encoding::Text { frame: Bytes::from_static(frame), header: 2, shared: None })
    }
}

impl BinaryFrame {
    /// The prefix that the version wants, and the rest, which all clients share.
    fn base64(&self, protocol: Protocol) -> [Bytes; 2] {
        let base64 = self.base64.get_or_init(|| encode_base64(&self.payload));
        match protocol {
            Protocol::V4 => [Bytes::new(), base64.clone()],
            Protocol::V3 => [Bytes::from_static(b"b4"), base64.slice(1..)],
        }
    }

    fn header_v3(&self) -> Bytes {
        let encode = || [&*header(Opcode::Binary, self.payload.len() + 1), &[BINARY_MESSAGE]].concat().into();
        self.header_v3.get_or_init(encode).clone()
    }
}

/// The smallest packet that is deflated, or counts on its own. Without context, deflating shorter ones gains nothing.
const WORTHWHILE: usize = 64;

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

    const V4: Dialect = Dialect { protocol: Protocol::V4, base64: false, deflate: None };
    const V3: Dialect = Dialect { protocol: Protocol::V3, base64: false, deflate: None };

    fn from(threshold: usize) -> Option<Compression> {
        Some(Compression::default().threshold(threshold))
    }

    fn websocket(frame: &Frame) -> Vec<u8> {
        frame.clone().websocket(V4).concat()
    }

    fn polling(frame: &Frame) -> Vec<u8> {
        frame.polling(Protocol::V4).concat()
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
            assert_eq!(polling(&frame), wire.as_bytes());
            assert_eq!(frame.polling(Protocol::V3).concat(), wire.as_bytes());
            assert_eq!(frame.clone().websocket(V3), frame.clone().websocket(V4));
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
            assert_eq!(frame.clone().websocket(V4)[0], header);
            assert_eq!(frame.clone().websocket(V4)[1].len(), length);
            assert_eq!(frame.len(), header.len() + length);
        }
        assert_eq!(websocket(&Frame::message_text(&"x".repeat(125)))[..5], [0x81, 126, 0, 126, b'4']);
    }

    #[test]
    fn bytes_are_base64_on_polling_and_after_b64() {
        let frame = Frame::message_binary(Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(polling(&frame), b"bAQIDBA==");
        let base64 = Dialect { base64: true, ..V4 };
        assert_eq!(frame.clone().websocket(base64).concat(), b"\x81\x09bAQIDBA==");
        assert_eq!(Frame::message_text("a").websocket(base64).concat(), b"\x81\x024a");
    }

    #[test]
    fn in_version_3_bytes_carry_their_type() {
        let frame = Frame::message_binary(Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(frame.clone().websocket(V3).concat(), b"\x82\x05\x04\x01\x02\x03\x04");
        assert_eq!(frame.polling(Protocol::V3).concat(), b"b4AQIDBA==");
        assert_eq!(frame.clone().websocket(Dialect { base64: true, ..V3 }).concat(), b"\x81\x0ab4AQIDBA==");
        let long = Frame::message_binary(vec![7; 125].into());
        assert_eq!(&*long.clone().websocket(V3)[0], b"\x82\x7e\x00\x7e\x04");
    }

    #[test]
    fn clones_share_every_encoding() {
        let bytes = Bytes::from(vec![1; 100]);
        let frame = Frame::message_binary(bytes.clone());
        let clone = frame.clone();
        for dialect in [V3, V4] {
            assert_eq!(frame.clone().websocket(dialect)[1].as_ptr(), bytes.as_ptr());
            assert_eq!(
                frame.clone().websocket(dialect)[0].as_ptr(),
                clone.clone().websocket(dialect)[0].as_ptr()
            );
        }
        let [_, v4] = frame.polling(Protocol::V4);
        let [_, v3] = clone.polling(Protocol::V3);
        assert_eq!(v3.as_ptr(), v4.as_ptr().wrapping_add(1));
        let text = Frame::message_text("shared");
        let [_, polling] = text.polling(Protocol::V3);
        assert_eq!(polling.as_ptr(), text.clone().websocket(V4)[0].as_ptr().wrapping_add(2));
    }

    #[test]
    fn clones_share_what_is_deflated_and_each_version_has_its_own() {
        let deflating = |dialect| Dialect { deflate: from(100), ..dialect };
        let text = Frame::message_text(&"abc".repeat(100));
        let binary = Frame::message_binary(vec![1; 300].into());
        for (frame, first) in [(text, 0xc1), (binary, 0xc2)] {
            let clone = frame.clone();
            for dialect in [V3, V4] {
                let plain = frame.clone().websocket(dialect);
                assert!(frame.deflate(deflating(dialect)));
                let [header, payload] = clone.clone().websocket(deflating(dialect));
                assert_eq!(header[0], first);
                assert!(payload.len() < 20);
                assert_eq!(payload.as_ptr(), frame.clone().websocket(deflating(dialect))[1].as_ptr());
                assert_eq!(clone.clone().websocket(dialect), plain, "others get it as it was");
            }
        }
    }

    #[test]
    fn packets_that_are_short_or_base64_or_must_not_be_compressed_are_not_deflated() {
        let frame = Frame::message_binary(vec![1; 300].into());
        let deflating = Dialect { deflate: from(300), ..V4 };
        for (frame, dialect) in [
            (frame.clone().with_compress(false), deflating),
            (frame.clone(), V4),
            (frame.clone(), Dialect { base64: true, ..deflating }),
            (frame, Dialect { deflate: from(301), ..V4 }),
            (Frame::message_text(&"a".repeat(298)), deflating),
            (Frame::message_text("a"), Dialect { deflate: from(0), ..V4 }),
            (Frame::control(&Packet::Noop), Dialect { deflate: from(0), ..V4 }),
        ] {
            assert!(frame.deflate(dialect));
            assert_eq!(frame.clone().websocket(dialect)[0][0] & 0x40, 0, "{frame:?}");
        }
    }

    proptest! {
        #[test]
        fn written_packets_are_read(text: String, bytes: Vec<u8>) {
            let frames = [Frame::message_text(&text), Frame::message_binary(bytes.clone().into())];
            let expected = [Message::Text(text.into()), Message::Binary(bytes.into())];
            for (frame, message) in frames.into_iter().zip(expected) {
                for protocol in [Protocol::V3, Protocol::V4] {
                    let wire = String::from_utf8(frame.polling(protocol).concat()).unwrap();
                    prop_assert_eq!(
                        Packet::decode_text(wire.into(), protocol),
                        Ok(Packet::Message(message.clone()))
                    );
                }
            }
        }
    }
}
