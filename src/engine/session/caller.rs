//! A caller of a session that does whatever a client may do, and checks at every output that the session keeps its promises.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{ConnId, Get, Output, PollReply, Session, StreamOrder};
use crate::engine::config::Config;
use crate::engine::error::CloseReason;
use crate::engine::packet::Packet;
use crate::engine::payload::Payload;
use crate::engine::protocol::{Protocol, Transport};
use crate::engine::query::Stamp;
use crate::id::{Key, SessionId};

/// What happens to a session. A number chooses among the latest requests or streams.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    Poll,
    /// One of a client that is not connected to the owner, with a stamp.
    Carried(u8),
    PollAborted(u8),
    PollLost(u8),
    AnswerLost,
    Release,
    Post,
    Payload(u8, Vec<u8>, bool),
    PostAborted(u8),
    PostLost(u8),
    PostTooLarge(u8),
    PostInvalid(u8),
    Stream(Transport),
    Text(u8, String),
    Binary(u8, Vec<u8>),
    StreamClosed(u8, bool),
    Queued,
    /// The application is busy from now on, or has room again.
    Hold(bool),
    Close,
    Shutdown,
    Wait(u64),
}

/// What a caller sees of the session.
#[derive(Debug)]
pub(crate) struct Caller {
    session: Session,
    protocol: Protocol,
    now: Instant,
    polls: HashMap<ConnId, Request>,
    posts: HashMap<ConnId, Request>,
    streams: HashMap<ConnId, (Transport, Stage)>,
    latest: u32,
    outbox: usize,
    kept: bool,
    over: Transport,
    closed: bool,
    /// How many outputs the inputs so far may cause.
    expected: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Waiting,
    /// A POST whose body has come: it is answered even if its client does not wait any more.
    Whole,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Probed,
    Live,
    Flushing,
    Done,
}

impl Caller {
    /// Opens a session over this transport.
    pub(crate) fn open(protocol: Protocol, over: Transport, config: Config, now: Instant) -> Self {
        let first = ConnId(100);
        let stream = (over != Transport::Polling).then_some((first, over));
        let sid = SessionId::new(Key::from_hash(0), [0; 10]);
        let mut caller = Self {
            session: Session::open(sid, protocol, stream, Arc::new(config), now),
            protocol,
            now,
            polls: HashMap::new(),
            posts: HashMap::new(),
            streams: stream.map(|(conn, over)| (conn, (over, Stage::Fresh))).into_iter().collect(),
            latest: first.0,
            outbox: 0,
            kept: false,
            over,
            closed: false,
            expected: OUTPUTS,
        };
        caller.settle();
        caller
    }

    /// What carries the session.
    #[cfg(feature = "fuzzing")]
    pub(crate) const fn over(&self) -> Transport {
        self.over
    }

