//! What a client does by itself: it answers pings, takes acks to who waits for them, and keeps events for the test.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::packet::{self, Decoder, Engine, Event, Opened, Packet};
use super::transport::Transport;
use crate::socket::{RawArgs, Refusal};

/// A client's socket, as the test and the task that serves it see it.
pub(super) struct Session {
    ns: String,
    outgoing: mpsc::Sender<Vec<Engine>>,
    acks: Mutex<Acks>,
    pub(super) answers: Arc<Answers>,
    state: watch::Sender<State>,
    /// Of its socket, once it was admitted.
    pub(super) id: OnceLock<String>,
}

/// Who answers events that want an ack; they outlive a session.
pub(super) type Answers = Mutex<HashMap<String, Answer>>;
pub(super) type Answer = Box<dyn Fn(&RawArgs) -> RawArgs + Send>;

#[derive(Default)]
struct Acks {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<RawArgs>>,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    Connecting,
    Connected,
    Refused(Arc<Refusal>),
    Closed(String),
}

impl Session {
    pub(super) fn new(ns: &str, transport: &Transport, answers: Arc<Answers>) -> Arc<Self> {
        Arc::new(Self {
            ns: ns.to_owned(),
            outgoing: transport.outgoing.clone(),
            acks: Mutex::default(),
            answers,
            state: watch::Sender::new(State::Connecting),
            id: OnceLock::new(),
        })
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Why it is over, if it is.
    pub(super) fn closed(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Closed(reason) => Some(reason.clone()),
            State::Connecting | State::Connected | State::Refused(_) => None,
        }
    }

    /// Sends packets; dropped when the connection is gone.
    pub(super) async fn send(&self, packets: Vec<Engine>) {
        drop(self.outgoing.send(packets).await);
    }

    /// Sends an event, and returns where its ack comes.
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

    /// Ends it, as the client sees it; only the first reason counts.
    pub(super) fn close(&self, reason: &str) {
        self.state.send_if_modified(|state| {
            let open = matches!(state, State::Connecting | State::Connected);
            if open {
                *state = State::Closed(reason.to_owned());
            }
            open
        });
        self.acks.lock().waiting.clear();
    }

    /// Serves it until it is over. Dropping the future cuts the connection.
    pub(super) async fn run(
        self: Arc<Self>,
        mut transport: Transport,
        opened: Opened,
        events: mpsc::Sender<Event>,
    ) {
        let _over = Over(&self);
        let patience = Duration::from_millis(opened.ping_interval + opened.ping_timeout);
        let mut decoder = Decoder::default();
        let reason = loop {
            let step = match timeout(patience, transport.incoming.recv()).await {
                Ok(Some(Ok(packet))) => self.handle(packet, &mut decoder, &events).await,
                Ok(Some(Err(why))) => self.fails("transport error", &why),
                Ok(None) => ControlFlow::Break("transport close"),
                Err(_) => ControlFlow::Break("ping timeout"),
            };
            if let ControlFlow::Break(reason) = step {
                break reason;
            }
        };
        self.close(reason);
    }

    async fn handle(
        &self,
        packet: Engine,
        decoder: &mut Decoder,
        events: &mpsc::Sender<Event>,
    ) -> ControlFlow<&'static str> {
        let decoded = match packet {
            Engine::Ping(data) => {
                self.send(vec![Engine::Pong(data)]).await;
                Ok(None)
            }
            Engine::Text(text) => decoder.text(&text),
            Engine::Binary(bytes) => decoder.binary(bytes),
            Engine::Close => return ControlFlow::Break("transport close"),
            Engine::Open(_) | Engine::Pong(_) | Engine::Noop => Ok(None),
        };
        match decoded {
            Ok(Some((ns, packet))) if ns == self.ns => self.hear(packet, events).await,
            Ok(Some((ns, packet))) => self.fails("parse error", &format!("{packet:?} of {ns}")),
            Ok(None) => ControlFlow::Continue(()),
            Err(why) => self.fails("parse error", &why),
        }
    }

    fn fails(&self, reason: &'static str, why: &str) -> ControlFlow<&'static str> {
        tracing::warn!(ns = self.ns, reason, why, "a client of a test gave up its connection");
        ControlFlow::Break(reason)
    }

    async fn hear(&self, packet: Packet, events: &mpsc::Sender<Event>) -> ControlFlow<&'static str> {
        match packet {
            Packet::Connect(id) => {
                // A server says it once.
                let _again = self.id.set(id);
                drop(self.state.send_replace(State::Connected));
            }
            Packet::ConnectError(refusal) => drop(self.state.send_replace(State::Refused(Arc::new(refusal)))),
            Packet::Disconnect => return ControlFlow::Break("io server disconnect"),
            Packet::Ack(id, args) => {
                if let Some(waiter) = self.acks.lock().waiting.remove(&id) {
                    // The caller may have given up.
                    drop(waiter.send(args));
                }
            }
            Packet::Event(event) => {
                if let Some(ack) = self.answer(&event) {
                    self.send(ack).await;
                } else {
                    // The test may have dropped the client.
                    drop(events.send(event).await);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The ack of an event that the test has an answer for.
    fn answer(&self, event: &Event) -> Option<Vec<Engine>> {
        let id = event.id?;
        let args = self.answers.lock().get(&event.name).map(|answer| answer(&event.args))?;
        Some(self.ack(id, &args))
    }

    pub(super) fn ack(&self, id: u64, args: &RawArgs) -> Vec<Engine> {
        packet::ack(&self.ns, id, args)
    }

    pub(super) fn event(&self, name: &str, args: &RawArgs) -> Vec<Engine> {
        packet::event(&self.ns, None, name, args)
    }

    /// Leaves the namespace and closes the session, as `socket.disconnect()` does.
    pub(super) async fn leave(&self) {
        let mut packets = packet::disconnect(&self.ns);
        packets.push(Engine::Close);
        self.send(packets).await;
        self.close("io client disconnect");
    }

    /// Asks to be let into the namespace.
    pub(super) async fn enter(&self, auth: &serde_json::Value) {
        self.send(packet::connect(&self.ns, auth)).await;
    }
}

/// Ends a session when its task does, even by a panic of an answer.
struct Over<'a>(&'a Session);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.close("transport close");
    }
}
