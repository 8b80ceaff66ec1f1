//! Plain requests of HTTP/1.1, and the heads of their answers: the part of HTTP that polling clients speak.
//!
//! A plain request is one of which there cannot be two opinions: a GET or a POST that has come whole, with the length that its
//! only `Content-Length` says, on a connection that goes on, or is to become a WebSocket. Any other is left to the HTTP library,
//! which also says what is wrong with it. The library keeps at least 16 KiB for each connection, of a poll that waits as well;
//! what is plain is served without a buffer, and takes less than half of its time.

use std::io::Write;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use httparse::Status;
use httpdate::HttpDate;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};

/// Why no plain request was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotPlain {
    /// The head has not come whole.
    Incomplete,
    /// It is for the library.
    Other,
}

/// Takes the next request off `bytes`, if it is a plain one for a path that begins with `prefix`.
pub(super) fn take(bytes: &mut Bytes, prefix: &str) -> Result<Request<Bytes>, NotPlain> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(Status::Partial) => return Err(NotPlain::Incomplete),
        Ok(Status::Complete(_)) | Err(_) => return Err(NotPlain::Other),
    };
    let (mut request, body) = plain(&head, bytes).ok_or(NotPlain::Other)?;
    let came = bytes.get(length..).and_then(|rest| rest.get(..body)).ok_or(NotPlain::Other)?;
    if !request.uri().path().starts_with(prefix) {
        return Err(NotPlain::Other);
    }
    // A message of the body may be kept for longer than the head.
    *request.body_mut() = Bytes::copy_from_slice(came);
    bytes.advance(length + body);
    if bytes.is_empty() {
        // It would still hold what was read.
        *bytes = Bytes::new();
    }
    Ok(request)
}

/// The head, and the length of the body. `None` if it is not plain.
fn plain(head: &httparse::Request<'_, '_>, bytes: &Bytes) -> Option<(Request<Bytes>, usize)> {
    if head.version != Some(1) {
        return None;
    }
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = match head.method? {
        "GET" => Method::GET,
        "POST" => Method::POST,
        _ => return None,
    };
    *request.uri_mut() = Uri::from_maybe_shared(bytes.slice_ref(head.path?.as_bytes())).ok()?;
    let (mut body, mut upgrades) = (None, false);
    let headers = request.headers_mut();
    headers.reserve(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).ok()?;
        match name {
            EXPECT | TRANSFER_ENCODING => return None,
            CONNECTION => upgrades |= names_upgrade(&value)?,
            CONTENT_LENGTH if body.is_some() => return None,
            CONTENT_LENGTH => body = Some(number(value.as_bytes())?),
            _ => {}
        }
        headers.append(name, value);
    }
    let headers = request.headers();
    let is_plain = match upgrades {
        true => request.method() == Method::GET && body.is_none() && opens_websocket(headers),
        false => !headers.contains_key(UPGRADE),
    };
    (is_plain && headers.contains_key(HOST)).then(|| (request, body.unwrap_or_default()))
}

/// Whether a value of `Connection` names an upgrade. `None` if it is about anything but that and the next request.
fn names_upgrade(value: &HeaderValue) -> Option<bool> {
    let mut upgrades = false;
    for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if option.eq_ignore_ascii_case(b"upgrade") {
            upgrades = true;
        } else if !option.eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
    }
    Some(upgrades)
}

/// Whether a request with these headers asks for a WebSocket, and for nothing else.
fn opens_websocket(headers: &HeaderMap) -> bool {
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    only(UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && only(SEC_WEBSOCKET_VERSION) == Some(b"13")
        && only(SEC_WEBSOCKET_KEY).is_some()
}

/// A number of digits alone: `parse` takes a sign as well.
fn number(digits: &[u8]) -> Option<usize> {
    let digits = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// How the end of an answer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// There is no body and may be none.
    None,
    Known(u64),
    /// It comes in chunks.
    Chunks,
}

impl Length {
    /// Of an answer of this status whose body has `known` bytes.
    pub(super) fn of(status: StatusCode, known: Option<u64>) -> Self {
        if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Self::None;
        }
        known.map_or(Self::Chunks, Self::Known)
    }
}

/// The head of an answer, as the library writes it for the rest. `closes` if the connection ends after it.
pub(super) fn head(
    status: StatusCode,
    headers: &HeaderMap,
    length: Length,
    closes: bool,
    now: SystemTime,
) -> Bytes {
    let mut head = Vec::with_capacity(256);
    let reason = status.canonical_reason().unwrap_or("<none>");
    head.extend_from_slice(b"HTTP/1.1 ");
    line(&mut head, &[status.as_str().as_bytes(), b" ", reason.as_bytes()]);
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in headers {
        if !matches!(*name, CONTENT_LENGTH | TRANSFER_ENCODING) && (*name != CONNECTION || switches) {
            title_case(&mut head, name);
            line(&mut head, &[b": ", value.as_bytes()]);
        }
    }
    // Writing to memory does not fail.
    let _written = match length {
        Length::None => Ok(()),
        Length::Known(length) => write!(head, "Content-Length: {length}\r\n"),
        Length::Chunks => write!(head, "Transfer-Encoding: chunked\r\n"),
    };
    if closes {
        line(&mut head, &[b"Connection: close"]);
    }
    if !headers.contains_key(DATE) {
        let _written = write!(head, "Date: {}\r\n", HttpDate::from(now));
    }
    line(&mut head, &[]);
    head.into()
}

