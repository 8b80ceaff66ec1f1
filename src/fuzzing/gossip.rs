//! A member that gossips what it likes, against what a node believes.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use tokio::runtime::Builder;

use super::tape::Tape;
use crate::cluster::fuzzing::{
    Change, DigestEntry, Filtered, Gossip, Hearing, KeyValue, Known, Life, LocalNode, NodeDelta, OwnAddress,
    filter,
};
use crate::id::{Incarnation, NodeId};

/// One message.
///
/// # Panics
///
/// When what was decoded says something else once it is encoded anew.
pub fn gossip_message(data: &[u8]) -> bool {
    let Ok(gossip) = Gossip::decode(data) else { return false };
    assert_eq!(Gossip::decode(&gossip.encode()), Ok(gossip));
    true
}

/// The messages of one member, filtered and applied to what is known.
///
/// # Panics
///
/// When more is known in the end than may be, or something else of the node itself.
pub fn gossip_filter(data: &[u8]) -> bool {
    let mut tape = Tape::new(data);
    let me = LocalNode {
        id: name("a"),
        incarnation: Incarnation(1),
        address: OwnAddress::at(SocketAddr::from(([10, 0, 0, 1], 1))),
        cluster: "chat".to_owned(),
        parser: String::new(),
    };
    let own = life("a", 1);
    let mut believed = Believed::default();
    believed
        .lives
        .insert(own.clone(), LifeState { version: 3, keys: HashMap::from([("state".to_owned(), 5)]) });
    let sender = name("b");
    while !tape.is_over() {
        let message = message(&mut tape);
        if let Ok(Filtered { message, .. }) = filter(&message, (&sender, Incarnation(1)), &me, &believed) {
            let again = filter(&message, (&sender, Incarnation(1)), &me, &believed);
            assert_eq!(
                again,
                Ok(Filtered { message: message.clone(), left_out: 0 }),
                "it is not filtered through"
            );
            believed.apply(Gossip::decode(&message).expect("what is applied is a message"));
        }
        assert!(believed.digest_len() <= 64_100 && believed.keys_len() <= 16 << 20);
        assert!(believed.lives.values().all(|state| state.keys.len() <= 8));
        assert!(believed.lives.get(&own).is_some_and(|state| state.version == 3 && state.keys.len() == 1));
    }
    believed.lives.values().filter(|state| !state.keys.is_empty()).count() > 1
}

/// The same messages, heard by a node.
///
/// # Panics
///
/// When they end its gossip.
pub fn gossip(data: &[u8]) -> bool {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O").block_on(async {
        let (mut tape, node) = (Tape::new(data), Hearing::start().await);
        let (_, own) = node.size().await;
        while !tape.is_over() {
            node.hears(message(&mut tape)).await;
        }
        node.assert_gossips();
        let (digest, keys) = node.size().await;
        assert!(digest <= 64_100 && keys <= 16 << 20);
        keys > own
    })
}

/// What a node knows of others, as chitchat keeps it.
#[derive(Default)]
struct Believed {
    lives: HashMap<Life, LifeState>,
}

#[derive(Default)]
struct LifeState {
    version: u64,
    /// The lengths of the values.
    keys: HashMap<String, usize>,
}

impl Believed {
    fn apply(&mut self, mut gossip: Gossip) {
        let (digest, delta) = gossip.parts();
        for entry in digest.into_iter().flatten() {
            self.lives.entry(entry.life.clone()).or_default();
        }
        for NodeDelta { life, after, change, collected } in delta.into_iter().flatten() {
            let state = self.lives.get_mut(life).expect("changes are of a life that is known");
            assert!(*after <= state.version && *collected == 0, "changes leave out others");
            if let Change::Keys(keys) = &*change {
                for KeyValue { key, value, version } in keys {
                    if *version > state.version {
                        state.keys.insert(key.clone(), value.len());
                    }
                }
            }
            state.version = state.version.max(change.version());
        }
    }
}

impl Known for Believed {
    fn version(&self, life: &Life) -> Option<u64> {
        self.lives.get(life).map(|state| state.version)
    }

    fn keys(&self, life: &Life) -> usize {
        self.lives.get(life).map_or(0, |state| state.keys.len())
    }

    fn has_key(&self, life: &Life, key: &str) -> bool {
        self.lives.get(life).is_some_and(|state| state.keys.contains_key(key))
    }

    fn digest_len(&self) -> usize {
        self.lives.keys().map(|life| Life::digest_len(life.node.as_str(), life.address)).sum()
    }

