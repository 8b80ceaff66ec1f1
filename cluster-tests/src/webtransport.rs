//! A WebTransport client that returns every frame as it arrived, and every close with its code.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use socketmesh::Node;
use socketmesh::http::{Certificate, WebTransportListener};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use wtransport::endpoint::endpoint_side::Client;
use wtransport::error::{ConnectingError, ConnectionError};
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, VarInt};

use crate::deadline::within;
use crate::messages::{Messages, Received};

/// The WebTransport listener of a node.
#[derive(Clone, Copy, Debug)]
pub struct WebTransportTarget {
    /// The UDP address.
    pub addr: SocketAddr,
    /// The SHA-256 hash of its certificate.
    pub sha256: [u8; 32],
}

impl WebTransportTarget {
    /// Serves WebTransport at a free port until the node shuts down.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn of(node: &Node) -> Self {
        Self::limited(node, |listener| listener).await
    }

    /// Serves WebTransport at this address until the node shuts down.
    ///
    /// # Panics
    /// The address is taken.
    pub async fn at(node: &Node, addr: SocketAddr) -> Self {
        Self::bind(node, addr, |listener| listener).await
    }

    /// Serves WebTransport at a free port, with the limits that `limit` sets.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn limited(
        node: &Node,
        limit: impl FnOnce(WebTransportListener) -> WebTransportListener,
    ) -> Self {
        Self::bind(node, (Ipv4Addr::LOCALHOST, 0).into(), limit).await
    }

    async fn bind(
        node: &Node,
        addr: SocketAddr,
        limit: impl FnOnce(WebTransportListener) -> WebTransportListener,
    ) -> Self {
        let certificate = Certificate::self_signed(["localhost"]).expect("a certificate");
        let listener = WebTransportListener::bind(addr, &certificate).await.expect("a port");
        let target = Self { addr: listener.local_addr(), sha256: certificate.sha256() };
        let (node, listener) = (node.clone(), limit(listener));
        tokio::spawn(async move { node.serve_webtransport(listener).await });
        target
    }

    /// A WebTransport session, without any stream yet.
    ///
    /// # Errors
    /// The node refuses it.
    ///
    /// # Panics
    /// Nothing comes in time.
    pub async fn connect(&self, path: &str) -> Result<Connected, ConnectingError> {
        let config = ClientConfig::builder()
            .with_bind_address("127.0.0.1:0".parse().expect("an address"))
            .with_server_certificate_hashes([Sha256Digest::new(self.sha256)])
            .build();
        let endpoint = Endpoint::client(config).expect("a port");
        let url = format!("https://{}{path}", self.addr);
        let request = wtransport::endpoint::ConnectOptions::builder(url).add_header("origin", ORIGIN).build();
        let connection = within("a WebTransport session", endpoint.connect(request)).await?;
        Ok(Connected { connection, endpoint })
    }

    /// A session with its one stream, on which nothing was sent yet.
    ///
    /// # Panics
    /// It is refused.
    pub async fn stream(&self) -> WebTransport {
        let connected = self.connect("/socket.io/").await.expect("the node takes the session");
        connected.stream().await
    }

    /// Opens a session of Engine.IO: its stream, and the handshake.
    ///
    /// # Panics
    /// It is refused.
    pub async fn open(&self) -> (WebTransport, String) {
        let mut stream = self.stream().await;
        stream.send("0").await;
        let open = stream.recv_text().await;
        assert!(open.starts_with("0{"), "a session begins with its handshake, not {open}");
        (stream, open)
    }

    /// The probe of an upgrade, answered.
    ///
    /// # Panics
    /// The answer is another.
    pub async fn probe(&self, sid: &str) -> WebTransport {
        let mut stream = self.stream().await;
        stream.send(&format!(r#"0{{"sid":"{sid}"}}"#)).await;
        stream.send("2probe").await;
        assert_eq!(stream.recv_text().await, "3probe");
        stream
    }
}

/// The first packet of a client that connects, which nobody answers.
///
/// # Panics
/// None comes.
pub async fn first_packet() -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let addr = socket.local_addr().expect("an address");
    let mut connecting = JoinSet::new();
    connecting.spawn(async move { WebTransportTarget { addr, sha256: [0; 32] }.connect("/").await.is_ok() });
    let mut packet = vec![0; 2000];
    let length = within("the first packet", socket.recv(&mut packet)).await.expect("a packet");
    packet.truncate(length);
    packet
}

