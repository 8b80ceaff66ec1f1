//! The in-memory listener of a node: it accepts connections of test clients, and a real HTTP server serves them.

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

/// Accepts connections for one run of a node. Clones share their state.
#[derive(Clone)]
pub(super) struct MemoryListener(Arc<Mutex<Inner>>);

struct Inner {
    /// `None` after the listener was closed.
    service: Option<Service>,
    /// The server's ends of the open connections.
    connections: Vec<Weak<Mutex<Option<DuplexStream>>>>,
    /// How many connections were accepted: each has its own client address.
    accepted: u16,
}

impl MemoryListener {
    pub(super) fn new(service: Service) -> Self {
        Self(Arc::new(Mutex::new(Inner { service: Some(service), connections: Vec::new(), accepted: 0 })))
    }

    /// Opens a connection and returns the client's end of it.
    ///
    /// # Errors
    /// `ConnectionRefused` when the listener is closed.
    pub(super) fn connect(&self) -> io::Result<DuplexStream> {
        let mut inner = self.0.lock();
        let service = inner.service.clone().ok_or(io::ErrorKind::ConnectionRefused)?;
        let (client, server) = duplex(BUFFER);
        let connection = Arc::new(Mutex::new(Some(server)));
        inner.connections.retain(|connection| connection.strong_count() > 0);
        inner.connections.push(Arc::downgrade(&connection));
        inner.accepted = inner.accepted.wrapping_add(1);
        let client_address = SocketAddr::from(([192, 0, 2, 1], inner.accepted));
        tokio::spawn(serve(service, ServerEnd(connection), client_address));
        Ok(client)
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.lock().service.is_some()
    }

    /// Refuses new connections. Those that are open stay open.
    pub(super) fn close(&self) {
        self.0.lock().service = None;
    }

    /// Refuses new connections and cuts the open ones, as the end of the process does: every client sees the end of its
    /// connection, and the node sees nothing.
    pub(super) fn abort(&self) {
        let mut inner = self.0.lock();
        inner.service = None;
        for connection in inner.connections.drain(..).filter_map(|connection| connection.upgrade()) {
            drop(connection.lock().take());
        }
    }
}

async fn serve(service: Service, connection: ServerEnd, client_address: SocketAddr) {
    let handler = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(RemoteAddr(client_address));
        let mut service = service.clone();
        async move { service.call(request).await }
    });
    let mut http = http1::Builder::new();
    let serving = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(connection), handler);
    // A connection that breaks is part of the tests and no failure.
    let _ended = serving.with_upgrades().await;
}

/// The server's end of a connection. After [`MemoryListener::abort`] it is pending for ever, because a process that was
/// killed does not see its connections end.
struct ServerEnd(Arc<Mutex<Option<DuplexStream>>>);

impl ServerEnd {
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

impl AsyncRead for ServerEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for ServerEnd {
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

/// How many bytes a connection buffers in each direction.
const BUFFER: usize = 64 << 10;
