//! The body of one poll or one POST: the packets of a payload, in the form of each version (engine.io protocol v4,
//! "Payload encoding"; v3, "Payload").

mod body;
mod v3;
mod v4;

use super::error::PacketError;
use super::frame::{Dialect, Frame};
use super::packet::Packet;
use super::protocol::Protocol;

pub(crate) use body::Payload;

/// Joins frames into the body of a poll.
pub(crate) fn encode(frames: &[Frame], dialect: Dialect) -> Payload {
    match dialect.protocol {
        Protocol::V4 => Payload::text(v4::encode(frames)),
        Protocol::V3 => v3::encode(frames, dialect.base64),
    }
}

/// Reads the packets of a POST, one at a time, so that a body of a million empty packets costs no more than
/// its bytes.
///
/// Invalid UTF-8 in text becomes U+FFFD, as in Node. Nothing follows the first error.
pub(crate) fn decode(payload: Payload, protocol: Protocol) -> Packets {
    match (protocol, payload.binary) {
        (Protocol::V4, _) => Packets::V4(v4::JoinedPackets::new(payload.bytes)),
        (Protocol::V3, false) => Packets::V3Text(v3::TextPackets::new(payload.bytes)),
        (Protocol::V3, true) => Packets::V3Binary(v3::BinaryPackets::new(payload.bytes)),
    }
}

/// The packets of a body that are not read yet.
#[derive(Debug)]
pub(crate) enum Packets {
    V4(v4::JoinedPackets),
    V3Text(v3::TextPackets),
    V3Binary(v3::BinaryPackets),
}

impl Iterator for Packets {
    type Item = Result<Packet, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::V4(packets) => packets.next(),
            Self::V3Text(packets) => packets.next(),
            Self::V3Binary(packets) => packets.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packet::Message;
    use proptest::prelude::*;

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let text = any::<String>().prop_map(|text| Message::Text(text.replace('\x1e', " ").into()));
        let binary = any::<Vec<u8>>().prop_map(|bytes| Message::Binary(bytes.into()));
        proptest::collection::vec(prop_oneof![text, binary], 1..20)
    }

    proptest! {
        #[test]
        fn any_body_decodes_or_errs(body: Vec<u8>, v3: bool, binary: bool) {
            let protocol = if v3 { Protocol::V3 } else { Protocol::V4 };
            let length = body.len();
            let packets: Vec<_> = decode(Payload { bytes: body.into(), binary }, protocol).collect();
            prop_assert!(packets.len() <= length + 1);
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }

        #[test]
        fn written_packets_are_read(messages in messages(), v3: bool, base64: bool) {
            let protocol = if v3 { Protocol::V3 } else { Protocol::V4 };
            let packets: Vec<_> = messages.into_iter().map(Packet::Message).collect();
            let frames: Vec<_> = packets.iter().map(Frame::control).collect();
            let payload = encode(&frames, Dialect { protocol, base64, deflate: None });
            prop_assert!(!payload.binary || (v3 && !base64));
            let read: Result<Vec<_>, _> = decode(payload, protocol).collect();
            prop_assert_eq!(read, Ok(packets));
        }
    }
}
