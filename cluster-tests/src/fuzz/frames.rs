//! Frames with a length: of clients over WebSocket and WebTransport, of links between nodes, and gossip.

use std::io::Write as _;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::draw::{bytes, one_in, pick};
use super::mutate::{mutate, seldom};
use crate::dice::Dice;

/// The size of the portions in which the rest is read once more, then masked frames.
pub(super) fn websocket(dice: &mut Dice, input: &mut Vec<u8>) {
    client_frames(dice, false, input);
}

/// As [`websocket`], and most messages are deflated.
pub(super) fn websocket_deflate(dice: &mut Dice, input: &mut Vec<u8>) {
    client_frames(dice, true, input);
}

fn client_frames(dice: &mut Dice, deflate: bool, input: &mut Vec<u8>) {
    input.push(portion(dice));
    let (mut payload, mut is_open) = (Vec::new(), false);
    for _ in 0..dice.below(1..5) {
        payload.clear();
        let is_control = one_in(dice, 4);
        let compressed = deflate && !is_control && !is_open && !one_in(dice, 4);
        let opcode = match (is_control, is_open) {
            (true, _) => pick(dice, &[8, 9, 9, 10]),
            (false, true) => 0,
            (false, false) => pick(dice, &[1, 1, 2]),
        };
        if opcode == 8 && one_in(dice, 2) {
            payload.extend(pick(dice, &[1000_u16, 1001, 1005, 1006, 999, 4000, 5000]).to_be_bytes());
        }
        if compressed {
            // The last ones are large.
            let messages = deflated();
            let most = if one_in(dice, 32) { messages.len() } else { messages.len() - 4 };
            payload.extend_from_slice(&messages[dice.below(0..most)]);
            seldom(dice, &["\0\0", "\u{7f}"], &mut payload);
        } else {
            text(dice, &mut payload);
        }
        let is_last = is_control || !one_in(dice, 3);
        let wrong = if one_in(dice, 32) { 1 << dice.below(4..7) } else { 0 };
        input.push(u8::from(is_last) << 7 | u8::from(compressed) << 6 | opcode ^ wrong);
        masked(dice, &payload, input);
        if !is_control {
            is_open = !is_last;
        }
    }
    if one_in(dice, 8) {
        mutate(dice, &["\u{1}", "\0", "\u{7e}", "\u{7f}"], input);
    }
}

fn masked(dice: &mut Dice, payload: &[u8], input: &mut Vec<u8>) {
    let mask = if one_in(dice, 32) { 0 } else { 0x80 };
    length(dice, mask, payload.len(), input);
    let key =
        if one_in(dice, 3) { [0; 4] } else { pick(dice, &[[1, 2, 3, 4], [0xff; 4], [0x80, 0, 0x7f, 9]]) };
    input.extend(key);
    input.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// As short as it can be said, or seldom longer; seldom another one.
fn length(dice: &mut Dice, flag: u8, length: usize, input: &mut Vec<u8>) {
    let length =
        if one_in(dice, 64) { pick(dice, &[0, 125, 126, 5000, 65_536, usize::MAX >> 1]) } else { length };
    let form = if one_in(dice, 32) {
        dice.below(0..3)
    } else {
        usize::from(length > 125) + usize::from(length > 65_535)
    };
    match form {
        0 => input.push(flag | u8::try_from(length % 126).unwrap_or(0)),
        1 => {
            input.push(flag | 126);
            input.extend(u16::try_from(length % 65_536).unwrap_or(0).to_be_bytes());
        }
        _ => {
            input.push(flag | 127);
            input.extend((length as u64).to_be_bytes());
        }
    }
}

fn text(dice: &mut Dice, payload: &mut Vec<u8>) {
    const TEXTS: &[&str] = &["", "4", "2", "4message", "ä€😀", "2probe", "5"];
    match dice.below(0..64) {
        0 => {
            // Some fit one or two bytes of length, or what may be received, and some do not.
            let length = pick(dice, &[124, 125, 126, 127, 126, 4095, 4096, 4097]);
            payload.extend(std::iter::repeat_n(b'x', length));
        }
        1..=3 => {
            let length = dice.below(0..40);
            bytes(dice, length, payload);
        }
        4..=7 => {
            // A character in two halves, or half of one.
            let (character, half) = ("😀".as_bytes(), dice.below(1..4));
            payload.extend(if one_in(dice, 2) { &character[half..] } else { &character[..half] });
        }
        _ => payload.extend(pick(dice, TEXTS).bytes()),
    }
}

/// Messages as clients deflate them: of all sizes, one larger than may be.
fn deflated() -> &'static [Vec<u8>] {
    static DEFLATED: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    DEFLATED.get_or_init(|| {
        let texts = [
            "".to_owned(),
            "4message".to_owned(),
            "ä€😀".repeat(9),
            "abc".repeat(200),
            "x".repeat(4096),
            "x".repeat(9999),
        ];
        texts.iter().flat_map(|text| [0, 6].map(|level| deflate(text.as_bytes(), level))).collect()
    })
}

