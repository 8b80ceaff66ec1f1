//! What is left of a request's body when it is answered early.
//!
//! A connection that closes with bytes unread is reset, and the reset overtakes the answer: the client never learns
//! why it was refused, and a node that forwards the request takes its owner for unreachable. So the rest is read and
//! thrown away for a while (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// The body of a request; dropped before its end, the rest is still read.
pub(crate) struct Lingering<B: HttpBody<Data = Bytes> + Send + Unpin + 'static>(Option<B>);

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> Lingering<B> {
    pub(crate) const fn new(body: B) -> Self {
        Self(Some(body))
    }
}

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> HttpBody for Lingering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl<B: HttpBody<Data = Bytes> + Send + Unpin + 'static> Drop for Lingering<B> {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(LINGER, discard(body)));
        }
    }
}

/// Reads until the end, a pause, or the client's abort.
async fn discard<B: HttpBody<Data = Bytes> + Send + Unpin>(mut body: B) {
    while let Ok(Some(Ok(_))) = timeout(PAUSE, body.frame()).await {}
}

/// How long the rest of a body is read at most, and how long its client may pause: nginx's `lingering_time` and
/// `lingering_timeout`.
const LINGER: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(5);
