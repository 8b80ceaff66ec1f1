//! Payloads of polling.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::answer::Answer;

/// A payload of these packets, or the form of one.
pub(crate) fn encode(packets: &[String], version: u8, is_script: bool) -> Vec<u8> {
    if version == 4 && !is_script {
        return packets.join("\x1e").into_bytes();
    }
    let payload: String = match version {
        4 => packets.join("\x1e"),
        _ => packets.iter().map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect(),
    };
    let payload = if is_script { format!("d={}", escaped(&payload)) } else { payload };
    payload.into_bytes()
}

/// What an old client makes of a payload before it posts it as a form.
fn escaped(payload: &str) -> String {
    let payload = payload.replace("\\n", "\\\\n");
    payload
        .bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

/// The packets of an answer; bytes are `b` and base64.
pub(crate) fn decode(answer: &Answer, version: u8) -> VecDeque<String> {
    let text = answer.text();
    let script = text
        .strip_prefix("___eio[")
        .and_then(|rest| rest.split_once("]("))
        .and_then(|(_, rest)| rest.strip_suffix(");"));
    let text = match script {
        Some(script) => serde_json::from_str(script).unwrap_or_else(|_| script.to_owned()),
        None => text.into_owned(),
    };
    match (version, answer.body.first()) {
        (4, _) => text.split('\x1e').map(str::to_owned).collect(),
        (_, Some(0 | 1)) => of_bytes(&answer.body),
        _ => of_text(&text),
    }
}

fn of_text(mut payload: &str) -> VecDeque<String> {
    let mut packets = VecDeque::new();
    while let Some((length, rest)) = payload.split_once(':') {
        let mut left = length.parse().unwrap_or(usize::MAX);
        let end = rest.char_indices().find(|(_, next)| {
            let is_end = left == 0;
            left = left.saturating_sub(next.len_utf16());
            is_end
        });
        let (packet, rest) = rest.split_at(end.map_or(rest.len(), |(end, _)| end));
        packets.push_back(packet.replacen("b4", "b", usize::from(packet.starts_with("b4"))));
        payload = rest;
    }
    if !payload.is_empty() {
        packets.push_back(format!("no payload: {payload}"));
    }
    packets
}

fn of_bytes(mut payload: &[u8]) -> VecDeque<String> {
    let mut packets = VecDeque::new();
    while let Some((kind, rest)) = payload.split_first() {
        let digits = rest.iter().take_while(|digit| **digit < 10).count();
        let length = rest.iter().take(digits).fold(0, |length, digit| length * 10 + usize::from(*digit));
        let from = rest.get(digits + 1..).unwrap_or_default();
        let (packet, rest) = from.split_at_checked(length).unwrap_or((from, &[]));
        packets.push_back(match kind {
            0 => String::from_utf8_lossy(packet).into_owned(),
            _ => format!("b{}", STANDARD.encode(packet.get(1..).unwrap_or_default())),
        });
        payload = rest;
    }
    packets
}
