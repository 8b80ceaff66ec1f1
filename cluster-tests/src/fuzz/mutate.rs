//! Breaks what is valid.

use super::draw::{bytes, one_in, pick};
use crate::dice::Dice;

/// Changes some bytes, or many: sets, inserts, repeats, leaves out. `tokens` mean something to whoever reads it.
pub(super) fn mutate(dice: &mut Dice, tokens: &[&str], input: &mut Vec<u8>) {
    for _ in 0..1 << dice.below(0..4) {
        once(dice, tokens, input);
    }
}

/// Changes it seldom: most of what is made is to be taken.
pub(super) fn seldom(dice: &mut Dice, tokens: &[&str], input: &mut Vec<u8>) {
    if one_in(dice, 4) {
        mutate(dice, tokens, input);
    }
}

fn once(dice: &mut Dice, tokens: &[&str], input: &mut Vec<u8>) {
    let at = dice.below(0..input.len() + 1);
    let end = (at + dice.below(1..9)).min(input.len());
    match dice.below(0..8) {
        0 => input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << dice.below(0..8)),
        1 => input.get_mut(at).into_iter().for_each(|byte| *byte = pick(dice, EDGES)),
        2 => drop(input.drain(at..end)),
        3 => {
            let piece = input[at..end].to_vec();
            let to = dice.below(0..input.len() + 1);
            drop(input.splice(to..to, piece));
        }
        4 => input.truncate(at),
        5 => {
            let mut some = Vec::new();
            bytes(dice, 4, &mut some);
            drop(input.splice(at..at, some));
        }
        _ => {
            let token = pick(dice, tokens).bytes();
            let end = if one_in(dice, 2) { at } else { end };
            drop(input.splice(at..end, token));
        }
    }
}

const EDGES: &[u8] =
    &[0, 1, 9, 10, 0x1e, b'"', b'-', b'0', b'9', 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xf4, 0xfe, 0xff];
