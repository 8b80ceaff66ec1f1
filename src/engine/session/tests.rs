use bytes::Bytes;

use super::*;
use crate::engine::packet::Message;

mod lost_ways;
mod properties;
mod v3;

/// A session and its clock.
struct Bench {
    session: Session,
    now: Instant,
}

/// The GETs, POSTs and WebSockets of a test.
const GET: ConnId = ConnId(1);
const GET_2: ConnId = ConnId(2);
const POST: ConnId = ConnId(11);
const POST_2: ConnId = ConnId(12);
const WS: ConnId = ConnId(21);
const WS_2: ConnId = ConnId(22);

impl Bench {
    fn open(over: Transport, conn: Option<ConnId>, config: Config) -> Self {
        let bench = Self::of(Protocol::V4, conn, config);
        assert_eq!(bench.session.transport(), over);
        bench
    }

    fn of(protocol: Protocol, conn: Option<ConnId>, config: Config) -> Self {
        let now = Instant::now();
        let socket = conn.map(|conn| (conn, Transport::WebSocket));
        let sid = SessionId::new(crate::id::Key::from_hash(0), [0; 10]);
        Self { session: Session::open(sid, protocol, socket, Arc::new(config), now), now }
    }

    /// A session of version 3 on polling whose handshake is answered, and whose client sent a request since.
    fn polling_v3() -> Self {
        Self::greeted(Protocol::V3).followed()
    }

    /// A session on polling whose handshake is answered, and whose client sent a request since.
    fn polling() -> Self {
        Self::greeted(Protocol::V4).followed()
    }

    /// A session on polling whose handshake is answered.
    fn greeted(protocol: Protocol) -> Self {
        let mut bench = Self::of(protocol, None, Config::default());
        bench.session.handle_poll(plain(ConnId(0)), bench.now);
        bench.outputs();
        bench
    }

    /// After a request that left no trace.
    fn followed(mut self) -> Self {
        self.session.handle_post(ConnId(1000), self.now);
        self.session.handle_post_lost(ConnId(1000));
        self
    }

    /// A session that began as a WebSocket.
    fn websocket() -> Self {
        let mut bench = Self::open(Transport::WebSocket, Some(WS), Config::default());
        bench.outputs();
        bench
    }

    /// A session on polling whose probe on `WS` was answered.
    fn probed() -> Self {
        let mut bench = Self::polling();
        bench.socket(WS);
        bench.frame(WS, "2probe");
        bench
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll_output()).collect()
    }

    fn get(&mut self, conn: ConnId) -> Vec<Output> {
        self.session.handle_poll(plain(conn), self.now);
        self.outputs()
    }

    fn post(&mut self, conn: ConnId, body: &'static str) -> Vec<Output> {
        self.session.handle_post(conn, self.now);
        self.session.handle_payload(conn, Payload::text(body.into()), self.now);
        self.outputs()
    }

    fn socket(&mut self, conn: ConnId) -> Vec<Output> {
        self.session.handle_stream(conn, Transport::WebSocket, self.now);
        self.outputs()
    }

    fn frame(&mut self, conn: ConnId, text: &'static str) -> Vec<Output> {
        let packet = Packet::decode_text(text.into(), self.session.protocol);
        self.session.handle_packet_of(conn, packet, self.now);
        self.outputs()
    }

    fn queue(&mut self) -> Vec<Output> {
        self.session.handle_queued();
        self.outputs()
    }

    fn close(&mut self) -> Vec<Output> {
        self.session.handle_close(ForcedClose, self.now);
        self.outputs()
    }

    fn shut_down(&mut self, reason: CloseReason) -> Vec<Output> {
        self.session.handle_shutdown(reason);
        self.outputs()
    }

    /// Lets time pass, with every timeout on its way.
    fn wait(&mut self, millis: u64) -> Vec<Output> {
        let end = self.now + Duration::from_millis(millis);
        let mut outputs = Vec::new();
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.session.handle_timeout(at);
            outputs.append(&mut self.outputs());
        }
        self.now = end;
        outputs
    }
}

