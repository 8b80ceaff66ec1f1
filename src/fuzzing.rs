//! One function per target of `cluster-tests/src/fuzz`. Each takes any bytes. Decoders decode or refuse them; to what has a
//! state they say what happens to it. Each returns whether its input was taken, or got as far as it cares about. The operations whose
//! instructions are counted are in [`operations`].

mod gossip;
mod link;
mod membership;
pub mod operations;
mod proxies;
mod request;
mod session;
mod sockets;
mod tape;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::cluster::wire::{Frame, Message};
use crate::engine::packet::Packet;
use crate::engine::payload;
use crate::engine::websocket::{Decoder, Incoming, Violation};
use crate::engine::{self, Budget, Payload, Protocol, Query, webtransport};
use crate::socket;

pub use gossip::{gossip, gossip_filter, gossip_message};
pub use link::link;
pub use membership::{hello, membership};
pub use proxies::{client_address, proxy_header};
pub use request::request;
pub use session::session;
pub use sockets::{sockets, sockets_msgpack};

/// Client frames: read in one piece and in portions, both have to tell the same. The first byte is the portions' size.
///
/// # Panics
///
/// When a property does not hold, which is what fuzzing looks for.
pub fn websocket(data: &[u8]) -> bool {
    frames(data, false)
}

/// As [`websocket`], where messages may be deflated.
///
/// # Panics
///
/// As [`websocket`].
pub fn websocket_deflate(data: &[u8]) -> bool {
    frames(data, true)
}

fn frames(data: &[u8], deflate: bool) -> bool {
    const MAX_MESSAGE: usize = 4096;
    let Some((&portion, bytes)) = data.split_first() else { return false };
    let decoder = || {
        let decoder = Decoder::new(MAX_MESSAGE);
        if deflate { decoder.with_deflate(Budget::new(usize::MAX)) } else { decoder }
    };
    let mut reading = decoder();
    let whole: Vec<Result<Incoming, Violation>> = reading.feed(&mut bytes.to_vec()).collect();
    for message in &whole {
        assert!(size(message) <= MAX_MESSAGE, "a message above the limit");
    }

    let mut reading = decoder();
    let mut split = Vec::new();
    for portion in bytes.to_vec().chunks_mut(usize::from(portion).max(1)) {
        split.extend(reading.feed(portion));
    }
    assert_eq!(whole, split, "a split changed what was read");
    whole.iter().any(Result::is_ok)
}

/// Frames of a WebTransport client: read in one piece and in portions, both have to tell the same. The first byte is the
/// portions' size.
///
/// # Panics
///
/// When the portions matter.
pub fn webtransport(data: &[u8]) -> bool {
    let Some((&portion, bytes)) = data.split_first() else { return false };
    let mut decoder = webtransport::Decoder::new(4096);
    let whole: Vec<_> = decoder.feed(bytes).collect();

    let mut decoder = webtransport::Decoder::new(4096);
    let mut split = Vec::new();
    for portion in bytes.chunks(usize::from(portion).max(1)) {
        split.extend(decoder.feed(portion));
    }
    assert_eq!(whole, split, "a split changed what was read");
    whole.iter().any(Result::is_ok)
}

fn size(message: &Result<Incoming, Violation>) -> usize {
    match message {
        Ok(Incoming::Text(text)) => text.len(),
        Ok(Incoming::Binary(bytes) | Incoming::Ping(bytes)) => bytes.len(),
        Ok(Incoming::Pong | Incoming::Close(_)) | Err(_) => 0,
    }
}

/// One Engine.IO packet, of text or bytes.
pub fn engine_packet(data: &[u8]) -> bool {
    let mut decoded = false;
    for protocol in [Protocol::V3, Protocol::V4] {
        if let Ok(text) = ByteString::try_from(data) {
            decoded |= Packet::decode_text(text, protocol).is_ok();
        }
        drop(Packet::decode_binary(Bytes::copy_from_slice(data), protocol));
    }
    decoded
}

/// The body of a POST.
///
/// # Panics
///
/// When a payload holds more packets than bytes.
pub fn engine_payload(data: &[u8]) -> bool {
    let mut decoded = false;
    for (protocol, binary) in [(Protocol::V3, false), (Protocol::V3, true), (Protocol::V4, false)] {
        let payload = Payload { bytes: Bytes::copy_from_slice(data), binary };
        let packets: Vec<_> = payload::decode(payload, protocol).collect();
        assert!(packets.len() <= data.len() + 1, "more packets than bytes");
        decoded |= packets.iter().all(Result::is_ok);
    }
    decoded
}

/// The query of a handshake.
pub fn query(data: &[u8]) -> bool {
    let query = Query::parse(&String::from_utf8_lossy(data));
    query.transport(&engine::Config::default()).is_ok() && query.sid().is_ok()
}

/// Socket.IO packets with attachments: lines of text, and bytes behind a NUL.
pub fn socket_packet(data: &[u8]) -> bool {
    let messages = data.split(|byte| *byte == b'\n').map(|line| match line.split_first() {
        Some((0, attachment)) => engine::Message::Binary(Bytes::copy_from_slice(attachment)),
        _ => engine::Message::Text(ByteString::from(String::from_utf8_lossy(line).into_owned())),
    });
    socket::fuzz_packets(socket::Parser::Json, messages)
}

/// A Socket.IO packet as MessagePack.
pub fn msgpack_packet(data: &[u8]) -> bool {
    let message = engine::Message::Binary(Bytes::copy_from_slice(data));
    socket::fuzz_packets(socket::Parser::MessagePack, std::iter::once(message))
}

/// The arguments of an event, decoded as values with attachments.
pub fn event_arguments(data: &[u8]) -> bool {
    socket::fuzz_arguments(&ByteString::from(String::from_utf8_lossy(data).into_owned()))
}

/// Frames of a link between nodes.
///
/// # Panics
///
/// When more frames come out than fit in.
pub fn mesh_frame(data: &[u8]) -> bool {
    let mut buffer = BytesMut::from(data);
    let frames = std::iter::from_fn(|| Frame::decode(&mut buffer).ok().flatten()).count();
    assert!(frames <= data.len(), "more frames than bytes");
    frames > 0
}

/// What a frame between nodes holds.
pub fn mesh_envelope(data: &[u8]) -> bool {
    Message::decode(Bytes::copy_from_slice(data)).is_ok()
}
