//! An HTTP/1.1 client with one connection per request, so that a test controls what is sent, when, and what breaks off.

use std::{fmt::Debug, net::SocketAddr, task::Poll};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Frame, Incoming},
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

use crate::deadline::within;

/// A request that is not sent yet.
#[derive(Debug)]
pub struct Call {
    addr: SocketAddr,
    request: Request<Sending>,
}

impl Call {
    /// A request for `uri` (path and query) without a body.
    ///
    /// # Panics
    /// `uri` is not a URI.
    #[must_use]
    pub fn new(addr: SocketAddr, method: Method, uri: &str) -> Self {
        let mut request = Request::new(whole(Bytes::new()));
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse::<Uri>().expect("a URI, written by the test");
        let host = HeaderValue::from_str(&addr.to_string()).expect("an address has no odd characters");
        request.headers_mut().insert(header::HOST, host);
        Self { addr, request }
    }

    /// Adds a header.
    ///
    /// # Panics
    /// `value` is not a header's value.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header, written by the test");
        self.request.headers_mut().insert(HeaderName::from_static(name), value);
        self
    }

    /// Asks for a WebSocket.
    #[must_use]
    pub fn upgrade(self) -> Self {
        self.header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "c29ja2V0bWVzaCB0ZXN0cw==")
    }

    /// Sets the body, which is sent in one piece with its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = whole(body.into());
        self
    }

    /// Sends the request and reads the whole response.
    ///
    /// # Panics
    /// No response arrives in time, or the connection breaks.
    pub async fn send(self) -> Reply {
        self.start().await.reply().await
    }

    /// Sends the request. The response can be awaited or given up.
    ///
    /// # Panics
    /// The connection is refused.
    pub async fn start(self) -> InFlight {
        let stream = connect(self.addr).await;
        self.start_over(stream).await
    }

    /// Sends the request over a connection that is there.
    pub async fn start_over(self, stream: TcpStream) -> InFlight {
        let what = format!("the answer to {} {}", self.request.method(), self.request.uri());
        let (answer, connection) = self.exchange(stream).await;
        InFlight { what, answer, connection }
    }

    /// Sends the head; the body follows piece by piece. Without a `length` it is chunked.
    ///
    /// # Panics
    /// The connection is refused.
    pub async fn start_slow(mut self, length: Option<usize>) -> (SlowBody, InFlight) {
        let (pieces, mut queued) = mpsc::channel(1);
        let body = StreamBody::new(stream::poll_fn(move |cx| {
            queued.poll_recv(cx).map(|piece: Option<Bytes>| piece.map(|piece| Ok(Frame::data(piece))))
        }));
        if let Some(length) = length {
            self.request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        *self.request.body_mut() = body.boxed_unsync();
        (SlowBody(pieces), self.start().await)
    }

    /// Sends the request and returns the head of the response, for an upgrade.
    pub(crate) async fn head(self) -> (Response<Incoming>, JoinSet<()>) {
        let what = format!("the head of the answer to {}", self.request.uri());
        let stream = connect(self.addr).await;
        let (answer, connection) = self.exchange(stream).await;
        let answer = within(&what, answer).await;
        (answer.unwrap_or_else(|error| panic!("waiting for {what}: {error}")), connection)
    }

    async fn exchange(self, stream: TcpStream) -> (Answer, JoinSet<()>) {
        stream.set_nodelay(true).expect("a fresh connection takes its options");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.expect("nothing is sent before the request");
        // Dropping the set closes the connection: that is how a client gives up.
        let mut driving = JoinSet::new();
        driving.spawn(async move { connection.with_upgrades().await.unwrap_or_default() });
        let mut answer: Answer = Box::pin(async move { sender.send_request(self.request).await });
        // Polled once, it hands the request to the connection, which writes it whether or not the answer is awaited.
        match std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
            Poll::Ready(answered) => (Box::pin(std::future::ready(answered)), driving),
            Poll::Pending => (answer, driving),
        }
    }
}

async fn connect(addr: SocketAddr) -> TcpStream {
    let stream = within("a TCP connection", TcpStream::connect(addr)).await;
    stream.unwrap_or_else(|error| panic!("connecting to {addr}: {error}"))
}

/// A request that waits for its response. Dropping it closes the connection.
#[must_use]
pub struct InFlight {
    what: String,
    answer: Answer,
    connection: JoinSet<()>,
}

impl InFlight {
    /// Waits for the whole response.
    ///
    /// # Panics
    /// It does not arrive in time, or the connection breaks first.
    pub async fn reply(self) -> Reply {
        let what = self.what.clone();
        self.try_reply().await.unwrap_or_else(|error| panic!("waiting for {what}: {error:?}"))
    }

    /// Waits for the whole response, or the end of the connection.
    ///
    /// # Errors
    /// The connection was closed without a response.
    ///
    /// # Panics
    /// Neither happens in time.
    pub async fn try_reply(self) -> hyper::Result<Reply> {
        let reading = async {
            let (head, body) = self.answer.await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        let reply = within(&self.what, reading).await;
        drop(self.connection);
        reply
    }

    /// Closes the connection without waiting for the response.
    pub fn abort(self) {
        drop(self);
    }
}

/// The rest of a body that is sent piece by piece. Dropping it ends the body.
#[derive(Debug)]
pub struct SlowBody(mpsc::Sender<Bytes>);

impl SlowBody {
    /// Sends the next piece. It is dropped when the server has stopped reading: the response says why.
    pub async fn send(&self, piece: impl Into<Bytes>) {
        within("room for a piece of the body", self.0.send(piece.into())).await.ok();
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    pub(crate) async fn read(answer: Response<Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        let body = within("the rest of an answer", body.collect()).await;
        let body = body.unwrap_or_else(|error| panic!("an answer broke off: {error}"));
        Self { status: head.status, headers: head.headers, body: body.to_bytes() }
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    ///
    /// # Panics
    /// It is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// Status and body, which most rules are about.
    #[must_use]
    pub fn outcome(&self) -> (u16, &str) {
        (self.status(), self.text())
    }

    /// The value of a header; `None` without it.
    ///
    /// # Panics
    /// It is not ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// All values of a header.
    ///
    /// # Panics
    /// They are not ASCII.
    #[must_use]
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| value.to_str().expect("a header in ASCII")).collect()
    }
}

/// Sends raw bytes, and reads until the server closes the connection or `until` was read.
///
/// # Panics
/// Neither happens in time.
pub async fn raw(addr: SocketAddr, request: &[u8], until: &str) -> String {
    let mut stream = within("a TCP connection", TcpStream::connect(addr)).await.expect("somebody listens");
    stream.write_all(request).await.expect("the connection is open");
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(until) {
            // A reset after the response counts as the end of the connection.
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    within(format!("{until:?}"), reading).await;
    String::from_utf8_lossy(&read).into_owned()
}

fn whole(body: Bytes) -> Sending {
    http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

type Sending = UnsyncBoxBody<Bytes, hyper::Error>;
type Answer = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

impl Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InFlight").field(&self.what).finish()
    }
}
