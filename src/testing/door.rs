//! Where clients reach a node: connections in memory, with a real HTTP server behind them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tower_service::Service as _;

use crate::http::{RemoteAddr, Service};
use crate::socket::SocketIo;

/// The door of one life of a node. A clone is the same door.
#[derive(Clone)]
pub(super) struct Door(Arc<Mutex<Inner>>);

struct Inner {
    /// `None` when nobody gets in any more.
    service: Option<Service<SocketIo>>,
    lines: Vec<Weak<Mutex<Option<DuplexStream>>>>,
    opened: u16,
}

impl Door {
    pub(super) fn new(service: Service<SocketIo>) -> Self {
        Self(Arc::new(Mutex::new(Inner { service: Some(service), lines: Vec::new(), opened: 0 })))
    }

    /// A connection to the node, as a client holds it.
    ///
    /// # Errors
    /// When the node is gone.
    pub(super) fn connect(&self) -> io::Result<DuplexStream> {
        let mut inner = self.0.lock();
        let service = inner.service.clone().ok_or(io::ErrorKind::ConnectionRefused)?;
        let (client, server) = duplex(BUFFER);
        let line = Arc::new(Mutex::new(Some(server)));
        inner.lines.retain(|line| line.strong_count() > 0);
        inner.lines.push(Arc::downgrade(&line));
        inner.opened = inner.opened.wrapping_add(1);
        tokio::spawn(serve(service, Line(line), SocketAddr::from(([192, 0, 2, 1], inner.opened))));
        Ok(client)
    }

    /// Lets nobody in any more; whoever is in may stay.
    pub(super) fn close(&self) {
        self.0.lock().service = None;
    }

    /// The node's process is gone: every client sees the end of its connection, and the node sees nothing.
    pub(super) fn tear_down(&self) {
        let mut inner = self.0.lock();
        inner.service = None;
        for line in inner.lines.drain(..).filter_map(|line| line.upgrade()) {
            drop(line.lock().take());
        }
    }
}

async fn serve(service: Service<SocketIo>, line: Line, from: SocketAddr) {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(RemoteAddr(from));
        let mut service = service.clone();
        async move { service.call(request).await }
    });
    let mut http = http1::Builder::new();
    let connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(line), answer);
    // A client that breaks off concerns nobody else.
    let _ended = connection.with_upgrades().await;
}

/// The server's end of a connection. Once it was taken away, nothing ever happens on it: a process that was killed does
/// not see its connections end.
struct Line(Arc<Mutex<Option<DuplexStream>>>);

impl Line {
    fn poll<T>(
        &self,
        poll: impl FnOnce(Pin<&mut DuplexStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.0.lock().as_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Pending,
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}

/// What a connection holds on its way, in each direction.
const BUFFER: usize = 64 << 10;
