//! A client of the harness that stays at one node: it connects whenever the node lets it, joins its rooms, emits numbered
//! events, and records all of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{ALL, Directory, Pace, STORM, filling};
use crate::chaos::history::{ClientLife, Recorder, Target};
use crate::chaos::process::number_of;
use crate::dice::Dice;

/// A client of one node.
#[derive(Debug)]
pub struct Resident {
    /// For people; a number is added with each connection.
    pub name: String,
    /// The number of its node.
    pub node: usize,
    /// The cluster of its node.
    pub cluster: usize,
    /// Where the node serves clients.
    pub address: SocketAddr,
    /// The room that it shares with some clients of every node.
    pub room: String,
    /// Where everything is recorded.
    pub recorder: Recorder,
    /// What it does.
    pub pace: watch::Receiver<Pace>,
    /// Whom it may address.
    pub directory: Directory,
    /// Its decisions.
    pub dice: Dice,
}

/// One of its connections.
struct Connection<'a> {
    resident: &'a mut Resident,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    client: usize,
    name: String,
    /// The acknowledgements that it waits for.
    asked: HashMap<u64, Asked>,
    next: u64,
    in_storm: bool,
}

enum Asked {
    Join(String),
    Leave(String),
    Emit(usize),
}

impl Resident {
    /// Lives until the task is aborted.
    pub async fn live(mut self) {
        for connection in 0.. {
            let name = format!("{}.{connection}", self.name);
            if let Some((socket, id)) = self.connect().await
                && let Some(node) = self.recorder.node_alive(self.node)
            {
                let client = self.recorder.admit(ClientLife::new(name.clone(), node, self.recorder.now()));
                self.directory.enter(client, self.cluster, id);
                let directory = self.directory.clone();
                let recorder = self.recorder.clone();
                let next = 0;
                let asked = HashMap::new();
                Connection { resident: &mut self, socket, client, name, asked, next, in_storm: false }
                    .run()
                    .await;
                directory.leave(client);
                recorder.client(client, |life, now| life.ended = Some(now));
            }
            sleep(RETRY).await;
        }
    }

    /// Opens a session and joins the main namespace; returns the id of the socket.
    async fn connect(&self) -> Option<(WebSocketStream<MaybeTlsStream<TcpStream>>, String)> {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", self.address);
        let (mut socket, _) = timeout(PATIENCE, connect_async(url)).await.ok()?.ok()?;
        socket.send(Message::text("40")).await.ok()?;
        loop {
            let Message::Text(packet) = timeout(PATIENCE, socket.next()).await.ok()??.ok()? else { continue };
            if let Some(payload) = packet.strip_prefix("40") {
                let payload: Value = serde_json::from_str(payload).ok()?;
                return Some((socket, payload.get("sid")?.as_str()?.to_owned()));
            }
        }
    }
}

impl Connection<'_> {
    /// Returns at the end of the connection.
    async fn run(mut self) {
        for room in [ALL.to_owned(), self.resident.room.clone()] {
            if self.join(room).await.is_none() {
                return;
            }
        }
        let mut next = Instant::now() + self.resident.dice.up_to(Duration::from_millis(200));
        loop {
            let pace = *self.resident.pace.borrow();
            let ready = self.asked.values().all(|asked| !matches!(asked, Asked::Join(_)));
            let open = tokio::select! {
                changed = self.resident.pace.changed() => changed.ok(),
                () = sleep_until(next), if pace.every.is_some() && ready => {
                    // What was missed, while the machine was busy, is not made up for.
                    next = Instant::now() + pace.every.unwrap_or_default();
                    self.act(pace).await
                }
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(packet))) => self.handle(&packet).await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => Some(()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => None,
                },
            };
            if open.is_none() {
                return;
            }
        }
    }

    async fn act(&mut self, pace: Pace) -> Option<()> {
        let dice = &mut self.resident.dice;
        if pace.storm && dice.chance(0.1) {
            return if self.in_storm {
                self.leave(STORM.to_owned()).await
            } else {
                self.join(STORM.to_owned()).await
            };
        }
        let kind = dice.below(0..10);
        if pace.direct && kind < 2 {
            let somebody = self.resident.directory.somebody(self.resident.cluster, self.client, dice);
            if let Some((client, id)) = somebody {
                return self.emit("direct", &id, Target::Client(client)).await;
            }
        }
        let room = match kind {
            _ if pace.storm && kind < 5 => STORM.to_owned(),
            0..6 => ALL.to_owned(),
            _ => self.resident.room.clone(),
        };
        self.emit("msg", &room, Target::Room(room.clone())).await
    }

    async fn emit(&mut self, event: &str, to: &str, target: Target) -> Option<()> {
        let number = self.resident.recorder.client(self.client, |life, now| life.emit(target, now))?;
        let payload = json!([self.name, number, "x".repeat(filling(number))]);
        self.ask(&json!([event, to, payload]), Asked::Emit(number)).await
    }

    async fn join(&mut self, room: String) -> Option<()> {
        self.in_storm |= room == STORM;
        self.resident.recorder.client(self.client, |life, now| life.join(&room, now))?;
        self.ask(&json!(["join", room]), Asked::Join(room)).await
    }

    async fn leave(&mut self, room: String) -> Option<()> {
        self.in_storm = false;
        self.resident.recorder.client(self.client, |life, now| life.leave(&room, now))?;
        self.ask(&json!(["leave", room]), Asked::Leave(room)).await
    }

    async fn ask(&mut self, event: &Value, asked: Asked) -> Option<()> {
        let id = self.next;
        self.next += 1;
        self.asked.insert(id, asked);
        self.socket.send(Message::text(format!("42{id}{event}"))).await.ok()
    }

    async fn handle(&mut self, packet: &str) -> Option<()> {
        if packet == "2" {
            return self.socket.send(Message::text("3")).await.ok();
        }
        if let Some(event) = packet.strip_prefix("42") {
            let from = understood(event);
            self.resident.recorder.receive(self.client, from, self.resident.recorder.now());
        } else if let Some((id, answer)) = packet.strip_prefix("43").and_then(|ack| ack.split_once('[')) {
            let asked = id.parse().ok().and_then(|id: u64| self.asked.remove(&id))?;
            self.acknowledged(asked, &format!("[{answer}"));
        }
        Some(())
    }

    fn acknowledged(&self, asked: Asked, answer: &str) {
        self.resident.recorder.client(self.client, |life, now| match asked {
            Asked::Join(room) => life.joined(&room, unconfirmed(answer), now),
            Asked::Leave(room) => life.left(&room, now),
            Asked::Emit(number) => life.confirmed(number, now),
        });
    }
}

/// The sender and the number of an event; `None` if it is not as it was sent.
fn understood(event: &str) -> Option<(String, usize)> {
    let (_, (name, number, fill)): (String, (String, usize, String)) = serde_json::from_str(event).ok()?;
    (fill.len() == filling(number) && fill.bytes().all(|byte| byte == b'x')).then_some((name, number))
}

/// The numbers of the nodes that had not confirmed a join, from its acknowledgement.
fn unconfirmed(answer: &str) -> Vec<usize> {
    let (names,): (Vec<String>,) = serde_json::from_str(answer).unwrap_or_default();
    names.iter().filter_map(|name| number_of(name)).collect()
}

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(50);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
