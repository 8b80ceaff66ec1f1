//! Packets as MessagePack.

use super::draw::{bytes, one_in, pick};
use super::mutate::seldom;
use crate::dice::Dice;

/// A packet of a client, or some other value.
pub(super) fn packet(dice: &mut Dice, input: &mut Vec<u8>) {
    if one_in(dice, 16) {
        value(dice, 0, input);
    } else {
        let kind = u8::try_from(dice.below(0..8)).unwrap_or(0);
        let fields = dice.below(3..6);
        input.push(0x80 | u8::try_from(fields).unwrap_or(0));
        text("type", input);
        input.push(kind);
        text("nsp", input);
        text(pick(dice, &["/", "/", "/chat", "", "/chat?a=b", "chat"]), input);
        text("data", input);
        if one_in(dice, 8) {
            value(dice, 0, input);
        } else {
            data(dice, kind, input);
        }
        if fields > 3 {
            text("id", input);
            if one_in(dice, 4) { number(dice, input) } else { input.push(7) }
        }
        if fields > 4 {
            text(pick(dice, &["attachments", "options", "query", "id", "data"]), input);
            value(dice, 0, input);
        }
    }
    seldom(dice, &["\u{1}", "\0", "\u{7f}"], input);
}

fn data(dice: &mut Dice, kind: u8, input: &mut Vec<u8>) {
    match kind {
        0 | 4 => map(dice, 0, input),
        1 => input.push(0xc0),
        _ => {
            let length = dice.below(1..4);
            input.push(0x90 | u8::try_from(length).unwrap_or(0));
            text(pick(dice, &["event", "echo", "", "disconnect"]), input);
            (1..length).for_each(|_| value(dice, 1, input));
        }
    }
}

fn value(dice: &mut Dice, depth: u32, input: &mut Vec<u8>) {
    match dice.below(0..16) {
        0 | 1 if depth < 6 => {
            let length = dice.below(0..4);
            match dice.below(0..8) {
                0 => input.extend([0xdc, 0, u8::try_from(length).unwrap_or(0)]),
                1 => input.extend([0xdd, 0, 0, 0, u8::try_from(length).unwrap_or(0)]),
                _ => input.push(0x90 | u8::try_from(length).unwrap_or(0)),
            }
            (0..length).for_each(|_| value(dice, depth + 1, input));
        }
        2 | 3 if depth < 6 => map(dice, depth, input),
        4 => input.push(pick(dice, &[0xc0, 0xc1, 0xc2, 0xc3])),
        5 | 6 => {
            let length = dice.below(0..9);
            input.extend([0xc4, u8::try_from(length).unwrap_or(0)]);
            bytes(dice, length, input);
        }
        7 => extension(dice, input),
        8 => {
            // More than follows.
            input.push(pick(dice, &[0xdb, 0xc6, 0xdd, 0xdf, 0xc9]));
            bytes(dice, 4, input);
        }
        9..=11 => number(dice, input),
        _ => text(pick(dice, &["", "a", "text", "ä€😀", "{\"_placeholder\":true}", "\u{7f}\u{80}\0"]), input),
    }
}

fn map(dice: &mut Dice, depth: u32, input: &mut Vec<u8>) {
    let length = dice.below(0..4);
    input.push(0x80 | u8::try_from(length).unwrap_or(0));
    for _ in 0..length {
        if one_in(dice, 8) {
            value(dice, depth + 1, input);
        } else {
            text(pick(dice, &["a", "a", "_placeholder", "num", "", "message"]), input);
        }
        value(dice, depth + 1, input);
    }
}

fn number(dice: &mut Dice, input: &mut Vec<u8>) {
    let (marker, length) = pick(
        dice,
        &[
            (0xca, 4),
            (0xcb, 8),
            (0xcc, 1),
            (0xcd, 2),
            (0xce, 4),
            (0xcf, 8),
            (0xd0, 1),
            (0xd1, 2),
            (0xd2, 4),
            (0xd3, 8),
            (0xe0, 0),
            (0x7f, 0),
        ],
    );
    input.push(marker);
    if one_in(dice, 3) {
        let edge = pick(dice, &[0, 0x7f, 0x80, 0xff]);
        input.extend(std::iter::repeat_n(edge, length));
    } else {
        bytes(dice, length, input);
    }
}

/// Dates in each of their forms, and others.
fn extension(dice: &mut Dice, input: &mut Vec<u8>) {
    const HEADS: [(&[u8], usize); 5] =
        [(&[0xd6], 4), (&[0xd7], 8), (&[0xc7, 12], 12), (&[0xd4], 1), (&[0xc7, 3], 3)];
    let (head, length) = pick(dice, &HEADS);
    input.extend(head);
    input.push(pick(dice, &[0xff, 0xff, 0, 1, 0x7f]));
    bytes(dice, length, input);
}

fn text(text: &str, input: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(short @ 0..=31) => input.push(0xa0 | short),
        Ok(length) => input.extend([0xd9, length]),
        Err(_) => unreachable!("texts are short here"),
    }
    input.extend(text.bytes());
}
