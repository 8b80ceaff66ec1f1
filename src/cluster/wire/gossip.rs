//! The bytes of gossip: the messages of chitchat 0.11, protocol version 0 (docs/protocol/mesh.md, "Gossip").
//!
//! chitchat keeps to itself what its messages hold. They are decoded here to be checked, and encoded anew, so that it never
//! sees bytes that a peer wrote. Numbers are little-endian; a text is its length in two bytes, then UTF-8.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::id::{Incarnation, NodeId};

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gossip {
    /// How far the sender knows each life.
    Syn { digest: Vec<DigestEntry>, cluster: String },
    /// The same, and what the receiver of the digest may lack.
    SynAck { digest: Vec<DigestEntry>, delta: Vec<NodeDelta> },
    /// What the receiver may lack.
    Ack { delta: Vec<NodeDelta> },
    /// The sender of a `Syn` belongs to another cluster.
    BadCluster,
}

/// One life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) address: SocketAddr,
}

/// How far a life is known: its heartbeat, and the version of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DigestEntry {
    pub(crate) life: Life,
    pub(crate) heartbeat: u64,
    /// Keys that were deleted before this version are forgotten.
    pub(crate) collected: u64,
    pub(crate) version: u64,
}

/// The keys of a life that changed after a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeDelta {
    pub(crate) life: Life,
    pub(crate) collected: u64,
    pub(crate) after: u64,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// In the order of their versions, which grow. There may be none.
    Keys(Vec<KeyValue>),
    /// No keys, and their version.
    Version(u64),
}

impl Change {
    /// The version after it.
    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Keys(keys) => keys.last().map_or(0, |key| key.version),
            Self::Version(version) => *version,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) version: u64,
}

/// Why bytes are no gossip of a member that keeps the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GossipError {
    #[error("the message ends early")]
    Truncated,
    #[error("it is no gossip of a known version")]
    Head,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a name is no node id")]
    Name,
    #[error("an address is neither IPv4 nor IPv6")]
    Address,
    #[error("a block does not decompress")]
    Block,
    #[error("the changes are larger than {MAX_DELTA} bytes")]
    TooLarge,
    #[error("changes of keys come without a node, twice for a node, or their versions do not grow")]
    Order,
    #[error("a key is deleted")]
    Deleted,
}