#[test]
fn what_went_wrong_with_a_transport_is_known_beside_the_reason() {
    let fault = |bench: &Bench| bench.session.fault();
    let mut bench = Bench::websocket();
    assert_eq!(fault(&bench), None);
    bench.frame(WS, "2");
    assert_eq!(fault(&bench), Some(TransportFault::HeartbeatDirection));
    bench.session.handle_stream_closed(WS, false);
    assert_eq!(fault(&bench), Some(TransportFault::HeartbeatDirection), "the first one counts");
    let mut bench = Bench::websocket();
    bench.session.handle_stream_closed(WS, false);
    assert_eq!(fault(&bench), Some(TransportFault::WebSocket));
    let mut bench = Bench::polling();
    bench.session.handle_post(POST, bench.now);
    bench.session.handle_post(POST_2, bench.now);
    assert_eq!(fault(&bench), Some(TransportFault::PostOverlap));
    let mut bench = Bench::websocket();
    bench.frame(WS, "x");
    assert_eq!(fault(&bench), None, "a packet that is none is not the transport's fault");
}

#[test]
fn packets_are_shown_only_to_an_application_that_wants_to_see_them() {
    let (message, shown) = (
        || Output::Message(Message::Text("a".into())),
        || Output::Packet(Packet::Message(Message::Text("a".into()))),
    );
    let mut bench = Bench::websocket();
    assert_eq!(bench.frame(WS, "4a"), [message()]);
    bench.session.show_packets(true);
    assert_eq!(bench.frame(WS, "4a"), [shown(), message()]);
    assert_eq!(bench.frame(WS, "3"), [Output::Packet(Packet::Pong("".into()))]);
    bench.close();
    assert_eq!(bench.frame(WS, "4a"), [], "nothing is received any more");
}

use CloseReason::{ForcedClose, ParseError, PingTimeout, TransportClose, TransportError};
use StreamOrder::{AnswerProbe, FlushThenClose, Live};

const fn polled(conn: ConnId, reply: PollReply) -> Output {
    Output::Poll(conn, reply)
}

const fn posted(conn: ConnId, reply: PostReply) -> Output {
    Output::Post(conn, reply)
}

const fn ordered(conn: ConnId, order: StreamOrder) -> Output {
    Output::Stream(conn, order)
}

const fn closed(reason: CloseReason) -> Output {
    Output::Closed(reason)
}

fn message(text: &'static str) -> Output {
    Output::Message(Message::Text(text.into()))
}

fn ping() -> Output {
    Output::Send(Packet::Ping("".into()))
}

/// A GET of a client that is connected to the owner and stamps nothing.
const fn plain(conn: ConnId) -> Get {
    Get { conn, stamp: None, carried: false }
}

const NOTHING: [Output; 0] = [];

// Opening (behaviour 1.3, trap 12).

#[test]
fn the_answer_to_the_handshake_over_polling_holds_nothing_else() {
    let mut bench = Bench::of(Protocol::V4, None, Config::default());
    bench.outputs();
    bench.queue();
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Open)]);
    bench.queue();
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Flush)]);
}

#[test]
fn a_polling_session_without_a_second_request_ends_after_the_ping_timeout() {
    for protocol in [Protocol::V4, Protocol::V3] {
        let mut bench = Bench::greeted(protocol);
        assert_eq!(bench.wait(19_999), NOTHING);
        assert_eq!(bench.wait(1), [closed(PingTimeout)]);
        assert!(bench.session.is_finished());

        let mut bench = Bench::greeted(protocol);
        assert_eq!(bench.close(), NOTHING);
        assert_eq!(bench.wait(20_000), [closed(ForcedClose)], "nobody is awaited for longer");

        let requests: [fn(&mut Bench); 3] = [
            |bench| drop(bench.get(GET)),
            |bench| bench.session.handle_post(POST, bench.now),
            |bench| drop(bench.socket(WS)),
        ];
        for request in requests {
            let mut bench = Bench::greeted(protocol);
            bench.wait(19_999);
            request(&mut bench);
            assert!(!bench.wait(20_000).contains(&closed(PingTimeout)));
        }
    }
}

#[test]
fn a_short_ping_timeout_leaves_a_client_time_for_its_second_request() {
    let [second, minute] = [1, 60].map(Duration::from_secs);
    for (interval, timeout, ends) in
        [(second, second, 2000), (minute, second, 5000), (second, minute, 60_000)]
    {
        let mut bench =
            Bench::of(Protocol::V4, None, Config::default().ping_interval(interval).ping_timeout(timeout));
        bench.session.handle_poll(plain(GET), bench.now);
        bench.outputs();
        assert_eq!(bench.wait(ends - 1), NOTHING);
        assert_eq!(bench.wait(1), [closed(PingTimeout)]);
    }
}

