//! From an HTTP request to a WebSocket of a session.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::body::Body;
use super::reply;
use crate::engine::websocket::{self, Stream, codec};
use crate::engine::{Application, Engine, Handshake, HandshakeError, SessionRef, Transport};

/// Whether a request wants to become a WebSocket.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Opens a session over a WebSocket.
pub(crate) async fn open<A: Application, B: Send>(
    engine: &Engine<A>,
    handshake: Arc<Handshake>,
    mut request: Request<B>,
) -> Response<Body> {
    let Some((response, upgraded)) = accept(&mut request) else { return not_a_websocket() };
    let base64 = handshake.base64();
    let opened = match engine.open(handshake, Transport::WebSocket).await {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(%error, "no session could be opened");
            return reply::unavailable("no session could be opened");
        }
    };
    if let Some((conn, line)) = opened.socket {
        let session = opened.session;
        tokio::spawn(async move {
            match upgraded.await.map(stream) {
                Ok(stream) => websocket::serve(stream, session, conn, line, base64).await,
                Err(_) => session.lost(conn),
            }
        });
    }
    response
}

/// A WebSocket for a session that exists: the probe of an upgrade, or one too many. `base64` as its query says.
pub(crate) fn resume<K: Send + 'static, B>(
    session: &SessionRef<K>,
    mut request: Request<B>,
    base64: bool,
) -> Response<Body> {
    let Some((response, upgraded)) = accept(&mut request) else { return not_a_websocket() };
    let session = session.clone();
    tokio::spawn(async move {
        // Only a WebSocket that exists is announced: a session may be upgrading for one client connection only.
        if let Ok(stream) = upgraded.await.map(stream) {
            let (conn, line) = session.attach(Transport::WebSocket);
            websocket::serve(stream, session, conn, line, base64).await;
        }
    });
    response
}

/// An upgrade request that names the polling transport: opened and closed at once, without a code.
pub(crate) fn misplaced<B>(mut request: Request<B>) -> Response<Body> {
    let Some((response, upgraded)) = accept(&mut request) else { return not_a_websocket() };
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let mut stream = stream(upgraded);
            let _gone = stream.write_all(&codec::close_frame(None)).await;
            let _gone = stream.shutdown().await;
        }
    });
    response
}

/// The 101 of a valid WebSocket handshake, and what comes after it.
fn accept<B>(request: &mut Request<B>) -> Option<(Response<Body>, OnUpgrade)> {
    let accept = codec::check_upgrade(request).ok()?;
    let upgraded = hyper::upgrade::on(request);
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).ok()?);
    Some((response, upgraded))
}

fn not_a_websocket() -> Response<Body> {
    reply::refusal(&HandshakeError::NotAnUpgrade, true)
}

/// The bare connection under an upgrade. hyper's own wrapper keeps an 8 KiB read buffer for as long as it lives.
fn stream(upgraded: Upgraded) -> Box<dyn Stream> {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => prefixed(parts.io.into_inner(), &parts.read_buf),
        Err(upgraded) => Box::new(TokioIo::new(upgraded)),
    }
}

fn prefixed(stream: TcpStream, read: &[u8]) -> Box<dyn Stream> {
    if read.is_empty() {
        Box::new(stream)
    } else {
        Box::new(Prefixed { prefix: Cursor::new(Bytes::copy_from_slice(read)), stream })
    }
}

/// A connection of which some bytes were read already: a client need not wait for the 101.
struct Prefixed {
    prefix: Cursor<Bytes>,
    stream: TcpStream,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.prefix).poll_read(cx, buffer)
            && buffer.filled().len() > before
        {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
