//! A request or upgrade for a session that another node owns, carried there over a stream of the mesh.

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{Request, Response};

use super::body::Body;
use super::exchange::exchange;
use super::{BoxError, reply};
use crate::cluster::{Mesh, OpenError};
use crate::id::NodeId;

/// Answers `request` with what `owner` answers; 503 if it cannot be reached.
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

async fn carry<B>(cluster: &Mesh, owner: &NodeId, request: Request<B>) -> Result<Response<Body>, ForwardError>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let stream = cluster.open(owner).await?;
    let (response, splice) = exchange(stream, request).await?;
    if let Some(splice) = splice {
        tokio::spawn(splice.run());
    }
    Ok(response)
}

/// Why a request did not get an answer of the owner.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the other node did not answer: {0}")]
    Http(#[from] hyper::Error),
}
