//! The body of a request, which is read to its end even if the request is answered early.
//!
//! A connection that closes with bytes unread is reset, and the reset overtakes the answer: the client never learns why
//! it was refused, and a node that forwards the request takes the owner of the session for unreachable. So the rest is
//! read and thrown away for a while (RFC 9112, section 9.6).

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Any error of a request's body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request. What is left of it when it is dropped is still read.
#[derive(Debug, Default)]
pub(crate) struct DrainBody {
    /// What was read already.
    whole: Bytes,
    incoming: Option<UnsyncBoxBody<Bytes, BoxError>>,
}

impl DrainBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let incoming = (!body.is_end_stream()).then(|| body.map_err(Into::into).boxed_unsync());
        Self { whole: Bytes::new(), incoming }
    }

    /// A body that was read already.
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self { whole: bytes, incoming: None }
    }

    /// All of the body, if it was read already.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        self.incoming.is_none().then(|| mem::take(&mut self.whole))
    }
}

impl HttpBody for DrainBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.incoming else {
            let whole = mem::take(&mut self.whole);
            return Poll::Ready((!whole.is_empty()).then(|| Ok(Frame::data(whole))));
        };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.incoming = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().map_or(self.whole.is_empty(), HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let whole = || SizeHint::with_exact(self.whole.len() as u64);
        self.incoming.as_ref().map_or_else(whole, HttpBody::size_hint)
    }
}

impl Drop for DrainBody {
    fn drop(&mut self) {
        if let Some(body) = self.incoming.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(DRAIN_TIMEOUT, drain(body)));
        }
    }
}

/// Reads until the end, a pause that is too long, or the client's abort.
async fn drain(mut body: UnsyncBoxBody<Bytes, BoxError>) {
    while let Ok(Some(Ok(_))) = timeout(DRAIN_PAUSE, body.frame()).await {}
}

/// How long the rest of a body is read at most, and how long its client may pause: nginx's `lingering_time` and
/// `lingering_timeout`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_PAUSE: Duration = Duration::from_secs(5);
