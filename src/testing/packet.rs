//! The packets of Engine.IO 4 and Socket.IO 5 as a client writes and reads them (engine.io protocol v4, "Packet encoding";
//! Socket.IO v5, §Packet encoding).
//!
//! It is independent of the server's codec, so that a mistake in one of them shows as a failure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::Value;

use crate::socket::{RawArgs, Refusal};

/// A packet of Engine.IO, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EnginePacket {
    Open(ByteString),
    Close,
    Ping(ByteString),
    Pong(ByteString),
    Text(ByteString),
    Binary(Bytes),
    Noop,
}

/// The data of an open packet, as far as a client needs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenPacket {
    pub(super) sid: String,
    /// Both times are in milliseconds.
    pub(super) ping_interval: u64,
    pub(super) ping_timeout: u64,
}

impl EnginePacket {
    /// Reads a text frame, or one packet of a payload.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub(super) fn read(text: &ByteString) -> Result<Self, String> {
        let rest = text.get(1..).unwrap_or_default();
        let data = || text.slice_ref(rest);
        Ok(match text.as_bytes().first() {
            Some(b'0') => Self::Open(data()),
            Some(b'1') => Self::Close,
            Some(b'2') => Self::Ping(data()),
            Some(b'3') => Self::Pong(data()),
            Some(b'4') => Self::Text(data()),
            Some(b'6') => Self::Noop,
            Some(b'b') => match STANDARD.decode(rest) {
                Ok(bytes) => Self::Binary(bytes.into()),
                Err(error) => return Err(format!("invalid base64: {error}")),
            },
            _ => return Err(format!("not an Engine.IO packet of a server: {text:?}")),
        })
    }

    /// Reads the body of the response to a poll.
    ///
    /// # Errors
    /// What is wrong with the first bad packet, in words.
    pub(super) fn read_payload(body: &[u8]) -> Result<Vec<Self>, String> {
        let text =
            std::str::from_utf8(body).map_err(|error| format!("a payload that is not UTF-8: {error}"))?;
        text.split(SEPARATOR).map(|packet| Self::read(&packet.into())).collect()
    }

    /// The packet as text: a text frame, or a part of a payload.
    pub(super) fn write(&self) -> String {
        match self {
            Self::Open(data) => format!("0{data}"),
            Self::Close => "1".to_owned(),
            Self::Ping(data) => format!("2{data}"),
            Self::Pong(data) => format!("3{data}"),
            Self::Text(data) => format!("4{data}"),
            Self::Binary(bytes) => format!("b{}", STANDARD.encode(bytes)),
            Self::Noop => "6".to_owned(),
        }
    }

    /// The body of a POST.
    pub(super) fn write_payload(packets: &[Self]) -> String {
        packets.iter().map(Self::write).collect::<Vec<_>>().join(&SEPARATOR.to_string())
    }
}

/// A packet of Socket.IO that a server sends.
#[derive(Debug)]
pub(super) enum ServerPacket {
    Connect { sid: String, pid: Option<String> },
    Disconnect,
    Event(Event),
    Ack(u64, RawArgs),
    ConnectError(Refusal),
}

/// An event, and the id under which the server wants an ack.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) args: RawArgs,
    pub(super) id: Option<u64>,
}

/// Writes a CONNECT packet. `Null` sends no `auth`.
pub(super) fn connect(ns: &str, auth: &Value) -> Vec<EnginePacket> {
    let auth = if auth.is_null() { String::new() } else { auth.to_string() };
    vec![EnginePacket::Text(format!("0{}{auth}", prefix(ns)).into())]
}

/// Writes a DISCONNECT packet.
pub(super) fn disconnect(ns: &str) -> Vec<EnginePacket> {
    vec![EnginePacket::Text(format!("1{}", prefix(ns)).into())]
}

/// Writes an EVENT packet, or a BINARY_EVENT packet where the arguments have attachments.
pub(super) fn event(ns: &str, id: Option<u64>, name: &str, args: &RawArgs) -> Vec<EnginePacket> {
    let name = Value::from(name);
    let comma = if args.json().is_empty() { "" } else { "," };
    with_attachments('2', '5', ns, id, &format!("[{name}{comma}{}]", args.json()), args)
}

/// Writes an ACK packet, or a BINARY_ACK packet where the arguments have attachments.
pub(super) fn ack(ns: &str, id: u64, args: &RawArgs) -> Vec<EnginePacket> {
    with_attachments('3', '6', ns, Some(id), &format!("[{}]", args.json()), args)
}

