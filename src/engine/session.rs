//! The Engine.IO state machine of one client (engine.io protocol v4, "Transports", "Heartbeat", "Upgrade"; v3,
//! "Timeouts").
//!
//! ```text
//!            open                 5 on the probing WebSocket
//!   polling ───────► (polls, posts, probe) ───────► websocket
//!        └──────── handle_close ────────┴─────► closing ───► closed
//! ```
//!
//! A session holds no messages. What goes to the client waits in an outbox beside it, and the session decides when and
//! where the outbox flows. After every input its caller calls [`Session::poll_output`] until that returns `None`.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod caller;
mod heartbeat;
mod output;
mod probe;
mod repeat;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::heartbeat::Heartbeat;
use self::probe::Probe;
use self::repeat::Repeats;
use super::closed::TransportFault;
use super::config::Config;
use super::error::{CloseReason, PacketError};
use super::fifo::Fifo;
use super::packet::Packet;
use super::payload::{self, Packets, Payload};
use super::protocol::{Protocol, Transport};
use crate::id::SessionId;

pub(crate) use output::{ConnId, Output, PollReply, PostReply, StreamOrder};
pub(crate) use repeat::Get;

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    config: Arc<Config>,
    protocol: Protocol,
    phase: Phase,
    transport: Transport,
    /// The WebSocket or WebTransport stream that carries the session; `None` on polling, and after it has closed.
    stream: Option<ConnId>,
    /// The GET that waits for something to send. While there is one, nothing is queued.
    poll: Option<Get>,
    repeats: Repeats,
    // Boxed, because a session that idles on a WebSocket has neither.
    post: Option<Box<PendingPost>>,
    probe: Option<Box<Probe>>,
    heartbeat: Heartbeat,
    /// Whether the packets of a payload wait.
    held: bool,
    /// Packets of payloads that were handled since they were asked for.
    posted: usize,
    /// On polling, whether the outbox holds something that no GET has taken.
    queued: bool,
    /// Whether the packet that opens the session is on its way to the client.
    opened: bool,
    /// Whether the application sees the packets of its client.
    seen: bool,
    /// Why it closes, if it is closing.
    leaves: CloseReason,
    /// What went wrong with the transport, if that is why the session ended.
    fault: Option<TransportFault>,
    outputs: Fifo<Output>,
}

// Inputs of the transports.
impl Session {
    /// Opens a session over the WebSocket or WebTransport stream `stream`, or over polling if there is none. The first poll
    /// of a polling session is the GET that opened it.
    pub(crate) fn open(
        sid: SessionId,
        protocol: Protocol,
        stream: Option<(ConnId, Transport)>,
        config: Arc<Config>,
        now: Instant,
    ) -> Self {
        let over = stream.map_or(Transport::Polling, |(_, over)| over);
        let conn = stream.map(|(conn, _)| conn);
        let mut session = Self {
            protocol,
            phase: Phase::Open,
            transport: over,
            stream: conn,
            poll: None,
            repeats: Repeats::default(),
            post: None,
            probe: None,
            heartbeat: match conn {
                Some(_) => Heartbeat::start(&config, protocol, now),
                None => Heartbeat::await_first_request(&config, now),
            },
            held: false,
            posted: 0,
            queued: false,
            opened: conn.is_some(),
            seen: false,
            leaves: CloseReason::ForcedClose,
            fault: None,
            outputs: Fifo::new(),
            config,
        };
        session.send(handshake(sid, over, &session.config));
        if let Some(stream) = conn {
            session.order(stream, StreamOrder::Live);
        }
        session
    }

    /// A GET arrived.
    pub(crate) fn handle_poll(&mut self, get: Get, now: Instant) {
        let conn = get.conn;
        if let Phase::Closed { farewell } = &mut self.phase {
            let overtaken = farewell.take().is_some_and(|until| now < until);
            return self.answer_poll(conn, if overtaken { PollReply::Noop } else { PollReply::Unknown });
        }
        if self.transport != Transport::Polling {
            return self.answer_poll(conn, PollReply::Mismatch);
        }
        if self.opened {
            self.note_request(now);
        }
        if let Some(waiting) = self.poll {
            if self.repeats.is_again(&waiting, &get) {
                self.poll = Some(get);
                return self.answer_poll(waiting.conn, PollReply::Noop);
            }
            self.answer_poll(conn, PollReply::Refused);
            return self.fail(TransportFault::PollOverlap);
        }
        if self.repeats.arrived(&get) {
            return self.answer_poll(conn, PollReply::Again);
        }
        if self.queued {
            self.queued = false;
            return self.flush(get);
        }
        if let Phase::Closing { .. } = self.phase {
            self.answer_poll(conn, PollReply::NoopClose);
            return self.close(self.leaves);
        }
        self.poll = Some(get);
        if let Some(probe) = &mut self.probe {
            probe.poll_arrived(now);
        }
    }