/// Without the empty block that ends every message.
fn deflate(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    let written = encoder.write_all(text).and_then(|()| encoder.flush());
    let mut deflated = encoder.get_ref().clone();
    assert!(written.is_ok() && deflated.ends_with(&[0, 0, 0xff, 0xff]));
    deflated.truncate(deflated.len() - 4);
    deflated
}

/// The size of the portions, then frames of a WebTransport stream.
pub(super) fn webtransport(dice: &mut Dice, input: &mut Vec<u8>) {
    input.push(portion(dice));
    let mut payload = Vec::new();
    for _ in 0..dice.below(1..5) {
        payload.clear();
        text(dice, &mut payload);
        let binary = if one_in(dice, 3) { 0x80 } else { 0 };
        length(dice, binary, payload.len(), input);
        input.extend_from_slice(&payload);
    }
    if one_in(dice, 8) {
        mutate(dice, &["\0", "\u{7e}", "\u{7f}"], input);
    }
}

fn portion(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(1..256)).unwrap_or(1) >> dice.below(0..8)
}

/// Frames of a link.
pub(super) fn mesh(dice: &mut Dice, input: &mut Vec<u8>) {
    for _ in 0..dice.below(1..5) {
        let length = if one_in(dice, 64) { dice.below(0..20_000) } else { dice.below(0..40) };
        let told = if one_in(dice, 16) {
            pick(dice, &[0, 7, 8, 1 << 24, (1 << 24) + 1, usize::MAX >> 33])
        } else {
            length + 8
        };
        input.extend(u32::try_from(told).unwrap_or(u32::MAX).to_be_bytes());
        bytes(dice, 8 + length, input);
    }
    if one_in(dice, 8) {
        mutate(dice, &["\0\0\0\u{8}"], input);
    }
}

/// A message of gossip.
pub(super) fn gossip(dice: &mut Dice, input: &mut Vec<u8>) {
    let kind = u8::try_from(dice.below(0..4)).unwrap_or(0);
    input.extend([0x53, 0xb0, 0, kind]);
    if kind < 2 {
        let entries = dice.below(0..4);
        input.extend(u16::try_from(entries).unwrap_or(0).to_le_bytes());
        for _ in 0..entries {
            life(dice, input);
            (0..3).for_each(|_| number(dice, input));
        }
    }
    match kind {
        0 => gossip_text(dice, "chat", input),
        1 | 2 => delta(dice, input),
        _ => {}
    }
    seldom(dice, &["\0", "\u{1}", "\u{2}", "\u{4}", "\u{6}"], input);
}

fn delta(dice: &mut Dice, input: &mut Vec<u8>) {
    let mut operations = Vec::new();
    for _ in 0..dice.below(0..3) {
        operations.push(0);
        life(dice, &mut operations);
        (0..2).for_each(|_| number(dice, &mut operations));
        for version in 1..dice.below(1..4) {
            operations.push(1);
            let text = pick(dice, &["state", "misses", ""]);
            gossip_text(dice, text, &mut operations);
            let text = pick(dice, &["ready", "", "10.0.0.1:1"]);
            gossip_text(dice, text, &mut operations);
            operations.extend((version as u64).to_le_bytes());
            operations.push(u8::from(one_in(dice, 32)));
        }
        if one_in(dice, 4) {
            operations.push(2);
            number(dice, &mut operations);
        }
    }
    input.push(if one_in(dice, 32) { 1 } else { 2 });
    input.extend(u16::try_from(operations.len()).unwrap_or(0).to_le_bytes());
    input.extend(operations);
    input.push(0);
}

fn life(dice: &mut Dice, input: &mut Vec<u8>) {
    let text = pick(dice, &["a", "b", "node-1"]);
    gossip_text(dice, text, input);
    number(dice, input);
    if one_in(dice, 2) {
        input.extend([4, 10, 0, 0, 1]);
    } else {
        input.push(6);
        bytes(dice, 16, input);
    }
    input.extend([1, 0]);
}

fn gossip_text(dice: &mut Dice, text: &str, input: &mut Vec<u8>) {
    let length = if one_in(dice, 64) { dice.below(0..70_000) } else { text.len() };
    input.extend(u16::try_from(length % 65_536).unwrap_or(0).to_le_bytes());
    input.extend(text.bytes());
}

fn number(dice: &mut Dice, input: &mut Vec<u8>) {
    let number = pick(dice, &[0, 0, 1, 2, 3, u64::MAX]);
    input.extend(number.to_le_bytes());
}
