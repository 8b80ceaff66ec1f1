//! A client that plays a sequence, and notes what it observes.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::answer::{Answer, answer};
use cluster_tests::fixture::Suite;
use cluster_tests::messages::Received;
use cluster_tests::target::Target;
use cluster_tests::websocket::WebSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::notes;
use crate::payload;
use crate::steps::{Request, Sequence, Step};

/// What was observed at each step.
pub(crate) type Seen = Vec<Vec<String>>;

/// Plays a sequence. It ends early when a step ends the session without a way to begin another.
pub(crate) async fn play(sequence: &Sequence, target: Target) -> Seen {
    let mut player = Player {
        target,
        suite: sequence.suite,
        version: sequence.version,
        opening: Step::Open(""),
        session: None,
        sid: "aaaaaaaaaaaaaaaaaaaa".to_owned(),
        marks: 0,
        packets: Vec::new(),
    };
    let mut seen = Vec::new();
    for step in &sequence.steps {
        let mut notes = Vec::new();
        player.play(step, &mut notes).await;
        seen.push(player.noted(notes));
    }
    seen
}

#[derive(Debug)]
struct Player {
    target: Target,
    suite: Suite,
    version: u8,
    /// How it began its last session.
    opening: Step,
    session: Option<Session>,
    /// Of the last session, also when it is over.
    sid: String,
    /// How many marks were sent, which tell each other apart.
    marks: usize,
    /// What came during the step.
    packets: Vec<String>,
}

#[derive(Debug)]
struct Session {
    query: &'static str,
    ws: Option<WebSocket>,
    probe: Option<WebSocket>,
    held: Option<Held>,
    /// Packets of a payload that are still to be looked at.
    received: VecDeque<String>,
    /// The namespaces that it is in.
    joined: BTreeSet<String>,
}

impl Session {
    fn new(query: &'static str) -> Self {
        Self { query, ws: None, probe: None, held: None, received: VecDeque::new(), joined: BTreeSet::new() }
    }
}

/// A GET that waits. Dropping it gives it up.
#[derive(Debug)]
struct Held(JoinSet<Answer>);

impl Held {
    /// `None` if there is none in time.
    async fn answer(mut self) -> Option<Answer> {
        timeout(SILENCE, self.0.join_next()).await.ok()??.ok()
    }
}

#[derive(Debug)]
enum Next {
    Packet(String),
    End(String),
}

impl Player {
    async fn play(&mut self, step: &Step, notes: &mut Vec<String>) {
        if matches!(step, Step::Open(_) | Step::OpenWebSocket(_)) {
            self.opening = step.clone();
        } else if self.session.is_none() && !matches!(step, Step::Ask(_)) {
            self.come_back().await;
        }
        match step {
            Step::Open(more) => self.open(more, notes).await,
            Step::OpenWebSocket(more) => self.open_websocket(more, notes).await,
            Step::Ask(request) => self.ask(request, notes).await,
            Step::Send(packets) if self.session.is_some() => {
                if self.send(packets, notes).await {
                    self.connects(packets, notes).await;
                    self.sync(notes).await;
                }
            }
            Step::Post(body, content_type) if self.is_polling() => {
                let is_fine = self.post(body.clone(), *content_type, notes).await;
                if is_fine {
                    self.sync(notes).await;
                }
            }
            Step::Frame(first, payload) => {
                let ws = self.session.as_mut().and_then(|session| session.ws.as_mut());
                if let Some(ws) = ws {
                    ws.try_send_frame(*first, payload.clone()).await;
                    self.sync(notes).await;
                }
            }
            Step::Hold if self.is_polling() && !self.has_probe() => self.hold(notes).await,
            Step::GiveUp => {
                if self.session.as_mut().is_some_and(|session| session.held.take().is_some()) {
                    self.over(notes).await;
                }
            }
            Step::Probe(first) if self.is_polling() => self.probe(first, notes).await,
            Step::OnProbe(text) if self.has_probe() => self.on_probe(text, notes).await,
            Step::BreakOff => {
                let Some(session) = &mut self.session else { return };
                if session.probe.take().is_some() {
                    self.probe_anew().await;
                } else if session.ws.take().is_some() {
                    self.over(notes).await;
                }
            }
            Step::Send(_) | Step::Post(..) | Step::Hold | Step::Probe(_) | Step::OnProbe(_) => {}
        }
    }

