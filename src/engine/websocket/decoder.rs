//! From the frames of a client to its messages (RFC 6455 §5 to §8, RFC 7692 §6.2), however the bytes were split on the
//! way.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::client_header::{ClientHeader, MAX_CONTROL, MAX_HEADER};
use super::deflate::Inflater;
use super::{Opcode, Violation};
use crate::engine::budget::Budget;

/// Reads what one client sends.
///
/// While nothing is partial it owns no heap memory, so an idle connection costs only the size of this value. What is
/// partial grows with the bytes that arrived, never with what a header announces: at most twice as much, and at most
/// `max_message` bytes plus 125 of a control frame. A deflated message is inflated as it arrives: what counts is how long
/// it became, and while it is partial it costs about 40 KiB more.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message: usize,
    /// Messages may be deflated; what they become counts here.
    deflate: Option<Arc<Budget>>,
    /// The start of a header that is not complete: the first `held` bytes count.
    head: [u8; MAX_HEADER],
    held: usize,
    /// The frame whose payload is not complete.
    frame: Option<PartialFrame>,
    /// What the message consists of that waits for its next fragment.
    unfinished: Option<Opcode>,
    body: Vec<u8>,
    /// The rest of the message is deflated.
    inflater: Option<Box<Inflater>>,
    /// Apart from `body`, for a control frame may stand between two fragments.
    control: Vec<u8>,
    over: bool,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// To be answered with [`super::pong_frame`] of the same bytes.
    Ping(Bytes),
    /// The answer to a ping of ours.
    Pong,
    /// The client closes, with its code if it gave one. Nothing follows.
    Close(Option<u16>),
}

/// The complete messages in what was read; ends after the first violation or close.
///
/// Iterate to the end, or the bytes behind the last message are lost.
#[derive(Debug)]
#[must_use = "messages that are not read are lost"]
pub(crate) struct Messages<'a> {
    decoder: &'a mut Decoder,
    bytes: &'a mut [u8],
}

impl Decoder {
    /// A decoder that refuses messages longer than `max_message` bytes.
    pub(crate) const fn new(max_message: usize) -> Self {
        Self {
            max_message,
            deflate: None,
            head: [0; MAX_HEADER],
            held: 0,
            frame: None,
            unfinished: None,
            body: Vec::new(),
            inflater: None,
            control: Vec::new(),
            over: false,
        }
    }

    /// `permessage-deflate` was negotiated with the client. Of a message that is not complete the bytes count that it became.
    pub(crate) fn with_deflate(self, budget: Arc<Budget>) -> Self {
        Self { deflate: Some(budget), ..self }
    }

    /// Takes what was read, in any portions, and unmasks it in place. Messages are copies: `bytes` is free for the next
    /// read as soon as the iterator has ended.
    pub(crate) const fn feed<'a>(&'a mut self, bytes: &'a mut [u8]) -> Messages<'a> {
        Messages { decoder: self, bytes }
    }

