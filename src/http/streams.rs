//! The requests under way on one HTTP/2 connection (RFC 9113): which answers their client does not take.
//!
//! Over HTTP/2 a client holds an answer back by flow control, and the connection itself never stalls. So every answer is
//! handed over in small pieces, and each piece taken is a sign of life.

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

/// What is under way on one connection.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Mutex<Table>>);

struct Table {
    /// Since when each request's client could take more of its answer; `None` while it waits for this node.
    waiting: Slab<Option<Instant>>,
    /// Since when there is none.
    idle: Instant,
}

impl Streams {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Table { waiting: Slab::new(), idle: now })))
    }

    pub(crate) fn begin(&self) -> Underway {
        Underway { streams: self.clone(), key: self.0.lock().waiting.insert(None) }
    }

    /// Whether some client did not take its answer for so long.
    pub(crate) fn stalled(&self, now: Instant, patience: Duration) -> bool {
        self.0.lock().waiting.iter().any(|(_, since)| since.is_some_and(|since| now - since >= patience))
    }

    /// Whether nothing was asked for so long.
    pub(crate) fn idle(&self, now: Instant, patience: Duration) -> bool {
        let table = self.0.lock();
        table.waiting.is_empty() && now - table.idle >= patience
    }
}

/// One request, from its head to the end of its answer.
pub(crate) struct Underway {
    streams: Streams,
    key: usize,
}

impl Underway {
    /// The answer's body, handed over as the client takes it.
    pub(crate) fn answer(self, body: Body) -> Taken {
        self.mark(Some(Instant::now()));
        Taken { body, rest: Bytes::new(), request: self }
    }

    fn mark(&self, since: Option<Instant>) {
        if let Some(waiting) = self.streams.0.lock().waiting.get_mut(self.key) {
            *waiting = since;
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut table = self.streams.0.lock();
        table.waiting.try_remove(self.key);
        table.idle = Instant::now();
    }
}

/// The body of an answer over HTTP/2. hyper asks for the next piece when the client has room for it.
pub(crate) struct Taken {
    body: Body,
    rest: Bytes,
    request: Underway,
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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

/// A piece of an answer: one frame of HTTP/2 by default, and what may be left with a client unseen.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_stalled_and_a_pending_one_is_not() {
        let streams = Streams::new(Instant::now());
        let asked = streams.begin();
        tokio::time::advance(2 * PATIENCE).await;
        assert!(!streams.stalled(Instant::now(), PATIENCE), "this node has not answered");
        let mut answer = asked.answer(Body::from(vec![7; PIECE + 1]));
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE);
        assert_eq!(answer.size_hint().exact(), Some(1));
        tokio::time::advance(PATIENCE / 2).await;
        assert!(!streams.stalled(Instant::now(), PATIENCE), "a piece was taken");
        tokio::time::advance(PATIENCE / 2).await;
        assert!(streams.stalled(Instant::now(), PATIENCE));
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1);
        assert!(answer.is_end_stream() && !streams.stalled(Instant::now(), PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_answer() {
        let streams = Streams::new(Instant::now());
        let asked = streams.begin();
        tokio::time::advance(PATIENCE).await;
        assert!(!streams.idle(Instant::now(), PATIENCE));
        drop(asked.answer(Body::empty()));
        assert!(!streams.idle(Instant::now(), PATIENCE));
        tokio::time::advance(PATIENCE).await;
        assert!(streams.idle(Instant::now(), PATIENCE));
    }
}
