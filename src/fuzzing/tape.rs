//! Bytes that decide what happens. So every run is a text that can be kept, mutated and played again.

/// What is left of the bytes. Behind their end everything is zero.
#[derive(Debug)]
pub(super) struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below this one.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u8) -> bool {
        self.byte() % times.max(1) == times.max(1) - 1
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        let at = self.below(list.len());
        list.get(at).copied().unwrap_or_else(|| unreachable!("there is something to pick"))
    }

    /// Often a small number, or one at the edge of a type.
    pub(super) fn number(&mut self) -> u64 {
        const EDGES: [u64; 8] =
            [0, 1, 1 << 16, (1 << 31) - 1, 1 << 32, (1 << 53) + 1, u64::MAX - 1, u64::MAX];
        match self.byte() {
            small @ 0..=191 => u64::from(small % 12),
            192..=223 => self.pick(&EDGES),
            224..=239 => u64::from(u16::from_be_bytes([self.byte(), self.byte()])),
            _ => u64::from_be_bytes([0; 8].map(|_: u8| self.byte())),
        }
    }

    /// So many of the next bytes at most.
    pub(super) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = self.below(most + 1).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    pub(super) fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }
}
