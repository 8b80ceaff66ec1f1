//! How a client's packets travel: over a WebSocket, or by polling.

use std::io;
use std::sync::Arc;

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
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::door::Door;
use super::frames::{self, Opcode};
use super::packet::{Engine, Opened};

/// The connections of one session. Dropped, they are cut.
pub(super) struct Transport {
    /// Packets for the server, in order; those of one item are not parted. Ends with [`Engine::Close`].
    pub(super) outgoing: mpsc::Sender<Vec<Engine>>,
    /// What the server sends; ends with the connection, or with what was wrong.
    pub(super) incoming: mpsc::Receiver<Result<Engine, String>>,
    _tasks: JoinSet<()>,
}

/// Where the requests of a client go, in turn.
#[derive(Clone)]
pub(super) struct Doors(Arc<Mutex<Vec<Door>>>);

impl Doors {
    pub(super) fn new(doors: Vec<Door>) -> Self {
        Self(Arc::new(Mutex::new(doors)))
    }

    /// The same, in an order of its own.
    pub(super) fn copied(&self) -> Self {
        Self::new(self.0.lock().clone())
    }

    /// From now on requests go there.
    pub(super) fn replace(&self, doors: &Self) {
        let doors = doors.0.lock().clone();
        *self.0.lock() = doors;
    }

    fn next(&self) -> Result<Door, String> {
        let mut doors = self.0.lock();
        let next = doors.first().cloned().ok_or("there is no node to connect to")?;
        doors.rotate_left(1);
        Ok(next)
    }
}

impl Transport {
    /// Opens a session over a WebSocket.
    ///
    /// # Errors
    /// What a client would see instead.
    pub(super) async fn websocket(doors: &Doors) -> Result<(Self, Opened), String> {
        let request = Request::get("/socket.io/?EIO=4&transport=websocket")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, STANDARD.encode(random::<16>()));
        let (response, _connection) = send(&doors.next()?, request, Bytes::new()).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(response).await);
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| error.to_string())?;
        let (read, write) = split(TokioIo::new(upgraded));
        let (outgoing, out) = mpsc::channel(QUEUE);
        let (to, mut incoming) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_frames(read, to));
        // A broken connection is what the reader sees, too.
        tasks.spawn(async move { drop(write_frames(write, out).await) });
        let opened = opened(incoming.recv().await.unwrap_or_else(|| Err("closed at once".to_owned()))?)?;
        Ok((Self { outgoing, incoming, _tasks: tasks }, opened))
    }

    /// Opens a session by polling.
    ///
    /// # Errors
    /// What a client would see instead.
    pub(super) async fn polling(doors: &Doors) -> Result<(Self, Opened), String> {
        let path = "/socket.io/?EIO=4&transport=polling".to_owned();
        let mut packets = poll(doors, &path).await?.into_iter();
        let opened = opened(packets.next().ok_or("an empty payload")?)?;
        let path = format!("{path}&sid={}", opened.sid);
        let (outgoing, out) = mpsc::channel(QUEUE);
        let (to, incoming) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_polling(doors.clone(), path.clone(), packets.collect(), to.clone()));
        tasks.spawn(keep_posting(doors.clone(), path, out, to));
        Ok((Self { outgoing, incoming, _tasks: tasks }, opened))
    }
}

fn opened(packet: Engine) -> Result<Opened, String> {
    match packet {
        Engine::Open(data) => serde_json::from_str(&data).map_err(|error| format!("{data}: {error}")),
        other => Err(format!("the open packet, not {other:?}")),
    }
}

