//! What is fuzzed.

use crate::dice::Dice;

/// What is fuzzed, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As the command names it.
    pub name: &'static str,
    /// Whether it has a state, so that an input is a sequence of what happens to it.
    pub is_stateful: bool,
    /// Panics if a property does not hold. Returns whether the input was taken, or got far.
    pub run: fn(&[u8]) -> bool,
    pub(super) generate: fn(&mut Dice, &mut Vec<u8>),
}

impl Target {
    /// The input of a case.
    pub fn input(&self, seed: u64, case: u64, input: &mut Vec<u8>) {
        input.clear();
        let mut dice = Dice::new(seed);
        // The numbers of neighbouring seeds and cases have nothing in common.
        let mut dice = Dice::new(dice.number() ^ case.wrapping_mul(0xd134_2543_de82_ef95));
        (self.generate)(&mut dice, input);
    }
}
