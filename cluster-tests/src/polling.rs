//! A session over HTTP long-polling, driven request by request.

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use tokio::time::{Duration, timeout};

use crate::{
    deadline::within,
    http::{Call, InFlight, Reply, SlowBody},
    messages::Messages,
    target::Target,
    websocket::WebSocket,
};

/// An Engine.IO session that began with a GET.
#[derive(Clone, Debug)]
pub struct Polling {
    target: Target,
    version: u8,
    sid: String,
}

impl Target {
    /// Opens a session over HTTP long-polling.
    pub async fn polling(&self) -> Polling {
        Polling::open(self).await
    }
}

impl Polling {
    /// Opens a session.
    ///
    /// # Panics
    /// The response is no handshake.
    pub async fn open(target: &Target) -> Self {
        let reply = target.get("EIO=4&transport=polling").await;
        let handshake = handshake(reply.text());
        let sid = handshake.get("sid").and_then(Value::as_str).expect("a handshake has a sid").to_owned();
        Self { target: target.clone(), version: 4, sid }
    }

    /// Opens a session of version 3, with `more` in the query of its handshake (`""`, or `&b64=1`).
    ///
    /// # Panics
    /// The response does not begin with a handshake.
    pub async fn open_v3(target: &Target, more: &str) -> Self {
        let reply = target.get(&format!("EIO=3&transport=polling{more}")).await;
        Self::opened_v3(target, reply.text())
    }