#[test]
fn the_handshake_of_polling_has_exactly_five_keys_and_offers_the_upgrade() {
    let mut bench = Bench::open(Transport::Polling, None, Config::default());
    let json = r#"{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    assert_eq!(bench.outputs(), [Output::Send(Packet::Open(json.into()))]);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Open)]);
}

#[test]
fn the_handshake_of_a_websocket_offers_no_upgrade_and_goes_out_at_once() {
    let mut bench = Bench::open(Transport::WebSocket, Some(WS), Config::default());
    let json = r#"{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    assert_eq!(bench.outputs(), [Output::Send(Packet::Open(json.into())), ordered(WS, Live)]);
}

#[test]
fn the_other_transports_are_offered_in_the_order_of_the_settings() {
    let transports = vec![Transport::WebTransport, Transport::Polling, Transport::WebSocket];
    let mut bench = Bench::open(Transport::Polling, None, Config::default().transports(transports));
    let outputs = bench.outputs();
    let [Output::Send(Packet::Open(json))] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert!(json.contains(r#""upgrades":["webtransport","websocket"]"#), "{json}");
}

#[test]
fn a_session_takes_the_transport_of_the_probe_that_upgrades_it() {
    let mut bench = Bench::polling();
    bench.session.handle_stream(WS, Transport::WebTransport, bench.now);
    bench.frame(WS, "2probe");
    assert_eq!(bench.session.transport(), Transport::Polling);
    assert_eq!(bench.frame(WS, "5"), [ordered(WS, Live)]);
    assert_eq!(bench.session.transport(), Transport::WebTransport);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Mismatch)]);
    assert_eq!(bench.socket(WS_2), [ordered(WS_2, StreamOrder::Close)]);
}

#[test]
fn an_upgrade_that_is_not_wanted_is_not_offered() {
    let unwanted = Config::default().allow_upgrades(false);
    let disabled = Config::default().transports([Transport::Polling]);
    for config in [unwanted, disabled] {
        let mut bench = Bench::open(Transport::Polling, None, config);
        let outputs = bench.outputs();
        let [Output::Send(Packet::Open(json))] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert!(json.contains(r#""upgrades":[]"#), "{json}");
    }
}

// Polling (behaviour 1.3).

#[test]
fn a_poll_waits_until_something_is_queued() {
    let mut bench = Bench::polling();
    assert_eq!(bench.get(GET), NOTHING);
    assert_eq!(bench.queue(), [polled(GET, PollReply::Flush)]);
    assert_eq!(bench.queue(), NOTHING);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Flush)]);
}

#[test]
fn a_second_concurrent_poll_closes_the_session() {
    let mut bench = Bench::polling();
    bench.get(GET);
    assert_eq!(
        bench.get(GET_2),
        [polled(GET_2, PollReply::Refused), polled(GET, PollReply::Close), closed(TransportError)]
    );
}

#[test]
fn a_second_concurrent_post_closes_the_session_and_both_are_refused() {
    let mut bench = Bench::polling();
    bench.session.handle_post(POST, bench.now);
    bench.session.handle_post(POST_2, bench.now);
    assert_eq!(
        bench.outputs(),
        [posted(POST_2, PostReply::Refused), posted(POST, PostReply::Refused), closed(TransportError)]
    );
    bench.session.handle_payload(POST, Payload::text("4late".into()), bench.now);
    assert_eq!(bench.outputs(), NOTHING);
}

#[test]
fn an_aborted_poll_closes_the_session() {
    let mut bench = Bench::polling();
    bench.get(GET);
    bench.session.handle_poll_aborted(GET);
    assert_eq!(bench.outputs(), [closed(TransportError)]);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Unknown)]);
}

#[test]
fn the_end_of_an_answered_poll_is_no_abort() {
    let mut bench = Bench::polling();
    bench.get(GET);
    bench.queue();
    bench.session.handle_poll_aborted(GET);
    assert_eq!(bench.outputs(), NOTHING);
}

#[test]
fn an_aborted_post_closes_the_session() {
    let mut bench = Bench::polling();
    bench.get(GET);
    bench.session.handle_post(POST, bench.now);
    bench.session.handle_post_aborted(POST);
    assert_eq!(bench.outputs(), [polled(GET, PollReply::Close), closed(TransportError)]);
}

