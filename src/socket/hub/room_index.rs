//! Which sockets of this node are in which rooms of one namespace, and which of them a selection names (Socket.IO server
//! API: `to`, `except`, `join`, `leave`).
//!
//! The room of a socket's own id is not stored for that socket: it is found by the id. Other sockets may join that room
//! as any other. So it is with a second room of its own, which few sockets have.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;

use crate::id::SocketId;
use crate::socket::messages::Selection;
use crate::socket::room::Room;

/// The sockets of one namespace on one node, each with a value, and their rooms.
///
/// Joining, leaving and removing cost the same for rooms of any size: each membership is a pair of seats, one with the
/// member and one with the room, that know each other's index. Everything is visited in the order of slots, never of
/// hashes, so a simulation with the same seed takes the same course.
#[derive(Debug)]
pub(crate) struct RoomIndex<T> {
    members: Slab<Occupant<T>>,
    /// Ids are random, and given by the server: nobody can choose them so that they collide.
    ids: FxHashMap<SocketId, usize>,
    rooms: Slab<RoomEntry>,
    named: HashMap<Arc<str>, usize>,
    /// The rooms of ids that other sockets have joined: there are none, as a rule.
    own: HashMap<SocketId, usize>,
    /// Whose second own rooms these are: there are none, as a rule.
    second: HashMap<Room, SocketId>,
}

impl<T> RoomIndex<T> {
    /// Starts without members.
    pub(crate) fn new() -> Self {
        let (members, rooms) = (Slab::new(), Slab::new());
        let (ids, named, own, second) = Default::default();
        Self { members, ids, rooms, named, own, second }
    }

