//! The ring: which node owns a key (docs/protocol/mesh.md, "Ring").
//!
//! Every node has [`TOKENS`] tokens, derived from its id and incarnation alone, so all nodes compute the same ring from
//! the same members. The owner of a key is the node of the first token at or after it. A node mints ids on its own
//! tokens: a join therefore never moves an id in use, and a leave moves exactly the leaver's.

use ring::digest::{Context, SHA256};

use crate::id::{Incarnation, Key, NodeId};

/// The ring of a cluster: which node owns which key. All nodes with the same members have the same ring.
///
/// ```
/// # fn f(view: &socketmesh::cluster::View, socket: &socketmesh::Socket) {
/// let owner = view.ring.holder(socket.id().key());
/// println!("{} lives on {owner:?}", socket.id());
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    /// Sorted by key, each key once.
    tokens: Vec<(Key, usize)>,
    /// Sorted, each id once; `tokens` point in here.
    members: Vec<NodeId>,
}

impl Ring {
    /// Builds the ring of these members, each id given once.
    pub(crate) fn new(members: impl IntoIterator<Item = (NodeId, Incarnation)>) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup_by(|a, b| a.0 == b.0);
        let mut tokens: Vec<_> = members
            .iter()
            .enumerate()
            .flat_map(|(at, (id, incarnation))| {
                tokens(id, *incarnation).into_iter().map(move |key| (key, at))
            })
            .collect();
        tokens.sort_unstable();
        // An equal token belongs to the smaller node id: members are sorted, so that is the first of equals.
        tokens.dedup_by_key(|(key, _)| *key);
        Self { tokens, members: members.into_iter().map(|(id, _)| id).collect() }
    }

    /// The node that owns `key`: the one with the first token at or after it, wrapping around. `None` on an empty ring.
    pub fn owner(&self, key: Key) -> Option<&NodeId> {
        self.from(key).next().map(|(_, member)| member)
    }

    /// The node that has `key` as one of its tokens, or `None`. It is the only node that can have minted an id with that key.
    pub fn holder(&self, key: Key) -> Option<&NodeId> {
        let at = self.tokens.binary_search_by_key(&key, |(token, _)| *token).ok()?;
        self.member(*self.tokens.get(at)?)
    }

    /// Every member once: the owner of `key` first, then the others in the order in which they would inherit the key.
    pub fn successors(&self, key: Key) -> impl Iterator<Item = &NodeId> {
        let mut seen = vec![false; self.members.len()];
        self.from(key)
            .filter(move |(at, _)| !seen.get_mut(*at).is_none_or(|seen| std::mem::replace(seen, true)))
            .map(|(_, member)| member)
    }

    /// The members, sorted by id.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// Which part of all keys a member owns, from 0 to 1.
    pub fn share(&self, member: &NodeId) -> f64 {
        let Some(last) = self.tokens.last() else { return 0. };
        // Each token owns the keys behind the one before it; the first one those behind the last.
        let before = std::iter::once(last).chain(&self.tokens);
        let owned = before.zip(&self.tokens).filter(|(_, token)| self.member(**token) == Some(member));
        let all = 1_u64 << Key::BITS;
        let keys: u64 = owned
            .map(|((before, _), (key, _))| match key.as_u64().wrapping_sub(before.as_u64()) % all {
                // A ring of one token.
                0 => all,
                keys => keys,
            })
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "2^40 is exact")]
        let share = keys as f64 / all as f64;
        share
    }

    fn from(&self, key: Key) -> impl Iterator<Item = (usize, &NodeId)> {
        let start = self.tokens.partition_point(|(token, _)| *token < key);
        let (before, after) = self.tokens.split_at_checked(start).unwrap_or_default();
        after.iter().chain(before).filter_map(|token| Some((token.1, self.member(*token)?)))
    }

    fn member(&self, (_, at): (Key, usize)) -> Option<&NodeId> {
        self.members.get(at)
    }
}

/// The tokens of one life of a node: SHA-256 of `"socketmesh ring 1"`, 0, the node id, 0, the incarnation as 8 bytes and a
/// block number as 1 byte, big-endian; each of the 16 blocks gives four tokens, the upper 40 bits of each 8 bytes.
pub(crate) fn tokens(id: &NodeId, incarnation: Incarnation) -> Vec<Key> {
    let mut tokens = Vec::with_capacity(TOKENS);
    for block in 0..BLOCKS {
        let mut hash = Context::new(&SHA256);
        hash.update(b"socketmesh ring 1\0");
        hash.update(id.as_str().as_bytes());
        hash.update(b"\0");
        hash.update(&incarnation.0.to_be_bytes());
        hash.update(&[block]);
        let digest = hash.finish();
        let (words, _) = digest.as_ref().as_chunks::<8>();
        tokens.extend(words.iter().map(|word| Key::from_hash(u64::from_be_bytes(*word))));
    }
    tokens
}

