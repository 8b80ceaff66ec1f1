//! Messages between nodes, as `proto/mesh.proto` describes them.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::draw::{bytes, one_in, pick};
use super::json;
use super::mutate::seldom;
use crate::dice::Dice;

/// The body of a frame.
pub(super) fn envelope(dice: &mut Dice, input: &mut Vec<u8>) {
    message(dice, "Envelope", 0, input);
    seldom(dice, TEXTS, input);
}

pub(super) fn hello(dice: &mut Dice, input: &mut Vec<u8>) {
    // What has to be right for anything else to be looked at.
    for (number, text) in [(3, "chat"), (4, "b"), (6, "10.0.0.2:1"), (7, "json")] {
        let text = if one_in(dice, 16) { pick(dice, TEXTS) } else { text };
        input.push(number << 3 | 2);
        varint(text.len() as u64, input);
        input.extend(text.bytes());
    }
    input.extend([1 << 3, 1, 2 << 3, 1]);
    if one_in(dice, 2) {
        message(dice, "Hello", 0, input);
    }
    for _ in 0..dice.below(0..4) {
        field(dice, &Field { number: 12, kind: Kind::Message("Member".to_owned()) }, 0, input);
    }
    seldom(dice, TEXTS, input);
}

struct Field {
    number: u64,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Number,
    Fixed,
    Text,
    /// Text as JSON, or bytes.
    Bytes,
    Message(String),
}

/// The fields of each message.
fn schema() -> &'static HashMap<String, Vec<Field>> {
    static SCHEMA: OnceLock<HashMap<String, Vec<Field>>> = OnceLock::new();
    SCHEMA.get_or_init(|| read(include_str!("../../../proto/mesh.proto")))
}

fn read(proto: &str) -> HashMap<String, Vec<Field>> {
    let lines = || proto.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    let opened =
        |line: &str, word: &str| Some(line.strip_prefix(word)?.split_whitespace().next()?.to_owned());
    let enums: Vec<_> = lines().filter_map(|line| opened(line, "enum ")).collect();
    let (mut messages, mut open) = (HashMap::<String, Vec<Field>>::new(), Vec::new());
    for line in lines() {
        if line.ends_with('{') {
            open.push(opened(line, "message "));
        } else if line == "}" {
            open.pop();
        }
        if let Some(message) = opened(line, "message ") {
            messages.entry(message).or_default();
        }
        // A choice belongs to the message around it, and what an enum names is no field.
        let message = if line.contains("_") && line.starts_with(char::is_uppercase) {
            None
        } else {
            open.iter().rev().flatten().next()
        };
        let Some((declared, number)) = line.trim_end_matches(';').split_once(" = ") else { continue };
        let mut words = declared.split_whitespace().rev();
        if let (Some(message), Some(_name), Some(kind), Ok(number)) =
            (message, words.next(), words.next(), number.parse())
        {
            let kind = match kind {
                "string" => Kind::Text,
                "bytes" => Kind::Bytes,
                "fixed64" => Kind::Fixed,
                "bool" | "uint32" | "uint64" => Kind::Number,
                other if enums.iter().any(|name| name == other) => Kind::Number,
                other => Kind::Message(other.to_owned()),
            };
            messages.entry(message.clone()).or_default().push(Field { number, kind });
        }
    }
    messages
}

fn message(dice: &mut Dice, name: &str, depth: u32, input: &mut Vec<u8>) {
    let fields = schema().get(name).map_or(&[][..], |fields| fields);
    if fields.is_empty() || depth > 6 {
        return;
    }
    let most = if depth == 0 { 2 } else { 6 };
    for _ in 0..dice.below(1..most) {
        let chosen = &fields[dice.below(0..fields.len())];
        field(dice, chosen, depth, input);
    }
    if one_in(dice, 64) {
        varint(dice.number() % 8000, input);
    }
}

fn field(dice: &mut Dice, Field { number, kind }: &Field, depth: u32, input: &mut Vec<u8>) {
    let kind = if one_in(dice, 64) { pick(dice, &[&Kind::Number, &Kind::Fixed, &Kind::Text]) } else { kind };
    let wire = match kind {
        Kind::Number => 0,
        Kind::Fixed => 1,
        Kind::Text | Kind::Bytes | Kind::Message(_) => 2,
    };
    varint(number << 3 | wire, input);
    match kind {
        Kind::Number => varint(pick(dice, &[0, 1, 1, 2, 7, 1000, 1 << 32, u64::MAX]), input),
        Kind::Fixed => bytes(dice, 8, input),
        Kind::Text => {
            let text = pick(dice, TEXTS);
            varint(text.len() as u64, input);
            input.extend(text.bytes());
        }
        Kind::Bytes => long(dice, input, |dice, input| match dice.below(0..8) {
            0 => {
                let length = dice.below(0..20);
                bytes(dice, length, input);
            }
            1..=4 => json::array(dice, input),
            _ => json::object(dice, input),
        }),
        Kind::Message(name) => long(dice, input, |dice, input| message(dice, name, depth + 1, input)),
    }
}

/// What has its length before it.
fn long(dice: &mut Dice, input: &mut Vec<u8>, write: impl FnOnce(&mut Dice, &mut Vec<u8>)) {
    let begin = input.len();
    write(dice, input);
    let mut length = Vec::new();
    varint((input.len() - begin) as u64, &mut length);
    drop(input.splice(begin..begin, length));
}

fn varint(mut number: u64, input: &mut Vec<u8>) {
    while number > 0x7f {
        let [low, ..] = number.to_le_bytes();
        input.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    input.push(low);
}

const TEXTS: &[&str] = &[
    "",
    "/",
    "/chat",
    "a",
    "room",
    "AAAAAAAAAAAAAAAAAAAA",
    "10.0.0.1:1",
    "[::1]:1",
    "0.0.0.0:0",
    "nowhere",
    "b",
    "m",
    "chat",
    "json",
    "ä€😀",
    "\0",
    "2[\"event\"]",
    "51-[\"a\",{\"_placeholder\":true,\"num\":0}]",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_all_messages_are_read() {
        let numbers = |message: &str| schema()[message].iter().map(|field| field.number).collect::<Vec<_>>();
        assert_eq!(numbers("Envelope"), [1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 15]);
        assert_eq!(numbers("Refusal"), [1, 2]);
        assert_eq!(numbers("Response"), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(numbers("Goodbye"), [0; 0]);
        assert!(matches!(&schema()["Response"][2].kind, Kind::Message(name) if name == "Sockets"));
        assert!(matches!(schema()["Response"][1].kind, Kind::Number));
    }
}