    /// The session of version 3 whose handshake is somewhere in `payload`.
    ///
    /// # Panics
    /// `payload` has no handshake.
    #[must_use]
    pub fn opened_v3(target: &Target, payload: &str) -> Self {
        let payload = payload.replace('\\', "");
        let sid = payload.split_once(r#":0{"sid":""#).and_then(|(_, sid)| sid.get(..20));
        let sid = sid.unwrap_or_else(|| panic!("a handshake of version 3, not {payload}")).to_owned();
        Self { target: target.clone(), version: 3, sid }
    }

    /// The session's id.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// The same session, with requests to the `n`th node of the target only.
    #[must_use]
    pub fn at(&self, n: usize) -> Self {
        self.through(&self.target.at(n))
    }

    /// The same session, with requests to another target of its cluster.
    #[must_use]
    pub fn through(&self, target: &Target) -> Self {
        Self { target: target.clone(), ..self.clone() }
    }

    /// A request of this session.
    #[must_use]
    pub fn call(&self, method: Method) -> Call {
        self.target.call(method, &self.query("polling"))
    }

    /// The query of a request of this session over `transport`.
    #[must_use]
    pub fn query(&self, transport: &str) -> String {
        format!("EIO={}&transport={transport}&sid={}", self.version, self.sid)
    }

    /// Sends a GET and returns its response.
    pub async fn poll(&self) -> Reply {
        self.call(Method::GET).send().await
    }

    /// Begins a GET, and returns when it has reached the owner of the session.
    pub async fn pending_poll(&self) -> InFlight {
        let poll = self.call(Method::GET).start().await;
        self.settled().await;
        poll
    }

    /// Sends a POST and returns its response.
    pub async fn post(&self, body: impl Into<Bytes>) -> Reply {
        self.call(Method::POST).body(body).send().await
    }

    /// Begins a POST of `length` bytes, and returns when its head has reached the owner of the session.
    pub async fn pending_post(&self, length: usize) -> (SlowBody, InFlight) {
        let post = self.call(Method::POST).start_slow(Some(length)).await;
        self.settled().await;
        post
    }

    /// Sends a POST that must be accepted.
    ///
    /// # Panics
    /// It is refused.
    pub async fn send(&self, body: impl Into<Bytes>) {
        assert_eq!(self.post(body).await.outcome(), (200, "ok"), "a POST of session {}", self.sid);
    }

    /// The next `count` packets that are neither heartbeats nor noops; heartbeats are answered.
    ///
    /// # Panics
    /// A poll fails, or the packets do not arrive in time.
    pub async fn packets(&self, count: usize) -> Vec<String> {
        let mut packets = Vec::new();
        let collecting = async {
            while packets.len() < count {
                let reply = self.poll().await;
                assert_eq!(reply.status(), 200, "a poll for {count} packets, after {packets:?}: {reply:?}");
                for packet in reply.text().split('\x1e') {
                    match packet {
                        "2" => self.send("3").await,
                        "6" => {}
                        _ => packets.push(packet.to_owned()),
                    }
                }
            }
        };
        // Many megabytes take longer than other things.
        timeout(LONG, collecting).await.unwrap_or_else(|_| panic!("waited {LONG:?} for {count} packets"));
        assert_eq!(packets.len(), count, "{packets:?}");
        packets
    }

    /// Waits until the owner of the session has received all earlier requests of every node. It sends one request without
    /// effect (with a method that the protocol does not use) to each of the three nodes behind the load balancer.
    ///
    /// # Panics
    /// The session is closed.
    pub async fn settled(&self) {
        for _ in 0..3 {
            assert_eq!(self.presence().await, Presence::Open, "session {}", self.sid);
        }
    }

    /// Waits until every node answers that the session is unknown.
    ///
    /// # Panics
    /// It is not closed in time.
    pub async fn gone(&self) {
        let closing = async {
            let mut refused = 0;
            while refused < 3 {
                refused = if self.presence().await == Presence::Unknown { refused + 1 } else { 0 };
            }
        };
        within(format!("session {} to be closed", self.sid), closing).await;
    }

    /// Begins a request and gives it up, which closes the session. A busy machine may not have sent it yet: then again, after what
    /// it would need to notice.
    ///
    /// # Panics
    /// The session is not closed in time.
    pub async fn gone_when_given_up<T>(&self, begin: impl AsyncFn() -> T) {
        let ending = async {
            loop {
                drop(begin().await);
                if timeout(NOTICED, self.gone()).await.is_ok() {
                    return;
                }
            }
        };
        within(format!("session {} to be closed by what is given up", self.sid), ending).await;
    }

    /// Waits until the session is closed, after it moved to a WebSocket.
    ///
    /// # Panics
    /// It is not closed in time.
    pub async fn gone_after_upgrade(&self) {
        let closing = async { while self.poll().await.text() != SESSION_UNKNOWN {} };
        within(format!("session {} to be closed", self.sid), closing).await;
    }

    async fn presence(&self) -> Presence {
        match self.call(Method::PUT).send().await.outcome() {
            (500, "") => Presence::Open,
            (400, SESSION_UNKNOWN) => Presence::Unknown,
            other => panic!("a PUT changes nothing and says so by 500, not by {other:?}"),
        }
    }

    /// Opens a WebSocket for this session, as an upgrade begins.
    ///
    /// # Panics
    /// It is refused.
    pub async fn websocket(&self) -> WebSocket {
        let opened = self.target.upgrade(&self.query("websocket")).await;
        opened.unwrap_or_else(|reply| panic!("the WebSocket of an upgrade was refused: {reply:?}"))
    }

    /// Opens a WebSocket for this session and has its probe answered.
    ///
    /// # Panics
    /// Another answer arrives.
    pub async fn probe(&self) -> WebSocket {
        let mut ws = self.websocket().await;
        ws.send("2probe").await;
        assert_eq!(ws.recv_text().await, "3probe");
        ws
    }

    /// Moves this session to a WebSocket, and returns when the server has completed the upgrade.
    ///
    /// # Panics
    /// The server does not complete it in time.
    pub async fn upgraded(&self) -> WebSocket {
        let mut ws = self.probe().await;
        ws.send("5").await;
        // A poll in this state is refused with code 3 and without effect.
        let moving = async { while self.call(Method::PUT).send().await.status() != 400 {} };
        within("the end of an upgrade", moving).await;
        ws
    }
}

/// Upgrades a session with a poll beside it, which may be released with a noop some milliseconds later; tries again when the
/// machine was too slow for what comes before.
pub async fn upgrade_beside_a_poll<T>(upgrade: impl AsyncFn() -> (T, Reply)) -> (T, Reply) {
    within("an upgrade before its poll is released", async {
        loop {
            let (upgraded, reply) = upgrade().await;
            if ![(200, "6"), (200, "1:6")].contains(&reply.outcome()) {
                return (upgraded, reply);
            }
        }
    })
    .await
}

/// The JSON of an `open` packet.
///
/// # Panics
/// It is another packet.
#[must_use]
pub fn handshake(packet: &str) -> Value {
    let json = packet.strip_prefix('0').unwrap_or_else(|| panic!("an open packet, not {packet:?}"));
    serde_json::from_str(json).unwrap_or_else(|error| panic!("a handshake in JSON, not {json:?}: {error}"))
}

const NOTICED: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(60);
const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    Open,
    Unknown,
}