#[test]
fn a_post_is_answered_after_its_packets() {
    let mut bench = Bench::polling();
    assert_eq!(
        bench.post(POST, "4a\x1ebAQ==\x1e4b"),
        [
            message("a"),
            Output::Message(Message::Binary(Bytes::from_static(&[1]))),
            message("b"),
            posted(POST, PostReply::Ok)
        ]
    );
    assert_eq!(bench.post(POST_2, "4c"), [message("c"), posted(POST_2, PostReply::Ok)]);
}

#[test]
fn a_post_that_is_too_large_leaves_the_session_alive() {
    let mut bench = Bench::polling();
    bench.session.handle_post(POST, bench.now);
    bench.session.handle_post_too_large(POST);
    assert_eq!(bench.outputs(), [posted(POST, PostReply::TooLarge)]);
    assert_eq!(bench.post(POST_2, "4a"), [message("a"), posted(POST_2, PostReply::Ok)]);
}

#[test]
fn a_post_of_bytes_is_refused_and_closes_the_session() {
    let mut bench = Bench::polling();
    bench.session.handle_post(POST, bench.now);
    bench.session.handle_post_invalid(POST);
    assert_eq!(bench.outputs(), [posted(POST, PostReply::Refused), closed(TransportError)]);
}

#[test]
fn an_invalid_packet_in_a_post_is_refused_and_closes_the_session() {
    for body in ["", "abc", "x"] {
        let mut bench = Bench::polling();
        assert_eq!(bench.post(POST, body), [posted(POST, PostReply::Refused), closed(ParseError)], "{body}");
    }
    let mut bench = Bench::polling();
    assert_eq!(
        bench.post(POST, "4a\x1ex\x1e4b"),
        [message("a"), posted(POST, PostReply::Refused), closed(ParseError)]
    );
}

#[test]
fn a_ping_of_the_client_closes_the_session_and_its_post_is_ok() {
    for body in ["2", "2probe"] {
        let mut bench = Bench::polling();
        bench.get(GET);
        assert_eq!(
            bench.post(POST, body),
            [polled(GET, PollReply::Close), posted(POST, PostReply::Ok), closed(TransportError)]
        );
    }
}

#[test]
fn packets_without_a_meaning_here_are_ignored() {
    let mut bench = Bench::polling();
    assert_eq!(bench.post(POST, "0\x1e5\x1e6"), [posted(POST, PostReply::Ok)]);
    let mut bench = Bench::websocket();
    for packet in ["0", "5", "6"] {
        assert_eq!(bench.frame(WS, packet), NOTHING);
    }
}

#[test]
fn requests_after_the_end_find_no_session() {
    let mut bench = Bench::polling();
    bench.shut_down(ForcedClose);
    assert!(bench.session.is_finished());
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Unknown)]);
    assert_eq!(bench.post(POST, "4a"), [posted(POST, PostReply::Unknown)]);
    assert_eq!(bench.socket(WS), [ordered(WS, StreamOrder::Close)]);
    assert_eq!(bench.queue(), NOTHING);
}

// The client closes (behaviour 1.3, trap 10).

#[test]
fn a_close_over_polling_releases_the_poll_and_drops_what_follows() {
    let mut bench = Bench::polling();
    bench.get(GET);
    assert_eq!(
        bench.post(POST, "4a\x1e1\x1e4b"),
        [message("a"), polled(GET, PollReply::Noop), posted(POST, PostReply::Ok), closed(TransportClose)]
    );
    assert!(bench.session.is_finished());
}

#[test]
fn a_poll_overtaken_by_the_clients_close_is_released_once() {
    let mut bench = Bench::polling();
    assert_eq!(bench.post(POST, "1"), [posted(POST, PostReply::Ok), closed(TransportClose)]);
    assert!(!bench.session.is_finished());
    bench.wait(249);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Noop)]);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Unknown)]);
    assert!(bench.session.is_finished());
}

#[test]
fn the_wait_for_an_overtaken_poll_ends() {
    let mut bench = Bench::polling();
    bench.post(POST, "1");
    bench.wait(250);
    assert!(bench.session.is_finished());
    assert_eq!(bench.session.next_timeout(), None);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Unknown)]);
}

