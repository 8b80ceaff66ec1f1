//! A node with Socket.IO and clients that keep to nothing: their sessions, namespaces, sockets and handlers, in virtual time.

mod application;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::HeaderMap;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use self::application::{Present, namespaces_of_all_kinds};
use super::tape::Tape;
use crate::engine::packet::Packet as EnginePacket;
use crate::engine::{
    self, Engine, Frame, Message, Payload, PollAnswer, PostBody, Protocol, Query, SessionRef, Transport,
    payload,
};
use crate::id::Key;
use crate::socket::peers::NoPeers;
use crate::socket::{Config, ConnectionCommand, Packet, PacketDecoder, PacketLimits, Parser, SocketIo};

/// Clients of the default parser.
///
/// # Panics
///
/// When the node says something that is no packet, or something of a client is left when it is gone.
pub fn sockets(data: &[u8]) -> bool {
    play(Parser::Json, data)
}

/// As [`sockets`], with MessagePack.
///
/// # Panics
///
/// As [`sockets`].
pub fn sockets_msgpack(data: &[u8]) -> bool {
    play(Parser::MessagePack, data)
}

/// Returns whether a client got an ack.
fn play(parser: Parser, data: &[u8]) -> bool {
    NODES.with_borrow_mut(|nodes| {
        // A node serves all runs, so what one of them leaves behind is seen in the next one at the latest.
        let at = nodes.iter().position(|node| node.parser == parser).unwrap_or_else(|| {
            nodes.push(Node::start(parser));
            nodes.len() - 1
        });
        let Some(node) = nodes.get(at) else { return false };
        node.runtime.block_on(async {
            let run = timeout(Duration::from_secs(1_000_000), node.play(Tape::new(data)));
            run.await.expect("whatever clients do, it ends")
        })
    })
}

thread_local! {
    static NODES: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) };
}

struct Node {
    parser: Parser,
    runtime: Runtime,
    engine: Engine<SocketIo>,
    app: Arc<SocketIo>,
    present: Present,
}

impl Node {
    fn start(parser: Parser) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O");
        let (engine, app, present) = runtime.block_on(async {
            let present = Present::default();
            let config = Config {
                max_namespaces: 4,
                max_attachments: 3,
                max_pending_bytes: 4096,
                parser,
                ..Config::default()
            };
            let descriptions = namespaces_of_all_kinds(&present);
            let id = "a".parse().expect("a name of a node");
            let mint = || Key::from_hash(0);
            let app = Arc::new(SocketIo::new(descriptions, config, id, Arc::new(NoPeers), Box::new(mint)));
            let sessions = engine::Config::default().max_buffered(4096).max_burst(MAX_BURST).allow_eio3(true);
            let engine = Engine::start(Arc::clone(&app), Arc::new(sessions), Box::new(mint)).await;
            (engine.expect("a runtime that runs"), app, present)
        });
        Self { parser, runtime, engine, app, present }
    }

    async fn play(&self, mut tape: Tape<'_>) -> bool {
        let mut clients = Vec::new();
        for _ in 0..1 + tape.below(2) {
            clients.push(self.connect(&mut tape));
        }
        while !tape.is_over() {
            let at = tape.below(clients.len());
            if let Some(client) = clients.get_mut(at) {
                client.step(&mut tape).await;
            }
        }
        clients.iter().for_each(|client| client.session.close());
        // Handlers may have much to do yet.
        let mut pause = Duration::from_secs(1);
        while self.holds_anything() && pause < Duration::from_secs(10_000) {
            sleep(pause).await;
            pause *= 2;
        }
        assert_eq!(self.engine.len(), 0, "a session is left");
        assert!(self.present.lock().is_empty(), "nobody was told that a socket left");
        assert_eq!(self.app.leftovers(), Vec::<String>::new(), "something is left in a namespace");
        clients.iter().any(|client| client.acked > 0)
    }

    fn holds_anything(&self) -> bool {
        self.engine.len() > 0 || !self.present.lock().is_empty() || !self.app.leftovers().is_empty()
    }

    fn connect(&self, tape: &mut Tape<'_>) -> Client {
        let protocol = if tape.one_in(3) { Protocol::V3 } else { Protocol::V4 };
        let url = match (protocol, tape.one_in(8)) {
            (Protocol::V3, false) => "/socket.io/?EIO=3&transport=polling",
            (Protocol::V3, true) => "/socket.io/?EIO=3&transport=polling&b64=1",
            (Protocol::V4, _) => "/socket.io/?EIO=4&transport=polling",
        };
        let query = Query::parse(url.split_once('?').map_or("", |(_, query)| query));
        let issued = SystemTime::UNIX_EPOCH;
        let handshake = engine::Handshake::new(&HeaderMap::new(), url, &query, None, false, issued);
        let place = self.engine.admit(None).expect("a place for every client");
        let opened = self.engine.open(place, Arc::new(handshake), Transport::Polling);
        let limits = PacketLimits { max_attachments: 100, max_pending_bytes: 1 << 24 };
        Client {
            session: opened.expect("a node that runs").session,
            protocol,
            parser: self.parser,
            packets: PacketDecoder::new(self.parser, limits),
            queued: Vec::new(),
            asked: 0,
            acked: 0,
            // Clients of version 3 need not ask for the main one.
            namespaces: if protocol == Protocol::V3 { vec![String::new()] } else { Vec::new() },
        }
    }
}

