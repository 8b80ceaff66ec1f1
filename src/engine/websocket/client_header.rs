//! The header of a client's frame (RFC 6455 §5.2).

use super::{DEFLATED, FIN, Opcode, Violation};

/// The header of a frame, from its first byte to its mask.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientHeader {
    pub(super) last: bool,
    /// None in a continuation.
    pub(super) opcode: Option<Opcode>,
    /// The message that begins here is deflated.
    pub(super) deflated: bool,
    pub(super) mask: [u8; 4],
    pub(super) length: u64,
}

impl ClientHeader {
    /// The header at the start of `bytes` and its size. Each rule is checked as soon as its byte is here, in the order
    /// of the bytes, so a header in portions is refused for the same reason as a whole one. With `deflate`, messages may
    /// be deflated.
    pub(super) fn parse(bytes: &[u8], deflate: bool) -> Result<Option<(Self, usize)>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let (last, opcode) = first_byte(first, deflate)?;
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Violation::Protocol("a client's frame without a mask"));
        }
        let short = second & !MASKED;
        if short > 125 && opcode.is_some_and(Opcode::is_control) {
            return Err(Violation::Protocol("a control frame of more than 125 bytes"));
        }
        let Some((length, rest)) = full_length(short, rest)? else { return Ok(None) };
        let Some((&mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let deflated = first & DEFLATED != 0;
        Ok(Some((Self { last, opcode, deflated, mask, length }, bytes.len() - rest.len())))
    }
}

fn first_byte(byte: u8, deflate: bool) -> Result<(bool, Option<Opcode>), Violation> {
    let reserved = if deflate { RESERVED & !DEFLATED } else { RESERVED };
    if byte & reserved != 0 {
        return Err(Violation::Protocol("a reserved bit, and no extension was negotiated"));
    }
    let opcode = match byte & 0x0f {
        0x0 => None,
        0x1 => Some(Opcode::Text),
        0x2 => Some(Opcode::Binary),
        0x8 => Some(Opcode::Close),
        0x9 => Some(Opcode::Ping),
        0xa => Some(Opcode::Pong),
        _ => return Err(Violation::Protocol("a reserved opcode")),
    };
    // RFC 7692 §6.1: only the first frame of a message says whether it is deflated.
    if byte & DEFLATED != 0 && opcode.is_none_or(Opcode::is_control) {
        return Err(Violation::Protocol("a deflated frame that begins no message"));
    }
    let last = byte & FIN != 0;
    if !last && opcode.is_some_and(Opcode::is_control) {
        return Err(Violation::Protocol("a fragmented control frame"));
    }
    Ok((last, opcode))
}

/// The length that the seven bits `short` and the bytes after them tell, and what follows them.
fn full_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (length, shortest, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), 0x1_0000, rest),
            None => return Ok(None),
        },
        _ => (u64::from(short), 0, rest),
    };
    if length < shortest {
        return Err(Violation::Protocol("a length that is not in its shortest form"));
    }
    if length > i64::MAX as u64 {
        return Err(Violation::Protocol("a length with its top bit set"));
    }
    Ok(Some((length, rest)))
}