#[test]
fn a_close_on_a_websocket_closes_at_once() {
    let mut bench = Bench::websocket();
    assert_eq!(bench.frame(WS, "1"), [ordered(WS, StreamOrder::Close), closed(TransportClose)]);
    assert!(bench.session.is_finished());
}

// WebSocket (behaviour 1.4).

#[test]
fn frames_on_a_websocket_reach_the_application() {
    let mut bench = Bench::websocket();
    assert_eq!(bench.frame(WS, "4a"), [message("a")]);
    assert_eq!(bench.frame(WS, "bAQ=="), [Output::Message(Message::Binary(Bytes::from_static(&[1])))]);
    bench.session.handle_packet_of(WS, Ok(Packet::Message(Message::Binary(Bytes::new()))), bench.now);
    assert_eq!(bench.outputs(), [Output::Message(Message::Binary(Bytes::new()))]);
}

#[test]
fn an_invalid_frame_closes_the_session() {
    for frame in ["abc", ""] {
        let mut bench = Bench::websocket();
        assert_eq!(bench.frame(WS, frame), [ordered(WS, StreamOrder::Close), closed(ParseError)]);
        assert_eq!(bench.frame(WS, "4a"), NOTHING);
    }
}

#[test]
fn a_ping_of_the_client_on_a_websocket_closes_the_session() {
    for frame in ["2", "2probe"] {
        let mut bench = Bench::websocket();
        assert_eq!(bench.frame(WS, frame), [ordered(WS, StreamOrder::Close), closed(TransportError)]);
    }
}

#[test]
fn a_lost_websocket_is_an_error_and_a_closed_one_is_not() {
    for (clean, reason) in [(true, TransportClose), (false, TransportError)] {
        let mut bench = Bench::websocket();
        bench.session.handle_stream_closed(WS, clean);
        assert_eq!(bench.outputs(), [closed(reason)]);
        bench.session.handle_stream_closed(WS, clean);
        assert_eq!(bench.outputs(), NOTHING);
    }
}

#[test]
fn a_second_websocket_is_closed_and_harms_nothing() {
    let refused = [ordered(WS_2, StreamOrder::Close)];
    let mut started = Bench::websocket();
    let mut upgrading = Bench::polling();
    upgrading.socket(WS);
    let mut upgraded = Bench::probed();
    upgraded.frame(WS, "5");
    for bench in [&mut started, &mut upgrading, &mut upgraded] {
        assert_eq!(bench.socket(WS_2), refused);
        assert_eq!(bench.frame(WS_2, "2probe"), NOTHING);
        assert_eq!(bench.frame(WS_2, "5"), NOTHING);
        bench.session.handle_stream_closed(WS_2, false);
        assert_eq!(bench.outputs(), NOTHING);
    }
    assert_eq!(started.frame(WS, "4a"), [message("a")]);
    assert_eq!(upgrading.frame(WS, "2probe"), [ordered(WS, AnswerProbe)]);
    assert_eq!(upgraded.frame(WS, "4a"), [message("a")]);
}

#[test]
fn requests_of_a_websocket_session_are_refused_and_harm_nothing() {
    let mut bench = Bench::websocket();
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Mismatch)]);
    assert_eq!(bench.post(POST, "4a"), [posted(POST, PostReply::Mismatch)]);
    assert_eq!(bench.frame(WS, "4a"), [message("a")]);
}

// Upgrade (behaviour 1.5, traps 3 to 5, appendix A.3).

#[test]
fn an_upgrade_releases_the_poll_and_moves_the_outbox() {
    let mut bench = Bench::polling();
    bench.get(GET);
    assert_eq!(bench.socket(WS), NOTHING);
    assert_eq!(bench.frame(WS, "2probe"), [ordered(WS, AnswerProbe), polled(GET, PollReply::Noop)]);
    assert_eq!(bench.queue(), NOTHING);
    assert_eq!(bench.session.transport(), Transport::Polling);
    assert_eq!(bench.frame(WS, "5"), [ordered(WS, Live)]);
    assert_eq!(bench.session.transport(), Transport::WebSocket);
    assert_eq!(bench.frame(WS, "4x"), [message("x")]);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Mismatch)]);
    assert_eq!(bench.frame(WS, "4y"), [message("y")]);
}

