//! The Engine.IO state machine of one client (engine.io protocol v4, "Transports", "Heartbeat", "Upgrade"; v3,
//! "Timeouts").
//!
//! ```text
//!            open                 5 on the probing WebSocket
//!   polling ───────► (polls, posts, probe) ───────► websocket
//!        └──────── handle_close ────────┴─────► closing ───► closed
//! ```
//!
//! It holds no message: what goes to the client waits in an outbox beside it, and the session says when and
//! where the outbox flows. Every input is followed by [`Session::poll_output`] until that returns `None`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::error::{CloseReason, PacketError};
use super::handshake::{Protocol, Transport};
use super::packet::{Message, Packet};
use super::payload::{self, Packets, Payload};
use crate::id::SessionId;

/// One GET, POST, WebSocket or stream of WebTransport of a session, as its caller numbers them. A number is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Conn(pub(crate) u32);

/// What the session wants done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Append this packet to the outbox.
    Send(Packet),
    /// Answer a GET.
    Poll(Conn, PollReply),
    /// Answer a POST.
    Post(Conn, PostReply),
    /// Do this with a WebSocket, or a stream of WebTransport.
    Socket(Conn, SocketOrder),
    /// The application receives this.
    Message(Message),
    /// The session ended. Exactly once; nothing follows but replies to requests that still arrive.
    Closed(CloseReason),
}

/// The answer to a GET. Each gets exactly one, unless its client aborts it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollReply {
    /// 200 with everything in the outbox, which is not empty.
    Flush,
    /// 200 `6`.
    Noop,
    /// 200 `1`.
    Close,
    /// 200 with a `6` and a `1`.
    NoopClose,
    /// 400 without a body.
    Refused,
    /// 400 with [`HandshakeError::TransportMismatch`](super::HandshakeError::TransportMismatch).
    Mismatch,
    /// 400 with [`HandshakeError::UnknownSession`](super::HandshakeError::UnknownSession).
    Unknown,
}

/// The answer to a POST. Each gets exactly one, unless its client aborts it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostReply {
    /// 200 `ok`.
    Ok,
    /// 400 without a body.
    Refused,
    /// 413 without a body.
    TooLarge,
    /// 400 with [`HandshakeError::TransportMismatch`](super::HandshakeError::TransportMismatch).
    Mismatch,
    /// 400 with [`HandshakeError::UnknownSession`](super::HandshakeError::UnknownSession).
    Unknown,
}

/// What to do with a WebSocket, or a stream of WebTransport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketOrder {
    /// Write `3probe` and nothing else.
    AnswerProbe,
    /// From now on the outbox flows here.
    Live,
    /// Write what is in the outbox, then close without a code, and report the socket closed.
    FlushThenClose,
    /// Close without a code; the outbox is discarded.
    Close,
}

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    config: Arc<Config>,
    protocol: Protocol,
    phase: Phase,
    transport: Transport,
    /// The WebSocket, or the stream of WebTransport, that carries the session; `None` on polling and once it is gone.
    socket: Option<Conn>,
    /// The GET that waits for something to send. While there is one, nothing is queued.
    poll: Option<Conn>,
    // Boxed: a session that idles on a WebSocket has neither.
    post: Option<Box<Post>>,
    probe: Option<Box<Probe>>,
    heartbeat: Heartbeat,
    /// The packets of a payload wait.
    held: bool,
    /// On polling: whether the outbox holds something that no GET took yet.
    queued: bool,
    outputs: VecDeque<Output>,
}

// What the transports report.
impl Session {
    /// Opens a session over a WebSocket or WebTransport (`socket`), or over polling; then the GET of the handshake is
    /// its first poll.
    pub(crate) fn open(
        sid: SessionId,
        protocol: Protocol,
        socket: Option<(Conn, Transport)>,
        config: Arc<Config>,
        now: Instant,
    ) -> Self {
        let over = socket.map_or(Transport::Polling, |(_, over)| over);
        let conn = socket.map(|(conn, _)| conn);
        let mut session = Self {
            protocol,
            phase: Phase::Open,
            transport: over,
            socket: conn,
            poll: None,
            post: None,
            probe: None,
            heartbeat: Heartbeat::start(&config, protocol, now),
            held: false,
            queued: false,
            outputs: VecDeque::new(),
            config,
        };
        session.send(handshake(sid, over, &session.config));
        if let Some(socket) = conn {
            session.order(socket, SocketOrder::Live);
        }
        session
    }