    fn is_polling(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.ws.is_none())
    }

    fn has_probe(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.probe.is_some())
    }

    // --- sessions ---

    async fn open(&mut self, more: &'static str, notes: &mut Vec<String>) {
        self.session = None;
        let query = format!("EIO={}&transport=polling{more}", self.version);
        let Some(answer) = self.request("GET", &query, "", &[]).await else {
            return notes.push(self.outcome(None));
        };
        let mut packets = payload::decode(&answer, self.version);
        let Some(sid) = packets.front().and_then(|packet| notes::sid(packet)) else {
            return notes.push(self.described(&answer));
        };
        self.sid = sid;
        notes.push(self.masked(&packets.pop_front().unwrap_or_default()));
        notes.push(notes::headers(&answer));
        self.session = Some(Session { received: packets, ..Session::new(more) });
        self.greeted(notes).await;
    }

    async fn open_websocket(&mut self, more: &'static str, notes: &mut Vec<String>) {
        self.session = None;
        let query = format!("EIO={}&transport=websocket{more}", self.version);
        match self.target.upgrade(&query).await {
            Err(reply) => notes.push(format!("{:?}", reply.outcome())),
            Ok(ws) => {
                self.session = Some(Session { ws: Some(ws), ..Session::new(more) });
                match self.next().await {
                    Next::End(end) => notes.push(end),
                    Next::Packet(open) => {
                        self.sid = notes::sid(&open).unwrap_or_default();
                        notes.push(self.masked(&open));
                        self.greeted(notes).await;
                    }
                }
            }
        }
    }

    /// As most clients do when their session is over. It is noted of other steps how that looks.
    async fn come_back(&mut self) {
        let mut notes = Vec::new();
        match self.opening {
            Step::OpenWebSocket(more) => self.open_websocket(more, &mut notes).await,
            Step::Open(more) => self.open(more, &mut notes).await,
            _ => {}
        }
        let connect = ["40".to_owned()];
        if (self.suite, self.version) == (Suite::SocketV3, 4) && self.send(&connect, &mut notes).await {
            self.connects(&connect, &mut notes).await;
        }
        self.packets.clear();
    }

    /// Clients of Socket.IO 2 are in the main namespace without asking.
    async fn greeted(&mut self, notes: &mut Vec<String>) {
        if (self.suite, self.version) == (Suite::SocketV3, 3) {
            self.connects(&["40".to_owned()], notes).await;
        }
    }

    /// What is to be seen of a session that has ended, or should have.
    async fn over(&mut self, notes: &mut Vec<String>) {
        let Some(session) = self.session.take() else { return };
        // Node waits for the client to hang up.
        drop(session.ws);
        if let Some(held) = session.held {
            notes.push(format!("the held GET: {}", self.outcome(held.answer().await)));
        }
        if let Some(mut probe) = session.probe {
            notes.push(format!("the probe: {:?}", timeout(SILENCE, probe.next()).await));
        }
        let begun = Instant::now();
        let query = self.query("polling");
        while begun.elapsed() < SILENCE {
            let answer = self.request("PUT", &query, "", &[]).await;
            if answer.is_some_and(|answer| answer.text().contains("Session ID unknown")) {
                return notes.push(GONE.to_owned());
            }
        }
        notes.push("still there".to_owned());
    }

    // --- sending ---

    /// Whether the session goes on.
    async fn send(&mut self, packets: &[String], notes: &mut Vec<String>) -> bool {
        if let Some(ws) = self.session.as_mut().and_then(|session| session.ws.as_mut()) {
            for packet in packets {
                ws.try_send(packet).await;
            }
            return true;
        }
        let is_script = self.session.as_ref().is_some_and(|session| session.query.contains("j="));
        let body = payload::encode(packets, self.version, is_script);
        self.post(body, is_script.then_some("application/x-www-form-urlencoded"), notes).await
    }

    async fn post(&mut self, body: Vec<u8>, content_type: Option<&str>, notes: &mut Vec<String>) -> bool {
        let content_type = content_type.map(|value| format!("Content-Type: {value}\r\n")).unwrap_or_default();
        let answer = self.request("POST", &self.query("polling"), &content_type, &body).await;
        let seen = self.outcome(answer);
        let is_ok = seen.starts_with("200 ok");
        if !is_ok {
            notes.push(format!("POST: {seen}"));
            self.over(notes).await;
        }
        is_ok
    }

    /// Waits until everything that was sent has had its effect, and notes what came meanwhile.
    async fn sync(&mut self, notes: &mut Vec<String>) {
        let Some(session) = &self.session else { return };
        self.marks += 1;
        let mut marks = marks(self.suite, &session.joined, self.marks);
        let sent: Vec<_> = marks.iter().map(|(sent, _)| sent.clone()).collect();
        if !self.send(&sent, notes).await {
            return;
        }
        let is_mark = move |packet: &str| {
            marks.retain(|(_, answer)| !packet.starts_with(answer.as_str()));
            marks.is_empty()
        };
        self.until(is_mark, notes).await;
    }

    /// Waits for the answer to each CONNECT among these packets, and for the greeting behind it.
    async fn connects(&mut self, packets: &[String], notes: &mut Vec<String>) {
        for packet in packets {
            let Some(namespace) = notes::namespace(packet, self.version) else { continue };
            let Some(session) = &mut self.session else { return };
            if packet.starts_with("41") {
                session.joined.remove(&namespace);
            } else if packet.starts_with("40") {
                let version = self.version;
                let is_answer = |packet: &str| {
                    (packet.starts_with("40") || packet.starts_with("44"))
                        && notes::namespace(packet, version).as_ref() == Some(&namespace)
                };
                let answer = self.until(is_answer, notes).await;
                if answer.is_some_and(|answer| answer.starts_with("40")) {
                    if let Some(session) = &mut self.session {
                        session.joined.insert(namespace.clone());
                    }
                    if ["/", "/custom"].contains(&namespace.as_str()) {
                        self.until(|packet| packet.contains("[\"auth\","), notes).await;
                    }
                }
            }
        }
    }

    // --- receiving ---

    /// Keeps packets up to that which is looked for, and returns it; `None` if the session ends before.
    async fn until(
        &mut self,
        mut is_it: impl FnMut(&str) -> bool,
        notes: &mut Vec<String>,
    ) -> Option<String> {
        loop {
            match self.next().await {
                Next::Packet(packet) => {
                    self.packets.push(packet.clone());
                    if is_it(&packet) {
                        return Some(packet);
                    }
                }
                Next::End(end) => {
                    notes.push(end);
                    self.over(notes).await;
                    return None;
                }
            }
        }
    }

    /// What is noted of a step. How a client of polling learns of the end depends on the time.
    fn noted(&mut self, notes: Vec<String>) -> Vec<String> {
        let packets = mem::take(&mut self.packets);
        let packets = match self.suite {
            Suite::SocketV3 => notes::grouped(packets),
            _ => packets.iter().map(|packet| notes::canonical(packet)).collect(),
        };
        let is_over = notes.last().is_some_and(|last| last == GONE);
        let packets =
            packets.iter().filter(|packet| !packet.contains(MARK)).map(|packet| self.masked(packet));
        let tells = |note: &String| {
            let note = note.trim_start_matches("POST: ").trim_start_matches("the held GET: ");
            note == "1" || note.starts_with("200 1 ") || note.starts_with("400 {\"code\":1,")
        };
        packets.chain(notes).filter(|note| !(is_over && tells(note))).collect()
    }

    async fn next(&mut self) -> Next {
        loop {
            let Some(session) = &mut self.session else { return Next::End("no session".to_owned()) };
            match session.received.pop_front().as_deref() {
                // When it comes depends on the time.
                Some("6") if session.ws.is_none() => continue,
                Some(packet) => return Next::Packet(packet.to_owned()),
                None => {}
            }
            if let Some(ws) = &mut session.ws {
                return match timeout(SILENCE, ws.next()).await {
                    Ok(Received::Text(text)) => Next::Packet(text),
                    Ok(Received::Binary(bytes)) => Next::Packet(format!("b{}", STANDARD.encode(bytes))),
                    Ok(Received::Pong(payload)) => Next::Packet(format!("a pong of {} bytes", payload.len())),
                    Ok(Received::Closed(code)) => Next::End(format!("closed: {code:?}")),
                    Err(_) => Next::End("silence".to_owned()),
                };
            }
            let polled = match session.held.take() {
                Some(held) => held.answer().await,
                None => self.request("GET", &self.query("polling"), "", &[]).await,
            };
            let Some(answer) = polled else { return Next::End("silence".to_owned()) };
            if answer.code() != "200" {
                return Next::End(self.described(&answer));
            }
            let packets = payload::decode(&answer, self.version);
            if let Some(session) = &mut self.session {
                session.received.extend(packets);
            }
        }
    }

    // --- polls and probes ---

    async fn hold(&mut self, notes: &mut Vec<String>) {
        let request = self.bytes("GET", &self.query("polling"), "", &[]);
        let addr = self.target.addr();
        let mut held = JoinSet::new();
        held.spawn(async move { answer(addr, &request).await });
        // Requests that change nothing, one for each node.
        for _ in 0..3 {
            self.request("PUT", &self.query("polling"), "", &[]).await;
        }
        let Some(session) = &mut self.session else { return };
        if let Some(first) = session.held.replace(Held(held))
            && let Some(second) = session.held.replace(first)
        {
            notes.push(format!("the second GET: {}", self.outcome(second.answer().await)));
            self.over(notes).await;
        }
    }

    async fn probe(&mut self, first: &str, notes: &mut Vec<String>) {
        if self.has_probe() {
            return;
        }
        match self.target.upgrade(&self.query("websocket")).await {
            Err(reply) => notes.push(format!("the probe: {:?}", reply.outcome())),
            Ok(ws) => {
                if let Some(session) = &mut self.session {
                    session.probe = Some(ws);
                }
                self.on_probe(first, notes).await;
                // A GET that waits is answered now, or a little later.
                let session = self.session.as_mut().filter(|session| session.probe.is_some());
                if let Some(held) = session.and_then(|session| session.held.take()) {
                    held.answer().await;
                }
            }
        }
    }

    /// Waits until the server has seen the end of a probe that broke off: until it answers another, which it ends itself.
    async fn probe_anew(&self) {
        let probing = async {
            while let Ok(mut ws) = self.target.upgrade(&self.query("websocket")).await {
                ws.try_send("2probe").await;
                if let Received::Text(_) = ws.next().await {
                    ws.try_send("4early").await;
                    ws.next().await;
                    break;
                }
            }
        };
        timeout(SILENCE, probing).await.ok();
    }

    async fn on_probe(&mut self, text: &str, notes: &mut Vec<String>) {
        let Some(session) = &mut self.session else { return };
        let Some(mut probe) = session.probe.take() else { return };
        probe.try_send(text).await;
        if text.starts_with('5') {
            session.ws = Some(probe);
            return self.sync(notes).await;
        }
        loop {
            match timeout(SILENCE, probe.next()).await {
                Ok(Received::Text(answer)) if text == "2probe" => {
                    notes.push(format!("the probe: {answer}"));
                    session.probe = Some(probe);
                    return;
                }
                Ok(Received::Closed(code)) => return notes.push(format!("the probe: closed {code:?}")),
                Ok(other) => notes.push(format!("the probe: {other:?}")),
                Err(_) => return notes.push("the probe: silence".to_owned()),
            }
        }
    }

    // --- requests ---

    async fn ask(&mut self, request: &Request, notes: &mut Vec<String>) {
        if request.target.contains("SID") && self.is_polling() {
            self.sync(notes).await;
            if self.session.is_some() {
                // A GET must find something.
                let filler = if self.suite == Suite::SocketV3 { "40/filler," } else { "4filler" };
                self.send(&[filler.to_owned()], notes).await;
            }
        }
        let bytes = request.bytes(&self.sid);
        let answer = timeout(SILENCE, answer(self.target.addr(), &bytes)).await.ok();
        notes.push(self.outcome(answer));
        self.sync(notes).await;
    }

    fn query(&self, transport: &str) -> String {
        let more = self.session.as_ref().map_or("", |session| session.query);
        format!("EIO={}&transport={transport}&sid={}{more}", self.version, self.sid)
    }

    fn bytes(&self, method: &str, query: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let length = if body.is_empty() && method != "POST" {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head =
            format!("{method} {} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n", self.target.uri(query));
        [head.as_bytes(), body].concat()
    }

    /// `None` if there is no answer.
    async fn request(&self, method: &str, query: &str, headers: &str, body: &[u8]) -> Option<Answer> {
        let bytes = self.bytes(method, query, headers, body);
        timeout(SILENCE, answer(self.target.addr(), &bytes)).await.ok()
    }

    fn outcome(&self, answer: Option<Answer>) -> String {
        answer.map_or_else(|| "no answer".to_owned(), |answer| self.described(&answer))
    }

    fn described(&self, answer: &Answer) -> String {
        self.masked(&notes::answer(answer, self.version))
    }

    /// Without what is different in every session.
    fn masked(&self, text: &str) -> String {
        notes::masked(text).replace(&self.sid, "<sid>")
    }
}

/// What is sent to know that everything before it was handled, each with the beginning of its answer.
fn marks(suite: Suite, joined: &BTreeSet<String>, number: usize) -> Vec<(String, String)> {
    if suite != Suite::SocketV3 {
        let mark = format!("4{MARK}{number}");
        return vec![(mark.clone(), mark)];
    }
    let id = 1_000_000 + number;
    let answered = joined.iter().filter_map(|namespace| match namespace.as_str() {
        "/" => Some((format!("42{id}[\"message-with-ack\",\"{MARK}\"]"), format!("43{id}["))),
        "/rooms" => Some((format!("42/rooms,{id}[\"echo\",\"{MARK}\"]"), format!("43/rooms,{id}["))),
        _ => None,
    });
    let mut marks: Vec<_> = answered.collect();
    if marks.is_empty() {
        marks.push((format!("40/{MARK}{number},"), format!("44/{MARK}{number},")));
    }
    marks
}

const MARK: &str = "~mark~";
const GONE: &str = "gone";
/// Longer than anything takes, and shorter than the heartbeat.
const SILENCE: Duration = Duration::from_secs(2);
