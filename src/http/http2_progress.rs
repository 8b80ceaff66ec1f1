//! The requests in flight on one HTTP/2 connection (RFC 9113), and the progress of their answers.
//!
//! Over HTTP/2 a client holds an answer back by flow control, and the connection itself never stalls. So every answer is
//! handed over in small pieces, and each piece that the client takes is progress.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use slab::Slab;
use tokio::time::Instant;

use super::body::Body;

/// The requests in flight on one connection.
#[derive(Clone)]
pub(crate) struct Http2Progress(Arc<Mutex<InFlightTable>>);

struct InFlightTable {
    /// For each request, since when the client could have taken more of the answer; `None` while it waits for this node.
    requests: Slab<Option<Instant>>,
    /// When the last request ended.
    idle_since: Instant,
}

impl Http2Progress {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(InFlightTable { requests: Slab::new(), idle_since: now })))
    }

    /// Tracks a request whose head has arrived.
    pub(crate) fn begin(&self) -> InFlight {
        InFlight { progress: self.clone(), key: self.0.lock().requests.insert(None) }
    }

    /// Whether the client took nothing of some answer for `patience`.
    pub(crate) fn is_stalled(&self, now: Instant, patience: Duration) -> bool {
        self.0.lock().requests.iter().any(|(_, since)| since.is_some_and(|since| now - since >= patience))
    }

    /// Whether the connection has had no request for `patience`.
    pub(crate) fn is_idle(&self, now: Instant, patience: Duration) -> bool {
        let table = self.0.lock();
        table.requests.is_empty() && now - table.idle_since >= patience
    }
}

/// One request, from its head to the end of its answer.
pub(crate) struct InFlight {
    progress: Http2Progress,
    key: usize,
}

impl InFlight {
    /// Tracks how the client takes the body of the answer.
    pub(crate) fn track(self, body: Body) -> TrackedBody {
        self.mark(Some(Instant::now()));
        TrackedBody { body, rest: Bytes::new(), request: self }
    }

    fn mark(&self, since: Option<Instant>) {
        if let Some(waiting) = self.progress.0.lock().requests.get_mut(self.key) {
            *waiting = since;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut table = self.progress.0.lock();
        table.requests.try_remove(self.key);
        table.idle_since = Instant::now();
    }
}

/// The body of an answer over HTTP/2. hyper polls for the next piece when the client has room for it.
pub(crate) struct TrackedBody {
    body: Body,
    rest: Bytes,
    request: InFlight,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Pending => {
                    self.request.mark(None);
                    return Poll::Pending;
                }
                end @ Poll::Ready(_) => return end,
            }
        }
        self.request.mark(Some(Instant::now()));
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

/// The size of a piece: one frame of HTTP/2 by default. What a client did not take is known up to this many bytes.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_the_client_does_not_take_is_stalled_and_one_that_is_not_ready_is_not() {
        let progress = Http2Progress::new(Instant::now());
        let asked = progress.begin();
        tokio::time::advance(2 * PATIENCE).await;
        assert!(!progress.is_stalled(Instant::now(), PATIENCE), "this node has not answered");
        let mut answer = asked.track(Body::from(vec![7; PIECE + 1]));
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE);
        assert_eq!(answer.size_hint().exact(), Some(1));
        tokio::time::advance(PATIENCE / 2).await;
        assert!(!progress.is_stalled(Instant::now(), PATIENCE), "a piece was taken");
        tokio::time::advance(PATIENCE / 2).await;
        assert!(progress.is_stalled(Instant::now(), PATIENCE));
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1);
        assert!(answer.is_end_stream() && !progress.is_stalled(Instant::now(), PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_answer() {
        let progress = Http2Progress::new(Instant::now());
        let asked = progress.begin();
        tokio::time::advance(PATIENCE).await;
        assert!(!progress.is_idle(Instant::now(), PATIENCE));
        drop(asked.track(Body::empty()));
        assert!(!progress.is_idle(Instant::now(), PATIENCE));
        tokio::time::advance(PATIENCE).await;
        assert!(progress.is_idle(Instant::now(), PATIENCE));
    }
}
