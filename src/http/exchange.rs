//! A request and its answer on a stream of the mesh, for both of its ends: each is a head, and a body to the end of the stream
//! in its direction (docs/protocol/mesh.md, "Streams and datagrams").
//!
//! Both ends are nodes, so no HTTP library stands between them: a request that waits is one stream of QUIC and what waits for
//! it, without buffers, and a short one takes one packet each way.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::task::yield_now;

use super::drain_body::{BoxError, DrainBody};
use super::request::{RemoteAddr, Secure};
use crate::cluster::{Client, Field, Receiver, RequestHead, ResponseHead, Sender, encode_prelude};

/// The head of a request as it travels.
pub(crate) fn request_head(request: &Request<DrainBody>, upgrades: bool) -> Bytes {
    head(request, upgrades, None)
}

/// The same of one that another node is to open a session for: with who asks.
pub(crate) fn opening_head(request: &Request<DrainBody>, upgrades: bool) -> Bytes {
    let extensions = request.extensions();
    let address = extensions.get::<RemoteAddr>().map(|RemoteAddr(address)| address.to_string());
    let secure = extensions.get() == Some(&Secure(true));
    head(request, upgrades, Some(Client { address: address.unwrap_or_default(), secure }))
}

fn head(request: &Request<DrainBody>, upgrades: bool, client: Option<Client>) -> Bytes {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    encode_prelude(&RequestHead {
        method: Bytes::copy_from_slice(request.method().as_str().as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        fields: fields(request.headers(), upgrades),
        length: request.body().size_hint().exact(),
        client,
    })
}

/// The head of an answer as it travels.
pub(crate) fn response_head<B: HttpBody>(response: &Response<B>) -> Bytes {
    encode_prelude(&ResponseHead {
        status: response.status().as_u16().into(),
        fields: fields(response.headers(), response.status() == StatusCode::SWITCHING_PROTOCOLS),
        length: response.body().size_hint().exact(),
    })
}

/// Reads the head of a request.
///
/// # Errors
/// When the other end breaks off, or it makes no sense.
pub(crate) async fn read_request(recv: &mut Receiver) -> io::Result<(Request<()>, Option<u64>)> {
    request(recv.message().await?).map_err(io::Error::other)
}

fn request(head: RequestHead) -> Result<(Request<()>, Option<u64>), BoxError> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&head.method)?;
    *request.uri_mut() = Uri::from_maybe_shared(head.target)?;
    *request.headers_mut() = headers(head.fields)?;
    if let Some(Client { address, secure }) = head.client {
        if let Ok(address) = address.parse() {
            request.extensions_mut().insert(RemoteAddr(address));
        }
        request.extensions_mut().insert(Secure(secure));
    }
    Ok((request, head.length))
}

/// Reads the head of an answer.
///
/// # Errors
/// Those of [`read_request`].
pub(crate) async fn read_response(recv: &mut Receiver) -> io::Result<(Response<()>, Option<u64>)> {
    response(recv.message().await?).map_err(io::Error::other)
}

fn response(head: ResponseHead) -> Result<(Response<()>, Option<u64>), BoxError> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(u16::try_from(head.status)?)?;
    *response.headers_mut() = headers(head.fields)?;
    Ok((response, head.length))
}

/// Writes a head and the body after it. What is there of the body goes out with the head.
///
/// # Errors
/// When the body ends with an error, or the other end breaks off.
pub(crate) async fn write<B>(send: &mut Sender, head: Bytes, mut body: B) -> io::Result<()>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let mut first = poll_once(&mut body).await;
    if first.is_pending() {
        // The connection of a client hands over what it has read of a body after somebody has asked for it.
        yield_now().await;
        first = poll_once(&mut body).await;
    }
    let first = if let Poll::Ready(first) = first { data(first)? } else { Some(Bytes::new()) };
    let is_whole = first.is_none();
    send.write([head, first.unwrap_or_default()]).await?;
    while !is_whole && let Some(data) = data(body.frame().await)? {
        send.write([data]).await?;
    }
    Ok(())
}

async fn poll_once<B: HttpBody + Unpin>(body: &mut B) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await
}

/// What a frame holds. Trailers do not travel: nobody here reads them.
fn data<E: Into<BoxError>>(frame: Option<Result<Frame<Bytes>, E>>) -> io::Result<Option<Bytes>> {
    let frame = frame.transpose().map_err(io::Error::other)?;
    Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// A body that comes from another node.
#[derive(Debug)]
pub(crate) struct CarriedBody {
    recv: Receiver,
    /// What was read ahead: so the end is known together with what comes before it, if both are there.
    next: Option<io::Result<Bytes>>,
    /// What is still to be read, if that is known.
    left: Option<u64>,
    ended: bool,
}

impl CarriedBody {
    /// The body after a head. What is there of it is read at once.
    pub(crate) async fn after(recv: Receiver, length: Option<u64>) -> Self {
        let mut body = Self { recv, next: None, left: length, ended: false };
        poll_fn(|cx| {
            body.read_ahead(cx);
            Poll::Ready(())
        })
        .await;
        body
    }

    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        if self.next.is_none()
            && !self.ended
            && let Poll::Ready(read) = self.recv.poll_chunk(cx)
        {
            self.next = read.and_then(|data| self.count(data)).transpose();
            self.ended = !matches!(self.next, Some(Ok(_)));
        }
    }

    /// A body that is not as long as its head says is an error.
    fn count(&mut self, data: Option<Bytes>) -> io::Result<Option<Bytes>> {
        if let Some(left) = &mut self.left {
            let read = data.as_ref().map_or(0, |data| data.len() as u64);
            let rest = left.checked_sub(read).filter(|rest| data.is_some() || *rest == 0);
            *left = rest.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(data)
    }
}

impl HttpBody for CarriedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.read_ahead(cx);
        let Some(next) = self.next.take() else {
            return if self.ended { Poll::Ready(None) } else { Poll::Pending };
        };
        self.read_ahead(cx);
        Poll::Ready(Some(next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.next.as_ref().and_then(|next| next.as_ref().ok()).map_or(0, Bytes::len);
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + ahead as u64))
    }
}

