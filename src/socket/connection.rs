//! One client's namespaces: connects, demultiplexes and disconnects its sockets. Lives in the session's actor.
//!
//! Order of a CONNECT (protocol v5): the packet is decoded, the namespace's `auth` decides in a task of its own, the
//! CONNECT reply is written, the namespace learns of the socket, its handlers run. Events that arrive while `auth`
//! decides wait for their handlers. Clients of Engine.IO 3 (protocol v4) are in the main namespace without asking.

use std::sync::Arc;

use bytestring::ByteString;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::backlog::Backlog;
use super::behaviour::{Admission, Data};
use super::error::{DisconnectReason, PacketError, Refusal};
use super::handshake::Handshake;
use super::messages::Flags;
use super::packet::{self, Decoder, Packet};
use super::raw::{RawSocket, caught};
use super::state::NamespaceState;
use super::{Config, SocketIo};
use crate::engine::{self, CloseReason, Message, Protocol, SessionRef};
use crate::id::SocketId;

/// The session of a Socket.IO client.
pub(crate) type Session = SessionRef<Command>;

/// What the rest of Socket.IO tells a [`Connection`].
///
/// Only this layer makes one.
#[derive(Debug)]
pub struct Command(pub(super) Order);

#[derive(Debug)]
pub(super) enum Order {
    /// A namespace decided on a CONNECT.
    Admitted { socket: SocketId, outcome: Result<Data, Refusal> },
    /// The server disconnected a socket; with `close`, it wants to be rid of the whole session.
    Left { socket: SocketId, close: bool },
}

/// The sockets of one session: Socket.IO's part of it.
///
/// It is run by the engine; applications see [`Socket`](super::Socket)s.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    app: Arc<SocketIo>,
    decoder: Decoder,
    /// What waits for the handlers of all of its sockets.
    backlog: Arc<Backlog>,
    /// One entry for each namespace the client is in, is about to enter, or was put out of.
    sockets: Vec<(ByteString, Presence)>,
    /// Until when the client must have joined its first namespace.
    join_by: Option<Instant>,
    /// Until when the attachments of the packet under way must have come.
    attachments_by: Option<Instant>,
    closing: bool,
}

#[derive(Debug)]
enum Presence {
    Connecting(Arc<RawSocket>, Deciding),
    Connected(Arc<RawSocket>),
    /// The server disconnected it. What the client sent before it knew is ignored, not held against it.
    Left,
}

impl Connection {
    pub(crate) fn new(session: Session, app: Arc<SocketIo>, now: Instant) -> Self {
        let decoder = Decoder::new(app.config().parser, app.config().limits());
        let join_by = now.checked_add(app.config().connect_timeout);
        let mut connection = Self {
            session,
            app,
            decoder,
            backlog: Arc::default(),
            sockets: Vec::new(),
            join_by,
            attachments_by: None,
            closing: false,
        };
        if connection.protocol() == Protocol::V3 {
            connection.enter_main();
        }
        connection
    }

    fn protocol(&self) -> Protocol {
        self.session.handshake().protocol()
    }

    /// A refusal of the main namespace would reach every namespace of such a client: without one, it is told nothing.
    fn enter_main(&mut self) {
        let main = ByteString::from_static("/");
        if self.app.namespaces().serves(&main) {
            self.ask(main, None);
        }
    }

    fn message(&mut self, message: Message) -> Result<(), Violation> {
        let packet = match message {
            Message::Text(text) => self.decoder.text(&text)?,
            Message::Binary(data) => self.decoder.binary(data)?,
        };
        self.attachments_by = match self.attachments_by {
            _ if !self.decoder.is_pending() => None,
            None => Some(Instant::now() + self.app.config().attachment_timeout),
            running => running,
        };
        packet.map_or(Ok(()), |packet| self.packet(packet))
    }

