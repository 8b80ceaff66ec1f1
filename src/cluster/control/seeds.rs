//! Where a cluster is looked for: the seeds of the configuration and what their names stand for.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// The seeds of this node.
#[derive(Debug)]
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    /// Addresses of this node itself.
    own: HashSet<SocketAddr>,
    /// Addresses at which a node answered that is linked already, for example the address of a load balancer. They are not
    /// dialled again before that time.
    aliases: HashMap<SocketAddr, Instant>,
}

#[derive(Debug)]
struct Seed {
    name: String,
    resolving: bool,
    /// Whether the name was looked up in vain, or one of its addresses was dialled.
    tried: bool,
    answered: bool,
    addresses: Vec<SocketAddr>,
}

impl Seeds {
    pub(crate) fn new(names: Vec<String>, own: impl IntoIterator<Item = SocketAddr>) -> Self {
        let seed =
            |name| Seed { name, resolving: false, tried: false, answered: false, addresses: Vec::new() };
        Self {
            seeds: names.into_iter().map(seed).collect(),
            own: own.into_iter().collect(),
            aliases: HashMap::new(),
        }
    }

    /// The seeds to look up now, each with its number. A seed that is being looked up is not looked up again.
    pub(crate) fn begin_lookups(&mut self) -> Vec<(usize, String)> {
        let idle = self.seeds.iter_mut().enumerate().filter(|(_, seed)| !seed.resolving);
        idle.map(|(number, seed)| {
            seed.resolving = true;
            (number, seed.name.clone())
        })
        .collect()
    }

    /// A lookup ended. Returns the addresses worth a dial; `linked` are those at which a linked node is reached.
    pub(crate) fn handle_resolved(
        &mut self,
        number: usize,
        addresses: Vec<SocketAddr>,
        linked: &HashSet<SocketAddr>,
        now: Instant,
    ) -> Vec<SocketAddr> {
        self.aliases.retain(|_, until| now < *until);
        let Some(seed) = self.seeds.get_mut(number) else { return Vec::new() };
        seed.resolving = false;
        seed.tried |= addresses.is_empty();
        seed.answered |= addresses.iter().any(|address| linked.contains(address));
        seed.addresses.clone_from(&addresses);
        let is_known = |address: &SocketAddr| {
            linked.contains(address) || self.own.contains(address) || self.aliases.contains_key(address)
        };
        addresses.into_iter().filter(|address| !is_known(address)).collect()
    }

    /// An address of this seed was dialled, whatever came of it.
    pub(crate) fn handle_tried(&mut self, number: usize) {
        if let Some(seed) = self.seeds.get_mut(number) {
            seed.tried = true;
        }
    }

    /// A node of the cluster answered at this address.
    pub(crate) fn handle_answered(&mut self, address: SocketAddr) {
        let seeds = self.seeds.iter_mut().filter(|seed| seed.addresses.contains(&address));
        seeds.for_each(|seed| seed.answered = true);
    }

    /// A node that is linked over another address answered at this one.
    pub(crate) fn handle_alias(&mut self, address: SocketAddr, now: Instant) {
        self.handle_answered(address);
        self.aliases.insert(address, now + ALIAS);
    }

    /// This node itself answered at this address.
    pub(crate) fn handle_own(&mut self, address: SocketAddr) {
        self.own.insert(address);
    }

    /// Whether a seed answered. A node that may serve alone is content when all seeds were tried.
    pub(crate) fn is_found(&self, serve_alone: bool) -> bool {
        self.seeds.iter().any(|seed| seed.answered) || serve_alone && self.seeds.iter().all(|seed| seed.tried)
    }

    /// Whether every seed is this node itself, or there is none.
    pub(crate) fn is_only_this_node(&self) -> bool {
        let is_own = |address: &SocketAddr| self.own.contains(address);
        self.seeds.iter().all(|seed| !seed.addresses.is_empty() && seed.addresses.iter().all(is_own))
    }

    /// The names of the seeds that have not answered.
    pub(crate) fn unanswered(&self) -> Vec<&str> {
        self.seeds.iter().filter(|seed| !seed.answered).map(|seed| seed.name.as_str()).collect()
    }
}

/// How long an address is left alone when a node that is linked already answered there.
const ALIAS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn seeds() -> Seeds {
        Seeds::new(vec!["nodes".to_owned()], [address(1)])
    }

    #[test]
    fn only_addresses_of_other_nodes_without_a_link_are_dialled() {
        let (mut seeds, now) = (seeds(), Instant::now());
        let all = vec![address(1), address(2), address(3), address(4)];
        seeds.handle_alias(address(3), now);
        let linked = HashSet::from([address(2)]);
        assert_eq!(seeds.handle_resolved(0, all.clone(), &linked, now), [address(4)]);
        assert!(seeds.is_found(false), "a linked node is one of the seed's addresses");
        assert_eq!(seeds.handle_resolved(0, all, &linked, now + ALIAS), [address(3), address(4)]);
    }

    #[test]
    fn a_name_is_looked_up_once_at_a_time() {
        let mut seeds = seeds();
        assert_eq!(seeds.begin_lookups(), [(0, "nodes".to_owned())]);
        assert!(seeds.begin_lookups().is_empty());
        seeds.handle_resolved(0, Vec::new(), &HashSet::new(), Instant::now());
        assert_eq!(seeds.begin_lookups().len(), 1);
    }

    #[test]
    fn a_seed_that_does_not_resolve_counts_as_tried_and_not_as_found() {
        let mut seeds = seeds();
        assert!(!seeds.is_found(true), "not tried yet");
        seeds.handle_resolved(0, Vec::new(), &HashSet::new(), Instant::now());
        assert!(seeds.is_found(true) && !seeds.is_found(false));
        assert_eq!(seeds.unanswered(), ["nodes"]);
    }

    #[test]
    fn a_node_whose_only_seed_is_itself_has_no_other_seed() {
        let mut seeds = seeds();
        assert!(!seeds.is_only_this_node(), "the name may stand for others");
        seeds.handle_resolved(0, vec![address(1)], &HashSet::new(), Instant::now());
        assert!(seeds.is_only_this_node());
        assert!(Seeds::new(Vec::new(), []).is_only_this_node());
    }
}
