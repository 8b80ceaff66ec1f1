//! What is left of a connection after its protocol has changed: a connection of a client to this node, or a stream of the mesh
//! that carries one.

use std::sync::Arc;

use hyper::Request;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::client_stream::bare;
use super::drain_body::DrainBody;
use crate::cluster::BiStream;
use crate::engine::stream_task::ByteStream;

/// In the extensions of a request that another node carries: gives the stream when the answer is a change of protocol.
#[derive(Clone)]
pub(super) struct Carried(Arc<Mutex<Option<oneshot::Receiver<BiStream>>>>);

impl Carried {
    pub(super) fn new(stream: oneshot::Receiver<BiStream>) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }
}

/// The connection; `None` if it is lost before its protocol has changed.
pub(super) type Bare = Option<Box<dyn ByteStream>>;

/// Resolves with the connection of a request when the answer that changes its protocol is written; `None` if it is lost before.
pub(super) fn upgraded(request: &mut Request<DrainBody>) -> impl Future<Output = Bare> + Send + use<> {
    let carried = request.extensions_mut().remove::<Carried>().and_then(|carried| carried.0.lock().take());
    let client = hyper::upgrade::on(request);
    async move {
        match carried {
            Some(stream) => stream.await.ok().map(|stream| Box::new(stream) as Box<dyn ByteStream>),
            None => client.await.ok().map(bare),
        }
    }
}