fn with_attachments(
    plain: char,
    binary: char,
    ns: &str,
    id: Option<u64>,
    json: &str,
    args: &RawArgs,
) -> Vec<EnginePacket> {
    let kind = match args.attachments().len() {
        0 => plain.to_string(),
        count => format!("{binary}{count}-"),
    };
    let id = id.map_or_else(String::new, |id| id.to_string());
    let text = EnginePacket::Text(format!("{kind}{}{id}{json}", prefix(ns)).into());
    std::iter::once(text).chain(args.attachments().iter().cloned().map(EnginePacket::Binary)).collect()
}

fn prefix(ns: &str) -> String {
    if ns == "/" { String::new() } else { format!("{ns},") }
}

/// Puts packets together from text and attachments.
#[derive(Debug, Default)]
pub(super) struct PacketDecoder(Option<IncompletePacket>);

/// A packet that waits for its attachments.
#[derive(Debug)]
struct IncompletePacket {
    head: Head,
    missing: usize,
    attachments: Vec<Bytes>,
}

impl PacketDecoder {
    /// Takes the text of a packet. Returns its namespace and the packet, unless attachments have to follow.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub(super) fn text(&mut self, text: &str) -> Result<Option<(String, ServerPacket)>, String> {
        if self.0.is_some() {
            return Err(format!("expected an attachment, received the text {text}"));
        }
        let (head, missing) = Head::read(text).ok_or_else(|| format!("not a Socket.IO packet: {text}"))?;
        if missing == 0 {
            return head.finish(Vec::new()).map(Some);
        }
        self.0 = Some(IncompletePacket { head, missing, attachments: Vec::new() });
        Ok(None)
    }

    /// Takes an attachment. Returns the namespace and the packet when it was the last one.
    ///
    /// # Errors
    /// No packet waits for an attachment.
    pub(super) fn binary(&mut self, bytes: Bytes) -> Result<Option<(String, ServerPacket)>, String> {
        let mut pending = self.0.take().ok_or("an attachment without a packet")?;
        pending.attachments.push(bytes);
        if pending.attachments.len() < pending.missing {
            self.0 = Some(pending);
            return Ok(None);
        }
        pending.head.finish(pending.attachments).map(Some)
    }
}

/// The parts of a packet's text.
#[derive(Debug)]
struct Head {
    kind: char,
    ns: String,
    id: Option<u64>,
    json: String,
}

impl Head {
    /// Reads the text of a packet, and returns also how many attachments follow.
    fn read(text: &str) -> Option<(Self, usize)> {
        let mut chars = text.chars();
        let kind = chars.next()?;
        let mut rest = chars.as_str();
        let mut missing = 0;
        if matches!(kind, '5' | '6') {
            let (count, behind) = rest.split_once('-')?;
            (missing, rest) = (count.parse().ok()?, behind);
        }
        let mut ns = "/";
        if rest.starts_with('/') {
            (ns, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let json = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let id = rest.strip_suffix(json).filter(|id| !id.is_empty());
        let id = id.map(str::parse).transpose().ok()?;
        Some((Self { kind, ns: ns.to_owned(), id, json: json.to_owned() }, missing))
    }

    fn finish(self, attachments: Vec<Bytes>) -> Result<(String, ServerPacket), String> {
        let packet = match (self.kind, self.id) {
            ('0', None) => self.connected(),
            ('1', None) => Some(ServerPacket::Disconnect),
            ('2' | '5', id) => self.event(id, attachments),
            ('3' | '6', Some(id)) => self.args(attachments).map(|args| ServerPacket::Ack(id, args)),
            ('4', None) => self.refusal(),
            _ => None,
        };
        match packet {
            Some(packet) => Ok((self.ns, packet)),
            None => Err(format!("not a Socket.IO packet of a server: {self:?}")),
        }
    }

    fn connected(&self) -> Option<ServerPacket> {
        let data: Value = serde_json::from_str(&self.json).ok()?;
        let text = |key| Some(data.get(key)?.as_str()?.to_owned());
        Some(ServerPacket::Connect { sid: text("sid")?, pid: text("pid") })
    }

    fn refusal(&self) -> Option<ServerPacket> {
        let error: Value = serde_json::from_str(&self.json).ok()?;
        let refusal = Refusal::new(error.get("message")?.as_str()?.to_owned());
        Some(ServerPacket::ConnectError(match error.get("data") {
            Some(data) => refusal.with_data(data),
            None => refusal,
        }))
    }

    fn event(&self, id: Option<u64>, attachments: Vec<Bytes>) -> Option<ServerPacket> {
        let elements = self.json.strip_prefix('[')?.strip_suffix(']')?;
        let mut first = serde_json::Deserializer::from_str(elements).into_iter::<String>();
        let name = first.next()?.ok()?;
        let rest = elements.get(first.byte_offset()..)?.trim_start();
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(',')? };
        let args = RawArgs::from_array(&format!("[{rest}]").into(), attachments).ok()?;
        Some(ServerPacket::Event(Event { name, args, id }))
    }

    fn args(&self, attachments: Vec<Bytes>) -> Option<RawArgs> {
        RawArgs::from_array(&self.json.as_str().into(), attachments).ok()
    }
}

const SEPARATOR: char = '\x1e';

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Args;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> (String, ServerPacket) {
        PacketDecoder::default().text(text).unwrap().unwrap()
    }

