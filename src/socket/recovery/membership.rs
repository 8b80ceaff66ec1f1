//! Which packets a client that is away would have got.

use std::collections::HashMap;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::position::Position;
use crate::id::SocketId;
use crate::socket::messages::Broadcast;
use crate::socket::messages::recovery::{LeftRoom, Number};
use crate::socket::room::Room;

/// The rooms of a socket that is away, and since when it has been in each.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    socket: SocketId,
    since: Since,
    rooms: HashMap<Room, Since>,
    /// Those that it left lately, since when it was in each, and up to which packets.
    left: HashMap<Room, SmallVec<[(Since, Position); 1]>>,
}

/// `None` stands for a time before the clock began.
type Since = Option<Instant>;

impl Membership {
    /// Of a socket that has been in its namespace, and in rooms, for so long.
    pub(crate) fn new(socket: SocketId, age: Duration, rooms: &[(Room, Duration)], now: Instant) -> Self {
        let ago = |age: Duration| now.checked_sub(age);
        let rooms = rooms.iter().map(|(room, age)| (room.clone(), ago(*age))).collect();
        Self { socket, since: ago(age), rooms, left: HashMap::new() }
    }

    /// It was in these rooms as well, and left them.
    pub(crate) fn with_left(mut self, left: &[LeftRoom], now: Instant) -> Self {
        let ago = |age: Duration| now.checked_sub(age);
        for LeftRoom { room, age, until } in left {
            let stay = (ago(*age), until.iter().copied().collect());
            self.left.entry(room.clone()).or_default().push(stay);
        }
        self
    }

    /// Whether a packet of that time was for the socket.
    pub(crate) fn is_selected(&self, packet: &Broadcast<'_>, at: Instant) -> bool {
        let was_in = |room: &Room, margin| self.was_in(room, packet.number, at, margin);
        let named = match packet.selection.rooms.as_slice() {
            [] => self.since.is_none_or(|since| since <= at + MARGIN),
            rooms => rooms.iter().any(|room| was_in(room, MARGIN)),
        };
        named && !packet.selection.except.iter().any(|room| was_in(room, Duration::ZERO))
    }

    /// Whether it was in a room when this packet was sent, or joined so much later.
    fn was_in(&self, room: &Room, number: Option<Number>, at: Instant, margin: Duration) -> bool {
        let by_then = |since: &Since| since.is_none_or(|since| since <= at + margin);
        let reaches = |until: &Position| {
            number
                .is_some_and(|Number { origin, number }| until.get(origin).is_some_and(|last| number <= last))
        };
        let stays = self.left.get(room).into_iter().flatten();
        *room == Room::Own(self.socket)
            || self.rooms.get(room).is_some_and(by_then)
            || stays.into_iter().any(|(since, until)| by_then(since) && reaches(until))
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
    use std::borrow::Cow;

    use super::super::log;
    use super::*;
    use crate::id::Key;
    use crate::socket::messages::Selection;
    use crate::socket::messages::recovery::Origin;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    fn packet(to: &[&str], except: &[&str], number: u64) -> Broadcast<'static> {
        let names = |names: &[&str]| names.iter().map(Room::from).collect();
        let selection = Cow::Owned(Selection { rooms: names(to), except: names(except) });
        Broadcast { selection, ..Broadcast::clone(&log::tests::packet(1, number, "")) }
    }

    #[test]
    fn what_was_sent_to_a_room_before_the_socket_left_it_is_for_it_and_what_was_sent_then_is_not() {
        let (now, socket) =
            (Instant::now() + Duration::from_secs(3600), SocketId::new(Key::from_hash(1), [1; 10]));
        let left = |age, until| {
            let until = vec![(Origin::from_u64(1), until), (Origin::from_u64(2), 100)];
            LeftRoom { room: "left".into(), age: minutes(age), until }
        };
        let membership = Membership::new(socket, minutes(20), &[("left".into(), minutes(1))], now)
            .with_left(&[left(9, 7), left(5, 13)], now);
        // The packets 1 to 15 were sent a minute after one another.
        for (number, expected) in
            [(4, false), (5, true), (7, true), (8, false), (9, true), (10, true), (13, true), (14, true)]
        {
            let at = now - minutes(14 - number);
            assert_eq!(membership.is_selected(&packet(&["left"], &[], number), at), expected, "{number}");
            let except = packet(&[], &["left"], number);
            assert_eq!(membership.is_selected(&except, at), !expected, "all but {number}");
        }
    }

    #[test]
    fn a_packet_is_for_the_rooms_that_the_socket_was_in_when_it_was_sent() {
        let (now, socket) =
            (Instant::now() + Duration::from_secs(3600), SocketId::new(Key::from_hash(1), [1; 10]));
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
            let at = now - minutes(ago);
            let is_selected = membership.is_selected(&packet(to, except, 1), at);
            assert_eq!(is_selected, expected, "to {to:?} except {except:?} {ago}");
        }
    }
}
