//! How values are written: durations and sizes with their units, switches as people write them, spaces around them ignored.

use std::convert::Infallible;
use std::net::{AddrParseError, SocketAddr};
use std::str::FromStr;

/// A value without the spaces around it: files of variables may end their lines with a carriage return.
pub(crate) fn trimmed<T: FromStr>(said: &str) -> Result<T, T::Err> {
    said.trim().parse()
}

/// The same for a text.
pub(super) fn text(said: &str) -> Result<String, Infallible> {
    trimmed(said)
}

/// The address of a socket.
pub(super) fn address(said: &str) -> Result<SocketAddr, String> {
    trimmed(said)
        .map_err(|_not_one: AddrParseError| "expected ip:port, such as 0.0.0.0:3000 or [::]:3000".to_owned())
}

/// A time, as `500ms`, `25s` or `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duration(pub(super) std::time::Duration);

impl FromStr for Duration {
    type Err = String;

    fn from_str(said: &str) -> Result<Self, String> {
        let duration = humantime::parse_duration(said);
        duration
            .map(Self)
            .map_err(|_other| "expected a time with its unit, such as 500ms, 25s or 1m".to_owned())
    }
}

/// A number of bytes, as `1000000`, `1MB` or `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(said: &str) -> Result<Self, String> {
        let bytes =
            said.parse::<bytesize::ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
        bytes.map(Self).ok_or_else(|| "expected a number of bytes, such as 1000000, 1MB or 64MiB".to_owned())
    }
}

/// A switch, in the usual spellings. One that is empty is off.
pub(super) fn switch(said: &str) -> Result<bool, String> {
    match said.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" | "" => Ok(false),
        _ => Err("expected true or false, yes or no, on or off, 1 or 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        let millis = |said: &str| said.parse::<Duration>().map(|Duration(time)| time.as_millis());
        assert_eq!(
            ["500ms", "25s", "2m", "1m 30s"].map(|said| millis(said).unwrap()),
            [500, 25_000, 120_000, 90_000]
        );
        assert!(["25", "s", "-1s", "", "1 fortnight"].iter().all(|said| millis(said).is_err()));
        let bytes = |said: &str| said.parse::<Size>().map(|Size(bytes)| bytes);
        assert_eq!(
            ["7", "1MB", "64MiB", "4 KiB"].map(|said| bytes(said).unwrap()),
            [7, 1_000_000, 64 << 20, 4096]
        );
        assert!(["", "MB", "-1", "1 mile"].iter().all(|said| bytes(said).is_err()));
    }

    #[test]
    fn a_switch_has_the_usual_spellings() {
        for (on, off) in [("true", "false"), ("Yes", "NO"), ("on", "off"), ("1", "0"), (" t", "")] {
            assert_eq!((switch(on), switch(off)), (Ok(true), Ok(false)));
        }
        assert!(switch("perhaps").is_err());
    }
}
