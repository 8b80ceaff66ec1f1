//! Who connects where, and who sends to whom. No I/O.

use std::sync::Arc;

use crate::options::{Common, Direct, Room, Scenario};

/// All clients of a run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) clients: Vec<Planned>,
    pub(crate) sources: Vec<Source>,
    pub(crate) rooms: usize,
}

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    /// The number of its address.
    pub(crate) home: usize,
    /// The number of its thread.
    pub(crate) thread: usize,
    pub(crate) role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Does nothing.
    Idle,
    /// Connects and leaves, again and again.
    Storm,
    /// Has joined the room of that number.
    Member(usize),
    /// The same, and reads nothing any more.
    Stuck(usize),
    /// Is sent to by the source of that number.
    Receiver(usize),
    /// Sends.
    Source(usize),
}

/// One that sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) home: usize,
    pub(crate) to: To,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// To one room after the other.
    Rooms(Vec<usize>),
    /// To the receiver of the same number.
    Receiver,
    /// To the server, which acknowledges.
    Itself,
}

/// Where a client connects, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) common: Arc<Common>,
    pub(crate) home: usize,
}

impl Plan {
    /// # Errors
    /// What is asked for cannot be done.
    pub(crate) fn new(scenario: &Scenario) -> Result<Self, String> {
        let common = scenario.common();
        let (servers, threads) = (common.servers.len(), usize::from(common.threads));
        let spread = |count: usize, role: fn(usize) -> Role| {
            let client = move |number| {
                let (home, thread) = (number % servers, number / servers % threads);
                Planned { home, thread, role: role(number) }
            };
            (0..count).map(client).collect::<Vec<_>>()
        };
        let plan = match scenario {
            Scenario::Idle(idle) => Self { clients: spread(idle.clients, |_| Role::Idle), ..Self::default() },
            Scenario::Storm(storm) => {
                Self { clients: spread(storm.clients, |_| Role::Storm), ..Self::default() }
            }
            Scenario::Room(room) => Self::rooms(room, servers, threads)?,
            Scenario::Direct(direct) => Self::pairs(direct, servers, threads),
            Scenario::Echo(echo) => {
                let clients = spread(echo.clients, Role::Source);
                let source = |client: &Planned| Source { home: client.home, to: To::Itself };
                let sources = clients.iter().map(source).collect();
                Self { clients, sources, rooms: 0 }
            }
        };
        if plan.sources.len() > usize::from(u16::MAX) {
            return Err(format!("there are at most {} senders", u16::MAX));
        }
        Ok(plan)
    }

    fn rooms(asked: &Room, servers: usize, threads: usize) -> Result<Self, String> {
        if asked.rooms == 0 || asked.senders == 0 || asked.clients < asked.rooms {
            return Err("there is at least one room, a member for each, and one sender".to_owned());
        }
        let (members_at, senders_at) =
            (some_of(&asked.members_at, servers)?, some_of(&asked.senders_at, servers)?);
        let mut plan = Self { rooms: asked.rooms, ..Self::default() };
        for number in 0..asked.clients {
            let (room, place) = match asked.whole {
                true => (number % asked.rooms, number % asked.rooms),
                false => (number / members_at.len() % asked.rooms, number),
            };
            // Where there are rooms enough, all members of one are of one thread, and so is who sends to it.
            let thread = if asked.rooms < threads { number / members_at.len() } else { room } % threads;
            let stuck = number * asked.stuck / 100 != (number + 1) * asked.stuck / 100;
            let role = if stuck { Role::Stuck(room) } else { Role::Member(room) };
            plan.clients.push(Planned { home: at(&members_at, place), thread, role });
        }
        for number in 0..asked.senders {
            let home = at(&senders_at, number);
            let rooms = match asked.rooms {
                few if few < asked.senders => vec![number % few],
                many => (number..many).step_by(asked.senders).collect(),
            };
            plan.clients.push(Planned { home, thread: number % threads, role: Role::Source(number) });
            plan.sources.push(Source { home, to: To::Rooms(rooms) });
        }
        Ok(plan)
    }