    fn keys_len(&self) -> usize {
        self.lives.values().flat_map(|state| &state.keys).map(|(key, value)| key.len() + value).sum()
    }
}

/// Something that the wire form can say, or nearly.
fn message(tape: &mut Tape<'_>) -> Vec<u8> {
    let mut bytes = match tape.below(8) {
        0..=2 => {
            let cluster = if tape.one_in(16) { "other" } else { "chat" };
            Gossip::Syn { digest: digest(tape), cluster: cluster.to_owned() }.encode()
        }
        3 | 4 => Gossip::SynAck { digest: digest(tape), delta: delta(tape) }.encode(),
        5 => compressed(Gossip::Ack { delta: delta(tape) }.encode()),
        6 => Gossip::Ack { delta: delta(tape) }.encode(),
        _ if tape.one_in(4) => Gossip::BadCluster.encode(),
        _ => Gossip::Ack { delta: delta(tape) }.encode(),
    };
    if tape.one_in(8) {
        let at = usize::from(tape.byte()) * bytes.len() / 256;
        bytes.get_mut(at).into_iter().for_each(|byte| *byte = tape.byte());
    }
    bytes
}

/// The same with its blocks compressed.
fn compressed(message: Vec<u8>) -> Vec<u8> {
    // The head, the kind, and of a block its kind and its length; the end behind it.
    let Some((head, [_, _, _, block @ .., _end])) = message.split_at_checked(4) else { return message };
    let block = zstd::bulk::compress(block, 0).unwrap_or_default();
    let length = u16::try_from(block.len()).unwrap_or_default().to_le_bytes();
    [head, &[1], &length, &block, &[0]].concat()
}

fn digest(tape: &mut Tape<'_>) -> Vec<DigestEntry> {
    let entry = |life, tape: &mut Tape<'_>| DigestEntry {
        life,
        heartbeat: tape.number(),
        collected: if tape.one_in(64) { tape.number() } else { 0 },
        version: tape.number(),
    };
    let mut digest: Vec<_> = (0..tape.below(5)).map(|_| entry(somebody(tape), tape)).collect();
    if tape.one_in(64) {
        let (made_up, number) = (tape.byte(), tape.byte());
        let strangers = (0..usize::from(number) * 4).map(|stranger| {
            let life = life(&format!("made-up-{made_up}-{stranger}"), 1);
            DigestEntry { life, heartbeat: 1, collected: 0, version: 0 }
        });
        digest.extend(strangers);
    }
    digest
}

fn delta(tape: &mut Tape<'_>) -> Vec<NodeDelta> {
    let mut told = HashSet::new();
    let mut delta = Vec::new();
    for _ in 0..tape.below(4) {
        let node = NodeDelta {
            life: somebody(tape),
            collected: if tape.one_in(64) { tape.number() } else { 0 },
            after: if tape.flag() { 0 } else { tape.number() },
            change: change(tape),
        };
        if told.insert(node.life.clone()) || tape.one_in(8) {
            delta.push(node);
        }
    }
    delta
}

fn change(tape: &mut Tape<'_>) -> Change {
    if tape.one_in(6) {
        return Change::Version(tape.number());
    }
    let (mut version, mut keys) = (0_u64, Vec::new());
    for _ in 0..tape.below(6) {
        version = version.saturating_add(tape.number()).saturating_add(u64::from(!tape.one_in(16)));
        let length = match tape.below(64) {
            0 => usize::from(u16::from_be_bytes([tape.byte(), tape.byte()])),
            1 => 32 << 10,
            short => short / 8,
        };
        let key =
            if tape.one_in(16) { "k".repeat(tape.below(100)) } else { format!("key-{}", tape.below(12)) };
        keys.push(KeyValue { key, value: "x".repeat(length), version });
    }
    Change::Keys(keys)
}

/// The node itself, the sender, or another.
fn somebody(tape: &mut Tape<'_>) -> Life {
    let name = tape.pick(&["a", "b", "b", "c", "c", "d"]);
    let mut life = life(name, 1 + u64::from(tape.one_in(4)));
    if tape.one_in(32) {
        life.address.set_port(9);
    }
    life
}

fn life(name: &str, incarnation: u64) -> Life {
    let address = SocketAddr::from(([10, 0, 0, 1], 1));
    Life { node: self::name(name), incarnation: Incarnation(incarnation), address }
}

fn name(name: &str) -> NodeId {
    name.parse().expect("a name of a node")
}
