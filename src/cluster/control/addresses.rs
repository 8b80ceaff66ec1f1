//! Where a node is dialled, and whether what it says about that is true.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// The addresses of another node, and what came of the one that it advertises.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// What it told this node in a hello.
    told: Option<SocketAddr>,
    /// What it tells everybody by gossip.
    heard: Option<SocketAddr>,
    /// Where another member reaches it.
    named: Option<SocketAddr>,
    /// Where its packets come from.
    seen: Option<SocketAddr>,
    /// How many dials failed: each of the addresses has its turn.
    turn: usize,
    proof: Proof,
}

/// Whether a node is reached at the address that it told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// It told none, or its packets come from there.
    #[default]
    NotNeeded,
    Due {
        at: Instant,
        tries: u32,
    },
    Running {
        tries: u32,
    },
    Given,
    Refuted,
}

impl Addresses {
    /// What another member says about a node.
    pub(crate) fn named(address: Option<SocketAddr>) -> Self {
        Self { named: address, ..Self::default() }
    }

    /// The node has a direct link to this one, and its packets come from `seen`. It is dialled back once at the address that
    /// it told, if that is another.
    pub(crate) fn handle_hello(&mut self, told: Option<SocketAddr>, seen: SocketAddr, now: Instant) {
        let known = (self.told, self.proof);
        (self.told, self.seen, self.turn) = (told, Some(seen), 0);
        self.proof = match known {
            _ if told.is_none_or(|told| told == seen) => Proof::NotNeeded,
            (before, proof) if before == told && proof != Proof::NotNeeded => proof,
            _ => Proof::Due { at: now, tries: 0 },
        };
    }

    /// The node said this to everybody.
    pub(crate) fn handle_heard(&mut self, address: Option<SocketAddr>) {
        self.heard = address.or(self.heard);
    }

    /// Another member reaches the node there.
    pub(crate) fn handle_named(&mut self, address: Option<SocketAddr>) {
        self.named = address.or(self.named);
    }

    /// Another life of the node lives there. Its other addresses are tried after that one.
    pub(crate) fn handle_moved(&mut self, address: SocketAddr) {
        *self = Self {
            told: Some(address),
            heard: self.told,
            named: self.named,
            seen: self.seen,
            ..Self::default()
        };
    }

    /// Where to dial next.
    pub(crate) fn current(&self) -> Option<SocketAddr> {
        let all = self.all();
        all.get(self.turn.checked_rem(all.len())?).copied()
    }

    pub(crate) fn handle_dial_failed(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// What the node says about itself.
    pub(crate) fn advertised(&self) -> Option<SocketAddr> {
        self.told.or(self.heard).or(self.named)
    }

    /// Every address once, the best one first.
    pub(crate) fn all(&self) -> Vec<SocketAddr> {
        let mut order = [self.told, self.heard, self.named, self.seen];
        match self.proof {
            Proof::NotNeeded | Proof::Given => {}
            // What it told is not certain yet: others are told where its packets come from, which is.
            Proof::Due { .. } | Proof::Running { .. } => order.rotate_right(1),
            // The node is reached where its packets come from, if anywhere.
            Proof::Refuted => order.reverse(),
        }
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in order.into_iter().flatten() {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// The address to prove now, by a dial that [`handle_proved`](Self::handle_proved) hears of.
    pub(crate) fn begin_proof(&mut self, now: Instant) -> Option<SocketAddr> {
        let Proof::Due { at, tries } = self.proof else { return None };
        let address = self.told.filter(|_| now >= at)?;
        self.proof = Proof::Running { tries: tries + 1 };
        Some(address)
    }

    /// Whether the node is to be dialled back, now or in a while.
    pub(crate) fn is_proof_due(&self) -> bool {
        matches!(self.proof, Proof::Due { .. })
    }

    /// What came of the dial at the told address: the node answered, somebody else did, or nobody (`None`). Returns whether
    /// it is certain now that the node is not reached there.
    pub(crate) fn handle_proved(&mut self, is_there: Option<bool>, now: Instant) -> bool {
        let Proof::Running { tries } = self.proof else { return false };
        self.proof = match is_there {
            Some(true) => Proof::Given,
            None if tries < TRIES => Proof::Due { at: now + PAUSE, tries },
            Some(false) | None => Proof::Refuted,
        };
        self.proof == Proof::Refuted
    }
}

/// A dial may fail because one of the two machines is busy.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7946))
    }

    #[test]
    fn an_address_from_which_packets_come_needs_no_proof() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        addresses.handle_hello(Some(address(1)), address(1), now);
        assert_eq!(addresses.begin_proof(now), None);
        addresses.handle_hello(None, address(1), now);
        assert_eq!((addresses.begin_proof(now), addresses.current()), (None, Some(address(1))));
    }

    #[test]
    fn another_address_is_dialled_back_once_and_again_only_when_nobody_answers() {
        let (mut addresses, now) = (Addresses::default(), Instant::now());
        addresses.handle_hello(Some(address(1)), address(2), now);
        for _ in 1..TRIES {
            assert_eq!(addresses.begin_proof(now + PAUSE), Some(address(1)));
            assert_eq!(addresses.begin_proof(now + PAUSE), None, "one dial at a time");
            assert!(!addresses.handle_proved(None, now));
        }
        assert_eq!(addresses.begin_proof(now + PAUSE), Some(address(1)));
        assert!(addresses.handle_proved(None, now));
        addresses.handle_hello(Some(address(1)), address(2), now);
        assert_eq!(addresses.begin_proof(now + PAUSE), None, "a new link changes nothing");
        assert_eq!(addresses.all(), [address(2), address(1)]);
        addresses.handle_hello(Some(address(3)), address(2), now);
        assert_eq!(addresses.begin_proof(now), Some(address(3)));
        assert!(addresses.handle_proved(Some(false), now), "somebody else answers there");
    }

    #[test]
    fn each_address_has_its_turn() {
        let (mut addresses, now) = (Addresses::named(Some(address(9))), Instant::now());
        addresses.handle_heard(Some(address(1)));
        addresses.handle_hello(Some(address(1)), address(2), now);
        let dialled: Vec<_> = (0..4)
            .map(|_| {
                let current = addresses.current().unwrap();
                addresses.handle_dial_failed();
                current
            })
            .collect();
        assert_eq!(dialled, [address(2), address(1), address(9), address(2)], "what is certain comes first");
        assert_eq!(Addresses::default().current(), None);
    }
}