/// Tokens per node: with 64 the largest share of five nodes is about 1.3 times the mean.
pub(crate) const TOKENS: usize = 64;
const BLOCKS: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_map;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn id(number: u8) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    fn members(of: &BTreeMap<u8, u64>) -> Vec<(NodeId, Incarnation)> {
        of.iter().map(|(number, incarnation)| (id(*number), Incarnation(*incarnation))).collect()
    }

    #[test]
    fn tokens_are_the_documented_hash() {
        let tokens = tokens(&id(1), Incarnation(1_700_000_000_000));
        let hex: Vec<_> = tokens.iter().take(5).map(|key| format!("{key:?}")).collect();
        assert_eq!(tokens.len(), TOKENS);
        assert_eq!(hex, GOLDEN);
    }

    /// Changing these splits every cluster during a rolling upgrade.
    const GOLDEN: [&str; 5] = ["248443da95", "9b37767b94", "a43ceeee5b", "11eecd9a80", "fabf3a797f"];

    #[test]
    fn an_empty_ring_owns_nothing() {
        let ring = Ring::default();
        assert_eq!(ring.owner(Key::from_hash(7)), None);
        assert_eq!(ring.holder(Key::from_hash(7)), None);
        assert_eq!(ring.successors(Key::from_hash(7)).count(), 0);
    }

    #[test]
    fn a_restart_gets_new_tokens() {
        assert_ne!(tokens(&id(1), Incarnation(1)), tokens(&id(1), Incarnation(2)));
    }

    #[test]
    fn of_equal_tokens_the_smaller_node_id_owns() {
        let key = Key::from_hash(u64::MAX);
        let ring = Ring {
            tokens: {
                let mut t = vec![(key, 1), (key, 0)];
                t.sort_unstable();
                t.dedup_by_key(|t| t.0);
                t
            },
            members: vec![id(1), id(2)],
        };
        assert_eq!(ring.holder(key), Some(&id(1)));
    }

    #[test]
    fn the_shares_of_all_members_are_the_whole_ring() {
        let nodes: BTreeMap<u8, u64> = (0..5).map(|number| (number, 1)).collect();
        let ring = Ring::new(members(&nodes));
        let shares: Vec<f64> = ring.members().iter().map(|member| ring.share(member)).collect();
        assert!((shares.iter().sum::<f64>() - 1.).abs() < 1e-9, "{shares:?}");
        assert!(shares.iter().all(|share| (0.1..0.35).contains(share)), "{shares:?}");
        let stranger = id(9);
        assert!(ring.share(&stranger).abs() < 1e-9 && Ring::default().share(&stranger).abs() < 1e-9);
    }

    #[test]
    fn five_nodes_share_the_keys_evenly() {
        let ring = Ring::new((0..5).map(|number| (id(number), Incarnation(9))));
        let mut shares = BTreeMap::<_, u32>::new();
        for step in 0..100_000_u64 {
            *shares.entry(ring.owner(Key::from_hash(step << 47)).unwrap()).or_default() += 1;
        }
        assert!(shares.values().all(|share| (10_000..35_000).contains(share)), "{shares:?}");
    }

    proptest! {
        #[test]
        fn a_join_moves_no_minted_key(
            mut nodes in btree_map(0..40_u8, 0..9_u64, 1..8), joiner in 50..60_u8, incarnation: u64,
        ) {
            let before = Ring::new(members(&nodes));
            let minted: Vec<_> = before.tokens.iter().map(|(key, _)| *key).collect();
            nodes.insert(joiner, incarnation);
            let after = Ring::new(members(&nodes));
            for key in minted {
                prop_assert_eq!(before.holder(key), after.holder(key));
                prop_assert_eq!(before.owner(key), after.owner(key));
            }
        }

        #[test]
        fn a_leave_moves_exactly_the_leavers_keys_to_their_successor(
            mut nodes in btree_map(0..40_u8, 0..9_u64, 2..8), hashes in proptest::collection::vec(any::<u64>(), 200),
        ) {
            let before = Ring::new(members(&nodes));
            let leaver = id(*nodes.keys().next().unwrap());
            nodes.pop_first();
            let after = Ring::new(members(&nodes));
            for key in hashes.into_iter().map(Key::from_hash) {
                let heirs: Vec<_> = before.successors(key).collect();
                let expected = if heirs[0] == &leaver { heirs[1] } else { heirs[0] };
                prop_assert_eq!(after.owner(key), Some(expected));
                prop_assert_eq!(after.holder(key), before.holder(key).filter(|holder| **holder != leaver));
            }
        }

        #[test]
        fn successors_name_every_member_once(nodes in btree_map(0..40_u8, 0..9_u64, 1..8), hash: u64) {
            let ring = Ring::new(members(&nodes));
            let mut all: Vec<_> = ring.successors(Key::from_hash(hash)).cloned().collect();
            prop_assert_eq!(Some(&all[0]), ring.owner(Key::from_hash(hash)));
            all.sort_unstable();
            prop_assert_eq!(all, ring.members().to_vec());
        }
    }
}
