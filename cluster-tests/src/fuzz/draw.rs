//! What generators draw.

use crate::dice::Dice;

/// Bytes that say what happens: some ten or some hundred.
pub(super) fn tape(dice: &mut Dice, input: &mut Vec<u8>) {
    let most = 16 << dice.below(0..7);
    let length = dice.below(1..most + 1);
    bytes(dice, length, input);
}

/// So many more bytes, of any value.
pub(super) fn bytes(dice: &mut Dice, length: usize, input: &mut Vec<u8>) {
    let end = input.len() + length;
    while input.len() < end {
        let some = dice.number().to_le_bytes();
        let missing = (end - input.len()).min(some.len());
        input.extend(some.iter().take(missing));
    }
}

/// One of them.
pub(super) fn pick<T: Copy>(dice: &mut Dice, list: &[T]) -> T {
    list[dice.below(0..list.len())]
}

/// True once in so many throws.
pub(super) fn one_in(dice: &mut Dice, times: u64) -> bool {
    dice.number().is_multiple_of(times)
}
