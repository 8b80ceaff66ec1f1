//! The record of all emits and receives, and the check of the promises.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// A client, from its connection to the end of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Life(pub usize);

/// Everything that happened in a run.
#[derive(Debug, Default)]
pub struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    clients: Vec<Client>,
    /// The last number that one client received from another.
    runs: HashMap<(Life, Life), u64>,
    /// The time until which a node that was paused for too long may miss packets.
    lenient: HashMap<usize, Instant>,
    received: u64,
    violations: Vec<String>,
    hushed: bool,
}

#[derive(Debug)]
struct Client {
    node: usize,
    /// Numbers it has emitted: 0 to this, exclusively.
    emitted: u64,
    alive: bool,
    /// For each sender at the time of the join: what came after must arrive. Empty until then.
    floors: Vec<u64>,
    joined: bool,
}

impl History {
    /// A client connected to a node.
    pub fn born(&self, node: usize) -> Life {
        self.with(|state| {
            let client = Client { node, emitted: 0, alive: true, floors: Vec::new(), joined: false };
            state.clients.push(client);
            Life(state.clients.len() - 1)
        })
    }

    /// Records that the join of a client was acknowledged. Everything emitted from now on must reach it.
    pub fn joined(&self, life: Life) {
        self.with(|state| {
            let floors = state.clients.iter().map(|client| client.emitted).collect();
            if let Some(client) = state.clients.get_mut(life.0) {
                (client.floors, client.joined) = (floors, true);
            }
        });
    }

    /// All clients of a node ended with it.
    pub fn node_died(&self, node: usize) {
        self.with(|state| {
            state
                .clients
                .iter_mut()
                .filter(|client| client.node == node)
                .for_each(|client| client.alive = false);
        });
    }

    /// Records that a node is paused. A pause of up to 2 s loses nothing; after a longer one the node may miss what its
    /// peers gave up on.
    pub fn disturbed(&self, node: usize, pause: Duration) {
        if pause > HARMLESS {
            self.with(|state| state.lenient.insert(node, Instant::now() + pause + RECOVERY));
        }
    }

    /// The next number that a client emits; `None` after the end of all emits.
    pub fn next_number(&self, life: Life) -> Option<u64> {
        self.with(|state| {
            let hushed = state.hushed;
            let client = state.clients.get_mut(life.0).filter(|_| !hushed)?;
            client.emitted += 1;
            Some(client.emitted - 1)
        })
    }

    /// A client received what another emitted.
    pub fn receive(&self, by: Life, from: Life, number: u64) {
        self.with(|state| {
            state.received += 1;
            if let Some(violation) = state.receive(by, from, number) {
                state.violations.push(violation);
            }
        });
    }

    /// Ends all emits.
    pub fn hush(&self) {
        self.with(|state| state.hushed = true);
    }

    /// How many packets arrived so far.
    pub fn received(&self) -> u64 {
        self.with(|state| state.received)
    }

    /// Records another violation.
    pub fn violation(&self, what: String) {
        self.with(|state| state.violations.push(what));
    }

    /// The number of packets that arrived, and every promise that was broken.
    pub fn verdict(&self) -> (u64, Vec<String>) {
        self.with(|state| {
            state.check_the_end();
            (state.received, std::mem::take(&mut state.violations))
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn receive(&mut self, by: Life, from: Life, number: u64) -> Option<String> {
        let lenient = self.is_lenient(by) || self.is_lenient(from);
        let last = self.runs.insert((by, from), number);
        let pair = format!("client {} from client {}", by.0, from.0);
        if let Some(last) = last.filter(|last| number <= *last) {
            return Some(format!("{pair}: {number} again or late, after {last}"));
        }
        // A packet emitted before the join was acknowledged may arrive, but does not have to.
        let owed = self.floor(by, from)?.max(last.map_or(0, |last| last + 1));
        (owed < number && !lenient).then(|| format!("{pair}: {owed} to {} are lost", number - 1))
    }

    /// The first number that must reach a client; `None` before it joined. From a sender that connected later, all numbers
    /// must.
    fn floor(&self, by: Life, from: Life) -> Option<u64> {
        let client = self.clients.get(by.0).filter(|client| client.joined)?;
        Some(client.floors.get(from.0).copied().unwrap_or(0))
    }

    fn is_lenient(&self, life: Life) -> bool {
        let until = self.clients.get(life.0).and_then(|client| self.lenient.get(&client.node));
        until.is_some_and(|until| Instant::now() < *until)
    }

    /// Between clients that are both alive, everything has arrived.
    fn check_the_end(&mut self) {
        let alive: Vec<usize> = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.alive)
            .map(|(life, _)| life)
            .collect();
        for &by in &alive {
            for &from in alive.iter().filter(|from| **from != by) {
                let emitted = self.clients.get(from).map_or(0, |client| client.emitted);
                let got = self.runs.get(&(Life(by), Life(from))).map_or(0, |last| last + 1);
                let floor = self.floor(Life(by), Life(from)).unwrap_or(0);
                if got.max(floor) < emitted {
                    self.violations
                        .push(format!("client {by} from client {from}: {got} to {} never came", emitted - 1));
                }
            }
        }
    }
}

/// A pause that the replay log and the failure detector bridge.
const HARMLESS: Duration = Duration::from_secs(2);
/// The time in which a node is declared dead after a longer pause, returns, and is linked again.
const RECOVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clients of two nodes; the second has joined, the first emitted five numbers since.
    fn pair() -> (History, Life, Life) {
        let history = History::default();
        let (sender, receiver) = (history.born(0), history.born(1));
        history.joined(receiver);
        history.joined(sender);
        (0..5).for_each(|number| assert_eq!(history.next_number(sender), Some(number)));
        (history, sender, receiver)
    }

    fn received(numbers: &[u64]) -> Vec<String> {
        let (history, sender, receiver) = pair();
        numbers.iter().for_each(|number| history.receive(receiver, sender, *number));
        history.verdict().1
    }

    #[test]
    fn everything_in_order_breaks_nothing() {
        assert_eq!(received(&[0, 1, 2, 3, 4]), [""; 0]);
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        for (numbers, found) in [
            (&[1, 2, 3, 4][..], "client 1 from client 0: 0 to 0 are lost"),
            (&[0, 1, 3, 4], "client 1 from client 0: 2 to 2 are lost"),
            (&[0, 1, 1, 2, 3, 4], "client 1 from client 0: 1 again or late, after 1"),
            (&[0, 2, 1, 3, 4], "client 1 from client 0: 1 again or late, after 2"),
            (&[0, 1, 2], "client 1 from client 0: 3 to 4 never came"),
            (&[], "client 1 from client 0: 0 to 4 never came"),
        ] {
            assert!(
                received(numbers).iter().any(|violation| violation == found),
                "{numbers:?}: {:?}",
                received(numbers)
            );
        }
    }

    #[test]
    fn a_sender_that_died_owes_nothing_more() {
        let (history, sender, receiver) = pair();
        history.receive(receiver, sender, 0);
        history.node_died(0);
        assert_eq!(history.verdict().1, [""; 0]);
    }
}