/// Two bytes, eight of length, four of mask.
pub(super) const MAX_HEADER: usize = 14;
/// §5.5: what fits the seven bits of the short length.
pub(super) const MAX_CONTROL: usize = 125;
const MASKED: u8 = 0x80;
const RESERVED: u8 = 0x70;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> (ClientHeader, usize) {
        ClientHeader::parse(bytes, false).unwrap().unwrap()
    }

    #[test]
    fn a_header_has_one_of_three_lengths() {
        let mask = [9, 8, 7, 6];
        for (bytes, length) in [
            (&[0x81, 0x80, 9, 8, 7, 6, 1, 2, 3][..], 0),
            (&[0x81, 0xfd, 9, 8, 7, 6], 125),
            (&[0x81, 0xfe, 0, 126, 9, 8, 7, 6], 126),
            (&[0x81, 0xfe, 0xff, 0xff, 9, 8, 7, 6], 0xffff),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 9, 8, 7, 6], 0x1_0000),
            (&[0x81, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 9, 8, 7, 6], 0x7f << 56),
        ] {
            let (header, _) = read(bytes);
            assert_eq!(
                header,
                ClientHeader { last: true, opcode: Some(Opcode::Text), deflated: false, mask, length }
            );
        }
    }

    #[test]
    fn the_first_byte_tells_the_kind() {
        for (first, last, opcode) in [
            (0x01, false, Some(Opcode::Text)),
            (0x82, true, Some(Opcode::Binary)),
            (0x00, false, None),
            (0x80, true, None),
            (0x88, true, Some(Opcode::Close)),
            (0x89, true, Some(Opcode::Ping)),
            (0x8a, true, Some(Opcode::Pong)),
        ] {
            let (header, size) = read(&[first, 0x80, 0, 0, 0, 0]);
            assert_eq!((header.last, header.opcode, size), (last, opcode, 6));
        }
    }

    #[test]
    fn headers_against_the_protocol_are_refused_at_the_first_bad_byte() {
        for (bytes, why) in [
            (&[0xc1][..], "a reserved bit, and no extension was negotiated"),
            (&[0xa1], "a reserved bit, and no extension was negotiated"),
            (&[0x91], "a reserved bit, and no extension was negotiated"),
            (&[0x83], "a reserved opcode"),
            (&[0x87], "a reserved opcode"),
            (&[0x8b], "a reserved opcode"),
            (&[0x8f], "a reserved opcode"),
            (&[0x08], "a fragmented control frame"),
            (&[0x09], "a fragmented control frame"),
            (&[0x0a], "a fragmented control frame"),
            (&[0x81, 0x05], "a client's frame without a mask"),
            (&[0x89, 0x7e], "a client's frame without a mask"),
            (&[0x88, 0xfe], "a control frame of more than 125 bytes"),
            (&[0x89, 0xff], "a control frame of more than 125 bytes"),
            (&[0x8a, 0xfe], "a control frame of more than 125 bytes"),
            (&[0x81, 0xfe, 0, 125], "a length that is not in its shortest form"),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], "a length that is not in its shortest form"),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], "a length with its top bit set"),
        ] {
            assert_eq!(ClientHeader::parse(bytes, false), Err(Violation::Protocol(why)));
            let (_, before) = bytes.split_last().unwrap();
            assert_eq!(ClientHeader::parse(before, false), Ok(None));
        }
    }

    #[test]
    fn only_the_first_frame_of_a_message_may_say_that_it_is_deflated() {
        for (first, deflated) in [(0xc1, true), (0x42, true), (0x81, false), (0x00, false)] {
            let (header, _) = ClientHeader::parse(&[first, 0x80, 0, 0, 0, 0], true).unwrap().unwrap();
            assert_eq!(header.deflated, deflated);
        }
        for first in [0x40, 0xc0, 0xc8, 0xc9, 0xca] {
            let refused = Err(Violation::Protocol("a deflated frame that begins no message"));
            assert_eq!(ClientHeader::parse(&[first], true), refused);
        }
        for first in [0xa1, 0xd1, 0xf1] {
            let refused = Err(Violation::Protocol("a reserved bit, and no extension was negotiated"));
            assert_eq!(ClientHeader::parse(&[first], true), refused);
        }
    }

    proptest! {
        #[test]
        fn a_partial_header_is_judged_like_the_whole_one(
            bytes in vec(any::<u8>(), MAX_HEADER), deflate: bool,
        ) {
            let whole = ClientHeader::parse(&bytes, deflate);
            prop_assert_ne!(&whole, &Ok(None), "no header is longer");
            for length in 0..MAX_HEADER {
                let part = ClientHeader::parse(&bytes[..length], deflate);
                prop_assert!(part == Ok(None) || part == whole);
            }
        }
    }
}
