//! Messages deflated and inflated, each without the context of another (RFC 7692 §7.2).
//!
//! Without context a message is deflated once for every client that it goes to, and a client costs no window between
//! its messages.

use std::cell::Cell;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use parking_lot::Mutex;

use super::{Opcode, Violation, deflated_header};
use crate::engine::budget::{Budget, Charge, LITTLE};

/// How hard is deflated, and with how large a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deflation {
    /// Not 1: that level of zlib-rs 0.6 panics on noise.
    pub(crate) level: u8,
    /// 9 to 15: zlib knows no smaller one without a header.
    pub(crate) window_bits: u8,
}

impl Default for Deflation {
    /// Half the time of zlib's usual 6 for an eighth more bytes.
    fn default() -> Self {
        Self { level: 3, window_bits: 15 }
    }
}

impl Deflation {
    /// Makes a compressor of bare blocks, or of blocks between a header and a checksum of zlib.
    pub(crate) fn compressor(self, zlib_header: bool) -> Compress {
        Compress::new_with_window_bits(self.strength(), zlib_header, self.window_bits)
    }

    pub(crate) fn strength(self) -> Compression {
        Compression::new(self.level.into())
    }
}

/// The deflated frame of one message, made at the first client that wants it and shared by all.
///
/// It is made in steps, so that a large message does not block a thread. Each task that needs it makes the next step.
#[derive(Debug, Default)]
pub(crate) struct Deflated(Mutex<Progress>);

#[derive(Debug, Default)]
enum Progress {
    #[default]
    Untouched,
    Running(Box<Deflating>),
    /// Header and payload of the frame; `None` where deflating makes it no shorter.
    Done(Option<Box<[Bytes; 2]>>),
}

impl Deflated {
    /// Makes the next step of deflating a message of two parts, which must be the same at each call. Returns whether it is
    /// done.
    pub(crate) fn advance(&self, how: Deflation, opcode: Opcode, message: [&[u8]; 2]) -> bool {
        // If another thread makes a step, the caller tries again later.
        let Some(mut progress) = self.0.try_lock() else { return false };
        // Should the compressor panic, it does so for one receiver: the others get the plain frame.
        let mut deflating = match mem::replace(&mut *progress, Progress::Done(None)) {
            Progress::Untouched => Box::new(Deflating::new(how)),
            Progress::Running(deflating) => deflating,
            Progress::Done(frame) => {
                *progress = Progress::Done(frame);
                return true;
            }
        };
        *progress = match deflating.step(message) {
            DeflateStep::Taken => Progress::Running(deflating),
            DeflateStep::Done => Progress::Done(frame(opcode, deflating.end(), message).map(Box::new)),
            DeflateStep::Futile => {
                drop(deflating.end());
                Progress::Done(None)
            }
        };
        matches!(*progress, Progress::Done(_))
    }

    /// The frame, if it is done and shorter than the plain one.
    pub(crate) fn frame(&self) -> Option<[Bytes; 2]> {
        match &*self.0.lock() {
            Progress::Done(frame) => frame.as_deref().cloned(),
            Progress::Untouched | Progress::Running(_) => None,
        }
    }
}

/// A message that is being deflated.
#[derive(Debug)]
struct Deflating {
    how: Deflation,
    compress: Compress,
    taken: usize,
    out: Vec<u8>,
}

/// How far a [`Deflating`] came.
enum DeflateStep {
    /// There is more to deflate.
    Taken,
    Done,
    /// Deflating would hardly shorten the message.
    Futile,
}

impl Deflating {
    fn new(how: Deflation) -> Self {
        let kept = COMPRESS.take().filter(|(kept, _)| *kept == how);
        let compress = kept.map_or_else(|| how.compressor(false), |(_, compress)| compress);
        Self { how, compress, taken: 0, out: Vec::new() }
    }

    fn step(&mut self, message: [&[u8]; 2]) -> DeflateStep {
        let length: usize = message.iter().map(|part| part.len()).sum();
        let until = length.min(self.taken + STEP);
        let mut offset = 0;
        for part in message {
            let end = offset + part.len();
            let (from, to) = (self.taken.saturating_sub(offset), until.min(end).saturating_sub(offset));
            if let Some(chunk) = part.get(from..to) {
                self.taken += chunk.len();
                if !deflate(&mut self.compress, chunk, &mut self.out, FlushCompress::None) {
                    return DeflateStep::Futile;
                }
            }
            offset = end;
        }
        if self.taken == length && !deflate(&mut self.compress, &[], &mut self.out, FlushCompress::Sync) {
            return DeflateStep::Futile;
        }
        if self.taken == length {
            return DeflateStep::Done;
        }
        // The compressor holds back less than a step.
        let gains_little = self.taken >= 2 * STEP && self.out.len() + STEP > self.taken;
        if gains_little { DeflateStep::Futile } else { DeflateStep::Taken }
    }

