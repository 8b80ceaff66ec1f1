//! What operators ask one node and another one knows: a request over a stream of the mesh. Only nodes can make it: `Upgrade` says
//! what it is, as for [`NodeRequest`](super::node_request::NodeRequest).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{HeaderMap, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::time::timeout;

use super::body::Body;
use super::drain_body::{BoxError, DrainBody};
use super::proxy;
use crate::cluster::{Mesh, OpenError};
use crate::id::NodeId;

/// Answers what other nodes ask for their operators.
pub(crate) type Answers = Arc<dyn Fn(&Method, &Uri) -> Response<Body> + Send + Sync>;

/// Whether a request of another node asks for its operators.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|token| token == TOKEN)
}

/// Asks another node, for two seconds at most. The status says what it makes of the question; a node of an earlier version answers
/// 400.
pub(crate) async fn ask(
    mesh: &Mesh,
    node: &NodeId,
    method: Method,
    uri: Uri,
) -> Result<(StatusCode, Bytes), AskError> {
    let mut request = Request::new(DrainBody::default());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert(UPGRADE, HeaderValue::from_static(TOKEN));
    let answered = async {
        let (stream, _silence) = mesh.open(node).await?;
        let (response, _no_splice) =
            proxy::send(stream, request.into()).await.map_err(|_broken| AskError::Broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        Ok((status, body.map_err(|error: BoxError| AskError::Body(error.to_string()))?.to_bytes()))
    };
    timeout(PATIENCE, answered).await.map_err(|_late| AskError::Late)?
}

/// Why another node did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the node does not answer")]
    Late,
    #[error("the node ended before it answered")]
    Broken,
    #[error("the answer of the node is of no use: {0}")]
    Body(String),
}

const TOKEN: &str = "socketmesh-operator";
const PATIENCE: Duration = Duration::from_secs(2);
/// Of an answer: a node with many namespaces and peers says much.
const LARGEST: usize = 4 << 20;
