//! Checks the JSON of a client once, so that everything later can rely on it.

use std::fmt;

use bytestring::ByteString;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::error::PacketError;
use super::scan;

/// Checks the text of a JSON array whose placeholders name that many attachments; returns its elements.
pub(crate) fn check_args(array: &ByteString, attachments: usize) -> Result<ByteString, PacketError> {
    let json = check_array(array)?;
    check_placeholders(json, attachments)?;
    Ok(array.slice_ref(json))
}

/// Checks that every placeholder names one of the attachments; without attachments there are no placeholders.
fn check_placeholders(json: &str, attachments: usize) -> Result<(), PacketError> {
    if attachments == 0 {
        return Ok(());
    }
    let mut uses = vec![0; attachments];
    for place in scan::placeholders(json) {
        match place.number(json).and_then(|number| uses.get_mut(number)) {
            Some(uses) if *uses < MAX_USES => *uses += 1,
            _ => return Err(PacketError::IllegalAttachments),
        }
    }
    Ok(())
}

/// Checks the text of a JSON array; returns its elements.
pub(crate) fn check_array(json: &str) -> Result<&str, PacketError> {
    let elements = json.trim_ascii_end().strip_prefix('[').and_then(|json| json.strip_suffix(']'));
    let elements = elements.ok_or(PacketError::InvalidPayload)?;
    check(json)?;
    Ok(elements.trim_ascii())
}

/// Checks the text of a JSON object.
pub(crate) fn check_object(json: &str) -> Result<(), PacketError> {
    if json.starts_with('{') { check(json) } else { Err(PacketError::InvalidPayload) }
}

/// Checks that the text is one JSON value, nests at most 128 levels and has no lone surrogate: then everything later
/// reads it without an error of syntax. (`IgnoredAny` and `RawValue` would accept both.)
fn check(json: &str) -> Result<(), PacketError> {
    let valid = serde_json::from_str::<Valid>(json);
    valid.map(|Valid| ()).map_err(|_invalid| PacketError::InvalidPayload)
}

/// Any JSON value, read in full and thrown away.
struct Valid;

impl<'de> Deserialize<'de> for Valid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Valid {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// How often one attachment may be named. Encoders name each once; decoding copies the bytes for each, so without a
/// bound a megabyte of placeholders would become gigabytes.
const MAX_USES: usize = 4;
