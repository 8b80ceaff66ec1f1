//! The packets of Engine.IO 4 and Socket.IO 5 as a client writes and reads them (engine.io protocol v4, "Packet encoding";
//! Socket.IO v5, §Packet encoding).
//!
//! Written apart from the server's codec, so that neither excuses a mistake of the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::Value;

use crate::socket::{RawArgs, Refusal};

/// A packet of Engine.IO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Engine {
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
pub(super) struct Opened {
    pub(super) sid: String,
    /// In milliseconds, as the next.
    pub(super) ping_interval: u64,
    pub(super) ping_timeout: u64,
}

impl Engine {
    /// Reads a text frame, or one packet of a payload.
    ///
    /// # Errors
    /// What it is not.
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
                Err(error) => return Err(format!("bytes that are no base64: {error}")),
            },
            _ => return Err(format!("no packet of a server: {text:?}")),
        })
    }

    /// Reads the body of a poll.
    ///
    /// # Errors
    /// What one of its packets is not.
    pub(super) fn read_payload(body: &[u8]) -> Result<Vec<Self>, String> {
        let text =
            std::str::from_utf8(body).map_err(|error| format!("a payload that is no text: {error}"))?;
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

/// A packet of Socket.IO, as a server sends it.
#[derive(Debug)]
pub(super) enum Packet {
    Connect(String),
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

/// CONNECT; without `auth` if it is null.
pub(super) fn connect(ns: &str, auth: &Value) -> Vec<Engine> {
    let auth = if auth.is_null() { String::new() } else { auth.to_string() };
    vec![Engine::Text(format!("0{}{auth}", prefix(ns)).into())]
}

/// DISCONNECT.
pub(super) fn disconnect(ns: &str) -> Vec<Engine> {
    vec![Engine::Text(format!("1{}", prefix(ns)).into())]
}

/// EVENT or BINARY_EVENT.
pub(super) fn event(ns: &str, id: Option<u64>, name: &str, args: &RawArgs) -> Vec<Engine> {
    let name = Value::from(name);
    let comma = if args.json().is_empty() { "" } else { "," };
    with_attachments('2', '5', ns, id, &format!("[{name}{comma}{}]", args.json()), args)
}

/// ACK or BINARY_ACK.
pub(super) fn ack(ns: &str, id: u64, args: &RawArgs) -> Vec<Engine> {
    with_attachments('3', '6', ns, Some(id), &format!("[{}]", args.json()), args)
}

fn with_attachments(
    plain: char,
    binary: char,
    ns: &str,
    id: Option<u64>,
    json: &str,
    args: &RawArgs,
) -> Vec<Engine> {
    let kind = match args.attachments().len() {
        0 => plain.to_string(),
        count => format!("{binary}{count}-"),
    };
    let id = id.map_or_else(String::new, |id| id.to_string());
    let text = Engine::Text(format!("{kind}{}{id}{json}", prefix(ns)).into());
    std::iter::once(text).chain(args.attachments().iter().cloned().map(Engine::Binary)).collect()
}

fn prefix(ns: &str) -> String {
    if ns == "/" { String::new() } else { format!("{ns},") }
}

/// Puts packets together from text and attachments.
#[derive(Debug, Default)]
pub(super) struct Decoder(Option<Pending>);

/// A packet that waits for its attachments.
#[derive(Debug)]
struct Pending {
    head: Head,
    missing: usize,
    attachments: Vec<Bytes>,
}

impl Decoder {
    /// Takes the text of a packet; returns it, and its namespace, unless attachments are to follow.
    ///
    /// # Errors
    /// What it is not.
    pub(super) fn text(&mut self, text: &str) -> Result<Option<(String, Packet)>, String> {
        if self.0.is_some() {
            return Err(format!("text where an attachment was to come: {text}"));
        }
        let (head, missing) = Head::read(text).ok_or_else(|| format!("no packet: {text}"))?;
        if missing == 0 {
            return head.finish(Vec::new()).map(Some);
        }
        self.0 = Some(Pending { head, missing, attachments: Vec::new() });
        Ok(None)
    }

    /// Takes an attachment; returns the packet whose last one it is.
    ///
    /// # Errors
    /// When none was to come.
    pub(super) fn binary(&mut self, bytes: Bytes) -> Result<Option<(String, Packet)>, String> {
        let mut pending = self.0.take().ok_or("an attachment of no packet")?;
        pending.attachments.push(bytes);
        if pending.attachments.len() < pending.missing {
            self.0 = Some(pending);
            return Ok(None);
        }
        pending.head.finish(pending.attachments).map(Some)
    }
}

/// The text of a packet, taken apart.
#[derive(Debug)]
struct Head {
    kind: char,
    ns: String,
    id: Option<u64>,
    json: String,
}

impl Head {
    /// Also returns how many attachments follow.
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

    fn finish(self, attachments: Vec<Bytes>) -> Result<(String, Packet), String> {
        let packet = match (self.kind, self.id) {
            ('0', None) => self.connected(),
            ('1', None) => Some(Packet::Disconnect),
            ('2' | '5', id) => self.event(id, attachments),
            ('3' | '6', Some(id)) => self.args(attachments).map(|args| Packet::Ack(id, args)),
            ('4', None) => self.refusal(),
            _ => None,
        };
        match packet {
            Some(packet) => Ok((self.ns, packet)),
            None => Err(format!("no packet of a server: {self:?}")),
        }
    }

    fn connected(&self) -> Option<Packet> {
        let data: Value = serde_json::from_str(&self.json).ok()?;
        Some(Packet::Connect(data.get("sid")?.as_str()?.to_owned()))
    }

    fn refusal(&self) -> Option<Packet> {
        let error: Value = serde_json::from_str(&self.json).ok()?;
        let refusal = Refusal::new(error.get("message")?.as_str()?.to_owned());
        Some(Packet::ConnectError(match error.get("data") {
            Some(data) => refusal.with_data(data),
            None => refusal,
        }))
    }

    fn event(&self, id: Option<u64>, attachments: Vec<Bytes>) -> Option<Packet> {
        let elements = self.json.strip_prefix('[')?.strip_suffix(']')?;
        let mut first = serde_json::Deserializer::from_str(elements).into_iter::<String>();
        let name = first.next()?.ok()?;
        let rest = elements.get(first.byte_offset()..)?.trim_start();
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(',')? };
        let args = RawArgs::from_array(&format!("[{rest}]").into(), attachments).ok()?;
        Some(Packet::Event(Event { name, args, id }))
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

    fn read(text: &str) -> (String, Packet) {
        Decoder::default().text(text).unwrap().unwrap()
    }

    #[test]
    fn packets_are_written_as_the_protocol_has_them() {
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
            assert_eq!(Engine::write_payload(&packets), wire);
        }
    }

    #[test]
    fn bytes_follow_their_packet() {
        let args = RawArgs::encode(&Bytes::from_static(&[1, 2])).unwrap();
        let packets = event("/", None, "a", &args);
        let wire = "451-[\"a\",{\"_placeholder\":true,\"num\":0}]\x1ebAQI=";
        assert_eq!(Engine::write_payload(&packets), wire);
        assert_eq!(Engine::read_payload(wire.as_bytes()), Ok(packets.clone()));
        let mut decoder = Decoder::default();
        let [Engine::Text(text), Engine::Binary(bytes)] = &packets[..] else { panic!("{packets:?}") };
        assert!(decoder.text(text).unwrap().is_none());
        let Some((_, Packet::Event(event))) = decoder.binary(bytes.clone()).unwrap() else {
            panic!("an event")
        };
        assert_eq!(event.args.decode::<Bytes>().unwrap(), bytes);
    }

    #[test]
    fn what_a_server_says_is_read() {
        let (ns, Packet::Connect(sid)) = read(r#"0/chat,{"sid":"x"}"#) else { panic!("CONNECT") };
        assert_eq!((ns.as_str(), sid.as_str()), ("/chat", "x"));
        let (_, Packet::ConnectError(refusal)) = read(r#"4{"message":"no","data":[1]}"#) else {
            panic!("refused")
        };
        assert_eq!((refusal.message(), refusal.data()), ("no", Some(&json!([1]))));
        let (_, Packet::Event(event)) = read(r#"27["a,b",1,{"c":[]}]"#) else { panic!("an event") };
        assert_eq!((event.name.as_str(), event.args.json(), event.id), ("a,b", r#"1,{"c":[]}"#, Some(7)));
        let (_, Packet::Event(event)) = read(r#"2["a"]"#) else { panic!("an event") };
        assert_eq!((event.args.json(), event.id), ("", None));
        let (ns, Packet::Ack(12, args)) = read(r#"3/chat,12[true]"#) else { panic!("an ack") };
        assert_eq!((ns.as_str(), args.json()), ("/chat", "true"));
        assert!(matches!(read("1/chat,"), (ns, Packet::Disconnect) if ns == "/chat"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_packet_or_refused(kind in "[0-7]", text: String) {
            drop(Engine::read(&text.as_str().into()));
            drop(Decoder::default().text(&text));
            drop(Decoder::default().text(&format!("{kind}{text}")));
            drop(Decoder::default().text(&format!("{kind}[\"a\"{text}]")));
        }

        #[test]
        fn any_body_is_a_payload_or_refused(body: Vec<u8>) {
            drop(Engine::read_payload(&body));
        }
    }
}