    /// The client gave up on a GET before it was answered, so the session cannot know what the client received.
    pub(crate) fn handle_poll_aborted(&mut self, conn: ConnId) {
        if self.waits(conn) {
            self.poll = None;
            self.fail(TransportFault::PollAborted);
        }
    }

    /// The node that carried a GET, or the link to it, was lost before an answer was on its way. The client may not know of
    /// it: its GET may be sent again on another way, or it sends its next one. It has as long for that as between any two GETs.
    pub(crate) fn handle_poll_lost(&mut self, conn: ConnId) {
        self.poll.take_if(|get| get.conn == conn);
    }

    /// The packets that answered the last GET did not leave this node.
    pub(crate) const fn handle_answer_lost(&mut self) {
        self.repeats.lost();
    }

    /// The node that carries the waiting GET asks for an answer, because it is about to stop.
    pub(crate) fn handle_release(&mut self) {
        self.release_poll();
    }

    /// The head of a POST arrived. One of the four following inputs comes next, unless the POST was answered already.
    pub(crate) fn handle_post(&mut self, conn: ConnId, now: Instant) {
        self.note_request(now);
        if let Phase::Closed { .. } = self.phase {
            self.answer_post(conn, PostReply::Unknown);
        } else if self.transport != Transport::Polling {
            self.answer_post(conn, PostReply::Mismatch);
        } else if self.post.is_some() {
            self.answer_post(conn, PostReply::Refused);
            self.finish_post(PostReply::Refused);
            self.fail(TransportFault::PostOverlap);
        } else {
            self.post = Some(Box::new(PendingPost { conn, body: None }));
        }
    }

    /// The body of a POST arrived whole. Its packets are handled as [`poll_output`](Self::poll_output) asks
    /// for them.
    pub(crate) fn handle_payload(&mut self, conn: ConnId, payload: Payload, now: Instant) {
        let protocol = self.protocol;
        if let Some(post) = self.receiving(conn) {
            post.body = Some(PostedPayload { packets: payload::decode(payload, protocol), arrived: now });
        }
    }

    /// The client gave up on a POST before its body was complete.
    pub(crate) fn handle_post_aborted(&mut self, conn: ConnId) {
        if self.receiving(conn).is_some() {
            self.post = None;
            self.fail(TransportFault::PostAborted);
        }
    }

    /// The node that carried a POST, or the link to it, was lost before the body was complete. Nothing of the POST is handled,
    /// and the client sees that it failed.
    pub(crate) fn handle_post_lost(&mut self, conn: ConnId) {
        if self.receiving(conn).is_some() {
            self.post = None;
        }
    }

    /// The body of a POST exceeds the limit. The session lives on.
    pub(crate) fn handle_post_too_large(&mut self, conn: ConnId) {
        if self.receiving(conn).is_some() {
            self.finish_post(PostReply::TooLarge);
        }
    }

    /// The body of a POST is of a type that the client may not send (`application/octet-stream` in version 4).
    pub(crate) fn handle_post_invalid(&mut self, conn: ConnId) {
        if self.receiving(conn).is_some() {
            self.finish_post(PostReply::Refused);
            self.fail(TransportFault::InvalidContent);
        }
    }

    /// A WebSocket or WebTransport stream for this session opened. It may probe for an upgrade if the session is on polling
    /// and no other stream probes.
    pub(crate) fn handle_stream(&mut self, conn: ConnId, over: Transport, now: Instant) {
        self.note_request(now);
        let polling = self.phase == Phase::Open && self.transport == Transport::Polling;
        if polling && self.probe.is_none() {
            self.probe = Some(Box::new(Probe::new(conn, over, now + self.config.upgrade_timeout)));
        } else {
            self.order(conn, StreamOrder::Close);
        }
    }

    /// A packet arrived on a stream of this session.
    pub(crate) fn handle_packet_of(
        &mut self,
        conn: ConnId,
        packet: Result<Packet, PacketError>,
        now: Instant,
    ) {
        if self.is_probing(conn) {
            self.handle_probe(conn, packet, now);
        } else if self.stream == Some(conn) {
            self.handle_packet(packet, now);
        }
    }

    /// A WebSocket or WebTransport stream has ended; `clean` if its client closed it.
    pub(crate) fn handle_stream_closed(&mut self, conn: ConnId, clean: bool) {
        if self.is_probing(conn) {
            self.probe = None;
        } else if self.stream == Some(conn) {
            self.stream = None;
            match (self.phase, clean) {
                (Phase::Closing { .. }, _) => self.close(self.leaves),
                (_, true) => self.close(CloseReason::TransportClose),
                (_, false) => self.fail(TransportFault::of_stream(self.transport)),
            }
        }
    }
}

