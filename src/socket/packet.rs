//! Packets: `<type>[<attachments>-][<namespace>,][<ack id>][<json>]` as text, followed by the attachments as binary
//! messages (Socket.IO v5, §Packet encoding). Clients of Engine.IO 3 speak v4 of it, which differs in CONNECT and
//! CONNECT_ERROR only.
//!
//! What Node's parser takes and refuses is followed, with these deviations: an ack id is `[0-9]+` up to 2^53 − 1 (Node
//! also takes spaces), JSON nests at most 128 levels and has no lone surrogates or numbers beyond an `f64`, a packet
//! that announces attachments has a payload, and one attachment is named at most four times.

mod encode;
mod msgpack;

use bytes::Bytes;
use bytestring::ByteString;

use super::args::{RawArgs, check_args, check_object, split_first};
use super::config::Parser;
use super::error::{EncodeError, PacketError};
pub(crate) use encode::{Encoded, ack, connect, connect_error, disconnect, event};

/// A packet as it came in: the JSON is checked, but stays the client's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    /// The client wants to enter a namespace; `auth` is a JSON object.
    Connect { ns: ByteString, auth: Option<ByteString> },
    /// The client leaves a namespace.
    Disconnect { ns: ByteString },
    /// EVENT or BINARY_EVENT.
    Event { ns: ByteString, event: Event },
    /// ACK or BINARY_ACK.
    Ack { ns: ByteString, id: u64, args: RawArgs },
    /// Only servers send it; `error` is a JSON object or string.
    ConnectError { ns: ByteString, error: ByteString },
    /// An EVENT without payload or an ACK without id: Node takes and ignores it, if the namespace is connected.
    Nothing { ns: ByteString },
}

impl Packet {
    /// Moves the query of the namespace to where `auth` is: how clients of v4 of the protocol send it
    /// (`/admin?token=x`).
    pub(crate) fn split_query(&mut self) {
        let ns = self.ns_mut();
        let Some((path, query)) = ns.split_once('?') else { return };
        let auth = query_as_json(query);
        *ns = ns.slice_ref(path);
        if let Self::Connect { auth: slot, .. } = self {
            *slot = Some(auth);
        }
    }

    const fn ns_mut(&mut self) -> &mut ByteString {
        match self {
            Self::Connect { ns, .. }
            | Self::Disconnect { ns }
            | Self::Event { ns, .. }
            | Self::Ack { ns, .. }
            | Self::ConnectError { ns, .. }
            | Self::Nothing { ns } => ns,
        }
    }

    fn attach(&mut self, attachments: Vec<Bytes>) {
        match self {
            Self::Event { event: Event { args, .. }, .. } | Self::Ack { args, .. } => {
                args.attach(attachments);
            }
            // A BINARY_ACK without id.
            Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::ConnectError { .. }
            | Self::Nothing { .. } => {}
        }
    }
}

/// An event: `["name", argument, …]` and the id under which the client wants an ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Without quotes and escapes; a number as its text.
    pub(crate) name: ByteString,
    pub(crate) args: RawArgs,
    pub(crate) id: Option<u64>,
}

impl Event {
    /// Lets go of the message it came in, if that was much larger than what is left of it (white space, say): a queue
    /// counts what it holds.
    fn detached(self, message: usize) -> Self {
        if message < 2 * self.len() + 256 {
            return self;
        }
        Self { name: (&*self.name).into(), args: self.args.copied(), ..self }
    }

    /// About the bytes it holds: what queues count.
    pub(crate) fn len(&self) -> usize {
        self.name.len()
            + self.args.json().len()
            + self.args.attachments().iter().map(Bytes::len).sum::<usize>()
    }
}

impl Event {
    fn parse(payload: &ByteString, attachments: usize, id: Option<u64>) -> Result<Self, PacketError> {
        let elements = check_args(payload, attachments)?;
        let (name, args) = split_first(&elements).ok_or(PacketError::InvalidPayload)?;
        let args = RawArgs::without_attachments(elements.slice_ref(args));
        Ok(Self { name: event_name(&elements.slice_ref(name))?, args, id })
    }
}

/// A query as the text of a JSON object of strings; of a key that is repeated the last value counts, as in Node.
fn query_as_json(query: &str) -> ByteString {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let object = pairs.map(|(key, value)| (key.into_owned(), value.into_owned().into())).collect();
    serde_json::Value::Object(object).to_string().into()
}

/// Reads the name of an event from its JSON.
fn event_name(json: &ByteString) -> Result<ByteString, PacketError> {
    let name = match json.as_bytes().first() {
        Some(b'"') if json.contains('\\') => {
            serde_json::from_str::<String>(json).map_err(|_invalid| PacketError::InvalidPayload)?.into()
        }
        Some(b'"') => json.slice_ref(json.trim_matches('"')),
        Some(b'-' | b'0'..=b'9') => json.clone(),
        _ => return Err(PacketError::InvalidPayload),
    };
    if RESERVED.contains(&&*name) { Err(PacketError::ReservedName) } else { Ok(name) }
}

/// What a decoder accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many attachments a packet may have; Node's limit is 10.
    pub(crate) max_attachments: usize,
    /// How many bytes a packet and its attachments may have together.
    pub(crate) max_pending_bytes: usize,
}

/// Puts the packets of one client together from its text and binary messages.
///
/// After an error the client's connection is to be closed; a decoder that is used nevertheless starts afresh. It knows
/// no time: whoever owns it bounds how long it may be [pending](Self::is_pending).
#[derive(Debug)]
pub(crate) struct Decoder {
    parser: Parser,
    limits: Limits,
    /// Boxed: most clients never send an attachment, and every client has a decoder.
    pending: Option<Box<Pending>>,
}

