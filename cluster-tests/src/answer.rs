//! What a client reads that sends bytes as they are, without what differs from one answer to the next.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deadline::within;

/// An answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The first line.
    pub status: String,
    /// The headers but the date.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// `None` while there is more to come.
    fn read(bytes: &[u8], has_head_only: bool, is_end: bool) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(bytes);
        let (head, body) = match split(bytes, b"\r\n\r\n") {
            Some(parts) => parts,
            None if is_end => (bytes, &[][..]),
            None => return None,
        };
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.filter(|(name, _)| !name.eq_ignore_ascii_case("date"));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let answer = Self { status, headers, body: Vec::new() };
        let length = match answer.header("content-length") {
            _ if has_head_only || ["101", "204"].contains(&answer.code()) => Some(0),
            length => length.and_then(|length| length.parse().ok()),
        };
        let body = match length {
            Some(length) => body.get(..length)?.to_vec(),
            None if answer.header("transfer-encoding") == Some("chunked") => joined(body)?,
            None if is_end => body.to_vec(),
            None => return None,
        };
        Some(Self { body, ..answer })
    }

    /// The value of a header, however it is spelled.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The number of the status, and the body.
    #[must_use]
    pub fn essence(&self) -> String {
        format!("{} {}", self.code(), self.text())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The number of the status.
    #[must_use]
    pub fn code(&self) -> &str {
        self.status.split(' ').nth(1).unwrap_or_default()
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.status, self.headers, self.text())
    }
}

/// The chunks of a body; `None` while the last is missing.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (length, rest) = split(chunks, b"\r\n")?;
        let length = usize::from_str_radix(str::from_utf8(length).ok()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend(rest.get(..length)?);
        chunks = rest.get(length + 2..)?;
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = bytes.windows(at.len()).position(|window| window == at)?;
    Some((bytes.get(..place)?, bytes.get(place + at.len()..)?))
}

/// Sends a request as it is, and reads the answer.
///
/// # Panics
/// The connection is refused, or no answer arrives in time.
pub async fn answer(addr: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    stream.write_all(request).await.expect("the request is sent");
    let mut bytes = Vec::new();
    within("an answer", async {
        loop {
            let read = stream.read_buf(&mut bytes).await;
            if let Some(answer) = Answer::read(&bytes, request.starts_with(b"HEAD"), !matches!(read, Ok(1..)))
            {
                return answer;
            }
        }
    })
    .await
}
