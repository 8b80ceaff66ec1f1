//! The body of a response: bytes of this node, which may be compressed as they leave, or a stream from the node that owns
//! the session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::compression::{Coding, Compressing};
use super::exchange::CarriedBody;
use crate::cluster::Sender;
use crate::engine::websocket::Deflation;

/// The body of every response of a node. Make one from anything that converts to [`Bytes`], such as a `String`.
///
/// ```
/// use socketmesh::http::Body;
///
/// let page = hyper::Response::new(Body::from(bytes::Bytes::from_static(b"<h1>chat</h1>")));
/// ```
#[derive(Debug, Default)]
pub struct Body(BodyContent);

#[derive(Debug, Default)]
enum BodyContent {
    #[default]
    Empty,
    Full(Bytes),
    Compressed(Box<Compressing>),
    Carried {
        body: CarriedBody,
        _send: Sender,
        _counted: Option<TaskTrackerToken>,
    },
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self(BodyContent::Empty)
    }

    /// Compresses the body, unless it comes from another node.
    pub(super) fn compressed(self, coding: Coding, how: Deflation) -> Self {
        match self.0 {
            BodyContent::Full(bytes) => {
                Self(BodyContent::Compressed(Box::new(Compressing::new(coding, how, bytes))))
            }
            other => Self(other),
        }
    }

    /// The body of a response of another node. Dropping it ends the stream it comes over, in both directions.
    pub(crate) const fn carried(body: CarriedBody, send: Sender) -> Self {
        Self(BodyContent::Carried { body, _send: send, _counted: None })
    }

    /// Counts a body that comes from another node as in flight until it is passed on.
    pub(super) fn counted(mut self, token: TaskTrackerToken) -> Self {
        if let BodyContent::Carried { _counted: counted, .. } = &mut self.0 {
            *counted = Some(token);
        }
        self
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() { BodyContent::Empty } else { BodyContent::Full(bytes) })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.0 {
            BodyContent::Empty => Poll::Ready(None),
            BodyContent::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = BodyContent::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            BodyContent::Compressed(compressing) => match compressing.step() {
                Some(part) if part.is_empty() => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                part => Poll::Ready(part.map(|part| Ok(Frame::data(part)))),
            },
            BodyContent::Carried { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyContent::Empty => true,
            BodyContent::Full(_) => false,
            BodyContent::Compressed(compressing) => compressing.is_ended(),
            BodyContent::Carried { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyContent::Empty => SizeHint::with_exact(0),
            BodyContent::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyContent::Compressed(_) => SizeHint::default(),
            BodyContent::Carried { body, .. } => body.size_hint(),
        }
    }
}
