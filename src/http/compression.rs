//! Compressed answers (RFC 9110 §8.4, §12.5.3): gzip and deflate, as Node offers for polls.

use bytes::{Bytes, BytesMut};
use flate2::{Compress, FlushCompress};
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

use crate::engine::websocket::{Deflation, STEP, deflate};

/// How an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    /// The coding that the client prefers; `None` if it prefers the plain bytes. Of two codings with the same weight, a named
    /// one comes before a `*`, and then the one that is named first.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let accepted: Vec<(&str, f32)> =
            values.flat_map(|value| value.split(',')).filter_map(weighed).collect();
        let best = [Self::Gzip, Self::Deflate]
            .into_iter()
            .filter_map(|coding| Some((coding, Want::of(coding.name(), &accepted)?)))
            // The first of equals.
            .reduce(|best, next| if next.1.is_over(&best.1) { next } else { best });
        let identity = accepted.iter().find(|(name, _)| name.eq_ignore_ascii_case("identity"));
        best.filter(|(_, want)| identity.is_none_or(|(_, weight)| want.weight >= *weight))
            .map(|(coding, _)| coding)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    pub(super) const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// All of `bytes`, compressed.
    pub(super) fn encode(self, bytes: Bytes) -> Bytes {
        let mut encoded = BytesMut::new();
        let mut compressing = Compressing::new(self, Deflation::default(), bytes);
        while let Some(part) = compressing.step() {
            encoded.extend_from_slice(&part);
        }
        encoded.freeze()
    }
}

/// How much a client wants a coding.
#[derive(Debug)]
struct Want {
    weight: f32,
    named: bool,
    place: usize,
}

impl Want {
    fn of(name: &str, accepted: &[(&str, f32)]) -> Option<Self> {
        let find = |wanted: &str| {
            let place = accepted.iter().position(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some((place, accepted.get(place)?.1))
        };
        let named = find(name);
        let (place, weight) = named.or_else(|| find("*"))?;
        (weight > 0.0).then_some(Self { weight, named: named.is_some(), place })
    }

    fn is_over(&self, other: &Self) -> bool {
        let by_weight = self.weight.total_cmp(&other.weight);
        by_weight.then(self.named.cmp(&other.named)).then(other.place.cmp(&self.place)).is_gt()
    }
}

/// Parses `gzip;q=0.5`. Without a weight it is 1. `None` for anything else.
fn weighed(item: &str) -> Option<(&str, f32)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next()?;
    let Some(parameter) = parts.next() else { return Some((name, 1.0)) };
    let (key, weight) = parameter.split_once('=')?;
    let weight: f32 = weight.trim().parse().ok()?;
    (key.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&weight)).then_some((name, weight))
}

/// A body that is compressed step by step, so that a large one does not block a thread.
#[derive(Debug)]
pub(super) struct Compressing {
    compress: Compress,
    rest: Bytes,
    ended: bool,
}

impl Compressing {
    pub(super) fn new(coding: Coding, how: Deflation, bytes: Bytes) -> Self {
        let compress = match coding {
            Coding::Gzip => Compress::new_gzip(how.strength(), how.window_bits),
            // What is called deflate on the web has a header of zlib.
            Coding::Deflate => how.compressor(true),
        };
        Self { compress, rest: bytes, ended: false }
    }

    /// Whether the last part was returned.
    pub(super) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next part, which may be empty; `None` after the last one.
    pub(super) fn step(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let input = self.rest.split_to(self.rest.len().min(STEP));
        self.ended = self.rest.is_empty();
        let flush = if self.ended { FlushCompress::Finish } else { FlushCompress::None };
        let mut out = Vec::new();
        // If deflating failed, the body ends here, and the client reports that its end is missing.
        self.ended |= !deflate(&mut self.compress, &input, &mut out, flush);
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::{GzDecoder, ZlibDecoder};
    use proptest::prelude::*;
    use std::io::Read;

    fn wanted(accept: &[&str]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        Coding::wanted(&headers)
    }

    #[test]
    fn the_coding_that_the_client_prefers_is_used() {
        for (accept, coding) in [
            ("gzip, deflate, br", Some(Coding::Gzip)),
            ("deflate, gzip", Some(Coding::Deflate)),
            ("gzip;q=0.5, deflate;q=0.6", Some(Coding::Deflate)),
            ("GZIP ; Q=0.5", Some(Coding::Gzip)),
            ("*", Some(Coding::Gzip)),
            ("*, deflate", Some(Coding::Deflate)),
            ("*;q=0.5, deflate;q=0.1", Some(Coding::Gzip)),
            ("gzip;q=0, *", Some(Coding::Deflate)),
            ("gzip;q=0", None),
            ("*;q=0, gzip;q=0.1", Some(Coding::Gzip)),
            ("br", None),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Coding::Gzip)),
            ("gzip;q=2", None),
            ("gzip;q=NaN", None),
            ("gzip;level=1", None),
            ("", None),
        ] {
            assert_eq!(wanted(&[accept]), coding, "{accept}");
        }
        assert_eq!(wanted(&["br", "gzip"]), Some(Coding::Gzip));
        assert_eq!(wanted(&[]), None);
    }

    fn decoded(coding: Coding, encoded: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        match coding {
            Coding::Gzip => GzDecoder::new(encoded).read_to_end(&mut decoded),
            Coding::Deflate => ZlibDecoder::new(encoded).read_to_end(&mut decoded),
        }
        .unwrap();
        decoded
    }

    #[test]
    fn a_large_body_is_compressed_in_steps() {
        let body = Bytes::from("{\"some\":\"json\"},".repeat(40_000));
        let mut compressing = Compressing::new(Coding::Gzip, Deflation::default(), body.clone());
        let parts: Vec<Bytes> = std::iter::from_fn(|| compressing.step()).collect();
        assert_eq!(parts.len(), body.len().div_ceil(STEP));
        assert_eq!(decoded(Coding::Gzip, &parts.concat()), body);
    }

    proptest! {
        #[test]
        fn other_decoders_read_a_compressed_body(
            body: Vec<u8>, repeat in 1..2000_usize, gzip: bool, level in 2..=9_u8, window_bits in 9..=15_u8,
        ) {
            let body = Bytes::from(body.repeat(repeat));
            let coding = if gzip { Coding::Gzip } else { Coding::Deflate };
            let mut compressing = Compressing::new(coding, Deflation { level, window_bits }, body.clone());
            let parts: Vec<Bytes> = std::iter::from_fn(|| compressing.step()).collect();
            prop_assert_eq!(decoded(coding, &parts.concat()), body);
        }

        #[test]
        fn any_header_names_a_coding_or_none(
            accept in "[ -~]{0,60}|((gzip|deflate|br|\\*)(;q=(0|0\\.0|1))?, ){0,5}"
        ) {
            let Some(coding) = wanted(&[&accept]) else { return Ok(()) };
            let accept = accept.to_ascii_lowercase();
            let told: Vec<&str> = accept.split(',').filter(|item| item.contains(coding.name())).collect();
            prop_assert!(!told.is_empty() || accept.contains('*'));
            prop_assert!(told.is_empty() || !told.iter().all(|item| item.trim().ends_with(";q=0")), "it is refused");
        }
    }
}
