//! Packets as values, and what is allowed in them.

use bytes::Bytes;
use bytestring::ByteString;

use super::args::{RawArgs, check_args, check_object, replace_lone_surrogates, split_first};
use super::error::{EncodeError, PacketError};

/// A packet of a client. Its JSON is checked, but is still the client's text.
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
    /// What only servers send. `error` is a JSON object or string.
    ConnectError { ns: ByteString, error: ByteString },
    /// An EVENT without payload or an ACK without id. As in Node it is ignored if the client is in the namespace.
    Nothing { ns: ByteString },
}

impl Packet {
    /// Makes the query of the namespace the `auth`: clients of v4 of the protocol send `/admin?token=x`. As in Node, nothing else
    /// that they send counts.
    pub(crate) fn split_query(&mut self) {
        let ns = self.ns_mut();
        let auth = ns.split_once('?').map(|(path, query)| (ns.slice_ref(path), query_as_json(query)));
        let auth = auth.map(|(path, auth)| {
            *ns = path;
            auth
        });
        if let Self::Connect { auth: slot, .. } = self {
            *slot = auth;
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

    pub(super) fn attach(&mut self, attachments: Vec<Bytes>) {
        match self {
            Self::Event { event: Event { args, .. }, .. } | Self::Ack { args, .. } => {
                args.attach(attachments);
            }
            // This was a BINARY_ACK without id.
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
    /// The name without quotes and escapes. A numeric name is kept as its text.
    pub(crate) name: ByteString,
    pub(crate) args: RawArgs,
    pub(crate) id: Option<u64>,
}

impl Event {
    /// Copies the event out of the message it came in, if that was much larger (because of white space, say). Otherwise the
    /// event would hold more memory than queues count.
    fn detached(self, message: usize) -> Self {
        if message < 2 * self.len() + 256 {
            return self;
        }
        Self { name: (&*self.name).into(), args: self.args.copied(), ..self }
    }

    /// About how many bytes it holds: what queues count.
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

/// A query as the text of a JSON object of strings. Of a repeated key the last value counts, as in Node.
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

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

impl Kind {
    pub(super) const fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    pub(super) fn packet(
        self,
        ns: ByteString,
        id: Option<u64>,
        payload: Option<ByteString>,
        attachments: usize,
    ) -> Result<Packet, PacketError> {
        let payload = payload.map(replace_lone_surrogates);
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

/// Checks a JSON object, or the string that a server of v4 of the protocol sends.
fn check_connect_error(json: &str) -> Result<(), PacketError> {
    match serde_json::from_str::<String>(json) {
        Ok(_) => Ok(()),
        Err(_) => check_object(json),
    }
}

/// What a decoder accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PacketLimits {
    /// How many attachments a packet may have; Node's limit is 10.
    pub(crate) max_attachments: usize,
    /// How many bytes a packet and its attachments may have together.
    pub(crate) max_pending_bytes: usize,
}

/// Refuses to send an event under one of Socket.IO's own names.
pub(super) fn check_name(name: &str) -> Result<(), EncodeError> {
    if RESERVED.contains(&name) { Err(EncodeError::ReservedName { name: name.into() }) } else { Ok(()) }
}

/// The namespace of a packet that names none.
pub(super) const MAIN: &str = "/";

/// The names no event may have (`RESERVED_EVENTS` of socket.io-parser).
pub(super) const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The largest integer that JavaScript can tell from its neighbours.
pub(super) const MAX_ID: u64 = (1 << 53) - 1;