async fn read_frames(mut half: ReadHalf<TokioIo<Upgraded>>, to: mpsc::Sender<Result<Engine, String>>) {
    let mut buffer = BytesMut::new();
    loop {
        let packet = match frames::read(&mut buffer) {
            Ok(None) => match half.read_buf(&mut buffer).await {
                Ok(1..) => continue,
                Ok(0) | Err(_) => return,
            },
            Ok(Some(frame)) => match frame.opcode {
                Opcode::Text => match frame.payload.try_into() {
                    Ok(text) => Engine::read(&text),
                    Err(_) => Err("a text frame that is not UTF-8".to_owned()),
                },
                Opcode::Binary => Ok(Engine::Binary(frame.payload)),
                Opcode::Close => return,
                // The heartbeat is Engine.IO's: a node sends none of its own.
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
    mut from: mpsc::Receiver<Vec<Engine>>,
) -> io::Result<()> {
    while let Some(packets) = from.recv().await {
        let mut bytes = BytesMut::new();
        for packet in &packets {
            match packet {
                Engine::Binary(payload) => frames::write(Opcode::Binary, payload, random(), &mut bytes),
                Engine::Close => frames::write(Opcode::Close, &[], random(), &mut bytes),
                other => frames::write(Opcode::Text, other.write().as_bytes(), random(), &mut bytes),
            }
        }
        half.write_all(&bytes).await?;
        half.flush().await?;
    }
    Ok(())
}

/// Sends one GET after another, until the server closes the session or refuses one.
async fn keep_polling(
    doors: Doors,
    path: String,
    first: Vec<Engine>,
    to: mpsc::Sender<Result<Engine, String>>,
) {
    let mut packets = Ok(first);
    loop {
        let (received, broken) = match packets {
            Ok(packets) => (packets, None),
            Err(why) => (Vec::new(), Some(Err(why))),
        };
        let ends = broken.is_some() || received.contains(&Engine::Close);
        for packet in received.into_iter().map(Ok).chain(broken) {
            if to.send(packet).await.is_err() {
                return;
            }
        }
        if ends {
            return;
        }
        packets = poll(&doors, &path).await;
    }
}

/// Sends what is queued, one POST at a time.
async fn keep_posting(
    doors: Doors,
    path: String,
    mut from: mpsc::Receiver<Vec<Engine>>,
    to: mpsc::Sender<Result<Engine, String>>,
) {
    while let Some(mut packets) = from.recv().await {
        while let Ok(more) = from.try_recv() {
            packets.extend(more);
        }
        if let Err(why) = post(&doors, &path, &packets).await {
            // Nobody may be interested any more.
            drop(to.send(Err(why)).await);
            return;
        }
    }
}

async fn poll(doors: &Doors, path: &str) -> Result<Vec<Engine>, String> {
    let (response, _connection) = send(&doors.next()?, Request::get(path), Bytes::new()).await?;
    if response.status() != StatusCode::OK {
        return Err(refused(response).await);
    }
    Engine::read_payload(&body(response).await?)
}

async fn post(doors: &Doors, path: &str, packets: &[Engine]) -> Result<(), String> {
    let request = Request::post(path).header(CONTENT_TYPE, "text/plain;charset=UTF-8");
    let body = Engine::write_payload(packets).into();
    let (response, _connection) = send(&doors.next()?, request, body).await?;
    if response.status() == StatusCode::OK { Ok(()) } else { Err(refused(response).await) }
}

/// One request over a connection of its own, which ends with the second value, unless it was upgraded.
async fn send(
    door: &Door,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<(Response<Incoming>, JoinSet<()>), String> {
    let said = |error: hyper::Error| error.to_string();
    let stream = door.connect().map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let mut driving = JoinSet::new();
    driving.spawn(async move { drop(connection.with_upgrades().await) });
    let request = request.header(HOST, "test").body(Full::new(body)).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(said)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // It hands the connection over and ends.
        driving.detach_all();
    }
    Ok((response, driving))
}

async fn body(response: Response<Incoming>) -> Result<Bytes, String> {
    let collected = response.into_body().collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| error.to_string())
}

/// An answer that is not what was asked for, in words.
async fn refused(response: Response<Incoming>) -> String {
    let status = response.status();
    let text = body(response).await.unwrap_or_default();
    format!("{status}: {}", String::from_utf8_lossy(&text))
}

/// Keys and masks: nobody's secret.
fn random<const N: usize>() -> [u8; N] {
    // Without random numbers they are all zero, which the protocol permits.
    crate::random::bytes().unwrap_or([0; N])
}

/// What waits on its way, in packets.
const QUEUE: usize = 1024;
