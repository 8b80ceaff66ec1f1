//! The body of a response: bytes of our own, or a stream from the node that owns the session.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::task::AbortHandle;

/// The body of every response of a node.
///
/// ```
/// use socketmesh::http::Body;
///
/// let page = hyper::Response::new(Body::from(bytes::Bytes::from_static(b"<h1>chat</h1>")));
/// ```
#[derive(Debug, Default)]
pub struct Body(Content);

#[derive(Debug, Default)]
enum Content {
    #[default]
    Empty,
    Full(Bytes),
    Forwarded {
        body: Incoming,
        _connection: AbortOnDrop,
    },
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self(Content::Empty)
    }

    /// A response of another node; dropping the body ends the connection it comes over.
    pub(crate) const fn forwarded(body: Incoming, connection: AbortOnDrop) -> Self {
        Self(Content::Forwarded { body, _connection: connection })
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() { Content::Empty } else { Content::Full(bytes) })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Content::Forwarded { body, .. } = &mut self.0 {
            return Pin::new(body).poll_frame(cx);
        }
        match std::mem::take(&mut self.0) {
            Content::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Content::Empty | Content::Forwarded { .. } => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Full(_) => false,
            Content::Forwarded { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Forwarded { body, .. } => body.size_hint(),
        }
    }
}

/// Ends a task with whatever needs it.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