#[test]
fn each_poll_during_an_upgrade_is_released_a_little_later_than_the_last() {
    let mut bench = Bench::probed();
    for (number, delay) in (1..).zip([5, 10, 20, 40, 80, 100, 100]) {
        let conn = ConnId(number);
        assert_eq!(bench.get(conn), NOTHING);
        assert_eq!(bench.wait(delay - 1), NOTHING);
        assert_eq!(bench.wait(1), [polled(conn, PollReply::Noop)]);
    }
}

#[test]
fn polls_are_not_released_before_the_probe() {
    let mut bench = Bench::polling();
    bench.socket(WS);
    bench.get(GET);
    assert_eq!(bench.wait(1000), NOTHING);
    assert_eq!(bench.frame(WS, "2probe"), [ordered(WS, AnswerProbe), polled(GET, PollReply::Noop)]);
}

#[test]
fn messages_during_an_upgrade_go_over_polling() {
    let mut bench = Bench::probed();
    bench.get(GET);
    assert_eq!(bench.queue(), [polled(GET, PollReply::Flush)]);
    assert_eq!(bench.queue(), NOTHING);
    assert_eq!(bench.post(POST, "4a"), [message("a"), posted(POST, PostReply::Ok)]);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Flush)]);
}

#[test]
fn heartbeats_during_an_upgrade_go_over_polling() {
    let mut bench = Bench::polling();
    bench.wait(24_990);
    bench.socket(WS);
    bench.frame(WS, "2probe");
    bench.get(GET);
    bench.wait(5);
    bench.get(GET_2);
    assert_eq!(bench.wait(5), [ping(), polled(GET_2, PollReply::Flush)]);
}

#[test]
fn a_poll_that_overtook_the_upgrade_is_a_mismatch() {
    let mut bench = Bench::probed();
    bench.get(GET);
    assert_eq!(bench.frame(WS, "5"), [polled(GET, PollReply::Mismatch), ordered(WS, Live)]);
}

#[test]
fn a_post_in_progress_does_not_survive_the_upgrade() {
    let mut bench = Bench::probed();
    bench.session.handle_post(POST, bench.now);
    assert_eq!(bench.frame(WS, "5"), [posted(POST, PostReply::Mismatch), ordered(WS, Live)]);
    bench.session.handle_payload(POST, Payload::text("4late".into()), bench.now);
    assert_eq!(bench.outputs(), NOTHING);
}

#[test]
fn any_other_packet_on_a_probing_websocket_closes_only_the_probe() {
    for frame in ["4early", "1", "2", "3probe", "6", "abc", "2probe"] {
        let mut bench = Bench::probed();
        assert_eq!(bench.frame(WS, frame), [ordered(WS, StreamOrder::Close)], "{frame}");
        assert_eq!(bench.frame(WS, "5"), NOTHING);
        assert_eq!(bench.post(POST, "4a"), [message("a"), posted(POST, PostReply::Ok)]);
    }
}

#[test]
fn a_lost_probe_leaves_the_session_and_its_poll_and_another_may_follow() {
    let mut bench = Bench::probed();
    bench.get(GET);
    bench.session.handle_stream_closed(WS, false);
    assert_eq!(bench.wait(1000), NOTHING);
    assert_eq!(bench.socket(WS_2), NOTHING);
    assert_eq!(bench.frame(WS_2, "2probe"), [ordered(WS_2, AnswerProbe), polled(GET, PollReply::Noop)]);
    assert_eq!(bench.frame(WS_2, "5"), [ordered(WS_2, Live)]);
}

#[test]
fn an_upgrade_that_takes_too_long_closes_only_the_probe() {
    for mut bench in [Bench::probed(), {
        let mut silent = Bench::polling();
        silent.socket(WS);
        silent
    }] {
        assert_eq!(bench.wait(9_999), NOTHING);
        assert_eq!(bench.wait(1), [ordered(WS, StreamOrder::Close)]);
        assert_eq!(bench.get(GET), NOTHING);
        assert_eq!(bench.queue(), [polled(GET, PollReply::Flush)]);
    }
}

#[test]
fn a_session_that_ends_takes_its_probe_along() {
    let mut bench = Bench::probed();
    bench.get(GET);
    bench.session.handle_poll_aborted(GET);
    assert_eq!(bench.outputs(), [ordered(WS, StreamOrder::Close), closed(TransportError)]);
}

// Close (behaviour 1.6, trap 9, appendix A.1 and A.2).

