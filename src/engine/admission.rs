//! Who may open a session: as many as the node has room for, and of one client address as many and as often as it may.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::Config;
use crate::per_address::{ClientAddress, PerAddress, Share};

/// The sessions of a node, those that the application is still asked about included.
#[derive(Debug)]
pub(crate) struct Admission {
    most: usize,
    taken: AtomicUsize,
    per_address: Option<Arc<PerAddress>>,
    rate: Option<HandshakeRate>,
}

/// The place of one session. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    _share: Option<Share>,
}

/// Why a client may not open a session now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// The node has as many sessions as it may.
    NodeIsFull,
    /// The address of the client has as many as it may.
    AddressIsFull,
    /// The address asks too often.
    TooOften,
}

impl NotAdmitted {
    /// The reason, for the client and the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NodeIsFull => "this node has as many sessions as it may",
            Self::AddressIsFull => "this address has as many sessions as it may",
            Self::TooOften => "this address opens sessions too often",
        }
    }
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            most: config.max_sessions,
            taken: AtomicUsize::new(0),
            per_address: config.max_sessions_per_address.map(PerAddress::new),
            rate: config.max_handshakes_per_address.map(HandshakeRate::new),
        })
    }

    /// Takes a place for a client, whose address may be unknown: then only the node's own limit counts.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Place, NotAdmitted> {
        if let (Some(rate), Some(address)) = (&self.rate, address)
            && !rate.allows(address.into(), now)
        {
            return Err(NotAdmitted::TooOften);
        }
        let share = match (&self.per_address, address) {
            (Some(limit), Some(address)) => Some(limit.take(address).ok_or(NotAdmitted::AddressIsFull)?),
            _ => None,
        };
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_full| NotAdmitted::NodeIsFull)?;
        Ok(Place { admission: Arc::clone(self), _share: share })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often each address may ask: a number in a second, also all at once (GCRA, as in ITU-T I.371).
#[derive(Debug)]
struct HandshakeRate {
    pause: Duration,
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    /// When an address that asks no more has its whole second back.
    settled: HashMap<ClientAddress, Instant>,
    /// At how many addresses those that are settled are forgotten.
    sweep_at: usize,
}

impl HandshakeRate {
    fn new(per_second: u32) -> Self {
        let recent = Mutex::new(Recent { settled: HashMap::new(), sweep_at: SWEEP });
        Self { pause: BURST / per_second.max(1), recent }
    }

    fn allows(&self, address: ClientAddress, now: Instant) -> bool {
        let mut recent = self.recent.lock();
        if recent.settled.len() >= recent.sweep_at {
            recent.settled.retain(|_, settled| *settled > now);
            recent.sweep_at = SWEEP.max(2 * recent.settled.len());
        }
        let settled = recent.settled.get(&address).copied().unwrap_or(now).max(now) + self.pause;
        let allowed = settled <= now + BURST;
        if allowed {
            recent.settled.insert(address, settled);
        }
        allowed
    }
}

/// What an address may ask for within this time it may ask for at once.
const BURST: Duration = Duration::from_secs(1);

/// Up to so many addresses are remembered longer than necessary.
const SWEEP: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_node_and_an_address_have_so_many_sessions_and_places_come_back() {
        let config = Config::default().max_sessions(3).max_sessions_per_address(2);
        let (admission, now) = (Admission::new(&config), Instant::now());
        let admit = |address| admission.admit(address, now);
        let first = admit(address(1)).unwrap();
        let second = admit(address(1)).unwrap();
        assert_eq!(admit(address(1)).unwrap_err(), NotAdmitted::AddressIsFull);
        let unknown = admit(None).unwrap();
        assert_eq!(admit(address(2)).unwrap_err(), NotAdmitted::NodeIsFull);
        drop(unknown);
        let other = admit(address(2)).unwrap();
        drop((first, second, other));
        assert_eq!(admission.taken.load(Ordering::Relaxed), 0);
        assert!(admit(address(1)).is_ok(), "a refusal keeps no share");
    }

    #[test]
    fn an_address_may_ask_so_often_in_a_second_and_others_are_not_touched() {
        let config = Config::default().max_handshakes_per_address(4);
        let (admission, start) = (Admission::new(&config), Instant::now());
        let asks = |last, millis| {
            let now = start + Duration::from_millis(millis);
            admission.admit(address(last), now).err()
        };
        let too_often = Some(NotAdmitted::TooOften);
        assert_eq!([(); 6].map(|()| asks(1, 0)), [None, None, None, None, too_often, too_often]);
        assert_eq!(asks(2, 0), None);
        assert_eq!([asks(1, 240), asks(1, 250), asks(1, 251)], [too_often, None, too_often]);
        assert_eq!([(); 5].map(|()| asks(1, 5000)), [None, None, None, None, too_often]);
    }

    #[test]
    fn addresses_that_ask_no_more_are_forgotten() {
        let (rate, start) = (HandshakeRate::new(10), Instant::now());
        for number in 0..100_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            assert!(rate.allows(address.into(), start + Duration::from_millis(number.into())));
        }
        assert!(rate.recent.lock().settled.len() <= SWEEP);
    }
}
