//! A WebSocket client that offers `permessage-deflate` and returns every frame as it arrived.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::deadline::within;
use crate::http::{Call, Reply};

/// An open WebSocket. Dropping it closes the connection without a close frame.
#[derive(Debug)]
pub struct Frames {
    io: TokioIo<Upgraded>,
    /// The answer that opened it.
    pub opened: Reply,
}

impl Frames {
    /// Asks for an upgrade with these extensions.
    ///
    /// # Panics
    /// The upgrade is refused.
    pub async fn open(call: Call, extensions: &str) -> Self {
        let (mut answer, mut connection) =
            call.upgrade().header("sec-websocket-extensions", extensions).head().await;
        assert_eq!(answer.status(), 101);
        let upgraded = hyper::upgrade::on(&mut answer);
        let opened = Reply::read(answer).await;
        let io = within("the upgraded connection", upgraded).await.expect("it was 101");
        connection.detach_all();
        Self { io: TokioIo::new(io), opened }
    }

    /// Sends a frame with this first byte.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap_or_default()),
            long => match u16::try_from(long) {
                Ok(long) => {
                    frame.push(0x80 | 126);
                    frame.extend(long.to_be_bytes());
                }
                Err(_) => {
                    frame.push(0x80 | 127);
                    frame.extend((long as u64).to_be_bytes());
                }
            },
        }
        // A mask of zeros leaves the payload as it is.
        frame.extend([0; 4]);
        frame.extend(payload);
        within("room to send", self.io.write_all(&frame)).await.expect("the connection is open");
    }

    /// Sends a text message, deflated.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send_deflated(&mut self, text: &str) {
        self.send(0xc1, &deflated(text.as_bytes())).await;
    }

    /// Waits for the next frame and returns its first byte and its payload.
    ///
    /// # Panics
    /// No frame arrives in time.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        within("a frame", self.read()).await.expect("the connection is open")
    }

    async fn read(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.io.read_u8().await?;
        let length = match self.io.read_u8().await? {
            126 => u64::from(self.io.read_u16().await?),
            127 => self.io.read_u64().await?,
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
        self.io.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    /// The next message that is no heartbeat; heartbeats are answered.
    ///
    /// # Panics
    /// No message arrives in time, or it cannot be inflated.
    pub async fn message(&mut self) -> Seen {
        loop {
            let (first, payload) = self.frame().await;
            match (first, payload.as_slice()) {
                (0x81, b"2") => self.send(0x81, b"3").await,
                (0xc1 | 0xc2, _) => {
                    return Seen { deflated: Some(payload.len()), message: inflated(&payload) };
                }
                _ => return Seen { deflated: None, message: payload },
            }
        }
    }

    /// Waits until the server closes the connection, whatever it sends before, and returns the close code.
    ///
    /// # Panics
    /// It does not close in time.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let (0x88, code) = self.frame().await {
                return code.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its length on the wire, if it was deflated.
    pub deflated: Option<usize>,
    /// Its content, inflated.
    pub message: Vec<u8>,
}

impl Seen {
    /// Its content as text.
    ///
    /// # Panics
    /// It is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.message).expect("text")
    }
}

/// The deflated payload of a message.
///
/// # Panics
/// Never: every message can be deflated.
#[must_use]
pub fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1000);
    let mut compress = Compress::new(Compression::new(6), false);
    compress.compress_vec(message, &mut out, FlushCompress::Sync).expect("room for it");
    out.truncate(out.len() - TAIL.len());
    out
}

/// # Panics
/// It was not deflated without context takeover.
fn inflated(payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(MOST);
    let payload = [payload, &TAIL].concat();
    let mut decompress = Decompress::new(false);
    decompress.decompress_vec(&payload, &mut message, FlushDecompress::Sync).expect("a deflated message");
    assert_eq!(decompress.total_in(), payload.len() as u64, "all of it");
    message
}

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The largest message that is inflated, above all messages of the tests.
const MOST: usize = 4 << 20;
