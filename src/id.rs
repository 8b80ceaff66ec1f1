//! The names of nodes and their incarnations, of sessions and of sockets.
//!
//! A session id and a socket id have the same form: 15 bytes, written as 20 characters of base64url. That is the length of
//! the ids of Node's server, which load balancers and tools may match on. The first 5 bytes are a key on the hash ring of the
//! [cluster](crate::cluster), which names the owning node. The other 10 come from the operating system's random generator.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::random::{self, RandomError};

/// A position on the hash ring of the cluster: 40 bits.
///
/// ```
/// # fn f(socket: socketmesh::Socket) {
/// assert!(socket.id().key().as_u64() < 1 << 40);
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

impl Key {
    /// The number of bits of a key.
    pub const BITS: u32 = 40;

    /// Takes the upper 40 bits of a hash.
    pub const fn from_hash(hash: u64) -> Self {
        Self(hash >> (u64::BITS - Self::BITS))
    }

    /// The key as a number below 2^40.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    fn to_bytes(self) -> [u8; 5] {
        let [_, _, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    const fn from_bytes([a, b, c, d, e]: [u8; 5]) -> Self {
        Self(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}", self.0)
    }
}

/// The error for a text that is not a session id or socket id.
///
/// ```
/// use socketmesh::id::{InvalidId, SocketId};
///
/// assert_eq!("too short".parse::<SocketId>(), Err(InvalidId));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 20 characters of base64url")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 15]);

        impl $name {
            /// Makes an id of its ring key and its random part.
            pub fn new(key: Key, random: [u8; 10]) -> Self {
                let mut bytes = [0; 15];
                let (head, tail) = bytes.split_at_mut(5);
                head.copy_from_slice(&key.to_bytes());
                tail.copy_from_slice(&random);
                Self(bytes)
            }

            /// The position of this id on the ring, which says the node that owns it.
            pub const fn key(&self) -> Key {
                let [a, b, c, d, e, ..] = self.0;
                Key::from_bytes([a, b, c, d, e])
            }

            /// How many characters the text of an id has.
            pub(crate) const TEXT_LENGTH: usize = 20;

