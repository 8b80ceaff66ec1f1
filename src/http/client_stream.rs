//! The connection of a client, with or without TLS, from its first byte to its last one or to an upgrade.
//!
//! A client that stops reading is given up, because its answer would stay in memory for ever; so is one that does not finish
//! the head of a request, or sends none for long.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::either::Either;

use super::{request_line, response_head};
use crate::engine::stream_task::ByteStream;

/// The stream that HTTP runs over. After an upgrade it is [unwrapped].
pub(crate) struct ClientStream {
    transport: ClientTransport,
    /// What was read and not passed on yet: to detect the version of HTTP, or because it was escaped.
    seen: Bytes,
    /// The first line of the first request was read to its end.
    lined: bool,
    patience: Patience,
    stalled: Option<Pin<Box<Sleep>>>,
    requests: Requests,
    waiting: Option<Waiting>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// How long the client may take for what it sends next.
#[derive(Clone, Copy)]
struct Waiting {
    until: Instant,
    /// Whether that is the rest of a head.
    in_head: bool,
    /// At which state of the [`Requests`] it began: at another one it is over.
    state: usize,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the rest of a head.
    pub(crate) head: Duration,
    /// For the next request.
    pub(crate) keep_alive: Duration,
    /// Until it takes a byte of what is written.
    pub(crate) write: Duration,
}

/// Whether a request of the connection is being answered. Then its client may be silent for as long as it likes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<AtomicUsize>);

impl Requests {
    /// A head has arrived.
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// There is an answer: what comes next is another head.
    pub(crate) fn end(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// It changes with each call of the others, and is odd while a request is being answered.
    fn state(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
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
        transport: ClientTransport,
        patience: Patience,
    ) -> io::Result<(Self, HttpVersion)> {
        let mut stream = Self {
            transport,
            seen: Bytes::new(),
            lined: false,
            patience,
            stalled: None,
            requests: Requests::default(),
            waiting: None,
            timer: None,
        };
        loop {
            if stream.seen.starts_with(PREFACE) {
                return Ok((stream, HttpVersion::Http2));
            }
            if !PREFACE.starts_with(&stream.seen) {
                return Ok((stream, HttpVersion::Http1));
            }
            if poll_fn(|cx| stream.poll_more(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// What was read and not passed on yet.
    pub(crate) const fn seen(&mut self) -> &mut Bytes {
        &mut self.seen
    }

    /// The bare connection, and what was read of it and not passed on.
    pub(crate) fn into_parts(self) -> (ClientTransport, Bytes) {
        (self.transport, self.seen)
    }

    /// Reads once, to what was [seen](Self::seen) before. A stream that waits holds no buffer for it.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(self.poll_transport(cx, &mut buffer))?;
        let read = buffer.filled();
        let read = self.escape(read).unwrap_or_else(|| Bytes::copy_from_slice(read));
        let length = read.len();
        self.seen = if self.seen.is_empty() { read } else { [&*self.seen, &*read].concat().into() };
        Poll::Ready(Ok(length))
    }

    /// Reads once, within the time that the client has for it.
    fn poll_transport(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(read) = Pin::new(&mut self.transport).poll_read(cx, buffer) else {
            return self.wait(cx);
        };
        self.begin_head();
        Poll::Ready(read)
    }

    /// Escapes what was read of the first line of the connection, which is where a WebSocket begins. `None` if nothing is to be
    /// changed. Where a later request begins, only who knows the length of the bodies before it can tell.
    fn escape(&mut self, bytes: &[u8]) -> Option<Bytes> {
        if self.lined {
            return None;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.lined = end.is_some();
        let (line, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len()))?;
        let mut escaped = request_line::escape(line)?;
        escaped.extend_from_slice(rest);
        Some(escaped.into())
    }

    /// What is to be told of the requests of this connection, for HTTP/1.1.
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Fails a read that has been pending for too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (state, now) = (self.requests.state(), Instant::now());
        // An answer that is still being written is taken at the pace of the client.
        if state % 2 == 1 || self.stalled.is_some() {
            self.waiting = None;
            return Poll::Pending;
        }
        let idle = Waiting { until: now + self.patience.keep_alive, in_head: false, state };
        self.waiting.take_if(|waiting| waiting.state != state);
        let until = self.waiting.get_or_insert(idle).until;
        // A deadline that moves later is noticed when the old one has come, so requests do not arm the timer.
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < timer.deadline() {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if until <= timer.deadline() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.as_mut().reset(until);
        }
    }

    /// Bytes arrived: the head that they begin has a time of its own.
    fn begin_head(&mut self) {
        let state = self.requests.state();
        if state % 2 == 1 {
            self.waiting = None;
        } else if !self.waiting.is_some_and(|waiting| waiting.in_head && waiting.state == state) {
            self.waiting = Some(Waiting { until: Instant::now() + self.patience.head, in_head: true, state });
        }
    }

    /// Fails a write that has been pending for too long.
    fn with_timeout<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience.write;
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
            let before = buffer.filled().len();
            ready!(self.poll_transport(cx, buffer))?;
            let Some(escaped) = buffer.filled().get(before..).and_then(|bytes| self.escape(bytes)) else {
                return Poll::Ready(Ok(()));
            };
            buffer.set_filled(before);
            self.seen = escaped;
        }
        self.begin_head();
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
        let respelled = response_head::respell(bytes);
        let written = Pin::new(&mut self.transport).poll_write(cx, respelled.as_deref().unwrap_or(bytes));
        self.with_timeout(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let respelled = slices.first().and_then(|head| response_head::respell(head));
        let written = match respelled {
            // It has no body.
            Some(head) => Pin::new(&mut self.transport).poll_write(cx, &head),
            None => Pin::new(&mut self.transport).poll_write_vectored(cx, slices),
        };
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

/// The bare connection under an upgrade, and what was already read from it. hyper's own wrapper keeps an 8 KiB read buffer for as
/// long as it lives.
pub(crate) fn unwrapped(upgraded: Upgraded) -> (ClientTransport, Bytes) {
    let upgraded = match upgraded.downcast::<TokioIo<ClientStream>>() {
        Ok(parts) => {
            let (transport, seen) = parts.io.into_inner().into_parts();
            return (transport, [&*seen, &*parts.read_buf].concat().into());
        }
        Err(upgraded) => upgraded,
    };
    // A server such as axum's.
    let upgraded = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => return (of_host(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => (of_host(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => (Either::Right(Box::new(TokioIo::new(upgraded))), Bytes::new()),
    }
}

/// The connection of another server, which may have left small frames to Nagle's algorithm.
fn of_host(stream: TcpStream) -> ClientTransport {
    let _gone = stream.set_nodelay(true);
    Either::Left(stream)
}

/// How much is read at once of what is not passed on directly: more than most heads and the bodies that come with them.
const READ: usize = 4096;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use tokio::time::timeout;

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, ClientTransport) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, ClientTransport::Left(listener.accept().await.unwrap().0))
    }

    fn patience(each: Duration) -> Patience {
        Patience { head: each, keep_alive: each, write: each }
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
            let ((), opened) =
                tokio::join!(write, ClientStream::open(transport, patience(Duration::from_secs(1))));
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
        assert!(ClientStream::open(transport, patience(Duration::from_secs(1))).await.is_err());
    }

    #[tokio::test]
    async fn a_write_that_the_client_does_not_take_in_time_is_an_error() {
        let (mut client, transport) = pair().await;
        client.write_all(b"GET").await.unwrap();
        let (mut stream, _) =
            ClientStream::open(transport, patience(Duration::from_millis(50))).await.unwrap();
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 65_536]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_its_own_time_and_a_head_its_own_from_its_first_byte_on() {
        let (client, server) = tokio::io::duplex(64);
        let (_answers, mut sent) = tokio::io::split(client);
        let patience = Patience {
            head: Duration::from_secs(3),
            keep_alive: Duration::from_secs(10),
            write: Duration::from_secs(1),
        };
        sent.write_all(b"GET /").await.unwrap();
        let (mut stream, _) = ClientStream::open(Either::Right(Box::new(server)), patience).await.unwrap();
        let requests = stream.requests();
        let start = Instant::now();
        let mut buffer = [0; 16];
        // The head is complete after a while, and its answer takes long.
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 5);
        requests.begin();
        assert!(timeout(Duration::from_secs(100), stream.read(&mut buffer)).await.is_err(), "it is answered");
        requests.end();
        // Others are answered at once. The next one begins late, which is no fault, but then it is slow.
        for _ in 0..5 {
            sent.write_all(b"GET").await.unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 3);
            requests.begin();
            requests.end();
        }
        assert!(timeout(Duration::from_secs(9), stream.read(&mut buffer)).await.is_err(), "it may idle");
        sent.write_all(b"GET").await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 3);
        tokio::time::advance(Duration::from_secs(2)).await;
        sent.write_all(b" /").await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 2);
        let slow = stream.read(&mut buffer).await.unwrap_err();
        assert_eq!((slow.kind(), start.elapsed()), (io::ErrorKind::TimedOut, Duration::from_secs(112)));
    }
}
