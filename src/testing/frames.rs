//! The frames of a WebSocket as a client writes and reads them (RFC 6455, section 5), without extensions.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The opcode of a frame that carries a whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A complete frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFrame {
    pub(super) opcode: Opcode,
    pub(super) payload: Bytes,
}

impl Opcode {
    const ALL: [(Self, u8); 5] =
        [(Self::Text, 1), (Self::Binary, 2), (Self::Close, 8), (Self::Ping, 9), (Self::Pong, 10)];

    fn bits(self) -> u8 {
        Self::ALL.iter().find(|(opcode, _)| *opcode == self).map_or(0, |(_, bits)| *bits)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == bits).map(|(opcode, _)| *opcode)
    }
}

/// Writes one masked frame.
pub(super) fn write(opcode: Opcode, payload: &[u8], mask: [u8; 4], to: &mut BytesMut) {
    to.put_u8(FIN | opcode.bits());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => to.put_u8(MASKED | length),
        (_, Ok(length)) => {
            to.put_u8(MASKED | 126);
            to.put_u16(length);
        }
        _ => {
            to.put_u8(MASKED | 127);
            to.put_u64(payload.len() as u64);
        }
    }
    to.put_slice(&mask);
    to.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Takes the next frame of the server out of the buffer; `None` while it is incomplete.
///
/// # Errors
/// The frame is one that our server never sends: a fragment, a masked frame, or one with a reserved bit or opcode.
pub(super) fn read(from: &mut BytesMut) -> Result<Option<ServerFrame>, &'static str> {
    let mut head = &from[..];
    let Ok(first) = head.try_get_u8() else { return Ok(None) };
    let opcode = match first & !FIN {
        bits if first & FIN != 0 => Opcode::from_bits(bits).ok_or("a reserved bit or opcode")?,
        _ => return Err("a fragment"),
    };
    let length = match head.try_get_u8() {
        Err(_) => return Ok(None),
        Ok(MASKED..) => return Err("a mask"),
        Ok(126) => head.try_get_u16().map(u64::from),
        Ok(127) => head.try_get_u64(),
        Ok(length) => Ok(u64::from(length)),
    };
    let Ok(length) = length else { return Ok(None) };
    if length > MAX_FRAME {
        return Err("a frame of more than 64 MiB");
    }
    let (used, length) = (from.len() - head.len(), usize::try_from(length).unwrap_or(usize::MAX));
    if head.len() < length {
        return Ok(None);
    }
    from.advance(used);
    Ok(Some(ServerFrame { opcode, payload: from.split_to(length).freeze() }))
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The largest payload that is read, far above every limit of a node.
const MAX_FRAME: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::websocket::{Decoder, Incoming, frame};
    use proptest::prelude::*;

    #[test]
    fn a_header_has_the_shortest_form_of_its_length() {
        for (length, head) in [
            (0, &[0x81, 0x80][..]),
            (125, &[0x81, 0xfd]),
            (126, &[0x81, 0xfe, 0, 126]),
            (0xffff, &[0x81, 0xfe, 0xff, 0xff]),
            (0x1_0000, &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut written = BytesMut::new();
            write(Opcode::Text, &vec![b'x'; length], [1, 2, 3, 4], &mut written);
            assert!(written.starts_with(head), "{length}");
            assert_eq!(written.len(), head.len() + 4 + length);
        }
    }

    #[test]
    fn frames_that_our_server_never_sends_are_refused() {
        for (bytes, why) in [
            (&[0x01, 0][..], "a fragment"),
            (&[0x80, 0], "a reserved bit or opcode"),
            (&[0xc1, 0], "a reserved bit or opcode"),
            (&[0x81, 0x80], "a mask"),
            (&[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0], "a frame of more than 64 MiB"),
        ] {
            assert_eq!(read(&mut BytesMut::from(bytes)), Err(why));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_frames_or_refused(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = read(&mut buffer) {
                prop_assert!(frame.payload.len() < bytes.len());
            }
        }

        #[test]
        fn the_server_reads_every_written_frame(text: String, mask: [u8; 4]) {
            let mut written = BytesMut::new();
            write(Opcode::Text, text.as_bytes(), mask, &mut written);
            let read: Vec<_> = Decoder::new(1 << 20).feed(&mut written).collect();
            prop_assert_eq!(read, [Ok(Incoming::Text(text.into()))]);
        }

        #[test]
        fn a_frame_of_the_server_is_read_from_two_parts(payload: Vec<u8>, at: proptest::sample::Index) {
            let whole = frame(crate::engine::websocket::Opcode::Binary, &payload);
            let (head, tail) = whole.split_at(at.index(whole.len()));
            let mut buffer = BytesMut::from(head);
            prop_assert_eq!(read(&mut buffer), Ok(None));
            buffer.extend_from_slice(tail);
            prop_assert_eq!(read(&mut buffer), Ok(Some(ServerFrame { opcode: Opcode::Binary, payload: payload.into() })));
        }
    }
}
