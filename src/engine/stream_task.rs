//! The I/O task of one WebSocket or WebTransport stream of a session. It owns both directions of the stream.
//!
//! It reads packets for the session and writes what the outbox holds, in batches of one vectored write. An idle stream holds
//! no buffer: reading uses a scratch buffer of the thread, writing uses shared frames.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::coop;

use super::error::PacketError;
use super::fifo::Fifo;
use super::frame::{Dialect, Frame};
use super::mailbox::SessionMessage;
use super::packet::Packet;
use super::protocol::{Protocol, Transport};
use super::session::ConnId;
use super::session_ref::SessionRef;
use super::transport_stage::{Stage, StageCell};
use super::websocket::{self, Incoming, Violation};
use super::webtransport;

/// The bytes of a WebSocket or WebTransport stream: a TCP connection, TLS, QUIC, or a stream from another node.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What the client and this node agreed on for one WebSocket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebSocketTerms {
    /// The client asked for text on this WebSocket, whatever it asked for on its polls.
    pub(crate) base64: bool,
    /// Messages may be deflated in both directions.
    pub(crate) deflate: bool,
}

/// Serves a WebSocket until the session or the client closes it, and tells the session how it ended. The answer to its handshake
/// goes out first, with what is queued by then.
pub(crate) fn serve_websocket<K: Send + 'static>(
    (answer, stream): (Bytes, Box<dyn ByteStream>),
    session: SessionRef<K>,
    conn: ConnId,
    stage: Arc<StageCell>,
    terms: WebSocketTerms,
) -> impl Future<Output = ()> + Send {
    let config = session.config();
    let deflate = config.per_message_deflate.filter(|_| terms.deflate);
    let dialect = Dialect { protocol: session.handshake().protocol(), base64: terms.base64, deflate };
    let mut decoder = websocket::Decoder::new(config.max_payload);
    if terms.deflate {
        decoder = decoder.with_deflate(Arc::clone(session.outbox().budget()));
    }
    serve((answer, stream), session, conn, stage, (Framing::WebSocket(decoder), dialect))
}

/// Serves a WebTransport stream whose first packet was read, until the session or the client closes it, and tells the
/// session how it ended. The end of what is read is a close by the client; an error of the stream is not.
pub(crate) fn serve_webtransport<K: Send + 'static>(
    stream: Box<dyn ByteStream>,
    session: SessionRef<K>,
    conn: ConnId,
    stage: Arc<StageCell>,
) -> impl Future<Output = ()> + Send {
    let decoder = webtransport::Decoder::new(session.config().max_payload);
    let dialect = Dialect { protocol: Protocol::V4, base64: false, deflate: None };
    serve((Bytes::new(), stream), session, conn, stage, (Framing::WebTransport(decoder), dialect))
}

fn serve<K: Send + 'static>(
    (answer, stream): (Bytes, Box<dyn ByteStream>),
    session: SessionRef<K>,
    conn: ConnId,
    stage: Arc<StageCell>,
    (framing, dialect): (Framing, Dialect),
) -> impl Future<Output = ()> + Send {
    let mut task = StreamTask {
        stream,
        framing,
        batch: Fifo::new(),
        handshake: answer.len(),
        outgoing: Outgoing::after(answer),
        uncounted: 0,
        probing: stage.get() == Stage::Waiting,
        dialect,
        session,
        conn,
        stage,
        reported: false,
    };
    async move {
        let end = poll_fn(|cx| task.poll(cx)).await;
        // Boxed, so that an idle stream has no room for what its end needs.
        Box::pin(task.end(end)).await;
    }
}