#[test]
fn a_graceful_close_answers_the_pending_poll() {
    let mut bench = Bench::polling();
    bench.get(GET);
    assert_eq!(bench.close(), [polled(GET, PollReply::Close), closed(ForcedClose)]);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Unknown)]);
}

#[test]
fn a_graceful_close_without_a_poll_waits_for_the_next() {
    let mut bench = Bench::polling();
    assert_eq!(bench.close(), NOTHING);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::NoopClose), closed(ForcedClose)]);
}

#[test]
fn a_graceful_close_sends_what_is_queued_first() {
    let mut bench = Bench::polling();
    bench.queue();
    assert_eq!(bench.close(), NOTHING);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Flush)]);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::NoopClose), closed(ForcedClose)]);
    assert_eq!(bench.get(ConnId(3)), [polled(ConnId(3), PollReply::Unknown)]);
}

#[test]
fn a_graceful_close_gives_up_after_the_close_timeout() {
    let mut bench = Bench::polling();
    bench.queue();
    bench.close();
    assert_eq!(bench.wait(29_999), NOTHING);
    assert_eq!(bench.wait(1), [closed(ForcedClose)]);
}

#[test]
fn a_closing_session_receives_nothing_more() {
    let mut bench = Bench::polling();
    bench.close();
    assert_eq!(bench.post(POST, "4a\x1e2\x1ex"), [posted(POST, PostReply::Ok)]);
    assert_eq!(bench.socket(WS), [ordered(WS, StreamOrder::Close)]);
    assert_eq!(bench.post(POST_2, "1"), [posted(POST_2, PostReply::Ok), closed(TransportClose)]);
}

#[test]
fn a_graceful_close_flushes_the_websocket() {
    let mut bench = Bench::websocket();
    assert_eq!(bench.close(), [ordered(WS, FlushThenClose)]);
    assert_eq!(bench.frame(WS, "4a"), NOTHING);
    bench.session.handle_stream_closed(WS, false);
    assert_eq!(bench.outputs(), [closed(ForcedClose)]);
}

#[test]
fn a_session_that_closes_gently_says_why_it_did() {
    let why = CloseReason::ServerShuttingDown;
    let mut bench = Bench::websocket();
    bench.session.handle_close(why, bench.now);
    bench.session.handle_stream_closed(WS, true);
    assert_eq!(bench.outputs(), [ordered(WS, FlushThenClose), closed(why)]);
    let mut bench = Bench::polling();
    bench.session.handle_close(why, bench.now);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::NoopClose), closed(why)]);
    let mut bench = Bench::polling();
    bench.get(GET);
    bench.session.handle_close(why, bench.now);
    assert_eq!(bench.outputs(), [polled(GET, PollReply::Close), closed(why)]);
}

#[test]
fn a_client_that_does_not_read_its_last_frames_is_dropped() {
    let mut bench = Bench::websocket();
    bench.close();
    assert_eq!(bench.wait(30_000), [ordered(WS, StreamOrder::Close), closed(ForcedClose)]);
}

#[test]
fn a_graceful_close_during_an_upgrade_follows_its_flush() {
    let mut bench = Bench::probed();
    bench.queue();
    assert_eq!(bench.close(), NOTHING);
    assert_eq!(bench.frame(WS, "5"), [ordered(WS, Live), ordered(WS, FlushThenClose)]);
    bench.session.handle_stream_closed(WS, true);
    assert_eq!(bench.outputs(), [closed(ForcedClose)]);
}

#[test]
fn a_shutdown_ends_everything_at_once() {
    let mut bench = Bench::probed();
    bench.get(GET);
    bench.session.handle_post(POST, bench.now);
    assert_eq!(
        bench.shut_down(CloseReason::ServerShuttingDown),
        [
            polled(GET, PollReply::Close),
            posted(POST, PostReply::Unknown),
            ordered(WS, StreamOrder::Close),
            closed(CloseReason::ServerShuttingDown)
        ]
    );
    assert_eq!(bench.shut_down(ForcedClose), NOTHING);
    let mut bench = Bench::websocket();
    bench.close();
    let ended = bench.shut_down(TransportError);
    assert_eq!(ended, [ordered(WS, StreamOrder::Close), closed(TransportError)]);
}

