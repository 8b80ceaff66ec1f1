//! Deflated messages both ways, with flate2 as the other side.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Decoder, Incoming};
use super::*;

const LIMIT: usize = 10_000;

/// What a client reads in a frame of ours.
fn inflated(frame: &[Bytes; 2]) -> Vec<u8> {
    inflated_within(15, frame)
}

/// The same for a client that remembers so much of a message.
fn inflated_within(window_bits: u8, [header, payload]: &[Bytes; 2]) -> Vec<u8> {
    assert_eq!(header[0] & 0xf0, 0xc0, "one frame, deflated");
    let mut inflated = Vec::with_capacity(10 << 20);
    let mut decompress = Decompress::new_with_window_bits(false, window_bits);
    let payload = [payload, &TAIL[..]].concat();
    decompress.decompress_vec(&payload, &mut inflated, FlushDecompress::Sync).unwrap();
    assert_eq!(decompress.total_in(), payload.len() as u64);
    inflated
}

/// Deflates to the end, and says in how many steps.
fn deflated(opcode: Opcode, message: [&[u8]; 2]) -> (Option<[Bytes; 2]>, usize) {
    deflated_so(Deflation::default(), opcode, message)
}

fn deflated_so(how: Deflation, opcode: Opcode, message: [&[u8]; 2]) -> (Option<[Bytes; 2]>, usize) {
    let deflated = Deflated::default();
    let mut steps = 1;
    while !deflated.advance(how, opcode, message) {
        assert_eq!(deflated.frame(), None, "not yet");
        steps += 1;
    }
    (deflated.frame(), steps)
}

#[test]
fn a_message_of_two_parts_is_one_deflated_frame() {
    let text = "again and again, ".repeat(20);
    let (frame, steps) = deflated(Opcode::Text, [b"4", text.as_bytes()]);
    let frame = frame.unwrap();
    assert_eq!((frame[0][0], usize::from(frame[0][1]), steps), (0xc1, frame[1].len(), 1));
    assert_eq!(inflated(&frame), ["4", &text].concat().as_bytes());
}

#[test]
fn a_large_message_is_deflated_in_steps() {
    let data = vec![7; 3 * STEP + 1];
    let (frame, steps) = deflated(Opcode::Binary, [&[4], &data]);
    assert_eq!(steps, 4);
    assert_eq!(inflated(&frame.unwrap()), [&[4], &data[..]].concat());
}

#[test]
fn a_message_that_becomes_no_shorter_is_not_deflated() {
    assert_eq!(deflated(Opcode::Text, [b"abcdefghijklmnopqrstuvwxyz", b""]).0, None);
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(10 * STEP)
    .collect();
    let (frame, steps) = deflated(Opcode::Binary, [&noise, b""]);
    assert_eq!(frame, None);
    assert!(steps < 10, "it is given up as soon as that shows");
}

#[test]
fn a_message_is_deflated_once() {
    let deflated = Deflated::default();
    let message = [&[b'a'; 1000][..], b""];
    assert!(deflated.advance(Deflation::default(), Opcode::Text, message));
    assert!(deflated.advance(Deflation::default(), Opcode::Text, message));
    assert_eq!(deflated.frame().unwrap()[1].as_ptr(), deflated.frame().unwrap()[1].as_ptr());
}

/// A frame of a client; its mask changes nothing.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    // A length in its shortest form.
    if (126..=0xffff).contains(&payload.len()) {
        frame.splice(1..10, [0x80 | 126, frame[8], frame[9]]);
    }
    frame
}

/// What a client sends for a message.
fn sent(message: &[u8], level: u32, window: u8) -> Vec<u8> {
    let mut compress = Compress::new_with_window_bits(Compression::new(level), false, window);
    let mut out = Vec::new();
    assert!(deflate(&mut compress, message, &mut out, FlushCompress::Sync));
    out.truncate(out.len() - TAIL.len());
    out
}

type Read = (Vec<Incoming>, Option<Violation>);

