//! The bytes between nodes: frames, and protobuf ↔ domain values (docs/protocol/mesh.md, "Byte layout", "Versions").

mod exchange;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use prost::Message as _;

use crate::cluster::interest::Update;
use crate::socket::messages::{Broadcast, Command, Flags, Request, Response, Room, Selection};
pub(crate) use exchange::{encode_command, encode_request, encode_response};
use pb::envelope::Kind;

/// The generated types of `proto/mesh.proto`.
#[allow(
    missing_docs,
    unnameable_types,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    reason = "generated; a test compares it"
)]
pub(crate) mod pb {
    include!("mesh.pb.rs");
}

/// One unit on a link: 4 bytes length of the rest, 8 bytes sequence number (0 = unsequenced), then an `Envelope`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub seq: u64,
    pub body: Bytes,
}

impl Frame {
    /// The bytes before the body, which is shared by all peers.
    pub(crate) fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let mut rest = header.as_mut_slice();
        // `decode` and `encode_broadcast` keep bodies below MAX_FRAME, far below 4 GiB.
        rest.put_u32(u32::try_from(self.body.len() + SEQ).unwrap_or(u32::MAX));
        rest.put_u64(self.seq);
        header
    }

    /// Takes the next frame off `buffer`; `None` when it is not complete yet.
    ///
    /// # Errors
    /// When the length is impossible; the connection is of no use any more.
    pub(crate) fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some(mut head) = buffer.get(..HEADER) else { return Ok(None) };
        let length = head.get_u32() as usize;
        let seq = head.get_u64();
        if !(SEQ..=MAX_FRAME).contains(&length) {
            return Err(WireError::Length(length));
        }
        if buffer.len() < HEADER - SEQ + length {
            return Ok(None);
        }
        buffer.advance(HEADER);
        Ok(Some(Self { seq, body: share(buffer, length - SEQ) }))
    }
}

/// Small bodies are copied: a shared one would keep the whole read buffer alive as long as a slow client holds it.
fn share(buffer: &mut BytesMut, length: usize) -> Bytes {
    let body = buffer.split_to(length);
    if length <= COPY { Bytes::copy_from_slice(&body) } else { body.freeze() }
}

/// What the body of a frame says.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Start {
        log: u64,
        first: u64,
    },
    Interest(Update),
    Ack {
        seq: u64,
        interest: u64,
    },
    Gap {
        to: u64,
    },
    Goodbye,
    Broadcast(Broadcast),
    Command(Command),
    /// A request, with its id among those of the sender.
    Request(u64, Request),
    /// A request of a kind that this version does not know, with its id.
    UnknownRequest(u64),
    /// A response to the receiver's request with this id.
    Response(u64, Response),
    /// Of a kind that this version does not know: ignored, but counted in the sequence.
    Unknown,
}

impl Message {
    /// # Errors
    /// When the body is no envelope; the frame is skipped.
    pub(crate) fn decode(body: Bytes) -> Result<Self, WireError> {
        Ok(match pb::Envelope::decode(body)?.kind {
            None => Self::Unknown,
            Some(Kind::Interest(interest)) => Self::Interest(Update::from(interest)),
            Some(Kind::Start(pb::Start { log, first })) => Self::Start { log, first },
            Some(Kind::Ack(pb::Ack { seq, interest })) => Self::Ack { seq, interest },
            Some(Kind::Gap(pb::Gap { to })) => Self::Gap { to },
            Some(Kind::Goodbye(pb::Goodbye {})) => Self::Goodbye,
            Some(Kind::Broadcast(broadcast)) => Self::Broadcast(Broadcast::try_from(broadcast)?),
            Some(Kind::Command(command)) => {
                exchange::decode_command(command)?.map_or(Self::Unknown, Self::Command)
            }
            Some(Kind::Ask(request)) => {
                let id = request.id;
                exchange::decode_request(request)?
                    .map_or(Self::UnknownRequest(id), |request| Self::Request(id, request))
            }
            Some(Kind::Answer(response)) => Self::Response(response.id, Response::try_from(response)?),
        })
    }
}

/// An unsequenced frame, ready to write.
pub(crate) fn control(kind: Kind) -> Frame {
    Frame { seq: 0, body: encode(kind) }
}

