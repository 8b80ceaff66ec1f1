//! Whatever a client does and whenever, the session keeps its promises to its caller.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::engine::query::Stamp;

#[derive(Debug, Clone)]
enum Input {
    Poll,
    /// One of a client that is not connected to the owner, with a stamp.
    Carried(u8),
    PollAborted(Index),
    PollLost(Index),
    AnswerLost,
    Release,
    Post,
    Payload(Index, Vec<u8>, bool),
    PostAborted(Index),
    PostLost(Index),
    PostTooLarge(Index),
    PostInvalid(Index),
    Socket,
    Frame(Index, String),
    SocketClosed(Index, bool),
    Queued,
    Close,
    Shutdown,
    Wait(u64),
}

fn packet() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("2probe".to_owned()),
        4 => Just("5".to_owned()),
        4 => Just("3".to_owned()),
        2 => Just("2".to_owned()),
        4 => Just("4message".to_owned()),
        1 => "[0-7b]?.{0,3}",
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(packet(), 1..4).prop_map(|packets| packets.join("\x1e").into_bytes()),
        2 => Just(b"4a\x1e4b".to_vec()),
        4 => vec(packet(), 1..4).prop_map(|packets| {
            packets.iter().map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect::<String>().into_bytes()
        }),
        1 => vec(any::<u8>(), 0..6),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => Just(Input::Poll),
        4 => (0..3u8).prop_map(Input::Carried),
        1 => any::<Index>().prop_map(Input::PollAborted),
        1 => any::<Index>().prop_map(Input::PollLost),
        1 => Just(Input::AnswerLost),
        1 => Just(Input::Release),
        4 => Just(Input::Post),
        6 => (any::<Index>(), body(), any::<bool>())
            .prop_map(|(conn, body, binary)| Input::Payload(conn, body, binary)),
        1 => any::<Index>().prop_map(Input::PostAborted),
        1 => any::<Index>().prop_map(Input::PostLost),
        1 => any::<Index>().prop_map(Input::PostTooLarge),
        1 => any::<Index>().prop_map(Input::PostInvalid),
        4 => Just(Input::Socket),
        8 => (any::<Index>(), packet()).prop_map(|(conn, frame)| Input::Frame(conn, frame)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(conn, clean)| Input::SocketClosed(conn, clean)),
        6 => Just(Input::Queued),
        1 => Just(Input::Close),
        1 => Just(Input::Shutdown),
        2 => Just(Input::Wait(100)),
        3 => (0..30_000u64).prop_map(Input::Wait),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Waiting,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Fresh,
    Probed,
    Live,
    Flushing,
    Done,
}

/// What a caller sees of the session, checked at every output.
#[derive(Debug)]
struct Caller {
    polls: HashMap<ConnId, Request>,
    posts: HashMap<ConnId, Request>,
    sockets: HashMap<ConnId, Socket>,
    latest: u32,
    outbox: usize,
    kept: bool,
    over: Transport,
    closed: bool,
}

impl Caller {
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
                assert!(reply != PollReply::Again || self.kept, "there was no answer");
            }
            Output::Post(conn, _) => {
                assert_eq!(self.posts.insert(conn, Request::Done), Some(Request::Waiting), "{conn:?}");
            }
            Output::Stream(conn, order) => self.check_order(conn, order),
            Output::Message(_) => assert!(!self.closed),
            Output::Closed(_) => assert!(!mem::replace(&mut self.closed, true)),
        }
    }

    fn check_order(&mut self, conn: ConnId, order: StreamOrder) {
        let before = self.sockets[&conn];
        let after = match (before, order) {
            (Socket::Fresh, AnswerProbe) => Socket::Probed,
            (Socket::Fresh | Socket::Probed, Live) => {
                assert!(!self.closed);
                self.over = Transport::WebSocket;
                Socket::Live
            }
            (Socket::Live, FlushThenClose) => Socket::Flushing,
            (Socket::Fresh | Socket::Probed | Socket::Live | Socket::Flushing, StreamOrder::Close) => {
                Socket::Done
            }
            wrong => panic!("{conn:?}: {wrong:?}"),
        };
        self.sockets.insert(conn, after);
    }

    fn settle(&mut self, bench: &mut Bench) {
        for output in bench.outputs() {
            let takes_one = matches!(output, Output::Poll(_, PollReply::Open));
            self.check(output);
            if takes_one && self.outbox > 0 {
                bench.session.handle_queued();
            }
        }
        if self.over == Transport::WebSocket {
            self.outbox = 0;
        }
        let waiting = |requests: &HashMap<ConnId, Request>| {
            requests.values().filter(|request| **request == Request::Waiting).count()
        };
        let open = usize::from(!self.closed && self.over == Transport::Polling);
        assert!(waiting(&self.polls) <= open && waiting(&self.posts) <= open);
        assert!(waiting(&self.polls) == 0 || self.outbox == 0, "a poll waits beside a full outbox");
        assert!(bench.session.is_finished() || bench.session.next_timeout().is_some());
        assert_eq!(bench.session.transport(), self.over);
    }

    /// Lets time pass; a timeout must never ask to be called again at once.
    fn wait(&mut self, bench: &mut Bench, millis: u64) {
        let end = bench.now + Duration::from_millis(millis);
        while let Some(at) = bench.session.next_timeout().filter(|at| *at <= end) {
            bench.now = bench.now.max(at);
            bench.session.handle_timeout(bench.now);
            self.settle(bench);
            assert!(bench.session.next_timeout().is_none_or(|next| next > bench.now));
        }
        bench.now = end;
    }

    fn apply(&mut self, bench: &mut Bench, input: Input) {
        let now = bench.now;
        let session = &mut bench.session;
        match input {
            Input::Poll => session.handle_poll(plain(self.poll()), now),
            Input::Carried(stamp) => session.handle_poll(carried(self.poll(), stamp), now),
            Input::PollLost(which) => {
                if let Some(conn) = abort(&mut self.polls, which) {
                    session.handle_poll_lost(conn);
                }
            }
            Input::AnswerLost => session.handle_answer_lost(),
            Input::Release => session.handle_release(),
            Input::PollAborted(which) => {
                if let Some(conn) = abort(&mut self.polls, which) {
                    session.handle_poll_aborted(conn);
                }
            }
            Input::Post => {
                let conn = self.connect();
                self.posts.insert(conn, Request::Waiting);
                session.handle_post(conn, now);
            }
            Input::Payload(which, body, binary) => {
                if let Some(conn) = pick(&self.posts, which) {
                    session.handle_payload(conn, Payload { bytes: body.into(), binary }, now);
                }
            }
            Input::PostAborted(which) => {
                if let Some(conn) = abort(&mut self.posts, which) {
                    session.handle_post_aborted(conn);
                }
            }
            Input::PostLost(which) => {
                if let Some(conn) = abort(&mut self.posts, which) {
                    session.handle_post_lost(conn);
                }
            }
            Input::PostTooLarge(which) => {
                if let Some(conn) = pick(&self.posts, which) {
                    session.handle_post_too_large(conn);
                }
            }
            Input::PostInvalid(which) => {
                if let Some(conn) = pick(&self.posts, which) {
                    session.handle_post_invalid(conn);
                }
            }
            Input::Socket => {
                let conn = self.connect();
                self.sockets.insert(conn, Socket::Fresh);
                session.handle_stream(conn, Transport::WebSocket, now);
            }
            Input::Frame(which, frame) => {
                if let Some(conn) = pick(&self.sockets, which) {
                    let packet = Packet::decode_text(frame.into(), session.protocol);
                    session.handle_packet_of(conn, packet, now);
                }
            }
            Input::SocketClosed(which, clean) => {
                if let Some(conn) = pick(&self.sockets, which) {
                    self.sockets.insert(conn, Socket::Done);
                    session.handle_stream_closed(conn, clean);
                }
            }
            Input::Queued => {
                self.outbox += 1;
                session.handle_queued();
            }
            Input::Close => session.handle_close(now),
            Input::Shutdown => session.handle_shutdown(CloseReason::ServerShuttingDown),
            Input::Wait(millis) => return self.wait(bench, millis),
        }
        self.settle(bench);
    }
}

