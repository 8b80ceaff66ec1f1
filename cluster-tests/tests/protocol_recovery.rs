//! The rules of connection state recovery, as a client sees them that speaks the protocol by hand: those of Node's own suite
//! (`connection-state-recovery`), and of the wire. Over WebSocket and polling, with the next connection through the load balancer, and
//! on another node.
//!
//! Every rule is judged on one node, on three nodes behind a stateless round-robin load balancer, and on Node's own server.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use cluster_tests::app::prefix;
use cluster_tests::deadline::within;
use cluster_tests::messages::{Messages, Received};
use cluster_tests::on_every_target;
use cluster_tests::polling::Polling;
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

async fn a_session_is_restored_and_what_was_missed_comes_before_the_answer(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for mut game in games {
        let mut visitor = game.visitor("/").await;
        visitor.join(&game.room(1)).await;
        for round in 0..3 {
            let Visitor { id, pid, .. } = visitor.lost(&mut game).await;
            game.emit_to_all(&format!("{round} a")).await;
            game.emit_to(&game.room(1), &format!("{round} b")).await;
            game.emit_to("elsewhere", "nothing").await;
            game.emit_to(&id, &format!("{round} c")).await;
            visitor.come_back(&game).await;
            for (name, what) in [("all", 'a'), ("msg", 'b'), ("msg", 'c')] {
                let text = game.text(&format!("{round} {what}"));
                assert_eq!(visitor.event().await, json!([name, text]), "{}", game.name);
            }
            let answer = visitor.wire.next().await;
            assert_eq!(answer, format!(r#"40{{"sid":"{id}","pid":"{pid}"}}"#), "{}", game.name);
            assert!(visitor.state().await.recovered, "{}", game.name);
        }
        game.emit_to(&visitor.id, "new").await;
        assert_eq!(visitor.event().await, json!(["msg", game.text("new")]));
    }
}

async fn rooms_and_data_are_restored_and_no_middleware_runs(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for mut game in games {
        let mut visitor = game.visitor("/").await;
        visitor.join(&game.room(2)).await;
        visitor.join(&game.room(1)).await;
        visitor.ask(r#"["mark","bar"]"#).await;
        let before = visitor.state().await;
        assert!(!before.recovered, "{}", game.name);
        visitor.lost(&mut game).await;
        assert!(visitor.is_recovered(&game).await, "{}", game.name);
        let after = visitor.state().await;
        assert_eq!(after, State { recovered: true, ..before }, "{}", game.name);
        assert_eq!(after.rooms, [game.room(1), game.room(2)]);
    }
}

async fn two_namespaces_of_one_connection_are_restored_each_by_its_own_secret(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for mut game in games {
        let mut main = game.visitor("/").await;
        main.wire.send("40/custom,").await;
        let answer = main.wire.next().await;
        let mut custom = Visitor::new(main.wire.take(), "/custom", &answer);
        assert!(main.id != custom.id && main.pid != custom.pid, "{}", game.name);
        custom.send(r#"["mirror",0]"#).await;
        assert_eq!(custom.event().await, json!(["mirrored", 0]));
        main.wire = custom.wire.take();
        main.lost(&mut game).await;
        game.emit_to_all("1").await;
        // The secret of one is nothing in another.
        let mut foreign = Visitor { path: "/", wire: game.wire().await, ..custom.copy() };
        assert!(!foreign.is_recovered_on_this().await, "{}", game.name);
        main.come_back(&game).await;
        main.wire.send(&custom.connect_packet()).await;
        let mut packets = Vec::new();
        while packets.len() < 3 {
            packets.push(main.wire.next().await);
        }
        let at = |start: &str| packets.iter().position(|packet| packet.starts_with(start));
        let (event, answer, other) = (at(r#"42["all","#), at("40{"), at("40/custom,"));
        assert!(event.is_some() && event < answer && other.is_some(), "{}: {packets:?}", game.name);
        for (path, pid, at) in [("/", &main.pid, answer), ("/custom", &custom.pid, other)] {
            assert_eq!(at.map(|at| connected(&packets[at], path).pid).as_ref(), Some(pid), "{}", game.name);
        }
    }
}

async fn a_session_that_is_unknown_and_a_position_that_is_none_are_a_new_session(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for mut game in games {
        let mut visitor = game.visitor("/").await;
        visitor.lost(&mut game).await;
        let pid = visitor.pid.clone();
        for said in [
            json!({ "pid": "foo", "offset": "bar" }),
            json!({ "pid": "0".repeat(20), "offset": visitor.offset }),
            json!({ "pid": 7, "offset": visitor.offset }),
            json!({ "pid": pid, "offset": "bar" }),
            json!({ "pid": pid, "offset": 123 }),
            json!({ "pid": null, "offset": null }),
            json!({ "offset": visitor.offset }),
        ] {
            let mut wire = game.wire().await;
            wire.send(&format!("40{said}")).await;
            let answer = connected(&wire.next().await, "/");
            assert!(answer.id != visitor.id && answer.pid != pid, "{}: {said}", game.name);
        }
        assert!(visitor.is_recovered(&game).await, "{}: nobody else took it", game.name);
    }
}

async fn a_client_that_has_got_no_event_is_a_new_one(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for mut game in games {
        let mut visitor = Visitor::enter(game.wire().await, "/").await;
        visitor.join(&game.room(1)).await;
        visitor.lost(&mut game).await;
        assert!(!visitor.is_recovered(&game).await, "{}", game.name);
        assert!(visitor.state().await.rooms.is_empty());
    }
}

async fn who_left_or_was_disconnected_is_a_new_client(target: Target) {
    for leaves in ["41", r#"42["leave me"]"#, r#"42["close me"]"#] {
        let (_alone, games) = Game::each(&target).await;
        for mut game in games {
            let mut visitor = game.visitor("/").await;
            visitor.wire.send(leaves).await;
            if leaves != "41" {
                assert_eq!(visitor.wire.next().await, "41", "{}", game.name);
            }
            visitor.gone(&mut game).await;
            assert!(!visitor.is_recovered(&game).await, "{leaves} {}", game.name);
        }
    }
}

async fn a_position_is_the_last_argument_of_events_that_ask_no_ack(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for game in games {
        let mut wire = game.wire().await;
        wire.send("40").await;
        let answer = wire.next().await;
        let keys: Value = serde_json::from_str(answer.trim_start_matches("40")).unwrap_or_default();
        assert_eq!(keys.as_object().map(serde_json::Map::len), Some(2), "{answer}: an id and a secret");
        let mut visitor = Visitor::new(wire, "/", &answer);
        for (argument, count) in [("null", 3), ("\"text\"", 3), ("[1,2]", 3)] {
            visitor.send(&format!(r#"["mirror",{argument}]"#)).await;
            let packet = visitor.wire.next().await;
            let array: Vec<Value> = serde_json::from_str(packet.trim_start_matches("42")).unwrap_or_default();
            assert_eq!(array.len(), count, "{}: {packet}", game.name);
            assert!(array.last().is_some_and(Value::is_string), "{packet}");
        }
        // One that is not kept has none. Who does not poll just then does not get it.
        if !game.polls {
            visitor.send(r#"["volatile",7]"#).await;
            assert_eq!(visitor.wire.next().await, r#"42["mirrored",7]"#, "{}", game.name);
        }
        // Nor has one that asks for an ack, whatever its last argument.
        for argument in ["7", "\"text\""] {
            visitor.send(&format!(r#"["ask",{argument}]"#)).await;
            let packet = visitor.wire.next().await;
            let id = packet.trim_start_matches("42").split('[').next().unwrap_or_default();
            assert_eq!(packet, format!(r#"42{id}["question",{argument}]"#), "{}", game.name);
            visitor.wire.send(&format!("43{id}[]")).await;
        }
        // Nor an ack.
        assert_eq!(visitor.ask(&format!(r#"["present","{}"]"#, visitor.id)).await, json!([1]));
    }
}

async fn a_binary_event_has_a_position_and_is_kept(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for mut game in games {
        let mut visitor = game.visitor("/").await;
        let room = game.room(1);
        visitor.join(&room).await;
        visitor.lost(&mut game).await;
        let event = json!(["msg", room, { "_placeholder": true, "num": 0 }]);
        game.emitter.wire.send(&format!("451-{event}")).await;
        game.emitter.wire.send_binary(&[1, 2, 3]).await;
        game.emit_to_all("behind").await;
        visitor.come_back(&game).await;
        let packet = visitor.wire.next().await;
        let array: Vec<Value> = serde_json::from_str(packet.trim_start_matches("451-")).unwrap_or_default();
        assert_eq!(
            array.get(..2),
            Some(&[json!("msg"), json!({ "_placeholder": true, "num": 0 })][..]),
            "{packet}"
        );
        assert!(array.len() == 3 && array.last().is_some_and(Value::is_string), "{packet}");
        assert_eq!(visitor.wire.next_binary().await, [1, 2, 3], "{}", game.name);
        assert_eq!(visitor.event().await, json!(["all", game.text("behind")]));
        assert_eq!(connected(&visitor.wire.next().await, "/").pid, visitor.pid);
    }
}

async fn what_asks_for_an_ack_or_is_volatile_is_not_kept(target: Target) {
    let (_alone, games) = Game::each(&target).await;
    for mut game in games {
        let mut visitor = game.visitor("/").await;
        if !game.polls {
            visitor.send(r#"["volatile",7]"#).await;
            assert_eq!(visitor.wire.next().await, r#"42["mirrored",7]"#);
        }
        visitor.send(r#"["ask",8]"#).await;
        assert!(visitor.wire.next().await.ends_with(r#"["question",8]"#));
        visitor.lost(&mut game).await;
        visitor.come_back(&game).await;
        let answer = visitor.wire.next().await;
        assert_eq!(connected(&answer, "/").pid, visitor.pid, "{}: nothing before {answer}", game.name);
    }
}

async fn a_client_of_version_2_is_served_and_has_no_secret(target: Target) {
    let (_alone, mut games) = Game::each(&target).await;
    let mut ws = target.upgrade("EIO=3&transport=websocket").await.expect("accepted");
    assert!(ws.recv_text().await.starts_with("0{"));
    assert_eq!(ws.packet_text().await, "40");
    games[0].emit_to_all("1").await;
    let own = format!(r#"42["all","{}""#, games[0].text("1"));
    // It may hear the end of another game.
    let next = async |ws: &mut WebSocket| loop {
        let packet = ws.packet_text().await;
        if packet.starts_with(&own) || !packet.starts_with(r#"42["all""#) {
            return packet;
        }
    };
    let event = next(&mut ws).await;
    assert!(event.starts_with(&own), "{event}");
    ws.send(r#"427["join","room 1"]"#).await;
    assert_eq!(next(&mut ws).await, "437[]");
}

on_every_target!(
    Recovery:
    a_session_is_restored_and_what_was_missed_comes_before_the_answer,
    rooms_and_data_are_restored_and_no_middleware_runs,
    two_namespaces_of_one_connection_are_restored_each_by_its_own_secret,
    a_session_that_is_unknown_and_a_position_that_is_none_are_a_new_session,
    a_client_that_has_got_no_event_is_a_new_one,
    who_left_or_was_disconnected_is_a_new_client,
    a_position_is_the_last_argument_of_events_that_ask_no_ack,
    a_binary_event_has_a_position_and_is_kept,
    what_asks_for_an_ack_or_is_volatile_is_not_kept,
    a_client_of_version_2_is_served_and_has_no_secret,
);

/// How clients come, and one that emits while they are away. Its rooms, and what it emits, are no other's: a packet of up to a second
/// before a client came may be for it, too (docs/protocol/mesh.md, "Recovery").
struct Game {
    name: String,
    number: usize,
    target: Target,
    polls: bool,
    emitter: Visitor,
}

impl Game {
    /// Over each transport, through the load balancer and to another node than the emitter's. One after another: what is emitted to all
    /// is nothing for others.
    async fn each(target: &Target) -> (MutexGuard<'static, ()>, Vec<Self>) {
        let alone = ALONE.lock().await;
        let mut games = Vec::new();
        for polls in [false, true] {
            for (way, to) in [("through the balancer", target.clone()), ("to a node", target.at(games.len()))]
            {
                let number = GAMES.fetch_add(1, Ordering::Relaxed);
                let emitter = Wire::open(&target.at(games.len() + 1), false, number).await;
                let emitter = Visitor::enter(emitter, "/").await;
                let name = format!("{} {way}", if polls { "polling" } else { "WebSocket" });
                games.push(Self { name, number, target: to, polls, emitter });
            }
        }
        (alone, games)
    }

    fn room(&self, number: usize) -> String {
        format!("room {number} of {}", self.number)
    }

    fn text(&self, text: &str) -> String {
        format!("{}: {text}", self.number)
    }

    async fn emit_to_all(&mut self, text: &str) {
        let event = json!(["all", self.text(text)]);
        self.emitter.ask(&event.to_string()).await;
    }

    async fn emit_to(&mut self, room: &str, text: &str) {
        let event = json!(["msg", room, self.text(text)]);
        self.emitter.ask(&event.to_string()).await;
    }

    async fn wire(&self) -> Wire {
        Wire::open(&self.target, self.polls, self.number).await
    }

    /// A client that has a position.
    async fn visitor(&self, path: &'static str) -> Visitor {
        let mut visitor = Visitor::enter(self.wire().await, path).await;
        visitor.send(r#"["mirror",0]"#).await;
        assert_eq!(visitor.event().await, json!(["mirrored", 0]));
        visitor
    }
}

/// A client in one namespace.
struct Visitor {
    wire: Wire,
    path: &'static str,
    id: String,
    pid: String,
    offset: Option<String>,
}

#[derive(Debug, PartialEq)]
struct State {
    recovered: bool,
    rooms: Vec<String>,
    /// Which run of the middleware let it in.
    number: u64,
    mark: String,
}

impl Visitor {
    async fn enter(mut wire: Wire, path: &'static str) -> Self {
        wire.send(&format!("40{}", prefix(path))).await;
        let answer = wire.next().await;
        Self::new(wire, path, &answer)
    }

    fn new(wire: Wire, path: &'static str, answer: &str) -> Self {
        let Answer { id, pid } = connected(answer, path);
        Self { wire, path, id, pid, offset: None }
    }

    async fn send(&mut self, event: &str) {
        self.wire.send(&format!("42{}{event}", prefix(self.path))).await;
    }

    async fn join(&mut self, room: &str) {
        self.ask(&json!(["join", room]).to_string()).await;
    }

    /// Sends an event and returns its ack. Nothing else may come before it.
    async fn ask(&mut self, event: &str) -> Value {
        self.wire.send(&format!("42{}7{event}", prefix(self.path))).await;
        loop {
            let packet = self.wire.next().await;
            let start = format!("43{}7", prefix(self.path));
            match packet.strip_prefix(&start) {
                Some(ack) => return serde_json::from_str(ack).unwrap_or_default(),
                // What it emitted to all, itself among them.
                None => assert!(packet.contains(r#"["all","#), "an ack of {event}, not {packet}"),
            }
        }
    }

    /// The next event, without the position behind it, which is the client's from then on.
    async fn event(&mut self) -> Value {
        let packet = self.wire.next().await;
        let json = packet.strip_prefix(&format!("42{}", prefix(self.path)));
        let mut array: Vec<Value> = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        match array.pop() {
            Some(Value::String(offset)) => self.offset = Some(offset),
            _ => panic!("an event with a position, not {packet}"),
        }
        array.into()
    }

    async fn state(&mut self) -> State {
        let state = self.ask(r#"["state"]"#).await;
        let (recovered, rooms, number, mark) =
            serde_json::from_value(state.get(0).cloned().unwrap_or_default()).expect("a state");
        State { recovered, rooms, number, mark }
    }

    /// Loses its connection, and waits until the server knows.
    async fn lost(&mut self, game: &mut Game) -> Self {
        self.wire.lose().await;
        self.gone(game).await;
        self.copy()
    }

    async fn gone(&self, game: &mut Game) {
        let present = format!(r#"["present","{}"]"#, self.id);
        within("the server to notice", async { while game.emitter.ask(&present).await != json!([0]) {} })
            .await;
    }

    fn connect_packet(&self) -> String {
        let mut auth = json!({ "pid": self.pid });
        if let Some(offset) = &self.offset {
            auth["offset"] = json!(offset);
        }
        format!("40{}{auth}", prefix(self.path))
    }

    /// Connects again, and asks for its socket.
    async fn come_back(&mut self, game: &Game) {
        self.wire = game.wire().await;
        self.wire.send(&self.connect_packet()).await;
    }

    /// Whether it gets it. What it missed is nothing here.
    async fn is_recovered(&mut self, game: &Game) -> bool {
        self.wire = game.wire().await;
        self.is_recovered_on_this().await
    }

    async fn is_recovered_on_this(&mut self) -> bool {
        self.wire.send(&self.connect_packet()).await;
        let mut packet = self.wire.next().await;
        while packet.starts_with("42") {
            packet = self.wire.next().await;
        }
        let Answer { id, pid } = connected(&packet, self.path);
        assert_eq!(id == self.id, pid == self.pid, "{packet}");
        let is_it = pid == self.pid;
        (self.id, self.pid) = (id, pid);
        is_it
    }

    /// The same without a connection.
    fn copy(&self) -> Self {
        let Self { path, id, pid, offset, .. } = self;
        Self {
            wire: Wire(Connection::Lost, self.wire.1),
            path,
            id: id.clone(),
            pid: pid.clone(),
            offset: offset.clone(),
        }
    }
}

struct Answer {
    id: String,
    pid: String,
}

fn connected(packet: &str, path: &str) -> Answer {
    let json = packet.strip_prefix(&format!("40{}", prefix(path)));
    let payload: Value = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    match (payload.get("sid").and_then(Value::as_str), payload.get("pid").and_then(Value::as_str)) {
        (Some(id), Some(pid)) => Answer { id: id.to_owned(), pid: pid.to_owned() },
        _ => panic!("CONNECT of {path} with an id and a secret, not {packet}"),
    }
}

/// A connection over either transport, in a game of that number.
struct Wire(Connection, usize);

enum Connection {
    WebSocket(Box<WebSocket>),
    /// With packets that came in one response with another.
    Polling(Polling, VecDeque<String>),
    Lost,
}

impl Wire {
    async fn open(target: &Target, polls: bool, game: usize) -> Self {
        let connection = if polls {
            Connection::Polling(target.polling().await, VecDeque::new())
        } else {
            Connection::WebSocket(Box::new(target.websocket().await))
        };
        Self(connection, game)
    }

    async fn send(&mut self, packet: &str) {
        match &mut self.0 {
            Connection::WebSocket(ws) => ws.send(packet).await,
            Connection::Polling(polling, _) => polling.send(packet.to_owned()).await,
            Connection::Lost => panic!("a lost connection sends nothing"),
        }
    }

    async fn send_binary(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Connection::WebSocket(ws) => ws.send_binary(bytes).await,
            Connection::Polling(..) | Connection::Lost => panic!("only emitters send bytes"),
        }
    }

    /// The next packet that is neither a heartbeat nor a noop, nor what another game emitted to all.
    async fn next(&mut self) -> String {
        let own = format!(r#"42["all","{}: "#, self.1);
        loop {
            let packet = self.next_of_any_game().await;
            if packet.starts_with(&own) || !packet.starts_with(r#"42["all","#) {
                return packet;
            }
        }
    }

    async fn next_of_any_game(&mut self) -> String {
        match &mut self.0 {
            Connection::WebSocket(ws) => ws.packet_text().await,
            Connection::Polling(polling, ready) => loop {
                if let Some(packet) = ready.pop_front() {
                    return packet;
                }
                let reply = polling.poll().await;
                assert_eq!(reply.status(), 200, "{reply:?}");
                for packet in reply.text().split('\x1e') {
                    match packet {
                        "2" => polling.send("3").await,
                        "6" => {}
                        _ => ready.push_back(packet.to_owned()),
                    }
                }
            },
            Connection::Lost => panic!("a lost connection gets nothing"),
        }
    }

    async fn next_binary(&mut self) -> Vec<u8> {
        if let Connection::WebSocket(ws) = &mut self.0 {
            return match ws.packet().await {
                Received::Binary(bytes) => bytes,
                other => panic!("bytes, not {other:?}"),
            };
        }
        let packet = self.next().await;
        assert_eq!(packet, "bAQID");
        vec![1, 2, 3]
    }

    fn take(&mut self) -> Self {
        Self(std::mem::replace(&mut self.0, Connection::Lost), self.1)
    }

    /// As a client whose connection is lost: one that polls can say so.
    async fn lose(&mut self) {
        if let Connection::Polling(polling, _) = self.take().0 {
            polling.send("1").await;
        }
    }
}

static GAMES: AtomicUsize = AtomicUsize::new(0);
static ALONE: Mutex<()> = Mutex::const_new(());