// Inputs of the application and the clock.
impl Session {
    /// The outbox has something to send. It must not be empty, because a poll must not be answered with nothing.
    pub(crate) fn handle_queued(&mut self) {
        if self.transport != Transport::Polling || self.is_closed() {
            return;
        }
        match self.poll.take() {
            Some(poll) => self.flush(poll),
            None => self.queued = true,
        }
    }

    /// Closes the session once the client took what is queued. Nothing more may be queued, nothing more is
    /// received.
    pub(crate) fn handle_close(&mut self, reason: CloseReason, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        if self.poll.is_some() {
            return self.close(reason);
        }
        self.leaves = reason;
        let mut until = now + self.config.close_timeout;
        if self.heartbeat.awaits_first_request() {
            until = until.min(self.heartbeat.at);
        }
        self.phase = Phase::Closing { until };
        if let Some(stream) = self.stream {
            self.order(stream, StreamOrder::FlushThenClose);
        }
    }

    /// The transport does not do what it is for: closes the session at once.
    pub(crate) fn handle_fault(&mut self, fault: TransportFault) {
        self.fail(fault);
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
            Phase::Closing { until } if due(until) => self.close(self.leaves),
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

    /// Whether a sign of life of the client is due, which may come behind other packets.
    pub(crate) const fn awaits_sign(&self) -> bool {
        self.heartbeat.is_waiting()
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
            self.outputs.release();
        }
        next
    }
}

impl Session {
    /// What carries the session now.
    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    /// What went wrong with the transport, if that is why the session ended.
    pub(crate) const fn fault(&self) -> Option<TransportFault> {
        self.fault
    }

    /// From now on the application sees the packets of its client, if `seen`.
    pub(crate) const fn show_packets(&mut self, seen: bool) {
        self.seen = seen;
    }

    /// Whether a volatile packet could be sent now: a GET waits, or a stream is live. The outbox of a live stream knows
    /// whether the stream is busy.
    pub(crate) fn is_writable(&self) -> bool {
        self.phase == Phase::Open && (self.poll.is_some() || self.stream.is_some())
    }