struct Client {
    session: SessionRef<ConnectionCommand>,
    protocol: Protocol,
    parser: Parser,
    /// Reads what the node says.
    packets: PacketDecoder,
    /// What goes with the next POST.
    queued: Vec<Frame>,
    /// How often it may have asked for an ack.
    asked: usize,
    acked: usize,
    /// Those that it is in, or asked for, as packets name them.
    namespaces: Vec<String>,
}

impl Client {
    async fn step(&mut self, tape: &mut Tape<'_>) {
        match tape.below(32) {
            0..=15 => {
                for _ in 0..1 + tape.below(6) {
                    self.say(tape);
                }
                self.post(tape).await;
            }
            16..=28 => {
                // Without it the GET waits for the next ping.
                if self.session.buffered() > 0 || tape.one_in(16) {
                    self.poll().await;
                }
            }
            29 => sleep(Duration::from_secs(u64::from(tape.byte()) / 4)).await,
            30 => sleep(Duration::from_millis(1)).await,
            _ => self.misbehave(tape).await,
        }
        assert!(self.session.buffered() <= MAX_BURST + 8192, "{} bytes wait", self.session.buffered());
    }

    async fn misbehave(&mut self, tape: &mut Tape<'_>) {
        match tape.below(8) {
            0 => drop(timeout(Duration::from_millis(1), self.session.poll(None, None)).await),
            1 => drop(self.session.post(None)),
            2 => {
                let mut post = self.session.post(None);
                post.body(PostBody::TooLarge);
                post.answer().await;
            }
            3 => self.session.close(),
            4 => self.queued.push(Frame::control(&EnginePacket::Close)),
            5 => self.queued.push(Frame::control(&EnginePacket::Ping("".into()))),
            6 => self.queued.push(Frame::control(&EnginePacket::Upgrade)),
            _ => self.session.release(),
        }
    }

    async fn post(&mut self, tape: &mut Tape<'_>) {
        let frames = std::mem::take(&mut self.queued);
        let Payload { bytes, binary } = payload::encode(&frames, self.session.dialect());
        let mut bytes = Vec::from(bytes);
        if tape.one_in(32) {
            // That may make two packets of one.
            self.asked += 1;
            let at = tape.below(bytes.len());
            bytes.get_mut(at).into_iter().for_each(|byte| *byte = tape.byte());
        }
        let mut post = self.session.post(None);
        post.body(PostBody::Whole(Payload { bytes: bytes.into(), binary }));
        post.answer().await;
    }

