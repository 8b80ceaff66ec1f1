//! A WebSocket client that returns every message as it arrived, and every close with its code.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::{Method, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{
            Role,
            frame::{
                Frame, FrameHeader,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::{
    deadline::within,
    http::{Call, Reply},
    messages::{Messages, Received},
};

/// An open WebSocket. Dropping it closes the TCP connection without a close frame.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    /// The response that opened it.
    pub opened: Reply,
}

impl WebSocket {
    /// Asks for an upgrade.
    ///
    /// # Errors
    /// The response, when it is not 101.
    ///
    /// # Panics
    /// No response arrives in time.
    pub async fn open(addr: std::net::SocketAddr, uri: &str) -> Result<Self, Reply> {
        Self::from_call(Call::new(addr, Method::GET, uri).upgrade()).await
    }

    /// Asks for an upgrade with this request.
    ///
    /// # Errors
    /// The response, when it is not 101.
    ///
    /// # Panics
    /// No response arrives in time.
    pub async fn from_call(call: Call) -> Result<Self, Reply> {
        let (mut answer, mut connection) = call.head().await;
        if answer.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
            return Err(Reply::read(answer).await);
        }
        let upgraded = hyper::upgrade::on(&mut answer);
        let opened = Reply::read(answer).await;
        let io = within("the upgraded connection", upgraded).await.expect("it was 101");
        connection.detach_all();
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Client, None).await;
        Ok(Self { stream, opened })
    }

    /// Sends a text message.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends text messages at once, so that the server reads them at once.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send_together(&mut self, texts: &[&str]) {
        let sending = async {
            for text in texts {
                self.stream.feed(Message::text(*text)).await?;
            }
            self.stream.flush().await
        };
        within("room to send", sending)
            .await
            .unwrap_or_else(|error| panic!("sending on a WebSocket: {error}"));
    }

    /// Sends a binary message.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_message(Message::binary(bytes.to_vec())).await;
    }

    /// Sends a WebSocket ping (not one of Engine.IO).
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send_ping(&mut self, payload: &'static [u8]) {
        self.send_message(Message::Ping(Bytes::from_static(payload))).await;
    }

    /// Sends one frame of a text message with these bytes.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send_text_frame(&mut self, bytes: &'static [u8], first: bool, last: bool) {
        let opcode = OpCode::Data(if first { Data::Text } else { Data::Continue });
        self.send_message(Message::Frame(Frame::message(Bytes::from_static(bytes), opcode, last))).await;
    }

    /// Sends a close frame. The connection ends when the server has answered it.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send_close(&mut self) {
        self.send_message(Message::Close(None)).await;
    }

    /// Sends text to a server that may have closed the connection. Returns whether it was sent.
    pub async fn try_send(&mut self, text: &str) -> bool {
        within("room to send", self.stream.send(Message::text(text))).await.is_ok()
    }

    /// Sends a frame with this first byte to a server that may have closed the connection. Returns whether it was sent.
    pub async fn try_send_frame(&mut self, first: u8, payload: Vec<u8>) -> bool {
        let header = FrameHeader {
            is_final: first & 0x80 != 0,
            rsv1: first & 0x40 != 0,
            rsv2: first & 0x20 != 0,
            rsv3: first & 0x10 != 0,
            opcode: OpCode::from(first & 0x0f),
            mask: None,
        };
        let frame = Message::Frame(Frame::from_payload(header, payload.into()));
        within("room to send", self.stream.send(frame)).await.is_ok()
    }

    async fn send_message(&mut self, message: Message) {
        let sent = within("room to send", self.stream.send(message)).await;
        sent.unwrap_or_else(|error| panic!("sending on a WebSocket: {error}"));
    }

    /// Waits for the next message without a deadline. Dropping the future loses nothing.
    ///
    /// # Panics
    /// The server breaks the rules of WebSocket.
    pub async fn next(&mut self) -> Received {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Received::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => return Received::Binary(bytes.to_vec()),
                Some(Ok(Message::Pong(payload))) => return Received::Pong(payload.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    return Received::Closed(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
                Some(Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed)) | None => {
                    return ABNORMAL;
                }
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => return ABNORMAL,
                Some(Err(error)) => panic!("receiving on a WebSocket: {error}"),
            }
        }
    }
}

impl Messages for WebSocket {
    async fn recv(&mut self) -> Received {
        within("a WebSocket message", self.next()).await
    }

    async fn pong(&mut self) {
        // The server may just have closed.
        self.try_send("3").await;
    }
}

/// What a browser calls 1006: the connection ended without a close frame.
const ABNORMAL: Received = Received::Closed(Some(1006));