    /// Whether the session can be removed: it is closed, and no overtaken GET is expected any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.phase == Phase::Closed { farewell: None } && self.outputs.is_empty()
    }

    /// How many packets of payloads were handled since the last call.
    pub(crate) fn take_posted(&mut self) -> usize {
        mem::take(&mut self.posted)
    }

    /// Whether the last answer with packets may be asked for again, because it may have been lost on its way.
    pub(crate) fn keeps_answer(&self) -> bool {
        self.repeats.keeps_answer()
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Whether this GET waits.
    fn waits(&self, conn: ConnId) -> bool {
        self.poll.is_some_and(|get| get.conn == conn)
    }

    fn is_probing(&self, conn: ConnId) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.conn == conn)
    }

    /// The POST in progress, if it is this one and its body did not arrive yet.
    fn receiving(&mut self, conn: ConnId) -> Option<&mut PendingPost> {
        self.post.as_deref_mut().filter(|post| post.conn == conn && post.body.is_none())
    }

    /// Handles one packet of the POST in progress. Returns whether there was anything to do.
    fn handle_next_packet(&mut self) -> bool {
        let Some(PendingPost { body: Some(body), .. }) = self.post.as_deref_mut() else { return false };
        let arrived = body.arrived;
        match body.packets.next() {
            Some(packet) => {
                self.posted += 1;
                self.handle_packet(packet, arrived);
            }
            None => self.finish_post(PostReply::Ok),
        }
        true
    }

    /// A packet arrived on the session's transport.
    fn handle_packet(&mut self, packet: Result<Packet, PacketError>, now: Instant) {
        if let Ok(seen) = &packet
            && self.seen
            && self.phase == Phase::Open
        {
            self.outputs.push_back(Output::Packet(seen.clone()));
        }
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
            Ok(Packet::Ping(_) | Packet::Pong(_)) => self.fail(TransportFault::HeartbeatDirection),
            Err(_) => {
                self.finish_post(PostReply::Refused);
                self.close(CloseReason::ParseError);
            }
        }
    }

    /// The client closes the session. Its GET was sent before, but a load balancer may have let the POST overtake the GET,
    /// which is still awaited for a moment.
    fn handle_client_close(&mut self, now: Instant) {
        let mut farewell = None;
        match self.poll.take() {
            Some(poll) => self.answer_poll(poll.conn, PollReply::Noop),
            None if self.transport == Transport::Polling => farewell = Some(now + FAREWELL),
            None => {}
        }
        self.close(CloseReason::TransportClose);
        self.phase = Phase::Closed { farewell };
    }

    /// A packet arrived on the probing stream. A packet that is not part of an upgrade ends the probe, not the session.
    fn handle_probe(&mut self, conn: ConnId, packet: Result<Packet, PacketError>, now: Instant) {
        match (packet, &mut self.probe) {
            (Ok(Packet::Ping(data)), Some(probe)) if data == "probe" && !probe.answered => {
                probe.answered = true;
                self.order(conn, StreamOrder::AnswerProbe);
                self.release_poll();
            }
            (Ok(Packet::Upgrade), Some(probe)) => {
                let over = probe.over;
                self.upgrade(conn, over, now);
            }
            _ => self.drop_probe(),
        }
    }

    /// Moves the session to the WebSocket or WebTransport stream. A pending GET arrived after the probe was answered. Behind a
    /// stateless load balancer it may have been sent after the `5` and have overtaken it, so it is answered like a GET after
    /// the upgrade.
    fn upgrade(&mut self, conn: ConnId, over: Transport, now: Instant) {
        self.probe = None;
        if let Some(poll) = self.poll.take() {
            self.answer_poll(poll.conn, PollReply::Mismatch);
        }
        self.finish_post(PostReply::Mismatch);
        self.transport = over;
        self.stream = Some(conn);
        self.queued = false;
        self.repeats.forget();
        self.restart_heartbeat(now);
        self.order(conn, StreamOrder::Live);
        if let Phase::Closing { .. } = self.phase {
            self.order(conn, StreamOrder::FlushThenClose);
        }
    }

    /// A request arrived, other than the one that opened the session.
    fn note_request(&mut self, now: Instant) {
        if self.heartbeat.awaits_first_request() {
            self.restart_heartbeat(now);
        }
    }

    fn restart_heartbeat(&mut self, now: Instant) {
        self.heartbeat = Heartbeat::start(&self.config, self.protocol, now);
    }

    fn beat(&mut self, now: Instant) {
        if self.heartbeat.is_waiting() {
            return self.close(CloseReason::PingTimeout);
        }
        self.heartbeat.await_pong(&self.config, now);
        self.send(Packet::Ping("".into()));
    }

    fn drop_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.order(probe.conn, StreamOrder::Close);
        }
    }

    /// Answers the pending GET, because an upgrading client waits for it before it sends `5`, or a node for its end.
    fn release_poll(&mut self) {
        if let Some(poll) = self.poll.take() {
            self.answer_poll(poll.conn, PollReply::Noop);
        }
    }

    /// Ends the session because of its transport.
    fn fail(&mut self, fault: TransportFault) {
        if !self.is_closed() {
            self.fault = Some(fault);
        }
        self.close(CloseReason::TransportError);
    }

    /// Ends the session and everything that is still open. Only the first reason counts.
    fn close(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        if let Some(poll) = self.poll.take() {
            self.answer_poll(poll.conn, PollReply::Close);
        }
        let received = self.post.as_ref().is_some_and(|post| post.body.is_some());
        self.finish_post(if received { PostReply::Ok } else { PostReply::Unknown });
        self.drop_probe();
        if let Some(stream) = self.stream.take() {
            self.order(stream, StreamOrder::Close);
        }
        self.queued = false;
        self.repeats.forget();
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

    fn flush(&mut self, get: Get) {
        self.repeats.answered(&get);
        let opened = mem::replace(&mut self.opened, true);
        self.answer_poll(get.conn, if opened { PollReply::Flush } else { PollReply::Open });
    }

    fn answer_poll(&mut self, conn: ConnId, reply: PollReply) {
        self.outputs.push_back(Output::Poll(conn, reply));
    }

    fn answer_post(&mut self, conn: ConnId, reply: PostReply) {
        self.outputs.push_back(Output::Post(conn, reply));
    }

    fn order(&mut self, conn: ConnId, order: StreamOrder) {
        self.outputs.push_back(Output::Stream(conn, order));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The server closed the session and waits for the client to take the rest.
    Closing {
        until: Instant,
    },
    /// Until `farewell`, the first GET that arrives counts as sent before the client closed.
    Closed {
        farewell: Option<Instant>,
    },
}

/// A POST that is not answered yet.
#[derive(Debug)]
struct PendingPost {
    conn: ConnId,
    body: Option<PostedPayload>,
}

#[derive(Debug)]
struct PostedPayload {
    packets: Packets,
    arrived: Instant,
}

/// The packet that opens a session. It has exactly these five keys in this order, which the protocol's test suite compares.
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

/// How much later than the client's `1` a GET may arrive that was sent before it.
const FAREWELL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
