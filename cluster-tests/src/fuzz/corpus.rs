//! Texts of clients: valid ones, the pieces that they are made of, and what comes of both when they are broken.

use super::draw::{bytes, one_in, pick};
use super::json;
use super::mutate::mutate;
use crate::dice::Dice;

/// One of the texts, or pieces in any order, seldom anything.
fn text(dice: &mut Dice, texts: &[&str], tokens: &[&str], input: &mut Vec<u8>) {
    match dice.below(0..16) {
        0 => {
            let length = dice.below(0..40);
            bytes(dice, length, input);
        }
        1..=4 => (0..dice.below(1..10)).for_each(|_| input.extend(pick(dice, tokens).bytes())),
        _ => {
            input.extend(pick(dice, texts).bytes());
            if !one_in(dice, 4) {
                mutate(dice, tokens, input);
            }
        }
    }
}

pub(super) fn engine_packet(dice: &mut Dice, input: &mut Vec<u8>) {
    text(dice, PACKETS, PACKETS, input);
}

pub(super) fn engine_payload(dice: &mut Dice, input: &mut Vec<u8>) {
    let form = dice.below(0..3);
    for n in 0..dice.below(1..6) {
        let mut packet = Vec::new();
        text(dice, PACKETS, PACKETS, &mut packet);
        match form {
            0 => {
                input.extend((n > 0).then_some(0x1e));
                input.extend(packet);
            }
            1 => {
                let length = String::from_utf8_lossy(&packet).encode_utf16().count();
                input.extend(format!("{length}:").bytes());
                input.extend(packet);
            }
            _ => {
                input.push(u8::from(one_in(dice, 2)));
                input.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
                input.push(0xff);
                input.extend(packet);
            }
        }
    }
    if one_in(dice, 4) {
        mutate(dice, &["\x1e", ":", "1:", "99999999999999999999:", "-1:", "0:"], input);
    }
}

/// The byte that chooses the header and the proxy, and what the client begins.
pub(super) fn client_address(dice: &mut Dice, input: &mut Vec<u8>) {
    let form = u8::try_from(dice.below(0..4)).unwrap_or_default();
    input.push(form);
    let texts = if form < 2 { FORWARDED_FOR } else { FORWARDED };
    text(dice, texts, FORWARDED_TOKENS, input);
}

pub(super) fn proxy_header(dice: &mut Dice, input: &mut Vec<u8>) {
    if one_in(dice, 2) {
        return text(dice, PROXY_LINES, PROXY_TOKENS, input);
    }
    input.extend(b"\r\n\r\n\0\r\nQUIT\n");
    input.push(pick(dice, &[0x21, 0x21, 0x21, 0x20, 0x11, 0x2f]));
    let (family, length) =
        pick(dice, &[(0x11, 12), (0x21, 36), (0x11, 15), (0x31, 216), (0x00, 0), (0x12, 12)]);
    input.push(family);
    let length = if one_in(dice, 4) { dice.below(0..60) } else { length };
    input.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
    let present = if one_in(dice, 8) { dice.below(0..60) } else { length };
    bytes(dice, present, input);
}

pub(super) fn query(dice: &mut Dice, input: &mut Vec<u8>) {
    text(dice, QUERIES, QUERY_TOKENS, input);
}

pub(super) fn socket_packet(dice: &mut Dice, input: &mut Vec<u8>) {
    for n in 0..dice.below(1..5) {
        input.extend((n > 0).then_some(b'\n'));
        if one_in(dice, 4) {
            input.push(0);
            let length = dice.below(0..8);
            bytes(dice, length, input);
        } else if one_in(dice, 4) {
            text(dice, SOCKET_PACKETS, SOCKET_TOKENS, input);
        } else {
            packet(dice, input);
        }
    }
}

