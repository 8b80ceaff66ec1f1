//! Where a cluster is looked for: the seeds of the configuration and what their names stand for.
//!
//! An address is not a node: that of a service or of a balancer leads to any of them, to this one too. Such an address is
//! asked again and again, and never says that this node is alone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::jitter::Jitter;
use super::lookup::{Lookup, LookupError};
use crate::cluster::address::canonical;
use crate::id::NodeId;

/// The seeds of this node.
#[derive(Debug)]
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    /// What the socket of this node is bound to.
    bound: SocketAddr,
    /// Addresses at which this node is bound.
    own: HashSet<SocketAddr>,
    /// Addresses that are not those of the node that answered there last. Each is asked again after that time.
    shared: HashMap<SocketAddr, Shared>,
    jitter: Jitter,
}

#[derive(Debug)]
struct Seed {
    name: String,
    lookup: Lookup,
    /// Whether the name was looked up in vain, or one of its addresses was dialled.
    tried: bool,
    answered: bool,
    /// The nodes that said who they are when they were asked. A link to one of them is an answer.
    named: BTreeSet<NodeId>,
    addresses: Vec<SocketAddr>,
    /// Whether addresses were found that this node's socket cannot reach, and that was said.
    skipped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Shared {
    due: Instant,
    /// This node itself answered there last.
    led_back: bool,
    /// How often somebody, or nobody, has answered there.
    asks: u32,
}

/// What this node is linked with.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// The addresses at which a dial would reach a linked node.
    pub(crate) reached: HashSet<SocketAddr>,
    /// Those of them that are the nodes' own, one for each.
    pub(crate) homes: HashSet<SocketAddr>,
    pub(crate) nodes: BTreeSet<NodeId>,
}

/// What to do with the addresses of a seed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) dial: Vec<SocketAddr>,
    /// To be asked who answers.
    pub(crate) ask: Vec<SocketAddr>,
    /// Addresses that the socket cannot reach. They are told once.
    pub(crate) skipped: Vec<SocketAddr>,
}

impl Seeds {
    /// `own` are the addresses of this node itself, of which its socket is bound to `bound`.
    pub(crate) fn new(
        names: Vec<String>,
        bound: SocketAddr,
        own: impl IntoIterator<Item = SocketAddr>,
        jitter: Jitter,
    ) -> Self {
        let seed = |name| Seed {
            name,
            lookup: Lookup::new(),
            tried: false,
            answered: false,
            named: BTreeSet::new(),
            addresses: Vec::new(),
            skipped: false,
        };
        Self {
            seeds: names.into_iter().map(seed).collect(),
            bound,
            own: own.into_iter().chain([bound]).collect(),
            shared: HashMap::new(),
            jitter,
        }
    }

    /// The seeds to look up now, each with its number. `found`: this node has found its cluster.
    pub(crate) fn begin_lookups(&mut self, found: bool, now: Instant) -> Vec<(usize, String)> {
        let seeds = self.seeds.iter_mut().enumerate();
        let due = seeds
            .filter_map(|(number, seed)| seed.lookup.begin(found, now).then(|| (number, seed.name.clone())));
        due.collect()
    }

    /// A lookup gave no address. It has ended, unless it only takes long.
    pub(crate) fn handle_unresolved(&mut self, number: usize, error: &LookupError, now: Instant) {
        let Some(seed) = self.seeds.get_mut(number) else { return };
        seed.tried = true;
        if *error != LookupError::NoAnswerYet {
            seed.lookup.end(false, now);
            seed.addresses.clear();
        }
    }

    /// A lookup ended. Returns what to do with the addresses.
    pub(crate) fn handle_resolved(
        &mut self,
        number: usize,
        addresses: Vec<SocketAddr>,
        linked: &Linked,
        now: Instant,
    ) -> Calls {
        let Some(seed) = self.seeds.get_mut(number) else { return Calls::default() };
        let addresses = addresses.into_iter().map(canonical);
        let (usable, unusable): (Vec<_>, Vec<_>) =
            addresses.partition(|address| can_reach(self.bound, *address));
        let mut calls = Calls::default();
        if !std::mem::replace(&mut seed.skipped, !unusable.is_empty()) {
            calls.skipped = unusable;
        }
        seed.lookup.end(!usable.is_empty(), now);
        seed.tried |= usable.is_empty();
        seed.answered |= usable.iter().any(|address| linked.reached.contains(address));
        seed.answered |= !seed.named.is_disjoint(&linked.nodes);
        seed.addresses.clone_from(&usable);
        for address in usable {
            if linked.homes.contains(&address) || self.own.contains(&address) {
                continue;
            }
            match self.shared.get(&address) {
                None => calls.dial.push(address),
                Some(shared) if now >= shared.due => calls.ask.push(address),
                Some(_) => {}
            }
        }
        let known: HashSet<_> = self.seeds.iter().flat_map(|seed| &seed.addresses).collect();
        self.shared.retain(|address, _| known.contains(address));
        calls
    }