/// The header fields that are about more than one connection (RFC 9110, section 7.6.1).
fn fields(headers: &HeaderMap, upgrades: bool) -> Vec<Field> {
    let travels = |name: &HeaderName| !HOP_BY_HOP.contains(name) && (upgrades || name != UPGRADE);
    let travelling = || headers.iter().filter(|(name, _)| travels(name));
    // All of them share one buffer.
    let mut text =
        BytesMut::with_capacity(travelling().map(|(name, value)| name.as_str().len() + value.len()).sum());
    let mut slice = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        text.split().freeze()
    };
    let mut fields: Vec<_> = travelling()
        .map(|(name, value)| Field { name: slice(name.as_str().as_bytes()), value: slice(value.as_bytes()) })
        .collect();
    if upgrades {
        let [name, value] = ["connection", "Upgrade"].map(|text| Bytes::from_static(text.as_bytes()));
        fields.push(Field { name, value });
    }
    fields
}

fn headers(fields: Vec<Field>) -> Result<HeaderMap, BoxError> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for Field { name, value } in fields {
        headers.append(HeaderName::from_bytes(&name)?, HeaderValue::from_maybe_shared(value)?);
    }
    Ok(headers)
}

const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    TE,
    TRANSFER_ENCODING,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn sent(headers: &[(&'static str, &'static str)], upgrades: bool) -> (Request<()>, Option<u64>) {
        let mut outgoing = Request::new(DrainBody::default());
        *outgoing.method_mut() = Method::POST;
        *outgoing.uri_mut() = "http://elsewhere/socket.io/?sid=a&t=1".parse().unwrap();
        for (name, value) in headers {
            outgoing.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let mut bytes = request_head(&outgoing, upgrades);
        request(RequestHead::decode(bytes.split_off(4)).unwrap()).unwrap()
    }

    #[test]
    fn a_head_arrives_without_what_is_about_one_connection() {
        let (arrived, length) = sent(
            &[
                ("host", "a"),
                ("x-list", "1"),
                ("x-list", "2"),
                ("connection", "keep-alive"),
                ("keep-alive", "timeout=5"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
            ],
            false,
        );
        assert_eq!(
            (arrived.method(), arrived.uri()),
            (&Method::POST, &Uri::from_static("/socket.io/?sid=a&t=1"))
        );
        let fields: Vec<_> =
            arrived.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("host", &b"a"[..]), ("x-list", b"1"), ("x-list", b"2")]);
        assert_eq!(length, Some(0));
    }

    #[test]
    fn what_asks_for_another_protocol_says_so_at_the_owner() {
        let (arrived, _) = sent(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")], true);
        assert_eq!(arrived.headers()[UPGRADE], "websocket");
        assert_eq!(arrived.headers()[CONNECTION], "Upgrade");
    }

    #[test]
    fn who_asks_for_a_session_is_known_where_it_is_opened() {
        let mut outgoing = Request::new(DrainBody::default());
        for (address, secure) in
            [(Some("192.0.2.7:4711"), true), (Some("[2001:db8::1]:1"), false), (None, true)]
        {
            let address = address.map(|address| address.parse().unwrap());
            outgoing.extensions_mut().clear();
            address.map(|address| outgoing.extensions_mut().insert(RemoteAddr(address)));
            outgoing.extensions_mut().insert(Secure(secure));
            let mut bytes = opening_head(&outgoing, false);
            let (arrived, _) = request(RequestHead::decode(bytes.split_off(4)).unwrap()).unwrap();
            assert_eq!(arrived.extensions().get::<RemoteAddr>().map(|known| known.0), address);
            assert_eq!(arrived.extensions().get(), Some(&Secure(secure)));
        }
    }

    proptest! {
        #[test]
        fn any_head_is_understood_or_refused(bytes: Vec<u8>, name: Vec<u8>, value: Vec<u8>, status: u32) {
            let field = || vec![Field { name: name.clone().into(), value: value.clone().into() }];
            let target = Bytes::from(bytes.clone());
            let client = Some(Client { address: String::from_utf8_lossy(&bytes).into_owned(), secure: true });
            let _any = request(RequestHead { method: target.clone(), target, fields: field(), length: None, client });
            let _any = response(ResponseHead { status, fields: field(), length: None });
            let _any = RequestHead::decode(&*bytes).map(request);
            let _any = ResponseHead::decode(&*bytes).map(response);
        }
    }
}
