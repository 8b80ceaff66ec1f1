//! `floor [MESH CERTIFICATE]`: one of two nodes, which do the least that the bench asks for. It says `listening ADDRESS` when it is
//! ready, and the first one also what the second has to be told: its address for it, and its certificate.
//!
//! There is one namespace without heartbeats, limits or errors, over WebSockets alone. Every connection has a task that reads
//! and one that writes what a queue holds, and the nodes have one QUIC stream each way, with TLS. What a server does beyond that,
//! it pays for beyond that.

use std::collections::HashMap;
use std::error::Error;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let hub = Arc::new(Hub::default());
    let mut arguments = std::env::args().skip(1);
    let more = match (arguments.next(), arguments.next()) {
        (Some(mesh), Some(certificate)) => connect(mesh.parse()?, &certificate, &hub).await?,
        _ => accept(&hub)?,
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(4096)?;
    println!("listening {}{more}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let hub = Arc::clone(&hub);
        tokio::spawn(async move { hub.serve(stream).await });
    }
}

/// Who is in which room, and the other node. A client is in a room of its own id.
#[derive(Default)]
struct Hub {
    rooms: RwLock<HashMap<Bytes, Members>>,
    mesh: OnceLock<UnboundedSender<Bytes>>,
    ids: AtomicU64,
}

type Members = Arc<Vec<(u64, UnboundedSender<Bytes>)>>;

impl Hub {
    async fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut read = BytesMut::with_capacity(1024);
        while !read.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        read.clear();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        // No two clients of both nodes have the same.
        let name = format!("{}-{id}", stream.local_addr()?.port());
        stream.write_all(UPGRADED).await?;
        let (mut reader, writer) = stream.into_split();
        let (queue, queued) = unbounded_channel();
        tokio::spawn(write(writer, queued));
        queue.send(text(&[
            br#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#,
        ]))?;
        let mut joined = Vec::new();
        while reader.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
            while let Some(message) = take_message(&mut read) {
                self.handle(&message, (id, &name), &queue, &mut joined)?;
            }
        }
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        for room in joined {
            let members = rooms.entry(room).or_default();
            Arc::make_mut(members).retain(|(member, _)| *member != id);
        }
        rooms.retain(|_, members| !members.is_empty());
        Ok(())
    }

    fn handle(
        &self,
        packet: &[u8],
        (id, name): (u64, &str),
        queue: &UnboundedSender<Bytes>,
        joined: &mut Vec<Bytes>,
    ) -> Result<()> {
        let mut join = |room: &[u8]| {
            let room = Bytes::copy_from_slice(room);
            joined.push(room.clone());
            let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(rooms.entry(room).or_default()).push((id, queue.clone()));
        };
        if packet.starts_with(b"40") {
            join(name.as_bytes());
            queue.send(text(&[format!("40{{\"sid\":\"{name}\"}}").as_bytes()]))?;
        }
        let Some(packet) = packet.strip_prefix(b"42") else { return Ok(()) };
        // `17["name","first","second"]`, and none of the strings but the last may have a comma.
        let Some(bracket) = packet.iter().position(|byte| *byte == b'[') else { return Ok(()) };
        let (ack, arguments) = packet.split_at(bracket);
        let mut arguments =
            arguments[1..].strip_suffix(b"]").unwrap_or_default().splitn(3, |byte| *byte == b',');
        let mut next = || arguments.next().unwrap_or_default();
        let unquoted = |json: &[u8]| json.get(1..json.len() - 1).unwrap_or_default().to_vec();
        match next() {
            b"\"join\"" => {
                join(&unquoted(next()));
                queue.send(text(&[b"43", ack, b"[]"]))?;
            }
            b"\"msg\"" => {
                let room = unquoted(next());
                let frame = text(&[b"42[\"msg\",", next(), b"]"]);
                self.send_on(&room, &frame)?;
                self.deliver(&room, &frame);
            }
            b"\"direct\"" => {
                let room = unquoted(next());
                let frame = text(&[b"42[\"direct\",", next(), b"]"]);
                if !self.deliver(&room, &frame) {
                    self.send_on(&room, &frame)?;
                }
                queue.send(text(&[b"43", ack, b"[]"]))?;
            }
            b"\"echo\"" => queue.send(text(&[b"43", ack, b"[", next(), b"]"]))?,
            _ => {}
        }
        Ok(())
    }

    /// Delivers a frame to the members that are here. Returns whether there are any.
    fn deliver(&self, room: &[u8], frame: &Bytes) -> bool {
        let members = self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned();
        let Some(members) = members else { return false };
        for (_, queue) in members.iter() {
            // It may just have left.
            let _left = queue.send(frame.clone());
        }
        true
    }

    /// Sends a frame to the other node: the lengths of frame and room, the room, the frame.
    fn send_on(&self, room: &[u8], frame: &Bytes) -> Result<()> {
        let Some(mesh) = self.mesh.get() else { return Ok(()) };
        let mut message = Vec::with_capacity(6 + room.len() + frame.len());
        message.extend_from_slice(&u32::try_from(frame.len())?.to_be_bytes());
        message.extend_from_slice(&u16::try_from(room.len())?.to_be_bytes());
        message.extend_from_slice(room);
        message.extend_from_slice(frame);
        Ok(mesh.send(message.into())?)
    }

    async fn exchange(&self, link: Connection) -> Result<()> {
        let (queue, mut queued) = unbounded_channel::<Bytes>();
        self.mesh.set(queue).map_err(|_| "there are two nodes")?;
        let writer = link.clone();
        tokio::spawn(async move {
            let (mut stream, mut batch) = (writer.open_uni().await?, Vec::new());
            while queued.recv_many(&mut batch, BATCH).await > 0 {
                stream.write_all_chunks(&mut batch).await?;
                batch.clear();
            }
            Result::Ok(())
        });
        let mut stream = link.accept_uni().await?;
        let mut read = BytesMut::new();
        while let Some(chunk) = stream.read_chunk(1 << 20, true).await? {
            read.extend_from_slice(&chunk.bytes);
            while let Some((frame, room)) = lengths(&read) {
                if read.len() < 6 + room + frame {
                    break;
                }
                read.advance(6);
                let room = read.split_to(room);
                self.deliver(&room, &read.split_to(frame).freeze());
            }
        }
        Ok(())
    }
}