    fn packet(&mut self, mut packet: Packet) -> Result<(), Violation> {
        if self.protocol() == Protocol::V3 {
            packet.split_query();
        }
        match packet {
            Packet::Connect { ns, auth } => self.connect(ns, auth),
            Packet::Event { ns, event } => match self.presence(&ns)? {
                Presence::Connecting(socket, _) | Presence::Connected(socket) => {
                    socket.receive(event);
                    Ok(())
                }
                Presence::Left => Ok(()),
            },
            Packet::Ack { ns, id, args } => {
                if let Presence::Connected(socket) = self.presence(&ns)? {
                    socket.receive_ack(id, args);
                }
                Ok(())
            }
            Packet::Disconnect { ns } => {
                let index = self.index(&ns).ok_or(Violation::State)?;
                let (_, presence) = self.sockets.swap_remove(index);
                if let Presence::Connected(socket) = presence {
                    socket.disconnect(DisconnectReason::ClientNamespaceDisconnect);
                }
                Ok(())
            }
            Packet::ConnectError { .. } => Err(Violation::State),
            Packet::Nothing { ns } => self.presence(&ns).map(drop),
        }
    }

    fn connect(&mut self, ns: ByteString, auth: Option<ByteString>) -> Result<(), Violation> {
        match self.index(&ns) {
            Some(index) if self.sockets.get(index).is_some_and(|(_, presence)| presence.has_left()) => {
                self.sockets.swap_remove(index);
            }
            Some(_) => return Err(Violation::State),
            None => {}
        }
        self.ask(ns, auth);
        Ok(())
    }

    fn ask(&mut self, ns: ByteString, auth: Option<ByteString>) {
        if !self.has_room() {
            return self.refuse(&ns, &Refusal::new("too many namespaces"));
        }
        let Some(namespace) = self.app.namespaces().enter(&ns) else {
            return self.refuse(&ns, &Refusal::new("Invalid namespace"));
        };
        // Copies: a socket lives much longer than the message it came in.
        let (ns, auth) = (ByteString::from(&*ns), auth.map(|auth| ByteString::from(&*auth)));
        let path = Arc::clone(&namespace.path);
        let handshake = Handshake::new(path, Arc::clone(self.session.handshake()), auth);
        match self.app.mint() {
            Ok(id) => self.admit(ns, id, namespace, handshake),
            Err(_) => self.refuse(&ns, &Refusal::new("internal error")),
        }
    }

    /// Whether the client may enter one more namespace. Of those that the server disconnected, one is forgotten for it.
    fn has_room(&mut self) -> bool {
        if self.sockets.len() < self.app.config().max_namespaces {
            return true;
        }
        let left = self.sockets.iter().position(|(_, presence)| presence.has_left());
        left.map(|index| self.sockets.swap_remove(index)).is_some()
    }

    fn admit(&mut self, ns: ByteString, id: SocketId, namespace: Arc<NamespaceState>, handshake: Handshake) {
        let admission = namespace.admit(handshake.clone());
        let (session, backlog) = (self.session.clone(), Arc::clone(&self.backlog));
        let socket = RawSocket::new(id, namespace, session, backlog, handshake);
        match admission {
            Admission::Open(data) => {
                self.enter(ns, Presence::Connected(Arc::clone(&socket)));
                self.join_by = None;
                socket.admit(data);
            }
            Admission::Deciding(decision) => {
                let session = self.session.clone();
                let deciding = tokio::spawn(async move {
                    // A panic in the user's `auth` must not leave the client waiting.
                    let outcome =
                        caught(decision).await.unwrap_or_else(|| Err(Refusal::new("internal error")));
                    session.command(Command(Order::Admitted { socket: id, outcome }));
                });
                self.enter(ns, Presence::Connecting(socket, Deciding(deciding.abort_handle())));
            }
        }
    }

    fn admitted(&mut self, id: SocketId, outcome: Result<Data, Refusal>) {
        let found = self
            .sockets
            .iter()
            .position(|(_, presence)| matches!(presence, Presence::Connecting(socket, _) if socket.id == id));
        // The client may have gone away, or given up on this namespace.
        let Some(index) = found else { return };
        let (ns, presence) = self.sockets.swap_remove(index);
        let Presence::Connecting(socket, _decided) = presence else { return };
        match outcome {
            Ok(data) => {
                self.enter(ns, Presence::Connected(Arc::clone(&socket)));
                self.join_by = None;
                socket.admit(data);
            }
            Err(refusal) => {
                tracing::debug!(%ns, refusal = refusal.message(), "a client was refused");
                self.refuse(&ns, &refusal);
            }
        }
    }

