//! Single operations of the hot paths, whose instructions `cluster-tests/budgets` counts. Each function prepares one, which can
//! be repeated.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

use crate::cluster::Ring;
use crate::cluster::wire::{Message, encode_broadcast};
use crate::engine::packet::Packet as EnginePacket;
use crate::engine::websocket::{Decoder, Incoming};
use crate::engine::{self, Budget, Outbox, OutboxLimits, Protocol};
use crate::http::server::Server;
use crate::id::{Incarnation, Key, NodeId, SocketId};
use crate::node::Node;
use crate::socket::messages::{Broadcast, Flags, RawArgs, Room, Selection};
use crate::socket::{Packet, PacketDecoder, PacketLimits, Parser, RoomIndex, encode_event_packet};

/// What a client says, 64 bytes.
pub const TEXT: &str = "the text of an event as a client of a chat may send it, no longer";

/// From the masked frame of a client to the arguments of a handler.
///
/// # Panics
///
/// When the packet is refused, which would be cheaper.
#[expect(clippy::panic, reason = "see above")]
pub fn packet_decode() -> impl FnMut() {
    let frame = masked_frame(&format!(r#"42["message","{TEXT}"]"#));
    let mut frames = Decoder::new(1 << 20);
    let mut packets =
        PacketDecoder::new(Parser::Json, PacketLimits { max_attachments: 10, max_pending_bytes: 1 << 20 });
    move || {
        let mut read = frame.clone();
        let Some(Ok(Incoming::Text(text))) = frames.feed(&mut read).next() else { panic!("a frame") };
        let Ok(EnginePacket::Message(engine::Message::Text(text))) =
            EnginePacket::decode_text(text, Protocol::V4)
        else {
            panic!("a message")
        };
        let Ok(Some(Packet::Event { event, .. })) = packets.text(&text) else { panic!("an event") };
        black_box(event.args.decode::<String>().expect("its argument"));
    }
}

/// From the value of an application to the frame that all its receivers share.
///
/// # Panics
///
/// When the value is refused.
pub fn packet_encode() -> impl FnMut() {
    || {
        let args = RawArgs::encode(black_box(TEXT)).expect("a text");
        let packet = encode_event_packet("/", None, "message", &args).expect("an event");
        black_box(Parser::Json.frames(&packet.text, &packet.attachments, true));
    }
}

/// Visits the 10 sockets of a room, among 10 000 sockets in 2000 rooms.
pub fn selection_of_a_room() -> impl FnMut() {
    selection(|room| Selection { rooms: [format!("room-{room}").into()].into(), ..Selection::default() })
}

/// Visits the sockets of two rooms that are not in a third one.
pub fn selection_of_rooms_but_one() -> impl FnMut() {
    selection(|room| Selection {
        rooms: [room, (room + 1) % 1000].map(|room| format!("room-{room}").into()).to_vec().into(),
        except: [format!("room-{}", 1000 + room).into()].into(),
    })
}

/// Selects one after another: how long a room is looked for depends on what the keys of the hashes make of its name.
fn selection(of: impl Fn(u64) -> Selection) -> impl FnMut() {
    let mut index = RoomIndex::new();
    for number in 0..10_000_u64 {
        let id = SocketId::new(Key::from_hash(number << 40), [7; 10]);
        index.insert(id, number);
        // Each is in one of a thousand, and in one of another thousand.
        index.join(&id, &format!("room-{}", number % 1000).into());
        index.join(&id, &format!("room-{}", 1000 + number / 10).into());
    }
    let selections: Vec<_> = (0..1000).map(of).collect();
    let mut turn = 0;
    move || {
        let mut sum = 0;
        turn = (turn + 1) % selections.len();
        if let Some(selection) = selections.get(turn) {
            index.for_each(black_box(selection), |_, number| sum += number);
        }
        black_box(sum);
    }
}

/// Appends a frame of 64 bytes to what waits for a client. After every 32 of them all are taken.
pub fn outbox_append() -> impl FnMut() {
    let limits = OutboxLimits { lasting: 4 << 20, most: 64 << 20 };
    let outbox = Outbox::new(limits, Budget::new(1 << 30), Instant::now);
    let frames = engine::frames(TEXT, &[], true);
    let mut appended = 0;
    move || {
        let _told = black_box(outbox.push(black_box(&frames), false));
        appended += 1;
        if appended % 32 == 0 {
            drop(outbox.take_batch(64 << 10));
        }
    }
}

/// Finds the owner of an id in a cluster of five nodes.
///
/// # Panics
///
/// Never: the names of the nodes are names.
pub fn ring_lookup() -> impl FnMut() {
    let node = |number: u8| (format!("node-{number}").parse().expect("a name"), Incarnation(1));
    let nodes: Vec<(NodeId, Incarnation)> = (0..5).map(node).collect();
    let tokens = nodes.iter().flat_map(|(id, incarnation)| crate::cluster::tokens(id, *incarnation));
    let mut keys = tokens.collect::<Vec<_>>().into_iter().cycle();
    let ring = Ring::new(nodes);
    move || {
        let key = keys.next().expect("it goes round");
        black_box(ring.holder(black_box(key)));
    }
}

/// Encodes an event to a room as it goes to other nodes.
///
/// # Panics
///
/// When it is too large.
pub fn envelope_encode() -> impl FnMut() {
    let broadcast = broadcast();
    move || {
        black_box(encode_broadcast(black_box(&broadcast)).expect("it is small"));
    }
}

/// Decodes it at another node.
///
/// # Panics
///
/// When it cannot be decoded.
pub fn envelope_decode() -> impl FnMut() {
    let body = encode_broadcast(&broadcast()).expect("it is small");
    move || {
        // On the way here it was read into a buffer of its own.
        let body = Bytes::copy_from_slice(&body);
        black_box(Message::decode_traced(body).expect("an envelope"));
    }
}

/// Opens a connection in memory that a node serves as its own listener would.
pub fn connect(node: &Node) -> DuplexStream {
    let (client, server) = duplex(64 << 10);
    let service = node.own_service();
    tokio::spawn(async move { drop(Server::serve_in_memory(service, server).await) });
    client
}

fn broadcast() -> Broadcast<'static> {
    Broadcast {
        namespace: Arc::from("/"),
        selection: Cow::Owned(Selection { rooms: [Room::from("lobby")].into(), ..Selection::default() }),
        text: format!(r#"2["message","{TEXT}"]"#).into(),
        attachments: Vec::new(),
        flags: Flags::default(),
        number: None,
    }
}

/// A text of up to 125 bytes as the frame of a client.
fn masked_frame(text: &str) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let length = u8::try_from(text.len()).expect("a short text");
    let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0x80 | length].into_iter().chain(mask).chain(masked).collect()
}