    fn advance(&mut self, bytes: &mut &mut [u8]) -> Result<Option<Incoming>, Violation> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin(bytes)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let available = frame.remaining.min(bytes.len());
            let payload = bytes.split_off_mut(..available).unwrap_or_default();
            unmask(payload, frame.mask);
            let frame = self.append(frame, payload)?;
            if frame.remaining > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(message) = self.finish(&frame)? {
                return Ok(Some(message));
            }
        }
    }

    /// Reads the header of a frame, or keeps what there is of it.
    fn begin(&mut self, bytes: &mut &mut [u8]) -> Result<Option<PartialFrame>, Violation> {
        for (slot, byte) in self.head.iter_mut().skip(self.held).zip(bytes.iter()) {
            *slot = *byte;
        }
        let held = MAX_HEADER.min(self.held + bytes.len());
        let parsed = ClientHeader::parse(self.head.get(..held).unwrap_or_default(), self.deflate.is_some())?;
        let used = parsed.as_ref().map_or(held, |(_, size)| *size).saturating_sub(self.held);
        *bytes = mem::take(bytes).get_mut(used..).unwrap_or_default();
        match parsed {
            Some((header, _)) => {
                self.held = 0;
                self.admit(&header).map(Some)
            }
            None => {
                self.held = held;
                Ok(None)
            }
        }
    }

    /// Checks that the frame is allowed at this place, and within the limit.
    fn admit(&mut self, header: &ClientHeader) -> Result<PartialFrame, Violation> {
        let opcode = match (header.opcode, self.unfinished) {
            (Some(opcode), _) if opcode.is_control() => opcode,
            (Some(kind), None) | (None, Some(kind)) => kind,
            (Some(_), Some(_)) => return Err(Violation::Protocol("a new message inside a fragmented one")),
            (None, None) => return Err(Violation::Protocol("a continuation of no message")),
        };
        if let Some(budget) = self.deflate.as_ref().filter(|_| header.deflated) {
            self.inflater = Some(Box::new(Inflater::new(Arc::clone(budget))));
        }
        let remaining = match &mut self.inflater {
            _ if opcode.is_control() => fitting(header.length, MAX_CONTROL),
            Some(inflater) => inflater.admit(header.length, self.max_message),
            None => fitting(header.length, self.max_message - self.body.len()),
        };
        let remaining = remaining.ok_or(Violation::TooBig)?;
        Ok(PartialFrame { last: header.last, opcode, mask: header.mask, remaining })
    }

    /// Keeps a part of a frame's payload, and returns what is left of the frame.
    fn append(&mut self, mut frame: PartialFrame, payload: &[u8]) -> Result<PartialFrame, Violation> {
        frame.remaining -= payload.len();
        frame.mask.rotate_left(payload.len() % 4);
        if let Some(inflater) = &mut self.inflater
            && !frame.opcode.is_control()
        {
            inflater.inflate(payload, &mut self.body, self.max_message)?;
            return Ok(frame);
        }
        let buffer = if frame.opcode.is_control() { &mut self.control } else { &mut self.body };
        let needed = buffer.len() + payload.len();
        if needed > buffer.capacity() {
            // Doubling keeps many small parts linear; a message in one piece gets exactly its length.
            let most = if frame.last { needed + frame.remaining } else { self.max_message };
            buffer.reserve_exact(most.min(needed.saturating_mul(2)) - buffer.len());
        }
        buffer.extend_from_slice(payload);
        Ok(frame)
    }

    /// The payload of a frame is complete. Returns the message if that is complete as well.
    fn finish(&mut self, frame: &PartialFrame) -> Result<Option<Incoming>, Violation> {
        if frame.opcode.is_control() {
            return Incoming::new(frame.opcode, mem::take(&mut self.control)).map(Some);
        }
        if !frame.last {
            self.unfinished = Some(frame.opcode);
            return Ok(None);
        }
        self.unfinished = None;
        if let Some(inflater) = self.inflater.take() {
            inflater.finish(&mut self.body, self.max_message)?;
        }
        Incoming::new(frame.opcode, mem::take(&mut self.body)).map(Some)
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Incoming, Violation>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.decoder.over {
            return None;
        }
        let next = self.decoder.advance(&mut self.bytes).transpose();
        self.decoder.over = matches!(next, Some(Err(_) | Ok(Incoming::Close(_))));
        next
    }
}

impl Incoming {
    fn new(opcode: Opcode, payload: Vec<u8>) -> Result<Self, Violation> {
        Ok(match opcode {
            Opcode::Text => {
                Self::Text(ByteString::try_from(payload).map_err(|_not_utf8| Violation::InvalidUtf8)?)
            }
            Opcode::Binary => Self::Binary(payload.into()),
            Opcode::Ping => Self::Ping(payload.into()),
            Opcode::Pong => Self::Pong,
            Opcode::Close => Self::Close(close_code(&payload)?),
        })
    }
}

/// The code in the payload of a close frame (§5.5.1); the reason behind it has to be text and is not used.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol("half a close code")) };
    };
    // §7.4: 1004 has no meaning, 1005, 1006 and 1015 are never sent, below 3000 the rest is not registered.
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("a close code that must not be sent"));
    }
    std::str::from_utf8(reason).map_err(|_not_utf8| Violation::InvalidUtf8)?;
    Ok(Some(code))
}

/// A length of at most `room` bytes.
fn fitting(length: u64, room: usize) -> Option<usize> {
    usize::try_from(length).ok().filter(|length| *length <= room)
}

/// A frame whose payload is being read.
#[derive(Debug)]
struct PartialFrame {
    last: bool,
    opcode: Opcode,
    /// Turned so that its first byte belongs to the next byte of the payload.
    mask: [u8; 4],
    remaining: usize,
}

