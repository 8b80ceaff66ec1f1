//! What the writer of a link writes at once.

use bytes::{BufMut, Bytes, BytesMut};

use crate::cluster::wire::Frame;

/// Bytes to write at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: BytesMut,
    /// A body that is too large to be copied. It is written after `bytes`.
    pub(crate) large: Option<Bytes>,
}

impl Batch {
    /// Appends a frame. Only while there is room: behind a large body nothing can be appended.
    pub(super) fn put(&mut self, frame: &Frame) {
        debug_assert!(self.large.is_none(), "nothing comes between the header and the body of a frame");
        self.bytes.put_slice(&frame.header());
        if frame.body.len() > BATCH {
            self.large = Some(frame.body.clone());
        } else {
            self.bytes.put_slice(&frame.body);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.large.is_none() && self.bytes.len() < BATCH
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Many small bodies in one write cost a quarter of one write each.
pub(super) const BATCH: usize = 64 << 10;