impl Decoder {
    /// Starts between two packets.
    pub(crate) const fn new(parser: Parser, limits: Limits) -> Self {
        Self { parser, limits, pending: None }
    }

    /// Takes a text message, without the engine's packet type. Returns a packet, unless attachments are to follow.
    pub(crate) fn text(&mut self, text: &ByteString) -> Result<Option<Packet>, PacketError> {
        if self.pending.take().is_some() {
            return Err(PacketError::UnexpectedText);
        }
        if text.len() > self.limits.max_pending_bytes {
            return Err(PacketError::TooLarge);
        }
        if self.parser == Parser::MessagePack {
            return msgpack::decode_text(text).map(Some);
        }
        let (packet, missing) = parse(text, self.limits.max_attachments)?;
        if missing == 0 {
            return Ok(Some(packet));
        }
        self.pending =
            Some(Box::new(Pending { packet, missing, attachments: Vec::new(), bytes: text.len() }));
        Ok(None)
    }

    /// Takes a binary message. Returns the packet whose last attachment it is, or with MessagePack the packet it is.
    pub(crate) fn binary(&mut self, bytes: Bytes) -> Result<Option<Packet>, PacketError> {
        if self.parser == Parser::MessagePack {
            return msgpack::decode(&bytes, self.limits).map(Some);
        }
        let mut pending = self.pending.take().ok_or(PacketError::UnexpectedBinary)?;
        pending.bytes = pending.bytes.saturating_add(bytes.len());
        if pending.bytes > self.limits.max_pending_bytes {
            return Err(PacketError::TooLarge);
        }
        pending.attachments.push(bytes);
        if pending.attachments.len() < pending.missing {
            self.pending = Some(pending);
            return Ok(None);
        }
        let Pending { mut packet, attachments, .. } = *pending;
        packet.attach(attachments);
        Ok(Some(packet))
    }

    /// Whether attachments of a packet are still to come.
    pub(crate) const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }
}

/// A packet that waits for its attachments.
#[derive(Debug)]
struct Pending {
    packet: Packet,
    missing: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
}

/// Reads the text of a packet; also returns how many attachments follow.
fn parse(text: &ByteString, max_attachments: usize) -> Result<(Packet, usize), PacketError> {
    let (Split { kind, ns, id, payload }, attachments) = split(text, max_attachments)?;
    let ns = if ns == MAIN { ByteString::from_static(MAIN) } else { text.slice_ref(ns) };
    let payload = (!payload.is_empty()).then(|| text.slice_ref(payload));
    Ok((kind.packet(ns, id, payload, attachments)?, attachments))
}

/// The parts of the text of a packet.
struct Split<'a> {
    kind: Kind,
    ns: &'a str,
    id: Option<u64>,
    /// Not checked; empty if there is none.
    payload: &'a str,
}

/// Splits the text of a packet; also returns how many attachments follow.
fn split(text: &str, max_attachments: usize) -> Result<(Split<'_>, usize), PacketError> {
    let (kind, rest) = take_kind(text)?;
    let (attachments, rest) =
        if kind.is_binary() { take_attachments(rest, max_attachments)? } else { (0, rest) };
    let (ns, rest) = take_namespace(rest);
    let (id, payload) = take_id(rest)?;
    Ok((Split { kind, ns: ns.unwrap_or(MAIN), id, payload }, attachments))
}

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

impl Kind {
    const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    fn packet(
        self,
        ns: ByteString,
        id: Option<u64>,
        payload: Option<ByteString>,
        attachments: usize,
    ) -> Result<Packet, PacketError> {
        match (self, payload) {
            (Self::Connect, auth) => {
                auth.as_deref().map_or(Ok(()), check_object)?;
                Ok(Packet::Connect { ns, auth })
            }
            (Self::Disconnect, None) => Ok(Packet::Disconnect { ns }),
            (Self::Event, None) => Ok(Packet::Nothing { ns }),
            (Self::Event | Self::BinaryEvent, Some(payload)) => {
                let event = Event::parse(&payload, attachments, id)?.detached(payload.len());
                Ok(Packet::Event { ns, event })
            }
            (Self::Ack | Self::BinaryAck, Some(payload)) => {
                let args = RawArgs::without_attachments(check_args(&payload, attachments)?);
                Ok(id.map_or(Packet::Nothing { ns: ns.clone() }, |id| Packet::Ack { ns, id, args }))
            }
            (Self::Ack, None) => Ok(id.map_or(Packet::Nothing { ns: ns.clone() }, |id| Packet::Ack {
                ns,
                id,
                args: RawArgs::default(),
            })),
            (Self::ConnectError, Some(error)) => {
                check_connect_error(&error)?;
                Ok(Packet::ConnectError { ns, error })
            }
            (Self::Disconnect, Some(_))
            | (Self::ConnectError | Self::BinaryEvent | Self::BinaryAck, None) => {
                Err(PacketError::InvalidPayload)
            }
        }
    }
}

/// A server of protocol revision 4 sends a string.
fn check_connect_error(json: &str) -> Result<(), PacketError> {
    match serde_json::from_str::<String>(json) {
        Ok(_) => Ok(()),
        Err(_) => check_object(json),
    }
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

/// Reads digits, if there are any; more than fit are a number that every limit refuses.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(u64::MAX)) }
}

/// Refuses to send an event under one of Socket.IO's own names.
fn check_name(name: &str) -> Result<(), EncodeError> {
    if RESERVED.contains(&name) { Err(EncodeError::ReservedName { name: name.into() }) } else { Ok(()) }
}

/// The namespace of a packet that names none.
const MAIN: &str = "/";

/// The names no event may have (`RESERVED_EVENTS` of socket.io-parser).
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The largest integer JavaScript can tell from its neighbours.
const MAX_ID: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests;
