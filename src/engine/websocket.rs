//! The frames of a WebSocket, as a server reads and writes them: RFC 6455, with the extension of RFC 7692 where it is
//! negotiated.
//!
//! Reading is [`Decoder`]. Writing needs no state: a frame of the server is [`header`] and the payload as it is, or what
//! [`Deflated`] made of it, so the payload of a broadcast is framed once and shared.

mod client_header;
mod decoder;
mod deflate;
mod extension;
#[cfg(test)]
mod oracle;
mod upgrade;

use std::ops::Deref;

use bytes::Bytes;

pub(crate) use decoder::{Decoder, Incoming};
pub(crate) use deflate::{Deflated, Deflation, STEP, deflate};
pub(crate) use extension::accept_deflate;
pub(crate) use upgrade::{Accepted, UpgradeError, asks_for_websocket, check_upgrade};

/// The kind of a frame. A continuation has no value here, because it carries what its message began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// The end of the connection, with an optional code and reason.
    Close,
    /// A request for a pong with the same payload.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// Why a client is disconnected: it broke RFC 6455 or exceeded a limit. Nothing it sends afterwards is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// A message, over all its fragments, is longer than allowed. Known from a header, before its payload arrives.
    #[error("the message is too big")]
    TooBig,
    /// A message that became long before it was complete, while the node holds as much for its clients as it may.
    #[error("there is no room for the message")]
    NoRoom,
    /// A text message or the reason of a close is not UTF-8 (§8.1).
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// A message that does not inflate (RFC 7692 §7.2.2).
    #[error("a message that does not inflate")]
    Corrupt,
    /// Any other violation.
    #[error("{0}")]
    Protocol(&'static str),
}

impl Violation {
    /// The code to close with (§7.4.1).
    pub(crate) const fn close_code(self) -> u16 {
        match self {
            Self::TooBig | Self::NoRoom => 1009,
            // As Node's `ws` for both.
            Self::InvalidUtf8 | Self::Corrupt => 1007,
            Self::Protocol(_) => 1002,
        }
    }
}

/// The header of an unfragmented, unmasked frame; derefs to its 2, 4 or 10 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    bytes: [u8; 10],
    length: usize,
}

/// The header of the server's frame with `length` bytes of payload. Allocates nothing.
pub(crate) fn header(opcode: Opcode, length: usize) -> Header {
    let [.., a, b, c, d, e, f, g, h] = (length as u64).to_be_bytes();
    let first = FIN | opcode.bits();
    match length {
        0..=125 => Header { bytes: [first, h, 0, 0, 0, 0, 0, 0, 0, 0], length: 2 },
        126..=0xffff => Header { bytes: [first, 126, g, h, 0, 0, 0, 0, 0, 0], length: 4 },
        _ => Header { bytes: [first, 127, a, b, c, d, e, f, g, h], length: 10 },
    }
}

/// The header of a frame whose payload is deflated (RFC 7692 §6).
fn deflated_header(opcode: Opcode, length: usize) -> Header {
    let mut header = header(opcode, length);
    let [first, ..] = &mut header.bytes;
    *first |= DEFLATED;
    header
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// A whole frame of the server in one buffer.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let header = header(opcode, payload.len());
    let mut frame = Vec::with_capacity(header.len() + payload.len());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(payload);
    frame.into()
}

/// The close frame; without a code the client reports 1005, as with Node.
pub(crate) fn close_frame(code: Option<u16>) -> Bytes {
    match code {
        Some(code) => frame(Opcode::Close, &code.to_be_bytes()),
        None => frame(Opcode::Close, &[]),
    }
}

/// The answer to [`Incoming::Ping`], whose payload is at most 125 bytes.
pub(crate) fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, payload)
}

/// The first bit of a frame: the last fragment of its message.
const FIN: u8 = 0x80;

/// The second bit of the first frame of a message: it is deflated.
const DEFLATED: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_shortest_form_of_its_length() {
        for (length, bytes) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xffff, &[0x82, 126, 0xff, 0xff]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (0x1234_5678, &[0x82, 127, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78]),
        ] {
            assert_eq!(&*header(Opcode::Binary, length), bytes, "{length}");
        }
    }

    #[test]
    fn frames_of_the_server_are_final_and_unmasked() {
        assert_eq!(&*frame(Opcode::Text, b"4hi"), b"\x81\x034hi");
        assert_eq!(&*close_frame(None), b"\x88\x00");
        assert_eq!(&*close_frame(Some(1009)), b"\x88\x02\x03\xf1");
        assert_eq!(&*pong_frame(b"x"), b"\x8a\x01x");
        assert_eq!(&*frame(Opcode::Ping, b""), b"\x89\x00");
    }

    #[test]
    fn each_violation_has_its_close_code() {
        assert_eq!(Violation::TooBig.close_code(), 1009);
        assert_eq!(Violation::InvalidUtf8.close_code(), 1007);
        assert_eq!(Violation::Protocol("").close_code(), 1002);
    }
}
