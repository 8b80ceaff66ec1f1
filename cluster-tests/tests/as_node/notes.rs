//! What is noted of an observation: nothing that differs from one run to the next, and nothing that a client cannot tell.

use cluster_tests::answer::Answer;
use serde_json::{Number, Value};

use crate::payload;

/// An answer: status, body, and the headers that clients look at.
pub(crate) fn answer(answer: &Answer, version: u8) -> String {
    let body = match answer.header("content-type") {
        Some(kind) if answer.code() == "200" && !kind.starts_with("text/html") && !is_handshake(answer) => {
            let packets = payload::decode(answer, version);
            let packets = packets.iter().filter(|packet| *packet != "6").map(|packet| canonical(packet));
            packets.collect::<Vec<_>>().join(" + ")
        }
        // In scripts quotes are escaped.
        _ => answer.text().replace("\\\"", "\""),
    };
    format!("{} {body} {}", answer.code(), headers(answer)).trim_end().to_owned()
}

/// It may be one of the other version.
fn is_handshake(answer: &Answer) -> bool {
    answer.text().replace('\\', "").contains("\"sid\":\"")
}

/// The headers that clients look at.
pub(crate) fn headers(answer: &Answer) -> String {
    let headers =
        HEADERS.iter().filter_map(|name| answer.header(name).map(|value| format!("{name}: {value}")));
    let headers = headers.collect::<Vec<_>>().join(", ");
    // As the documents say of scripts.
    headers.replace("text/javascript; charset=UTF-8, x-xss-protection: 0", "text/plain; charset=UTF-8")
}

const HEADERS: [&str; 20] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "location",
    "retry-after",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "set-cookie",
    "upgrade",
    "vary",
    "x-xss-protection",
];

/// The id in a handshake.
pub(crate) fn sid(packet: &str) -> Option<String> {
    let handshake: Value = serde_json::from_str(packet.strip_prefix('0')?).ok()?;
    handshake.get("sid").and_then(Value::as_str).map(str::to_owned)
}

/// Without ids.
pub(crate) fn masked(text: &str) -> String {
    let mut parts = text.split("\"sid\":\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |masked, part| masked + "\"sid\":\"<id>" + part.trim_start_matches(|c: char| c != '"'))
}

/// The namespace of a packet of Socket.IO.
pub(crate) fn namespace(packet: &str, version: u8) -> Option<String> {
    let rest = packet.strip_prefix('4')?.strip_prefix(|kind: char| kind.is_ascii_digit())?;
    let rest = match rest.split_once('-') {
        Some((count, rest)) if count.bytes().all(|digit| digit.is_ascii_digit()) => rest,
        _ => rest,
    };
    let named = if rest.starts_with('/') { rest.split(',').next().unwrap_or_default() } else { "/" };
    let named = if version == 3 { named.split('?').next().unwrap_or_default() } else { named };
    Some(named.to_owned())
}

/// Packets with their attachments. Those of one namespace keep their order, which is all that is promised.
pub(crate) fn grouped(packets: Vec<String>) -> Vec<String> {
    let mut groups: Vec<(String, String)> = Vec::new();
    for packet in packets {
        match (namespace(&packet, 4), groups.last_mut()) {
            (None, Some((_, group))) if packet.starts_with('b') => {
                group.push_str(" + ");
                group.push_str(&packet);
            }
            (namespace, _) => groups.push((namespace.unwrap_or_default(), canonical(&packet))),
        }
    }
    groups.sort_by(|(one, _), (other, _)| one.cmp(other));
    groups.into_iter().map(|(_, packet)| packet).collect()
}

/// Numbers are those of JavaScript, and neither the order of keys nor the escapes of text mean anything.
pub(crate) fn canonical(packet: &str) -> String {
    let Some(start) = packet.find(['[', '{', '"']) else { return packet.to_owned() };
    let (head, json) = packet.split_at(start);
    match serde_json::from_str(json) {
        Ok(value) => format!("{head}{}", of_javascript(value)),
        Err(_) => packet.to_owned(),
    }
}

fn of_javascript(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let double = number.as_f64().unwrap_or_default();
            Number::from_f64(double + 0.0).map_or(Value::Null, Value::Number)
        }
        Value::Array(items) => items.into_iter().map(of_javascript).collect(),
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, value)| (key, of_javascript(value))).collect())
        }
        other => other,
    }
}