    /// Whether there is neither a member nor a room.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn is_unused(&self) -> bool {
        let is_empty = self.members.is_empty() && self.ids.is_empty() && self.second.is_empty();
        is_empty && self.rooms.is_empty() && self.rooms() == 0
    }

    /// Adds a member that is in no room but its own; returns the value of one that had the same id.
    pub(crate) fn insert(&mut self, id: SocketId, value: T) -> Option<T> {
        let previous = self.remove(&id).map(|(value, _)| value);
        let member = self.members.insert(Occupant { id, value, seats: Vec::new() });
        self.ids.insert(id, member);
        previous
    }

    /// Gives a member a second room of its own, which it neither joins nor leaves. Whoever removes the member takes it back.
    pub(crate) fn give(&mut self, id: &SocketId, room: Room) {
        self.second.insert(room, *id);
    }

    /// Takes back what [`give`](Self::give) gave.
    pub(crate) fn take_back(&mut self, room: &Room) {
        self.second.remove(room);
    }

    /// Takes a member out of everything; returns its value and the rooms that have no member here any more.
    pub(crate) fn remove(&mut self, id: &SocketId) -> Option<(T, Vec<Room>)> {
        let member = self.ids.remove(id)?;
        let mut emptied = Vec::new();
        // From the last to the first, so that no seat has to move.
        while let Some(last) = self.members.get(member)?.seats.len().checked_sub(1) {
            emptied.extend(self.vacate(member, last));
        }
        Some((self.members.try_remove(member)?.value, emptied))
    }

    /// Puts a member into a room; tells whether the room had no member here before. Does nothing if the member is
    /// already in it, if there is no such member, or if the room is the member's own.
    pub(crate) fn join(&mut self, id: &SocketId, room: &Room) -> bool {
        let Some(&member) = self.ids.get(id) else { return false };
        if self.owner(room) == Some(member) {
            return false;
        }
        let entry = match self.entry(room) {
            Some(entry) if self.seat(member, entry).is_some() => return false,
            Some(entry) => entry,
            None => self.open(room),
        };
        self.occupy(member, entry)
    }

    /// Takes a member out of a room; tells whether the room has no member here any more. A member's own room is not
    /// left this way.
    pub(crate) fn leave(&mut self, id: &SocketId, room: &Room) -> bool {
        let Some((member, entry)) = self.find(id, room) else { return false };
        match self.seat(member, entry) {
            Some(seat) => self.vacate(member, seat).is_some(),
            None => false,
        }
    }

    /// The rooms a member is in, without its own.
    pub(crate) fn rooms_of(&self, id: &SocketId) -> impl Iterator<Item = &Room> {
        let member = self.ids.get(id).and_then(|member| self.members.get(*member));
        member
            .into_iter()
            .flat_map(|member| &member.seats)
            .filter_map(|seat| Some(&self.rooms.get(seat.room)?.name))
    }

    /// Whether a room exists here, and whether that member is in it. Every member is in its own.
    pub(crate) fn standing(&self, id: &SocketId, room: &Room) -> Standing {
        let exists = self.entry(room).is_some() || self.owner(room).is_some();
        Standing { exists, member: exists && self.is_in(id, room) }
    }

    /// Whether a member is in a room; every member is in its own.
    pub(crate) fn is_in(&self, id: &SocketId, room: &Room) -> bool {
        let joined = self.find(id, room).is_some_and(|(member, entry)| self.seat(member, entry).is_some());
        joined || self.owner(room).is_some_and(|owner| self.ids.get(id) == Some(&owner))
    }

    /// How many rooms have members.
    pub(crate) fn rooms(&self) -> usize {
        self.named.len() + self.own.len()
    }

    /// The rooms of a range of slots, with how many members joined each: what is visited a part at a time, so that nobody waits
    /// for all of it. `None` when no slots are left.
    pub(crate) fn rooms_in_slots(&self, slots: Range<usize>) -> Option<impl Iterator<Item = (&Room, usize)>> {
        let occupied = slots.start < self.rooms.capacity();
        occupied.then(|| {
            let entries = slots.filter_map(|slot| self.rooms.get(slot));
            entries.map(|entry| (&entry.name, entry.seats.len()))
        })
    }

    /// The ids of the members in a range of slots. `None` when no slots are left.
    pub(crate) fn ids_in_slots(&self, slots: Range<usize>) -> Option<impl Iterator<Item = SocketId>> {
        let occupied = slots.start < self.members.capacity();
        occupied.then(|| slots.filter_map(|slot| self.members.get(slot)).map(|member| member.id))
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The value of a member.
    pub(crate) fn get(&self, id: &SocketId) -> Option<&T> {
        Some(&self.members.get(*self.ids.get(id)?)?.value)
    }

    /// How many members are selected. Those of one room are not visited.
    pub(crate) fn count(&self, selection: &Selection) -> usize {
        match (selection.rooms.as_slice(), selection.except.as_slice()) {
            ([], []) => self.len(),
            ([room], []) => self.size(room),
            _ => {
                let mut count = 0;
                self.for_each(selection, |_, _| count += 1);
                count
            }
        }
    }

    /// How many members are in a room, the one whose own room it is included.
    pub(crate) fn size(&self, room: &Room) -> usize {
        let entry = self.entry(room).and_then(|entry| self.rooms.get(entry));
        entry.map_or(0, |entry| entry.seats.len()) + usize::from(self.owner(room).is_some())
    }

    /// Visits every member that is selected, each once.
    pub(crate) fn for_each(&self, selection: &Selection, mut visit: impl FnMut(&SocketId, &T)) {
        let mut visit = |member: usize| {
            if let Some(Occupant { id, value, .. }) = self.members.get(member) {
                visit(id, value);
            }
        };
        let excepted = || selection.except.iter().flat_map(|room| self.occupants(room));
        let few: SmallVec<[usize; FEW + 1]> = excepted().take(FEW + 1).collect();
        let few = few.as_slice();
        let is_excepted = |member: &usize| few.contains(member);
        match selection.rooms.as_slice() {
            [] if few.len() <= FEW => {
                let all = self.members.iter().map(|(member, _)| member);
                all.filter(|member| !is_excepted(member)).for_each(visit);
            }
            [room] if few.len() <= FEW => {
                self.occupants(room).filter(|member| !is_excepted(member)).for_each(visit);
            }
            rooms => {
                let mut seen = Marks::default();
                excepted().for_each(|member| {
                    seen.mark(member);
                });
                let mut visit_new = |member| {
                    if seen.mark(member) {
                        visit(member);
                    }
                };
                match rooms {
                    [] => self.members.iter().for_each(|(member, _)| visit_new(member)),
                    rooms => rooms.iter().flat_map(|room| self.occupants(room)).for_each(visit_new),
                }
            }
        }
    }

    /// The ids of the selected members.
    pub(crate) fn select(&self, selection: &Selection) -> Vec<SocketId> {
        let mut selected = Vec::new();
        self.for_each(selection, |id, _| selected.push(*id));
        selected
    }

    /// The members in a room, each once: those that joined it, and the one whose own room it is, which does not join it.
    fn occupants(&self, room: &Room) -> impl Iterator<Item = usize> {
        let entry = self.entry(room).and_then(|entry| self.rooms.get(entry));
        let seats = entry.map_or(&[][..], |entry| &entry.seats);
        self.owner(room).into_iter().chain(seats.iter().map(|seat| seat.member))
    }

    fn entry(&self, room: &Room) -> Option<usize> {
        match room {
            Room::Named(name) => self.named.get(name).copied(),
            Room::Own(id) => self.own.get(id).copied(),
        }
    }

    /// The member whose own room it is.
    fn owner(&self, room: &Room) -> Option<usize> {
        let own = match room {
            Room::Named(_) => None,
            Room::Own(id) => self.ids.get(id),
        };
        own.or_else(|| self.ids.get(self.second.get(room)?)).copied()
    }

    fn find(&self, id: &SocketId, room: &Room) -> Option<(usize, usize)> {
        Some((*self.ids.get(id)?, self.entry(room)?))
    }

    /// The index of a member's seat in a room. It is searched for on the side that has fewer seats.
    fn seat(&self, member: usize, room: usize) -> Option<usize> {
        let seats = &self.members.get(member)?.seats;
        let others = &self.rooms.get(room)?.seats;
        if seats.len() <= others.len() {
            seats.iter().position(|seat| seat.room == room)
        } else {
            others.iter().find(|seat| seat.member == member).map(|seat| seat.index)
        }
    }

    fn open(&mut self, name: &Room) -> usize {
        let entry = self.rooms.insert(RoomEntry { name: name.clone(), seats: Vec::new() });
        match name {
            Room::Named(name) => self.named.insert(Arc::clone(name), entry),
            Room::Own(id) => self.own.insert(*id, entry),
        };
        entry
    }

    /// Makes a pair of seats; tells whether it is the room's first.
    fn occupy(&mut self, member: usize, room: usize) -> bool {
        let (Some(at), Some(entry)) = (self.members.get_mut(member), self.rooms.get_mut(room)) else {
            return false;
        };
        entry.seats.push(RoomSeat { member, index: at.seats.len() });
        at.seats.push(MemberSeat { room, index: entry.seats.len() - 1 });
        entry.seats.len() == 1
    }

    /// Removes a pair of seats; returns the name of the room if it was the last, and the room is gone.
    fn vacate(&mut self, member: usize, seat: usize) -> Option<Room> {
        let seats = &mut self.members.get_mut(member)?.seats;
        let MemberSeat { room, index } = swap_remove(seats, seat)?;
        // The seat that took the place has a new index, which its other half has to learn; then the same over there.
        let moved = seats.get(seat).copied();
        if let Some(moved) = moved {
            self.rooms.get_mut(moved.room)?.seats.get_mut(moved.index)?.index = seat;
        }
        let others = &mut self.rooms.get_mut(room)?.seats;
        swap_remove(others, index)?;
        if let Some(moved) = others.get(index) {
            self.members.get_mut(moved.member)?.seats.get_mut(moved.index)?.index = index;
        } else if others.is_empty() {
            return self.close(room);
        }
        None
    }

    fn close(&mut self, room: usize) -> Option<Room> {
        let RoomEntry { name, .. } = self.rooms.try_remove(room)?;
        match &name {
            Room::Named(name) => self.named.remove(name),
            Room::Own(id) => self.own.remove(id),
        };
        Some(name)
    }
}