fn line(head: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| head.extend_from_slice(part));
    head.extend_from_slice(b"\r\n");
}

/// As Node spells them: some devices compare them letter by letter.
fn title_case(head: &mut Vec<u8>, name: &HeaderName) {
    let (mut name, mut begins) = (name.as_str(), true);
    if let Some(rest) = name.strip_prefix("sec-websocket-") {
        head.extend_from_slice(b"Sec-WebSocket-");
        name = rest;
    }
    head.extend(name.bytes().map(|byte| {
        let byte = if begins { byte.to_ascii_uppercase() } else { byte };
        begins = byte == b'-';
        byte
    }));
}

/// The largest head of a request, as Node's default: each session keeps the head that opened it.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// A request with more fields is left to the library.
const MAX_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(bytes: &str) -> (Result<Request<Bytes>, NotPlain>, String) {
        let mut bytes = Bytes::copy_from_slice(bytes.as_bytes());
        let received = take(&mut bytes, "/s/");
        (received, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_plain_request_is_taken_and_what_follows_stays() {
        let (received, rest) =
            taken("POST /s/?a=b HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\nA: 1\r\na: 2\r\n\r\n4hiGET");
        let request = received.unwrap();
        assert_eq!((request.method(), request.uri().query()), (&Method::POST, Some("a=b")));
        assert_eq!(request.headers().get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((&**request.body(), &*rest), (&b"4hi"[..], "GET"));
        let (received, rest) = taken("GET /s/x HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n");
        assert!(received.is_ok() && rest.is_empty());
    }

    #[test]
    fn what_is_not_plain_is_left_as_it_is() {
        for lines in [
            "GET /other HTTP/1.1\r\n",
            "GET /s/ HTTP/1.0\r\n",
            "PUT /s/ HTTP/1.1\r\n",
            "get /s/ HTTP/1.1\r\n",
            "GET /s/ HTTP/1.1\r\nConnection: close\r\n",
            "GET /s/ HTTP/1.1\r\nUpgrade: websocket\r\n",
            "GET /s/ HTTP/1.1\r\nConnection: Upgrade\r\n",
            "GET /s/ HTTP/1.1\r\nA : b\r\n",
            "GET /s/ HTTP/1.1\r\nA: b\r\n c\r\n",
            "POST /s/ HTTP/1.1\r\nContent-Length: 1\r\n",
            "POST /s/ HTTP/1.1\r\nContent-Length: +0\r\n",
            "POST /s/ HTTP/1.1\r\nContent-Length:\r\n",
            "POST /s/ HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n",
            "POST /s/ HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n",
            "POST /s/ HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            "POST /s/ HTTP/1.1\r\nContent-Length: 0\r\nExpect: 100-continue\r\n",
        ] {
            let sent = format!("{lines}Host: x\r\n\r\n");
            let (received, rest) = taken(&sent);
            assert_eq!((received.unwrap_err(), rest), (NotPlain::Other, sent), "{lines}");
        }
        // Nobody can tell whom it is for.
        assert_eq!(taken("GET /s/ HTTP/1.1\r\n\r\n").0.unwrap_err(), NotPlain::Other);
        let long = format!("GET /s/ HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(MAX_HEAD));
        assert_eq!(taken(&long).0.unwrap_err(), NotPlain::Other);
        let many = format!("GET /s/ HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS));
        assert_eq!(taken(&many).0.unwrap_err(), NotPlain::Other);
    }

    /// What asks for a WebSocket, with these lines in the place of its own that have the same name.
    fn websocket(request: &str, changed: &[&str]) -> String {
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let usual = ["Host: x", "Connection: Upgrade", "Upgrade: websocket", VERSION, KEY];
        let kept = usual.into_iter().filter(|line| changed.iter().all(|other| name(other) != name(line)));
        let lines: Vec<_> = kept.chain(changed.iter().copied().filter(|line| line.contains(": "))).collect();
        format!("{request} /s/?a=b HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"))
    }

    const VERSION: &str = "Sec-WebSocket-Version: 13";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn what_asks_for_a_websocket_is_taken_and_its_first_frames_stay() {
        for changed in [
            &[][..],
            &["upgrade: WebSocket", "connection: keep-alive, upgrade"],
            &["Connection: Upgrade,Keep-Alive"],
            &["Connection: keep-alive", "Connection: UPGRADE"],
            &["Cookie: a=1", "Sec-WebSocket-Extensions: permessage-deflate", "Origin: http://x"],
        ] {
            let (received, rest) = taken(&(websocket("GET", changed) + "\u{1}frames\r\n\r\n"));
            let request = received.unwrap_or_else(|error| panic!("{error:?}: {changed:?}"));
            assert_eq!((request.method(), &**request.body()), (&Method::GET, &b""[..]));
            assert!(request.headers().contains_key(UPGRADE) && request.headers().contains_key(CONNECTION));
            assert_eq!(rest, "\u{1}frames\r\n\r\n");
        }
    }

    #[test]
    fn what_may_ask_for_something_else_than_a_websocket_is_left_as_it_is() {
        let sent = [
            ("GET", &["Upgrade: h2c"][..]),
            ("GET", &["Upgrade: websocket, h2c"]),
            ("GET", &["Upgrade: websocket", "Upgrade: websocket"]),
            ("GET", &["Upgrade: websocket/13"]),
            ("GET", &["Upgrade"]),
            ("GET", &["Connection"]),
            ("GET", &["Connection: close, Upgrade"]),
            ("GET", &["Connection: Upgrade, HTTP2-Settings"]),
            ("GET", &["Connection: keep-alive"]),
            ("GET", &["Connection: Upgrade,"]),
            ("GET", &["Sec-WebSocket-Version: 8"]),
            ("GET", &["Sec-WebSocket-Version: 13, 8"]),
            ("GET", &[VERSION, VERSION]),
            ("GET", &["Sec-WebSocket-Version"]),
            ("GET", &[KEY, KEY]),
            ("GET", &["Sec-WebSocket-Key"]),
            ("GET", &["Content-Length: 0"]),
            ("GET", &["Content-Length: 2"]),
            ("GET", &["Transfer-Encoding: chunked"]),
            ("GET", &["Expect: 100-continue"]),
            ("GET", &["Host"]),
            ("POST", &[]),
            ("HEAD", &[]),
        ]
        .map(|(method, changed)| websocket(method, changed));
        let of_old = websocket("GET", &[]).replace("HTTP/1.1", "HTTP/1.0");
        let elsewhere = websocket("GET", &[]).replace("/s/", "/other");
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned();
        for sent in sent.into_iter().chain([of_old, elsewhere, preface]) {
            let (received, rest) = taken(&(sent.clone() + "ab"));
            assert_eq!((received.unwrap_err(), rest), (NotPlain::Other, sent.clone() + "ab"), "{sent}");
        }
    }

    #[test]
    fn a_head_that_has_not_come_whole_is_waited_for() {
        for head in ["GET /s/?a=b HTTP/1.1\r\nHost: x\r\n\r\n", &websocket("GET", &[])] {
            for length in 0..head.len() {
                let received = taken(head.get(..length).unwrap()).0;
                assert_eq!(received.unwrap_err(), NotPlain::Incomplete, "{length}");
            }
        }
    }

    #[test]
    fn an_answer_is_written_as_the_library_does() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let written = |status, known, closes| {
            let length = Length::of(status, known);
            let head = head(status, &headers, length, closes, SystemTime::UNIX_EPOCH);
            String::from_utf8(head.to_vec()).unwrap()
        };
        let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        let own = "Content-Type: text/plain\r\nX-A: 1\r\nX-A: 2\r\n";
        assert_eq!(
            written(StatusCode::OK, Some(5), false),
            format!("HTTP/1.1 200 OK\r\n{own}Content-Length: 5\r\n{date}")
        );
        assert_eq!(
            written(StatusCode::BAD_REQUEST, None, true),
            format!(
                "HTTP/1.1 400 Bad Request\r\n{own}Transfer-Encoding: chunked\r\nConnection: close\r\n{date}"
            )
        );
        assert_eq!(
            written(StatusCode::NO_CONTENT, Some(0), false),
            format!("HTTP/1.1 204 No Content\r\n{own}{date}")
        );
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert("sec-websocket-accept", HeaderValue::from_static("a"));
        let status = StatusCode::SWITCHING_PROTOCOLS;
        let head = head(status, &headers, Length::of(status, Some(0)), false, SystemTime::UNIX_EPOCH);
        assert_eq!(
            str::from_utf8(&head).unwrap(),
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n{date}"
            )
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_left(bytes: Vec<u8>, begin in "(GET|POST) /s/ HTTP/1.1\r\nHost: x\r\n(Content-Length: [0-9+]{0,3}\r\n)?(Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n)?(\r\n)?") {
            let sent = [begin.as_bytes(), &*bytes].concat();
            let mut rest = Bytes::from(sent.clone());
            match take(&mut rest, "/s/") {
                Ok(request) => prop_assert!(sent.len() > rest.len() + request.body().len()),
                Err(_) => prop_assert_eq!(sent, rest),
            }
        }
    }
}
