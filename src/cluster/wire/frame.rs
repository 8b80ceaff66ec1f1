//! The unit on a link (docs/protocol/mesh.md, "Byte layout").

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error::WireError;

/// One unit on a link: 4 bytes length of the rest, 8 bytes sequence number (0 = unsequenced), then an `Envelope`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) body: Bytes,
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

/// Refuses a body that is too large for a frame.
pub(super) fn fits(body: Bytes) -> Result<Bytes, WireError> {
    if body.len() > MAX_BODY { Err(WireError::Length(body.len())) } else { Ok(body) }
}

/// Length and sequence number.
pub(crate) const HEADER: usize = 4 + SEQ;
const SEQ: usize = 8;
/// The largest frame: as much as a link keeps for a peer that is away (`replay_log::MAX_BYTES`), so that whatever can be
/// sent can also be sent again.
pub(crate) const MAX_FRAME: usize = 16 << 20;
/// The largest body.
pub(crate) const MAX_BODY: usize = MAX_FRAME - SEQ;
/// Up to here copying is cheaper than the memory that sharing pins.
const COPY: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes_of(frame: &Frame) -> Vec<u8> {
        [&frame.header()[..], &frame.body[..]].concat()
    }

    #[test]
    fn a_frame_is_length_sequence_and_envelope() {
        let frame = Frame { seq: 0x0102, body: Bytes::from_static(&[0x22, 2, 8, 7]) };
        assert_eq!(bytes_of(&frame), [0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 1, 2, 0x22, 2, 8, 7]);
    }

    #[test]
    fn an_impossible_length_is_an_error_at_once() {
        for length in [0, 7, u32::try_from(MAX_FRAME).unwrap() + 1, u32::MAX] {
            let mut buffer = BytesMut::from(&[&length.to_be_bytes()[..], &[0; 8]].concat()[..]);
            assert!(matches!(Frame::decode(&mut buffer), Err(WireError::Length(_))), "{length}");
        }
    }

    proptest! {
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