impl Gossip {
    /// # Errors
    /// When the bytes are no message, or one with which chitchat's own serializer could not have begun.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, GossipError> {
        let mut reader = Reader(bytes);
        if reader.take(HEAD.len())? != HEAD {
            return Err(GossipError::Head);
        }
        Ok(match reader.byte()? {
            SYN => Self::Syn { digest: reader.digest()?, cluster: reader.text()? },
            SYN_ACK => Self::SynAck { digest: reader.digest()?, delta: reader.delta()? },
            ACK => Self::Ack { delta: reader.delta()? },
            BAD_CLUSTER => Self::BadCluster,
            _ => return Err(GossipError::Head),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer(HEAD.to_vec());
        match self {
            Self::Syn { digest, cluster } => {
                writer.byte(SYN);
                writer.digest(digest);
                writer.text(cluster);
            }
            Self::SynAck { digest, delta } => {
                writer.byte(SYN_ACK);
                writer.digest(digest);
                writer.delta(delta);
            }
            Self::Ack { delta } => {
                writer.byte(ACK);
                writer.delta(delta);
            }
            Self::BadCluster => writer.byte(BAD_CLUSTER),
        }
        writer.0
    }

    /// The lives that it tells of, and what changed of lives.
    pub(crate) fn parts(&mut self) -> (Option<&mut Vec<DigestEntry>>, Option<&mut Vec<NodeDelta>>) {
        match self {
            Self::Syn { digest, .. } => (Some(digest), None),
            Self::SynAck { digest, delta } => (Some(digest), Some(delta)),
            Self::Ack { delta } => (None, Some(delta)),
            Self::BadCluster => (None, None),
        }
    }
}

impl Life {
    /// The bytes of an entry of a digest about a life.
    pub(crate) fn digest_len(node: &str, address: SocketAddr) -> usize {
        let ip = if address.is_ipv4() { 4 } else { 16 };
        2 + node.len() + 8 + 1 + ip + 2 + 3 * 8
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], GossipError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(GossipError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GossipError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(GossipError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, GossipError> {
        self.array().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<u16, GossipError> {
        self.array().map(u16::from_le_bytes)
    }

    fn long(&mut self) -> Result<u64, GossipError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, GossipError> {
        let length = self.short()?;
        let text = std::str::from_utf8(self.take(length.into())?).map_err(|_invalid| GossipError::Text)?;
        Ok(text.to_owned())
    }

    fn life(&mut self) -> Result<Life, GossipError> {
        let node = self.text()?.parse().map_err(|_no_id| GossipError::Name)?;
        let incarnation = Incarnation(self.long()?);
        let ip: IpAddr = match self.byte()? {
            4 => Ipv4Addr::from(self.array::<4>()?).into(),
            6 => Ipv6Addr::from(self.array::<16>()?).into(),
            _ => return Err(GossipError::Address),
        };
        Ok(Life { node, incarnation, address: SocketAddr::new(ip, self.short()?) })
    }

    fn digest(&mut self) -> Result<Vec<DigestEntry>, GossipError> {
        let entries = 0..self.short()?;
        let entry = |_| {
            let (life, heartbeat, collected) = (self.life()?, self.long()?, self.long()?);
            Ok(DigestEntry { life, heartbeat, collected, version: self.long()? })
        };
        entries.map(entry).collect()
    }

    fn delta(&mut self) -> Result<Vec<NodeDelta>, GossipError> {
        let operations = self.blocks()?;
        let (mut reader, mut delta) = (Reader(&operations), Vec::<NodeDelta>::new());
        let mut lives = HashSet::new();
        while let Some((tag, rest)) = reader.0.split_first() {
            reader.0 = rest;
            match (*tag, delta.last_mut()) {
                (NODE, _) => {
                    let node = reader.node()?;
                    if !lives.insert(node.life.clone()) {
                        return Err(GossipError::Order);
                    }
                    delta.push(node);
                }
                (KEY, Some(NodeDelta { change: Change::Keys(keys), .. })) => {
                    let key = reader.key()?;
                    if keys.last().map_or(0, |last| last.version) >= key.version {
                        return Err(GossipError::Order);
                    }
                    keys.push(key);
                }
                (VERSION, Some(NodeDelta { change, .. })) if *change == Change::Keys(Vec::new()) => {
                    *change = Change::Version(reader.long()?);
                }
                (KEY | VERSION, _) => return Err(GossipError::Order),
                _ => return Err(GossipError::Head),
            }
        }
        Ok(delta)
    }

    fn node(&mut self) -> Result<NodeDelta, GossipError> {
        let (life, collected) = (self.life()?, self.long()?);
        Ok(NodeDelta { life, collected, after: self.long()?, change: Change::Keys(Vec::new()) })
    }

    fn key(&mut self) -> Result<KeyValue, GossipError> {
        let (key, value, version) = (self.text()?, self.text()?, self.long()?);
        if self.byte()? == SET { Ok(KeyValue { key, value, version }) } else { Err(GossipError::Deleted) }
    }

    /// The operations of a delta, which come in compressed and other blocks.
    fn blocks(&mut self) -> Result<Vec<u8>, GossipError> {
        let mut operations = Vec::new();
        loop {
            let tag = self.byte()?;
            if tag == END {
                return Ok(operations);
            }
            let length = self.short()?;
            let block = self.take(length.into())?;
            match tag {
                COMPRESSED => {
                    let plain =
                        zstd::bulk::decompress(block, MAX_BLOCK).map_err(|_broken| GossipError::Block)?;
                    operations.extend_from_slice(&plain);
                }
                PLAIN => operations.extend_from_slice(block),
                _ => return Err(GossipError::Head),
            }
            if operations.len() > MAX_DELTA {
                return Err(GossipError::TooLarge);
            }
        }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// A length. What was decoded has none that does not fit.
    fn short(&mut self, number: usize) {
        self.0.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
    }

    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.short(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn life(&mut self, life: &Life) {
        self.text(life.node.as_str());
        self.long(life.incarnation.0);
        match life.address.ip() {
            IpAddr::V4(ip) => {
                self.byte(4);
                self.0.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.byte(6);
                self.0.extend_from_slice(&ip.octets());
            }
        }
        self.short(life.address.port().into());
    }

    fn digest(&mut self, digest: &[DigestEntry]) {
        self.short(digest.len());
        for DigestEntry { life, heartbeat, collected, version } in digest {
            self.life(life);
            [*heartbeat, *collected, *version].into_iter().for_each(|number| self.long(number));
        }
    }

    fn delta(&mut self, delta: &[NodeDelta]) {
        let mut operations = Self(Vec::new());
        delta.iter().for_each(|node| operations.node(node));
        for block in operations.0.chunks(MAX_BLOCK) {
            self.byte(PLAIN);
            self.short(block.len());
            self.0.extend_from_slice(block);
        }
        self.byte(END);
    }

    fn node(&mut self, NodeDelta { life, collected, after, change }: &NodeDelta) {
        self.byte(NODE);
        self.life(life);
        self.long(*collected);
        self.long(*after);
        match change {
            Change::Version(version) => {
                self.byte(VERSION);
                self.long(*version);
            }
            Change::Keys(keys) => keys.iter().for_each(|KeyValue { key, value, version }| {
                self.byte(KEY);
                self.text(key);
                self.text(value);
                self.long(*version);
                self.byte(SET);
            }),
        }
    }
}

/// The magic number and the protocol version.
const HEAD: &[u8] = &[0x53, 0xb0, 0];
const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;
const BAD_CLUSTER: u8 = 3;
/// The blocks of a delta.
const END: u8 = 0;
const COMPRESSED: u8 = 1;
const PLAIN: u8 = 2;
/// Its operations.
const NODE: u8 = 0;
const KEY: u8 = 1;
const VERSION: u8 = 2;
/// The status of a key that is not deleted.
const SET: u8 = 0;
/// What a block holds at most, decompressed.
const MAX_BLOCK: usize = u16::MAX as usize;
/// Four times what a message of 64 KiB decompresses to when it holds what three hundred nodes miss.
const MAX_DELTA: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn life() -> impl Strategy<Value = Life> {
        let name = "[a-z0-9]{1,63}".prop_map(|name| name.parse().unwrap());
        (name, any::<u64>(), any::<SocketAddr>()).prop_map(|(node, incarnation, address)| {
            let address = SocketAddr::new(address.ip(), address.port());
            Life { node, incarnation: Incarnation(incarnation), address }
        })
    }

    fn digest() -> impl Strategy<Value = Vec<DigestEntry>> {
        let entry = (life(), any::<[u64; 3]>());
        vec(
            entry.prop_map(|(life, [heartbeat, collected, version])| DigestEntry {
                life,
                heartbeat,
                collected,
                version,
            }),
            0..5,
        )
    }

    fn change() -> impl Strategy<Value = Change> {
        let keys = vec((".{0,9}", ".{0,900}"), 0..40).prop_map(|keys| {
            let key = |(version, (key, value))| KeyValue { key, value, version };
            Change::Keys((1..).zip(keys).map(key).collect())
        });
        prop_oneof![keys, any::<u64>().prop_map(Change::Version)]
    }

    fn delta() -> impl Strategy<Value = Vec<NodeDelta>> {
        let node = |(life, [collected, after], change): (_, [u64; 2], _)| NodeDelta {
            life,
            collected,
            after,
            change,
        };
        vec((life(), any::<[u64; 2]>(), change()).prop_map(node), 0..4)
    }

    fn gossip() -> impl Strategy<Value = Gossip> {
        prop_oneof![
            (digest(), ".{0,9}").prop_map(|(digest, cluster)| Gossip::Syn { digest, cluster }),
            (digest(), delta()).prop_map(|(digest, delta)| Gossip::SynAck { digest, delta }),
            delta().prop_map(|delta| Gossip::Ack { delta }),
            Just(Gossip::BadCluster),
        ]
    }

    proptest! {
        #[test]
        fn gossip_survives_the_wire(gossip in gossip()) {
            prop_assert_eq!(Gossip::decode(&gossip.encode()), Ok(gossip));
        }

        #[test]
        fn any_gossip_decodes_or_is_refused(
            kind in proptest::option::of(0..4_u8), tail in vec(any::<u8>(), 0..300),
        ) {
            // With a valid head the bytes get deeper into the decoder.
            let head = kind.map_or(Vec::new(), |kind| [HEAD, &[kind]].concat());
            let _decoded = Gossip::decode(&[head, tail].concat());
        }
    }

    #[test]
    fn a_message_does_not_grow_without_a_bound_when_it_is_decompressed() {
        let block = zstd::bulk::compress(&vec![0; MAX_BLOCK], 0).unwrap();
        let length = u16::try_from(block.len()).unwrap().to_le_bytes();
        let blocks = [&[COMPRESSED], &length[..], &block].concat().repeat(1000);
        assert!(blocks.len() < 128 << 10, "it fits a message");
        let message = [HEAD, &[ACK], &blocks, &[END]].concat();
        assert_eq!(Gossip::decode(&message), Err(GossipError::TooLarge));
    }
}