    /// Whether a GET waits.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn polls(&self) -> bool {
        self.polls.values().any(|request| *request != Request::Done)
    }

    /// Whether a POST is in progress.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn posts(&self) -> bool {
        self.posts.values().any(|request| *request != Request::Done)
    }

    /// Whether a stream may take over the session.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn probes(&self) -> bool {
        self.streams.values().any(|(_, stage)| matches!(stage, Stage::Fresh | Stage::Probed))
    }

    /// Lets this happen.
    pub(crate) fn apply(&mut self, input: Input) {
        self.expected += OUTPUTS;
        let now = self.now;
        match input {
            Input::Poll => {
                let conn = self.poll();
                self.session.handle_poll(Get { conn, stamp: None, carried: false }, now);
            }
            Input::Carried(stamp) => {
                let stamp = Some(Stamp::new(&stamp.to_string()));
                let conn = self.poll();
                self.session.handle_poll(Get { conn, stamp, carried: true }, now);
            }
            Input::PollAborted(which) => {
                if let Some(conn) = abort(&mut self.polls, which) {
                    self.session.handle_poll_aborted(conn);
                }
            }
            Input::PollLost(which) => {
                if let Some(conn) = abort(&mut self.polls, which) {
                    self.session.handle_poll_lost(conn);
                }
            }
            Input::AnswerLost => self.session.handle_answer_lost(),
            Input::Release => self.session.handle_release(),
            Input::Stream(over) => {
                let conn = self.connect();
                self.streams.insert(conn, (over, Stage::Fresh));
                self.session.handle_stream(conn, over, now);
            }
            Input::Text(which, text) => {
                let packet = Packet::decode_text(text.into(), self.protocol);
                if let Some(conn) = pick(&self.streams, which) {
                    self.session.handle_packet_of(conn, packet, now);
                }
            }
            Input::Binary(which, bytes) => {
                let packet = Packet::decode_binary(bytes.into(), self.protocol);
                if let Some(conn) = pick(&self.streams, which) {
                    self.session.handle_packet_of(conn, packet, now);
                }
            }
            Input::StreamClosed(which, clean) => {
                if let Some(conn) = pick(&self.streams, which) {
                    self.streams.entry(conn).and_modify(|(_, stage)| *stage = Stage::Done);
                    self.session.handle_stream_closed(conn, clean);
                }
            }
            Input::Queued => {
                self.outbox += 1;
                self.session.handle_queued();
            }
            Input::Hold(held) => self.session.hold_payload(held),
            Input::Close => self.session.handle_close(CloseReason::ForcedClose, now),
            Input::Shutdown => self.session.handle_shutdown(CloseReason::ServerShuttingDown),
            Input::Wait(millis) => return self.wait(millis),
            post => self.apply_post(post),
        }
        self.settle();
    }

    fn apply_post(&mut self, input: Input) {
        match input {
            Input::Post => {
                let conn = self.connect();
                self.posts.insert(conn, Request::Waiting);
                self.session.handle_post(conn, self.now);
            }
            Input::Payload(which, body, binary) => {
                self.expected += body.len();
                if let Some(conn) = pick(&self.posts, which) {
                    let request = self.posts.entry(conn);
                    request.and_modify(|request| {
                        if *request == Request::Waiting {
                            *request = Request::Whole;
                        }
                    });
                    self.session.handle_payload(conn, Payload { bytes: body.into(), binary }, self.now);
                }
            }
            Input::PostAborted(which) => {
                if let Some(conn) = abort(&mut self.posts, which) {
                    self.session.handle_post_aborted(conn);
                }
            }
            Input::PostLost(which) => {
                if let Some(conn) = abort(&mut self.posts, which) {
                    self.session.handle_post_lost(conn);
                }
            }
            Input::PostTooLarge(which) => {
                if let Some(conn) = pick(&self.posts, which) {
                    self.session.handle_post_too_large(conn);
                }
            }
            Input::PostInvalid(which) => {
                if let Some(conn) = pick(&self.posts, which) {
                    self.session.handle_post_invalid(conn);
                }
            }
            _ => {}
        }
    }

    /// Ends the session: nothing may be left unanswered or open.
    pub(crate) fn finish(mut self) {
        self.apply(Input::Hold(false));
        self.apply(Input::Shutdown);
        self.wait(1000);
        assert!(self.closed && self.session.is_finished());
        assert!(self.polls.values().chain(self.posts.values()).all(|request| *request == Request::Done));
        assert!(self.streams.values().all(|(_, stage)| *stage == Stage::Done));
    }

    fn connect(&mut self) -> ConnId {
        self.latest += 1;
        ConnId(self.latest)
    }

    fn poll(&mut self) -> ConnId {
        let conn = self.connect();
        self.polls.insert(conn, Request::Waiting);
        conn
    }

    fn check(&mut self, output: Output) {
        assert!(self.expected > 0, "more outputs than inputs and packets");
        self.expected -= 1;
        match output {
            Output::Send(packet) => {
                assert!(
                    !self.closed && matches!(packet, Packet::Open(_) | Packet::Ping(_) | Packet::Pong(_))
                );
                self.outbox += 1;
            }
            Output::Poll(conn, reply) => {
                assert_eq!(self.polls.insert(conn, Request::Done), Some(Request::Waiting), "{conn:?}");
                if matches!(reply, PollReply::Open | PollReply::Flush) {
                    assert!(self.outbox > 0 && self.over == Transport::Polling);
                    self.outbox = if reply == PollReply::Open { self.outbox - 1 } else { 0 };
                    self.kept = true;
                }
                if self.outbox > 0 && self.over == Transport::Polling {
                    // What is left of the outbox is for the next GET.
                    self.session.handle_queued();
                }
                assert!(reply != PollReply::Again || self.kept, "there was no answer");
            }
            Output::Post(conn, _) => {
                let before = self.posts.insert(conn, Request::Done);
                assert!(matches!(before, Some(Request::Waiting | Request::Whole)), "{conn:?}");
            }
            Output::Stream(conn, order) => self.check_order(conn, order),
            Output::Packet(_) | Output::Message(_) => assert!(!self.closed),
            Output::Closed(_) => assert!(!std::mem::replace(&mut self.closed, true)),
        }
    }

    fn check_order(&mut self, conn: ConnId, order: StreamOrder) {
        let Some((over, stage)) = self.streams.get_mut(&conn) else {
            unreachable!("{conn:?} was not opened")
        };
        *stage = match (*stage, order) {
            (Stage::Fresh, StreamOrder::AnswerProbe) => Stage::Probed,
            (Stage::Fresh | Stage::Probed, StreamOrder::Live) => {
                assert!(!self.closed);
                self.over = *over;
                Stage::Live
            }
            (Stage::Live, StreamOrder::FlushThenClose) => Stage::Flushing,
            (Stage::Fresh | Stage::Probed | Stage::Live | Stage::Flushing, StreamOrder::Close) => Stage::Done,
            wrong => unreachable!("{conn:?}: {wrong:?}"),
        };
    }

    fn settle(&mut self) {
        while let Some(output) = self.session.poll_output() {
            self.check(output);
        }
        if self.over != Transport::Polling {
            self.outbox = 0;
        }
        let waiting = |requests: &HashMap<ConnId, Request>| {
            requests.values().filter(|request| **request != Request::Done).count()
        };
        let open = usize::from(!self.closed && self.over == Transport::Polling);
        assert!(waiting(&self.polls) <= open && waiting(&self.posts) <= open);
        assert!(waiting(&self.polls) == 0 || self.outbox == 0, "a poll waits beside a full outbox");
        assert!(self.session.is_finished() || self.session.next_timeout().is_some());
        assert_eq!(self.session.transport(), self.over);
    }

    /// Lets time pass; a timeout must never ask to be called again at once.
    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.expected += OUTPUTS;
            self.session.handle_timeout(self.now);
            self.settle();
            assert!(self.session.next_timeout().is_none_or(|next| next > self.now));
        }
        self.now = end;
    }
}

/// One of the latest connections: old ones are rarely of interest.
fn pick<T>(conns: &HashMap<ConnId, T>, which: u8) -> Option<ConnId> {
    let latest = conns.keys().map(|conn| conn.0).max()?;
    let before = conns.keys().map(|conn| conn.0).filter(|conn| *conn < latest).max();
    Some(ConnId(before.filter(|_| which % 2 == 1).unwrap_or(latest)))
}

/// The client of one of the latest requests does not wait any more.
fn abort(requests: &mut HashMap<ConnId, Request>, which: u8) -> Option<ConnId> {
    let conn = pick(requests, which)?;
    let request = requests.get_mut(&conn).filter(|request| **request == Request::Waiting);
    request.into_iter().for_each(|request| *request = Request::Done);
    Some(conn)
}

/// What one input causes at most, beside the packets that it brings.
const OUTPUTS: usize = 8;
