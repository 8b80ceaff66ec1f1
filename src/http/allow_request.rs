//! The application's decision about a new session: Node's option `allowRequest`.

use std::borrow::Cow;
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
    dyn Fn(Arc<Handshake>) -> Pin<Box<dyn Future<Output = Result<(), Forbidden>> + Send>> + Send + Sync;

/// Why a client may not open a session, for the client. The default is Node's: `Forbidden`. Texts convert into one.
///
/// ```
/// use socketmesh::http::Forbidden;
///
/// assert_eq!(Forbidden::default().message(), "Forbidden");
/// assert_eq!(Forbidden::from("not today"), Forbidden::new("not today"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden(Cow<'static, str>);

impl Forbidden {
    /// Tells the client this. As in Node, a text without a character is the default.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        if message.is_empty() { Self::default() } else { Self(message) }
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl Default for Forbidden {
    fn default() -> Self {
        Self(Cow::Borrowed("Forbidden"))
    }
}

impl From<&'static str> for Forbidden {
    fn from(message: &'static str) -> Self {
        Self::new(message)
    }
}

impl From<String> for Forbidden {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl AllowRequest {
    /// Asks `decide`, whose error is the message for the client.
    pub fn new<F, Fut>(decide: F) -> Self
    where
        F: FnOnce(Arc<Handshake>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Forbidden>> + Send + 'static,
    {
        Self(Arc::new(move |handshake| Box::pin((decide.clone())(handshake))))
    }

    /// The decision; `None` if it panicked.
    pub(crate) async fn ask(&self, handshake: Arc<Handshake>) -> Option<Result<(), Forbidden>> {
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