/// How a room and a socket stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// A member here is in the room.
    pub(crate) exists: bool,
    /// The socket is in the room.
    pub(crate) member: bool,
}

#[derive(Debug)]
struct Occupant<T> {
    id: SocketId,
    value: T,
    seats: Vec<MemberSeat>,
}

#[derive(Debug)]
struct RoomEntry {
    name: Room,
    seats: Vec<RoomSeat>,
}

/// A membership as the member sees it: which room, and the index of the other half there.
#[derive(Debug, Clone, Copy)]
struct MemberSeat {
    room: usize,
    index: usize,
}

/// A membership as the room sees it.
#[derive(Debug, Clone, Copy)]
struct RoomSeat {
    member: usize,
    index: usize,
}

/// A set of slots, as bits.
#[derive(Default)]
struct Marks(Vec<u64>);

impl Marks {
    /// Marks a slot; tells whether it was not marked before.
    fn mark(&mut self, slot: usize) -> bool {
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0.get_mut(word).is_some_and(|word| {
            let new = *word & bit == 0;
            *word |= bit;
            new
        })
    }
}

fn swap_remove<S>(seats: &mut Vec<S>, index: usize) -> Option<S> {
    (index < seats.len()).then(|| seats.swap_remove(index))
}

/// Up to so many excepted members are looked up in a list instead of a bit set. `socket.to(room)` excepts one.
const FEW: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn id(n: u8) -> SocketId {
        SocketId::new(Key::from_hash(0), [n; 10])
    }

    fn room(name: &str) -> Room {
        name.into()
    }

    fn select(rooms: &[&str], except: &[&str]) -> Selection {
        let names = |names: &[&str]| names.iter().map(|name| room(name)).collect();
        Selection { rooms: names(rooms), except: names(except) }
    }

    fn selected(rooms: &RoomIndex<u8>, selection: &Selection) -> Vec<u8> {
        let mut found = Vec::new();
        rooms.for_each(selection, |at, value| {
            assert_eq!(*at, id(*value));
            found.push(*value);
        });
        found.sort_unstable();
        found
    }

    /// 1 and 2 are in a, 2 and 3 in b, 4 in none.
    fn four() -> RoomIndex<u8> {
        let mut rooms = RoomIndex::new();
        (1..=4).for_each(|n| assert_eq!(rooms.insert(id(n), n), None));
        for (n, name) in [(1, "a"), (2, "a"), (2, "b"), (3, "b")] {
            rooms.join(&id(n), &room(name));
        }
        rooms
    }

    #[test]
    fn a_selection_is_the_union_of_rooms_minus_the_excepted_each_socket_once() {
        let (one, four_id) = (id(1).to_string(), id(4).to_string());
        for (to, except, expected) in [
            (&[][..], &[][..], &[1, 2, 3, 4][..]),
            (&["a"], &[], &[1, 2]),
            (&["nobody"], &[], &[]),
            (&["a", "b", "a"], &[], &[1, 2, 3]),
            (&["a", "b"], &["b"], &[1]),
            (&[], &["a"], &[3, 4]),
            (&[&four_id], &[], &[4]),
            (&["a", &one], &[], &[1, 2]),
            (&["a"], &[&one], &[2]),
            (&[], &[&one, "b"], &[4]),
        ] {
            assert_eq!(selected(&four(), &select(to, except)), expected, "to {to:?} except {except:?}");
        }
    }

    #[test]
    fn the_first_to_join_and_the_last_to_leave_a_room_are_told() {
        let mut rooms = four();
        assert!(rooms.join(&id(1), &room("c")));
        assert!(!rooms.join(&id(2), &room("c")));
        assert!(!rooms.join(&id(2), &room("c")));
        assert!(!rooms.leave(&id(1), &room("c")));
        assert!(!rooms.leave(&id(1), &room("c")));
        assert!(rooms.leave(&id(2), &room("c")));
        assert_eq!(rooms.entry(&room("c")), None);
        assert_eq!(rooms.remove(&id(3)), Some((3, vec![])));
        assert_eq!(rooms.remove(&id(2)), Some((2, vec![room("b")])));
        assert_eq!(rooms.remove(&id(2)), None);
    }

    #[test]
    fn rooms_are_visited_a_part_at_a_time_each_once() {
        let mut index = RoomIndex::new();
        for n in 0..40 {
            index.insert(id(n), n);
            (0..n)
                .for_each(|other| assert_eq!(index.join(&id(n), &room(&other.to_string())), n == other + 1));
        }
        // Slots become free between others.
        (0..40).for_each(|n| assert_eq!(index.leave(&id(n), &room("7")), n == 39));
        let mut visited = BTreeMap::new();
        for first in (0..).step_by(6) {
            let Some(rooms) = index.rooms_in_slots(first..first + 6) else { break };
            for (room, members) in rooms {
                assert_eq!(visited.insert(room.to_string(), members), None, "{room}");
            }
        }
        let expected =
            (0..39).filter(|n| *n != 7).map(|n: u8| (n.to_string(), usize::from(39 - n))).collect();
        assert_eq!(visited, expected);
    }

    #[test]
    fn the_own_room_is_neither_joined_nor_left() {
        let mut rooms = four();
        let own = room(&id(1).to_string());
        assert!(!rooms.join(&id(1), &own));
        assert_eq!(rooms.entry(&own), None);
        assert!(!rooms.leave(&id(1), &own));
        assert!(rooms.is_in(&id(1), &own));
        assert_eq!(rooms.rooms_of(&id(1)).collect::<Vec<_>>(), [&room("a")]);
    }

    #[test]
    fn a_second_own_room_is_as_the_first_until_it_is_taken_back() {
        for second in [room("/rooms#secret"), Room::Own(id(9))] {
            let mut rooms = four();
            rooms.give(&id(1), second.clone());
            let name = second.to_string();
            assert!(!rooms.join(&id(1), &second) && !rooms.leave(&id(1), &second));
            assert!(rooms.is_in(&id(1), &second) && !rooms.is_in(&id(2), &second));
            assert_eq!(rooms.rooms_of(&id(1)).collect::<Vec<_>>(), [&room("a")], "it is in no list");
            assert_eq!((rooms.rooms(), rooms.size(&second)), (2, 1));
            assert_eq!(selected(&rooms, &select(&[&name], &[])), [1]);
            assert_eq!(selected(&rooms, &select(&["a", &name], &[])), [1, 2]);
            assert_eq!(selected(&rooms, &select(&["a"], &[&name])), [2]);
            assert!(rooms.join(&id(2), &second));
            assert_eq!(selected(&rooms, &select(&[&name], &[])), [1, 2]);
            rooms.remove(&id(1));
            rooms.insert(id(5), 5);
            rooms.take_back(&second);
            assert_eq!(selected(&rooms, &select(&[&name], &[])), [2]);
        }
    }

    #[test]
    fn another_socket_may_join_a_room_named_as_an_id() {
        let mut rooms = four();
        let own = id(1).to_string();
        assert!(rooms.join(&id(2), &room(&own)));
        assert_eq!(selected(&rooms, &select(&[&own], &[])), [1, 2]);
        assert_eq!(selected(&rooms, &select(&[], &[&own])), [3, 4]);
    }

    #[test]
    fn a_socket_that_is_gone_joins_nothing() {
        let mut rooms = four();
        rooms.remove(&id(1));
        assert!(!rooms.join(&id(1), &room("ghost")));
        assert_eq!(rooms.entry(&room("ghost")), None);
        assert!(!rooms.is_in(&id(1), &Room::Own(id(1))));
    }

    /// What an index of rooms is, without thinking of speed.
    #[derive(Default)]
    struct Model(BTreeMap<u8, BTreeSet<String>>);

    impl Model {
        fn is_in(&self, n: u8, name: &str) -> bool {
            self.0.get(&n).is_some_and(|rooms| name == id(n).to_string() || rooms.contains(name))
        }

        fn has(&self, name: &str) -> bool {
            self.0.values().any(|rooms| rooms.contains(name))
        }

        fn exists(&self, name: &str) -> bool {
            self.has(name) || self.0.keys().any(|n| name == id(*n).to_string())
        }

        fn selected(&self, Selection { rooms, except }: &Selection) -> Vec<u8> {
            let in_any = |n: u8, names: &[Room]| names.iter().any(|name| self.is_in(n, &name.to_string()));
            let chosen = |n: &u8| (rooms.is_empty() || in_any(*n, rooms)) && !in_any(*n, except);
            self.0.keys().copied().filter(chosen).collect()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8),
        Remove(u8),
        Join(u8, String),
        Leave(u8, String),
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[a-d]", 1 => (0u8..6).prop_map(|n| id(n).to_string())]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0u8..6).prop_map(Step::Insert),
            1 => (0u8..6).prop_map(Step::Remove),
            6 => (0u8..6, name()).prop_map(|(n, name)| Step::Join(n, name)),
            3 => (0u8..6, name()).prop_map(|(n, name)| Step::Leave(n, name)),
        ]
    }

    fn run(rooms: &mut RoomIndex<u8>, model: &mut Model, step: Step) {
        match step {
            Step::Insert(n) => {
                assert_eq!(rooms.insert(id(n), n), model.0.insert(n, BTreeSet::new()).map(|_| n));
            }
            Step::Remove(n) => {
                let left = model.0.remove(&n);
                let emptied = rooms.remove(&id(n)).map(|(_, emptied)| emptied);
                let emptied = emptied.map(|names| names.iter().map(|name| name.to_string()).collect());
                let expected = left.map(|mut left| {
                    left.retain(|name| !model.has(name));
                    left
                });
                assert_eq!(emptied, expected);
            }
            Step::Join(n, name) => {
                let known = model.0.contains_key(&n) && name != id(n).to_string();
                assert_eq!(rooms.join(&id(n), &room(&name)), known && !model.has(&name));
                if known {
                    model.0.entry(n).or_default().insert(name);
                }
            }
            Step::Leave(n, name) => {
                let left = model.0.get_mut(&n).is_some_and(|rooms| rooms.remove(&name));
                assert_eq!(rooms.leave(&id(n), &room(&name)), left && !model.has(&name));
            }
        }
    }

    proptest! {
        #[test]
        fn the_index_behaves_like_a_list_of_sets(
            steps in proptest::collection::vec(step(), 0..100),
            to in proptest::collection::vec(name(), 0..4),
            except in proptest::collection::vec(name(), 0..3),
        ) {
            let (mut rooms, mut model) = (RoomIndex::new(), Model::default());
            let selection = Selection {
                rooms: to.iter().map(|name| room(name)).collect(),
                except: except.iter().map(|name| room(name)).collect(),
            };
            for step in steps {
                run(&mut rooms, &mut model, step);
                prop_assert_eq!(selected(&rooms, &selection), model.selected(&selection));
                prop_assert_eq!(rooms.count(&selection), model.selected(&selection).len());
                prop_assert_eq!(rooms.len(), model.0.len());
                for name in &to {
                    let all = Selection { rooms: [room(name)].into_iter().collect(), ..Selection::default() };
                    prop_assert_eq!(rooms.size(&room(name)), model.selected(&all).len());
                }
                prop_assert!((0..6).all(|n| rooms.get(&id(n)) == model.0.contains_key(&n).then_some(&n)));
                for (n, joined) in &model.0 {
                    let found: BTreeSet<_> = rooms.rooms_of(&id(*n)).map(|name| name.to_string()).collect();
                    prop_assert_eq!(&found, joined);
                    prop_assert!(joined.iter().all(|name| rooms.is_in(&id(*n), &room(name))));
                    for name in &to {
                        let (exists, member) = (model.exists(name), model.is_in(*n, name));
                        prop_assert_eq!(rooms.standing(&id(*n), &room(name)), Standing { exists, member });
                    }
                }
                let found: BTreeSet<_> = rooms.rooms.iter().map(|(_, entry)| entry.name.to_string()).collect();
                let expected: BTreeSet<_> = model.0.values().flatten().cloned().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
