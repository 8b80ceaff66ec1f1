//! Rooms. Text becomes a room once, where an application or another node gives it; from then on it is not parsed again.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::id::SocketId;

/// A room of a namespace: any text names one, and the id of a socket names the room that this socket is always in.
///
/// It is made from text or from a [`SocketId`] with `into()`, and prints as its name. Rooms are sorted by name.
///
/// ```
/// use socketmesh::socket::Room;
///
/// let room: Room = "lobby".into();
/// assert_eq!(room.to_string(), "lobby");
/// assert_eq!(room, "lobby");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Room {
    /// A room that sockets join. The name is never the text of a socket id.
    #[non_exhaustive]
    Named(Arc<str>),
    /// The room of a socket's own id.
    Own(SocketId),
}

impl Room {
    /// Calls `f` with the name.
    pub(crate) fn with_name<T>(&self, f: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Named(name) => f(name),
            Self::Own(id) => f(id.encode(&mut [0; SocketId::TEXT_LENGTH])),
        }
    }

    /// The length of the name in bytes.
    pub(crate) fn name_length(&self) -> usize {
        match self {
            Self::Named(name) => name.len(),
            Self::Own(_) => SocketId::TEXT_LENGTH,
        }
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for Room {
    fn from(name: &T) -> Self {
        let name = name.as_ref();
        name.parse().map_or_else(|_not_an_id| Self::Named(name.into()), Self::Own)
    }
}

impl From<String> for Room {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl From<Arc<str>> for Room {
    fn from(name: Arc<str>) -> Self {
        name.parse().map_or_else(|_not_an_id| Self::Named(name), Self::Own)
    }
}

impl From<SocketId> for Room {
    fn from(id: SocketId) -> Self {
        Self::Own(id)
    }
}

impl From<&Self> for Room {
    fn from(room: &Self) -> Self {
        room.clone()
    }
}

impl PartialEq<str> for Room {
    fn eq(&self, name: &str) -> bool {
        self.with_name(|own| own == name)
    }
}

impl PartialEq<&str> for Room {
    fn eq(&self, name: &&str) -> bool {
        self == *name
    }
}

impl Ord for Room {
    fn cmp(&self, other: &Self) -> Ordering {
        self.with_name(|own| other.with_name(|other| own.cmp(other)))
    }
}

impl PartialOrd for Room {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_name(|name| f.pad(name))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_name(|name| fmt::Debug::fmt(name, f))
    }
}

impl Serialize for Room {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_name(|name| serializer.serialize_str(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use proptest::prelude::*;

    #[test]
    fn the_text_of_a_socket_id_is_the_room_of_that_socket() {
        let id = SocketId::new(Key::from_hash(7 << 40), [3; 10]);
        let text = id.to_string();
        let named: Arc<str> = text.as_str().into();
        for room in [Room::from(&text), Room::from(text.clone()), Room::from(named), Room::from(id)] {
            assert_eq!(room, Room::Own(id));
            assert_eq!(room, *text);
            assert_eq!(room.name_length(), text.len());
        }
    }

    proptest! {
        #[test]
        fn a_room_keeps_its_name_and_rooms_are_equal_and_sorted_as_their_names_are(
            one in "[a-c]{0,2}|[A-Za-z0-9_-]{20}", other in "[a-c]{0,2}|[A-Za-z0-9_-]{20}",
        ) {
            let (a, b) = (Room::from(&one), Room::from(&other));
            prop_assert_eq!(&a.to_string(), &one);
            prop_assert_eq!(serde_json::to_value(&a).unwrap(), &*one);
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(a.cmp(&b), one.cmp(&other));
        }
    }
}
