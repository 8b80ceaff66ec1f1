//! The codec against tungstenite, in both directions and on frames that are nearly right.
//!
//! Deliberate differences, each a stricter or earlier answer of ours:
//! - a length that is not in its shortest form is refused (tungstenite reads it);
//! - a close code that must not be sent is a violation (tungstenite reports a close with 1002); 1014 is allowed;
//! - a header is refused when it is read (tungstenite waits for the payload it announces);
//! - UTF-8 is checked when a text message is complete (tungstenite fails in the first bad fragment).

use std::io::{self, Cursor, Read, Write};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::{Decoder, Incoming, Opcode, Violation, close_frame, frame, pong_frame};

const LIMIT: usize = 400;

/// A stream that reads what it was given and drops what is written.
struct Recorded(Cursor<Vec<u8>>);

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ours(mut bytes: Vec<u8>) -> (Vec<Incoming>, Option<Violation>) {
    let mut messages = Vec::new();
    for message in Decoder::new(LIMIT).feed(&mut bytes) {
        match message {
            Ok(message) => messages.push(message),
            Err(violation) => return (messages, Some(violation)),
        }
    }
    (messages, None)
}

/// What tungstenite reads, and the error that ended it unless that was the end of the bytes or a close.
fn theirs(bytes: Vec<u8>, role: Role) -> (Vec<Message>, Option<Error>) {
    let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Recorded(Cursor::new(bytes)), role, Some(config));
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => messages.push(message),
            Err(Error::ConnectionClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (messages, None);
            }
            Err(error) => return (messages, Some(error)),
        }
    }
}

fn translated(message: &Message) -> Incoming {
    match message {
        Message::Text(text) => Incoming::Text(text.as_str().into()),
        Message::Binary(bytes) => Incoming::Binary(bytes.clone()),
        Message::Ping(bytes) => Incoming::Ping(bytes.clone()),
        Message::Pong(_) => Incoming::Pong,
        Message::Close(close) => Incoming::Close(close.as_ref().map(|close| close.code.into())),
        Message::Frame(_) => unreachable!("never read"),
    }
}

/// tungstenite puts this in place of a close whose code it does not allow.
fn is_replaced_close(message: &Message) -> bool {
    matches!(message, Message::Close(Some(close)) if close.reason.as_str() == "Protocol violation")
}

/// One frame with a length that is true and in its shortest form; everything else may be wrong.
fn nearly_a_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        12 => prop::sample::select(&[0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a][..]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => ".{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..8),
        2 => (990..1020_u16, ".{0,4}").prop_map(|(code, why)| [&code.to_be_bytes(), why.as_bytes()].concat()),
        1 => (any::<u16>(), ".{0,4}").prop_map(|(code, why)| [&code.to_be_bytes(), why.as_bytes()].concat()),
        1 => "[a-zé]{100,300}".prop_map(String::into_bytes),
    ];
    (first, payload, prop::bool::weighted(0.97), any::<[u8; 4]>()).prop_map(
        |(first, payload, masked, mask)| {
            let masked_bit = if masked { 0x80 } else { 0 };
            let mut frame = vec![first];
            match u8::try_from(payload.len()) {
                Ok(short @ 0..=125) => frame.push(masked_bit | short),
                _ => {
                    frame.push(masked_bit | 126);
                    frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
                }
            }
            if masked {
                frame.extend(mask);
            }
            frame.extend(
                payload.iter().enumerate().map(|(i, byte)| if masked { byte ^ mask[i % 4] } else { *byte }),
            );
            frame
        },
    )
}

/// A message and how many bytes each of its fragments has.
fn fragmented() -> impl Strategy<Value = (Incoming, Vec<usize>)> {
    let message = prop_oneof![
        ".{0,60}".prop_map(|text| Incoming::Text(text.into())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Incoming::Binary(bytes.into())),
        vec(any::<u8>(), 0..=125).prop_map(|bytes| Incoming::Ping(bytes.into())),
        Just(Incoming::Pong),
    ];
    (message, vec(0..100_usize, 0..4))
}

