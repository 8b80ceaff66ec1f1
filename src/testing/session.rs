//! The session of a test client. It answers pings, hands acks to their callers, and keeps events for the test.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::packet::{self, EnginePacket, Event, OpenPacket, PacketDecoder, ServerPacket};
use super::transport::ClientTransport;
use crate::socket::{RawArgs, Refusal};

/// The state that a [`Client`](super::Client) shares with the task that serves its connection.
pub(super) struct ClientSession {
    ns: String,
    outgoing: mpsc::Sender<Vec<EnginePacket>>,
    acks: Mutex<PendingAcks>,
    pub(super) ack_handlers: Arc<AckHandlers>,
    state: watch::Sender<ClientState>,
    /// The id of the socket, from the answer to CONNECT on.
    pub(super) id: OnceLock<String>,
    /// The secret by which the client may come back, if it was told one.
    pub(super) pid: OnceLock<String>,
    /// The last argument of the last event, if that is text: how far the client is.
    pub(super) offset: Mutex<Option<String>>,
}

/// The handlers that ack events of the server, by the name of the event. A client keeps them when it reconnects.
pub(super) type AckHandlers = Mutex<HashMap<String, AckHandler>>;
pub(super) type AckHandler = Box<dyn Fn(&RawArgs) -> RawArgs + Send>;

#[derive(Default)]
struct PendingAcks {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<RawArgs>>,
}

/// The life of a session, from the opening of its transport on.
#[derive(Debug)]
pub(super) enum ClientState {
    Connecting,
    Connected,
    Refused(Arc<Refusal>),
    Closed(String),
}

impl ClientSession {
    pub(super) fn new(ns: &str, transport: &ClientTransport, ack_handlers: Arc<AckHandlers>) -> Arc<Self> {
        Arc::new(Self {
            ns: ns.to_owned(),
            outgoing: transport.outgoing.clone(),
            acks: Mutex::default(),
            ack_handlers,
            state: watch::Sender::new(ClientState::Connecting),
            id: OnceLock::new(),
            pid: OnceLock::new(),
            offset: Mutex::default(),
        })
    }

    pub(super) fn state(&self) -> watch::Receiver<ClientState> {
        self.state.subscribe()
    }

    /// The reason why the session is closed; `None` while it is open or was refused.
    pub(super) fn closed(&self) -> Option<String> {
        match &*self.state.borrow() {
            ClientState::Closed(reason) => Some(reason.clone()),
            ClientState::Connecting | ClientState::Connected | ClientState::Refused(_) => None,
        }
    }

    /// Sends packets. They are dropped when the connection is closed.
    pub(super) async fn send(&self, packets: Vec<EnginePacket>) {
        drop(self.outgoing.send(packets).await);
    }

    /// Sends an event, and returns the receiver of its ack. The receiver fails when the session closes before.
    pub(super) async fn call(&self, name: &str, args: &RawArgs) -> oneshot::Receiver<RawArgs> {
        let (waiter, ack) = oneshot::channel();
        let id = {
            let mut acks = self.acks.lock();
            acks.last += 1;
            let id = acks.last;
            if self.closed().is_none() {
                acks.waiting.insert(id, waiter);
            }
            id
        };
        self.send(packet::event(&self.ns, Some(id), name, args)).await;
        ack
    }

    /// Marks the session as closed. Only the first reason counts.
    pub(super) fn close(&self, reason: &str) {
        self.state.send_if_modified(|state| {
            let open = matches!(state, ClientState::Connecting | ClientState::Connected);
            if open {
                *state = ClientState::Closed(reason.to_owned());
            }
            open
        });
        self.acks.lock().waiting.clear();
    }

    /// Handles the packets of the server until the session closes. Dropping the future cuts the connection.
    pub(super) async fn run(
        self: Arc<Self>,
        mut transport: ClientTransport,
        opened: OpenPacket,
        events: mpsc::Sender<Event>,
    ) {
        let _guard = CloseOnDrop(&self);
        let patience = Duration::from_millis(opened.ping_interval + opened.ping_timeout);
        let mut decoder = PacketDecoder::default();
        let reason = loop {
            let step = match timeout(patience, transport.incoming.recv()).await {
                Ok(Some(Ok(packet))) => self.handle_engine_packet(packet, &mut decoder, &events).await,
                Ok(Some(Err(why))) => self.give_up("transport error", &why),
                Ok(None) => ControlFlow::Break("transport close"),
                Err(_) => ControlFlow::Break("ping timeout"),
            };
            if let ControlFlow::Break(reason) = step {
                break reason;
            }
        };
        self.close(reason);
    }

