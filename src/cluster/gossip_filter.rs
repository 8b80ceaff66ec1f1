//! What of the gossip of a peer is applied (docs/protocol/mesh.md, "Gossip").
//!
//! Gossip is hearsay: a member tells of others, and chitchat believes it, keeps it without a bound, passes it on, and panics
//! where the message could not have come from itself. So a message that breaks the protocol is refused, and what would not
//! fit is left out.

use std::collections::HashSet;

use super::hello::LocalNode;
use super::wire::gossip::{Change, DigestEntry, Gossip, GossipError, KeyValue, Life, NodeDelta};
use crate::id::{Incarnation, NodeId};

/// What chitchat knows when a message arrives.
pub(crate) trait Known {
    /// The version of the keys of a life, if the life is known.
    fn version(&self, life: &Life) -> Option<u64>;
    /// How many keys of a life are known.
    fn keys(&self, life: &Life) -> usize;
    fn has_key(&self, life: &Life, key: &str) -> bool;
    /// The bytes of a digest of all known lives.
    fn digest_len(&self) -> usize;
    /// The bytes of all keys and values.
    fn keys_len(&self) -> usize;
}

/// A message that may be applied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filtered {
    pub(crate) message: Vec<u8>,
    /// How many lives, and changes of lives, it told that are too many or too large.
    pub(crate) left_out: u64,
    /// It changes what nodes say of themselves, or tells of a life for the first time. Most messages only say who lives.
    pub(crate) is_news: bool,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Malformed(#[from] GossipError),
    #[error("it is of another cluster")]
    Cluster,
    #[error("it has forgotten deleted keys, and no key is ever deleted")]
    Collected,
}

/// Filters a message of the member `from` for the node `me`.
///
/// # Errors
/// When no member that keeps the protocol sends such a message.
pub(crate) fn filter(
    bytes: &[u8],
    from: (&NodeId, Incarnation),
    me: &LocalNode,
    known: &impl Known,
) -> Result<Filtered, Refused> {
    let mut gossip = Gossip::decode(bytes)?;
    match &gossip {
        // The hello has compared the names before.
        Gossip::Syn { cluster, .. } if *cluster != me.cluster => return Err(Refused::Cluster),
        Gossip::BadCluster => return Err(Refused::Cluster),
        Gossip::Syn { .. } | Gossip::SynAck { .. } | Gossip::Ack { .. } => {}
    }
    let mut filter = Filter { from, me, known, introduced: HashSet::new(), left_out: 0 };
    let (digest, delta) = gossip.parts();
    let mut is_news = false;
    if let Some(digest) = digest {
        filter.digest(digest)?;
    }
    if let Some(delta) = delta {
        filter.delta(delta)?;
        is_news = !delta.is_empty();
    }
    let left_out = filter.left_out;
    Ok(Filtered { message: gossip.encode(), left_out, is_news })
}

struct Filter<'a, K> {
    from: (&'a NodeId, Incarnation),
    me: &'a LocalNode,
    known: &'a K,
    /// The lives that the digest of the same message introduces.
    introduced: HashSet<Life>,
    left_out: u64,
}

impl<K: Known> Filter<'_, K> {
    /// Leaves out lives that are too many: a digest of all of them has to fit a message.
    fn digest(&mut self, digest: &mut Vec<DigestEntry>) -> Result<(), Refused> {
        if digest.iter().any(|entry| entry.collected != 0) {
            return Err(Refused::Collected);
        }
        let mut length = None;
        digest.retain(|DigestEntry { life, .. }| {
            if self.known.version(life).is_some() {
                return true;
            }
            let length = length.get_or_insert_with(|| self.known.digest_len());
            let with_it = *length + Life::digest_len(life.node.as_str(), life.address);
            // Strangers that a member makes up do not take the places of the members themselves.
            let is_sender = (&life.node, life.incarnation) == self.from;
            let fits = with_it <= if is_sender { MAX_DIGEST } else { MAX_HEARSAY };
            if fits {
                *length = with_it;
                self.introduced.insert(life.clone());
            }
            self.left_out += u64::from(!fits);
            fits
        });
        Ok(())
    }

    /// Leaves out changes of this node, which knows better, those that do not apply, and those that are too large.
    fn delta(&mut self, delta: &mut Vec<NodeDelta>) -> Result<(), Refused> {
        if delta.iter().any(|node| node.collected != 0) {
            return Err(Refused::Collected);
        }
        let mut length = None;
        delta.retain(|NodeDelta { life, after, change, .. }| {
            let introduced = self.introduced.contains(life).then_some(0);
            let version = self.known.version(life).or(introduced);
            // It comes too early. chitchat would log that and ignore it, and it is told again.
            if version.is_none_or(|version| *after > version) {
                return false;
            }
            let is_me = (&life.node, life.incarnation) == (&self.me.id, self.me.incarnation);
            if is_me {
                // What this node said itself comes back when it was faster by another way. Nobody else says more.
                self.left_out += u64::from(Some(change.version()) > version);
                return false;
            }
            let fits = self.fits(life, change, &mut length);
            self.left_out += u64::from(!fits);
            fits
        });
        Ok(())
    }

    fn fits(&self, life: &Life, change: &Change, length: &mut Option<usize>) -> bool {
        let Change::Keys(keys) = change else { return true };
        let size = |KeyValue { key, value, .. }: &KeyValue| key.len() + value.len();
        let length = length.get_or_insert_with(|| self.known.keys_len());
        let with_them = *length + keys.iter().map(size).sum::<usize>();
        let new = keys.iter().filter(|new| !self.known.has_key(life, &new.key)).count();
        let is_small =
            |KeyValue { key, value, .. }: &KeyValue| key.len() <= MAX_KEY && value.len() <= MAX_VALUE;
        let fits =
            with_them <= MAX_KEYS_LEN && self.known.keys(life) + new <= MAX_KEYS && keys.iter().all(is_small);
        if fits {
            *length = with_them;
        }
        fits
    }
}

/// A message has 65 507 bytes, of which a digest must leave some for changes.
const MAX_DIGEST: usize = 64_000;
/// Of which that many for lives of which others tell: between 500 and 1100 lives.
const MAX_HEARSAY: usize = 56_000;
/// This version has two keys. The next may have more.
const MAX_KEYS: usize = 8;
const MAX_KEY: usize = 64;
/// The names of 500 nodes that are missed, if they are the longest.
pub(crate) const MAX_VALUE: usize = 32 << 10;
/// All keys of all lives.
const MAX_KEYS_LEN: usize = 16 << 20;
