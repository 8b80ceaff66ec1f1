//! Counts by client address, for what one address may have only so much of.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// What counts as one client address: an address of IPv4, or the network of 64 bits that a client of IPv6 has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(IpAddr);

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & NETWORK).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// How much each client address has of something.
#[derive(Debug)]
pub(crate) struct PerAddress {
    most: usize,
    taken: Mutex<HashMap<ClientAddress, usize>>,
}

/// One of those that an address may have. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<PerAddress>,
    address: ClientAddress,
}

impl PerAddress {
    /// Each address may have `most`.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// One more for an address, unless it has as many as it may.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = ClientAddress::from(address);
        let mut all = self.taken.lock();
        let taken = all.entry(address).or_default();
        if *taken < self.most {
            *taken += 1;
            return Some(Share { of: Arc::clone(self), address });
        }
        if *taken == 0 {
            all.remove(&address);
        }
        None
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.of.taken.lock();
        if let Some(taken) = all.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.address);
            }
        }
    }
}

const NETWORK: u128 = !0 << 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_leaves_no_trace_when_it_has_none() {
        let limit = PerAddress::new(2);
        let address = |text: &str| text.parse().unwrap();
        let first = limit.take(address("2001:db8::1")).unwrap();
        let second = limit.take(address("2001:db8::2")).unwrap();
        assert!(limit.take(address("2001:db8::3")).is_none(), "it is the same network");
        assert!(limit.take(address("2001:db8:0:1::3")).is_some());
        let mapped = [limit.take(address("::ffff:192.0.2.1")), limit.take(address("192.0.2.1"))];
        assert!(limit.take(address("192.0.2.1")).is_none() && limit.take(address("192.0.2.2")).is_some());
        drop((first, mapped));
        assert!(limit.take(address("2001:db8::3")).is_some());
        drop(second);
        assert!(limit.taken.lock().is_empty());
        assert!(PerAddress::new(0).take(address("192.0.2.1")).is_none());
    }
}
