//! The text of the packets a server sends.

use std::fmt::Write as _;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::Value;

use super::args::{ArgsWriter, IntoArgs, RawArgs};
use super::error::EncodeError;
use super::msgpack;
use super::packet::{MAIN, check_name};
use super::parser::Parser;
use crate::engine::{self, Frame, Frames, Protocol};
use crate::id::SocketId;

/// A packet as it goes to the engine: one text message, then the attachments, with nothing between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Without the engine's packet type `4`.
    pub(crate) text: ByteString,
    pub(crate) attachments: Vec<Bytes>,
}

impl Encoded {
    fn text(text: String) -> Self {
        Self { text: text.into(), attachments: Vec::new() }
    }
}

impl Parser {
    /// The frames that carry a packet to clients. They are made once and shared by all clients of the node.
    pub(crate) fn frames(self, text: &str, attachments: &[Bytes], compress: bool) -> Frames {
        match self {
            Self::Json => engine::frames(text, attachments, compress),
            Self::MessagePack => {
                let message = msgpack::encode(text, attachments);
                message.map(|data| Frame::message_binary(data).with_compress(compress)).into_iter().collect()
            }
        }
    }
}

/// Tells the client that it has entered the namespace, its socket's id, and the secret by which it gets that back if it may. Clients
/// of Engine.IO 3 are not told the id, and refuse a payload.
pub(crate) fn connect(ns: &str, sid: SocketId, pid: Option<SocketId>, protocol: Protocol) -> Encoded {
    let prefix = NamespacePrefix(ns);
    Encoded::text(match (protocol, pid) {
        (Protocol::V4, Some(pid)) => format!(r#"0{prefix}{{"sid":"{sid}","pid":"{pid}"}}"#),
        (Protocol::V4, None) => format!(r#"0{prefix}{{"sid":"{sid}"}}"#),
        (Protocol::V3, _) => format!("0{prefix}"),
    })
}

/// Tells the client that it may not enter the namespace. Clients of Engine.IO 3 expect one value: the data, or else the
/// message.
pub(crate) fn connect_error(ns: &str, message: &str, data: Option<&Value>, protocol: Protocol) -> Encoded {
    let message = Value::from(message);
    let payload = match (protocol, data) {
        (Protocol::V4, None) => format!(r#"{{"message":{message}}}"#),
        (Protocol::V4, Some(data)) => format!(r#"{{"message":{message},"data":{data}}}"#),
        (Protocol::V3, data) => data.unwrap_or(&message).to_string(),
    };
    Encoded::text(format!("4{}{payload}", NamespacePrefix(ns)))
}

/// Tells the client that it is not in the namespace any more.
pub(crate) fn disconnect(ns: &str) -> Encoded {
    Encoded::text(format!("1{}", NamespacePrefix(ns)))
}

/// An event, with an id if the client is to send an ack. Its arguments are written where they belong, behind the name.
pub(crate) fn event<A: IntoArgs + ?Sized>(
    ns: &str,
    id: Option<u64>,
    name: &str,
    args: &A,
) -> Result<Encoded, EncodeError> {
    check_name(name)?;
    let mut text = header('2', ns, id, USUAL);
    text.push('[');
    let mut text = text.into_bytes();
    serde_json::to_writer(&mut text, name)?;
    let mut writer = ArgsWriter::behind(text);
    args.encode_args(&mut writer)?;
    let (mut text, attachments) = writer.finish()?;
    text.push(']');
    Ok(Encoded { text: with_count("5", text, attachments.len()).into(), attachments })
}

/// The text of an event with one more argument behind the others, which needs no escape.
pub(crate) fn with_last_argument(text: &str, argument: impl FnOnce(&mut String)) -> ByteString {
    let Some(open) = text.strip_suffix(']') else { return text.into() };
    let mut longer = String::with_capacity(text.len() + USUAL_ARGUMENT);
    longer.push_str(open);
    longer.push_str(",\"");
    argument(&mut longer);
    longer.push_str("\"]");
    longer.into()
}

/// The ack of an event that came with this id.
pub(crate) fn ack(ns: &str, id: u64, args: &RawArgs) -> Encoded {
    let mut text = header('3', ns, Some(id), args.json().len() + "[]".len());
    text.push('[');
    text.push_str(args.json());
    text.push(']');
    let attachments = args.attachments().to_vec();
    Encoded { text: with_count("6", text, attachments.len()).into(), attachments }
}

/// Everything before the payload, of a packet without attachments.
fn header(kind: char, ns: &str, id: Option<u64>, payload: usize) -> String {
    let mut text = String::with_capacity(HEADER + ns.len() + payload);
    text.push(kind);
    if ns != MAIN {
        text.extend([ns, ","]);
    }
    if let Some(id) = id {
        // A string takes any text.
        let _written = write!(text, "{id}");
    }
    text
}

/// With attachments the type is another one, and their number follows it.
fn with_count(binary: &str, mut text: String, attachments: usize) -> String {
    if attachments > 0 {
        text.replace_range(..1, &format!("{binary}{attachments}-"));
    }
    text
}

/// The part of a packet that names its namespace. The main one is left out.
struct NamespacePrefix<'a>(&'a str);

impl std::fmt::Display for NamespacePrefix<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            "/" => Ok(()),
            ns => write!(f, "{ns},"),
        }
    }
}

/// Room for the type, the number of an ack, and what encloses the payload.
const HEADER: usize = 32;
/// Room for the name and the arguments of most events. The text is not kept.
const USUAL: usize = 224;
/// Room for a position of four nodes.
const USUAL_ARGUMENT: usize = 64;