    fn pairs(asked: &Direct, servers: usize, threads: usize) -> Self {
        let last = if asked.whole { 0 } else { servers.saturating_sub(1) };
        let client = |home, role: fn(usize) -> Role| {
            (0..asked.clients).map(move |number| Planned {
                home,
                thread: number % threads,
                role: role(number),
            })
        };
        let clients = client(last, Role::Receiver).chain(client(0, Role::Source)).collect();
        let sources = (0..asked.clients).map(|_| Source { home: 0, to: To::Receiver }).collect();
        Self { clients, sources, rooms: 0 }
    }
}

/// Those addresses that are named, or all.
fn some_of(named: &[usize], servers: usize) -> Result<Vec<usize>, String> {
    match named.iter().find(|number| **number >= servers) {
        Some(number) => Err(format!("there is no address number {number}; they count from 0")),
        None if named.is_empty() => Ok((0..servers).collect()),
        None => Ok(named.to_vec()),
    }
}

fn at(places: &[usize], number: usize) -> usize {
    places.get(number % places.len().max(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        scenario: Scenario,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let line = Line::try_parse_from(std::iter::once("load").chain(words)).expect("a valid line");
        Plan::new(&line.scenario)
    }

    fn homes(plan: &Plan, room: usize) -> Vec<usize> {
        let here =
            |client: &&Planned| matches!(client.role, Role::Member(it) | Role::Stuck(it) if it == room);
        plan.clients.iter().filter(here).map(|client| client.home).collect()
    }

    #[test]
    fn the_members_of_a_room_are_spread_over_all_addresses_or_are_all_at_one() {
        let spread = plan("room --clients 8 --rooms 2 127.0.0.1:1 127.0.0.1:2").unwrap();
        assert_eq!((homes(&spread, 0), homes(&spread, 1)), (vec![0, 1, 0, 1], vec![0, 1, 0, 1]));
        let whole = plan("room --clients 8 --rooms 2 --whole 127.0.0.1:1 127.0.0.1:2").unwrap();
        assert_eq!((homes(&whole, 0), homes(&whole, 1)), (vec![0; 4], vec![1; 4]));
        let few =
            plan("room --clients 4 --members-at 1,2 --senders-at 2 127.0.0.1:1 127.0.0.1:2 127.0.0.1:3");
        let few = few.unwrap();
        assert_eq!(homes(&few, 0), [1, 2, 1, 2]);
        assert!(few.sources.iter().all(|source| source.home == 2));
    }

    #[test]
    fn senders_share_the_rooms_and_one_room_has_them_all() {
        let of = |line| plan(line).unwrap().sources.into_iter().map(|source| source.to).collect::<Vec<_>>();
        assert_eq!(of("room --clients 9 --rooms 3 127.0.0.1:1"), [To::Rooms(vec![0, 2]), To::Rooms(vec![1])]);
        assert_eq!(of("room --clients 9 127.0.0.1:1"), [To::Rooms(vec![0]), To::Rooms(vec![0])]);
    }

    #[test]
    fn one_of_ten_members_is_stuck() {
        let plan = plan("room --clients 100 --stuck 10 127.0.0.1:1").unwrap();
        let stuck = plan.clients.iter().filter(|client| matches!(client.role, Role::Stuck(_)));
        assert_eq!(stuck.count(), 10);
    }

    #[test]
    fn pairs_cross_from_the_first_address_to_the_last() {
        let plan = plan("direct --clients 2 127.0.0.1:1 127.0.0.1:2 127.0.0.1:3").unwrap();
        let homes: Vec<_> = plan.clients.iter().map(|client| (client.role, client.home)).collect();
        let expected =
            [(Role::Receiver(0), 2), (Role::Receiver(1), 2), (Role::Source(0), 0), (Role::Source(1), 0)];
        assert_eq!(homes, expected);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for line in [
            "room --rooms 0 127.0.0.1:1",
            "room --senders 0 127.0.0.1:1",
            "room --clients 2 --rooms 3 127.0.0.1:1",
            "room --members-at 1 127.0.0.1:1",
            "echo --clients 70000 127.0.0.1:1",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
    }
}
