//! One Engine.IO packet, as it is read from a client (engine.io protocol v4, "Packet encoding"; v3, "Packet").

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;

use super::error::PacketError;
use super::protocol::Protocol;

/// What an application sends and receives.
///
/// ```
/// use socketmesh::engine::Message;
///
/// let (text, bytes) = (Message::Text("hi".into()), Message::Binary("hi".into()));
/// assert_ne!(text, bytes);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(ByteString),
    /// Bytes as they are.
    Binary(Bytes),
}

/// One packet of the protocol.
///
/// ```
/// use socketmesh::engine::Packet;
///
/// fn is_sign_of_life(packet: &Packet) -> bool {
///     matches!(packet, Packet::Ping(_) | Packet::Pong(_))
/// }
/// # assert!(is_sign_of_life(&Packet::Pong("".into())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The handshake, of the server only.
    Open(ByteString),
    /// The transport is to be closed.
    Close,
    /// A ping, with its data.
    Ping(ByteString),
    /// The answer to a ping, with the data of that.
    Pong(ByteString),
    /// A message of the application.
    Message(Message),
    /// The client moves to this transport.
    Upgrade,
    /// Nothing: it answers a poll.
    Noop,
}

impl Packet {
    /// Reads a text frame or one packet of a payload: a type digit and its data, or `b` and base64 (in version 3 with
    /// the type between them).
    ///
    /// Text is a slice of what was given, not a copy.
    pub(crate) fn decode_text(text: ByteString, protocol: Protocol) -> Result<Self, PacketError> {
        let mut chars = text.chars();
        let kind = chars.next().ok_or(PacketError::Empty)?;
        let data = chars.as_str();
        Ok(match kind {
            '0' => Self::Open(text.slice_ref(data)),
            '1' => Self::Close,
            '2' => Self::Ping(text.slice_ref(data)),
            '3' => Self::Pong(text.slice_ref(data)),
            '4' => Self::Message(Message::Text(text.slice_ref(data))),
            '5' => Self::Upgrade,
            '6' => Self::Noop,
            'b' => Self::Message(Message::Binary(decode_base64(base64_of(data, protocol)?))),
            other => return Err(PacketError::UnknownType(other)),
        })
    }

    /// Reads a binary frame, or a packet of bytes in a payload: always a message, in version 3 behind its type.
    pub(crate) fn decode_binary(bytes: Bytes, protocol: Protocol) -> Result<Self, PacketError> {
        let data = match (protocol, bytes.first()) {
            (Protocol::V4, _) => bytes,
            (Protocol::V3, Some(&BINARY_MESSAGE)) => bytes.slice(1..),
            (Protocol::V3, Some(&other)) => return Err(PacketError::BinaryType(other)),
            (Protocol::V3, None) => return Err(PacketError::Empty),
        };
        Ok(Self::Message(Message::Binary(data)))
    }
}

fn base64_of(data: &str, protocol: Protocol) -> Result<&str, PacketError> {
    match protocol {
        Protocol::V4 => Ok(data),
        Protocol::V3 => data.strip_prefix('4').ok_or(PacketError::InvalidBase64),
    }
}

/// Reads base64 as Node's `Buffer.from` does, which takes anything: both alphabets, up to the first `=`, and what belongs to neither
/// is skipped.
fn decode_base64(text: &str) -> Bytes {
    if let Ok(bytes) = BASE64.decode(text) {
        return bytes.into();
    }
    let digit = |byte: u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        byte => (byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).then_some(byte),
    };
    let mut digits: Vec<u8> = text.bytes().take_while(|byte| *byte != b'=').filter_map(digit).collect();
    if digits.len() % 4 == 1 {
        // Six bits are no byte.
        digits.pop();
    }
    BASE64.decode(digits).unwrap_or_default().into()
}

/// The type of a message before bytes, in version 3.
pub(super) const BINARY_MESSAGE: u8 = 4;

