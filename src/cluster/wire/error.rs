//! Why bytes between nodes are refused.

/// Why bytes of a peer do not decode, or a message cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// A frame or message longer than allowed, or shorter than its own header.
    #[error("a length of {0} bytes is not allowed")]
    Length(usize),
    /// Not the protobuf it should be.
    #[error("malformed message")]
    Malformed(#[from] prost::DecodeError),
    /// The packet of a broadcast is text.
    #[error("a packet that is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    /// An id, an address or JSON that is none.
    #[error("a value that is not what it should be")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
}
