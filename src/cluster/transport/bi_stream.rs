//! A byte stream to another node: one bidirectional QUIC stream, direct or through a relay.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::BytesMut;
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

    fn note<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && is_loss(error)
        {
            self.declare();
        }
        outcome
    }
}

/// A byte stream to another node. A drop before `shutdown` aborts it, so that the other end notices.
#[derive(Debug)]
pub(crate) struct BiStream {
    send: SendStream,
    recv: RecvStream,
    finished: bool,
    /// Whether a drop finishes the stream instead of aborting it.
    finishes_on_drop: bool,
    loss: StreamLoss,
    _permit: StreamPermit,
}

impl BiStream {
    pub(crate) fn new((send, recv): Halves, permit: StreamPermit) -> Self {
        Self {
            send,
            recv,
            finished: false,
            finishes_on_drop: false,
            loss: StreamLoss::default(),
            _permit: permit,
        }
    }

    /// The end that answers a request. It may be dropped as soon as its answer is written, and the answer arrives all the
    /// same. The other end tells an incomplete answer by its length.
    pub(crate) fn answering((send, recv): Halves, permit: StreamPermit) -> Self {
        Self {
            send,
            recv,
            finished: false,
            finishes_on_drop: true,
            loss: StreamLoss::default(),
            _permit: permit,
        }
    }

    /// Whether the stream was lost; known after a read or a write has failed.
    pub(crate) fn loss(&self) -> StreamLoss {
        self.loss.clone()
    }
}

impl AsyncRead for BiStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buffer);
        self.loss.note(read)
    }
}

impl AsyncWrite for BiStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes);
        self.loss.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        self.finished = true;
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx)
    }
}

impl Drop for BiStream {
    fn drop(&mut self) {
        if self.loss.is_lost() {
            // Both fail only when the stream is closed already.
            let _closed = self.send.reset(LOST);
            let _closed = self.recv.stop(LOST);
        } else if !self.finished && !self.finishes_on_drop {
            // Fails only when the stream is closed already.
            let _closed = self.send.reset(ABORTED);
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

/// Tells the other end that the stream was lost on its way: not at its end, where somebody may still wait.
const LOST: VarInt = VarInt::from_u32(2);

/// Tells the other end that the rest will not come.
const ABORTED: VarInt = VarInt::from_u32(1);
