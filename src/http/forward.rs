//! Forwards a request or upgrade to the node that owns the session, over a stream of the mesh.

use hyper::{Request, Response};

use super::body::Body;
use super::drain_body::DrainBody;
use super::{proxy, reply};
use crate::cluster::{Mesh, OpenError};
use crate::id::NodeId;

/// Answers `request` with what `owner` answers; with 503 if `owner` cannot be reached.
pub(crate) async fn forward(cluster: &Mesh, owner: &NodeId, request: Request<DrainBody>) -> Response<Body> {
    match try_forward(cluster, owner, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(peer = %owner, %error, "a request could not be forwarded");
            reply::unavailable("the node that owns this session cannot be reached")
        }
    }
}

async fn try_forward(
    cluster: &Mesh,
    owner: &NodeId,
    request: Request<DrainBody>,
) -> Result<Response<Body>, ForwardError> {
    let stream = cluster.open(owner).await?;
    let (response, splice) = proxy::send(stream, request).await?;
    if let Some(splice) = splice {
        tokio::spawn(splice.run());
    }
    Ok(response)
}

/// Why the owner of the session did not answer.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the other node did not answer: {0}")]
    Http(#[from] hyper::Error),
}
