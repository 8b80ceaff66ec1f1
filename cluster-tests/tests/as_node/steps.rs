//! What a client of a generated sequence does, step by step.

use cluster_tests::dice::Dice;
use cluster_tests::fixture::Suite;

use crate::tables::*;

/// Everything that one client does.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) suite: Suite,
    /// The version of Engine.IO.
    pub(crate) version: u8,
    pub(crate) steps: Vec<Step>,
}

/// One thing a client does. What cannot be done, because there is no session or because it is on another transport, is
/// left out.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Begins a session over polling, with this behind the query.
    Open(&'static str),
    /// Begins a session over WebSocket, with this behind the query.
    OpenWebSocket(&'static str),
    /// Sends packets, over polling in one payload.
    Send(Vec<String>),
    /// Sends a POST of the session.
    Post(Vec<u8>, Option<&'static str>),
    /// Sends a frame with this first byte.
    Frame(u8, Vec<u8>),
    /// Begins a GET.
    Hold,
    /// Gives up the GET that was begun.
    GiveUp,
    /// Opens a WebSocket for the session, and sends this.
    Probe(String),
    /// Sends this over the WebSocket of [`Step::Probe`].
    OnProbe(String),
    /// Breaks the WebSocket off.
    BreakOff,
    /// Sends a request. `SID` is the session.
    Ask(Request),
}

/// A request, well-formed or not.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<&'static str>,
    pub(crate) body: &'static str,
}

impl Request {
    pub(crate) fn bytes(&self, sid: &str) -> Vec<u8> {
        let target = self.target.replace("SID", sid);
        let headers: String = self.headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = match self.body {
            "" if self.method == "GET" => String::new(),
            _ if self.headers.iter().any(|header| header.starts_with("Transfer-Encoding")) => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        format!("{} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n{}", self.method, self.body)
            .into_bytes()
    }

    /// Whether it asks for a WebSocket.
    pub(crate) fn is_upgrade(&self) -> bool {
        self.headers.contains(&"Connection: Upgrade")
    }
}

/// Makes sequences of a seed.
#[derive(Debug)]
pub(crate) struct Generator {
    dice: Dice,
    /// Where the session is, if it is anywhere.
    on: Transport,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Polling,
    Probing,
    WebSocket,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), on: Transport::Polling }
    }

    pub(crate) fn sequence(mut self) -> Sequence {
        let suite = if self.dice.chance(0.5) { Suite::EngineV3Patient } else { Suite::SocketV3 };
        let version = if self.dice.chance(0.7) { 4 } else { 3 };
        let mut steps = vec![self.opening(version)];
        if suite == Suite::SocketV3 && version == 4 && self.dice.chance(0.7) {
            steps.push(Step::Send(vec!["40".to_owned()]));
        }
        for _ in 0..self.dice.below(1..14) {
            let step = self.step(suite, version);
            let is_last = matches!(&step, Step::Ask(request) if request.is_upgrade());
            steps.push(step);
            if is_last {
                break;
            }
        }
        Sequence { suite, version, steps }
    }

    fn opening(&mut self, version: u8) -> Step {
        let v3: &[_] = &["", "&b64=1", "&j=0", "&j=7&b64=1"];
        let more = if version == 3 { self.pick(v3) } else { self.pick(&["", "", "", "&b64=1", "&t=abc"]) };
        if self.dice.chance(0.6) {
            self.on = Transport::Polling;
            return Step::Open(more);
        }
        self.on = Transport::WebSocket;
        Step::OpenWebSocket(more.split("&j").next().unwrap_or_default())
    }

    fn step(&mut self, suite: Suite, version: u8) -> Step {
        match (self.dice.below(0..100), self.on) {
            (0..50, _) => Step::Send(self.packets(suite, version)),
            (50..60, _) => Step::Ask(self.request(suite, version)),
            (60..64, _) => self.opening(version),
            (64..72, Transport::Polling) => {
                let content_type = self.dice.chance(0.5).then(|| self.pick(CONTENT_TYPES));
                Step::Post(self.pick(PAYLOADS).to_vec(), content_type)
            }
            (72..84, Transport::Polling) => Step::Hold,
            (84..86, Transport::Polling) => Step::GiveUp,
            (_, Transport::Polling) => {
                let first = self.usually(0.85, &["2probe"], PROBES);
                if first == "2probe" {
                    self.on = Transport::Probing;
                }
                Step::Probe(first.to_owned())
            }
            (64..90, Transport::Probing) => {
                let next = self.usually(0.75, &["5"], PROBES);
                self.on = if next.starts_with('5') { Transport::WebSocket } else { Transport::Polling };
                Step::OnProbe(next.to_owned())
            }
            (64..90, Transport::WebSocket) => {
                let (first, payload) = self.pick(FRAMES);
                Step::Frame(first, payload.to_vec())
            }
            (_, Transport::Probing | Transport::WebSocket) => {
                self.on = Transport::Polling;
                Step::BreakOff
            }
        }
    }

    // --- packets ---

    /// What comes right behind a CONNECT or right before a DISCONNECT is documented to differ.
    fn packets(&mut self, suite: Suite, version: u8) -> Vec<String> {
        let mut packets = Vec::new();
        for _ in 0..self.dice.below(1..4) {
            let packet = self.packet(suite, version);
            if packet.starts_with("41") {
                return vec![packet];
            }
            packets.push(packet);
            if packets.last().is_some_and(|packet| packet.starts_with("40")) {
                break;
            }
        }
        packets
    }

    fn packet(&mut self, suite: Suite, version: u8) -> String {
        if suite == Suite::SocketV3 && self.dice.chance(0.9) {
            return format!("4{}", self.socket_packet(version));
        }
        let packet = if self.dice.chance(0.8) { self.pick(MESSAGES) } else { self.pick(PACKETS) };
        // The type of bytes.
        let bytes = if version == 3 { "b4AQIDBA==" } else { "bAQIDBA==" };
        packet.replacen("bAQIDBA==", bytes, 1)
    }

    fn socket_packet(&mut self, version: u8) -> String {
        let mut packet = match self.dice.below(0..100) {
            0..25 => format!("0{}{}", self.namespace(version), self.auth()),
            25..30 => format!("1{}", self.namespace(version)),
            30..70 => {
                let (id, name) = (self.usually(0.9, IDS, ODD_IDS), self.usually(0.85, EVENTS, ODD_EVENTS));
                format!("2{id}[{name}{}]", self.arguments())
            }
            70..78 => format!("2/rooms,{}[{}{}]", self.pick(IDS), self.pick(ROOM_EVENTS), self.arguments()),
            78..84 => format!("3{}[{}]", self.usually(0.9, IDS, ODD_IDS), self.json(2)),
            84..92 => return self.pick(BINARY_PACKETS).to_owned(),
            _ => self.pick(SOCKET_PACKETS).to_owned(),
        };
        if self.dice.chance(0.12) {
            self.mutate(&mut packet);
        }
        packet
    }

    fn namespace(&mut self, version: u8) -> &'static str {
        let odd = if version == 3 { NAMESPACES_WITH_QUERIES } else { ODD_NAMESPACES };
        let odd = self.usually(0.5, odd, ODD_NAMESPACES);
        self.usually(0.8, NAMESPACES, &[odd])
    }

    fn auth(&mut self) -> &'static str {
        let auth = self.usually(0.7, &[r#"{"word":"please"}"#], AUTHS);
        self.usually(0.6, &[""], &[auth])
    }

    fn arguments(&mut self) -> String {
        (0..self.dice.below(0..3)).map(|_| format!(",{}", self.json(3))).collect()
    }

    fn json(&mut self, depth: usize) -> String {
        if depth == 0 || self.dice.chance(0.7) {
            return self.pick(VALUES).to_owned();
        }
        let (count, is_list) = (self.dice.below(0..4), self.dice.chance(0.5));
        let items = (0..count).map(|_| match is_list {
            true => self.json(depth - 1),
            false => format!("{}:{}", self.pick(KEYS), self.json(depth - 1)),
        });
        let items = items.collect::<Vec<_>>().join(",");
        if is_list { format!("[{items}]") } else { format!("{{{items}}}") }
    }

    fn mutate(&mut self, packet: &mut String) {
        let chars: Vec<char> = packet.chars().collect();
        let place = self.dice.below(0..chars.len().max(1));
        let odd = ['[', ']', '{', '}', '"', ',', '/', '-', '0', '1', '\\', ' ', ':', '\n', '?'];
        let odd = odd.get(self.dice.below(0..odd.len())).copied();
        let (before, after) = chars.split_at_checked(place).unwrap_or((&chars, &[]));
        let (dropped, inserted) = match self.dice.below(0..3) {
            0 => (1, None),
            1 => (0, odd),
            _ => (1, odd),
        };
        *packet = before.iter().copied().chain(inserted).chain(after.iter().copied().skip(dropped)).collect();
    }

    // --- requests ---

    fn request(&mut self, suite: Suite, version: u8) -> Request {
        let path = self.usually(0.85, &[suite.path()], PATHS);
        let version = self.usually(0.8, if version == 3 { &["EIO=3"] } else { &["EIO=4"] }, VERSIONS);
        let transport = self.usually(0.75, &["transport=polling"], TRANSPORTS);
        let (sid, more) = (self.pick(SIDS), self.usually(0.6, &[""], QUERIES));
        let method = self.usually(0.7, &["GET"], METHODS);
        let mut headers = Vec::new();
        if self.dice.chance(0.25) {
            headers.extend(["Connection: Upgrade", "Upgrade: websocket"]);
            headers
                .extend([WEBSOCKET_VERSIONS, WEBSOCKET_KEYS, WEBSOCKET_OFFERS].map(|from| self.pick(from)));
        } else {
            while self.dice.chance(0.4) {
                headers.push(self.pick(HEADERS));
            }
        }
        let body = if method == "GET" && self.dice.chance(0.95) { "" } else { self.pick(BODIES) };
        Request { method, target: format!("{path}?{version}&{transport}{sid}{more}"), headers, body }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.dice.below(0..from.len())]
    }

    /// One of the former in this share of the cases, or one of the latter.
    fn usually<T: Copy>(&mut self, share: f64, these: &[T], those: &[T]) -> T {
        if self.dice.chance(share) { self.pick(these) } else { self.pick(those) }
    }
}
