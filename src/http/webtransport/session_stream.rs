//! The stream of one WebTransport session. The session ends with it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::{ConnectionError, ReadError, VarInt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::AbortOnDropHandle;
use wtransport::{Connection, RecvStream, SendStream};

/// The stream that carries a session of Engine.IO.
///
/// Reading ends when the client closes the stream or the WebTransport session; any other end of them is an error. Shutting
/// the stream down closes the session once the client has everything that was written.
pub(super) struct SessionStream {
    send: SendStream,
    recv: RecvStream,
    connection: Connection,
    /// Resolves when the client has everything that was written.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _others: AbortOnDropHandle<()>,
}

impl SessionStream {
    pub(super) fn new((send, recv): (SendStream, RecvStream), connection: Connection) -> Self {
        let others = AbortOnDropHandle::new(tokio::spawn(ignore_others(connection.clone())));
        Self { send, recv, connection, closing: None, _others: others }
    }

    /// Ends the session without serving it.
    pub(super) fn refuse(self, reason: &'static str) {
        tracing::debug!(reason, "a WebTransport session was refused");
        self.close(reason);
    }

    /// Ends the session at once.
    fn close(&self, reason: &str) {
        self.connection.close(NORMAL_END.into(), reason.as_bytes());
    }

    /// Whether the client closed the session, and the connection with it.
    fn was_closed(&self) -> bool {
        match self.connection.quic_connection().close_reason() {
            // QUIC's library closes the connection locally when the client has closed the session.
            Some(ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed) => true,
            Some(_) | None => false,
        }
    }
}

impl AsyncRead for SessionStream {
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

impl AsyncWrite for SessionStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            let stream = self.send.quic_stream_mut();
            // A stream that has ended already needs no end.
            let _ended = stream.finish();
            let stopped = stream.stopped();
            self.closing = Some(Box::pin(async move {
                let _late = tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, stopped).await;
            }));
        }
        if let Some(closing) = &mut self.closing {
            ready!(closing.as_mut().poll(cx));
        }
        self.close("");
        Poll::Ready(Ok(()))
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        // Has no effect if the session was closed before.
        self.close("");
    }
}

impl fmt::Debug for SessionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStream").finish_non_exhaustive()
    }
}

/// Drops datagrams and further streams as they arrive, so that they take no memory. They have no meaning in Engine.IO.
async fn ignore_others(connection: Connection) {
    tokio::select! {
        () = async { while connection.accept_bi().await.is_ok() {} } => {}
        () = async { while connection.accept_uni().await.is_ok() {} } => {}
        () = async { while connection.receive_datagram().await.is_ok() {} } => {}
    }
}

/// How long a client may take to acknowledge what was written last.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The code of a session that ends without an error.
pub(super) const NORMAL_END: u32 = 0;

/// `WEBTRANSPORT_SESSION_GONE`: the code with which the streams of a closed session are reset.
const SESSION_GONE: VarInt = VarInt::from_u32(0x170d_7b68);