/// The body of a broadcast, encoded once for all peers.
///
/// # Errors
/// When it is larger than a frame may be.
pub(crate) fn encode_broadcast(broadcast: &Broadcast) -> Result<Bytes, WireError> {
    fits(encode(Kind::Broadcast(pb::Broadcast {
        namespace: broadcast.namespace.to_string(),
        rooms: names(&broadcast.selection.rooms),
        except: names(&broadcast.selection.except),
        text: broadcast.text.as_bytes().clone(),
        attachments: broadcast.attachments.clone(),
        volatile: broadcast.flags.volatile,
        uncompressed: !broadcast.flags.compress,
    })))
}

/// The bytes of a stream header or a hello reply: 4 bytes length, then the message.
pub(crate) fn encode_prelude(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(4 + length);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

fn encode(kind: Kind) -> Bytes {
    pb::Envelope { kind: Some(kind) }.encode_to_vec().into()
}

/// Refuses a body that is too large for a frame.
fn fits(body: Bytes) -> Result<Bytes, WireError> {
    if body.len() > MAX_FRAME - SEQ { Err(WireError::Length(body.len())) } else { Ok(body) }
}

fn names(rooms: &[Room]) -> Vec<String> {
    rooms.iter().map(|room| room.to_string()).collect()
}

fn rooms(names: Vec<String>) -> Vec<Room> {
    names.into_iter().map(Room::from).collect()
}

fn selection(to: Vec<String>, except: Vec<String>) -> Selection {
    Selection { rooms: rooms(to), except: rooms(except) }
}

impl From<pb::Interest> for Update {
    fn from(interest: pb::Interest) -> Self {
        let pb::Interest { version, snapshot, everything, added, removed } = interest;
        Self { version, snapshot, everything, added, removed }
    }
}

impl From<Update> for pb::Interest {
    fn from(update: Update) -> Self {
        let Update { version, snapshot, everything, added, removed } = update;
        Self { version, snapshot, everything, added, removed }
    }
}

impl TryFrom<pb::Broadcast> for Broadcast {
    type Error = WireError;

    fn try_from(broadcast: pb::Broadcast) -> Result<Self, WireError> {
        Ok(Self {
            namespace: broadcast.namespace.into(),
            selection: selection(broadcast.rooms, broadcast.except),
            text: ByteString::try_from(broadcast.text).map_err(WireError::Text)?,
            attachments: broadcast.attachments,
            flags: Flags { volatile: broadcast.volatile, compress: !broadcast.uncompressed },
        })
    }
}

/// Bytes of a peer that make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// A frame or message longer than allowed, or shorter than its own header.
    #[error("a length of {0} bytes is not allowed")]
    Length(usize),
    /// Not the protobuf it should be.
    #[error("malformed message")]
    Malformed(#[from] prost::DecodeError),
    /// The packet of a broadcast is text.
    #[error("a packet that is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    /// An id, an address or JSON that is none.
    #[error("a value that is not what it should be")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Length and sequence number.
pub(crate) const HEADER: usize = 4 + SEQ;
const SEQ: usize = 8;
/// The largest frame: as much as a link keeps for a peer that is away (`sequence::MAX_BYTES`), so that whatever can be
/// sent can also be sent again.
pub(crate) const MAX_FRAME: usize = 16 << 20;
/// The largest stream header or hello: 500 members of 100 bytes.
pub(crate) const MAX_PRELUDE: usize = 64 << 10;
/// Up to here copying is cheaper than the memory that sharing pins.
const COPY: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn the_checked_in_code_is_what_the_proto_file_generates() {
        let root = env!("CARGO_MANIFEST_DIR");
        let fds = protox::compile([format!("{root}/proto/mesh.proto")], [format!("{root}/proto")]).unwrap();
        let out = std::env::temp_dir().join(format!("socketmesh-proto-{}", std::process::id()));
        std::fs::create_dir_all(&out).unwrap();
        prost_build::Config::new().bytes(["."]).out_dir(&out).compile_fds(fds).unwrap();
        let generated = std::fs::read_to_string(out.join("socketmesh.mesh.v1.rs")).unwrap();
        std::fs::remove_dir_all(&out).unwrap();
        let path = format!("{root}/src/cluster/mesh.pb.rs");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let checked_in = std::fs::read_to_string(&path).unwrap();
        assert!(checked_in == generated, "run this test with BLESS=1 to write src/cluster/mesh.pb.rs anew");
    }

    fn broadcast() -> impl Strategy<Value = Broadcast> {
        let rooms = || vec("[a-zä]{0,9}".prop_map(Room::from), 0..4);
        let bytes = || vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        ("/[a-z]{0,9}", rooms(), rooms(), any::<String>(), vec(bytes(), 0..3), any::<[bool; 2]>()).prop_map(
            |(namespace, rooms, except, text, attachments, [volatile, compress])| Broadcast {
                namespace: namespace.into(),
                selection: Selection { rooms, except },
                text: text.into(),
                attachments,
                flags: Flags { volatile, compress },
            },
        )
    }

    fn bytes_of(frame: &Frame) -> Vec<u8> {
        [&frame.header()[..], &frame.body[..]].concat()
    }

    #[test]
    fn a_frame_is_length_sequence_and_envelope() {
        let frame = Frame { seq: 0x0102, ..control(Kind::Gap(pb::Gap { to: 7 })) };
        assert_eq!(bytes_of(&frame), [0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 1, 2, 0x22, 2, 8, 7]);
    }

    #[test]
    fn an_impossible_length_is_an_error_at_once() {
        for length in [0, 7, u32::try_from(MAX_FRAME).unwrap() + 1, u32::MAX] {
            let mut buffer = BytesMut::from(&[&length.to_be_bytes()[..], &[0; 8]].concat()[..]);
            assert!(matches!(Frame::decode(&mut buffer), Err(WireError::Length(_))), "{length}");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_unknown_and_a_later_field_is_ignored() {
        // Field 100 of the envelope, a message; then field 9 of a gap, a number.
        assert_eq!(Message::decode(Bytes::from_static(&[0xa2, 6, 1, 0])).unwrap(), Message::Unknown);
        let gap = Bytes::from_static(&[0x22, 4, 8, 7, 0x48, 1]);
        assert_eq!(Message::decode(gap).unwrap(), Message::Gap { to: 7 });
    }

    #[test]
    fn a_packet_that_is_not_text_is_refused() {
        let body = encode(Kind::Broadcast(pb::Broadcast {
            text: Bytes::from_static(&[0xff]),
            ..Default::default()
        }));
        assert!(matches!(Message::decode(body), Err(WireError::Text(_))));
    }

    #[test]
    fn a_broadcast_larger_than_a_frame_is_refused() {
        let mut large = Broadcast {
            namespace: "/".into(),
            selection: Selection::default(),
            text: "".into(),
            attachments: vec![Bytes::from(vec![0; MAX_FRAME - 64])],
            flags: Flags::default(),
        };
        let body = encode_broadcast(&large).unwrap();
        let mut buffer = BytesMut::from(&bytes_of(&Frame { seq: 1, body })[..]);
        assert!(Frame::decode(&mut buffer).unwrap().is_some());
        large.attachments.push(Bytes::from(vec![0; 64]));
        assert!(matches!(encode_broadcast(&large), Err(WireError::Length(_))));
    }

    proptest! {
        #[test]
        fn a_broadcast_survives_the_wire(broadcast in broadcast(), seq: u64) {
            let body = encode_broadcast(&broadcast).unwrap();
            let mut buffer = BytesMut::from(&bytes_of(&Frame { seq, body })[..]);
            let frame = Frame::decode(&mut buffer).unwrap().unwrap();
            prop_assert_eq!(frame.seq, seq);
            prop_assert_eq!(Message::decode(frame.body).unwrap(), Message::Broadcast(broadcast));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
            let _decoded = Message::decode(Bytes::from(bytes.clone()));
            let _decoded = pb::StreamHeader::decode(&bytes[..]);
            let _decoded = pb::HelloReply::decode(&bytes[..]);
        }

        #[test]
        fn splitting_a_stream_anywhere_changes_nothing(
            bodies in vec(vec(any::<u8>(), 0..60), 1..9), step in 1..40_usize,
        ) {
            let frames: Vec<_> = (1..).zip(bodies).map(|(seq, body)| Frame { seq, body: body.into() }).collect();
            let stream: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
            let (mut buffer, mut decoded) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() { decoded.push(frame); }
            }
            prop_assert_eq!(decoded, frames);
        }

        #[test]
        fn any_stream_is_frames_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::decode(&mut buffer) {}
        }
    }
}
