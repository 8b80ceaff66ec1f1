//! A WebSocket: bytes to packets and back.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use crate::frames::{CLOSE, Frames, PING, PONG, TEXT, frame};
use crate::http::Http;
use crate::options::Server;

/// What is read.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: OwnedReadHalf,
    frames: Frames,
    /// What came together with the answer to the upgrade.
    early: Vec<u8>,
}

/// What is written, by whoever sends and by whoever answers pings.
#[derive(Debug)]
pub(crate) struct Writer(Mutex<OwnedWriteHalf>);

/// Asks a server to upgrade a new connection.
pub(crate) async fn open(server: &Server, target: &str) -> io::Result<(Reader, Writer)> {
    let mut http = Http::connect(server).await?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: c29ja2V0bWVzaCB0ZXN0cw==\r\n\r\n",
        server.host
    );
    let answer = http.request(request.as_bytes()).await?;
    if answer.status != 101 {
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(io::Error::other(format!("the upgrade was refused: {} {said}", answer.status)));
    }
    let (stream, early) = http.into_parts();
    let (reading, writing) = stream.into_split();
    Ok((Reader { stream: reading, frames: Frames::default(), early }, Writer(Mutex::new(writing))))
}

impl Reader {
    /// Waits for the next read and visits its packets. Returns what is to be answered to a ping of WebSocket. Dropping the future
    /// loses nothing.
    pub(crate) async fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<Option<Vec<u8>>> {
        let (mut pinged, mut ended) = (None, None);
        let mut visit = |first, payload: &[u8]| match first {
            TEXT => each(payload),
            PING => pinged = Some(payload.to_vec()),
            CLOSE => ended = Some("the server closed the WebSocket"),
            first if first & 0x80 == 0 => ended = Some("the server cuts messages into fragments"),
            _ => {}
        };
        let Self { stream, frames, early } = self;
        if early.is_empty() {
            poll_fn(|cx| {
                SCRATCH.with_borrow_mut(|scratch| {
                    let mut buffer = ReadBuf::new(scratch);
                    match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                        Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                            Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)))
                        }
                        Poll::Ready(Ok(())) => {
                            frames.feed(buffer.filled(), &mut visit);
                            Poll::Ready(Ok(()))
                        }
                        other => other,
                    }
                })
            })
            .await?;
        } else {
            frames.feed(&std::mem::take(early), &mut visit);
        }
        ended.map_or(Ok(pinged), |why| Err(io::Error::other(why)))
    }
}

impl Writer {
    /// Writes frames.
    pub(crate) async fn write(&self, frames: &[u8]) -> io::Result<()> {
        self.0.lock().await.write_all(frames).await
    }

    /// Answers a ping of WebSocket.
    pub(crate) async fn pong(&self, payload: &[u8]) -> io::Result<()> {
        let mut pong = Vec::new();
        frame(PONG, payload, &mut pong);
        self.write(&pong).await
    }
}

thread_local! {
    // One for all clients of a thread, so that a client that is silent costs no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into_boxed_slice());
}
