//! A test application whose handlers do one thing each and record what they see, and clients that speak the protocol by
//! hand.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketmesh::id::SocketId;
use socketmesh::{
    Args, DisconnectReason, EventError, Namespace, NamespaceRef, Node, NodeBuilder, RawArg, RawArgs, Socket,
    namespace,
};

use crate::journal::Journal;
use crate::messages::Messages;
use crate::nodes::Nodes;
use crate::polling::Polling;
use crate::websocket::WebSocket;

/// Nodes of one application, and the records of their handlers.
#[derive(Debug)]
pub struct App {
    /// The nodes.
    pub nodes: Nodes,
    /// The records of their handlers.
    pub seen: Arc<Seen>,
}

/// The records of the handlers, and the gates that they wait at.
#[derive(Debug, Default)]
pub struct Seen {
    /// The sockets that connected to a plain namespace.
    pub connected: Journal<Socket>,
    /// The sockets that left one, with the reason.
    pub left: Journal<(SocketId, DisconnectReason)>,
    /// The notes of the handlers, and `left` for a socket that disconnected.
    pub handled: Journal<(SocketId, String)>,
    /// The gates that handlers wait at.
    pub gates: Journal<String>,
}

impl App {
    /// Starts nodes that share what their handlers see.
    ///
    /// # Panics
    /// A node does not start.
    pub async fn start(count: usize, described: impl Fn(&Arc<Seen>) -> NodeBuilder) -> Self {
        let seen = Arc::default();
        let nodes = Nodes::start(count, |_| described(&seen)).await;
        Self { nodes, seen }
    }

    /// A client in the main namespace, on the `n`th node (after the last node follows the first).
    ///
    /// # Panics
    /// The client is refused.
    pub async fn guest(&self, n: usize) -> Guest {
        self.guest_in("/", n).await
    }

    /// A client in a namespace, on the `n`th node.
    ///
    /// # Panics
    /// The client is refused.
    pub async fn guest_in(&self, path: &'static str, n: usize) -> Guest {
        let ws = self.nodes.target.at(n).websocket().await;
        self.enter(ws, path).await
    }

    /// Joins one more namespace over a connection.
    ///
    /// # Panics
    /// The client is refused.
    pub async fn enter(&self, mut ws: WebSocket, path: &'static str) -> Guest {
        ws.send(&format!("40{}", prefix(path))).await;
        let id = connected(&ws.packet_text().await, path);
        Guest { ws, socket: self.seen.socket(&id).await, path }
    }

    /// A client in a namespace over polling: its session is on the first node, its requests go to every node in turn.
    ///
    /// # Panics
    /// The client is refused.
    pub async fn polling_guest(&self, path: &'static str) -> (Polling, Socket) {
        let polling = self.nodes.target.at(0).polling().await.through(&self.nodes.target);
        polling.send(format!("40{}", prefix(path))).await;
        let id = connected(&polling.packets(1).await.concat(), path);
        let socket = self.seen.socket(&id).await;
        (polling, socket)
    }

    /// The `n`th node; after the last one follows the first.
    ///
    /// # Panics
    /// The application has no nodes.
    #[must_use]
    pub fn node(&self, n: usize) -> &Node {
        self.nodes.nodes.iter().cycle().nth(n).expect("there are nodes")
    }

    /// A namespace as the `n`th node sees it.
    #[must_use]
    pub fn of(&self, n: usize, path: &str) -> NamespaceRef {
        self.node(n).of(path)
    }
}

impl Seen {
    /// The application's handle of the client with this id.
    ///
    /// # Panics
    /// No client with this id connects in time.
    pub async fn socket(&self, id: &str) -> Socket {
        let this = |socket: &Socket| (socket.id().to_string() == id).then(|| socket.clone());
        self.connected.find("on_connect", this).await
    }

    /// Waits until the `on_disconnect` of a socket ran, and returns the reason.
    ///
    /// # Panics
    /// The handler does not run in time.
    pub async fn reason(&self, id: SocketId) -> DisconnectReason {
        self.left.find("on_disconnect", |(left, reason)| (*left == id).then_some(*reason)).await
    }

    /// The notes that the handlers of one client made so far.
    #[must_use]
    pub fn handled_of(&self, id: SocketId) -> Vec<String> {
        self.handled.all(|(of, what)| (*of == id).then(|| what.clone()))
    }

    /// Waits until the handler of "wait" runs for this client.
    ///
    /// # Panics
    /// The handler does not run in time.
    pub async fn waits(&self, id: SocketId) {
        self.handled.find("a handler", |(of, what)| (*of == id && what == "waits").then_some(())).await;
    }

    /// Waits until a test opens the gate, without a deadline: a busy machine may take long to get there, and nobody may pass before.
    pub async fn gate(&self, key: &str) {
        self.gates.find_however_late(|open| (open == key).then_some(())).await;
    }

    /// Opens a gate.
    pub fn open(&self, key: impl Into<String>) {
        self.gates.note(key.into());
    }
}

/// A client, and the handle that the application has of it.
#[derive(Debug)]
pub struct Guest {
    /// Its connection.
    pub ws: WebSocket,
    /// The handle of the application.
    pub socket: Socket,
    /// The namespace.
    pub path: &'static str,
}

