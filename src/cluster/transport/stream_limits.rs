//! How many streams a connection may carry: the allowance grows with those in use (docs/protocol/mesh.md, "Streams").
//!
//! QUIC reserves memory for every stream that the other end may open, so a connection starts with few. The window of the
//! connection grows with the allowance: it is what all streams together can hold, so streams that nobody reads never hold
//! up the link.

use std::sync::Arc;

use parking_lot::Mutex;
use quinn::{Connection, VarInt};

/// The streams of one connection, whichever end opened them.
#[derive(Debug)]
pub(crate) struct StreamLimits {
    quic: Connection,
    allowance: Mutex<Allowance>,
}

impl StreamLimits {
    /// A new connection, configured with [`FIRST`] and [`window`] of it.
    pub(crate) fn new(quic: Connection) -> Arc<Self> {
        Arc::new(Self { quic, allowance: Mutex::new(Allowance { used: 0, allowed: FIRST }) })
    }

    /// Counts a stream as in use until the permit is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> StreamPermit {
        if let Some(allowed) = self.allowance.lock().begin() {
            self.quic.set_receive_window(window(allowed));
            self.quic.set_max_concurrent_bi_streams(VarInt::from_u32(allowed));
        }
        StreamPermit(Arc::clone(self))
    }
}

/// A stream in use.
#[derive(Debug)]
pub(crate) struct StreamPermit(Arc<StreamLimits>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.allowance.lock().used -= 1;
    }
}

#[derive(Debug)]
struct Allowance {
    used: u32,
    /// How many streams the other end may have open.
    allowed: u32,
}

impl Allowance {
    /// Counts a stream. Returns the new allowance when half of the old one is in use. QUIC has no way to take it back.
    fn begin(&mut self) -> Option<u32> {
        self.used += 1;
        let grows = self.allowed < MOST && self.used > self.allowed / 2;
        grows.then(|| {
            self.allowed *= 2;
            self.allowed
        })
    }
}

/// The bytes that all streams together can hold: as many streams as the other end may open, as many opened here, and gossip.
/// Nothing is reserved.
pub(crate) fn window(allowed: u32) -> VarInt {
    let streams = 2 * u64::from(allowed) + u64::from(MAX_UNI);
    VarInt::from_u64(streams * u64::from(STREAM_WINDOW)).unwrap_or(VarInt::MAX)
}

/// What one stream may have on its way: 128 MB/s at 2 ms, 5 MB/s at 50 ms. It is also what a spliced client that does not
/// read costs the node at its other end.
pub(crate) const STREAM_WINDOW: u32 = 256 << 10;
/// Gossip that fits no datagram.
pub(crate) const MAX_UNI: u32 = 64;
/// What the other end may open at first: 40 bytes each, used or not.
pub(crate) const FIRST: u32 = 1024;
/// Requests that one node forwards to another at a time; every long poll and spliced WebSocket is one.
const MOST: u32 = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_room_for_as_many_more_until_the_limit() {
        let mut allowance = Allowance { used: 0, allowed: FIRST };
        for used in 1..=MOST {
            let before = allowance.allowed;
            let grown = allowance.begin();
            assert_eq!(grown.is_some(), allowance.allowed != before);
            assert!(used <= allowance.allowed / 2 || allowance.allowed == MOST);
        }
        assert_eq!(allowance.begin(), None);
    }

    #[test]
    fn an_allowance_is_not_taken_back() {
        let mut allowance = Allowance { used: 0, allowed: FIRST };
        while allowance.begin().is_none() {}
        allowance.used = 0;
        assert_eq!((allowance.begin(), allowance.allowed), (None, 2 * FIRST));
    }

    #[test]
    fn the_window_holds_what_every_stream_may_hold() {
        assert!(window(MOST) < VarInt::MAX);
        assert_eq!(window(0).into_inner(), u64::from(MAX_UNI) * u64::from(STREAM_WINDOW));
    }
}
