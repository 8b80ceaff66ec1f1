//! One function per decoder, for the fuzz targets in `cluster-tests/fuzz`: any bytes decode or are refused.

use crate::engine::websocket::codec::{Decoder, Incoming, Violation};

/// Client frames: read in one piece and in portions, both have to tell the same. The first byte is the portions' size.
///
/// # Panics
///
/// When a property does not hold, which is what fuzzing looks for.
pub fn websocket(data: &[u8]) {
    const MAX_MESSAGE: usize = 4096;
    let Some((&portion, bytes)) = data.split_first() else { return };
    let mut decoder = Decoder::new(MAX_MESSAGE);
    let whole: Vec<Result<Incoming, Violation>> = decoder.feed(&mut bytes.to_vec()).collect();
    for message in &whole {
        assert!(size(message) <= MAX_MESSAGE, "a message above the limit");
    }

    let mut decoder = Decoder::new(MAX_MESSAGE);
    let mut split = Vec::new();
    for portion in bytes.chunks(usize::from(portion).max(1)) {
        split.extend(decoder.feed(&mut portion.to_vec()));
    }
    assert_eq!(whole, split, "a split changed what was read");
}

fn size(message: &Result<Incoming, Violation>) -> usize {
    match message {
        Ok(Incoming::Text(text)) => text.len(),
        Ok(Incoming::Binary(bytes) | Incoming::Ping(bytes)) => bytes.len(),
        Ok(Incoming::Pong | Incoming::Close(_)) | Err(_) => 0,
    }
}
