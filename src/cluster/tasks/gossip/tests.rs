//! chitchat with everything that peers may tell it.

use std::collections::BTreeMap;

use chitchat::transport::ChannelTransport;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::hearing::Hearing as Node;
use super::*;
use crate::cluster::address::OwnAddress;
use crate::cluster::wire::gossip::{Change, DigestEntry, Gossip as Message, KeyValue, NodeDelta};

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn life(name: &str, number: u16) -> Life {
    let (node, incarnation) = (id(name), Incarnation(number.into()));
    let address = gossip_address(&node, incarnation);
    Life { node, incarnation, address }
}

fn announcement(state: NodeState) -> Announcement {
    Announcement { state, misses: vec![id("b")], address: Some(address(1)), sessions: Some(7) }
}

fn entry(life: Life) -> DigestEntry {
    DigestEntry { life, heartbeat: 1, collected: 0, version: 0 }
}

fn syn(digest: Vec<DigestEntry>) -> Vec<u8> {
    Message::Syn { digest, cluster: "chat".to_owned() }.encode()
}

fn ack(life: Life, keys: &[(&str, &str, u64)]) -> Vec<u8> {
    let key = |&(key, value, version): &(&str, &str, u64)| KeyValue {
        key: key.to_owned(),
        value: value.to_owned(),
        version,
    };
    let change = Change::Keys(keys.iter().map(key).collect());
    Message::Ack { delta: vec![NodeDelta { life, collected: 0, after: 0, change }] }.encode()
}

/// A transport in memory that shows what chitchat writes.
struct Tap(ChannelTransport, mpsc::Sender<Vec<u8>>);

struct TapSocket(Box<dyn Socket>, mpsc::Sender<Vec<u8>>);

#[async_trait]
impl Transport for Tap {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(TapSocket(self.0.open(listen).await?, self.1.clone())))
    }
}

#[async_trait]
impl Socket for TapSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        self.1.try_send(message.serialize_to_vec())?;
        self.0.send(to, message).await
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        self.0.recv().await
    }
}

