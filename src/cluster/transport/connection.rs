//! One QUIC connection to another node (docs/protocol/mesh.md, "Streams and datagrams").

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};
use tokio::time::{Instant, sleep_until, timeout};

use super::bi_stream::{Halves, StreamError, read_prelude};
use super::refused_packets::RefusedPackets;
use super::stream_limits::StreamLimits;
use crate::cluster::address::canonical;
use crate::cluster::hello::Greeting;
use crate::cluster::wire::{CloseCode, encode_prelude, pb};
use crate::id::{Incarnation, NodeId};

/// A connection to a node whose certificate was verified.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    quic: Connection,
    pub(crate) peer: NodeId,
    /// Which life of the other node is at the other end, as its accepted hello said. Before that, nothing but a hello is accepted.
    admission: SetOnce<Incarnation>,
    /// When the last answer to a ping came, and the last ping or answer.
    answered: Mutex<Instant>,
    heard: Mutex<Instant>,
    /// Since when a ping waits for an answer, if it does.
    asked: Mutex<Instant>,
    refused_packets: Arc<dyn RefusedPackets>,
    /// The words about lives that are not reached which wait to be handled.
    refused: Arc<Semaphore>,
    large_gossip: Arc<Semaphore>,
    /// The streams that may last: requests, and what is relayed.
    pub(crate) limits: Arc<StreamLimits>,
}

/// What arrived on a connection.
pub(crate) enum Incoming {
    Gossip(Bytes),
    LargeGossip(RecvStream),
    Stream(Halves),
    /// The other node does not reach that life of a node any more. The place is free when that was handled.
    Refused(NodeId, Incarnation, OwnedSemaphorePermit),
    /// The answer to a ping.
    Answer,
    /// A datagram that needs no further handling.
    Nothing,
}

