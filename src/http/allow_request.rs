//! The application's decision about a new session: Node's option `allowRequest`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::catch_panic;
use crate::engine::Handshake;

/// Decides whether a client may open a session. A refusal is answered with HTTP 403 (400 for a WebSocket) and its message,
/// a panic with 500. Node: option `allowRequest`.
///
/// See [`Config`](super::Config) for an example.
#[derive(Clone)]
pub struct AllowRequest(Arc<Decide>);

type Decide =
    dyn Fn(Arc<Handshake>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

impl AllowRequest {
    /// Asks `decide`, whose error is the message for the client.
    pub fn new<F, Fut>(decide: F) -> Self
    where
        F: FnOnce(Arc<Handshake>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Arc::new(move |handshake| Box::pin((decide.clone())(handshake))))
    }

    /// The decision; `None` if it panicked.
    pub(crate) async fn ask(&self, handshake: Arc<Handshake>) -> Option<Result<(), String>> {
        let decision = catch_panic::future(async { (self.0)(handshake).await }).await;
        if decision.is_none() {
            tracing::error!("allow_request panicked");
        }
        decision
    }
}

impl fmt::Debug for AllowRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllowRequest")
    }
}
