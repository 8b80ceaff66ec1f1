//! The decoders of this floor, for the fuzz targets.

use bytes::Bytes;
use bytestring::ByteString;

use super::args::{Args, RawArg, RawArgs};
use super::decoder::PacketDecoder;
use super::packet::PacketLimits;
use super::parser::Parser;
use crate::engine::Message;

/// Decodes the messages of a client until one is refused. Returns whether there was a packet.
pub(crate) fn fuzz_packets(parser: Parser, messages: impl Iterator<Item = Message>) -> bool {
    let mut decoded = false;
    let mut decoder =
        PacketDecoder::new(parser, PacketLimits { max_attachments: 10, max_pending_bytes: 1 << 16 });
    for message in messages {
        let packet = match message {
            Message::Text(text) => decoder.text(&text),
            Message::Binary(data) => decoder.binary(data),
        };
        match packet {
            Ok(packet) => decoded |= packet.is_some(),
            Err(_) => break,
        }
    }
    decoded
}

/// Decodes the text of an array of arguments to several types. Returns whether it is one.
pub(crate) fn fuzz_arguments(array: &ByteString) -> bool {
    let attachments = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let Ok(args) = RawArgs::from_array(array, attachments) else { return false };
    drop(args.decode::<Args<(Option<Bytes>, serde_json::Value, RawArg)>>());
    drop(args.decode::<Vec<Option<String>>>());
    let _arguments = args.iter().count();
    true
}