struct StreamTask<K: Send + 'static> {
    stream: Box<dyn ByteStream>,
    framing: Framing,
    /// Frames that were taken out of the outbox and are not being written yet: they may have to be deflated first.
    batch: Fifo<Frame>,
    outgoing: Outgoing,
    /// Packets in the batch and in what is written that were not counted yet.
    uncounted: usize,
    /// Bytes in what is written that are none of the session's traffic.
    handshake: usize,
    /// The stream opened for a session of another transport, and its probe was not answered yet.
    probing: bool,
    dialect: Dialect,
    session: SessionRef<K>,
    conn: ConnId,
    stage: Arc<StageCell>,
    /// The session knows that the stream has ended.
    reported: bool,
}

/// How packets are framed on the stream, and what was read of the next one.
enum Framing {
    WebSocket(websocket::Decoder),
    WebTransport(webtransport::Decoder),
}

impl Framing {
    const fn transport(&self) -> Transport {
        match self {
            Self::WebSocket(_) => Transport::WebSocket,
            Self::WebTransport(_) => Transport::WebTransport,
        }
    }
}

/// What one read brought.
type Packets = Vec<Result<Packet, PacketError>>;

/// Why a stream ends.
enum StreamEnd {
    /// The session closes it after what is queued.
    Flush,
    /// The session closes it at once.
    Close,
    /// The client closed it with this code.
    Closed(Option<u16>),
    /// The client broke the protocol of the WebSocket.
    Violation(Violation),
    /// The connection was lost.
    Lost,
}

