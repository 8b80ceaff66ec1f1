//! The transports of a test client: a WebSocket, or HTTP long-polling.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::frames::{self, Opcode};
use super::listener::MemoryListener;
use super::packet::{EnginePacket, OpenPacket};
use super::route::{RoundRobin, Route, RouteTransport};

/// The connections of one session. They are cut when the value is dropped.
pub(super) struct ClientTransport {
    /// Packets to the server, in order. The packets of one item stay together. The last one is [`EnginePacket::Close`].
    pub(super) outgoing: mpsc::Sender<Vec<EnginePacket>>,
    /// Packets from the server. It ends with the connection, or with an error that says what was wrong.
    pub(super) incoming: mpsc::Receiver<Result<EnginePacket, String>>,
    _tasks: JoinSet<()>,
}

impl ClientTransport {
    /// Opens a session.
    ///
    /// # Errors
    /// The node's refusal or the failure of the connection, in words.
    pub(super) async fn open(route: &Route) -> Result<(Self, OpenPacket), String> {
        match route.transport {
            RouteTransport::WebSocket => Self::open_websocket(&route.nodes).await,
            RouteTransport::Polling => Self::open_polling(&route.nodes).await,
        }
    }

    async fn open_websocket(nodes: &RoundRobin) -> Result<(Self, OpenPacket), String> {
        let request = Request::get("/socket.io/?EIO=4&transport=websocket")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, STANDARD.encode(random::<16>()));
        let (response, _connection) = send(&listener(nodes)?, request, Bytes::new()).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(response).await);
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| error.to_string())?;
        let (read, write) = split(TokioIo::new(upgraded));
        let (outgoing, out) = mpsc::channel(QUEUE);
        let (to, mut incoming) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_frames(read, to));
        // The reader reports a broken connection, too.
        tasks.spawn(async move { drop(write_frames(write, out).await) });
        let opened = opened(
            incoming
                .recv()
                .await
                .unwrap_or_else(|| Err("the connection was closed without a packet".to_owned()))?,
        )?;
        Ok((Self { outgoing, incoming, _tasks: tasks }, opened))
    }

    async fn open_polling(nodes: &RoundRobin) -> Result<(Self, OpenPacket), String> {
        let path = "/socket.io/?EIO=4&transport=polling".to_owned();
        let mut packets = poll(nodes, &path).await?.into_iter();
        let opened = opened(packets.next().ok_or("the response to the first poll has no packet")?)?;
        let path = format!("{path}&sid={}", opened.sid);
        let (outgoing, out) = mpsc::channel(QUEUE);
        let (to, incoming) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_polling(nodes.clone(), path.clone(), packets.collect(), to.clone()));
        tasks.spawn(keep_posting(nodes.clone(), path, out, to));
        Ok((Self { outgoing, incoming, _tasks: tasks }, opened))
    }
}

fn opened(packet: EnginePacket) -> Result<OpenPacket, String> {
    match packet {
        EnginePacket::Open(data) => serde_json::from_str(&data).map_err(|error| format!("{data}: {error}")),
        other => Err(format!("expected the open packet, received {other:?}")),
    }
}

async fn read_frames(mut half: ReadHalf<TokioIo<Upgraded>>, to: mpsc::Sender<Result<EnginePacket, String>>) {
    let mut buffer = BytesMut::new();
    loop {
        let packet = match frames::read(&mut buffer) {
            Ok(None) => match half.read_buf(&mut buffer).await {
                Ok(1..) => continue,
                Ok(0) | Err(_) => return,
            },
            Ok(Some(frame)) => match frame.opcode {
                Opcode::Text => match frame.payload.try_into() {
                    Ok(text) => EnginePacket::read(&text),
                    Err(_) => Err("a text frame is not UTF-8".to_owned()),
                },
                Opcode::Binary => Ok(EnginePacket::Binary(frame.payload)),
                Opcode::Close => return,
                // The heartbeat is Engine.IO's. Nodes send no WebSocket pings.
                Opcode::Ping | Opcode::Pong => continue,
            },
            Err(why) => Err(why.to_owned()),
        };
        let broken = packet.is_err();
        if to.send(packet).await.is_err() || broken {
            return;
        }
    }
}