    #[test]
    fn packets_are_written_in_the_form_of_the_protocol() {
        let args = RawArgs::encode(&Args((1, "b"))).unwrap();
        let none = RawArgs::encode(&()).unwrap();
        for (packets, wire) in [
            (connect("/", &Value::Null), "40"),
            (connect("/chat", &json!({ "token": 1 })), r#"40/chat,{"token":1}"#),
            (disconnect("/chat"), "41/chat,"),
            (event("/", None, "a\"", &args), r#"42["a\"",1,"b"]"#),
            (event("/chat", Some(7), "a", &none), r#"42/chat,7["a"]"#),
            (ack("/chat", 7, &args), r#"43/chat,7[1,"b"]"#),
            (ack("/", 0, &none), "430[]"),
        ] {
            assert_eq!(EnginePacket::write_payload(&packets), wire);
        }
    }

    #[test]
    fn attachments_follow_their_packet() {
        let args = RawArgs::encode(&Bytes::from_static(&[1, 2])).unwrap();
        let packets = event("/", None, "a", &args);
        let wire = "451-[\"a\",{\"_placeholder\":true,\"num\":0}]\x1ebAQI=";
        assert_eq!(EnginePacket::write_payload(&packets), wire);
        assert_eq!(EnginePacket::read_payload(wire.as_bytes()), Ok(packets.clone()));
        let mut decoder = PacketDecoder::default();
        let [EnginePacket::Text(text), EnginePacket::Binary(bytes)] = &packets[..] else {
            panic!("{packets:?}")
        };
        assert!(decoder.text(text).unwrap().is_none());
        let Some((_, ServerPacket::Event(event))) = decoder.binary(bytes.clone()).unwrap() else {
            panic!("an event")
        };
        assert_eq!(event.args.decode::<Bytes>().unwrap(), bytes);
    }

    #[test]
    fn every_packet_of_a_server_is_read() {
        let (ns, ServerPacket::Connect { sid, pid: None }) = read(r#"0/chat,{"sid":"x"}"#) else {
            panic!("CONNECT")
        };
        assert_eq!((ns.as_str(), sid.as_str()), ("/chat", "x"));
        let (_, ServerPacket::ConnectError(refusal)) = read(r#"4{"message":"no","data":[1]}"#) else {
            panic!("refused")
        };
        assert_eq!((refusal.message(), refusal.data()), ("no", Some(&json!([1]))));
        let (_, ServerPacket::Event(event)) = read(r#"27["a,b",1,{"c":[]}]"#) else { panic!("an event") };
        assert_eq!((event.name.as_str(), event.args.json(), event.id), ("a,b", r#"1,{"c":[]}"#, Some(7)));
        let (_, ServerPacket::Event(event)) = read(r#"2["a"]"#) else { panic!("an event") };
        assert_eq!((event.args.json(), event.id), ("", None));
        let (ns, ServerPacket::Ack(12, args)) = read(r#"3/chat,12[true]"#) else { panic!("an ack") };
        assert_eq!((ns.as_str(), args.json()), ("/chat", "true"));
        assert!(matches!(read("1/chat,"), (ns, ServerPacket::Disconnect) if ns == "/chat"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_a_packet_or_refused(kind in "[0-7]", text: String) {
            drop(EnginePacket::read(&text.as_str().into()));
            drop(PacketDecoder::default().text(&text));
            drop(PacketDecoder::default().text(&format!("{kind}{text}")));
            drop(PacketDecoder::default().text(&format!("{kind}[\"a\"{text}]")));
        }

        #[test]
        fn any_body_is_read_as_a_payload_or_refused(body: Vec<u8>) {
            drop(EnginePacket::read_payload(&body));
        }
    }
}
