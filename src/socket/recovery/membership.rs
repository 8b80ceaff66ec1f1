//! Which packets a client that is away would have got.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::SocketId;
use crate::socket::messages::Selection;
use crate::socket::room::Room;

/// The rooms of a socket that is away, and since when it has been in each.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    socket: SocketId,
    since: Since,
    rooms: HashMap<Room, Since>,
}

/// `None` stands for a time before the clock began.
type Since = Option<Instant>;

impl Membership {
    /// Of a socket that has been in its namespace, and in rooms, for so long.
    pub(crate) fn new(socket: SocketId, age: Duration, rooms: &[(Room, Duration)], now: Instant) -> Self {
        let ago = |age: Duration| now.checked_sub(age);
        let rooms = rooms.iter().map(|(room, age)| (room.clone(), ago(*age))).collect();
        Self { socket, since: ago(age), rooms }
    }

    /// Whether a packet of that time was for the socket.
    pub(crate) fn is_selected(&self, selection: &Selection, at: Instant) -> bool {
        let by_then = |since: &Since| since.is_none_or(|since| since <= at + MARGIN);
        let is_in = |room: &Room| match room {
            Room::Own(id) if *id == self.socket => true,
            room => self.rooms.get(room).is_some_and(by_then),
        };
        let named = match selection.rooms.as_slice() {
            [] => by_then(&self.since),
            rooms => rooms.iter().any(is_in),
        };
        named && !selection.except.iter().any(is_in)
    }

    /// The rooms, without the socket's own.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.rooms.keys()
    }
}

/// How much earlier than a join a packet may be that comes with those behind it. Nodes tell each other ages, not times, and an age is
/// as wrong as the message took that told it: without a margin what came right after the join would be missing.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;

    #[test]
    fn a_packet_is_for_the_rooms_that_the_socket_was_in_when_it_was_sent() {
        let (now, socket) =
            (Instant::now() + Duration::from_secs(3600), SocketId::new(Key::from_hash(1), [1; 10]));
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let rooms = [("old".into(), minutes(9)), ("new".into(), minutes(1))];
        let membership = Membership::new(socket, minutes(10), &rooms, now);
        let own = socket.to_string();
        for (to, except, ago, expected) in [
            (&[][..], &[][..], 9, true),
            (&[], &[], 11, false),
            (&["old"], &[], 2, true),
            (&["new"], &[], 2, false),
            (&["new", "old"], &[], 2, true),
            (&["other"], &[], 0, false),
            (&[&*own], &[], 11, true),
            (&[], &["old"], 2, false),
            (&[], &["new"], 2, true),
            (&["old"], &[&*own], 2, false),
        ] {
            let names = |names: &[&str]| names.iter().map(Room::from).collect();
            let selection = Selection { rooms: names(to), except: names(except) };
            let at = now - minutes(ago);
            assert_eq!(membership.is_selected(&selection, at), expected, "to {to:?} except {except:?} {ago}");
        }
    }
}