    async fn poll(&mut self) {
        let PollAnswer::Payload { payload, .. } = self.session.poll(None, None).await else { return };
        for packet in payload::decode(payload, self.protocol) {
            match packet.expect("the node says what is a packet") {
                EnginePacket::Message(message) => self.hear(message),
                EnginePacket::Ping(_) => self.queued.push(Frame::control(&EnginePacket::Pong("".into()))),
                _ => {}
            }
        }
    }

    /// What the node says is what a client understands.
    fn hear(&mut self, message: Message) {
        let packet = match message {
            Message::Text(text) => self.packets.text(&text),
            Message::Binary(bytes) => self.packets.binary(bytes),
        };
        match packet.expect("the node says what is a packet of Socket.IO") {
            Some(Packet::Event { ns, event }) => {
                if let Some(id) = event.id.filter(|id| id % 3 != 0) {
                    self.send(&format!("3{}{id}[1]", prefix(&ns)), &[]);
                }
            }
            Some(Packet::Disconnect { ns } | Packet::ConnectError { ns, .. }) => {
                let ns = prefix(&ns);
                self.namespaces.retain(|known| *known != ns);
            }
            Some(Packet::Ack { .. }) => {
                self.acked += 1;
                assert!(self.acked <= self.asked, "an ack that nobody asked for");
            }
            _ => {}
        }
    }

    fn send(&mut self, text: &str, attachments: &[Bytes]) {
        self.queued.extend(self.parser.frames(text, attachments, false));
    }

    /// Says one packet, or something that is none. Whatever is for a namespace that the client is not in ends the session.
    fn say(&mut self, tape: &mut Tape<'_>) {
        let ns = match self.namespaces.len() {
            0 => return self.enter(tape),
            known => self.namespaces.get(tape.below(known)).cloned().unwrap_or_default(),
        };
        match tape.below(32) {
            0..=3 => self.enter(tape),
            4 | 5 => {
                self.namespaces.retain(|known| *known != ns);
                self.send(&format!("1{ns}"), &[]);
            }
            6..=9 => self.say_with_attachments(tape, &ns),
            10 | 11 => self.send(&format!("3{ns}{}[{}]", tape.number(), value(tape)), &[]),
            12 if tape.one_in(4) => self.say_anything(tape),
            _ => {
                let id = if tape.one_in(4) { String::new() } else { (tape.number() % (1 << 53)).to_string() };
                self.asked += 1;
                self.send(&format!("2{ns}{id}{}", event(tape)), &[]);
            }
        }
    }

    fn enter(&mut self, tape: &mut Tape<'_>) {
        const NAMESPACES: [&str; 12] = [
            "/",
            "/",
            "/",
            "/observed",
            "/observed",
            "/asked",
            "/asked",
            "/room-1",
            "/room-2",
            "/chosen",
            "/a/chosen",
            "/nowhere",
        ];
        const AUTH: [&str; 8] = [
            "",
            "",
            "{}",
            r#"{"token":1}"#,
            r#"{"wait":1}"#,
            r#"{"wait":59}"#,
            r#"{"refused":[1]}"#,
            r#"{"a":"\ud800"}"#,
        ];
        let ns = prefix(tape.pick(&NAMESPACES));
        if self.namespaces.contains(&ns) && !tape.one_in(16) {
            return;
        }
        match self.protocol {
            Protocol::V3 => self.send(&format!("0{ns}"), &[]),
            Protocol::V4 => self.send(&format!("0{ns}{}", tape.pick(&AUTH)), &[]),
        }
        self.namespaces.push(ns);
    }