/// Written with padding, as the specification wants it; read with or without, since clients in the field
/// differ.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(data: &'static str) -> Packet {
        Packet::Message(Message::Text(data.into()))
    }

    fn binary(data: &'static [u8]) -> Packet {
        Packet::Message(Message::Binary(Bytes::from_static(data)))
    }

    #[test]
    fn a_type_digit_names_the_packet() {
        for (wire, packet) in [
            ("0{}", Ok(Packet::Open("{}".into()))),
            ("1", Ok(Packet::Close)),
            ("2", Ok(Packet::Ping("".into()))),
            ("2probe", Ok(Packet::Ping("probe".into()))),
            ("3", Ok(Packet::Pong("".into()))),
            ("4", Ok(text(""))),
            ("4hello €", Ok(text("hello €"))),
            ("5", Ok(Packet::Upgrade)),
            ("6", Ok(Packet::Noop)),
            ("bAQIDBA==", Ok(binary(&[1, 2, 3, 4]))),
            ("bAQIDBA", Ok(binary(&[1, 2, 3, 4]))),
            ("b", Ok(binary(&[]))),
            ("b?", Ok(binary(&[]))),
            ("bA QID!B-_=", Ok(binary(&[1, 2, 3, 7, 239]))),
            ("bAQIDB", Ok(binary(&[1, 2, 3]))),
            ("bAQ==AQ==", Ok(binary(&[1]))),
            ("bA=QID", Ok(binary(&[]))),
            ("", Err(PacketError::Empty)),
            ("abc", Err(PacketError::UnknownType('a'))),
            ("7", Err(PacketError::UnknownType('7'))),
            ("é", Err(PacketError::UnknownType('é'))),
        ] {
            assert_eq!(Packet::decode_text(wire.into(), Protocol::V4), packet, "{wire}");
        }
    }

    #[test]
    fn in_version_3_bytes_have_a_type_too() {
        for (wire, packet) in [
            ("4hello €", Ok(text("hello €"))),
            ("b4AQIDBA==", Ok(binary(&[1, 2, 3, 4]))),
            ("b4", Ok(binary(&[]))),
            ("b", Err(PacketError::InvalidBase64)),
            ("bAQID", Err(PacketError::InvalidBase64)),
            ("b4?", Ok(binary(&[]))),
        ] {
            assert_eq!(Packet::decode_text(wire.into(), Protocol::V3), packet, "{wire}");
        }
        for (wire, packet) in [
            (&[4, 1, 2][..], Ok(binary(&[1, 2]))),
            (&[4], Ok(binary(&[]))),
            (&[], Err(PacketError::Empty)),
            (&[2, 1], Err(PacketError::BinaryType(2))),
            (b"4", Err(PacketError::BinaryType(b'4'))),
        ] {
            assert_eq!(Packet::decode_binary(Bytes::from_static(wire), Protocol::V3), packet, "{wire:?}");
        }
    }

    #[test]
    fn text_of_a_message_shares_the_buffer_it_was_read_into() {
        let wire = ByteString::from("4a long enough message".to_owned());
        let start = wire.as_bytes().as_ptr();
        let decoded = Packet::decode_text(wire, Protocol::V4);
        let Ok(Packet::Message(Message::Text(data))) = decoded else { panic!("a message") };
        assert_eq!(data.as_bytes().as_ptr(), start.wrapping_add(1));
    }

    proptest! {
        #[test]
        fn any_text_is_a_packet_or_refused(wire: String) {
            let known = matches!(wire.chars().next(), Some('0'..='6' | 'b'));
            for protocol in [Protocol::V3, Protocol::V4] {
                let decoded = Packet::decode_text(wire.as_str().into(), protocol);
                prop_assert!(known || decoded.is_err());
            }
        }

        #[test]
        fn binary_survives_base64(bytes: Vec<u8>) {
            let base64 = BASE64.encode(&bytes);
            let packet = Ok(Packet::Message(Message::Binary(bytes.into())));
            prop_assert_eq!(&Packet::decode_text(format!("b{base64}").into(), Protocol::V4), &packet);
            prop_assert_eq!(&Packet::decode_text(format!("b4{base64}").into(), Protocol::V3), &packet);
        }
    }
}