    /// A GET arrived.
    pub(crate) fn handle_poll(&mut self, conn: Conn, now: Instant) {
        if let Phase::Closed { farewell } = &mut self.phase {
            let overtaken = farewell.take().is_some_and(|until| now < until);
            return self.answer_poll(conn, if overtaken { PollReply::Noop } else { PollReply::Unknown });
        }
        if self.transport != Transport::Polling {
            return self.answer_poll(conn, PollReply::Mismatch);
        }
        if self.poll.is_some() {
            self.answer_poll(conn, PollReply::Refused);
            return self.close(CloseReason::TransportError);
        }
        if self.queued {
            self.queued = false;
            return self.answer_poll(conn, PollReply::Flush);
        }
        if let Phase::Closing { .. } = self.phase {
            self.answer_poll(conn, PollReply::NoopClose);
            return self.close(CloseReason::ForcedClose);
        }
        self.poll = Some(conn);
        if let Some(probe) = &mut self.probe {
            probe.poll_arrived(now);
        }
    }

    /// The client gave up on a GET before it was answered: what it was sent since cannot be known.
    pub(crate) fn handle_poll_aborted(&mut self, conn: Conn) {
        if self.poll == Some(conn) {
            self.poll = None;
            self.close(CloseReason::TransportError);
        }
    }

    /// The headers of a POST arrived. One of the four inputs below follows, unless this answered it already.
    pub(crate) fn handle_post(&mut self, conn: Conn) {
        if let Phase::Closed { .. } = self.phase {
            self.answer_post(conn, PostReply::Unknown);
        } else if self.transport != Transport::Polling {
            self.answer_post(conn, PostReply::Mismatch);
        } else if self.post.is_some() {
            self.answer_post(conn, PostReply::Refused);
            self.finish_post(PostReply::Refused);
            self.close(CloseReason::TransportError);
        } else {
            self.post = Some(Box::new(Post { conn, body: None }));
        }
    }

    /// The body of a POST arrived whole. Its packets are handled as [`poll_output`](Self::poll_output) asks
    /// for them.
    pub(crate) fn handle_payload(&mut self, conn: Conn, payload: Payload, now: Instant) {
        let protocol = self.protocol;
        if let Some(post) = self.receiving(conn) {
            post.body = Some(Body { packets: payload::decode(payload, protocol), arrived: now });
        }
    }

    /// The client gave up on a POST before its body was complete.
    pub(crate) fn handle_post_aborted(&mut self, conn: Conn) {
        if self.receiving(conn).is_some() {
            self.post = None;
            self.close(CloseReason::TransportError);
        }
    }

    /// The body of a POST exceeds the limit. The session lives on.
    pub(crate) fn handle_post_too_large(&mut self, conn: Conn) {
        if self.receiving(conn).is_some() {
            self.finish_post(PostReply::TooLarge);
        }
    }

    /// The body of a POST is of a type that the client may not send (`application/octet-stream` in version 4).
    pub(crate) fn handle_post_invalid(&mut self, conn: Conn) {
        if self.receiving(conn).is_some() {
            self.finish_post(PostReply::Refused);
            self.close(CloseReason::TransportError);
        }
    }

    /// A WebSocket or WebTransport stream that names this session opened: it may probe for an upgrade, once at a time
    /// and only from polling.
    pub(crate) fn handle_socket(&mut self, conn: Conn, over: Transport, now: Instant) {
        let polling = self.phase == Phase::Open && self.transport == Transport::Polling;
        if polling && self.probe.is_none() {
            self.probe = Some(Box::new(Probe::new(conn, over, now + self.config.upgrade_timeout)));
        } else {
            self.order(conn, SocketOrder::Close);
        }
    }

    /// A WebSocket of this session received a frame.
    pub(crate) fn handle_frame(&mut self, conn: Conn, frame: Result<Packet, PacketError>, now: Instant) {
        if self.is_probing(conn) {
            self.handle_probe(conn, frame, now);
        } else if self.socket == Some(conn) {
            self.handle_packet(frame, now);
        }
    }

    /// A WebSocket is gone: after its client closed it (`clean`), or without.
    pub(crate) fn handle_socket_closed(&mut self, conn: Conn, clean: bool) {
        if self.is_probing(conn) {
            self.probe = None;
        } else if self.socket == Some(conn) {
            self.socket = None;
            self.close(match (self.phase, clean) {
                (Phase::Closing { .. }, _) => CloseReason::ForcedClose,
                (_, true) => CloseReason::TransportClose,
                (_, false) => CloseReason::TransportError,
            });
        }
    }
}