    /// Keeps the compressor for the next message.
    fn end(mut self) -> Vec<u8> {
        self.compress.reset();
        COMPRESS.set(Some((self.how, self.compress)));
        self.out
    }
}

/// The frame of a deflated message, if it is shorter than the plain one.
fn frame(opcode: Opcode, mut deflated: Vec<u8>, message: [&[u8]; 2]) -> Option<[Bytes; 2]> {
    let length = deflated.strip_suffix(&TAIL)?.len();
    deflated.truncate(length);
    deflated.shrink_to_fit();
    let header = Bytes::copy_from_slice(&deflated_header(opcode, length));
    let plain: usize = message.iter().map(|part| part.len()).sum();
    (length < plain).then(|| [header, deflated.into()])
}

/// Deflates all of `input`. Returns whether that worked; without a preset dictionary it always does.
pub(crate) fn deflate(
    compress: &mut Compress,
    mut input: &[u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
) -> bool {
    loop {
        // The marker of a flush needs six bytes at once, or it is written again.
        out.reserve(input.len() / 4 + ROOM);
        let before = compress.total_in();
        if compress.compress_vec(input, out, flush).is_err() {
            return false;
        }
        let taken = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX);
        input = input.get(taken..).unwrap_or_default();
        if input.is_empty() && out.len() < out.capacity() {
            return true;
        }
    }
}

/// Inflates one message of a client, however its bytes are split.
#[derive(Debug)]
pub(super) struct Inflater {
    decompress: Decompress,
    /// How many bytes of the message its frames announced so far.
    announced: usize,
    /// A block said that it is the last one.
    ended: bool,
    held: Charge,
}

impl Inflater {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { decompress: Decompress::new(false), announced: 0, ended: false, held: budget.charge() }
    }

    /// The message goes on with a frame of `length` bytes, if that many are allowed: deflating may make a message a
    /// little longer.
    pub(super) fn admit(&mut self, length: u64, most: usize) -> Option<usize> {
        let length = usize::try_from(length).ok()?;
        let most = most.saturating_add(most / 1024 + ROOM);
        self.announced = self.announced.checked_add(length).filter(|announced| *announced <= most)?;
        Some(length)
    }

    /// Appends what the next bytes of the message say, as long as `body` stays within `most` bytes.
    pub(super) fn inflate(
        &mut self,
        mut bytes: &[u8],
        body: &mut Vec<u8>,
        most: usize,
    ) -> Result<(), Violation> {
        let mut chunk = [0; CHUNK];
        loop {
            if self.ended {
                // After a last block comes the byte that a sync flush would have begun with (§7.2.3.4).
                return if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Violation::Corrupt) };
            }
            let (taken, written) = (self.decompress.total_in(), self.decompress.total_out());
            let status = self.decompress.decompress(bytes, &mut chunk, FlushDecompress::Sync);
            let moved = |before: u64, now: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
            let written = moved(written, self.decompress.total_out());
            append(body, chunk.get(..written).unwrap_or_default(), most)?;
            if body.len() > LITTLE && !self.held.try_set(body.capacity()) {
                return Err(Violation::NoRoom);
            }
            let status = status.map_err(|_corrupt| Violation::Corrupt)?;
            bytes = bytes.get(moved(taken, self.decompress.total_in())..).unwrap_or_default();
            self.ended = status == flate2::Status::StreamEnd;
            if !self.ended && written < CHUNK {
                return if bytes.is_empty() { Ok(()) } else { Err(Violation::Corrupt) };
            }
        }
    }

    /// The message is complete: appends what is left of it.
    pub(super) fn finish(mut self, body: &mut Vec<u8>, most: usize) -> Result<(), Violation> {
        if !self.ended {
            self.inflate(&TAIL, body, most)?;
        }
        body.shrink_to_fit();
        Ok(())
    }
}

fn append(body: &mut Vec<u8>, inflated: &[u8], most: usize) -> Result<(), Violation> {
    let needed = body.len() + inflated.len();
    if needed > most {
        return Err(Violation::TooBig);
    }
    if needed > body.capacity() {
        body.reserve_exact(most.min(needed.saturating_mul(2)) - body.len());
    }
    body.extend_from_slice(inflated);
    Ok(())
}

thread_local! {
    /// The last compressor, for the next message: making one means clearing a quarter of a megabyte.
    static COMPRESS: Cell<Option<(Deflation, Compress)>> = const { Cell::new(None) };
}

/// What ends a sync flush and is not sent (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What is deflated at once: less than half a millisecond.
pub(crate) const STEP: usize = 64 * 1024;

/// What is inflated at once.
const CHUNK: usize = 4 * 1024;

/// The least room that zlib writes to; and a stored block around nothing.
const ROOM: usize = 64;

#[cfg(test)]
mod tests;
