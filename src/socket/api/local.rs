//! What is on this node of a namespace: its sockets, with their data, and its rooms. Nothing waits, and no message is sent
//! (Socket.IO server API: `nsp.sockets`, `adapter.rooms`, `adapter.sids`).

use std::sync::Arc;

use super::namespace_ref::NamespaceRef;
use super::socket::Socket;
use crate::id::SocketId;
use crate::socket::hub::{LocalNamespace, Member};
use crate::socket::messages::Selection;
use crate::socket::room::Room;

impl NamespaceRef {
    /// The sockets of the namespace on this node, with their data. Node: `nsp.sockets`.
    ///
    /// ```
    /// use socketmesh::{Result, Socket};
    ///
    /// struct User { name: String }
    ///
    /// /// Who is on this node.
    /// async fn names(socket: Socket<User>, (): ()) -> Result<Vec<String>> {
    ///     let here: Vec<Socket<User>> = socket.nsp().sockets()?;
    ///     Ok(here.iter().map(|other| other.data().name.clone()).collect())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WrongData`]: there are sockets, and their data is no `S`.
    pub fn sockets<S: Send + Sync + 'static>(&self) -> Result<Vec<Socket<S>>, WrongData> {
        typed(self.0.members(&Selection::default()))
    }

    /// The socket with this id, if it is on this node. Node: `nsp.sockets.get(id)`.
    ///
    /// # Errors
    ///
    /// [`WrongData`]: it is, and its data is no `S`.
    pub fn socket<S: Send + Sync + 'static>(&self, id: SocketId) -> Result<Option<Socket<S>>, WrongData> {
        self.0.member(id).map(typed_socket).transpose()
    }

    /// A room as this node has it. Node: `adapter.rooms.get(room)`.
    pub fn room(&self, room: impl Into<Room>) -> LocalRoom {
        LocalRoom { namespace: Arc::clone(&self.0), room: room.into() }
    }

    /// The rooms that sockets of this node are in, sorted, and how many are in each; the own rooms of sockets are among them.
    /// Node: `adapter.rooms`.
    ///
    /// It takes time for many rooms, but holds up nobody. Of rooms that change meanwhile either may be told.
    pub fn rooms(&self) -> Vec<(Room, usize)> {
        self.0.room_sizes().into_iter().collect()
    }

    /// The rooms that a socket is in, its own first; `None` if it is not on this node. Node: `adapter.socketRooms(id)`.
    pub fn rooms_of(&self, socket: SocketId) -> Option<Vec<Room>> {
        Some(self.0.rooms_of(socket)).filter(|rooms| !rooms.is_empty())
    }

    /// Counts the sockets of the namespace on this node.
    pub fn local_count(&self) -> usize {
        self.0.len()
    }
}

/// A room as this node has it, now and whenever it is asked: what [`NamespaceRef::room`] returns. Members on other nodes are not
/// looked for; [`Target::count`](super::Target::count) and [`Target::fetch_sockets`](super::Target::fetch_sockets) do that.
///
/// ```
/// # use socketmesh::{EventError, Result, Socket};
/// async fn say(socket: Socket, text: String) -> Result<()> {
///     let lobby = socket.nsp().room("lobby");
///     if !lobby.contains(socket.id()) {
///         return Err(EventError::new("outside", "join the lobby first"));
///     }
///     println!("{} sockets of this node are in the lobby", lobby.len());
///     Ok(socket.to("lobby").emit("said", &text)?)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct LocalRoom {
    namespace: Arc<LocalNamespace>,
    room: Room,
}

impl LocalRoom {
    /// Counts the sockets of this node that are in the room.
    pub fn len(&self) -> usize {
        self.namespace.size_of(&self.room)
    }

    /// Whether no socket of this node is in the room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a socket of this node is in the room. Every socket is in the room that its id names.
    pub fn contains(&self, socket: SocketId) -> bool {
        self.namespace.is_in(socket, &self.room)
    }

    /// The sockets of this node that are in the room, with their data.
    ///
    /// # Errors
    ///
    /// [`WrongData`]: there are some, and their data is no `S`.
    pub fn sockets<S: Send + Sync + 'static>(&self) -> Result<Vec<Socket<S>>, WrongData> {
        let rooms = [self.room.clone()].into_iter().collect();
        typed(self.namespace.members(&Selection { rooms, ..Selection::default() }))
    }
}

/// Sockets were asked for by another type than that of their data: what the `auth` of their namespace returns.
///
/// ```
/// # use socketmesh::{NamespaceRef, Socket};
/// # fn f(chat: NamespaceRef) {
/// // A namespace without `auth` has sockets without data.
/// let refused = chat.sockets::<String>().map(|sockets| sockets.len());
/// assert_eq!(refused.unwrap_err().to_string(), "the data of these sockets is no alloc::string::String");
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data of these sockets is no {0}")]
pub struct WrongData(&'static str);

fn typed<S: Send + Sync + 'static>(members: Vec<Arc<Member>>) -> Result<Vec<Socket<S>>, WrongData> {
    members.into_iter().map(typed_socket).collect()
}

fn typed_socket<S: Send + Sync + 'static>(member: Arc<Member>) -> Result<Socket<S>, WrongData> {
    Socket::of(member).ok_or_else(|| WrongData(std::any::type_name::<S>()))
}
