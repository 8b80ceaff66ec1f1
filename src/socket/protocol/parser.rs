//! The encodings that clients may use.

/// How the packets of Socket.IO are encoded for clients. Node: `parser`.
///
/// ```
/// use socketmesh::socket::{Config, Parser};
///
/// assert_eq!(Config::default().parser, Parser::Json);
/// let builder = socketmesh::Node::builder().socket(Config::default().parser(Parser::MessagePack));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Parser {
    /// Text, and a binary message for each attachment: the default parser of every client (`socket.io-parser`).
    #[default]
    Json,
    /// One binary message for each packet: `socket.io-msgpack-parser` 3.0, and 2.2 for clients of version 2.
    ///
    /// It saves bytes where packets are numbers or bytes. Handlers see the same values as with JSON: each message of a
    /// client is converted to JSON once, and each emit from it once. What JSON cannot express is lost: a date arrives as its
    /// ISO string, `undefined` is left out (in an array it is `null`), NaN is `null`, and keys of maps are text.
    MessagePack,
}

impl Parser {
    /// The name by which nodes compare their parsers. Nodes with different ones refuse each other.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "socket.io/5",
            Self::MessagePack => "socket.io-msgpack/5",
        }
    }
}