    /// An address of this seed was dialled, whatever came of it.
    pub(crate) fn handle_tried(&mut self, number: usize) {
        if let Some(seed) = self.seeds.get_mut(number) {
            seed.tried = true;
        }
    }

    /// A node of the cluster answered at this address, and is linked.
    pub(crate) fn handle_answered(&mut self, address: SocketAddr) {
        let seeds = self.seeds.iter_mut().filter(|seed| seed.addresses.contains(&address));
        seeds.for_each(|seed| seed.answered = true);
    }

    /// A node said that it is the one that answers at this address now.
    pub(crate) fn handle_named(&mut self, number: usize, id: NodeId) {
        if let Some(seed) = self.seeds.get_mut(number).filter(|seed| seed.named.len() < MAX_NAMED) {
            seed.named.insert(id);
        }
    }

    /// This address is not that of the node which answered there. Another one may answer the next time, so it is asked
    /// again: at once for some times, soon while the cluster is not found, and then seldom. Not at regular intervals: what takes turns between two nodes
    /// that ask in turns would lead each of them back to itself for ever.
    pub(crate) fn handle_shared(&mut self, address: SocketAddr, led_back: bool, found: bool, now: Instant) {
        let asks = self.shared.get(&address).map_or(0, |shared| shared.asks).saturating_add(1);
        let pause = match found {
            _ if asks < ENOUGH => self.jitter.up_to(ASKED_AT_ONCE),
            true => ASKED,
            false => self.jitter.up_to(ASKED_AT_FIRST),
        };
        self.shared.insert(address, Shared { due: now + pause, led_back, asks });
    }

    /// The addresses that are due before the next look-up, each with the number of its seed.
    pub(crate) fn due_at_once(&self, now: Instant) -> Vec<(usize, SocketAddr)> {
        let due = self.shared.iter().filter(|(_, shared)| shared.asks < ENOUGH && now >= shared.due);
        let with_seed = due.filter_map(|(address, _)| {
            let seed = self.seeds.iter().position(|seed| seed.addresses.contains(address))?;
            Some((seed, *address))
        });
        with_seed.collect()
    }

    /// Whether every address that leads to several nodes was asked so often that two groups of nodes which started together have met
    /// there.
    pub(crate) fn are_explored(&self) -> bool {
        self.shared.values().all(|shared| shared.asks >= ENOUGH)
    }

    /// This node itself answered at this address, to which it is bound.
    pub(crate) fn handle_own(&mut self, address: SocketAddr) {
        self.own.insert(address);
    }

    /// Whether a seed answered. A node that may serve alone is content when all seeds were tried.
    pub(crate) fn is_found(&self, serve_alone: bool) -> bool {
        self.seeds.iter().any(|seed| seed.answered) || serve_alone && self.seeds.iter().all(|seed| seed.tried)
    }

    /// Whether every seed has answered, or did not when it was asked.
    pub(crate) fn are_tried(&self) -> bool {
        self.seeds.iter().all(|seed| seed.answered || seed.tried)
    }

    /// Whether every seed is this node itself, or there is none.
    pub(crate) fn is_only_this_node(&self) -> bool {
        self.seeds.iter().all(|seed| self.is_this_node(seed))
    }

    /// The seeds that have not answered, each with the reason.
    pub(crate) fn unanswered(&self) -> String {
        let mut text = String::new();
        for seed in self.seeds.iter().filter(|seed| !seed.answered) {
            let led_back = |address| self.shared.get(address).is_some_and(|shared| shared.led_back);
            let why = if self.is_this_node(seed) {
                "this node itself"
            } else if seed.addresses.iter().any(led_back) {
                "leads back to this node"
            } else if seed.addresses.is_empty() && seed.skipped {
                "its addresses are of another family than that of this node's socket"
            } else if seed.addresses.is_empty() {
                "its name has no address"
            } else {
                "nobody answers"
            };
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to text does not fail.
            let _written = write!(text, "{separator}{} ({why})", seed.name);
        }
        text
    }