            /// Writes the text into a buffer, without an allocation.
            pub(crate) fn encode<'a>(&self, text: &'a mut [u8; Self::TEXT_LENGTH]) -> &'a str {
                let (fours, _) = text.as_chunks_mut();
                for (four, three) in fours.iter_mut().zip(self.0.as_chunks().0) {
                    *four = letters(*three);
                }
                // Letters are ASCII, so this cannot fail.
                std::str::from_utf8(text).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.encode(&mut [0; Self::TEXT_LENGTH]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let text: &[u8; Self::TEXT_LENGTH] = text.as_bytes().try_into().map_err(|_length| InvalidId)?;
                let mut bytes = [0; 15];
                for (three, four) in bytes.as_chunks_mut().0.iter_mut().zip(text.as_chunks().0) {
                    *three = from_letters(*four).ok_or(InvalidId)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

/// Three bytes as base64url. Ids are written and read several times for each message, and this takes a third of what a library
/// for texts of any length does.
fn letters([a, b, c]: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, a, b, c]);
    [bits >> 18, bits >> 12, bits >> 6, bits]
        .map(|bits| LETTERS.get(bits as usize % LETTERS.len()).copied().unwrap_or_default())
}

/// The three bytes of four letters.
fn from_letters(letters: [u8; 4]) -> Option<[u8; 3]> {
    let [a, b, c, d] = letters.map(|letter| VALUES.get(usize::from(letter)).copied().unwrap_or(NO_LETTER));
    let bits = a << 18 | b << 12 | c << 6 | d;
    let [_, bytes @ ..] = bits.to_be_bytes();
    ((a | b | c | d) < NO_LETTER).then_some(bytes)
}

/// Those of base64url in the order of their values.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of each letter.
#[expect(clippy::indexing_slicing, reason = "a constant that fails does not compile")]
const VALUES: [u32; 256] = {
    let mut values = [NO_LETTER; 256];
    let mut value = 0;
    while value < 64 {
        values[LETTERS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Above all values, and a bit that none of them has.
const NO_LETTER: u32 = 64;

/// Gives a type that is parsed from text the other ways in which values come from text.
macro_rules! from_text {
    ($name:ident, $error:ident) => {
        impl TryFrom<&str> for $name {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

id! {
    /// The Engine.IO session id (`sid`): a bearer secret of one client, valid on every node.
    SessionId
}

id! {
    /// The Socket.IO socket id: the public name of one client in one namespace, and the name of the room that only this
    /// socket is in.
    SocketId
}

impl SocketId {
    /// How many bytes an id has.
    pub(crate) const LENGTH: usize = 15;

    /// The form that is shorter than text, for other nodes.
    pub(crate) const fn to_bytes(self) -> [u8; Self::LENGTH] {
        self.0
    }

    pub(crate) const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.encode(&mut [0; Self::TEXT_LENGTH]))
    }
}

// A session id has no such forms: it is a secret, which should not get into an event by accident.
from_text!(SocketId, InvalidId);

impl From<SocketId> for String {
    fn from(id: SocketId) -> Self {
        id.to_string()
    }
}

/// The name of a node, unique in its cluster and stable over restarts: 1 to 63 of `a-z`, `0-9`, `-`.
///
/// The alphabet is that of a DNS label, because the name appears in the node's certificate.
///
/// ```
/// use socketmesh::id::NodeId;
///
/// let id: NodeId = "chat-1".parse()?;
/// assert_eq!(id.as_str(), "chat-1");
/// assert!("Chat 1".parse::<NodeId>().is_err());
/// # Ok::<(), socketmesh::id::InvalidNodeId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

/// The error for a text that is not a node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node id: 1 to 63 characters of a-z, 0-9 and '-', not '-' at either end")]
pub struct InvalidNodeId(String);

impl NodeId {
    /// Makes a random name, which no other node has.
    ///
    /// # Errors
    ///
    /// [`RandomError`]: the operating system's random generator failed.
    pub fn random() -> Result<Self, RandomError> {
        Ok(Self(format!("node-{:012x}", random::number()? >> 16).into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, InvalidNodeId> {
        let label = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let valid = (1..=63).contains(&text.len())
            && text.bytes().all(label)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text.into())) } else { Err(InvalidNodeId(text.to_owned())) }
    }
}

from_text!(NodeId, InvalidNodeId);

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0.as_ref().into()
    }
}

impl From<NodeId> for Arc<str> {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a node: the milliseconds from 1970 to its start, so every restart has a larger one.
///
/// ```
/// use socketmesh::id::Incarnation;
///
/// assert!(Incarnation(2) > Incarnation(1), "the later life");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_text_of_an_id_is_base64url(bytes: [u8; 15]) {
            prop_assert_eq!(SocketId(bytes).to_string(), URL_SAFE_NO_PAD.encode(bytes));
        }

        #[test]
        fn what_is_no_base64url_is_refused(text in "[A-Za-z0-9_-]{16,20}[ -~]{0,4}") {
            let bytes = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
            prop_assert_eq!(text.parse(), bytes.map(SocketId).ok_or(InvalidId));
        }

        #[test]
        fn an_id_survives_text_and_keeps_its_key(hash: u64, random: [u8; 10]) {
            let id = SessionId::new(Key::from_hash(hash), random);
            prop_assert_eq!(id.key(), Key::from_hash(hash));
            prop_assert_eq!(id.to_string().len(), 20);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn a_socket_id_is_serialized_as_its_text(random: [u8; 10]) {
            let id = SocketId::new(Key::from_hash(0), random);
            prop_assert_eq!(serde_json::to_value(id).unwrap(), id.to_string());
            prop_assert_eq!(serde_json::from_value::<SocketId>(id.to_string().into()).unwrap(), id);
            prop_assert_eq!(SocketId::try_from(String::from(id)), Ok(id));
        }

        #[test]
        fn any_text_is_an_id_or_refused(text: String) {
            if let Ok(id) = text.parse::<SocketId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn node_ids_are_dns_labels() {
        for valid in ["a", "node-1", "0"] {
            let id = valid.parse::<NodeId>().unwrap();
            assert_eq!(id.as_str(), valid);
            let json = serde_json::to_value(&id).unwrap();
            assert_eq!(json, valid);
            assert_eq!(serde_json::from_value::<NodeId>(json).unwrap(), id);
            assert_eq!(String::from(id), valid);
        }
        for invalid in ["", "Node", "a.b", "-a", "a-", "ä", &"x".repeat(64)] {
            assert!(NodeId::try_from(invalid).is_err(), "{invalid}");
            assert!(serde_json::from_value::<NodeId>(invalid.into()).is_err(), "{invalid}");
        }
    }
}