fn read_in<'a>(portions: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut decoder = Decoder::new(LIMIT).with_deflate(Budget::new(usize::MAX));
    let mut messages = Vec::new();
    for portion in portions {
        for message in decoder.feed(&mut portion.to_vec()) {
            match message {
                Ok(message) => messages.push(message),
                Err(violation) => return (messages, Some(violation)),
            }
        }
    }
    (messages, None)
}

fn binary(bytes: &[u8]) -> Incoming {
    Incoming::Binary(Bytes::copy_from_slice(bytes))
}

#[test]
fn the_examples_of_rfc_7692_are_read() {
    let hello = [binary(b"Hello")];
    for frames in [
        // One frame; two; no compression; a last block; two blocks (§7.2.3.1 to §7.2.3.5).
        vec![(0xc2, &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..])],
        vec![(0x42, b"\xf2\x48\xcd"), (0x80, b"\xc9\xc9\x07\x00")],
        vec![(0xc2, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")],
        vec![(0xc2, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")],
        vec![(0xc2, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")],
    ] {
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(first, payload)| client_frame(*first, payload)).collect();
        assert_eq!(read_in([&bytes[..]]), (hello.to_vec(), None));
        assert_eq!(read_in(bytes.chunks(1)), (hello.to_vec(), None));
    }
}

#[test]
fn plain_and_deflated_messages_and_control_frames_take_turns() {
    let deflated = sent(&[b'x'; 900], 6, 15);
    let (start, end) = deflated.split_at(5);
    let bytes = [
        client_frame(0x82, b"plain"),
        client_frame(0x42, start),
        client_frame(0x89, b"ping"),
        client_frame(0x00, b""),
        client_frame(0x80, end),
        client_frame(0x82, b"plain"),
        client_frame(0xc2, &sent(b"", 6, 15)),
    ]
    .concat();
    let ping = Incoming::Ping(Bytes::from_static(b"ping"));
    let expected = vec![binary(b"plain"), ping, binary(&[b'x'; 900]), binary(b"plain"), binary(b"")];
    assert_eq!(read_in(bytes.chunks(3)), (expected, None));
}

#[test]
fn a_message_has_no_context_of_the_one_before() {
    // The second message refers to the first: a client that was told not to.
    let mut compress = Compress::new(Compression::new(6), false);
    let mut frames = Vec::new();
    for _ in 0..2 {
        let mut out = Vec::new();
        assert!(deflate(&mut compress, &b"0123456789abcdef".repeat(4), &mut out, FlushCompress::Sync));
        out.truncate(out.len() - TAIL.len());
        frames.extend(client_frame(0xc2, &out));
    }
    let (messages, violation) = read_in([&frames[..]]);
    assert_eq!((messages.len(), violation), (1, Some(Violation::Corrupt)));
}

#[test]
fn a_message_that_does_not_inflate_is_refused() {
    for payload in [&b"\xff\xff\xff"[..], b"\x00\x05\x00\x00\x00Hello", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x01"] {
        assert_eq!(read_in([&client_frame(0xc2, payload)[..]]), (vec![], Some(Violation::Corrupt)));
    }
    let text = client_frame(0xc1, &sent(b"\xff", 6, 15));
    assert_eq!(read_in([&text[..]]), (vec![], Some(Violation::InvalidUtf8)));
}

#[test]
fn a_bomb_is_refused_before_it_fills_the_memory() {
    let bomb = client_frame(0xc2, &sent(&vec![0; 1 << 20], 9, 15));
    assert!(bomb.len() < 2000);
    let mut body = Vec::new();
    let inflate =
        Inflater::new(Budget::new(usize::MAX)).inflate(&sent(&vec![0; 1 << 20], 9, 15), &mut body, LIMIT);
    assert_eq!(inflate, Err(Violation::TooBig));
    assert!(body.capacity() <= LIMIT);
    for portion in [1, 7, 2000] {
        assert_eq!(read_in(bomb.chunks(portion)), (vec![], Some(Violation::TooBig)));
    }
    let exact = client_frame(0xc2, &sent(&[0; LIMIT], 6, 15));
    assert_eq!(read_in([&exact[..]]), (vec![binary(&[0; LIMIT])], None));
    let more = client_frame(0xc2, &sent(&[0; LIMIT + 1], 6, 15));
    assert_eq!(read_in([&more[..]]), (vec![], Some(Violation::TooBig)));
}

#[test]
fn a_message_that_inflates_to_nothing_is_limited_as_well() {
    // Stored blocks of nothing, in fragments.
    let block = client_frame(0x00, &b"\x00\x00\x00\xff\xff".repeat(100));
    let mut bytes = client_frame(0x42, b"");
    bytes.extend(block.repeat(LIMIT / 500 + 2));
    assert_eq!(read_in([&bytes[..]]), (vec![], Some(Violation::TooBig)));
}

fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(&[0xc1, 0xc2, 0x41, 0x42, 0x00, 0x80, 0x81, 0x89, 0xc9][..]);
    let payload = prop_oneof![
        (vec(any::<u8>(), 0..40), 1..400_usize).prop_map(|(bytes, times)| sent(&bytes.repeat(times), 6, 15)),
        vec(any::<u8>(), 0..60),
        (vec(any::<u8>(), 1..60), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(bytes, at, byte)| {
            let mut nearly = sent(&bytes, 6, 15);
            let at = at.index(nearly.len());
            nearly[at] = byte;
            nearly
        }),
    ];
    (first, payload).prop_map(|(first, payload)| client_frame(first, &payload))
}

proptest! {
    #[test]
    fn a_deflated_message_inflates_to_itself(
        part in "[a-f]{0,300}", times in 1..300_usize, level in 2..=9_u8, window_bits in 9..=15_u8,
    ) {
        let text = part.repeat(times);
        let how = Deflation { level, window_bits };
        let (frame, _) = deflated_so(how, Opcode::Text, [b"4", text.as_bytes()]);
        if let Some(frame) = frame {
            prop_assert!(frame[1].len() <= text.len());
            prop_assert_eq!(inflated_within(window_bits, &frame), ["4", &text].concat().into_bytes());
        }
    }

    #[test]
    fn noise_is_deflated_at_every_level(
        noise in vec(any::<u8>(), 0..20_000), level in 2..=9_u8, window_bits in 9..=15_u8,
    ) {
        let twice = noise.repeat(2);
        let (frame, _) = deflated_so(Deflation { level, window_bits }, Opcode::Binary, [&twice, b""]);
        prop_assert!(frame.is_none_or(|frame| inflated_within(window_bits, &frame) == twice));
    }

    #[test]
    fn messages_deflated_by_any_client_are_read(
        message in vec(any::<u8>(), 0..2000), level in 2..10_u32, window in 9..16_u8, fragment in 1..500_usize,
    ) {
        let deflated = sent(&message, level, window);
        let mut fragments = deflated.chunks(fragment).peekable();
        let (mut bytes, mut first) = (Vec::new(), 0x42);
        while let Some(fragment) = fragments.next() {
            let last = if fragments.peek().is_none() { 0x80 } else { 0 };
            bytes.extend(client_frame(first | last, fragment));
            first = 0x00;
        }
        prop_assert_eq!(read_in([&bytes[..]]), (vec![binary(&message)], None));
    }

    #[test]
    fn any_bytes_inflate_or_are_refused_however_they_are_split(
        frames in vec(some_frame(), 0..5), portion in 1..60_usize,
    ) {
        let bytes = frames.concat();
        let whole = read_in([&bytes[..]]);
        let fits = |message: &Incoming| !matches!(message, Incoming::Binary(bytes) if bytes.len() > LIMIT);
        prop_assert!(whole.0.iter().all(fits));
        prop_assert_eq!(read_in(bytes.chunks(portion)), whole);
    }
}
