//! What travels of a socket to where its client comes back, and what is left when it does not.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::SocketId;
use crate::socket::messages::recovery::SessionState;
use crate::socket::room::Room;

/// The socket of a client that did not come back: what [`Namespace::on_lost`](super::Namespace::on_lost) is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LostSession<S> {
    /// The id of the socket.
    pub id: SocketId,
    /// The rooms that it was in, sorted.
    pub rooms: Vec<Room>,
    /// Whose it was, if `login` said so.
    pub user: Option<Arc<str>>,
    /// Its data, if they could be carried.
    pub data: Option<Arc<S>>,
}

impl<S> LostSession<S> {
    pub(super) fn new(state: SessionState, data: Option<Arc<S>>) -> Self {
        let rooms = state.rooms.into_iter().map(|(room, _)| room).collect();
        Self { id: state.socket, rooms, user: state.user, data }
    }
}

/// How data travel to the node where a client comes back.
pub(super) struct DataCodec<S> {
    pub(super) save: fn(&S) -> Option<Bytes>,
    pub(super) load: fn(&[u8]) -> Option<S>,
}

impl<S: Serialize + DeserializeOwned> DataCodec<S> {
    /// As JSON.
    pub(super) fn json() -> Self {
        let save = |data: &S| serde_json::to_vec(data).ok().map(Bytes::from);
        Self { save, load: |json| serde_json::from_slice(json).ok() }
    }
}
