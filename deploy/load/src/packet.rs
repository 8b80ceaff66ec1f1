//! The packets of Engine.IO 4 and Socket.IO 5, as far as a load generator reads and writes them. No I/O.

use std::io::Write as _;

/// A packet of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// The handshake of Engine.IO, in JSON.
    Open(&'a [u8]),
    Ping,
    /// The answer to the probe of an upgrade.
    Probed,
    /// The answer to CONNECT, in JSON.
    Connected(&'a [u8]),
    /// CONNECT was refused, for this reason in JSON.
    Refused(&'a [u8]),
    /// An event or an acknowledgement with a payload of the generator.
    Stamped(Stamp),
    /// An acknowledgement without.
    Acknowledged,
    /// The server ends the session, or lets the client leave the namespace.
    Closed,
    Other,
}

impl<'a> Packet<'a> {
    /// `namespace` is the prefix of packets: empty for the main namespace, and otherwise `/name,`.
    pub(crate) fn parse(packet: &'a [u8], namespace: &str) -> Self {
        match packet {
            [b'0', handshake @ ..] => Self::Open(handshake),
            [b'1', ..] => Self::Closed,
            [b'2'] => Self::Ping,
            b"3probe" => Self::Probed,
            [b'4', kind, rest @ ..] => match rest.strip_prefix(namespace.as_bytes()) {
                Some(rest) => Self::parse_socket(*kind, rest),
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }

    fn parse_socket(kind: u8, rest: &'a [u8]) -> Self {
        match kind {
            b'0' => Self::Connected(rest),
            b'1' => Self::Closed,
            // `["name","stamp…`: the name has no `","` of its own, for its quotes are escaped.
            b'2' => behind(rest, b"\",\"").and_then(Stamp::read).map_or(Self::Other, Self::Stamped),
            // `12["stamp…`
            b'3' => behind(rest, b"[\"").and_then(Stamp::read).map_or(Self::Acknowledged, Self::Stamped),
            b'4' => Self::Refused(rest),
            _ => Self::Other,
        }
    }
}

/// The field `sid` of a handshake.
pub(crate) fn sid(json: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    value.get("sid")?.as_str().map(str::to_owned)
}

/// What every payload begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Who sent it.
    pub(crate) source: u16,
    /// Which of its messages it is, from 1.
    pub(crate) number: u32,
    /// When it was to be sent, in nanoseconds of the generator's clock.
    pub(crate) at: u64,
}

impl Stamp {
    pub(crate) const LENGTH: usize = 28;

    /// Appends a payload of this length, without quotes.
    pub(crate) fn write(self, length: usize, out: &mut Vec<u8>) {
        let end = out.len() + length.max(Self::LENGTH);
        // Writing to memory does not fail.
        let _written = write!(out, "{:04x}{:08x}{:016x}", self.source, self.number, self.at);
        out.resize(end, b'x');
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (source, rest) = payload.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (at, _) = rest.split_first_chunk::<16>()?;
        Some(Self {
            source: hexadecimal(source)?.try_into().ok()?,
            number: hexadecimal(number)?.try_into().ok()?,
            at: hexadecimal(at)?,
        })
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

fn behind<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(mark.len()).take(LONGEST_NAME).position(|window| window == mark)?;
    bytes.get(at + mark.len()..)
}

/// Names of events are searched for their end no further than that.
const LONGEST_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { source: 3, number: 712, at: 1_234_567_890_123 };

    fn payload(length: usize) -> String {
        let mut out = Vec::new();
        STAMP.write(length, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_stamp_is_found_in_events_and_in_acknowledgements() {
        let payload = payload(64);
        assert_eq!(payload.len(), 64);
        for (namespace, packet) in [
            ("", format!(r#"42["msg","{payload}"]"#)),
            ("", format!(r#"42["msg","{payload}","offset"]"#)),
            ("", format!(r#"4217["a \"name\"","{payload}"]"#)),
            ("", format!(r#"4312["{payload}"]"#)),
            ("/chat,", format!(r#"42/chat,["msg","{payload}"]"#)),
            ("/chat,", format!(r#"43/chat,0["{payload}"]"#)),
        ] {
            assert_eq!(Packet::parse(packet.as_bytes(), namespace), Packet::Stamped(STAMP), "{packet}");
        }
    }

    #[test]
    fn other_packets_are_told_apart() {
        for (packet, expected) in [
            (&b"0{}"[..], Packet::Open(b"{}")),
            (b"1", Packet::Closed),
            (b"2", Packet::Ping),
            (b"3probe", Packet::Probed),
            (b"6", Packet::Other),
            (b"40{}", Packet::Connected(b"{}")),
            (b"41", Packet::Closed),
            (b"44{}", Packet::Refused(b"{}")),
            (b"42[\"hello\",\"world\"]", Packet::Other),
            (b"42[\"hello\"]", Packet::Other),
            (b"437[]", Packet::Acknowledged),
            (b"", Packet::Other),
        ] {
            assert_eq!(Packet::parse(packet, ""), expected, "{}", String::from_utf8_lossy(packet));
        }
        assert_eq!(Packet::parse(b"40{}", "/chat,"), Packet::Other);
    }

    #[test]
    fn the_id_of_a_session_is_read() {
        assert_eq!(sid(br#"{"sid":"abc","upgrades":[]}"#).as_deref(), Some("abc"));
        assert_eq!(sid(b"{}"), None);
    }

    #[test]
    fn a_payload_is_never_shorter_than_its_stamp() {
        assert_eq!(payload(0).len(), Stamp::LENGTH);
    }
}
