//! Random numbers that a seed repeats.

use std::ops::Range;
use std::time::Duration;

/// A stream of random numbers from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed for a run that repeats no other one.
    #[must_use]
    pub fn fresh_seed() -> u64 {
        use std::hash::{BuildHasher as _, RandomState};
        // Short enough to be typed again.
        RandomState::new().hash_one(0) % 1_000_000_000
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, which must not be empty.
    pub fn below(&mut self, range: Range<usize>) -> usize {
        let width = range.len().max(1) as u64;
        range.start + usize::try_from(self.number() % width).unwrap_or_default()
    }

    /// A time up to this one.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.number() % nanos.saturating_add(1))
    }

    /// True in this share of the throws.
    pub fn chance(&mut self, share: f64) -> bool {
        // The upper 53 bits, which a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let thrown = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        thrown < share
    }

    /// Brings a list into a random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.below(0..last + 1);
            list.swap(last, other);
        }
    }
}