/// Masks or unmasks (§5.3), eight bytes at a time; compiles to vector instructions.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const LIMIT: usize = 1000;

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0xa1, 0x5e, 0x00, 0xff];
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(short @ 0..=125) => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
        frames.iter().flat_map(|(first, payload)| client_frame(*first, payload)).collect()
    }

    type Read = (Vec<Incoming>, Option<Violation>);

    fn read_in(portions: impl IntoIterator<Item = Vec<u8>>) -> Read {
        let mut decoder = Decoder::new(LIMIT);
        let mut messages = Vec::new();
        for mut portion in portions {
            for message in decoder.feed(&mut portion) {
                match message {
                    Ok(message) => messages.push(message),
                    Err(violation) => return (messages, Some(violation)),
                }
            }
        }
        (messages, None)
    }

    fn read(bytes: Vec<u8>) -> Read {
        read_in([bytes])
    }

    fn violation(bytes: Vec<u8>) -> Violation {
        let (messages, violation) = read(bytes);
        assert_eq!(messages, []);
        violation.unwrap()
    }

    fn text(text: &str) -> Incoming {
        Incoming::Text(text.into())
    }

    #[test]
    fn every_kind_of_message_is_read() {
        let (messages, violation) = read(frames(&[
            (0x81, b"4hello"),
            (0x82, &[0, 1, 0xff]),
            (0x89, b"are you there"),
            (0x8a, b"yes"),
            (0x81, b""),
            (0x88, b"\x03\xe8bye"),
        ]));
        let binary = Incoming::Binary(Bytes::from_static(&[0, 1, 0xff]));
        let ping = Incoming::Ping(Bytes::from_static(b"are you there"));
        let close = Incoming::Close(Some(1000));
        assert_eq!(messages, [text("4hello"), binary, ping, Incoming::Pong, text(""), close]);
        assert_eq!(violation, None);
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        let (messages, violation) = read(frames(&[
            (0x01, b"4a\xe2"),
            (0x89, b"x"),
            (0x00, b"\x82"),
            (0x8a, b""),
            (0x00, b""),
            (0x80, b"\xac!"),
            (0x82, b"next"),
        ]));
        let next = Incoming::Binary(Bytes::from_static(b"next"));
        assert_eq!(messages, [Incoming::Ping(Bytes::from_static(b"x")), Incoming::Pong, text("4a€!"), next]);
        assert_eq!(violation, None);
    }

    #[test]
    fn frames_out_of_place_are_refused() {
        for (sent, why) in [
            (&[(0x80, &b""[..])][..], "a continuation of no message"),
            (&[(0x00, b"")], "a continuation of no message"),
            (&[(0x01, b"a"), (0x81, b"b")], "a new message inside a fragmented one"),
            (&[(0x02, b"a"), (0x02, b"b")], "a new message inside a fragmented one"),
            (&[(0x88, b"\x03")], "half a close code"),
        ] {
            assert_eq!(violation(frames(sent)), Violation::Protocol(why));
        }
    }

    #[test]
    fn a_continuation_after_a_finished_message_is_refused() {
        let (messages, violation) = read(frames(&[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")]));
        assert_eq!(messages, [text("ab")]);
        assert_eq!(violation, Some(Violation::Protocol("a continuation of no message")));
    }

    #[test]
    fn close_codes_are_those_that_may_be_sent() {
        for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999_u16] {
            let close = frames(&[(0x88, &code.to_be_bytes())]);
            assert_eq!(read(close), (vec![Incoming::Close(Some(code))], None));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535_u16] {
            let why = violation(frames(&[(0x88, &code.to_be_bytes())]));
            assert_eq!(why, Violation::Protocol("a close code that must not be sent"), "{code}");
        }
        assert_eq!(read(frames(&[(0x88, b"")])), (vec![Incoming::Close(None)], None));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        for payload in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"4\xe2\x82"] {
            assert_eq!(violation(frames(&[(0x81, payload)])), Violation::InvalidUtf8);
            assert_eq!(violation(frames(&[(0x01, payload), (0x80, b"")])), Violation::InvalidUtf8);
        }
        assert_eq!(violation(frames(&[(0x88, b"\x03\xe8\xff")])), Violation::InvalidUtf8);
    }

    #[test]
    fn the_limit_counts_the_whole_message_and_needs_only_the_header() {
        let full = [b'x'; LIMIT];
        let limit = Incoming::Binary(Bytes::copy_from_slice(&full));
        assert_eq!(read(frames(&[(0x82, &full)])), (vec![limit.clone()], None));
        assert_eq!(read(frames(&[(0x02, &full), (0x89, b""), (0x80, b"")])).0.last(), Some(&limit));

        let announced = vec![0x82, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(violation(announced), Violation::TooBig);
        let mut second = frames(&[(0x02, &full), (0x80, b"x")]);
        second.pop();
        assert_eq!(violation(second), Violation::TooBig);
    }

    #[test]
    fn nothing_is_read_after_a_close_or_a_violation() {
        let mut decoder = Decoder::new(LIMIT);
        let mut bytes = frames(&[(0x88, b""), (0x81, b"late")]);
        assert_eq!(decoder.feed(&mut bytes).collect::<Vec<_>>(), [Ok(Incoming::Close(None))]);
        assert_eq!(decoder.feed(&mut frames(&[(0x81, b"later")])).next(), None);

        let mut decoder = Decoder::new(LIMIT);
        let mut bytes = frames(&[(0x81, b"\xff"), (0x81, b"late")]);
        assert_eq!(decoder.feed(&mut bytes).collect::<Vec<_>>(), [Err(Violation::InvalidUtf8)]);
        assert_eq!(decoder.feed(&mut frames(&[(0x81, b"later")])).next(), None);
    }

    #[test]
    fn an_idle_decoder_owns_no_memory() {
        assert!(size_of::<Decoder>() <= 128, "{}", size_of::<Decoder>());
        let mut decoder = Decoder::new(LIMIT);
        for portion in frames(&[(0x02, &[1; 700]), (0x89, &[2; 100]), (0x80, &[3; 300])]).chunks(7) {
            for message in decoder.feed(&mut portion.to_vec()) {
                message.unwrap();
            }
        }
        assert_eq!((decoder.body.capacity(), decoder.control.capacity()), (0, 0));
        assert!(decoder.frame.is_none());

        let mut decoder = Decoder::new(LIMIT).with_deflate(Budget::new(usize::MAX));
        let mut hello = client_frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
        assert_eq!(decoder.feed(&mut hello).next(), Some(Ok(text("Hello"))));
        assert_eq!((decoder.body.capacity(), decoder.inflater.is_none()), (0, true));
    }

    #[test]
    fn memory_grows_with_what_arrives_not_with_what_is_announced() {
        let mut decoder = Decoder::new(usize::MAX);
        let mut bytes = vec![0x82, 0xff, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0; 100]);
        assert_eq!(decoder.feed(&mut bytes).next(), None);
        assert!(decoder.body.capacity() <= 200);

        let mut decoder = Decoder::new(LIMIT);
        for _ in 0..LIMIT {
            let first = if decoder.unfinished.is_some() { 0x00 } else { 0x02 };
            assert_eq!(decoder.feed(&mut client_frame(first, b"x")).next(), None);
            assert!(decoder.body.capacity() <= LIMIT.min(2 * decoder.body.len()));
        }
    }

    #[test]
    fn a_message_in_one_piece_is_allocated_with_its_length() {
        let mut bytes = client_frame(0x82, &[7; 200]);
        let mut decoder = Decoder::new(LIMIT);
        let message = decoder.feed(&mut bytes).next();
        assert!(matches!(message, Some(Ok(Incoming::Binary(bytes))) if bytes.len() == 200));
    }

    fn some_frame() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            8 => prop::sample::select(&[0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a][..]),
            1 => Just(0x88),
            1 => any::<u8>(),
        ];
        let payload = prop_oneof![
            ".{0,40}".prop_map(String::into_bytes),
            vec(any::<u8>(), 0..20),
            vec(any::<u8>(), 120..300),
        ];
        (first, payload).prop_map(|(first, payload)| client_frame(first, &payload))
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            read(bytes);
        }

        #[test]
        fn splitting_anywhere_changes_nothing(
            frames in vec(some_frame(), 0..6),
            portions in vec(1..40_usize, 1..50),
        ) {
            let whole = frames.concat();
            let mut rest = whole.as_slice();
            let mut split = Vec::new();
            for size in portions.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (portion, more) = rest.split_at(rest.len().min(*size));
                split.push(portion.to_vec());
                rest = more;
            }
            prop_assert_eq!(read_in(split), read(whole));
        }

        #[test]
        fn fast_unmasking_equals_the_plain_rule(bytes in vec(any::<u8>(), 0..100), mask: [u8; 4]) {
            let plain: Vec<u8> = bytes.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let mut fast = bytes;
            unmask(&mut fast, mask);
            prop_assert_eq!(fast, plain);
        }
    }
}