// What the application and the clock want.
impl Session {
    /// The outbox has something to send. Only when it really is not empty: a poll must not be answered with
    /// nothing.
    pub(crate) fn handle_queued(&mut self) {
        if self.transport != Transport::Polling || self.is_closed() {
            return;
        }
        match self.poll.take() {
            Some(poll) => self.answer_poll(poll, PollReply::Flush),
            None => self.queued = true,
        }
    }

    /// Closes the session once the client took what is queued. Nothing more may be queued, nothing more is
    /// received.
    pub(crate) fn handle_close(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        if self.poll.is_some() {
            return self.close(CloseReason::ForcedClose);
        }
        self.phase = Phase::Closing { until: now + self.config.close_timeout };
        if let Some(socket) = self.socket {
            self.order(socket, SocketOrder::FlushThenClose);
        }
    }

    /// Closes the session at once; what is queued is discarded.
    pub(crate) fn handle_shutdown(&mut self, reason: CloseReason) {
        self.close(reason);
    }

    /// A deadline that [`next_timeout`](Self::next_timeout) announced may have passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Instant| at <= now;
        match self.phase {
            Phase::Open if due(self.heartbeat.at) => self.beat(now),
            Phase::Closing { until } if due(until) => self.close(CloseReason::ForcedClose),
            Phase::Closed { farewell: Some(until) } if due(until) => {
                self.phase = Phase::Closed { farewell: None };
            }
            Phase::Open | Phase::Closing { .. } | Phase::Closed { .. } => {}
        }
        if self.probe.as_ref().is_some_and(|probe| due(probe.until)) {
            self.drop_probe();
        }
        if self.probe.as_mut().is_some_and(|probe| probe.releases(now)) {
            self.release_poll();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Open => Some(self.heartbeat.at),
            Phase::Closing { until } => Some(until),
            Phase::Closed { farewell } => farewell,
        };
        let probe = self.probe.as_deref().map(Probe::next_timeout);
        phase.into_iter().chain(probe).min()
    }

    /// Whether the packets of a payload wait. The POST that brought them stays in progress meanwhile.
    pub(crate) const fn hold_payload(&mut self, held: bool) {
        self.held = held;
    }

    /// What to do next.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        while self.outputs.is_empty() && !self.held && self.handle_next_packet() {}
        let next = self.outputs.pop_front();
        if next.is_none() {
            // An idle session holds no memory for what it may want.
            self.outputs = VecDeque::new();
        }
        next
    }
}