impl<K: Send + 'static> StreamTask<K> {
    /// Reads and writes until there is a reason to end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StreamEnd> {
        loop {
            // This comes first, so that a change from here on wakes the task.
            let (stage, paused) = self.stage.poll(cx);
            match stage {
                Stage::Waiting => {}
                Stage::Flushing => return Poll::Ready(StreamEnd::Flush),
                Stage::Closed => return Poll::Ready(StreamEnd::Close),
                Stage::Probed | Stage::Live => self.refill(stage, cx),
            }
            match self.poll_write(cx) {
                Poll::Ready(Ok(wrote)) if wrote => {
                    self.session.outbox().note_progress();
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(StreamEnd::Lost),
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
            if paused {
                return Poll::Pending;
            }
            match self.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {}
                Poll::Ready(Some(end)) => return Poll::Ready(end),
            }
        }
    }

    /// Takes the next batch out of the outbox. A probing stream gets the answer to its probe and nothing else.
    fn refill(&mut self, stage: Stage, cx: &Context<'_>) {
        if self.probing {
            self.probing = false;
            self.uncounted += 1;
            self.push(Frame::control(&Packet::Pong("probe".into())));
        }
        if stage == Stage::Live && self.outgoing.is_empty() {
            if self.batch.is_empty() {
                self.take_batch();
            }
            // The pong of a ping comes before the answers to what was read behind it.
            self.outgoing.begin();
            self.outgoing.chunks.reserve(self.batch.len());
            if !self.push_batch() {
                // Other tasks may run before the next step.
                cx.waker().wake_by_ref();
            }
        }
    }

    fn take_batch(&mut self) {
        self.batch = self.session.outbox().take_batch(WRITE_BATCH);
        self.uncounted += self.batch.len();
    }

    /// Writes what it can. Returns `false` if there is nothing left to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.outgoing.poll_write(&mut self.stream, cx).map_ok(|written| {
            if written > 0 {
                let (packets, handshake) = (mem::take(&mut self.uncounted), mem::take(&mut self.handshake));
                let bytes = written.saturating_sub(handshake);
                self.session.counters().traffic.sent(self.framing.transport(), packets, bytes);
            }
            written > 0
        })
    }

    /// Moves the batch to what is written, up to a frame that is still being deflated. Returns whether all was moved.
    fn push_batch(&mut self) -> bool {
        while let Some(frame) = self.batch.front() {
            if !frame.deflate(self.dialect) {
                return false;
            }
            if let Some(frame) = self.batch.pop_front() {
                self.push(frame);
            }
        }
        true
    }

    fn push(&mut self, frame: Frame) {
        let parts = match self.framing {
            Framing::WebSocket(_) => frame.websocket(self.dialect),
            Framing::WebTransport(_) => frame.webtransport(),
        };
        parts.into_iter().filter(|part| !part.is_empty()).for_each(|part| self.outgoing.raw(part));
    }

    /// Reads once and hands the packets over. A client that never stops sending lets other tasks run all the same.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamEnd>> {
        let turn = ready!(coop::poll_proceed(cx));
        let (packets, end) = ready!(SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            Poll::Ready(match read {
                Err(_) => (Vec::new(), Some(StreamEnd::Lost)),
                Ok(()) if buffer.filled().is_empty() => (Vec::new(), Some(self.hung_up())),
                Ok(()) => self.receive(buffer.filled_mut()),
            })
        }));
        turn.made_progress();
        // Not before the scratch buffer is free: handlers may run here.
        self.hand_over(packets);
        Poll::Ready(end)
    }

    /// The end of what the client sends. A WebSocket ends with a close frame before it; WebTransport just ends.
    fn hung_up(&self) -> StreamEnd {
        match self.framing {
            Framing::WebSocket(_) => StreamEnd::Lost,
            Framing::WebTransport(_) => StreamEnd::Closed(None),
        }
    }

    /// The packets that these bytes complete, and whether the stream ends with them.
    fn receive(&mut self, bytes: &mut [u8]) -> (Packets, Option<StreamEnd>) {
        let mut packets = Vec::new();
        let mut end = None;
        let length = bytes.len();
        match &mut self.framing {
            Framing::WebTransport(decoder) => packets.extend(decoder.feed(bytes)),
            Framing::WebSocket(decoder) => {
                let protocol = self.dialect.protocol;
                for incoming in decoder.feed(bytes) {
                    match incoming {
                        Ok(Incoming::Text(text)) => packets.push(Packet::decode_text(text, protocol)),
                        Ok(Incoming::Binary(data)) => packets.push(Packet::decode_binary(data, protocol)),
                        Ok(Incoming::Ping(data)) => self.outgoing.pong(websocket::pong_frame(&data)),
                        Ok(Incoming::Pong) => {}
                        Ok(Incoming::Close(code)) => end = Some(StreamEnd::Closed(code)),
                        Err(violation) => end = Some(StreamEnd::Violation(violation)),
                    }
                }
            }
        }
        self.session.counters().traffic.received(self.framing.transport(), packets.len(), length);
        (packets, end)
    }

    /// Nothing more is read until these are handled, so a client cannot outrun its session.
    fn hand_over(&self, packets: Packets) {
        if packets.is_empty() {
            return;
        }
        // What comes of them is written next, without waking this task for it.
        self.stage.stay_awake();
        if let Err(message) = self.session.handle_now(SessionMessage::Packets(self.conn, packets)) {
            self.stage.pause();
            self.session.tell(message);
        }
    }

    async fn end(mut self, end: StreamEnd) {
        let flushed = tokio::time::timeout(FLUSH_TIMEOUT, self.finish(&end)).await;
        let clean = match end {
            StreamEnd::Violation(violation) => {
                if violation == Violation::NoRoom {
                    self.session.counters().inflated_refused.increment();
                }
                false
            }
            // As in Node, a WebSocket whose connection is lost counts as closed by its client.
            StreamEnd::Lost => matches!(self.framing, Framing::WebSocket(_)),
            StreamEnd::Flush | StreamEnd::Close | StreamEnd::Closed(_) => true,
        };
        self.report(clean);
        if matches!(flushed, Ok(Ok(()))) {
            // Reading until the client hangs up keeps a reset from overtaking the close frame.
            let _gone = tokio::time::timeout(HANG_UP_TIMEOUT, self.drain()).await;
        }
    }

    fn report(&mut self, clean: bool) {
        self.reported = true;
        self.session.bring(SessionMessage::StreamClosed { conn: self.conn, clean });
    }

    /// Writes what is still due and the close frame.
    async fn finish(&mut self, end: &StreamEnd) -> io::Result<()> {
        let code = match end {
            StreamEnd::Lost => return Err(io::ErrorKind::ConnectionReset.into()),
            StreamEnd::Flush => {
                self.flush_outbox().await?;
                None
            }
            StreamEnd::Close => None,
            StreamEnd::Closed(code) => *code,
            StreamEnd::Violation(violation) => Some(violation.close_code()),
        };
        if let Framing::WebSocket(_) = self.framing {
            self.outgoing.raw(websocket::close_frame(code));
        }
        self.flush().await?;
        self.stream.shutdown().await
    }

    async fn flush_outbox(&mut self) -> io::Result<()> {
        loop {
            while !self.push_batch() {
                tokio::task::yield_now().await;
            }
            self.flush().await?;
            self.take_batch();
            if self.batch.is_empty() {
                return Ok(());
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while poll_fn(|cx| self.poll_write(cx)).await? {}
        Ok(())
    }

    async fn drain(&mut self) {
        let mut void = [0; 512];
        while matches!(self.stream.read(&mut void).await, Ok(1..)) {}
    }
}

/// However the task ends, even by a panic, its session does not wait for it.
impl<K: Send + 'static> Drop for StreamTask<K> {
    fn drop(&mut self) {
        if !self.reported {
            // Handlers must not run where this task is dropped.
            self.session.tell(SessionMessage::StreamClosed { conn: self.conn, clean: false });
        }
    }
}

