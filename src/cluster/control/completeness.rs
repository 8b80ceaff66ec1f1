//! Whether the view of a node is complete, and which side of a split goes on serving (docs/protocol/mesh.md,
//! "Complete views").

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::id::NodeId;

/// The nodes that others have a link to and this node has not, neither direct nor relayed.
#[derive(Debug, Default)]
pub(crate) struct Completeness(BTreeMap<NodeId, Instant>);

impl Completeness {
    /// The nodes that are missed now.
    pub(crate) fn update(&mut self, missed: impl IntoIterator<Item = NodeId>, now: Instant) {
        let before = std::mem::take(&mut self.0);
        let since = |id: &NodeId| before.get(id).copied().unwrap_or(now);
        self.0.extend(missed.into_iter().map(|id| (id.clone(), since(&id))));
    }

    /// There is a link to the node.
    pub(crate) fn handle_linked(&mut self, id: &NodeId) {
        self.0.remove(id);
    }

    /// Those that were missed for so long that it does not mend by itself.
    pub(crate) fn lasting(&self, now: Instant) -> impl Iterator<Item = &NodeId> {
        self.0.iter().filter(move |(_, since)| now >= **since + GRACE).map(|(id, _)| id)
    }

    /// Whether a node was missed for so long that this node, if it serves at all, does so without it.
    pub(crate) fn is_given_up(&self, id: &NodeId, now: Instant) -> bool {
        self.0.get(id).is_some_and(|since| now >= *since + PATIENCE)
    }
}

/// The direct links between members, as they gossip them.
#[derive(Debug, Default)]
pub(crate) struct Links<'a>(BTreeMap<&'a NodeId, BTreeSet<&'a NodeId>>);

impl<'a> Links<'a> {
    pub(crate) fn insert(&mut self, one: &'a NodeId, other: &'a NodeId) {
        self.0.entry(one).or_default().insert(other);
        self.0.entry(other).or_default().insert(one);
    }

    /// Whether a node that misses others goes on serving: if it is the member with the most links, of several the one with
    /// the smallest id, or has a link to it. All nodes of that side reach each other through that member.
    pub(crate) fn is_on_the_serving_side(&self, node: &NodeId) -> bool {
        let most = self.0.iter().max_by_key(|(id, links)| (links.len(), Reverse(**id)));
        most.is_some_and(|(hub, links)| *hub == node || links.contains(node))
    }
}

/// How long a link may be away: longer than it takes to notice a death everywhere, and to link through another node.
const GRACE: Duration = Duration::from_secs(6);
/// How long a node that joins waits for a member to which there is no way.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn a_node_is_missed_only_when_it_was_away_all_the_time() {
        let (mut view, start, second) = (Completeness::default(), Instant::now(), Duration::from_secs(1));
        let lasting = |view: &Completeness, at| view.lasting(at).count();
        view.update([id("b")], start);
        view.update([id("b")], start + 4 * second);
        assert_eq!((lasting(&view, start + 5 * second), lasting(&view, start + GRACE)), (0, 1));
        view.update([], start + 4 * second);
        view.update([id("b")], start + 5 * second);
        assert_eq!(lasting(&view, start + GRACE), 0, "it was back for a moment");
        assert_eq!(lasting(&view, start + 5 * second + GRACE), 1);
    }

    #[test]
    fn of_two_groups_with_one_link_between_them_one_goes_on_serving() {
        let names = ["a", "b", "c", "d", "e", "f"].map(id);
        let [a, b, c, d, e, f] = &names;
        let mut links = Links::default();
        for (one, other) in [(a, b), (b, c), (a, c), (d, e), (e, f), (d, f), (c, d)] {
            links.insert(one, other);
        }
        let serving: Vec<_> = names.iter().filter(|id| links.is_on_the_serving_side(id)).collect();
        assert_eq!(serving, [a, b, c, d]);
    }

    proptest! {
        #[test]
        fn any_two_nodes_that_serve_reach_each_other_in_two_hops(
            links in proptest::collection::vec((0..8_u8, 0..8_u8), 1..30),
        ) {
            let names: Vec<_> = (0..8).map(|n| id(&format!("n{n}"))).collect();
            let mut graph = Links::default();
            for (one, other) in links {
                if one != other {
                    graph.insert(&names[usize::from(one)], &names[usize::from(other)]);
                }
            }
            let members: Vec<_> = graph.0.keys().copied().collect();
            let near = |one: &NodeId, other: &NodeId| {
                one == other || graph.0[one].contains(other) || !graph.0[one].is_disjoint(&graph.0[other])
            };
            let is_complete = |one: &&NodeId| members.iter().all(|other| near(one, other));
            let serves = |one: &&NodeId| is_complete(one) || graph.is_on_the_serving_side(one);
            let serving: Vec<_> = members.iter().copied().filter(serves).collect();
            prop_assert!(members.is_empty() || !serving.is_empty());
            for (one, other) in serving.iter().flat_map(|one| serving.iter().map(move |other| (one, other))) {
                prop_assert!(near(one, other), "{one} and {other}");
            }
        }
    }
}
