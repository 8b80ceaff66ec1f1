//! A connection for one HTTP/1.1 request after the other, with as little work as a load generator can afford.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::options::Server;

/// A connection, and what was read of the next answer.
#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) async fn connect(server: &Server) -> io::Result<Self> {
        let stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends a request as it is, and reads the answer. An error of the kind `NotConnected` means that the server had closed the
    /// connection before.
    pub(crate) async fn request(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await.map_err(|_closed| io::ErrorKind::NotConnected)?;
        let head = loop {
            if let Some(head) = Head::parse(&self.read)? {
                break head;
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) if self.read.is_empty() => return Err(io::ErrorKind::NotConnected.into()),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        };
        self.read.drain(..head.length);
        let body = match head.body {
            Body::Length(length) => self.take(length).await?,
            Body::Chunked => self.take_chunks().await?,
        };
        Ok(Answer { status: head.status, body })
    }

    /// The stream after an upgrade, with what was read already.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.read)
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        let rest = self.read.split_off(length);
        Ok(std::mem::replace(&mut self.read, rest))
    }

    async fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.read).map_err(|_invalid| io::ErrorKind::InvalidData)? {
                httparse::Status::Partial => self.more().await?,
                httparse::Status::Complete((start, length)) => {
                    let length = usize::try_from(length).map_err(io::Error::other)?;
                    // The chunk is followed by CR LF.
                    let chunk = self.take(start + length + 2).await?;
                    if length == 0 {
                        return Ok(body);
                    }
                    body.extend_from_slice(chunk.get(start..start + length).unwrap_or_default());
                }
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

struct Head {
    length: usize,
    status: u16,
    body: Body,
}

enum Body {
    Length(usize),
    Chunked,
}

impl Head {
    /// `None` until all of it was read.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "an answer that is not HTTP/1.1");
        let httparse::Status::Complete(length) = answer.parse(bytes).map_err(invalid)? else {
            return Ok(None);
        };
        let header = |name: &str| {
            let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            str::from_utf8(header.value).ok()
        };
        let chunked =
            header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let announced = header("content-length").and_then(|length| length.trim().parse().ok());
        let body = if chunked { Body::Chunked } else { Body::Length(announced.unwrap_or_default()) };
        Ok(Some(Self { length, status: answer.code.unwrap_or_default(), body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_read_with_a_length_in_chunks_and_without_a_body_however_they_are_cut() {
        let answers = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello\
                       HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n\
                       HTTP/1.1 101 Switching Protocols\r\n\r\n";
        for size in [1, 7, answers.len()] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                for piece in answers.as_bytes().chunks(size) {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                stream
            });
            let mut http = Http::connect(&Server { host: String::new(), address }).await.unwrap();
            for expected in [(200, "hello"), (200, "hello"), (101, "")] {
                let answer = http.request(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), expected);
            }
            drop(serving.await.unwrap());
            let closed = http.request(b"GET / HTTP/1.1\r\n\r\n").await.unwrap_err();
            assert_eq!(closed.kind(), io::ErrorKind::NotConnected);
        }
    }
}
