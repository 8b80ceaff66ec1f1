//! Why bytes between nodes are refused.

/// Why bytes of a peer do not decode, or a message cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// A frame or message longer than allowed, or shorter than its own header; ids of sockets that are cut off, or not as many
    /// as what they are of.
    #[error("a length of {0} bytes is not allowed")]
    Length(usize),
    /// The bytes are not the protobuf message that they should be.
    #[error("malformed message")]
    Malformed(#[from] prost::DecodeError),
    /// The packet of a broadcast is not text.
    #[error("a packet that is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    /// The text is not an id, an address or JSON, as it should be.
    #[error("a value that is not what it should be")]
    Value(#[source] Box<dyn std::error::Error + Send + Sync>),
}