/// A WebTransport session.
pub struct Connected {
    /// The session itself.
    pub connection: Connection,
    endpoint: Endpoint<Client>,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl Connected {
    /// Opens a bidirectional stream.
    ///
    /// # Panics
    /// The session is closed.
    pub async fn stream(self) -> WebTransport {
        let opening = self.connection.open_bi().await.expect("the session is open");
        let (send, recv) = within("a stream", opening).await.expect("the session is open");
        WebTransport { session: self, send, recv }
    }
}

/// One stream of a session; dropping it closes the session.
#[derive(Debug)]
pub struct WebTransport {
    /// The session it belongs to.
    pub session: Connected,
    send: SendStream,
    recv: RecvStream,
}

impl WebTransport {
    /// Sends a frame of text.
    ///
    /// # Panics
    /// The session is closed.
    pub async fn send(&mut self, text: &str) {
        self.send_raw(&frame(text.as_bytes(), 0)).await;
    }

    /// Sends a frame of bytes.
    ///
    /// # Panics
    /// The session is closed.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_raw(&frame(bytes, 0x80)).await;
    }

    /// Sends whatever it is.
    ///
    /// # Panics
    /// The session is closed.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        within("room to send", self.send.write_all(bytes)).await.expect("the session is open");
    }

    async fn frame(&mut self) -> Option<(Vec<u8>, bool)> {
        let mut first = [0];
        self.recv.read_exact(&mut first).await.ok()?;
        let [first] = first;
        let length = match first & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.exactly().await?)),
            127 => u64::from_be_bytes(self.exactly().await?),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).ok()?];
        self.recv.read_exact(&mut payload).await.ok()?;
        Some((payload, first & 0x80 != 0))
    }

    async fn exactly<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.recv.read_exact(&mut bytes).await.ok()?;
        Some(bytes)
    }

    /// Closes the session, as a page that goes away does.
    pub async fn close(self) {
        self.session.connection.close(VarInt::from_u32(0), b"");
        within("the goodbye to be sent", self.session.endpoint.wait_idle()).await;
    }

    /// Ends its own half of the stream.
    ///
    /// # Panics
    /// The session is closed.
    pub async fn finish(&mut self) {
        within("the end to be taken", self.send.finish()).await.expect("the session is open");
    }

    /// Breaks the stream off.
    ///
    /// # Panics
    /// It has ended.
    pub fn reset(&mut self) {
        self.send.reset(VarInt::from_u32(7)).expect("the stream is open");
    }
}

impl Messages for WebTransport {
    async fn recv(&mut self) -> Received {
        within("a frame", async {
            match self.frame().await {
                Some((payload, false)) => Received::Text(String::from_utf8(payload).expect("text is UTF-8")),
                Some((payload, true)) => Received::Binary(payload),
                None => Received::Closed(code(&self.session.connection.closed().await)),
            }
        })
        .await
    }

    async fn pong(&mut self) {
        self.send("3").await;
    }
}

fn frame(payload: &[u8], binary: u8) -> Vec<u8> {
    let length = payload.len();
    let mut frame = match length {
        0..=125 => vec![u8::try_from(length).expect("it is short")],
        126..=0xffff => [&[126][..], &u16::try_from(length).expect("it is short").to_be_bytes()].concat(),
        _ => [&[127][..], &(length as u64).to_be_bytes()].concat(),
    };
    *frame.first_mut().expect("a header") |= binary;
    frame.extend_from_slice(payload);
    frame
}

fn code(error: &ConnectionError) -> Option<u16> {
    match error {
        ConnectionError::ApplicationClosed(close) => u16::try_from(close.code().into_inner()).ok(),
        _ => None,
    }
}

/// What the harness says it is from.
pub const ORIGIN: &str = "https://app.example";