fn lengths(read: &[u8]) -> Option<(usize, usize)> {
    let (frame, rest) = read.split_first_chunk()?;
    let (room, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*frame).try_into().ok()?, u16::from_be_bytes(*room).into()))
}

async fn write(mut stream: OwnedWriteHalf, mut queued: UnboundedReceiver<Bytes>) -> Result<()> {
    let mut batch = Vec::new();
    while queued.recv_many(&mut batch, BATCH).await > 0 {
        let mut slices: Vec<_> = batch.iter().map(|frame| IoSlice::new(frame)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let written = stream.write_vectored(rest).await?;
            IoSlice::advance_slices(&mut rest, written);
        }
        batch.clear();
    }
    Ok(())
}

/// A text frame of these parts.
fn text(parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Vec::with_capacity(length + 10);
    frame.push(0x81);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame.into()
}

/// Takes the next whole frame of a client, which is masked.
fn take_message(read: &mut BytesMut) -> Option<BytesMut> {
    let (head, length) = match (read.get(1)? & 0x7f, read.get(2..)?) {
        (126, rest) => (4, u16::from_be_bytes(*rest.first_chunk()?).into()),
        (127, rest) => (10, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?),
        (short, _) => (2, usize::from(short)),
    };
    if read.len() < head + 4 + length {
        return None;
    }
    read.advance(head);
    let mask = read.split_to(4);
    let mut message = read.split_to(length);
    message.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some(message)
}

/// Waits for the other node. Returns what it has to be told.
fn accept(hub: &Arc<Hub>) -> Result<String> {
    let certified = rcgen::generate_simple_self_signed(["floor".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let tls = rustls::ServerConfig::builder().with_no_client_auth();
    let tls = tls.with_single_cert(vec![certified.cert.der().clone()], key)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport = transport();
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into())?;
    let digits: String = certified.cert.der().iter().map(|byte| format!("{byte:02x}")).collect();
    let told = format!(" {} {digits}", endpoint.local_addr()?);
    let hub = Arc::clone(hub);
    tokio::spawn(async move {
        let incoming = endpoint.accept().await.ok_or("the endpoint is closed")?;
        hub.exchange(incoming.await?).await
    });
    Ok(told)
}

/// Links this node with the other one, which has nothing to be told.
async fn connect(mesh: SocketAddr, certificate: &str, hub: &Arc<Hub>) -> Result<String> {
    let digits = certificate.as_bytes().chunks(2);
    let certificate: Vec<u8> = digits
        .map(|digits| Ok(u8::from_str_radix(std::str::from_utf8(digits)?, 16)?))
        .collect::<Result<_>>()?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.into())?;
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    let link = endpoint.connect_with(config, mesh, "floor")?.await?;
    let hub = Arc::clone(hub);
    tokio::spawn(async move {
        let _open = endpoint;
        hub.exchange(link).await
    });
    Ok(String::new())
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.initial_mtu(1452).keep_alive_interval(Some(Duration::from_secs(5)));
    transport.stream_receive_window(WINDOW.into()).receive_window(WINDOW.into()).send_window(WINDOW.into());
    Arc::new(transport)
}

/// The answer to the generator's `Sec-WebSocket-Key`, which is always the same.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: fJBq3scTVZBhU86d7RcmXz8iNc0=\r\n\r\n";

/// How many frames are written at once.
const BATCH: usize = 64;

/// Bytes on the way between the nodes.
const WINDOW: u32 = 64 << 20;