impl Session {
    /// What carries the session now.
    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether a volatile packet has a chance: a GET waits, or a WebSocket is live (whose outbox knows if it
    /// is busy).
    pub(crate) fn is_writable(&self) -> bool {
        self.phase == Phase::Open && (self.poll.is_some() || self.socket.is_some())
    }

    /// Whether the session can be forgotten: closed, and no overtaken request is expected any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.phase == Phase::Closed { farewell: None } && self.outputs.is_empty()
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    fn is_probing(&self, conn: Conn) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.conn == conn)
    }

    /// The POST in progress, if it is this one and its body did not arrive yet.
    fn receiving(&mut self, conn: Conn) -> Option<&mut Post> {
        self.post.as_deref_mut().filter(|post| post.conn == conn && post.body.is_none())
    }

    /// Handles one packet of the POST in progress. Whether there was anything to do.
    fn handle_next_packet(&mut self) -> bool {
        let Some(Post { body: Some(body), .. }) = self.post.as_deref_mut() else { return false };
        let arrived = body.arrived;
        match body.packets.next() {
            Some(packet) => self.handle_packet(packet, arrived),
            None => self.finish_post(PostReply::Ok),
        }
        true
    }

    /// A packet arrived on the session's transport.
    fn handle_packet(&mut self, packet: Result<Packet, PacketError>, now: Instant) {
        match packet {
            Ok(Packet::Close) => self.handle_client_close(now),
            _ if self.phase != Phase::Open => {}
            Ok(Packet::Pong(_)) if self.protocol == Protocol::V4 => self.restart_heartbeat(now),
            Ok(Packet::Message(message)) => {
                self.heartbeat.refresh(&self.config, now);
                self.outputs.push_back(Output::Message(message));
            }
            Ok(Packet::Open(_) | Packet::Upgrade | Packet::Noop) => self.heartbeat.refresh(&self.config, now),
            Ok(Packet::Ping(data)) if self.protocol == Protocol::V3 => {
                self.heartbeat.refresh(&self.config, now);
                self.send(Packet::Pong(data));
            }
            // In version 4 only the server pings, in version 3 only the client.
            Ok(Packet::Ping(_) | Packet::Pong(_)) => self.close(CloseReason::TransportError),
            Err(_) => {
                self.finish_post(PostReply::Refused);
                self.close(CloseReason::ParseError);
            }
        }
    }

    /// The client closes. Its GET was sent before; if a balancer let the POST overtake it, it is still
    /// awaited for a moment.
    fn handle_client_close(&mut self, now: Instant) {
        let mut farewell = None;
        match self.poll.take() {
            Some(poll) => self.answer_poll(poll, PollReply::Noop),
            None if self.transport == Transport::Polling => farewell = Some(now + FAREWELL),
            None => {}
        }
        self.close(CloseReason::TransportClose);
        self.phase = Phase::Closed { farewell };
    }

    /// A frame on the probing WebSocket. Whatever is no part of an upgrade ends the probe, not the session.
    fn handle_probe(&mut self, conn: Conn, frame: Result<Packet, PacketError>, now: Instant) {
        match (frame, &mut self.probe) {
            (Ok(Packet::Ping(data)), Some(probe)) if data == "probe" && !probe.answered => {
                probe.answer(self.poll.is_some(), now);
                self.order(conn, SocketOrder::AnswerProbe);
            }
            (Ok(Packet::Upgrade), Some(probe)) => {
                let (over, late) = (probe.over, probe.late);
                self.upgrade(conn, over, late, now);
            }
            _ => self.drop_probe(),
        }
    }

    /// Moves the session to the WebSocket, or the stream of WebTransport. `late`: a GET that is pending arrived after the probe was
    /// answered; behind a balancer without memory it may have been sent after the `5` and have overtaken it,
    /// so it is answered as one.
    fn upgrade(&mut self, conn: Conn, over: Transport, late: bool, now: Instant) {
        self.probe = None;
        if let Some(poll) = self.poll.take() {
            self.answer_poll(poll, if late { PollReply::Mismatch } else { PollReply::Close });
        }
        self.finish_post(PostReply::Mismatch);
        self.transport = over;
        self.socket = Some(conn);
        self.queued = false;
        self.restart_heartbeat(now);
        self.order(conn, SocketOrder::Live);
        if let Phase::Closing { .. } = self.phase {
            self.order(conn, SocketOrder::FlushThenClose);
        }
    }

    fn restart_heartbeat(&mut self, now: Instant) {
        self.heartbeat = Heartbeat::start(&self.config, self.protocol, now);
    }

    fn beat(&mut self, now: Instant) {
        if self.heartbeat.waiting() {
            return self.close(CloseReason::PingTimeout);
        }
        self.heartbeat.await_pong(&self.config, now);
        self.send(Packet::Ping("".into()));
    }

    fn drop_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.order(probe.conn, SocketOrder::Close);
        }
    }

    /// An upgrading client waits for its GET to end before it sends `5`.
    fn release_poll(&mut self) {
        if let Some(poll) = self.poll.take() {
            self.answer_poll(poll, PollReply::Noop);
        }
    }

    /// Ends the session, and with it everything that is still open. Only the first reason counts.
    fn close(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        if let Some(poll) = self.poll.take() {
            self.answer_poll(poll, PollReply::Close);
        }
        let received = self.post.as_ref().is_some_and(|post| post.body.is_some());
        self.finish_post(if received { PostReply::Ok } else { PostReply::Unknown });
        self.drop_probe();
        if let Some(socket) = self.socket.take() {
            self.order(socket, SocketOrder::Close);
        }
        self.queued = false;
        self.phase = Phase::Closed { farewell: None };
        self.outputs.push_back(Output::Closed(reason));
    }

    fn finish_post(&mut self, reply: PostReply) {
        if let Some(post) = self.post.take() {
            self.answer_post(post.conn, reply);
        }
    }

    fn send(&mut self, packet: Packet) {
        self.outputs.push_back(Output::Send(packet));
        self.handle_queued();
    }

    fn answer_poll(&mut self, conn: Conn, reply: PollReply) {
        self.outputs.push_back(Output::Poll(conn, reply));
    }

    fn answer_post(&mut self, conn: Conn, reply: PostReply) {
        self.outputs.push_back(Output::Post(conn, reply));
    }

    fn order(&mut self, conn: Conn, order: SocketOrder) {
        self.outputs.push_back(Output::Socket(conn, order));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The server closed the session and waits for the client to take the rest.
    Closing {
        until: Instant,
    },
    /// Until `farewell` the first GET that still arrives was sent before the client closed.
    Closed {
        farewell: Option<Instant>,
    },
}