impl PeerConnection {
    pub(super) fn new(quic: Connection, peer: NodeId, refused_packets: Arc<dyn RefusedPackets>) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            peer,
            admission: SetOnce::new(),
            answered: Mutex::new(now),
            heard: Mutex::new(now),
            asked: Mutex::new(now),
            refused_packets,
            refused: Arc::new(Semaphore::new(MAX_REFUSED)),
            large_gossip: Arc::new(Semaphore::new(MAX_LARGE_GOSSIP)),
            limits: StreamLimits::new(quic.clone()),
            quic,
        })
    }

    /// The hello was accepted: from now on everything else is, too.
    pub(crate) fn admit(&self, greeting: &Greeting) {
        // A second hello on the same connection says the same.
        let _again = self.admission.set(greeting.incarnation);
        *self.heard.lock() = Instant::now();
    }

    /// Which life of the other node said hello, if that was accepted.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.admission.get().copied()
    }

    /// Waits until a hello is accepted, for [`ADMISSION`] at most. The other node may know of the acceptance before this one,
    /// so what it sends early has to wait.
    pub(crate) async fn is_admitted(&self) -> bool {
        timeout(ADMISSION, self.admission.wait()).await.is_ok()
    }

    /// The address that the packets of the other node come from.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        canonical(self.quic.remote_address())
    }

    /// How long a packet takes to the other node and its confirmation back.
    pub(crate) fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.quic.close_reason().is_some()
    }

    /// Closes the connection at once, with everything on it.
    pub(crate) fn close(&self, why: CloseCode) {
        self.quic.close(code(why), b"");
    }

    /// Asks the other end for a sign of life. QUIC alone notices a cut in one direction late.
    pub(crate) fn ping(&self) {
        self.send_datagram(PING, &[]);
        let (now, heard, mut asked) = (Instant::now(), self.heard(), self.asked.lock());
        if *asked <= heard {
            *asked = now;
        }
    }

    /// Whether a ping has no answer although there was time for one, and the machine of the other node says that nobody
    /// listens at its port.
    pub(crate) fn is_refused(&self) -> bool {
        let refused = self.refused_packets.last(self.remote_address());
        let waited = Instant::now().saturating_duration_since(*self.asked.lock());
        let had_time = waited >= (self.quic.rtt() * 2).min(MAX_ANSWER_TIME);
        had_time && is_gone(*self.asked.lock(), self.heard(), refused)
    }

    /// Tells the other end that this node does not reach that life of a node any more.
    pub(crate) fn tell_refused(&self, id: &NodeId, incarnation: Incarnation) {
        self.send_datagram(REFUSED, &[&incarnation.0.to_be_bytes(), id.as_str().as_bytes()].concat());
    }

    /// When the last sign of life came. The way to the other node may be cut all the same.
    pub(crate) fn heard(&self) -> Instant {
        *self.heard.lock()
    }

    /// Resolves when the other node answers no ping between `since` and `until`. After an answer it never resolves.
    ///
    /// The control actor of one of the two pings anyway; where no answer came, more pings go out, because datagrams get lost.
    pub(crate) async fn falls_silent(&self, since: Instant, until: Instant) {
        // A sign that comes earlier was on its way at `since`.
        let sign = since + self.quic.rtt();
        let part = until.saturating_duration_since(since) / SILENCE_CHECKS;
        for check in SILENCE_CHECKS / 2..=SILENCE_CHECKS {
            sleep_until(since + part * check).await;
            if *self.answered.lock() > sign {
                return pending().await;
            }
            self.ping();
        }
    }

    /// Opens a stream to the other node and says what it is. Waits while as many streams as allowed are open.
    ///
    /// # Errors
    /// When the connection ends.
    pub(crate) async fn open(&self, header: &pb::StreamHeader) -> Result<Halves, StreamError> {
        let (mut send, recv) = self.open_silently().await?;
        send.write_all(&encode_prelude(header)).await?;
        Ok((send, recv))
    }

    /// Opens a stream of which the other node hears with the first bytes on it.
    ///
    /// # Errors
    /// When the connection ends.
    pub(crate) async fn open_silently(&self) -> Result<Halves, ConnectionError> {
        self.quic.open_bi().await
    }

    /// Waits for what comes next. Must be polled on the mesh's runtime. No arrival is lost when the future is dropped.
    ///
    /// # Errors
    /// When the connection ended.
    pub(crate) async fn arrival(&self) -> Result<Incoming, ConnectionError> {
        tokio::select! {
            datagram = self.quic.read_datagram() => Ok(self.handle_datagram(&datagram?)),
            stream = self.quic.accept_bi() => Ok(Incoming::Stream(stream?)),
            stream = self.quic.accept_uni() => Ok(Incoming::LargeGossip(stream?)),
        }
    }

    fn handle_datagram(&self, datagram: &Bytes) -> Incoming {
        match datagram.split_first() {
            Some((&GOSSIP, _)) => return Incoming::Gossip(datagram.slice(1..)),
            Some((&PING, body)) => {
                *self.heard.lock() = Instant::now();
                self.send_datagram(PONG, body);
            }
            Some((&PONG, _)) => {
                let now = Instant::now();
                (*self.answered.lock(), *self.heard.lock()) = (now, now);
                return Incoming::Answer;
            }
            Some((&REFUSED, body)) => return self.handle_refused(body).unwrap_or(Incoming::Nothing),
            // A kind of a later version.
            _ => {}
        }
        Incoming::Nothing
    }

    /// Some of them may wait to be handled. Whoever sends more says nothing new.
    fn handle_refused(&self, body: &[u8]) -> Option<Incoming> {
        let (id, incarnation) = refused_life(body)?;
        let place = Arc::clone(&self.refused).try_acquire_owned().ok()?;
        Some(Incoming::Refused(id, incarnation, place))
    }

    /// Sends a gossip message without waiting. Must be called on the mesh's runtime. Returns whether it was sent.
    pub(crate) fn send_gossip(&self, message: Bytes) -> bool {
        if message.len() < self.quic.max_datagram_size().unwrap_or_default() {
            return self.send_datagram(GOSSIP, &message);
        }
        let Ok(permit) = Arc::clone(&self.large_gossip).try_acquire_owned() else { return false };
        let quic = self.quic.clone();
        tokio::spawn(async move {
            let sent = async {
                let mut stream: SendStream = quic.open_uni().await?;
                stream.write_all(&message).await?;
                stream.finish().map_err(quinn::WriteError::from)?;
                Ok::<_, StreamError>(())
            };
            if !matches!(timeout(PRELUDE, sent).await, Ok(Ok(()))) {
                tracing::debug!("large gossip was not sent");
            }
            drop(permit);
        });
        true
    }

    fn send_datagram(&self, kind: u8, body: &[u8]) -> bool {
        let mut datagram = BytesMut::with_capacity(1 + body.len());
        datagram.put_u8(kind);
        datagram.put_slice(body);
        self.quic.send_datagram(datagram.freeze()).is_ok()
    }
}

