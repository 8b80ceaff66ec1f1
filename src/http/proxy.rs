//! An HTTP/1.1 proxy for one request, over a stream of its own: from an edge to the owner of a session.
//!
//! The proxy interprets nothing. Bodies are streamed both ways, an abort on either side is an abort on the other, and
//! after a 101 bytes are copied both ways.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::body::{Body, ConnectionTask};
use super::client_stream::bare;
use super::drain_body::BoxError;

/// Sends `request` over `stream` and returns the answer. If the answer switches protocols, the splice has to be run.
///
/// Dropping the future, the response's body or the splice ends the stream.
pub(crate) async fn send<S, B>(
    stream: S,
    mut request: Request<B>,
) -> hyper::Result<(Response<Body>, Option<Splice>)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let upgrades = request.headers().contains_key(UPGRADE);
    let client = upgrades.then(|| hyper::upgrade::on(&mut request));
    strip_hop_by_hop(request.headers_mut(), upgrades);
    request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("socketmesh"));
    *request.version_mut() = Version::HTTP_11;
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    let mut response = sender.send_request(request).await?;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    strip_hop_by_hop(response.headers_mut(), switches);
    if upgrades && !switches {
        // As at the owner: a refused WebSocket is the end of its connection.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    match client.filter(|_| switches) {
        Some(client) => {
            let splice = Splice { client, other: hyper::upgrade::on(&mut response), _connection: connection };
            Ok((response.map(|_| Body::empty()), Some(splice)))
        }
        None => Ok((response.map(|body| Body::forwarded(body, connection)), None)),
    }
}

/// Both ends of a connection that changes its protocol.
#[derive(Debug)]
pub(crate) struct Splice {
    client: OnUpgrade,
    other: OnUpgrade,
    _connection: ConnectionTask,
}

impl Splice {
    /// Copies bytes both ways until both sides are done, or one of them breaks.
    pub(crate) async fn run(self) {
        if let (Ok(client), Ok(other)) = tokio::join!(self.client, self.other) {
            splice(bare(client), TokioIo::new(other)).await;
        }
    }

    /// Copies bytes both ways like [`run`](Self::run), for a client that did not come over HTTP.
    #[cfg_attr(not(feature = "webtransport"), expect(dead_code, reason = "only WebTransport needs it"))]
    pub(crate) async fn run_for(self, client: impl AsyncRead + AsyncWrite) {
        if let Ok(other) = self.other.await {
            splice(client, TokioIo::new(other)).await;
        }
    }
}

async fn splice(client: impl AsyncRead + AsyncWrite, other: impl AsyncRead + AsyncWrite) {
    let (mut client, mut other) = (tokio::io::split(client), tokio::io::split(other));
    let mut there = pin!(async {
        pump(&mut client.0, &mut other.1).await?;
        other.1.shutdown().await
    });
    let mut back = pin!(async {
        // If the other side breaks off, the client is told by the end of its stream.
        let _broken = pump(&mut other.0, &mut client.1).await;
        client.1.shutdown().await
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

/// Copies one way until the end.
async fn pump(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<u64> {
    tokio::io::copy_buf(&mut BufReader::with_capacity(COPY_BUFFER, from), to).await
}

/// Removes the headers that belong to one connection (RFC 9110, section 7.6.1). The HTTP library writes its own.
fn strip_hop_by_hop(headers: &mut HeaderMap, upgrades: bool) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if upgrades {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
}

const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRANSFER_ENCODING,
];

/// How long one direction of a spliced connection outlives the other.
const SPLICE_TIMEOUT: Duration = Duration::from_secs(5);

/// The buffer of each direction of a spliced connection, held as long as that lives.
const COPY_BUFFER: usize = 4 * 1024;
