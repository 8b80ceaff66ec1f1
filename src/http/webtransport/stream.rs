//! The stream of one WebTransport session, and with its end the end of that session.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::{ConnectionError, ReadError, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wtransport::{Connection, RecvStream, SendStream};

use super::DONE;
use crate::http::body::AbortOnDrop;

/// Reads and writes one stream.
///
/// The client's close of the stream or of the WebTransport session is the end of what is read; anything else that ends
/// them is an error. To shut it down is to close the session, once the client has everything.
pub(super) struct ClientStream {
    send: SendStream,
    recv: RecvStream,
    connection: Connection,
    /// Resolves when the client has everything that was written.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _others: AbortOnDrop,
}

impl ClientStream {
    pub(super) fn new((send, recv): (SendStream, RecvStream), connection: Connection) -> Self {
        let others = AbortOnDrop(tokio::spawn(ignore_others(connection.clone())).abort_handle());
        Self { send, recv, connection, closing: None, _others: others }
    }

    /// Ends the session at once.
    pub(super) fn close(&mut self, reason: &str) {
        self.connection.close(DONE.into(), reason.as_bytes());
    }

    /// Whether the client meant the end of its connection.
    fn was_closed(&self) -> bool {
        match self.connection.quic_connection().close_reason() {
            // Locally: the session was closed by the client, and the connection with it.
            Some(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => true,
            Some(_) | None => false,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.recv.quic_stream_mut().poll_read_buf(cx, buffer)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(ReadError::Reset(SESSION_GONE)) => Poll::Ready(Ok(())),
            Err(ReadError::ConnectionLost(_)) if self.was_closed() => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            let stream = self.send.quic_stream_mut();
            // One that is finished or gone already has nothing more to wait for.
            let _done = stream.finish();
            let stopped = stream.stopped();
            self.closing = Some(Box::pin(async move {
                let _late = tokio::time::timeout(LINGER, stopped).await;
            }));
        }
        if let Some(closing) = &mut self.closing {
            ready!(closing.as_mut().poll(cx));
        }
        self.close("");
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        // Of no effect if it was closed before.
        self.close("");
    }
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream").finish_non_exhaustive()
    }
}

/// Datagrams and further streams mean nothing: they are dropped as they come, so that they do not pile up.
async fn ignore_others(connection: Connection) {
    let ended = || ();
    tokio::select! {
        () = async { while connection.accept_bi().await.is_ok() {} } => ended(),
        () = async { while connection.accept_uni().await.is_ok() {} } => ended(),
        () = async { while connection.receive_datagram().await.is_ok() {} } => ended(),
    }
}

/// How long a client may take to acknowledge what was written last.
const LINGER: Duration = Duration::from_secs(5);

/// `WEBTRANSPORT_SESSION_GONE`: how streams end whose session is closed.
const SESSION_GONE: VarInt = VarInt::from_u32(0x170d_7b68);