fn carried(conn: ConnId, stamp: u8) -> Get {
    Get { conn, stamp: Some(Stamp::new(&stamp.to_string())), carried: true }
}

/// One of the latest connections: old ones are rarely of interest.
fn pick<T>(conns: &HashMap<ConnId, T>, which: Index) -> Option<ConnId> {
    let mut latest: Vec<_> = conns.keys().copied().collect();
    latest.sort_by_key(|conn| std::cmp::Reverse(conn.0));
    latest.truncate(2);
    (!latest.is_empty()).then(|| latest[which.index(latest.len())])
}

fn abort(requests: &mut HashMap<ConnId, Request>, which: Index) -> Option<ConnId> {
    let conn = pick(requests, which)?;
    requests.insert(conn, Request::Done);
    Some(conn)
}

fn play(mut bench: Bench, over: Transport, inputs: Vec<Input>) {
    let sockets = bench.session.stream.map(|conn| (conn, Socket::Fresh));
    let mut caller = Caller {
        polls: HashMap::new(),
        posts: HashMap::new(),
        sockets: sockets.into_iter().collect(),
        latest: 100,
        outbox: 0,
        kept: false,
        over,
        closed: false,
    };
    caller.settle(&mut bench);
    for input in inputs {
        caller.apply(&mut bench, input);
    }
    caller.apply(&mut bench, Input::Shutdown);
    caller.wait(&mut bench, 1000);
    assert!(caller.closed && bench.session.is_finished());
    assert!(caller.polls.values().chain(caller.posts.values()).all(|request| *request == Request::Done));
    assert!(caller.sockets.values().all(|socket| *socket == Socket::Done));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_and_nothing_follows_the_end(inputs in vec(input(), 0..40)) {
        play(Bench::open(Transport::Polling, None, Config::default()), Transport::Polling, inputs.clone());
        play(Bench::of(Protocol::V3, None, Config::default()), Transport::Polling, inputs.clone());
        play(Bench::of(Protocol::V3, Some(WS), Config::default()), Transport::WebSocket, inputs.clone());
        play(Bench::open(Transport::WebSocket, Some(WS), Config::default()), Transport::WebSocket, inputs);
    }

    #[test]
    fn a_session_that_is_left_alone_ends_in_time(inputs in vec(input(), 0..20), v3: bool) {
        let protocol = if v3 { Protocol::V3 } else { Protocol::V4 };
        let mut bench = Bench::of(protocol, None, Config::default());
        let mut latest = 100;
        for input in inputs {
            latest += 1;
            match input {
                Input::Poll => drop(bench.get(ConnId(latest))),
                Input::Carried(stamp) => bench.session.handle_poll(carried(ConnId(latest), stamp), bench.now),
                Input::PollLost(_) => bench.session.handle_poll_lost(ConnId(latest - 1)),
                Input::Post => bench.session.handle_post(ConnId(latest), bench.now),
                Input::Socket => drop(bench.socket(ConnId(latest))),
                Input::Queued => drop(bench.queue()),
                Input::Close => drop(bench.close()),
                Input::Wait(millis) => drop(bench.wait(millis)),
                _ => {}
            }
            bench.outputs();
        }
        bench.wait(50_000);
        prop_assert!(bench.session.is_finished());
    }
}