#[test]
fn an_application_that_closes_amid_a_payload_receives_no_more_of_it() {
    let mut bench = Bench::polling();
    bench.session.handle_post(POST, bench.now);
    bench.session.handle_payload(POST, Payload::text("4a\x1e4b".into()), bench.now);
    assert_eq!(bench.session.poll_output(), Some(message("a")));
    assert_eq!(bench.shut_down(ForcedClose), [posted(POST, PostReply::Ok), closed(ForcedClose)]);
}

// Heartbeat (behaviour 1.7, trap 11).

#[test]
fn the_server_pings_and_the_pong_restarts_the_interval() {
    let mut bench = Bench::websocket();
    assert_eq!(bench.wait(24_999), NOTHING);
    assert_eq!(bench.wait(1), [ping()]);
    bench.wait(5_000);
    assert_eq!(bench.frame(WS, "3"), NOTHING);
    assert_eq!(bench.wait(24_999), NOTHING);
    assert_eq!(bench.wait(1), [ping()]);
}

#[test]
fn a_ping_on_polling_answers_the_pending_poll() {
    let mut bench = Bench::polling();
    bench.get(GET);
    assert_eq!(bench.wait(25_000), [ping(), polled(GET, PollReply::Flush)]);
    assert_eq!(bench.post(POST, "3"), [posted(POST, PostReply::Ok)]);
    assert_eq!(bench.wait(25_000), [ping()]);
    assert_eq!(bench.get(GET_2), [polled(GET_2, PollReply::Flush)]);
}

#[test]
fn a_client_without_pong_times_out() {
    let mut bench = Bench::websocket();
    assert_eq!(bench.wait(44_999), [ping()]);
    assert_eq!(bench.wait(1), [ordered(WS, StreamOrder::Close), closed(PingTimeout)]);
    let mut bench = Bench::polling();
    bench.wait(25_000);
    bench.get(GET);
    bench.get(GET_2);
    assert_eq!(bench.wait(20_000), [polled(GET_2, PollReply::Close), closed(PingTimeout)]);
}

#[test]
fn another_packet_refreshes_the_timeout_once_per_ping() {
    let mut bench = Bench::websocket();
    bench.wait(35_000);
    assert_eq!(bench.frame(WS, "4a"), [message("a")]);
    bench.wait(15_000);
    assert_eq!(bench.frame(WS, "4b"), [message("b")]);
    assert_eq!(bench.wait(4_999), NOTHING);
    assert_eq!(bench.wait(1), [ordered(WS, StreamOrder::Close), closed(PingTimeout)]);
}

#[test]
fn every_ping_allows_one_refresh() {
    let mut bench = Bench::websocket();
    for _ in 0..3 {
        assert_eq!(bench.wait(25_000), [ping()]);
        bench.wait(19_000);
        bench.frame(WS, "6");
        assert_eq!(bench.wait(19_999), NOTHING);
        bench.frame(WS, "3");
    }
}

#[test]
fn other_packets_do_not_move_the_next_ping() {
    let mut bench = Bench::websocket();
    bench.wait(20_000);
    bench.frame(WS, "4a");
    assert_eq!(bench.wait(5_000), [ping()]);
}

#[test]
fn an_unsolicited_pong_restarts_the_interval() {
    let mut bench = Bench::websocket();
    bench.wait(20_000);
    bench.frame(WS, "3");
    assert_eq!(bench.wait(24_999), NOTHING);
    assert_eq!(bench.wait(1), [ping()]);
}

#[test]
fn an_upgrade_forgives_the_pending_ping_and_restarts_the_interval() {
    let mut bench = Bench::polling();
    assert_eq!(bench.wait(40_000), [ping()]);
    bench.socket(WS);
    bench.frame(WS, "2probe");
    bench.frame(WS, "5");
    assert_eq!(bench.wait(24_999), NOTHING);
    assert_eq!(bench.wait(1), [ping()]);
}

// Volatile (behaviour 2.4).

#[test]
fn volatile_packets_need_a_waiting_poll_or_a_websocket() {
    let mut bench = Bench::polling();
    assert!(!bench.session.is_writable());
    bench.get(GET);
    assert!(bench.session.is_writable());
    bench.queue();
    assert!(!bench.session.is_writable());
    bench.socket(WS);
    assert!(!bench.session.is_writable());
    bench.frame(WS, "2probe");
    bench.frame(WS, "5");
    assert!(bench.session.is_writable());
    bench.close();
    assert!(!bench.session.is_writable());
}
