//! Rooms. Text becomes a room once, where an application or another node gives it; from then on it is not parsed again.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use crate::id::SocketId;

/// A room of a namespace: any text names one, and the id of a socket names the room that this socket is always in.
///
/// It is made from text or from a [`SocketId`] with `into()`, and prints as its name. Rooms are sorted by name, may be keys of a
/// map, and travel in events as their name.
///
/// ```
/// use socketmesh::socket::Room;
///
/// let room: Room = "lobby".into();
/// assert_eq!(room, "lobby");
/// assert_eq!(String::from(room), "lobby");
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

    /// The room that says to other nodes that the socket of a client that came back has this id. Its own room does not: whoever
    /// likes may be in a room of that name.
    pub(crate) fn mark_of(id: SocketId) -> Self {
        Self::Named(format!("{id} came back").into())
    }

    /// The length of the name in bytes.
    pub(crate) fn name_length(&self) -> usize {
        match self {
            Self::Named(name) => name.len(),
            Self::Own(_) => SocketId::TEXT_LENGTH,
        }
    }
}

impl From<&str> for Room {
    fn from(name: &str) -> Self {
        name.parse().map_or_else(|_not_an_id| Self::Named(name.into()), Self::Own)
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

impl From<&SocketId> for Room {
    fn from(id: &SocketId) -> Self {
        Self::Own(*id)
    }
}

impl From<&Self> for Room {
    fn from(room: &Self) -> Self {
        room.clone()
    }
}

/// Each of these is text. A rule for all `AsRef<str>` would leave no room for lists.
macro_rules! from_text {
    ($($text:ty),+) => {
        $(impl From<$text> for Room {
            fn from(name: $text) -> Self {
                let name: &str = name.as_ref();
                name.into()
            }
        })+
    };
}

from_text!(&&str, String, &String, &Arc<str>, Box<str>, &Box<str>, Cow<'_, str>, &Cow<'_, str>);

impl FromStr for Room {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(name.into())
    }
}

impl From<Room> for Arc<str> {
    fn from(room: Room) -> Self {
        match room {
            Room::Named(name) => name,
            Room::Own(_) => room.with_name(|name| name.into()),
        }
    }
}

impl From<Room> for String {
    fn from(room: Room) -> Self {
        room.with_name(str::to_owned)
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

impl PartialEq<String> for Room {
    fn eq(&self, name: &String) -> bool {
        self == name.as_str()
    }
}

impl PartialEq<SocketId> for Room {
    fn eq(&self, id: &SocketId) -> bool {
        matches!(self, Self::Own(own) if own == id)
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

impl<'de> Deserialize<'de> for Room {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(Self::from)
    }
}

/// One room or several: what [`to`](super::Target::to), `except`, `join` and `leave` take.
///
/// A room is text, a [`SocketId`] or a [`Room`], owned or borrowed; several are an array, a slice or a `Vec` of those. It is
/// implemented for all of them already, and for nothing else.
///
/// ```
/// # use socketmesh::{Result, Socket, socket::Room};
/// fn paint(socket: &Socket, walls: Vec<Room>, color: &str) -> Result<()> {
///     socket.join(["painters", "everybody"]);
///     socket.to(&walls).except([socket.id()]).emit("paint", color)?;
///     Ok(socket.to(walls).to("gallery").emit("done", &())?)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no rooms",
    label = "neither a room nor a list of rooms",
    note = "a room is text (`&str`, `String`, `&String`, `Arc<str>`), a `SocketId` or a `Room`",
    note = "several are an array, a slice or a `Vec` of those: collect an iterator into a `Vec<Room>` first"
)]
pub trait IntoRooms {
    #[doc(hidden)]
    fn add_to(self, rooms: &mut RoomList<'_>);
}

/// Where rooms are added. Nobody else can name it, so nobody else can implement [`IntoRooms`].
#[expect(unnameable_types, reason = "it seals the trait")]
#[derive(Debug)]
pub struct RoomList<'a>(&'a mut SmallVec<[Room; 1]>);

/// Adds rooms to others.
pub(crate) fn add_rooms(to: &mut SmallVec<[Room; 1]>, rooms: impl IntoRooms) {
    rooms.add_to(&mut RoomList(to));
}

/// The rooms that an application named.
pub(crate) fn rooms(named: impl IntoRooms) -> SmallVec<[Room; 1]> {
    let mut rooms = SmallVec::new();
    add_rooms(&mut rooms, named);
    rooms
}

// So that the compiler says what rooms are, not what `Into` is not.
#[diagnostic::do_not_recommend]
impl<R: Into<Room>> IntoRooms for R {
    fn add_to(self, rooms: &mut RoomList<'_>) {
        rooms.0.push(self.into());
    }
}

impl<R: Into<Room>> IntoRooms for Vec<R> {
    fn add_to(self, rooms: &mut RoomList<'_>) {
        rooms.0.extend(self.into_iter().map(R::into));
    }
}

impl<R: Into<Room>, const N: usize> IntoRooms for [R; N] {
    fn add_to(self, rooms: &mut RoomList<'_>) {
        rooms.0.extend(self.into_iter().map(R::into));
    }
}

impl<'r, R> IntoRooms for &'r [R]
where
    &'r R: Into<Room>,
{
    fn add_to(self, rooms: &mut RoomList<'_>) {
        rooms.0.extend(self.iter().map(Into::into));
    }
}

impl<'r, R> IntoRooms for &'r Vec<R>
where
    &'r R: Into<Room>,
{
    fn add_to(self, rooms: &mut RoomList<'_>) {
        self.as_slice().add_to(rooms);
    }
}

impl<'r, R, const N: usize> IntoRooms for &'r [R; N]
where
    &'r R: Into<Room>,
{
    fn add_to(self, rooms: &mut RoomList<'_>) {
        self.as_slice().add_to(rooms);
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

    fn named(rooms: impl IntoRooms) -> Vec<String> {
        super::rooms(rooms).into_iter().map(String::from).collect()
    }

    #[test]
    #[expect(clippy::needless_borrows_for_generic_args, reason = "borrowed ones are tested, too")]
    fn rooms_are_named_one_by_one_or_in_lists_of_any_kind() {
        let (lobby, id) = (Room::from("lobby"), SocketId::new(Key::from_hash(7 << 40), [3; 10]));
        for one in [named("lobby"), named("lobby".to_owned()), named(&"lobby".to_owned()), named(&lobby)] {
            assert_eq!(one, ["lobby"]);
        }
        let two = ["lobby", "arena"];
        let owned = two.map(str::to_owned);
        for both in [
            named(two),
            named(&two),
            named(&two[..]),
            named(two.to_vec()),
            named(&two.to_vec()),
            named(owned.clone()),
            named(&owned),
            named(&owned.map(Room::from)[..]),
        ] {
            assert_eq!(both, two);
        }
        assert_eq!(named([id, id]), [id.to_string(), id.to_string()]);
        assert_eq!(named(&[id][..]), [id.to_string()]);
        assert_eq!(named([""; 0]), [""; 0]);
    }

    #[test]
    fn a_room_is_the_key_of_a_map_and_an_argument() {
        let sizes = std::collections::BTreeMap::from([(Room::from("lobby"), 2)]);
        let json = serde_json::to_string(&sizes).unwrap();
        assert_eq!(json, r#"{"lobby":2}"#);
        assert_eq!(serde_json::from_str::<std::collections::BTreeMap<Room, u8>>(&json).unwrap(), sizes);
    }

    proptest! {
        #[test]
        fn a_room_keeps_its_name_and_rooms_are_equal_and_sorted_as_their_names_are(
            one in "[a-c]{0,2}|[A-Za-z0-9_-]{20}", other in "[a-c]{0,2}|[A-Za-z0-9_-]{20}",
        ) {
            let (a, b) = (Room::from(&one), Room::from(&other));
            prop_assert_eq!(&a.to_string(), &one);
            prop_assert_eq!(serde_json::to_value(&a).unwrap(), &*one);
            prop_assert_eq!(serde_json::from_value::<Room>(one.clone().into()).unwrap(), a.clone());
            prop_assert_eq!(&String::from(a.clone()), &one);
            prop_assert_eq!(&*Arc::<str>::from(a.clone()), &*one);
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(a.cmp(&b), one.cmp(&other));
        }
    }
}
