//! A member that gossips what it likes, against what a node believes.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::runtime::Builder;

use super::tape::Tape;
use crate::cluster::fuzzing::{
    Change, Filtered, Gossip, Hearing, KeyValue, Known, Life, LocalNode, NodeDelta, OwnAddress, filter,
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
        settings: Vec::new(),
    };
    let own = life("a", 1);
    let mut believed = Believed::default();
    believed
        .lives
        .insert(own.clone(), LifeState { version: 3, keys: HashMap::from([("state".to_owned(), 5)]) });
    let sender = name("b");
    while !tape.is_over() {
        let message = message(&mut tape);
        if let Ok(Filtered { message, is_news, .. }) =
            filter(&message, (&sender, Incarnation(1)), &me, &believed)
        {
            let again = filter(&message, (&sender, Incarnation(1)), &me, &believed);
            assert_eq!(
                again,
                Ok(Filtered { message: message.clone(), left_out: 0, is_news }),
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
    let kind = tape.pick(&[SYN, SYN, SYN_ACK, SYN_ACK, ACK, ACK, ACK, ACK, ACK, ACK, ACK, BAD_CLUSTER]);
    let mut bytes = vec![0x53, 0xb0, 0, kind];
    if kind == SYN || kind == SYN_ACK {
        put_digest(tape, &mut bytes);
    }
    match kind {
        SYN => put_text(if tape.one_in(16) { "other" } else { "chat" }, &mut bytes),
        SYN_ACK | ACK => put_delta(tape, &mut bytes),
        _ => {}
    }
    if tape.one_in(16) {
        let at = usize::from(tape.byte()) * bytes.len() / 256;
        bytes.get_mut(at).into_iter().for_each(|byte| *byte = tape.byte());
    }
    bytes
}

fn put_digest(tape: &mut Tape<'_>, bytes: &mut Vec<u8>) {
    let made_up = if tape.one_in(64) { usize::from(tape.byte()) * 4 } else { 0 };
    let known = tape.below(5);
    put_short(made_up + known, bytes);
    for _ in 0..known {
        put_life(tape, bytes);
        put_number(tape.number(), bytes);
        put_number(seldom(tape), bytes);
        put_number(tape.number(), bytes);
    }
    let flood = tape.byte();
    for stranger in 0..made_up {
        put_text(&format!("made-up-{flood}-{stranger}"), bytes);
        put_number(1, bytes);
        bytes.extend([4, 10, 0, 0, 1, 1, 0]);
        (0..3).for_each(|_| put_number(0, bytes));
    }
}

fn put_delta(tape: &mut Tape<'_>, bytes: &mut Vec<u8>) {
    let (mut operations, mut version) = (Vec::new(), 0_u64);
    for n in 0..tape.below(8) {
        let operation = if n == 0 && !tape.one_in(32) { 0 } else { tape.below(32) };
        match operation {
            0..=4 => {
                version = 0;
                operations.push(NODE);
                put_life(tape, &mut operations);
                put_number(seldom(tape), &mut operations);
                put_number(if tape.one_in(4) { tape.number() } else { 0 }, &mut operations);
                if tape.one_in(8) {
                    operations.push(VERSION);
                    put_number(tape.number(), &mut operations);
                }
            }
            5 => {
                operations.push(VERSION);
                put_number(tape.number(), &mut operations);
            }
            _ => {
                version = if tape.one_in(32) {
                    tape.number()
                } else {
                    version.saturating_add(1 + tape.number() % 64)
                };
                put_key(tape, version, &mut operations);
            }
        }
    }
    for block in operations.chunks(60_000) {
        let compressed = if tape.one_in(4) { zstd::bulk::compress(block, 0).ok() } else { None };
        bytes.push(if compressed.is_some() { 1 } else { 2 });
        let block = compressed.as_deref().unwrap_or(block);
        put_short(block.len(), bytes);
        bytes.extend(block);
    }
    bytes.push(0);
}

fn put_key(tape: &mut Tape<'_>, version: u64, operations: &mut Vec<u8>) {
    operations.push(KEY);
    let key = if tape.one_in(16) { "k".repeat(tape.below(100)) } else { format!("key-{}", tape.below(12)) };
    put_text(&key, operations);
    let length = match tape.below(64) {
        0 => usize::from(u16::from_be_bytes([tape.byte(), tape.byte()])),
        1 => 32 << 10,
        short => short / 8,
    };
    put_text(&"x".repeat(length), operations);
    put_number(version, operations);
    // Deleted keys have a status of their own.
    operations.push(if tape.one_in(64) { tape.byte() % 4 } else { 0 });
}

/// Mostly 0.
fn seldom(tape: &mut Tape<'_>) -> u64 {
    if tape.one_in(64) { tape.number() } else { 0 }
}

/// The node itself, the sender, or another.
fn put_life(tape: &mut Tape<'_>, bytes: &mut Vec<u8>) {
    put_text(tape.pick(&["a", "b", "b", "c", "c", "d"]), bytes);
    put_number(1 + u64::from(tape.one_in(4)), bytes);
    bytes.extend([4, 10, 0, 0, 1, if tape.one_in(32) { 9 } else { 1 }, 0]);
}

fn put_text(text: &str, bytes: &mut Vec<u8>) {
    put_short(text.len(), bytes);
    bytes.extend(text.bytes());
}

fn put_short(number: usize, bytes: &mut Vec<u8>) {
    bytes.extend(u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
}

fn put_number(number: u64, bytes: &mut Vec<u8>) {
    bytes.extend(number.to_le_bytes());
}

fn life(name: &str, incarnation: u64) -> Life {
    let address = SocketAddr::from(([10, 0, 0, 1], 1));
    Life { node: self::name(name), incarnation: Incarnation(incarnation), address }
}

fn name(name: &str) -> NodeId {
    name.parse().expect("a name of a node")
}

const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;
const BAD_CLUSTER: u8 = 3;
const NODE: u8 = 0;
const KEY: u8 = 1;
const VERSION: u8 = 2;