/// The data frames of one message; a control frame is never cut.
fn fragments(message: &Incoming, sizes: &[usize]) -> Vec<Message> {
    let (kind, mut rest) = match message {
        Incoming::Text(text) => (Data::Text, text.as_bytes().clone()),
        Incoming::Binary(bytes) => (Data::Binary, bytes.clone()),
        Incoming::Ping(bytes) => return vec![Message::Ping(bytes.clone())],
        Incoming::Pong | Incoming::Close(_) => return vec![Message::Pong(Bytes::from_static(b"pong"))],
    };
    let mut frames = Vec::new();
    for size in sizes {
        frames.push(rest.split_to(rest.len().min(*size)));
    }
    frames.push(rest);
    let last = frames.len() - 1;
    let frame = |(i, part)| {
        let kind = if i == 0 { kind } else { Data::Continue };
        Message::Frame(Frame::message(part, OpCode::Data(kind), i == last))
    };
    frames.into_iter().enumerate().map(frame).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn frames_written_by_tungstenite_are_read(messages in vec(fragmented(), 0..6)) {
        let mut client = WebSocket::from_raw_socket(Cursor::new(Vec::new()), Role::Client, None);
        for (message, sizes) in &messages {
            for frame in fragments(message, sizes) {
                client.send(frame).unwrap();
            }
        }
        client.close(None).unwrap();
        let mut expected: Vec<Incoming> = messages.into_iter().map(|(message, _)| message).collect();
        expected.push(Incoming::Close(None));
        prop_assert_eq!(ours(client.get_ref().get_ref().clone()), (expected, None));
    }

    #[test]
    fn tungstenite_reads_the_frames_that_we_write(
        text in ".{0,90}",
        binary in vec(any::<u8>(), 0..LIMIT),
        ping in vec(any::<u8>(), 0..=125),
        code in prop::option::of(prop::sample::select(&[1000_u16, 1002, 1007, 1009, 4000][..])),
    ) {
        let wire = [
            frame(Opcode::Text, text.as_bytes()),
            frame(Opcode::Binary, &binary),
            frame(Opcode::Ping, &ping),
            pong_frame(&ping),
            close_frame(code),
        ];
        let (read, error) = theirs(wire.concat(), Role::Client);
        prop_assert!(error.is_none(), "{:?}", error);
        let expected = [
            Incoming::Text(text.into()),
            Incoming::Binary(binary.into()),
            Incoming::Ping(ping.into()),
            Incoming::Pong,
            Incoming::Close(code),
        ];
        prop_assert_eq!(read.iter().map(translated).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nearly_right_frames_are_read_and_refused_alike(frames in vec(nearly_a_frame(), 1..8)) {
        let bytes = frames.concat();
        let (_, violation) = ours(bytes.clone());
        let (messages, error) = theirs(bytes.clone(), Role::Server);
        if !messages.last().is_some_and(is_replaced_close) && !matches!(error, Some(Error::Utf8(_))) {
            prop_assert_eq!(violation.is_some(), error.is_some(), "{:?} {:?}", violation, error);
        }
        stricter_or_equal(bytes)?;
    }

    #[test]
    fn any_bytes_are_read_no_further_than_by_tungstenite(bytes in vec(any::<u8>(), 0..80)) {
        stricter_or_equal(bytes)?;
    }
}

/// Ours reads what tungstenite reads, or refuses on the way; what tungstenite refuses, ours refuses.
fn stricter_or_equal(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let (mut messages, violation) = ours(bytes.clone());
    let (mut others, error) = theirs(bytes, Role::Server);
    if others.last().is_some_and(is_replaced_close) {
        others.pop();
        messages.retain(|message| *message != Incoming::Close(Some(1014)));
    }
    if matches!(error, Some(Error::Utf8(_))) {
        // After a bad fragment ours goes on up to the end of the message, through control frames only.
        let more = messages.split_off(messages.len().min(others.len()));
        prop_assert!(!more.iter().any(|message| matches!(message, Incoming::Text(_) | Incoming::Binary(_))));
    } else if error.is_some() {
        prop_assert!(violation.is_some(), "{:?} was not refused", error);
    }
    let others: Vec<_> = others.iter().map(translated).collect();
    prop_assert!(messages == others || violation.is_some() && others.starts_with(&messages));
    Ok(())
}
