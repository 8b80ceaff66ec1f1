//! How far a client or a node is: of each origin the number of the last packet (docs/protocol/socket-io.md, "Recovery").
//!
//! Clients carry it as the last argument of the last event that they got. It is short, is known from any other text by its
//! checksum, and says nothing that is secret.

use std::cmp::Reverse;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use smallvec::SmallVec;

use crate::socket::messages::recovery::{Number, Origin};

/// What one client has of some origins where its node has something else.
pub(crate) type OwnNumbers = Arc<[(Origin, u64)]>;

/// Of each origin the number of the last packet. An origin that is missing has sent nothing that is still kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position(SmallVec<[(Origin, u64); 4]>);

impl Position {
    /// The number of an origin.
    pub(crate) fn get(&self, origin: Origin) -> Option<u64> {
        let at = self.0.binary_search_by_key(&origin, |(known, _)| *known).ok()?;
        self.0.get(at).map(|(_, number)| *number)
    }

    /// The last packet of its origin is this one, unless a later one was before it.
    pub(crate) fn advance(&mut self, Number { origin, number }: Number) {
        match self.0.binary_search_by_key(&origin, |(known, _)| *known) {
            Ok(at) => {
                if let Some((_, last)) = self.0.get_mut(at) {
                    *last = number.max(*last);
                }
            }
            Err(at) => self.0.insert(at, (origin, number)),
        }
    }

    /// The position of a client that has other packets of these origins.
    pub(crate) fn but(&self, others: &[(Origin, u64)]) -> Self {
        let mut own = self.clone();
        for (origin, number) in others {
            own.remove(*origin);
            if *number > 0 {
                own.advance(Number { origin: *origin, number: *number });
            }
        }
        own
    }

    pub(crate) fn remove(&mut self, origin: Origin) {
        self.0.retain(|(known, _)| *known != origin);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Origin, u64)> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn to_vec(&self) -> Vec<(Origin, u64)> {
        self.0.to_vec()
    }

    /// Whether its text stands for it. One of too many origins does not: its client will not be recovered.
    pub(crate) fn is_telling(&self) -> bool {
        self.0.len() <= MAX_ORIGINS
    }

    /// Appends the text.
    pub(crate) fn write(&self, text: &mut String) {
        let mut bytes: SmallVec<[u8; 96]> = SmallVec::new();
        if self.is_telling() {
            bytes.push(VERSION);
            for (origin, number) in &self.0 {
                bytes.extend(origin.to_bytes());
                put_varint(&mut bytes, *number);
            }
        } else {
            bytes.push(UNTOLD);
        }
        let check = checksum(&bytes);
        bytes.extend(check);
        BASE64.encode_string(&bytes, text);
    }

    /// Reads a text; `None` if it is none of a position, or of one of too many origins.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let bytes = BASE64.decode(text).ok()?;
        let (bytes, check) = bytes.split_last_chunk::<CHECK>()?;
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION || checksum(bytes) != *check {
            return None;
        }
        let mut position = Self::default();
        while !rest.is_empty() {
            let (origin, number) = rest.split_first_chunk()?;
            let (number, left) = take_varint(number)?;
            position.advance(Number { origin: Origin::from_bytes(*origin), number });
            rest = left;
        }
        position.is_telling().then_some(position)
    }
}

impl FromIterator<(Origin, u64)> for Position {
    fn from_iter<I: IntoIterator<Item = (Origin, u64)>>(numbers: I) -> Self {
        let mut numbers: SmallVec<_> = numbers.into_iter().collect();
        // Of each origin the largest number comes first. What another node says may be long.
        numbers.sort_unstable_by_key(|(origin, number)| (*origin, Reverse(*number)));
        numbers.dedup_by_key(|(origin, _)| *origin);
        Self(numbers)
    }
}

fn put_varint(to: &mut SmallVec<[u8; 96]>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push((number & 0x7f) as u8);
}

fn take_varint(mut bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        bytes = rest;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some((number, bytes));
        }
    }
    None
}

/// A text of an application passes for a position once in sixteen million times.
fn checksum(bytes: &[u8]) -> [u8; CHECK] {
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let [_, check @ ..] = (hash ^ (hash >> 13)).to_be_bytes();
    check
}

/// With more a position would be longer than most messages.
pub(crate) const MAX_ORIGINS: usize = 64;
/// Far above the longest one.
const MAX_TEXT: usize = 2048;
const VERSION: u8 = 1;
/// Of a position of too many origins.
const UNTOLD: u8 = 0;
const CHECK: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    fn text(position: &Position) -> String {
        let mut text = String::new();
        position.write(&mut text);
        text
    }

    #[test]
    fn of_what_is_said_twice_of_an_origin_the_larger_number_counts() {
        let numbers =
            [(3, 1), (2, 5), (3, 9), (2, 4)].map(|(origin, number)| (Origin::from_u64(origin), number));
        let position: Position = numbers.into_iter().collect();
        assert_eq!(position.to_vec(), [(Origin::from_u64(2), 5), (Origin::from_u64(3), 9)]);
    }

    proptest! {
        #[test]
        fn a_position_survives_its_text(numbers in btree_map(any::<u64>(), any::<u64>(), 0..MAX_ORIGINS)) {
            let position: Position =
                numbers.into_iter().map(|(origin, number)| (Origin::from_u64(origin), number)).collect();
            prop_assert_eq!(Position::parse(&text(&position)), Some(position));
        }

        #[test]
        fn a_text_that_was_changed_is_no_position(at: usize, to in "[A-Za-z0-9_-]", numbers in btree_map(any::<u64>(), any::<u64>(), 0..4)) {
            let position: Position =
                numbers.into_iter().map(|(origin, number)| (Origin::from_u64(origin), number)).collect();
            let mut changed = text(&position);
            let at = at % changed.len();
            changed.replace_range(at..=at, &to);
            prop_assert!(changed == text(&position) || Position::parse(&changed) != Some(position));
        }

        #[test]
        fn any_text_is_a_position_or_none(text: String) {
            let _parsed = Position::parse(&text);
        }
    }

    #[test]
    fn what_applications_send_is_no_position() {
        for text in
            ["", "hello", "AQ", "AAAA", "AAAAAAAA", "0123456789", "a b", "ÄÖÜ", "YWJjZGVmZ2hpamtsbW5v"]
        {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_position_of_too_many_origins_is_text_of_this_kind_that_stands_for_none() {
        let number = |number| (Origin::from_u64(number), number);
        let most: Position = (0..MAX_ORIGINS as u64).map(number).collect();
        assert!(most.is_telling() && Position::parse(&text(&most)).is_some());
        let more: Position = (0..=MAX_ORIGINS as u64).map(number).collect();
        assert!(!more.is_telling());
        assert_eq!((text(&more).len(), Position::parse(&text(&more))), (6, None));
    }

    #[test]
    fn a_position_only_advances_and_a_client_may_have_another_one() {
        let origin = Origin::from_u64(7);
        let at = |number| Number { origin, number };
        let mut position = Position::default();
        position.advance(at(5));
        position.advance(at(3));
        assert_eq!(position.get(origin), Some(5));
        assert_eq!(position.but(&[(origin, 3)]).get(origin), Some(3));
        assert_eq!(position.but(&[(origin, 0)]).get(origin), None);
        assert_eq!(position.get(Origin::from_u64(8)), None);
    }
}
