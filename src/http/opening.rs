//! The connections that have not brought their first request: bounded, and shared among client addresses.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::counter::Counter;
use crate::per_address::ClientAddress;

/// Places for connections that are opening. When all are taken, the oldest one of the address that has most of them is given
/// up for the next one: who opens connections and says nothing pushes out itself, and needs many addresses to push out others.
#[derive(Debug)]
pub(crate) struct OpeningConnections {
    most: usize,
    places: Mutex<Places>,
    given_up: Arc<Counter>,
}

#[derive(Debug, Default)]
struct Places {
    /// The places of each address, oldest first.
    by_address: HashMap<ClientAddress, BTreeMap<u64, CancellationToken>>,
    taken: usize,
    next: u64,
}

/// The place of one connection. Dropping it leaves it.
#[derive(Debug)]
pub(crate) struct OpeningPlace {
    of: Arc<OpeningConnections>,
    address: ClientAddress,
    number: u64,
    given_up: CancellationToken,
    left: AtomicBool,
}

impl OpeningConnections {
    /// `most` at once. Those that are given up are counted.
    pub(crate) fn new(most: usize, given_up: Arc<Counter>) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), places: Mutex::default(), given_up })
    }

    /// Takes a place, if need be from another connection.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> OpeningPlace {
        let (address, given_up) = (ClientAddress::from(address), CancellationToken::new());
        let mut places = self.places.lock();
        if places.taken >= self.most && places.give_up() {
            self.given_up.increment();
        }
        let number = places.next;
        places.next += 1;
        places.taken += 1;
        places.by_address.entry(address).or_default().insert(number, given_up.clone());
        OpeningPlace { of: Arc::clone(self), address, number, given_up, left: AtomicBool::new(false) }
    }

    /// Gives up a connection for the sake of what it holds. Returns whether there was one.
    pub(crate) fn give_up(&self) -> bool {
        let given_up = self.places.lock().give_up();
        if given_up {
            self.given_up.increment();
        }
        given_up
    }
}

impl Places {
    fn give_up(&mut self) -> bool {
        let busiest = self.by_address.iter().max_by_key(|(_, places)| places.len());
        let Some((address, number)) =
            busiest.and_then(|(address, places)| Some((*address, *places.first_key_value()?.0)))
        else {
            return false;
        };
        self.remove(address, number).inspect(CancellationToken::cancel).is_some()
    }

    fn remove(&mut self, address: ClientAddress, number: u64) -> Option<CancellationToken> {
        let places = self.by_address.get_mut(&address)?;
        let removed = places.remove(&number)?;
        if places.is_empty() {
            self.by_address.remove(&address);
        }
        self.taken -= 1;
        Some(removed)
    }
}

impl OpeningPlace {
    /// Resolves when the place is needed for another connection: this one has to end.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// The connection is open.
    pub(crate) fn leave(&self) {
        if !self.left.swap(true, Ordering::Relaxed) {
            let _given_up = self.of.places.lock().remove(self.address, self.number);
        }
    }
}

impl Drop for OpeningPlace {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(most: usize) -> Arc<OpeningConnections> {
        OpeningConnections::new(most, Arc::default())
    }

    #[test]
    fn the_oldest_one_of_the_address_with_most_is_given_up() {
        let opening = opening(4);
        let enter = |last: u8| opening.enter(IpAddr::from([192, 0, 2, last]));
        let (honest, first) = (enter(1), enter(2));
        let (second, third) = (enter(2), enter(2));
        let late = enter(1);
        let is_given_up = |place: &OpeningPlace| place.given_up.is_cancelled();
        assert!(is_given_up(&first) && !is_given_up(&honest) && !is_given_up(&late));
        assert_eq!(opening.given_up.get(), 1);
        drop(late);
        let fourth = enter(2);
        assert!(![&honest, &second, &third, &fourth].into_iter().any(is_given_up), "there was a place");
        honest.leave();
        let fifth = enter(2);
        assert!(![&second, &fifth].into_iter().any(is_given_up));
        assert!(opening.give_up() && is_given_up(&second));
    }

    #[test]
    fn places_that_were_left_or_given_up_leave_no_trace() {
        let opening = opening(2);
        let places: Vec<_> = (0..10).map(|last| opening.enter(IpAddr::from([192, 0, 2, last]))).collect();
        places.iter().for_each(OpeningPlace::leave);
        drop(places);
        let state = opening.places.lock();
        assert!(state.by_address.is_empty() && state.taken == 0);
        drop(state);
        assert!(!opening.give_up());
    }
}
