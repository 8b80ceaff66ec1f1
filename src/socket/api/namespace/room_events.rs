//! Rooms that clients join by themselves, where the application lets them.

use std::future::Future;

use super::super::socket::Socket;
use super::Namespace;
use crate::socket::hub::EventError;
use crate::socket::room::Room;

impl<S: Send + Sync + 'static, Stage> Namespace<S, Stage> {
    /// Lets clients join and leave rooms by two events, whose argument is the name of the room. `may` decides about each: whether
    /// this client may be in that room. Node has no form for it.
    ///
    /// A client that asks for an ack gets an empty one when every node knows (at most 500 ms), or an error: `forbidden` if it may
    /// not, `too_many_rooms` if it is in 1000. An error of `may` is sent as that of a handler. A client never joins the room of the
    /// id of a socket, nor one with a name of more than 256 bytes, and leaves only rooms that it may be in: `may` is not asked about
    /// others. Other text in the form of an id is a name as any other; while a node does not answer, a socket may have it.
    ///
    /// What `may` says is not kept. If a client loses a right, [leave](Socket::leave) the room for it.
    ///
    /// ```
    /// # use socketmesh::{Handshake, Refusal, Socket, namespace};
    /// struct User { teams: Vec<String> }
    /// # async fn login(_: Handshake) -> Result<User, Refusal> { Err(Refusal::new("no")) }
    ///
    /// let boards = namespace("/boards").auth(login).room_events("watch", "unwatch", async |socket: Socket<User>, room: String| {
    ///     let team = room.strip_prefix("team:").unwrap_or_default();
    ///     Ok(socket.data().teams.iter().any(|own| own == team))
    /// });
    /// ```
    pub fn room_events<F, Fut>(self, join: &str, leave: &str, may: F) -> Namespace<S>
    where
        F: FnOnce(Socket<S>, String) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, EventError>> + Send + 'static,
    {
        let may_leave = may.clone();
        self.on(join, move |socket: Socket<S>, name: String| async move {
            let room = named(&socket, &name)?;
            // Its own is not counted.
            if socket.rooms().len() > MAX_ROOMS && !socket.is_in(&room) {
                return Err(EventError::new("too_many_rooms", "this client is in 1000 rooms"));
            }
            allow(may(socket.clone(), name).await?)?;
            Ok(socket.join(room).await?)
        })
        .on(leave, move |socket: Socket<S>, name: String| async move {
            let room = named(&socket, &name)?;
            allow(may_leave(socket.clone(), name).await?)?;
            socket.leave(room);
            Ok(())
        })
    }
}

/// The room of that name, if clients may name it at all.
fn named<S: Send + Sync + 'static>(socket: &Socket<S>, name: &str) -> Result<Room, EventError> {
    match Room::from(name) {
        Room::Own(id) if socket.nsp().0.may_have(id) => Err(forbidden()),
        room if name.len() <= MAX_NAME => Ok(room),
        _ => Err(forbidden()),
    }
}

fn allow(may: bool) -> Result<(), EventError> {
    if may { Ok(()) } else { Err(forbidden()) }
}

fn forbidden() -> EventError {
    EventError::new("forbidden", "this room is not for this client")
}

/// Rooms that a client joins by itself: what it can make a node remember.
const MAX_ROOMS: usize = 1000;
/// The longest name of such a room, in bytes.
const MAX_NAME: usize = 256;
