//! Checks the JSON of a client once, so that everything later can rely on it.

use bytestring::ByteString;
use serde::de::IgnoredAny;

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

/// Checks that the text is one JSON value. It may nest as deep as it likes, and have numbers beyond an `f64`: that matters only
/// to who decodes it into a type.
fn check(json: &str) -> Result<(), PacketError> {
    let valid = serde_json::from_str::<IgnoredAny>(json);
    valid.map(|_| ()).map_err(|_invalid| PacketError::InvalidPayload)
}

/// How often one attachment may be named. Encoders name each once; decoding copies the bytes for each, so without a
/// bound a megabyte of placeholders would become gigabytes.
const MAX_USES: usize = 4;
