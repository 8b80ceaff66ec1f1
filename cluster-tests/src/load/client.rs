//! A Socket.IO client in the main namespace over WebSocket that costs almost nothing while it receives nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::wire::{Frames, text_frame};

/// A connected client; dropping it drops its connection. Pings are answered while it receives.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    frames: Frames,
}

impl Client {
    /// Opens a session and joins the main namespace. `number` spreads many clients over loopback source addresses.
    pub(crate) async fn connect(addr: SocketAddr, number: usize) -> io::Result<Self> {
        timeout(CONNECT_TIMEOUT, Self::try_connect(addr, number)).await?
    }

    async fn try_connect(addr: SocketAddr, number: usize) -> io::Result<Self> {
        let stream = dial(addr, number).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, frames: Frames::default() };
        client.upgrade(addr).await?;
        client.send("40").await?;
        let mut answer = None;
        while answer.is_none() {
            client
                .receive(|packet| {
                    if packet.starts_with(b"4") {
                        answer = Some(packet.starts_with(b"40"));
                    }
                })
                .await?;
        }
        answer.unwrap_or_default().then_some(client).ok_or_else(|| refused("CONNECT"))
    }

    async fn upgrade(&mut self, addr: SocketAddr) -> io::Result<()> {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c29ja2V0bWVzaCB0ZXN0cw==\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let end = loop {
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(refused("the upgrade"));
        }
        // The handshake packet may have arrived together with the response; it is not needed.
        self.frames.feed(answer.get(end..).unwrap_or_default(), |_, _| {});
        Ok(())
    }

    /// Sends an Engine.IO packet.
    pub(crate) async fn send(&mut self, packet: &str) -> io::Result<()> {
        let mut frame = Vec::with_capacity(packet.len() + 14);
        text_frame(packet.as_bytes(), &mut frame);
        self.stream.write_all(&frame).await
    }

    /// Waits for the next read and visits its packets; heartbeats are answered. Dropping the future loses nothing.
    pub(crate) async fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let Self { stream, frames } = self;
        let mut pinged = false;
        let mut ended = false;
        poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
                if let Poll::Ready(Ok(())) = read {
                    ended = buffer.filled().is_empty();
                    frames.feed(buffer.filled(), |opcode, payload| match (opcode, payload) {
                        (TEXT, b"2") => pinged = true,
                        (TEXT, packet) => each(packet),
                        (opcode, _) => ended |= opcode == CLOSE,
                    });
                }
                read
            })
        })
        .await?;
        if pinged {
            self.send("3").await?;
        }
        if ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Receives for ever; returns when the connection ends.
    pub(crate) async fn idle(mut self) {
        while self.receive(|_| {}).await.is_ok() {}
    }
}

async fn dial(addr: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let IpAddr::V4(ip) = addr.ip() else { return TcpStream::connect(addr).await };
    if number < PORTS || !ip.is_loopback() {
        return TcpStream::connect(addr).await;
    }
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(number / PORTS + 1).unwrap_or(u8::MAX);
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    socket.connect(addr).await
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("the server refused {what}"))
}

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into_boxed_slice());
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// Linux has 28 232 ephemeral ports per source address by default.
const PORTS: usize = 20_000;

/// The deadline for a connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
