//! An Engine.IO session and a client that keeps to nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::tape::Tape;
use crate::engine::caller::{Caller, Input};
use crate::engine::{Config, Protocol, Transport};

/// A session between its opening and its end: polls, posts, streams, packets, losses and times in any order.
///
/// # Panics
///
/// When a request is not answered exactly once, something follows the end, or a timeout does not move on.
pub fn session(data: &[u8]) -> bool {
    let mut tape = Tape::new(data);
    let protocol = if tape.one_in(4) { Protocol::V3 } else { Protocol::V4 };
    let over =
        tape.pick(&[Transport::Polling, Transport::Polling, Transport::WebSocket, Transport::WebTransport]);
    let mut caller = Caller::open(protocol, over, config(&mut tape), Instant::now());
    while !tape.is_over() {
        let input = likely(&caller, input(&mut tape, protocol), &mut tape);
        caller.apply(input);
    }
    let upgraded = caller.over() != over;
    caller.finish();
    upgraded
}

fn config(tape: &mut Tape<'_>) -> Config {
    const TIMES: [u64; 8] = [25_000, 25_000, 20_000, 20_000, 10_000, 3_600_000, 100, 1];
    let mut time = || Duration::from_millis(tape.pick(&TIMES));
    Config::default()
        .ping_interval(time())
        .ping_timeout(time())
        .upgrade_timeout(time())
        .close_timeout(time())
        .allow_upgrades(tape.flag())
}

fn input(tape: &mut Tape<'_>, protocol: Protocol) -> Input {
    match tape.below(48) {
        0..=4 => Input::Poll,
        5..=8 => Input::Carried(tape.byte() % 3),
        9..=12 => Input::Post,
        13..=19 => {
            let (which, binary) = (tape.byte(), tape.one_in(8));
            Input::Payload(which, body(tape, protocol), binary)
        }
        20..=22 => Input::Stream(if tape.one_in(4) { Transport::WebTransport } else { Transport::WebSocket }),
        23..=25 => Input::Text(0, "2probe".to_owned()),
        26 | 27 => Input::Text(0, "5".to_owned()),
        28..=31 => Input::Text(tape.byte(), packet(tape, protocol)),
        32 => Input::Binary(tape.byte(), tape.bytes(8).to_vec()),
        33..=37 => Input::Queued,
        38..=40 => Input::Wait(tape.pick(&[1, 1, 5, 5, 100, 100, 1000, 20_000])),
        41 if tape.one_in(4) => Input::Wait(u64::from(u16::from_be_bytes([tape.byte(), tape.byte()]))),
        41 => Input::Wait(250),
        42 => Input::Hold(tape.flag()),
        43 => Input::PollLost(tape.byte()),
        44 => Input::AnswerLost,
        45 => Input::PostLost(tape.byte()),
        46 => Input::Release,
        _ => rare(tape),
    }
}

/// Mostly what a client does next that keeps to the protocol.
fn likely(caller: &Caller, input: Input, tape: &mut Tape<'_>) -> Input {
    match input {
        Input::Poll | Input::Carried(_) if caller.polls() && !tape.one_in(16) => Input::Queued,
        Input::Post if caller.posts() && !tape.one_in(16) => Input::Payload(0, b"4".to_vec(), false),
        Input::Stream(_) if caller.probes() && !tape.one_in(8) => Input::Text(0, "2probe".to_owned()),
        Input::Text(..) if caller.probes() && !tape.one_in(4) => {
            Input::Text(0, if tape.flag() { "2probe" } else { "5" }.to_owned())
        }
        other => other,
    }
}

/// What ends much of what could follow.
fn rare(tape: &mut Tape<'_>) -> Input {
    match tape.below(8) {
        0 | 1 => Input::PostTooLarge(tape.byte()),
        2 => Input::PostAborted(tape.byte()),
        3 => Input::PostInvalid(tape.byte()),
        4 => Input::PollAborted(tape.byte()),
        5 => Input::StreamClosed(tape.byte(), tape.flag()),
        6 => Input::Close,
        _ => Input::Shutdown,
    }
}

/// Mostly one that does not end the session.
fn packet(tape: &mut Tape<'_>, protocol: Protocol) -> String {
    const PACKETS: [&str; 8] = ["4message", "4", "4ä€😀", "6", "0{}", "5", "4{}", "4"];
    const OTHERS: [&str; 8] = ["1", "2", "3", "2probe", "3probe", "7", "", "b="];
    let (beat, bytes) = match protocol {
        Protocol::V3 => ("2", "b4AAEC"),
        Protocol::V4 => ("3", "bAAEC"),
    };
    let packet = match tape.below(48) {
        0 => return tape.text(8),
        1 => tape.pick(&OTHERS),
        2..=11 => beat,
        12..=16 => bytes,
        _ => tape.pick(&PACKETS),
    };
    packet.to_owned()
}

fn body(tape: &mut Tape<'_>, protocol: Protocol) -> Vec<u8> {
    let packets: Vec<_> = (0..1 + tape.below(4)).map(|_| packet(tape, protocol)).collect();
    match (tape.below(16), protocol) {
        (0, _) => tape.bytes(32).to_vec(),
        (1, _) | (_, Protocol::V3) => {
            let framed = |packet: &String| format!("{}:{packet}", packet.encode_utf16().count());
            packets.iter().map(framed).collect::<String>().into_bytes()
        }
        (_, Protocol::V4) => packets.join("\x1e").into_bytes(),
    }
}
