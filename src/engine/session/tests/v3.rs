//! What is different for clients of version 3.

use super::*;

fn pong(data: &'static str) -> Output {
    Output::Send(Packet::Pong(data.into()))
}

#[test]
fn a_ping_is_answered_with_its_own_data() {
    let mut bench = Bench::polling_v3();
    assert_eq!(bench.post(POST, "1:2"), [pong(""), posted(POST, PostReply::Ok)]);
    assert_eq!(bench.get(GET), [polled(GET, PollReply::Flush)]);
    assert_eq!(bench.get(GET_2), NOTHING);
    assert_eq!(
        bench.post(POST_2, "3:2hi"),
        [pong("hi"), polled(GET_2, PollReply::Flush), posted(POST_2, PostReply::Ok)]
    );
    let mut bench = Bench::of(Protocol::V3, Some(WS), Config::default());
    bench.outputs();
    assert_eq!(bench.frame(WS, "2"), [pong("")]);
}

#[test]
fn the_server_never_pings() {
    let mut bench = Bench::polling_v3();
    assert_eq!(bench.wait(44_999), NOTHING);
    assert_eq!(bench.wait(1), [closed(PingTimeout)]);
}

#[test]
fn any_packet_restarts_the_interval_and_timeout() {
    let mut bench = Bench::polling_v3();
    for (conn, body) in [(ConnId(31), "1:2"), (ConnId(32), "2:4x"), (ConnId(33), "1:6"), (ConnId(34), "1:2")]
    {
        assert!(!bench.wait(44_000).contains(&closed(PingTimeout)), "{body}");
        assert!(bench.post(conn, body).contains(&posted(conn, PostReply::Ok)), "{body}");
    }
    assert!(bench.wait(45_000).contains(&closed(PingTimeout)));
}

#[test]
fn a_pong_of_the_client_closes_the_session() {
    let mut bench = Bench::polling_v3();
    assert_eq!(bench.post(POST, "1:3"), [posted(POST, PostReply::Ok), closed(TransportError)]);
}

#[test]
fn a_payload_of_version_4_is_invalid_in_version_3() {
    for body in ["4a", "4a\x1e4b", "2", "abc", ""] {
        let mut bench = Bench::polling_v3();
        assert_eq!(bench.post(POST, body), [posted(POST, PostReply::Refused), closed(ParseError)], "{body}");
    }
}

#[test]
fn a_payload_of_bytes_is_taken() {
    let mut bench = Bench::polling_v3();
    bench.session.handle_post(POST, bench.now);
    let bytes = Bytes::from_static(&[0, 2, 255, b'4', b'a', 1, 2, 255, 4, 7]);
    bench.session.handle_payload(POST, Payload { bytes, binary: true }, bench.now);
    assert_eq!(
        bench.outputs(),
        [
            message("a"),
            Output::Message(Message::Binary(Bytes::from_static(&[7]))),
            posted(POST, PostReply::Ok)
        ]
    );
}

#[test]
fn an_upgrade_is_that_of_version_4_and_starts_the_time_of_the_client_anew() {
    let mut bench = Bench::polling_v3();
    bench.wait(40_000);
    bench.socket(WS);
    assert_eq!(bench.frame(WS, "2probe"), [ordered(WS, AnswerProbe)]);
    bench.get(GET);
    assert_eq!(bench.wait(5), [polled(GET, PollReply::Noop)]);
    assert_eq!(bench.frame(WS, "5"), [ordered(WS, Live)]);
    assert_eq!(bench.wait(44_999), NOTHING);
    assert_eq!(bench.wait(1), [ordered(WS, StreamOrder::Close), closed(PingTimeout)]);
}

#[test]
fn the_handshake_is_that_of_version_4() {
    let mut bench = Bench::of(Protocol::V3, None, Config::default());
    let [Output::Send(Packet::Open(v3))] = &bench.outputs()[..] else { panic!("an open packet") };
    let mut bench = Bench::of(Protocol::V4, None, Config::default());
    assert_eq!(bench.outputs(), [Output::Send(Packet::Open(v3.clone()))]);
}
