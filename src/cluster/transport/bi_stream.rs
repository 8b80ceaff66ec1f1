//! A byte stream to another node: one bidirectional QUIC stream, direct or through a relay.

use std::future::pending;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream_limits::StreamPermit;
use crate::cluster::wire::{MAX_PRELUDE, WireError};

/// Both directions of a stream.
pub(crate) type Halves = (SendStream, RecvStream);

/// Whether a stream was lost: the link or a node that carried it is gone. A stream that its other end aborted was not lost.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamLoss(Arc<AtomicBool>);

impl StreamLoss {
    pub(crate) fn is_lost(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Gives the stream up as lost, which the other end is told when it is dropped.
    pub(crate) fn declare(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn note<T, E: Into<io::Error>>(&self, outcome: Result<T, E>) -> io::Result<T> {
        outcome.map_err(|error| {
            let error = error.into();
            if is_loss(&error) {
                self.declare();
            }
            error
        })
    }
}

/// A byte stream to another node. Each direction that is dropped before its end aborts it, so that the other end notices.
#[derive(Debug)]
pub(crate) struct BiStream {
    pub(crate) send: Sender,
    pub(crate) recv: Receiver,
}

impl BiStream {
    pub(crate) fn new((send, recv): Halves, permit: StreamPermit) -> Self {
        Self::opening((send, recv), Bytes::new(), permit)
    }

    /// A stream that begins with `prelude`, which goes out with the first bytes that are written.
    pub(crate) fn opening((send, recv): Halves, prelude: Bytes, permit: StreamPermit) -> Self {
        let (loss, permit) = (StreamLoss::default(), Arc::new(permit));
        Self {
            send: Sender {
                quic: send,
                prelude,
                finished: false,
                finishes_on_drop: false,
                loss: loss.clone(),
                _permit: Arc::clone(&permit),
            },
            recv: Receiver { quic: recv, loss, _permit: permit },
        }
    }

    /// Whether the stream was lost; known after a read or a write has failed.
    pub(crate) fn loss(&self) -> StreamLoss {
        self.send.loss.clone()
    }
}

/// What is sent to the other end.
#[derive(Debug)]
pub(crate) struct Sender {
    quic: SendStream,
    prelude: Bytes,
    finished: bool,
    finishes_on_drop: bool,
    loss: StreamLoss,
    _permit: Arc<StreamPermit>,
}

impl Sender {
    /// Writes all of it, at once if there is place.
    ///
    /// # Errors
    /// When the other end does not want it, or the stream was lost.
    pub(crate) async fn write<const N: usize>(&mut self, bytes: [Bytes; N]) -> io::Result<()> {
        let mut chunks = Vec::with_capacity(N + 1);
        chunks.push(std::mem::take(&mut self.prelude));
        chunks.extend(bytes);
        let written = self.quic.write_all_chunks(&mut chunks).await;
        self.loss.note(written)
    }

    /// Nothing more will be written. What was written arrives, even if this is dropped.
    pub(crate) fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            // Fails only when the other end wants nothing any more.
            let _unwanted = self.quic.finish();
        }
    }

    /// From now on a drop does not break off what was written: the other end learns from the bytes themselves what is complete.
    pub(crate) const fn finish_on_drop(&mut self) {
        self.finishes_on_drop = true;
    }

    /// Resolves when the other end wants nothing any more, or the stream was lost; never after all of it has arrived.
    pub(crate) fn refused(&self) -> impl Future<Output = io::Error> + Send + 'static {
        let (stopped, loss) = (self.quic.stopped(), self.loss.clone());
        async move {
            let stopped = stopped.await.map_err(WriteError::from);
            match loss
                .note(stopped.and_then(|code| code.map_or(Ok(()), |code| Err(WriteError::Stopped(code)))))
            {
                Ok(()) => pending().await,
                Err(error) => error,
            }
        }
    }
}

/// What comes from the other end.
#[derive(Debug)]
pub(crate) struct Receiver {
    quic: RecvStream,
    loss: StreamLoss,
    _permit: Arc<StreamPermit>,
}