/// The application code with which QUIC closes a connection.
pub(super) fn code(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.into())
}

/// A sign of life outweighs what was refused before it, and is waited for: anybody can say that a packet was refused.
fn is_gone(asked: Instant, heard: Instant, refused: Option<Instant>) -> bool {
    asked > heard && refused.is_some_and(|refused| refused > heard)
}

fn refused_life(body: &[u8]) -> Option<(NodeId, Incarnation)> {
    let (incarnation, id) = body.split_first_chunk::<8>()?;
    Some((str::from_utf8(id).ok()?.parse().ok()?, Incarnation(u64::from_be_bytes(*incarnation))))
}

/// Reads gossip that did not fit a datagram. `None` when it does not arrive whole or in time.
pub(crate) async fn read_large_gossip(mut stream: RecvStream) -> Option<Bytes> {
    timeout(PRELUDE, stream.read_to_end(MAX_GOSSIP)).await.ok()?.ok().map(Bytes::from)
}

/// Reads what a stream is. `None` when the other end does not say so in time.
pub(crate) async fn read_header(stream: &mut RecvStream) -> Option<pb::StreamHeader> {
    timeout(PRELUDE, read_prelude(stream)).await.ok()?.ok()
}

/// The first byte of a datagram.
const GOSSIP: u8 = 1;
const PING: u8 = 2;
const PONG: u8 = 3;
const REFUSED: u8 = 4;
/// In how many parts a silence is measured; there are pings in the second half of it.
const SILENCE_CHECKS: u32 = 8;
/// How long an answer to a ping may take at most, where the other machine says that nobody will answer.
const MAX_ANSWER_TIME: Duration = Duration::from_millis(500);
/// Gossip of a thousand members; chitchat itself stays below 64 KiB.
const MAX_GOSSIP: usize = 128 << 10;
/// Large gossip messages on their way to one node. More of them would only repeat each other.
const MAX_LARGE_GOSSIP: usize = 4;
/// Words about lives that are not reached: more than that are dropped.
const MAX_REFUSED: usize = 64;
/// How long the first message of a stream may take.
pub(crate) const PRELUDE: Duration = Duration::from_secs(2);
/// How long a node waits for a sign that another one can be reached, for a request that is for that one. Below the second
/// within which the request is answered.
pub(crate) const REACH: Duration = Duration::from_millis(900);
/// How long a connection may last without an accepted hello.
pub(crate) const ADMISSION: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_where_a_ping_has_no_answer_and_nothing_was_heard_since() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (asked, heard, refused, gone) in [
            (2, 1, Some(2), true),
            (2, 1, Some(3), true),
            // Before the sign of life.
            (4, 3, Some(2), false),
            // Nobody was asked since.
            (1, 2, Some(3), false),
            (2, 1, None, false),
        ] {
            assert_eq!(is_gone(at(asked), at(heard), refused.map(at)), gone, "{asked} {heard} {refused:?}");
        }
    }
}
