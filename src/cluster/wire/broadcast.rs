//! The bytes of a broadcast (docs/protocol/mesh.md, "Byte layout"). There are more of them than of all other messages, so they
//! are written without the generated types, which would want a copy of every name first.

use std::borrow::Cow;

use bytes::{BufMut, Bytes};
use bytestring::ByteString;
use prost::Message as _;
use smallvec::SmallVec;

use super::error::WireError;
use super::pb;
use crate::socket::messages::recovery::{Number, Origin};
use crate::socket::messages::{Broadcast, Flags, Room, Selection};

/// The bytes of an envelope with a broadcast: what the generated code writes, too.
pub(super) fn encode(broadcast: &Broadcast<'_>, trace: Option<pb::TraceContext>) -> Bytes {
    let Broadcast { namespace, selection, text, attachments, flags, number } = broadcast;
    // The length, which comes first, is known last.
    let mut bytes = Vec::with_capacity(MAX_HEAD + broadcast.content_size());
    bytes.resize(MAX_HEAD, 0);
    put_unless_empty(&mut bytes, 1, namespace.as_bytes());
    for (number, rooms) in [(2, &selection.rooms), (3, &selection.except)] {
        rooms.iter().for_each(|room| room.with_name(|name| put(&mut bytes, number, name.as_bytes())));
    }
    put_unless_empty(&mut bytes, 4, text.as_bytes());
    attachments.iter().for_each(|attachment| put(&mut bytes, 5, attachment));
    for (number, flag) in [(6, flags.volatile), (7, !flags.compress)] {
        if flag {
            bytes.extend([number << 3, 1]);
        }
    }
    if let Some(Number { origin, number }) = number {
        for (field, value) in [(8, origin.as_u64()), (9, *number)] {
            if value > 0 {
                bytes.push(field << 3);
                prost::encoding::encode_varint(value, &mut bytes);
            }
        }
    }
    let mut head = [0; MAX_HEAD];
    let mut rest = head.as_mut_slice();
    put_head(&mut rest, 8, bytes.len() - MAX_HEAD);
    let start = rest.len();
    head.rotate_right(start);
    bytes.iter_mut().zip(head).for_each(|(byte, head)| *byte = head);
    if trace.is_some() {
        bytes.extend(pb::Envelope { kind: None, trace }.encode_to_vec());
    }
    Bytes::from(bytes).slice(start..)
}

impl TryFrom<pb::Broadcast> for Broadcast<'static> {
    type Error = WireError;

    fn try_from(broadcast: pb::Broadcast) -> Result<Self, WireError> {
        Ok(Self {
            namespace: str::from_utf8(&broadcast.namespace).map_err(WireError::Text)?.into(),
            selection: Cow::Owned(Selection {
                rooms: rooms(&broadcast.rooms)?,
                except: rooms(&broadcast.except)?,
            }),
            text: ByteString::try_from(broadcast.text).map_err(WireError::Text)?,
            attachments: broadcast.attachments,
            flags: Flags { volatile: broadcast.volatile, compress: !broadcast.uncompressed },
            number: (broadcast.number > 0)
                .then(|| Number { origin: Origin::from_u64(broadcast.origin), number: broadcast.number }),
        })
    }
}

impl From<&Broadcast<'_>> for pb::Broadcast {
    /// For a broadcast within another message.
    fn from(broadcast: &Broadcast<'_>) -> Self {
        let names = |rooms: &[Room]| rooms.iter().map(|room| room.to_string().into()).collect();
        let Flags { volatile, compress } = broadcast.flags;
        Self {
            namespace: broadcast.namespace.to_string().into(),
            rooms: names(&broadcast.selection.rooms),
            except: names(&broadcast.selection.except),
            text: broadcast.text.as_bytes().clone(),
            attachments: broadcast.attachments.clone(),
            volatile,
            uncompressed: !compress,
            origin: broadcast.number.map_or(0, |number| number.origin.as_u64()),
            number: broadcast.number.map_or(0, |number| number.number),
        }
    }
}

fn rooms(names: &[Bytes]) -> Result<SmallVec<[Room; 1]>, WireError> {
    names.iter().map(|name| str::from_utf8(name).map(Room::from).map_err(WireError::Text)).collect()
}

/// As proto3 does with a field that is not repeated.
fn put_unless_empty(to: &mut Vec<u8>, number: u8, content: &[u8]) {
    if !content.is_empty() {
        put(to, number, content);
    }
}

fn put(to: &mut Vec<u8>, number: u8, content: &[u8]) {
    put_head(to, number, content.len());
    to.extend_from_slice(content);
}

/// The key of a field of bytes whose number is below 16, and its length.
fn put_head(to: &mut impl BufMut, number: u8, length: usize) {
    const OF_BYTES: u8 = 2;
    to.put_u8(number << 3 | OF_BYTES);
    prost::encode_length_delimiter(length, to).expect("there is room for any length");
}

/// A key and a length below 4 GiB.
const MAX_HEAD: usize = 1 + 5;

#[cfg(test)]
mod tests {
    use super::super::message::tests::broadcasts;
    use super::*;
    use pb::envelope::Kind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_broadcast_is_written_as_the_generated_code_writes_it(broadcast in broadcasts(), parent in "[0-9]{0,9}") {
            let generated = pb::Broadcast::from(&broadcast);
            let trace = Some(pb::TraceContext { parent, state: String::new() });
            for trace in [trace, None] {
                let kind = Some(Kind::Broadcast(generated.clone()));
                let envelope = pb::Envelope { kind, trace: trace.clone() };
                prop_assert_eq!(encode(&broadcast, trace), envelope.encode_to_vec());
            }
        }
    }
}