    fn is_this_node(&self, seed: &Seed) -> bool {
        !seed.addresses.is_empty() && seed.addresses.iter().all(|address| self.own.contains(address))
    }
}

/// Whether a socket that is bound to the one address can send to the other. One for every IPv6 address takes IPv4 as well.
fn can_reach(bound: SocketAddr, address: SocketAddr) -> bool {
    match bound {
        SocketAddr::V4(_) => address.is_ipv4(),
        SocketAddr::V6(bound) if bound.ip().is_unspecified() => true,
        SocketAddr::V6(bound) => address.is_ipv4() == bound.ip().to_ipv4_mapped().is_some(),
    }
}

/// How long an address is left alone that is not the one of the node which answered there.
const ASKED: Duration = Duration::from_secs(30);
/// The same, at most, while this node has not found its cluster. Seeds are looked up once a second.
const ASKED_AT_FIRST: Duration = Duration::from_secs(2);
/// The same, at most, until it was asked often [`ENOUGH`].
const ASKED_AT_ONCE: Duration = Duration::from_millis(400);
/// Of five nodes that form a group of two and one of three, none meets the other with a probability of 10^-5.
const ENOUGH: u32 = 5;
/// More nodes than that need not be remembered for one seed: a link to any of them is enough.
const MAX_NAMED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Incarnation;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn jitter() -> Jitter {
        Jitter::new(&"a".parse().unwrap(), Incarnation(1))
    }

    fn seeds() -> Seeds {
        Seeds::new(vec!["nodes".to_owned()], address(1), [], jitter())
    }

    fn linked(homes: &[SocketAddr]) -> Linked {
        let homes: HashSet<_> = homes.iter().copied().collect();
        Linked { reached: homes.clone(), homes, nodes: BTreeSet::new() }
    }

    #[test]
    fn only_addresses_of_other_nodes_without_a_link_are_dialled() {
        let (mut seeds, now) = (seeds(), Instant::now());
        let all = vec![address(1), address(2), address(4)];
        let calls = seeds.handle_resolved(0, all, &linked(&[address(2)]), now);
        assert_eq!((calls.dial, calls.ask), (vec![address(4)], vec![]));
        assert!(seeds.is_found(false), "a linked node is one of the seed's addresses");
    }

    #[test]
    fn an_address_of_several_nodes_is_asked_again_and_again() {
        let (mut seeds, now) = (seeds(), Instant::now());
        let calls = |seeds: &mut Seeds, at| seeds.handle_resolved(0, vec![address(3)], &linked(&[]), at);
        assert_eq!(calls(&mut seeds, now).dial, [address(3)]);
        for ask in 1..ENOUGH {
            seeds.handle_shared(address(3), false, true, now);
            assert_eq!(seeds.due_at_once(now + ASKED_AT_ONCE), [(0, address(3))], "{ask}");
            assert!(!seeds.are_explored());
        }
        seeds.handle_shared(address(3), true, false, now);
        assert!(seeds.are_explored() && seeds.due_at_once(now + ASKED).is_empty());
        assert_eq!(calls(&mut seeds, now + ASKED_AT_FIRST).ask, [address(3)]);
        seeds.handle_shared(address(3), false, true, now);
        assert_eq!(calls(&mut seeds, now + ASKED_AT_FIRST), Calls::default(), "the cluster is found");
        assert_eq!(calls(&mut seeds, now + ASKED).ask, [address(3)]);
    }

    #[test]
    fn two_nodes_behind_an_address_that_takes_turns_find_each_other() {
        let (start, mut turn) = (Instant::now(), 0);
        let mut nodes = ["a", "b"].map(|name| {
            let jitter = Jitter::new(&name.parse().unwrap(), Incarnation(1));
            (Seeds::new(vec!["nodes".to_owned()], address(1), [], jitter), false)
        });
        // Both look up once a second, the one always a little before the other.
        for now in (0..20).map(|second| start + Duration::from_secs(second)) {
            for (own, (seeds, found)) in nodes.iter_mut().enumerate() {
                let calls = seeds.handle_resolved(0, vec![address(3)], &linked(&[]), now);
                for _ in calls.dial.iter().chain(&calls.ask) {
                    let led_back = turn % 2 == own;
                    turn += 1;
                    *found |= !led_back;
                    seeds.handle_shared(address(3), led_back, false, now);
                }
            }
        }
        assert!(nodes.iter().all(|(_, found)| *found), "{nodes:?}");
    }

    #[test]
    fn this_node_at_an_address_that_is_not_its_own_is_no_answer() {
        let (mut seeds, now) = (seeds(), Instant::now());
        seeds.handle_resolved(0, vec![address(3)], &linked(&[]), now);
        seeds.handle_shared(address(3), true, false, now);
        assert!(!seeds.is_only_this_node() && !seeds.is_found(false));
        assert_eq!(seeds.unanswered(), "nodes (leads back to this node)");
    }

    #[test]
    fn a_link_to_a_node_that_a_seed_named_is_an_answer_of_the_seed() {
        let (mut seeds, now, b) = (seeds(), Instant::now(), "b".parse::<NodeId>().unwrap());
        seeds.handle_named(0, b.clone());
        seeds.handle_resolved(0, vec![address(3)], &linked(&[]), now);
        assert!(!seeds.is_found(false), "it is not linked yet");
        let linked = Linked { nodes: BTreeSet::from([b]), ..Linked::default() };
        seeds.handle_resolved(0, vec![address(3)], &linked, now);
        assert!(seeds.is_found(false));
    }

    #[test]
    fn addresses_of_the_other_family_are_skipped_and_told_once() {
        let (v4, v6): (SocketAddr, SocketAddr) = (address(2), "[2001:db8::1]:2".parse().unwrap());
        let bound: [SocketAddr; 3] =
            ["10.0.0.1:1", "[::]:1", "[2001:db8::2]:1"].map(|text| text.parse().unwrap());
        for (bound, dialled, skipped) in
            [(bound[0], vec![v4], vec![v6]), (bound[1], vec![v6, v4], vec![]), (bound[2], vec![v6], vec![v4])]
        {
            let mut seeds = Seeds::new(vec!["nodes".to_owned()], bound, [], jitter());
            let mut calls = || seeds.handle_resolved(0, vec![v6, v4], &linked(&[]), Instant::now());
            assert_eq!(calls(), Calls { dial: dialled.clone(), ask: vec![], skipped });
            assert_eq!(calls(), Calls { dial: dialled, ..Calls::default() }, "it was said");
        }
        let mut seeds = seeds();
        seeds.handle_resolved(0, vec![v6], &linked(&[]), Instant::now());
        assert!(seeds.unanswered().contains("another family"), "{}", seeds.unanswered());
    }

    #[test]
    fn a_look_up_that_takes_long_is_not_begun_again_and_its_seed_counts_as_tried() {
        let (mut seeds, now) = (seeds(), Instant::now());
        let minute = Duration::from_secs(60);
        assert_eq!(seeds.begin_lookups(false, now), [(0, "nodes".to_owned())]);
        seeds.handle_unresolved(0, &LookupError::NoAnswerYet, now);
        assert!(seeds.is_found(true) && seeds.begin_lookups(false, now + 60 * minute).is_empty());
        seeds.handle_unresolved(0, &LookupError::Failed("no such name".to_owned()), now);
        assert_eq!(seeds.begin_lookups(false, now + minute).len(), 1);
    }

    #[test]
    fn a_seed_that_does_not_resolve_counts_as_tried_and_not_as_found() {
        let mut seeds = seeds();
        assert!(!seeds.is_found(true), "not tried yet");
        seeds.handle_resolved(0, Vec::new(), &Linked::default(), Instant::now());
        assert!(seeds.is_found(true) && !seeds.is_found(false));
        assert_eq!(seeds.unanswered(), "nodes (its name has no address)");
    }

    #[test]
    fn a_node_whose_only_seed_is_itself_has_no_other_seed() {
        let mut seeds = seeds();
        assert!(!seeds.is_only_this_node(), "the name may stand for others");
        seeds.handle_resolved(0, vec![address(1)], &Linked::default(), Instant::now());
        assert!(seeds.is_only_this_node());
        assert!(Seeds::new(Vec::new(), address(1), [], jitter()).is_only_this_node());
    }

    #[test]
    fn a_seed_that_is_this_node_itself_is_said_beside_those_that_do_not_answer() {
        let mut seeds = Seeds::new(vec!["me".to_owned(), "b".to_owned()], address(1), [], jitter());
        seeds.handle_resolved(0, vec![address(1)], &Linked::default(), Instant::now());
        seeds.handle_resolved(1, vec![address(2)], &Linked::default(), Instant::now());
        assert!(!seeds.is_only_this_node());
        assert_eq!(seeds.unanswered(), "me (this node itself), b (nobody answers)");
    }
}