#[tokio::test(start_paused = true)]
async fn what_chitchat_writes_is_decoded_and_says_the_same_when_it_is_encoded_anew() {
    let (seen, mut written) = mpsc::channel(10_000);
    let tap = Tap(ChannelTransport::with_mtu(65_507), seen);
    let mut nodes = Vec::new();
    for number in 1..=4 {
        let Life { node: id, incarnation, .. } = life(&format!("node-{number}"), number);
        let (address, cluster) = (OwnAddress::at(address(number)), "chat".to_owned());
        let me = LocalNode { id, incarnation, address, cluster, parser: String::new(), settings: Vec::new() };
        let misses =
            (0..6000).map(|missed| format!("{:x}", missed * 7919 * u64::from(number))).collect::<Vec<_>>();
        let keys = vec![(STATE.to_owned(), "ready".to_owned()), (MISSES.to_owned(), misses.join(","))];
        nodes.push(spawn_chitchat(config(&me), keys, &tap).await.unwrap());
    }
    nodes.iter().for_each(|node| node.gossip(life("node-1", 1).address).unwrap());
    let (mut kinds, mut blocks) = (BTreeMap::new(), 0);
    while kinds.get(&2).is_none_or(|count| *count < 20) {
        let message = written.recv().await.unwrap();
        *kinds.entry(message[3]).or_insert(0) += 1;
        blocks = blocks.max(message.len() / 16_384);
        let anew = Message::decode(&message).unwrap().encode();
        let [anew, direct] = [anew, message].map(|bytes| {
            let message = format!("{:?}", ChitchatMessage::deserialize(&mut &bytes[..]).unwrap());
            // How many bytes it had is no part of what it says.
            message.split("serialized_len").next().unwrap().to_owned()
        });
        assert_eq!(anew, direct);
    }
    assert!(kinds.len() == 3 && blocks > 0, "all kinds, and more than one block: {kinds:?}, {blocks}");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_lowers_its_own_version_is_refused_and_gossip_goes_on() {
    let node = Node::start().await;
    node.hears(syn(vec![entry(life("b", 2))])).await;
    // A key of version 1 000 000, then the version 100 000 of all keys.
    let mut operations = ack(life("b", 2), &[("state", "ready", 1_000_000)]);
    assert_eq!(operations.pop(), Some(0), "the end of the blocks");
    operations.extend([&[2, 9, 0, 2][..], &100_000_u64.to_le_bytes(), &[0]].concat());
    node.hears(operations).await;
    node.assert_gossips();
    assert_eq!((node.refused(), node.knows(&life("b", 2)).await), (1, Some((0, Vec::new()))));
    node.hears(ack(life("b", 2), &[("state", "ready", 1)])).await;
    assert_eq!(node.knows(&life("b", 2)).await, Some((1, vec![("state".to_owned(), "ready".to_owned())])));
}

#[tokio::test(start_paused = true)]
async fn lives_that_a_member_makes_up_are_bounded_and_keep_no_member_out() {
    let node = Node::start().await;
    for flood in 0..12 {
        let made_up = (0..1500).map(|number| entry(life(&format!("made-up-{flood}-{number}"), number)));
        node.hears(syn(made_up.collect())).await;
    }
    assert!(node.size().await.0 < 60_000, "{} bytes", node.size().await.0);
    assert!(node.refused() > 16_000, "{}", node.refused());
    node.hears(syn(vec![entry(life("b", 2))])).await;
    node.hears(ack(life("b", 2), &[("state", "ready", 1)])).await;
    assert!(node.knows(&life("b", 2)).await.is_some_and(|(version, _)| version == 1), "the sender itself");
    node.assert_gossips();
}

#[tokio::test(start_paused = true)]
async fn keys_that_a_member_sets_for_others_are_bounded() {
    let node = Node::start().await;
    let others: Vec<_> = (0..600).map(|number| life(&format!("n{number}"), number)).collect();
    node.hears(syn(others.iter().cloned().map(entry).collect())).await;
    let (large, too_large) = ("x".repeat(MAX_VALUE), "x".repeat(MAX_VALUE + 1));
    for other in &others {
        for key in 0..20 {
            node.hears(ack(other.clone(), &[(&format!("k{key}"), &large, key + 1)])).await;
        }
    }
    assert!(node.size().await.1 <= 16 << 20, "{} bytes", node.size().await.1);
    assert!(node.knows(&others[0]).await.is_some_and(|(_, keys)| keys.len() == 8));
    let refused = node.refused();
    node.hears(ack(others[599].clone(), &[("k", &too_large, 100)])).await;
    assert_eq!(node.refused(), refused + 1);
    node.assert_gossips();
}

#[tokio::test(start_paused = true)]
async fn what_this_node_says_of_itself_no_peer_changes() {
    let node = Node::start().await;
    let own = node.knows(&life("a", 1)).await;
    assert!(own.is_some());
    node.hears(ack(life("a", 1), &[("state", "draining", 1)])).await;
    assert_eq!((&node.knows(&life("a", 1)).await, node.refused()), (&own, 0), "an echo of its own words");
    node.hears(ack(life("a", 1), &[("state", "draining", u64::MAX)])).await;
    assert_eq!((node.knows(&life("a", 1)).await, node.refused()), (own, 1));
}

#[tokio::test(start_paused = true)]
async fn gossip_that_ended_begins_again_as_the_same_life() {
    let mut node = Node::start().await;
    node.gossip.announce(&announcement(NodeState::Ready)).await;
    sleep(Duration::from_secs(60)).await;
    let heartbeat = |chitchat: &mut Chitchat| chitchat.self_node_state().heartbeat();
    let beats = node.gossip.chitchat.with_chitchat(heartbeat).await;
    let (version, keys) = node.knows(&life("a", 1)).await.unwrap();
    node.gossip.end();
    node.ended.wait_for(Option::is_some).await.unwrap();

    node.gossip = node.gossip.restart(&node.ports).await.unwrap();
    assert!(node.gossip.chitchat.with_chitchat(heartbeat).await >= beats, "the others take it for alive");
    let (newer, again) = node.knows(&life("a", 1)).await.unwrap();
    assert!(newer > version && again == keys, "the others take its news: {version} {newer} {again:?}");
    node.hears(syn(vec![entry(life("b", 2))])).await;
    assert!(node.knows(&life("b", 2)).await.is_some(), "it hears the others");
}

/// A message with anything in it that the wire form can say.
#[derive(Debug, Clone)]
struct Anything {
    kind: u8,
    digest: Vec<([u8; 2], [u64; 3])>,
    operations: Vec<Operation>,
    compressed: bool,
}

#[derive(Debug, Clone)]
enum Operation {
    Node([u8; 2], [u64; 2]),
    Key { key: u8, length: u16, version: u64, status: u8 },
    Version(u64),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..6_u64, Just(u64::MAX), any::<u64>()]
}

