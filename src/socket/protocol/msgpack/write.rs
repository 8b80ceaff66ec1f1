//! From JSON and attachments to the message of a client.
//!
//! The JSON is known to be valid, so its tokens are translated one by one, at any depth and without recursion. A first
//! pass counts what containers hold, because MessagePack says that before.

use std::convert::Infallible;

use bytes::Bytes;
use rmp::encode::{ByteBuf, ValueWriteError};
use rmp::encode::{write_array_len, write_bin, write_bool, write_f64, write_map_len, write_nil};
use rmp::encode::{write_sint, write_str, write_uint};
use serde_json::{Number, Value};

use super::super::args::scan::{Token, placeholders, tokens};
use super::super::packet::Kind;
use super::super::text::Split;

/// Writes a packet as the map of its parts, in the order of the parser.
pub(super) fn packet(packet: &Split<'_>, attachments: &[Bytes]) -> Bytes {
    let Split { kind, ns, id, payload } = packet;
    let known = attachments.iter().map(Bytes::len).sum::<usize>() + payload.len() + ns.len();
    let mut out = ByteBuf::with_capacity(known + 64);
    let fields = 2 + u32::from(!payload.is_empty()) + u32::from(id.is_some());
    sure(write_map_len(&mut out, fields));
    sure(write_str(&mut out, "type"));
    sure(write_uint(&mut out, number(*kind)));
    sure(write_str(&mut out, "nsp"));
    sure(write_str(&mut out, ns));
    if !payload.is_empty() {
        sure(write_str(&mut out, "data"));
        json(&mut out, payload, attachments);
    }
    if let Some(id) = id {
        sure(write_str(&mut out, "id"));
        sure(write_uint(&mut out, *id));
    }
    out.into_vec().into()
}

/// The number of a type; there are none for packets with bytes.
const fn number(kind: Kind) -> u64 {
    match kind {
        Kind::Connect => 0,
        Kind::Disconnect => 1,
        Kind::Event | Kind::BinaryEvent => 2,
        Kind::Ack | Kind::BinaryAck => 3,
        Kind::ConnectError => 4,
    }
}

fn json(out: &mut ByteBuf, json: &str, attachments: &[Bytes]) {
    let containers = containers(json, attachments);
    let mut opened = containers.iter();
    // How many containers of a placeholder are open: nothing of it is written.
    let mut hidden = 0usize;
    for (token, at) in tokens(json) {
        match token {
            Token::Open if hidden > 0 => {
                opened.next();
                hidden += 1;
            }
            Token::Open => match opened.next() {
                Some(Container { bytes: Some(bytes), .. }) => {
                    sure(write_bin(out, bytes));
                    hidden = 1;
                }
                Some(Container { is_map: true, values, .. }) => {
                    sure(write_map_len(out, values / 2));
                }
                Some(Container { values, .. }) => {
                    sure(write_array_len(out, *values));
                }
                None => {}
            },
            Token::Close => hidden = hidden.saturating_sub(1),
            Token::Scalar if hidden == 0 => scalar(out, json.get(at).unwrap_or_default()),
            Token::Scalar | Token::Comma | Token::Colon => {}
        }
    }
}

/// An array or object, in the order in which they open.
struct Container<'a> {
    is_map: bool,
    /// Of an object, names and values.
    values: u32,
    /// What it stands for, if it is a placeholder.
    bytes: Option<&'a Bytes>,
}

fn containers<'a>(json: &str, attachments: &'a [Bytes]) -> Vec<Container<'a>> {
    // Without attachments nothing is a placeholder, whatever it looks like.
    let places = if attachments.is_empty() { Vec::new() } else { placeholders(json) };
    let mut containers: Vec<Container<'_>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for (token, at) in tokens(json) {
        let parent = open.last().and_then(|at| containers.get_mut(*at));
        match (token, parent) {
            (Token::Scalar, Some(parent)) => {
                parent.values = parent.values.saturating_add(1);
                if let Some(place) = places.iter().find(|place| place.at == at) {
                    parent.bytes = place.number(json).and_then(|number| attachments.get(number));
                }
            }
            (Token::Open, parent) => {
                parent.into_iter().for_each(|parent| parent.values = parent.values.saturating_add(1));
                let is_map = json.get(at).is_some_and(|bracket| bracket == "{");
                open.push(containers.len());
                containers.push(Container { is_map, values: 0, bytes: None });
            }
            (Token::Close, _) => drop(open.pop()),
            (Token::Scalar | Token::Comma | Token::Colon, _) => {}
        }
    }
    containers
}

fn scalar(out: &mut ByteBuf, json: &str) {
    match json.as_bytes().first() {
        Some(b'"') if json.contains('\\') => {
            sure(write_str(out, &serde_json::from_str::<String>(json).unwrap_or_default()));
        }
        Some(b'"') => {
            let text = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
            sure(write_str(out, text.unwrap_or_default()));
        }
        _ => match serde_json::from_str(json) {
            Ok(Value::Bool(value)) => {
                let Ok(()) = write_bool(out, value);
            }
            Ok(Value::Number(value)) => numeral(out, &value),
            _ => {
                let Ok(()) = write_nil(out);
            }
        },
    }
}

fn numeral(out: &mut ByteBuf, number: &Number) {
    if let Some(number) = number.as_u64() {
        sure(write_uint(out, number));
    } else if let Some(number) = number.as_i64() {
        sure(write_sint(out, number));
    } else {
        sure(write_f64(out, number.as_f64().unwrap_or_default()));
    }
}

/// Memory takes everything.
fn sure<T>(written: Result<T, ValueWriteError<Infallible>>) {
    let Ok(_) = written;
}
