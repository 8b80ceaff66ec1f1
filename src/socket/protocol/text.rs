//! From the text of a packet to its parts: `<type>[<attachments>-][<namespace>,][<ack id>][<json>]`.

use bytestring::ByteString;

use super::error::PacketError;
use super::packet::{Kind, MAIN, MAX_ID, Packet};

/// Reads the text of a packet; also returns how many attachments follow.
pub(super) fn parse(text: &ByteString, max_attachments: usize) -> Result<(Packet, usize), PacketError> {
    let (Split { kind, ns, id, payload }, attachments) = split(text, max_attachments)?;
    let ns = if ns == MAIN { ByteString::from_static(MAIN) } else { text.slice_ref(ns) };
    let payload = (!payload.is_empty()).then(|| text.slice_ref(payload));
    Ok((kind.packet(ns, id, payload, attachments)?, attachments))
}

/// The parts of the text of a packet.
pub(super) struct Split<'a> {
    pub(super) kind: Kind,
    pub(super) ns: &'a str,
    pub(super) id: Option<u64>,
    /// The payload, which is not checked yet. Empty if there is none.
    pub(super) payload: &'a str,
}

/// Splits the text of a packet; also returns how many attachments follow.
pub(super) fn split(text: &str, max_attachments: usize) -> Result<(Split<'_>, usize), PacketError> {
    let (kind, rest) = take_kind(text)?;
    let (attachments, rest) =
        if kind.is_binary() { take_attachments(rest, max_attachments)? } else { (0, rest) };
    let (ns, rest) = take_namespace(rest);
    let (id, payload) = take_id(rest)?;
    Ok((Split { kind, ns: ns.unwrap_or(MAIN), id, payload }, attachments))
}

fn take_kind(text: &str) -> Result<(Kind, &str), PacketError> {
    let mut chars = text.chars();
    let kind = match chars.next() {
        Some('0') => Kind::Connect,
        Some('1') => Kind::Disconnect,
        Some('2') => Kind::Event,
        Some('3') => Kind::Ack,
        Some('4') => Kind::ConnectError,
        Some('5') => Kind::BinaryEvent,
        Some('6') => Kind::BinaryAck,
        _ => return Err(PacketError::UnknownType),
    };
    Ok((kind, chars.as_str()))
}

/// Reads `<attachments>-`: at least one, as in socket.io-parser 4.2.7.
fn take_attachments(text: &str, max: usize) -> Result<(usize, &str), PacketError> {
    let (digits, rest) = split_digits(text);
    let rest = rest.strip_prefix('-').ok_or(PacketError::IllegalAttachments)?;
    match number(digits) {
        None | Some(0) => Err(PacketError::IllegalAttachments),
        Some(count) => match usize::try_from(count) {
            Ok(count) if count <= max => Ok((count, rest)),
            _ => Err(PacketError::TooManyAttachments),
        },
    }
}

/// Reads `<namespace>,`, which begins with a slash; the comma may be missing at the end of the text.
fn take_namespace(text: &str) -> (Option<&str>, &str) {
    if !text.starts_with('/') {
        return (None, text);
    }
    let (ns, rest) = text.split_once(',').unwrap_or((text, ""));
    (Some(ns), rest)
}

fn take_id(text: &str) -> Result<(Option<u64>, &str), PacketError> {
    match split_digits(text) {
        ("", rest) => Ok((None, rest)),
        (digits, rest) => {
            let id = number(digits).filter(|id| *id <= MAX_ID).ok_or(PacketError::IllegalId)?;
            Ok((Some(id), rest))
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Reads digits, if there are any. A number that does not fit becomes one that every limit refuses.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(u64::MAX)) }
}
