//! A client: a session over any transport, in one namespace.

use std::io;
use std::rc::Rc;

use crate::frames::{TEXT, frame};
use crate::packet::{Packet, sid};
use crate::plan::Target;
use crate::polling::{self, Polling, SEPARATOR};
use crate::websocket::{self, Reader, Writer};

/// A connected client; dropping it drops its connections. Heartbeats are answered while it receives.
#[derive(Debug)]
pub(crate) struct Client {
    /// Of its socket.
    pub(crate) id: String,
    link: Link,
    namespace: Rc<str>,
}

#[derive(Debug)]
enum Link {
    WebSocket(Reader, Rc<Writer>),
    Polling(Rc<Polling>),
}

/// What a client sends through, beside its receiving.
#[derive(Debug, Clone)]
pub(crate) enum Sender {
    WebSocket(Rc<Writer>),
    Polling(Rc<Polling>),
}

/// Packets that are sent at once.
#[derive(Debug)]
pub(crate) struct Batch {
    framed: bool,
    bytes: Vec<u8>,
    packet: Vec<u8>,
}

impl Client {
    /// Opens a session and joins the namespace.
    pub(crate) async fn connect(target: &Target) -> io::Result<Self> {
        let mut client =
            Self { id: String::new(), link: Link::open(target).await?, namespace: prefix(target).into() };
        let connect = format!("40{}{}", client.namespace, target.common.auth.as_deref().unwrap_or_default());
        client.send(connect.as_bytes()).await?;
        let mut answer = None;
        while answer.is_none() {
            client
                .receive(|packet| match packet {
                    Packet::Connected(json) => answer = sid(json).map(Ok),
                    Packet::Refused(json) => {
                        let said = String::from_utf8_lossy(json);
                        answer = Some(Err(io::Error::other(format!("the namespace was refused: {said}"))));
                    }
                    _ => {}
                })
                .await?;
        }
        client.id = answer.unwrap_or_else(|| Err(io::ErrorKind::InvalidData.into()))?;
        Ok(client)
    }

    /// Sends an event and waits for its acknowledgement.
    pub(crate) async fn ask(&mut self, event: &str, argument: &str) -> io::Result<()> {
        let arguments = serde_json::json!([event, argument]);
        self.send(format!("42{}0{arguments}", self.namespace).as_bytes()).await?;
        let mut acknowledged = false;
        while !acknowledged {
            self.receive(|packet| acknowledged |= packet == Packet::Acknowledged).await?;
        }
        Ok(())
    }

    /// Waits for packets and visits them. Dropping the future loses nothing over a WebSocket.
    pub(crate) async fn receive(&mut self, mut each: impl FnMut(Packet<'_>)) -> io::Result<()> {
        let (mut pinged, mut closed) = (false, false);
        let visit = |packet: &[u8]| match Packet::parse(packet, &self.namespace) {
            Packet::Ping => pinged = true,
            Packet::Closed => closed = true,
            packet => each(packet),
        };
        match &mut self.link {
            Link::WebSocket(reader, writer) => {
                if let Some(payload) = reader.receive(visit).await? {
                    writer.pong(&payload).await?;
                }
            }
            Link::Polling(polling) => polling.get().await?.split(|byte| *byte == SEPARATOR).for_each(visit),
        }
        if pinged {
            self.send(b"3").await?;
        }
        if closed { Err(io::Error::other("the server ended the session")) } else { Ok(()) }
    }

    pub(crate) fn sender(&self) -> Sender {
        match &self.link {
            Link::WebSocket(_, writer) => Sender::WebSocket(Rc::clone(writer)),
            Link::Polling(polling) => Sender::Polling(Rc::clone(polling)),
        }
    }

    async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let sender = self.sender();
        let mut batch = sender.batch();
        batch.push(|bytes| bytes.extend_from_slice(packet));
        sender.send(&mut batch).await
    }
}

/// What stands before the payload of a packet: nothing in the main namespace.
pub(crate) fn prefix(target: &Target) -> String {
    match target.common.namespace.trim_start_matches('/') {
        "" => String::new(),
        name => format!("/{name},"),
    }
}

impl Link {
    async fn open(target: &Target) -> io::Result<Self> {
        use crate::options::Transport;
        let websocket = async |home: usize, session: &str| {
            let server = target.common.servers.get(home % target.common.servers.len().max(1));
            let server = server.ok_or(io::ErrorKind::AddrNotAvailable)?;
            let path = format!("{}?EIO=4&transport=websocket{session}", target.common.path);
            websocket::open(server, &path).await
        };
        let polling = async || {
            let (mut polling, packets) = polling::open(target.clone()).await?;
            let mut packets = packets.split(|byte| *byte == SEPARATOR);
            let id = packets.find_map(|packet| match Packet::parse(packet, "") {
                Packet::Open(json) => sid(json),
                _ => None,
            });
            let id = id.ok_or_else(|| io::Error::other("the handshake has no session id"))?;
            polling.name(&id);
            io::Result::Ok((polling, id))
        };
        match target.common.transport {
            Transport::Websocket => {
                let (reader, writer) = websocket(target.home, "").await?;
                Ok(Self::WebSocket(reader, Rc::new(writer)))
            }
            Transport::Polling => Ok(Self::Polling(Rc::new(polling().await?.0))),
            Transport::Upgrade => {
                // Its connections are needed no longer then.
                let (_, id) = polling().await?;
                let edge = target.home + usize::from(target.common.not_sticky);
                let (reader, writer) = websocket(edge, &format!("&sid={id}")).await?;
                probe(reader, writer).await
            }
        }
    }
}

/// Moves a session from polling to this WebSocket.
async fn probe(mut reader: Reader, writer: Writer) -> io::Result<Link> {
    let write = async |packet: &[u8]| {
        let mut bytes = Vec::new();
        frame(TEXT, packet, &mut bytes);
        writer.write(&bytes).await
    };
    write(b"2probe").await?;
    let mut probed = false;
    while !probed {
        reader.receive(|packet| probed |= Packet::parse(packet, "") == Packet::Probed).await?;
    }
    write(b"5").await?;
    Ok(Link::WebSocket(reader, Rc::new(writer)))
}

impl Sender {
    pub(crate) const fn batch(&self) -> Batch {
        Batch { framed: matches!(self, Self::WebSocket(_)), bytes: Vec::new(), packet: Vec::new() }
    }

    /// Sends a batch, which is empty then.
    pub(crate) async fn send(&self, batch: &mut Batch) -> io::Result<()> {
        match self {
            Self::WebSocket(writer) => writer.write(&batch.bytes).await?,
            Self::Polling(polling) => polling.post(&batch.bytes).await?,
        }
        batch.bytes.clear();
        Ok(())
    }
}

impl Batch {
    /// Adds a packet.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.packet.clear();
        write(&mut self.packet);
        if self.framed {
            frame(TEXT, &self.packet, &mut self.bytes);
        } else {
            if !self.bytes.is_empty() {
                self.bytes.push(SEPARATOR);
            }
            self.bytes.extend_from_slice(&self.packet);
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }
}
