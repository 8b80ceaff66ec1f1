//! A connection of HTTP/1.1 while its requests are [plain](super::plain_http): it holds no buffer while it is idle or its
//! request waits for its answer.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use hyper::body::Body as _;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::io::AsyncWriteExt;

use super::body::Body;
use super::client_stream::ClientStream;
use super::drain_body::{BoxError, DrainBody};
use super::plain_http::{self, Length, NotPlain};

/// The next plain request for a path that begins with `prefix`. `None` when something else has come, or the end: it is still in
/// the stream.
pub(super) async fn next(stream: &mut ClientStream, prefix: &str) -> io::Result<Option<Request<DrainBody>>> {
    // Who sends a head in many small parts has it read by the library, which does not look at the whole of it for each.
    for _ in 0..PARTS {
        match plain_http::take(stream.seen(), prefix) {
            Ok(request) => return Ok(Some(request.map(DrainBody::whole))),
            Err(NotPlain::Other) => return Ok(None),
            Err(NotPlain::Incomplete) => {}
        }
        if poll_fn(|cx| stream.poll_more(cx)).await? == 0 {
            return Ok(None);
        }
    }
    Ok(None)
}

/// What comes of `work`, unless the client hangs up meanwhile.
pub(super) async fn while_open<T>(stream: &mut ClientStream, work: impl Future<Output = T>) -> io::Result<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        // What it sends meanwhile waits for its turn.
        if stream.seen().is_empty()
            && let Poll::Ready(read) = stream.poll_more(cx)
            && read? == 0
        {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Pending
    })
    .await
}

/// What becomes of a connection with an answer.
pub(super) enum After {
    GoesOn,
    Ends,
    /// Its protocol changes with this answer, which is still to be written: with what comes first after it.
    Switches(Bytes),
}

/// Writes an answer. The connection does not go on if it is the `last` one.
pub(super) async fn answer(
    stream: &mut ClientStream,
    response: Response<Body>,
    last: bool,
) -> Result<After, BoxError> {
    let (head, mut body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(After::Switches(dated(&head, Length::None, false)));
    }
    let says_so = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    let closes = last || head.headers.get(CONNECTION).is_some_and(says_so);
    let length = Length::of(head.status, body.size_hint().exact());
    let mut written = dated(&head, length, closes);
    while length != Length::None
        && let Some(frame) = while_open(stream, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await?
    {
        let Some(data) = frame?.into_data().ok().filter(|data| !data.is_empty()) else { continue };
        let (begin, end) = if length == Length::Chunks { chunk(&data) } else { Default::default() };
        stream.write_all_buf(&mut written.chain(begin).chain(data).chain(end)).await?;
        written = Bytes::new();
    }
    let end = if length == Length::Chunks { LAST_CHUNK } else { &[] };
    stream.write_all_buf(&mut written.chain(end)).await?;
    stream.flush().await?;
    if closes {
        stream.shutdown().await?;
    }
    Ok(if closes { After::Ends } else { After::GoesOn })
}

/// The head of an answer, from now.
fn dated(head: &Parts, length: Length, closes: bool) -> Bytes {
    #[expect(clippy::disallowed_methods, reason = "the one place that dates an answer")]
    let now = SystemTime::now();
    plain_http::head(head.status, &head.headers, length, closes, now)
}

/// What stands before and after the data of a chunk (RFC 9112, section 7.1).
fn chunk(data: &Bytes) -> (Bytes, &'static [u8]) {
    (format!("{:x}\r\n", data.len()).into(), b"\r\n")
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// In how many parts a head may come, more or less.
const PARTS: usize = 8;