    async fn handle_engine_packet(
        &self,
        packet: EnginePacket,
        decoder: &mut PacketDecoder,
        events: &mpsc::Sender<Event>,
    ) -> ControlFlow<&'static str> {
        let decoded = match packet {
            EnginePacket::Ping(data) => {
                self.send(vec![EnginePacket::Pong(data)]).await;
                Ok(None)
            }
            EnginePacket::Text(text) => decoder.text(&text),
            EnginePacket::Binary(bytes) => decoder.binary(bytes),
            EnginePacket::Close => return ControlFlow::Break("transport close"),
            EnginePacket::Open(_) | EnginePacket::Pong(_) | EnginePacket::Noop => Ok(None),
        };
        match decoded {
            Ok(Some((ns, packet))) if ns == self.ns => self.handle_packet(packet, events).await,
            Ok(Some((ns, packet))) => self.give_up("parse error", &format!("{packet:?} of {ns}")),
            Ok(None) => ControlFlow::Continue(()),
            Err(why) => self.give_up("parse error", &why),
        }
    }

    fn give_up(&self, reason: &'static str, why: &str) -> ControlFlow<&'static str> {
        tracing::warn!(ns = self.ns, reason, why, "a test client closed its connection because of an error");
        ControlFlow::Break(reason)
    }

    async fn handle_packet(
        &self,
        packet: ServerPacket,
        events: &mpsc::Sender<Event>,
    ) -> ControlFlow<&'static str> {
        match packet {
            ServerPacket::Connect { sid, pid } => {
                // A server sends one CONNECT; another one would change nothing.
                pid.into_iter().for_each(|pid| drop(self.pid.set(pid)));
                let _again = self.id.set(sid);
                drop(self.state.send_replace(ClientState::Connected));
            }
            ServerPacket::ConnectError(refusal) => {
                drop(self.state.send_replace(ClientState::Refused(Arc::new(refusal))));
            }
            ServerPacket::Disconnect => return ControlFlow::Break("io server disconnect"),
            ServerPacket::Ack(id, args) => {
                if let Some(waiter) = self.acks.lock().waiting.remove(&id) {
                    // The caller may have timed out.
                    drop(waiter.send(args));
                }
            }
            ServerPacket::Event(event) => {
                self.note_offset(&event);
                if let Some(ack) = self.automatic_ack(&event) {
                    self.send(ack).await;
                } else {
                    // The test may have dropped the client.
                    drop(events.send(event).await);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// As `socket.io-client` does: the name counts as an argument, and events that want an ack do not count.
    fn note_offset(&self, event: &Event) {
        if event.id.is_none() {
            let args: Vec<serde_json::Value> =
                serde_json::from_str(&event.args.to_array()).unwrap_or_default();
            let last = args.last().map_or(Some(event.name.as_str()), |last| last.as_str());
            if let Some(last) = last {
                *self.offset.lock() = Some(last.to_owned());
            }
        }
    }

    /// The ack of an event that has an ack handler.
    fn automatic_ack(&self, event: &Event) -> Option<Vec<EnginePacket>> {
        let id = event.id?;
        let args = self.ack_handlers.lock().get(&event.name).map(|handler| handler(&event.args))?;
        Some(self.ack(id, &args))
    }

    pub(super) fn ack(&self, id: u64, args: &RawArgs) -> Vec<EnginePacket> {
        packet::ack(&self.ns, id, args)
    }

    pub(super) fn event(&self, name: &str, args: &RawArgs) -> Vec<EnginePacket> {
        packet::event(&self.ns, None, name, args)
    }

    /// Leaves the namespace and closes the session, as `socket.disconnect()` does.
    pub(super) async fn leave(&self) {
        let mut packets = packet::disconnect(&self.ns);
        packets.push(EnginePacket::Close);
        self.send(packets).await;
        self.close("io client disconnect");
    }

    /// Sends CONNECT for the namespace.
    pub(super) async fn connect(&self, auth: &serde_json::Value) {
        self.send(packet::connect(&self.ns, auth)).await;
    }
}

/// Closes a session when its task ends, even if an ack handler panics.
struct CloseOnDrop<'a>(&'a ClientSession);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close("transport close");
    }
}
