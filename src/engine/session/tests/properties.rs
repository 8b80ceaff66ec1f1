//! Whatever a client does and whenever, the session keeps its promises to its caller.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::caller::{Caller, Input};
use super::*;
use crate::engine::query::Stamp;

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
    let over = prop_oneof![3 => Just(Transport::WebSocket), 1 => Just(Transport::WebTransport)];
    prop_oneof![
        4 => Just(Input::Poll),
        4 => (0..3u8).prop_map(Input::Carried),
        1 => any::<u8>().prop_map(Input::PollAborted),
        1 => any::<u8>().prop_map(Input::PollLost),
        1 => Just(Input::AnswerLost),
        1 => Just(Input::Release),
        4 => Just(Input::Post),
        6 => (any::<u8>(), body(), any::<bool>())
            .prop_map(|(conn, body, binary)| Input::Payload(conn, body, binary)),
        1 => any::<u8>().prop_map(Input::PostAborted),
        1 => any::<u8>().prop_map(Input::PostLost),
        1 => any::<u8>().prop_map(Input::PostTooLarge),
        1 => any::<u8>().prop_map(Input::PostInvalid),
        4 => over.prop_map(Input::Stream),
        8 => (any::<u8>(), packet()).prop_map(|(conn, text)| Input::Text(conn, text)),
        1 => (any::<u8>(), vec(any::<u8>(), 0..4)).prop_map(|(conn, bytes)| Input::Binary(conn, bytes)),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(conn, clean)| Input::StreamClosed(conn, clean)),
        6 => Just(Input::Queued),
        2 => any::<bool>().prop_map(Input::Hold),
        1 => Just(Input::Close),
        1 => Just(Input::Shutdown),
        2 => Just(Input::Wait(100)),
        3 => (0..30_000u64).prop_map(Input::Wait),
    ]
}

fn carried(conn: ConnId, stamp: u8) -> Get {
    Get { conn, stamp: Some(Stamp::new(&stamp.to_string())), carried: true }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_and_nothing_follows_the_end(inputs in vec(input(), 0..40)) {
        for protocol in [Protocol::V3, Protocol::V4] {
            for over in [Transport::Polling, Transport::WebSocket] {
                let mut caller = Caller::open(protocol, over, Config::default(), Instant::now());
                inputs.iter().for_each(|input| caller.apply(input.clone()));
                caller.finish();
            }
        }
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
                Input::Stream(_) => drop(bench.socket(ConnId(latest))),
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