/// A POST that is not answered yet.
#[derive(Debug)]
struct Post {
    conn: Conn,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    packets: Packets,
    arrived: Instant,
}

/// A WebSocket, or a stream of WebTransport, that may take the session over.
#[derive(Debug)]
struct Probe {
    conn: Conn,
    over: Transport,
    until: Instant,
    answered: bool,
    /// When the pending GET is answered, so that the client can go on.
    release: Option<Instant>,
    /// Whether the latest GET arrived after the answer.
    late: bool,
}

impl Probe {
    const fn new(conn: Conn, over: Transport, until: Instant) -> Self {
        Self { conn, over, until, answered: false, release: None, late: false }
    }

    fn answer(&mut self, poll_pending: bool, now: Instant) {
        self.answered = true;
        self.release = poll_pending.then(|| now + RELEASE);
    }

    fn poll_arrived(&mut self, now: Instant) {
        if self.answered {
            self.late = true;
            self.release = Some(now + RELEASE);
        }
    }

    fn releases(&mut self, now: Instant) -> bool {
        self.release.take_if(|at| *at <= now).is_some()
    }

    fn next_timeout(&self) -> Instant {
        self.release.map_or(self.until, |release| release.min(self.until))
    }
}

/// Ping and pong: the server asks and the client answers; in version 3 the other way round.
#[derive(Debug)]
struct Heartbeat {
    /// When the next ping is due, or what is awaited.
    at: Instant,
    awaiting: Option<Awaiting>,
}

#[derive(Debug, Clone, Copy)]
enum Awaiting {
    Pong,
    /// Another packet came first and gave the client its time once more; the next one will not.
    PongAfterTraffic,
    /// Version 3: the client's next ping, or any other packet.
    Ping,
}

impl Heartbeat {
    fn start(config: &Config, protocol: Protocol, now: Instant) -> Self {
        match protocol {
            Protocol::V4 => Self { at: now + config.ping_interval, awaiting: None },
            Protocol::V3 => Self::await_ping(config, now),
        }
    }

    fn await_ping(config: &Config, now: Instant) -> Self {
        Self { at: now + config.ping_interval + config.ping_timeout, awaiting: Some(Awaiting::Ping) }
    }

    const fn waiting(&self) -> bool {
        self.awaiting.is_some()
    }

    fn await_pong(&mut self, config: &Config, now: Instant) {
        *self = Self { at: now + config.ping_timeout, awaiting: Some(Awaiting::Pong) };
    }

    fn refresh(&mut self, config: &Config, now: Instant) {
        match self.awaiting {
            Some(Awaiting::Pong) => {
                *self = Self { at: now + config.ping_timeout, awaiting: Some(Awaiting::PongAfterTraffic) };
            }
            Some(Awaiting::Ping) => *self = Self::await_ping(config, now),
            Some(Awaiting::PongAfterTraffic) | None => {}
        }
    }
}

/// Exactly these five keys in this order: the protocol's suite compares them.
fn handshake(sid: SessionId, over: Transport, config: &Config) -> Packet {
    let upgradable = over == Transport::Polling && config.allow_upgrades;
    let others = config.transports.iter().filter(|other| upgradable && **other != Transport::Polling);
    let upgrades: Vec<_> = others.map(|other| format!(r#""{other}""#)).collect();
    Packet::Open(
        format!(
            r#"{{"sid":"{sid}","upgrades":[{}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            upgrades.join(","),
            config.ping_interval.as_millis(),
            config.ping_timeout.as_millis(),
            config.max_payload
        )
        .into(),
    )
}

/// How long after the answer to a probe a pending GET is released: Node's interval, and time enough for a
/// real packet.
const RELEASE: Duration = Duration::from_millis(100);
/// How much later than its client's `1` a GET may arrive that was sent before it.
const FAREWELL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