/// A packet, with attachments that come in the next lines.
fn packet(dice: &mut Dice, input: &mut Vec<u8>) {
    let binary = one_in(dice, 3);
    let kind = pick(dice, if binary { &["5", "5", "6"] } else { &["0", "1", "2", "2", "2", "3", "4"] });
    input.extend(kind.bytes());
    let attachments = if binary { dice.below(0..4) } else { 0 };
    if binary {
        input.extend(format!("{attachments}-").bytes());
    }
    input.extend(pick(dice, &["", "", "/chat,", "/a,", "/chat?token=1,"]).bytes());
    input.extend(pick(dice, &["", "", "0", "12", "9007199254740991"]).bytes());
    match kind {
        "0" | "1" | "4" if one_in(dice, 2) => {}
        "0" | "4" => json::object(dice, input),
        _ => {
            let begin = input.len();
            json::array(dice, input);
            if matches!(kind, "2" | "5") && input.get(begin) == Some(&b'[') {
                drop(input.splice(begin + 1..begin + 1, *b"\"event\","));
                if input.ends_with(b",]") {
                    input.truncate(input.len() - 2);
                    input.push(b']');
                }
            }
        }
    }
    for _ in 0..attachments {
        input.extend(b"\n\0");
        let length = dice.below(0..6);
        bytes(dice, length, input);
    }
}

const PACKETS: &[&str] = &[
    "0{}",
    "1",
    "2",
    "2probe",
    "3",
    "3probe",
    "4",
    "4message",
    "4ä€😀",
    "5",
    "6",
    "b",
    "bAAEC",
    "b4AAEC",
    "bAAECAw==",
    "b=",
    "7",
    "4\u{1e}4",
    "\u{4}",
    "\0",
    "4{\"a\":1}",
];

const QUERIES: &[&str] = &[
    "EIO=4&transport=polling",
    "EIO=4&transport=websocket",
    "EIO=3&transport=polling&b64=1&j=0&t=abc",
    "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA&t=x",
    "transport=polling&transport=polling",
    "a=1&a=2&b",
    "EIO=4&transport=webtransport&sid=abc",
];

const QUERY_TOKENS: &[&str] = &[
    "&",
    "=",
    "?",
    "%",
    "%25",
    "%ff",
    "%C3%A4",
    "+",
    "EIO",
    "4",
    "3",
    "transport",
    "polling",
    "websocket",
    "sid",
    "t",
    "j",
    "b64",
    "AAAAAAAAAAAAAAAAAAAA",
    "__proto__",
    "&&",
    "==",
    ";",
    "#",
    "ä",
    "\0",
];

const FORWARDED_FOR: &[&str] = &[
    "198.51.100.7",
    "198.51.100.7, 10.0.0.2",
    "[2001:db8::1]:4711, 10.0.0.2:80",
    "unknown",
    "",
    "10.0.0.3, 10.0.0.2",
];

const FORWARDED: &[&str] = &[
    "for=198.51.100.7",
    "for=198.51.100.7;proto=http;host=chat.example, for=10.0.0.2",
    "For=\"[2001:db8::1]:4711\";by=10.0.0.1",
    "for=_hidden;secret=\"a\\\"b\"",
    "for=unknown,,",
    "proto=http",
];

const FORWARDED_TOKENS: &[&str] = &[
    "for=",
    "proto=http",
    "host=",
    ";",
    ",",
    ", ",
    "\"",
    "\\",
    "=",
    "198.51.100.7",
    "10.0.0.2",
    "[2001:db8::1]",
    ":4711",
    "unknown",
    "\t",
    "\u{fc}",
];

const PROXY_LINES: &[&str] = &[
    "PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n",
    "PROXY TCP6 2001:db8::9 ::1 4711 443\r\n",
    "PROXY UNKNOWN\r\n",
    "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
];

const PROXY_TOKENS: &[&str] =
    &["PROXY ", "TCP4", "TCP6", "UNKNOWN", " ", "\r", "\n", "\r\n", "203.0.113.9", "::1", "65536", "0", "-1"];

const SOCKET_PACKETS: &[&str] = &[
    "0",
    "0{}",
    "0/chat,{\"token\":1}",
    "1",
    "1/chat,",
    "2[\"a\"]",
    "2/chat,12[\"a\",1]",
    "3/chat,12[]",
    "4{\"message\":\"no\"}",
    "51-[\"a\",{\"_placeholder\":true,\"num\":0}]",
    "62-/chat,1[{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]",
    "2[1]",
    "2[]",
    "2",
    "0/a?b=c,",
    "2[\"\\ud83d\\ude00\",\"\\ud83d\"]",
];

const SOCKET_TOKENS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "-",
    "1-",
    "99999999999999999999-",
    "/",
    ",",
    "/chat,",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\"a\"",
    "\\u",
    "\\ud800",
    "{\"_placeholder\":true,\"num\":0}",
    "null",
    "1e999",
    "\n",
    "\n\0",
    "9007199254740992",
];