/// Bytes to be written: at most one batch, and one pong.
struct Outgoing {
    chunks: Fifo<Bytes>,
    /// What comes before the next batch: the answer to the handshake, then pongs. Only the last ping is answered (RFC 6455,
    /// section 5.5.3), so a client cannot pile them up.
    ahead: Option<Bytes>,
}

impl Outgoing {
    fn after(answer: Bytes) -> Self {
        Self { chunks: Fifo::new(), ahead: Some(answer).filter(|answer| !answer.is_empty()) }
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    fn raw(&mut self, frame: Bytes) {
        self.begin();
        self.chunks.push_back(frame);
    }

    fn pong(&mut self, frame: Bytes) {
        self.ahead = Some(frame);
    }

    /// Makes what comes ahead the next to be written, unless something is being written.
    fn begin(&mut self) {
        if self.chunks.is_empty()
            && let Some(ahead) = self.ahead.take()
        {
            self.chunks.push_back(ahead);
        }
    }

    /// Writes as much as possible with one write. Returns how much: 0 if there is nothing left to write.
    fn poll_write(
        &mut self,
        stream: &mut (dyn AsyncWrite + Send + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.begin();
        let Some(first) = self.chunks.front() else {
            // Gives the memory of a large batch back.
            self.chunks.release();
            return Pin::new(stream).poll_flush(cx).map_ok(|()| 0);
        };
        let write = match self.chunks.len() {
            1 => Pin::new(stream).poll_write(cx, first),
            _ => self.poll_write_vectored(stream, cx),
        };
        match write {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                self.advance(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write_vectored(
        &self,
        stream: &mut (dyn AsyncWrite + Send + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, chunk) in slices.iter_mut().zip(self.chunks.iter()) {
            *slice = IoSlice::new(chunk);
        }
        let used = slices.get(..self.chunks.len().min(SLICES)).unwrap_or_default();
        Pin::new(stream).poll_write_vectored(cx, used)
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            if written < chunk.len() {
                chunk.advance(written);
                return;
            }
            written -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_CHUNK].into_boxed_slice());
}

/// The size of one read: large enough that a burst of small messages takes one system call.
const READ_CHUNK: usize = 64 * 1024;

/// The size of one write: what the kernel's default send buffer takes at once.
const WRITE_BATCH: usize = 64 * 1024;

/// Parts per vectored write; the kernel's own limit is 1024.
const SLICES: usize = 64;

/// How long a client may take to accept what is queued when its session closes; Node's `ws` waits as long.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to hang up after the close frame.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);
