//! JSON, as far as clients can write it.

use super::draw::{one_in, pick};
use super::mutate::seldom;
use crate::dice::Dice;

/// The arguments of an event.
pub(super) fn arguments(dice: &mut Dice, input: &mut Vec<u8>) {
    array(dice, input);
    seldom(dice, TOKENS, input);
}

pub(super) fn array(dice: &mut Dice, input: &mut Vec<u8>) {
    list(dice, 0, input);
}

pub(super) fn object(dice: &mut Dice, input: &mut Vec<u8>) {
    map(dice, 0, input);
}

fn value(dice: &mut Dice, depth: u32, input: &mut Vec<u8>) {
    match dice.below(0..16) {
        0..=2 if depth < 5 => list(dice, depth, input),
        3..=5 if depth < 5 => map(dice, depth, input),
        6 if one_in(dice, 16) => {
            let depth = dice.below(1..300);
            input.extend(std::iter::repeat_n(b'[', depth));
            input.extend(std::iter::repeat_n(b']', depth));
        }
        7..=10 => input.extend(pick(dice, PLACEHOLDERS).bytes()),
        _ => input.extend(pick(dice, VALUES).bytes()),
    }
}

fn list(dice: &mut Dice, depth: u32, input: &mut Vec<u8>) {
    input.push(b'[');
    for n in 0..dice.below(0..4) {
        input.extend((n > 0).then_some(b','));
        value(dice, depth + 1, input);
    }
    input.push(b']');
}

fn map(dice: &mut Dice, depth: u32, input: &mut Vec<u8>) {
    input.push(b'{');
    for n in 0..dice.below(0..4) {
        input.extend((n > 0).then_some(b','));
        input.extend(pick(dice, KEYS).bytes());
        value(dice, depth + 1, input);
    }
    input.push(b'}');
}

const KEYS: &[&str] = &[
    "\"a\":",
    "\"a\":",
    "\"_placeholder\":",
    "\"num\":",
    "\"\":",
    "\"\\u0061\":",
    "\"ä\" : ",
    "\"__proto__\":",
];

const PLACEHOLDERS: &[&str] = &[
    "{\"_placeholder\":true,\"num\":0}",
    "{\"num\":1,\"_placeholder\":true}",
    "{\"_placeholder\":true,\"num\":0,\"a\":1}",
    "{\"_placeholder\":true,\"num\":2}",
    "{\"_placeholder\":true,\"num\":-1}",
    "{\"_placeholder\":true,\"num\":0.0}",
    "{\"_placeholder\":false,\"num\":0}",
    "{\"_placeholder\":true}",
    "{\"_placeholder\":true,\"num\":\"0\"}",
    "{\"_placeholder\":true,\"num\":18446744073709551616}",
    "{ \"_placeholder\" : true , \"num\" : 1 }",
];

const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1.5e-3",
    "1e400",
    "9007199254740993",
    "123456789012345678901234567890",
    "\"\"",
    "\"text\"",
    "\"ä€😀\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\\\ud800\"",
    "\"\\u0000\"",
    "\"\\n\\\"\\/\"",
    " 1 ",
    "\"AAEC\"",
    "1E+2",
];

const TOKENS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\udc00",
    "null",
    "1e9999",
    " ",
    "\t",
    "\u{1}",
    "01",
    "+1",
    ".5",
    "{\"_placeholder\":true,\"num\":0}",
    "_placeholder",
    "num",
];
