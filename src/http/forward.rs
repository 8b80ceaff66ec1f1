//! A request or upgrade for a session that another node owns, carried there as HTTP over a stream of the mesh.
//!
//! The edge interprets nothing: bodies are streamed both ways, a client's abort ends the stream, and after a 101 bytes
//! are copied without knowing frames.

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use super::body::{AbortOnDrop, Body};
use super::{BoxError, reply, upgrade};
use crate::cluster::{Mesh, OpenError};
use crate::id::NodeId;

/// Answers `request` with what `owner` answers.
pub(crate) async fn forward<B>(cluster: &Mesh, owner: &NodeId, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    match carry(cluster, owner, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(peer = %owner, %error, "a request could not be forwarded");
            reply::unavailable("the node that owns this session cannot be reached")
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the other node did not answer: {0}")]
    Http(#[from] hyper::Error),
}

async fn carry<B>(
    cluster: &Mesh,
    owner: &NodeId,
    mut request: Request<B>,
) -> Result<Response<Body>, ForwardError>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let stream = cluster.open(owner).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection.with_upgrades());
    // Dropped with this future if the client goes away, with the response's body afterwards.
    let connection = AbortOnDrop(connection.abort_handle());
    let client = upgrade::is_asked_for(request.headers()).then(|| hyper::upgrade::on(&mut request));
    prepare(&mut request);
    let mut response = sender.send_request(request).await?;
    if let Some(client) = client
        && response.status() == StatusCode::SWITCHING_PROTOCOLS
    {
        let owner = hyper::upgrade::on(&mut response);
        tokio::spawn(splice(client, owner, connection));
        return Ok(response.map(|_| Body::empty()));
    }
    response.headers_mut().remove(CONNECTION);
    Ok(response.map(|body| Body::forwarded(body, connection)))
}

/// One request per stream, whatever the client's own connection is.
fn prepare<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_11;
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    let headers = request.headers_mut();
    if !upgrade::is_asked_for(headers) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(HOST).or_insert(HeaderValue::from_static("mesh"));
}

/// Copies bytes between a client and the owner of its session until either is done.
async fn splice(client: OnUpgrade, owner: OnUpgrade, connection: AbortOnDrop) {
    if let (Ok(client), Ok(owner)) = tokio::join!(client, owner) {
        // The connection's task has ended with the upgrade; there is nothing left to abort.
        drop(connection);
        let (mut client, mut owner) = (TokioIo::new(client), TokioIo::new(owner));
        let _ended = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut owner, COPY, COPY).await;
    }
}

/// The buffer of each direction of a spliced WebSocket, held as long as that lives.
const COPY: usize = 4 * 1024;
