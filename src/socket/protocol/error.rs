//! What can be wrong with packets and arguments.

use std::fmt;

use bytestring::ByteString;

/// Why arguments are not of the type that was asked for. The message says which argument, counted from 1.
///
/// ```
/// let error = socketmesh::RawArgs::encode(&"text")?.decode::<u8>().unwrap_err();
/// assert!(error.to_string().starts_with("argument 1: invalid type: string"));
/// # Ok::<(), socketmesh::socket::EncodeError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{place}{source}")]
pub struct ArgsError {
    place: Place,
    source: serde_json::Error,
}

impl ArgsError {
    pub(crate) fn argument(index: usize, source: serde_json::Error) -> Self {
        Self { place: Place::Argument(index), source }
    }

    pub(crate) fn event(source: serde_json::Error) -> Self {
        Self { place: Place::Event, source }
    }
}

/// What failed to decode.
#[derive(Debug)]
enum Place {
    Event,
    Argument(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event => Ok(()),
            Self::Argument(index) => write!(f, "argument {}: ", index + 1),
        }
    }
}

/// Why an event or ack could not be sent. Nothing was sent to anybody.
///
/// ```
/// use socketmesh::RawArgs;
/// use socketmesh::socket::EncodeError;
///
/// let blobs = vec![bytes::Bytes::from_static(b"blob"); 11];
/// let error = RawArgs::encode(&blobs).unwrap_err();
/// assert!(matches!(error, EncodeError::TooManyAttachments { given: 11 }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A value has no JSON form, for example a map whose keys are not strings. Or it was sent as a typed event and is not a
    /// variant of an enum.
    #[error("a value does not encode: {0}")]
    Json(#[from] serde_json::Error),
    /// There are more attachments than clients accept ([`EncodeError::MAX_ATTACHMENTS`]). They would close their
    /// connection.
    #[error("{given} attachments, where clients accept {}", EncodeError::MAX_ATTACHMENTS)]
    TooManyAttachments {
        /// How many there were.
        given: usize,
    },
    /// The name of the event is one of Socket.IO's own (`connect`, `disconnect`, …). A client would close its connection.
    #[error("{name:?} is a reserved event name")]
    ReservedName {
        /// The name.
        name: ByteString,
    },
    /// A plain value next to attachments has the form of an attachment's placeholder. Clients would take it for one, or
    /// close their connection. Such a value comes from a hostile client whose arguments were passed on.
    #[error("a value has the form of an attachment's placeholder")]
    ForgedPlaceholder,
    /// The event is too large for the other nodes of the cluster: 16 MiB, with the names of rooms and a few bytes for each
    /// name and attachment. Send it in parts, or another way.
    #[error("about {size} bytes, where other nodes accept {limit}")]
    TooLarge {
        /// About how large it was.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
}

impl EncodeError {
    /// How many attachments one event or ack may have: what `socket.io-parser` accepts since 4.2.6.
    pub const MAX_ATTACHMENTS: usize = 10;
}

/// Why something that a client sent is not a Socket.IO packet. The connection of the client is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The first character is not a packet type.
    #[error("unknown packet type")]
    UnknownType,
    /// The number of attachments is absent, zero or not a number, or a placeholder names none of them.
    #[error("illegal attachments")]
    IllegalAttachments,
    /// More attachments are announced than the limit.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The namespace is not text, does not begin with a slash, or has a comma (MessagePack only).
    #[error("invalid namespace")]
    InvalidNamespace,
    /// The ack id is larger than 2^53 − 1.
    #[error("illegal ack id")]
    IllegalId,
    /// The payload is not JSON (or the message is not MessagePack), or is not what this type of packet carries.
    #[error("invalid payload")]
    InvalidPayload,
    /// The event has one of Socket.IO's own names.
    #[error("reserved event name")]
    ReservedName,
    /// A text packet came where an attachment was due.
    #[error("got plaintext data when reconstructing a packet")]
    UnexpectedText,
    /// Bytes came where no attachment was due.
    #[error("got binary data when not reconstructing a packet")]
    UnexpectedBinary,
    /// A packet and its attachments are larger than the limit.
    #[error("packet too large")]
    TooLarge,
}