    fn say_anything(&mut self, tape: &mut Tape<'_>) {
        self.asked += 1;
        match tape.below(6) {
            0 => self.queued.push(Frame::message_text(&tape.text(24))),
            1 => self.queued.push(Frame::message_binary(Bytes::copy_from_slice(tape.bytes(24)))),
            2 => self.send(&format!("0{}[]", prefix(tape.pick(&["/", "/asked", "/room-1?token=x"]))), &[]),
            3 => self.send("2/nowhere,[\"echo\"]", &[]),
            4 => self.send(r#"4{"message":"no"}"#, &[]),
            _ => self.send(tape.pick(&["2", "3", "1/nowhere,", "7", "2[]", "2[1,2]", "0{", "5["]), &[]),
        }
    }

    /// An event or an ack that announces attachments, of which some come, at once or between other packets.
    fn say_with_attachments(&mut self, tape: &mut Tape<'_>, ns: &str) {
        let most = if tape.one_in(8) { 5 } else { 4 };
        let announced = tape.below(most);
        let coming = if tape.one_in(8) { tape.below(5) } else { announced };
        let id = if tape.flag() { tape.number().to_string() } else { String::new() };
        let places: Vec<_> =
            (0..announced).map(|num| format!(r#"{{"_placeholder":true,"num":{num}}}"#)).collect();
        let attachments = vec![Bytes::copy_from_slice(tape.bytes(16)); coming];
        let (kind, name) = if tape.one_in(6) { (6, String::new()) } else { (5, r#""echo","#.to_owned()) };
        self.asked += 1;
        let text = format!("{kind}{announced}-{ns}{id}[{name}{}]", places.join(","));
        match self.parser {
            Parser::Json => {
                self.queued.push(Frame::message_text(&text));
                self.queued.extend(attachments.into_iter().map(Frame::message_binary));
            }
            Parser::MessagePack => self.send(&text, &attachments),
        }
    }
}

/// A namespace as packets name it.
fn prefix(ns: &str) -> String {
    if ns == "/" { String::new() } else { format!("{ns},") }
}

fn event(tape: &mut Tape<'_>) -> String {
    const NAMES: [&str; 23] = [
        "echo",
        "echo",
        "decode",
        "join",
        "join",
        "join",
        "leave",
        "say",
        "say",
        "ask",
        "ask",
        "ask all",
        "flood",
        "wait",
        "later",
        "shout",
        "dropped",
        "fail",
        "kick",
        "kick all",
        "forbidden",
        "nobody",
        "",
    ];
    let name = tape.pick(&NAMES);
    let argument = match name {
        "join" | "leave" | "say" => tape.pick(&[r#""a""#, r#""a""#, r#""b""#, r#""""#]).to_owned(),
        "flood" | "wait" | "later" => tape.byte().to_string(),
        "kick" | "kick all" => tape.one_in(4).to_string(),
        _ => value(tape),
    };
    match tape.below(32) {
        0 => format!("[{}]", value(tape)),
        1 => format!(r#"["disconnect",{argument}]"#),
        2 | 3 => format!(r#"["{name}"]"#),
        4..=6 => format!(r#"["{name}",{argument},{}]"#, value(tape)),
        _ => format!(r#"["{name}",{argument}]"#),
    }
}

/// Mostly one that is JSON.
fn value(tape: &mut Tape<'_>) -> String {
    const VALUES: [&str; 16] = [
        "null",
        "1",
        "-0.0",
        "1e400",
        "12345678901234567890123",
        "true",
        r#""""#,
        r#""text""#,
        r#""\ud800""#,
        r#""\u0000""#,
        "[]",
        "{}",
        r#"{"a":{"a":1,"a":2}}"#,
        "[[[[[[[[1]]]]]]]]",
        r#"{"":""}"#,
        " 1 ",
    ];
    const OTHERS: [&str; 8] = [
        r#"{"_placeholder":true,"num":0}"#,
        r#"{"_placeholder":true,"num":-1}"#,
        r#"{"_placeholder":true}"#,
        "]",
        "",
        "1,",
        "nul",
        r#""\x""#,
    ];
    match tape.below(48) {
        0 => format!(r#""{}""#, tape.text(8)),
        1 => format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        2 => tape.pick(&OTHERS).to_owned(),
        _ => tape.pick(&VALUES).to_owned(),
    }
}

/// Far below what a flood sends.
const MAX_BURST: usize = 1 << 16;
