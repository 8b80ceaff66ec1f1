//! A proxy for one request, over a stream of its own: from an edge to the owner of a session.
//!
//! The proxy interprets nothing. Bodies are streamed both ways, an abort on either side is an abort on the other, and
//! after a 101 bytes are copied both ways.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::body::Body;
use super::drain_body::DrainBody;
use super::exchange::{self, CarriedBody, read_response};
use super::upgraded::{Bare, Upgrading};
use crate::cluster::BiStream;

/// A request as it travels to another node.
pub(crate) struct Outgoing {
    pub(crate) head: Bytes,
    pub(crate) body: DrainBody,
    /// The connection of the client, if the request asks to change its protocol.
    pub(crate) client: Option<Upgrading>,
}

impl From<Request<DrainBody>> for Outgoing {
    fn from(mut request: Request<DrainBody>) -> Self {
        let upgrades = request.headers().contains_key(UPGRADE);
        let client = upgrades.then(|| Upgrading::of(&mut request));
        Self { head: exchange::request_head(&request, upgrades), client, body: request.into_body() }
    }
}

impl Outgoing {
    /// A GET that another node is to open a session for. Unless it asks to change its protocol it is left as it is, so that it can be
    /// sent again.
    pub(crate) fn opening(request: &mut Request<DrainBody>) -> Self {
        let upgrades = request.headers().contains_key(UPGRADE);
        let head = exchange::opening_head(request, upgrades);
        Self { head, body: DrainBody::default(), client: upgrades.then(|| Upgrading::of(request)) }
    }
}

/// Sends `request` over `stream` and returns the answer. If the answer switches protocols, the splice has to be run.
///
/// Dropping the future, the response's body or the splice ends the stream.
///
/// # Errors
/// When the other end breaks off, the stream is lost, or the body of the request ends with an error.
pub(crate) async fn send(
    stream: BiStream,
    mut request: Outgoing,
) -> io::Result<(Response<Body>, Option<Splice>)> {
    offer(stream, &mut request).await
}

/// Does the same, and leaves the connection of the client with the request unless the answer switches protocols.
///
/// # Errors
/// As [`send`].
pub(crate) async fn offer(
    stream: BiStream,
    request: &mut Outgoing,
) -> io::Result<(Response<Body>, Option<Splice>)> {
    let BiStream { mut send, mut recv } = stream;
    let Outgoing { head, body, client } = request;
    let (head, body) = (head.clone(), std::mem::take(body));
    let (mut response, length) = {
        let mut answered = pin!(read_response(&mut recv));
        let sent = async {
            exchange::write(&mut send, head, body).await?;
            if client.is_none() {
                send.finish();
            }
            Ok::<_, io::Error>(())
        };
        tokio::select! {
            // A request may be answered before it has arrived as a whole, and the rest is not wanted then.
            biased;
            answered = &mut answered => answered?,
            sent = sent => {
                sent?;
                answered.await?
            }
        }
    };
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if client.is_some() && !switches {
        // As at the owner: a refused WebSocket is the end of its connection.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    match client.take_if(|_| switches) {
        Some(client) => {
            let splice = Splice { client, other: BiStream { send, recv } };
            Ok((response.map(|()| Body::empty()), Some(splice)))
        }
        None => {
            let body = CarriedBody::after(recv, length).await;
            Ok((response.map(|()| Body::carried(body, send)), None))
        }
    }
}

/// Both ends of a connection that changes its protocol.
pub(crate) struct Splice {
    client: Upgrading,
    other: BiStream,
}

impl Splice {
    /// Copies bytes both ways until both sides are done, or one of them breaks; on the runtime of the mesh, which reads and
    /// writes the packets: between two threads each step of each message would wake the other one. The work for a client with
    /// TLS stays here. After `retired` nothing more is read from the client, which ends its session. `counted` lasts as long as this.
    pub(crate) async fn run(
        self,
        mesh: Handle,
        retired: impl Future<Output = ()> + Send + 'static,
        counted: TaskTrackerToken,
    ) {
        let Some(mut client) = self.client.bare().await else { return };
        if client.write_answer().await.is_err() {
            return;
        }
        let Bare { transport, read, .. } = *client;
        match transport {
            Either::Left(client) => {
                let Ok(client) = client.into_std() else { return };
                mesh.spawn(async move {
                    if let Ok(client) = TcpStream::from_std(client) {
                        splice(read, client, self.other, retired).await;
                    }
                    drop(counted);
                });
            }
            Either::Right(client) => splice(read, client, self.other, retired).await,
        }
    }

    /// Copies bytes both ways like [`run`](Self::run), for a client that did not come over HTTP.
    #[cfg_attr(not(feature = "webtransport"), expect(dead_code, reason = "only WebTransport needs it"))]
    pub(crate) async fn run_for(
        self,
        client: impl AsyncRead + AsyncWrite,
        retired: impl Future<Output = ()>,
        counted: TaskTrackerToken,
    ) {
        splice(Bytes::new(), client, self.other, retired).await;
        drop(counted);
    }
}

/// `first` was read from the client already.
async fn splice(
    first: Bytes,
    client: impl AsyncRead + AsyncWrite,
    other: BiStream,
    retired: impl Future<Output = ()>,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let BiStream { mut send, mut recv } = other;
    let mut retired = pin!(retired);
    let mut there = pin!(async {
        send.write([first]).await?;
        loop {
            let read = tokio::select! {
                read = read(&mut from_client) => read?,
                () = &mut retired => break,
            };
            if read.is_empty() {
                break;
            }
            send.write([read]).await?;
        }
        send.finish();
        Ok::<_, io::Error>(())
    });
    let mut back = pin!(async {
        // If the other side breaks off, the client is told by the end of its stream.
        while let Ok(Some(bytes)) = poll_fn(|cx| recv.poll_chunk(cx)).await {
            to_client.write_all(&bytes).await?;
        }
        to_client.shutdown().await
    });
    // When one direction has ended, the other has a moment to end, too. If the client breaks off there is nothing to wait
    // for: dropping the other side breaks that off as well.
    tokio::select! {
        ended = &mut there => if ended.is_ok() {
            drop(timeout(SPLICE_TIMEOUT, back).await);
        },
        _ = &mut back => drop(timeout(SPLICE_TIMEOUT, there).await),
    }
}

/// Reads what is there; nothing at the end. While nothing is there it holds no buffer.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut place = [MaybeUninit::uninit(); LARGEST_READ];
        let mut buffer = ReadBuf::uninit(&mut place);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    })
    .await
}

/// How long one direction of a spliced connection outlives the other.
const SPLICE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is copied at once of a spliced connection.
const LARGEST_READ: usize = 8 * 1024;