    fn left(&mut self, id: SocketId, close: bool) {
        for (_, presence) in &mut self.sockets {
            if matches!(presence, Presence::Connected(socket) if socket.id == id) {
                *presence = Presence::Left;
            }
        }
        if close {
            for (_, presence) in std::mem::take(&mut self.sockets) {
                if let Presence::Connected(socket) = presence
                    && socket.disconnect(DisconnectReason::ServerNamespaceDisconnect)
                {
                    socket.write(&packet::disconnect(&socket.namespace.path), Flags::default());
                }
            }
            self.close(DisconnectReason::ServerNamespaceDisconnect);
        }
    }

    /// Most clients use one namespace: room for more is made when it is needed.
    fn enter(&mut self, ns: ByteString, presence: Presence) {
        if self.sockets.is_empty() {
            self.sockets.reserve_exact(1);
        }
        self.sockets.push((ns, presence));
    }

    fn refuse(&self, ns: &str, refusal: &Refusal) {
        let packet = packet::connect_error(ns, refusal, self.protocol());
        let frames = self.app.config().parser.frames(&packet.text, &packet.attachments, true);
        self.session.send(&frames, false);
    }

    /// Closes the session because of what the client sent, or did not send.
    fn close(&mut self, reason: DisconnectReason) {
        self.closing = true;
        self.join_by = None;
        self.attachments_by = None;
        self.disconnect_all(reason);
        self.session.close();
    }

    fn disconnect_all(&mut self, reason: DisconnectReason) {
        for (_, presence) in self.sockets.drain(..) {
            if let Presence::Connected(socket) = presence {
                socket.disconnect(reason);
            }
        }
    }

    fn index(&self, ns: &str) -> Option<usize> {
        self.sockets.iter().position(|(name, _)| name == ns)
    }

    fn presence(&self, ns: &str) -> Result<&Presence, Violation> {
        self.sockets
            .iter()
            .find_map(|(name, presence)| (name == ns).then_some(presence))
            .ok_or(Violation::State)
    }
}

impl Presence {
    /// Whether the server disconnected it. The client may know, and come back, before the order to forget it is here.
    fn has_left(&self) -> bool {
        match self {
            Self::Connecting(..) => false,
            Self::Connected(socket) => !socket.is_connected(),
            Self::Left => true,
        }
    }
}

/// The user's `auth` at work; it ends with the client's interest in the outcome.
#[derive(Debug)]
struct Deciding(AbortHandle);

impl Drop for Deciding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Connection {
    /// The session's actor failed, or its node was dropped: no socket may stay behind.
    fn drop(&mut self) {
        self.disconnect_all(DisconnectReason::TransportError);
    }
}

impl engine::Client for Connection {
    type Command = Command;

    fn handle_message(&mut self, message: Message) {
        if self.closing {
            return;
        }
        if let Err(violation) = self.message(message) {
            tracing::debug!(%violation, "a client broke the protocol: closed");
            self.close(DisconnectReason::ForcedClose);
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command.0 {
            Order::Admitted { socket, outcome } => self.admitted(socket, outcome),
            Order::Left { socket, close } => self.left(socket, close),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.join_by.into_iter().chain(self.attachments_by).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.join_by.is_some_and(|at| at <= now) {
            tracing::debug!("a client joined no namespace in time: closed");
            self.close(DisconnectReason::ForcedServerClose);
        } else if self.attachments_by.is_some_and(|at| at <= now) {
            tracing::debug!("a client did not complete a packet in time: closed");
            self.close(DisconnectReason::ForcedClose);
        }
    }

    fn is_busy(&self) -> bool {
        let awaits_acks = |(_, presence): &(_, Presence)| match presence {
            Presence::Connected(socket) => socket.awaits_acks(),
            Presence::Connecting(..) | Presence::Left => false,
        };
        self.backlog.is_brimming() || (self.backlog.is_full() && !self.sockets.iter().any(awaits_acks))
    }

    fn handle_close(mut self, reason: CloseReason) {
        self.disconnect_all(reason.into());
    }
}

/// What a client must not do; closes its session.
#[derive(Debug, thiserror::Error)]
enum Violation {
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet for a namespace it is not in, or CONNECT for one it is in.
    #[error("a packet that its state does not allow")]
    State,
}

impl Config {
    fn limits(&self) -> packet::Limits {
        packet::Limits { max_attachments: self.max_attachments, max_pending_bytes: self.max_pending_bytes }
    }
}