impl Guest {
    /// The id of its socket.
    #[must_use]
    pub fn id(&self) -> String {
        self.socket.id().to_string()
    }

    /// Sends an event: its JSON array, with the id of the ack before it where an ack is wanted.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn emit(&mut self, event: &str) {
        self.ws.send(&format!("42{}{event}", prefix(self.path))).await;
    }

    /// Waits for the next packet.
    ///
    /// # Panics
    /// The next message is not text, or no message arrives in time.
    pub async fn hears(&mut self) -> String {
        self.ws.packet_text().await
    }

    /// Waits for the next packet, which must be an ack or event of this namespace, and returns what follows the prefix
    /// that all of them have.
    ///
    /// # Panics
    /// Another packet arrives.
    pub async fn event(&mut self) -> String {
        let packet = self.hears().await;
        let start = format!("42{}", prefix(self.path));
        packet.strip_prefix(&start).unwrap_or_else(|| panic!("{start}…, not {packet}")).to_owned()
    }

    /// Sends an event and returns its ack.
    ///
    /// # Panics
    /// Another packet arrives.
    pub async fn ask(&mut self, event: &str) -> String {
        self.emit(&format!("7{event}")).await;
        let packet = self.hears().await;
        let start = format!("43{}7", prefix(self.path));
        packet.strip_prefix(&start).unwrap_or_else(|| panic!("{start}…, not {packet}")).to_owned()
    }
}

/// The prefix of packets of a namespace.
#[must_use]
pub fn prefix(path: &str) -> String {
    if path == "/" { String::new() } else { format!("{path},") }
}

/// The socket id in a CONNECT packet.
///
/// # Panics
/// It is another packet.
#[track_caller]
pub fn connected(packet: &str, path: &str) -> String {
    let json = packet.strip_prefix(&format!("40{}", prefix(path)));
    let payload: Value = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let id = payload.get("sid").and_then(Value::as_str);
    id.unwrap_or_else(|| panic!("CONNECT of {path}, not {packet}")).to_owned()
}

/// A namespace that records its sockets, and whose handlers do one thing each.
///
/// # Panics
/// Only in its handler of "panic".
pub fn plain(path: &str, seen: &Arc<Seen>) -> Namespace {
    with_plain_handlers(namespace(path), seen)
}

/// Adds the same handlers to a namespace that a test built itself.
///
/// # Panics
/// Only in its handler of "panic".
pub fn with_plain_handlers<Stage>(described: Namespace<(), Stage>, seen: &Arc<Seen>) -> Namespace {
    let on_connect = {
        let seen = Arc::clone(seen);
        async move |socket: Socket| {
            seen.connected.note(socket);
            Ok(())
        }
    };
    let on_disconnect = {
        let seen = Arc::clone(seen);
        async move |socket: Socket, reason| {
            seen.handled.note((socket.id(), "left".to_owned()));
            seen.left.note((socket.id(), reason));
            Ok(())
        }
    };
    let note = {
        let seen = Arc::clone(seen);
        async move |socket: Socket, what: String| {
            seen.handled.note((socket.id(), what));
            Ok(())
        }
    };
    let wait = {
        let seen = Arc::clone(seen);
        async move |socket: Socket, gate: String| {
            seen.handled.note((socket.id(), "waits".to_owned()));
            seen.gate(&gate).await;
            seen.handled.note((socket.id(), "passed".to_owned()));
            Ok("passed")
        }
    };
    described
        .on_connect(on_connect)
        .on_disconnect(on_disconnect)
        .on("note", note)
        .on("wait", wait)
        .on("echo", async |_: Socket, args: RawArgs| Ok(args))
        .on("nothing", async |_: Socket, (): ()| Ok(()))
        .on("several", async |_: Socket, (): ()| Ok(Args((1, "two", [3]))))
        .on("increment", async |_: Socket, number: u8| Ok(number + 1))
        .on("optional", async |_: Socket, Args((a, b)): Args<(Option<u8>, Option<String>)>| Ok((a, b)))
        .on("fail", async |_: Socket, (): ()| Err::<(), _>(EventError::new("full", "no room \"left\"")))
        .on("fail-inside", async |_: Socket, text: String| Ok(text.parse::<u8>()?))
        .on(
            "panic",
            async |_: Socket, (): ()| if true { panic!("a handler of the tests panics") } else { Ok(()) },
        )
        .on("relay", async |socket: Socket, Args((to, what)): Args<(String, RawArg)>| {
            Ok(socket.to(to).emit("relayed", &what)?)
        })
        .on("reverse", async |_: Socket, Picture { name, layers }: Picture| {
            let reversed = |layer: Bytes| layer.iter().rev().copied().collect::<Vec<u8>>().into();
            Ok(Picture { name, layers: layers.into_iter().map(reversed).collect() })
        })
}

/// Bytes inside of a value.
#[derive(Debug, Serialize, Deserialize)]
pub struct Picture {
    /// Some text.
    pub name: String,
    /// The bytes.
    pub layers: Vec<Bytes>,
}
