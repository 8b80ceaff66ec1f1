//! The connection of a client, with or without TLS, from its first byte to its last one or to an upgrade.
//!
//! A client that stops reading is given up, because its answer would stay in memory for ever.

use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::either::Either;

use crate::engine::stream_task::ByteStream;

/// The stream that HTTP runs over. After an upgrade, [`bare`] unwraps it.
pub(crate) struct ClientStream {
    transport: ClientTransport,
    /// What was read to detect the version of HTTP.
    seen: Bytes,
    /// How long the client may take no byte of what is written.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

/// TCP, or what a [`Listener`](super::Listener) with encryption makes of it. That is boxed: its state is large, and most
/// connections behind a proxy have none.
pub(crate) type ClientTransport = Either<TcpStream, Box<dyn ByteStream>>;

/// The version of HTTP that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http1,
    Http2,
}

impl ClientStream {
    /// Reads until the version of HTTP is clear: version 2 begins with a preface (RFC 9113, section 3.4).
    pub(crate) async fn open(
        mut transport: ClientTransport,
        patience: Duration,
    ) -> io::Result<(Self, HttpVersion)> {
        let mut seen = Vec::with_capacity(PREFACE.len());
        let version = loop {
            if !PREFACE.starts_with(&seen) {
                break HttpVersion::Http1;
            }
            if seen.len() == PREFACE.len() {
                break HttpVersion::Http2;
            }
            let missing = (PREFACE.len() - seen.len()) as u64;
            if (&mut transport).take(missing).read_buf(&mut seen).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        Ok((Self { transport, seen: seen.into(), patience, stalled: None }, version))
    }

    /// Fails a write that has been pending for too long.
    fn with_timeout<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buffer);
        }
        let fits = self.seen.len().min(buffer.remaining());
        buffer.put_slice(&self.seen.split_to(fits));
        if self.seen.is_empty() {
            self.seen = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(cx, bytes);
        self.with_timeout(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, slices);
        self.with_timeout(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.transport).poll_flush(cx);
        self.with_timeout(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.transport).poll_shutdown(cx);
        self.with_timeout(cx, shut)
    }
}

/// The bare connection under an upgrade. hyper's own wrapper keeps an 8 KiB read buffer for as long as it lives.
pub(crate) fn bare(upgraded: Upgraded) -> Box<dyn ByteStream> {
    let upgraded = match upgraded.downcast::<TokioIo<ClientStream>>() {
        Ok(parts) => {
            let ClientStream { transport, seen, .. } = parts.io.into_inner();
            return prefixed(transport, &[&*seen, &*parts.read_buf]);
        }
        Err(upgraded) => upgraded,
    };
    // A server such as axum's.
    let upgraded = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => return prefixed(parts.io.into_inner(), &[&parts.read_buf]),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => prefixed(parts.io.into_inner(), &[&parts.read_buf]),
        Err(upgraded) => Box::new(TokioIo::new(upgraded)),
    }
}

/// A stream that begins with the bytes that were already read from it: clients need not wait for the 101.
fn prefixed<S: ByteStream + 'static>(stream: S, read: &[&[u8]]) -> Box<dyn ByteStream> {
    let read = read.concat();
    if read.is_empty() {
        Box::new(stream)
    } else {
        let (reader, writer) = tokio::io::split(stream);
        Box::new(tokio::io::join(Cursor::new(read).chain(reader), writer))
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, ClientTransport) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, ClientTransport::Left(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_version_of_http_and_are_read_again() {
        let preface = str::from_utf8(PREFACE).unwrap();
        for (sent, version) in [
            ("GET / HTTP/1.1\r\n", HttpVersion::Http1),
            ("PROPFIND / HTTP/1.1\r\n", HttpVersion::Http1),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", HttpVersion::Http1),
            (preface, HttpVersion::Http2),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", HttpVersion::Http2),
        ] {
            let (mut client, transport) = pair().await;
            // In as many packets as there are bytes.
            let write = async {
                for byte in sent.as_bytes() {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                client.shutdown().await.unwrap();
            };
            let ((), opened) = tokio::join!(write, ClientStream::open(transport, Duration::from_secs(1)));
            let (mut stream, detected) = opened.unwrap();
            assert_eq!(detected, version, "{sent}");
            let mut read = String::new();
            stream.read_to_string(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_before_its_first_request_is_an_error() {
        let (client, transport) = pair().await;
        drop(client);
        assert!(ClientStream::open(transport, Duration::from_secs(1)).await.is_err());
    }

    #[tokio::test]
    async fn a_write_that_the_client_does_not_take_in_time_is_an_error() {
        let (mut client, transport) = pair().await;
        client.write_all(b"GET").await.unwrap();
        let (mut stream, _) = ClientStream::open(transport, Duration::from_millis(50)).await.unwrap();
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 65_536]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
