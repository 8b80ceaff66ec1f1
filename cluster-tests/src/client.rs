//! A Socket.IO client in the main namespace over WebSocket: enough of it to load a cluster and to count what arrives.

use std::collections::HashMap;

use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    deadline::within,
    messages::{Messages, Received},
    target::Target,
    websocket::WebSocket,
};

/// A connected client; dropping it drops its connection.
#[derive(Debug)]
pub struct Client {
    id: String,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    _driving: JoinSet<()>,
}

/// An event from the server: its name and its arguments.
pub type Event = (String, Vec<Value>);

impl Client {
    /// Opens a session and joins the main namespace.
    ///
    /// # Panics
    /// The server refuses the client.
    pub async fn connect(target: &Target) -> Self {
        let mut ws = target.websocket().await;
        ws.send("40").await;
        let connected = ws.packet_text().await;
        let payload: Value =
            connected.strip_prefix("40").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let id = payload.get("sid").and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("the answer to CONNECT, not {connected}")).to_owned();

        let (commands, queued) = mpsc::channel(QUEUE);
        let (received, events) = mpsc::channel(QUEUE);
        let mut driving = JoinSet::new();
        driving.spawn(async move {
            Connection { ws, received, waiting: HashMap::new(), next_id: 0 }.run(queued).await;
        });
        Self { id, commands, events, _driving: driving }
    }

    /// The socket's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends an event. It is dropped when the connection is closed, which [`event`](Self::event) reports.
    pub async fn emit(&self, name: &str, arguments: &[Value]) {
        self.command(name, arguments, None).await;
    }

    /// Sends an event and waits for its acknowledgement; `None` when the connection ends first.
    ///
    /// # Panics
    /// Neither happens in time.
    pub async fn emit_with_ack(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        let (acknowledge, ack) = oneshot::channel();
        self.command(name, arguments, Some(acknowledge)).await;
        within(format!("the acknowledgement of {name}"), ack).await.ok()
    }

    /// The next event; `None` when the connection has ended.
    ///
    /// # Panics
    /// Neither comes in time.
    pub async fn event(&mut self) -> Option<Event> {
        within(format!("an event at {}", self.id), self.events.recv()).await
    }

    /// The next event, however long it takes; `None` when the connection has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event of that name; `None` when the connection has ended. Those of other names are dropped.
    pub async fn named(&mut self, name: &str) -> Option<Event> {
        loop {
            let event = self.next().await?;
            if event.0 == name {
                return Some(event);
            }
        }
    }

    /// Whether everything that has arrived was taken. Everything that the server sent before an acknowledgement has
    /// arrived with it.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.events.is_empty()
    }

    /// Waits for the end of the connection, whatever comes before it.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn closed(&mut self) {
        within(format!("the end of {}", self.id), async { while self.events.recv().await.is_some() {} })
            .await;
    }

    async fn command(&self, name: &str, arguments: &[Value], acknowledge: Option<oneshot::Sender<Value>>) {
        let mut event = vec![Value::from(name)];
        event.extend_from_slice(arguments);
        let command = Command { event: Value::from(event).to_string(), acknowledge };
        within("room for an event", self.commands.send(command)).await.ok();
    }
}

/// The task's side of a client.
struct Connection {
    ws: WebSocket,
    received: mpsc::Sender<Event>,
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    next_id: u64,
}

impl Connection {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let open = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.send(command).await,
                    None => false,
                },
                received = self.ws.next() => match received {
                    Received::Text(packet) => self.handle(&packet).await,
                    Received::Closed(_) => false,
                    Received::Binary(_) | Received::Pong(_) => true,
                },
            };
            if !open {
                return;
            }
        }
    }

    async fn send(&mut self, command: Command) -> bool {
        let Some(acknowledge) = command.acknowledge else {
            return self.ws.try_send(&format!("42{}", command.event)).await;
        };
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert(id, acknowledge);
        self.ws.try_send(&format!("42{id}{}", command.event)).await
    }

    async fn handle(&mut self, packet: &str) -> bool {
        if packet == "2" {
            return self.ws.try_send("3").await;
        }
        if let Some(event) = packet.strip_prefix("42") {
            let mut event: Vec<Value> =
                serde_json::from_str(event).unwrap_or_else(|error| panic!("an event, not {packet}: {error}"));
            let name = event.remove(0).as_str().map(str::to_owned);
            return self.received.send((name.unwrap_or_default(), event)).await.is_ok();
        }
        if let Some((id, arguments)) = packet.strip_prefix("43").and_then(|ack| ack.split_once('[')) {
            let waiter = id.parse().ok().and_then(|id: u64| self.waiting.remove(&id));
            let waiter = waiter.unwrap_or_else(|| panic!("an acknowledgement nobody waits for: {packet}"));
            let arguments = serde_json::from_str(&format!("[{arguments}"));
            // The waiting task may have ended.
            waiter.send(arguments.unwrap_or_else(|error| panic!("{packet}: {error}"))).ok();
            return true;
        }
        panic!("an event, an acknowledgement or a ping, not {packet}")
    }
}

#[derive(Debug)]
struct Command {
    event: String,
    acknowledge: Option<oneshot::Sender<Value>>,
}

/// How many events wait for a test, more than any test leaves unread.
const QUEUE: usize = 20_000;