impl Receiver {
    /// Reads one message. See [`read_prelude`].
    ///
    /// # Errors
    /// When the stream ends before, or the message is too large or does not decode.
    pub(crate) async fn message<M: prost::Message + Default>(&mut self) -> io::Result<M> {
        let read = read_prelude(&mut self.quic).await;
        self.loss.note(read.map_err(|error| match error {
            StreamError::Read(ReadExactError::ReadError(error)) => error.into(),
            error => io::Error::other(error),
        }))
    }

    /// The next bytes, as they came; `None` at the end.
    ///
    /// # Errors
    /// When the other end broke off, or the stream was lost.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let read = ready!(pin!(self.quic.read_chunk(usize::MAX, true)).poll(cx));
        Poll::Ready(self.loss.note(read).map(|chunk| chunk.map(|chunk| chunk.bytes)))
    }
}

impl AsyncRead for BiStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Receiver { quic, loss, .. } = &mut self.recv;
        quic.poll_read_buf(cx, buffer).map(|read| loss.note(read))
    }
}

impl AsyncWrite for BiStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// All slices with one call of QUIC, which locks the connection and wakes its driver.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Sender { quic, prelude, loss, .. } = &mut self.send;
        let mut write = |mut bytes: Bytes| {
            let written = ready!(pin!(quic.write_chunks(slice::from_mut(&mut bytes))).poll(cx));
            Poll::Ready(loss.note(written).map(|written| written.bytes))
        };
        while !prelude.is_empty() {
            prelude.advance(ready!(write(prelude.clone()))?);
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut bytes = BytesMut::with_capacity(length.min(LARGEST_WRITE));
        for slice in slices {
            let place = LARGEST_WRITE - bytes.len();
            bytes.extend_from_slice(slice.get(..place).unwrap_or(slice));
        }
        write(bytes.freeze())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Each fails only when the stream is closed already.
        if self.loss.is_lost() {
            let _closed = self.quic.reset(LOST);
        } else if !self.finished && !self.finishes_on_drop {
            let _closed = self.quic.reset(ABORTED);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.loss.is_lost() {
            // Fails only when the stream is closed already.
            let _closed = self.quic.stop(LOST);
        }
    }
}

/// Ends a stream that is of no use.
pub(crate) fn abort((mut send, _recv): Halves) {
    // Fails only when the stream is closed already.
    let _closed = send.reset(ABORTED);
}

/// Reads a length and the message after it, and not a byte more.
///
/// # Errors
/// When the stream ends before, or the message is too large or does not decode.
pub(crate) async fn read_prelude<M: prost::Message + Default>(
    recv: &mut RecvStream,
) -> Result<M, StreamError> {
    let mut length = [0; 4];
    recv.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_PRELUDE {
        return Err(WireError::Length(length).into());
    }
    let mut bytes = BytesMut::zeroed(length);
    recv.read_exact(&mut bytes).await?;
    Ok(M::decode(bytes).map_err(WireError::from)?)
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    Open(#[from] quinn::ConnectionError),
    #[error("the stream ended")]
    Write(#[from] WriteError),
    #[error("the stream ended")]
    Read(#[from] ReadExactError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

fn is_loss(error: &io::Error) -> bool {
    let Some(error) = error.get_ref() else { return false };
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(ReadError::Reset(code)), _) | (_, Some(WriteError::Stopped(code))) => *code == LOST,
        (read, write) => {
            matches!(read, Some(ReadError::ConnectionLost(_)))
                || matches!(write, Some(WriteError::ConnectionLost(_)))
        }
    }
}

/// As much as a stream task writes at once.
const LARGEST_WRITE: usize = 64 << 10;

/// Tells the other end that the stream was lost on its way: not at its end, where somebody may still wait.
const LOST: VarInt = VarInt::from_u32(2);

/// Tells the other end that the rest will not come.
const ABORTED: VarInt = VarInt::from_u32(1);
