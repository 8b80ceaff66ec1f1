//! The body of a poll or POST.

use bytes::Bytes;
use bytestring::ByteString;

/// The body of a poll or POST, which holds encoded packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    /// Whether the body is `application/octet-stream`, which only version 3 allows.
    pub(crate) binary: bool,
}

impl Payload {
    pub(crate) const fn text(bytes: Bytes) -> Self {
        Self { bytes, binary: false }
    }
}

/// A body as text. Invalid UTF-8 becomes U+FFFD.
pub(super) fn lossy_text(body: Bytes) -> ByteString {
    ByteString::try_from(body.clone()).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into())
}