async fn write_frames(
    mut half: WriteHalf<TokioIo<Upgraded>>,
    mut from: mpsc::Receiver<Vec<EnginePacket>>,
) -> io::Result<()> {
    while let Some(packets) = from.recv().await {
        let mut bytes = BytesMut::new();
        for packet in &packets {
            match packet {
                EnginePacket::Binary(payload) => frames::write(Opcode::Binary, payload, random(), &mut bytes),
                EnginePacket::Close => frames::write(Opcode::Close, &[], random(), &mut bytes),
                other => frames::write(Opcode::Text, other.write().as_bytes(), random(), &mut bytes),
            }
        }
        half.write_all(&bytes).await?;
        half.flush().await?;
    }
    Ok(())
}

/// Sends one GET after another, until the server closes the session or refuses a request.
async fn keep_polling(
    nodes: RoundRobin,
    path: String,
    first: Vec<EnginePacket>,
    to: mpsc::Sender<Result<EnginePacket, String>>,
) {
    let mut packets = Ok(first);
    loop {
        let (received, broken) = match packets {
            Ok(packets) => (packets, None),
            Err(why) => (Vec::new(), Some(Err(why))),
        };
        let ends = broken.is_some() || received.contains(&EnginePacket::Close);
        for packet in received.into_iter().map(Ok).chain(broken) {
            if to.send(packet).await.is_err() {
                return;
            }
        }
        if ends {
            return;
        }
        packets = poll(&nodes, &path).await;
    }
}

/// Sends what is queued, one POST at a time.
async fn keep_posting(
    nodes: RoundRobin,
    path: String,
    mut from: mpsc::Receiver<Vec<EnginePacket>>,
    to: mpsc::Sender<Result<EnginePacket, String>>,
) {
    while let Some(mut packets) = from.recv().await {
        while let Ok(more) = from.try_recv() {
            packets.extend(more);
        }
        if let Err(why) = post(&nodes, &path, &packets).await {
            // The session may have ended for another reason before.
            drop(to.send(Err(why)).await);
            return;
        }
    }
}

/// Sends a GET with a stamp of its own, as every client does. When its node breaks off, the next one gets the same GET, as from a
/// load balancer.
async fn poll(nodes: &RoundRobin, path: &str) -> Result<Vec<EnginePacket>, String> {
    let path = format!("{path}&t={:x}", u64::from_ne_bytes(random()));
    let mut sent = send(&listener(nodes)?, Request::get(&path), Bytes::new()).await;
    for _another in 1..nodes.len() {
        if sent.is_ok() {
            break;
        }
        sent = send(&listener(nodes)?, Request::get(&path), Bytes::new()).await;
    }
    let (response, _connection) = sent?;
    if response.status() != StatusCode::OK {
        return Err(refused(response).await);
    }
    EnginePacket::read_payload(&body(response).await?)
}

async fn post(nodes: &RoundRobin, path: &str, packets: &[EnginePacket]) -> Result<(), String> {
    let request = Request::post(path).header(CONTENT_TYPE, "text/plain;charset=UTF-8");
    let body = EnginePacket::write_payload(packets).into();
    let (response, _connection) = send(&listener(nodes)?, request, body).await?;
    if response.status() == StatusCode::OK { Ok(()) } else { Err(refused(response).await) }
}

fn listener(nodes: &RoundRobin) -> Result<MemoryListener, String> {
    nodes.next().ok_or_else(|| "the route has no nodes".to_owned())
}

/// Sends one request over a new connection. Dropping the second value closes the connection, unless it was upgraded.
async fn send(
    listener: &MemoryListener,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<(Response<Incoming>, JoinSet<()>), String> {
    let said = |error: hyper::Error| error.to_string();
    let stream = listener.connect().map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let mut driving = JoinSet::new();
    driving.spawn(async move { drop(connection.with_upgrades().await) });
    let request = request.header(HOST, "test").body(Full::new(body)).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(said)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // The task hands the connection over and ends.
        driving.detach_all();
    }
    Ok((response, driving))
}

async fn body(response: Response<Incoming>) -> Result<Bytes, String> {
    let collected = response.into_body().collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| error.to_string())
}

/// The status and the text of a response that was not expected.
async fn refused(response: Response<Incoming>) -> String {
    let status = response.status();
    let text = body(response).await.unwrap_or_default();
    format!("{status}: {}", String::from_utf8_lossy(&text))
}

/// Random bytes for keys and masks, which are no secrets.
fn random<const N: usize>() -> [u8; N] {
    // The protocol permits zeros where the operating system has no random numbers.
    crate::random::bytes().unwrap_or([0; N])
}

/// How many packets wait in each direction before the sender waits.
const QUEUE: usize = 1024;