fn anything() -> impl Strategy<Value = Anything> {
    let who = || [0..4_u8, 1..3_u8];
    let operation = prop_oneof![
        3 => (who(), [number(), number()]).prop_map(|(who, numbers)| Operation::Node(who, numbers)),
        5 => (0..12_u8, prop_oneof![0..9_u16, any::<u16>()], number(), prop_oneof![5 => Just(0), 1 => 0..4_u8])
            .prop_map(|(key, length, version, status)| Operation::Key { key, length, version, status }),
        1 => number().prop_map(Operation::Version),
    ];
    let collected = prop_oneof![5 => Just(0), 1 => number()];
    let entry = (who(), number(), collected, number())
        .prop_map(|(who, heartbeat, collected, version)| (who, [heartbeat, collected, version]));
    let digest = vec(entry, 0..6);
    (0..4_u8, digest, vec(operation, 0..12), any::<bool>())
        .prop_map(|(kind, digest, operations, compressed)| Anything { kind, digest, operations, compressed })
}

impl Anything {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0x53, 0xb0, 0, self.kind];
        if self.kind < 2 {
            bytes.extend(u16::try_from(self.digest.len()).unwrap().to_le_bytes());
            for (who, numbers) in &self.digest {
                put_life(&mut bytes, *who);
                numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            }
        }
        match self.kind {
            0 => put_text(&mut bytes, "chat"),
            1 | 2 => self.put_delta(&mut bytes),
            _ => {}
        }
        bytes
    }

    fn put_delta(&self, bytes: &mut Vec<u8>) {
        let mut operations = Vec::new();
        for operation in &self.operations {
            match operation {
                Operation::Node(who, numbers) => {
                    operations.push(0);
                    put_life(&mut operations, *who);
                    numbers.iter().for_each(|number| operations.extend(number.to_le_bytes()));
                }
                Operation::Key { key, length, version, status } => {
                    operations.push(1);
                    put_text(&mut operations, &format!("key-{key}"));
                    put_text(&mut operations, &"x".repeat(usize::from(*length)));
                    operations.extend(version.to_le_bytes());
                    operations.push(*status);
                }
                Operation::Version(version) => {
                    operations.push(2);
                    operations.extend(version.to_le_bytes());
                }
            }
        }
        for block in operations.chunks(60_000) {
            let compressed = zstd::bulk::compress(block, 0).unwrap();
            let (tag, block) = if self.compressed { (1, &compressed[..]) } else { (2, block) };
            bytes.push(tag);
            bytes.extend(u16::try_from(block.len()).unwrap().to_le_bytes());
            bytes.extend(block);
        }
        bytes.push(0);
    }
}

/// One of a few lives: `a` itself, the sender, and others.
fn put_life(bytes: &mut Vec<u8>, [name, incarnation]: [u8; 2]) {
    put_text(bytes, ["a", "b", "c", "d"][usize::from(name)]);
    bytes.extend(u64::from(incarnation).to_le_bytes());
    bytes.extend([4, 10, 0, 0, 1, incarnation, 0]);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_sequence_of_messages_ends_gossip_or_lets_it_grow(messages in vec(anything(), 1..30)) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut node = Node::start().await;
            for message in messages {
                node.hears(message.encode()).await;
            }
            // What this node says of itself later is not disturbed by what it heard.
            node.gossip.announce(&announcement(NodeState::Draining)).await;
            sleep(Duration::from_secs(1)).await;
            node.assert_gossips();
            let (_, keys) = node.size().await;
            assert!(keys < 3 * 2 * 8 * (MAX_VALUE + 64), "{keys} bytes");
        });
    }
}
