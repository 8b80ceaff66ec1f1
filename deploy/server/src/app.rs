//! The application of the demo, which `serve` serves as well: a whiteboard and a chat, and what their page shows of the
//! cluster.
//!
//! What somebody draws or says goes to everybody's page by a broadcast, and by an event between nodes into every node's copy
//! of the board, so that a page that comes later gets it from the node it happens to reach, and whichever node dies, the
//! board stays.

mod board;
mod members;
mod page;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socketmesh::http::{self, ClientFiles};
use socketmesh::id::NodeId;
use socketmesh::socket::EncodeError;
use socketmesh::{EventError, Handshake, Namespace, NamespaceRef, Node, Refusal, Result, Socket, namespace};

use board::{Board, Line, Picture, Stroke};
use members::Members;
pub(crate) use members::{Order, Phase, Phases, Switch};
pub(crate) use page::Page;

/// The application on one node.
#[derive(Debug)]
pub(crate) struct App {
    node: NodeId,
    board: Mutex<Board>,
    members: Mutex<Members>,
    /// What can stop and start nodes, where there is such a thing.
    switch: Option<Switch>,
}

/// Somebody at the whiteboard.
#[derive(Debug)]
pub(crate) struct Person {
    app: Arc<App>,
    name: Mutex<String>,
}

impl App {
    pub(crate) fn new(node: NodeId, switch: Option<Switch>) -> Arc<Self> {
        Arc::new(Self { node, board: Mutex::default(), members: Mutex::default(), switch })
    }

    /// Its namespace.
    pub(crate) fn namespace(self: &Arc<Self>) -> Namespace<Person> {
        let (entered, merges, answers, reported) =
            (Arc::clone(self), Arc::clone(self), Arc::clone(self), Arc::clone(self));
        namespace("/")
            .auth(move |_: Handshake| async move {
                Ok::<_, Refusal>(Person { app: entered, name: Mutex::default() })
            })
            .on_connect(enter)
            .on("stroke", stroke)
            .on("clear", clear)
            .on("chat", chat)
            .on("typing", async |socket: Socket<Person>, ()| {
                let from = socket.data().name(&socket);
                Ok(socket.broadcast().volatile().emit("typing", &Typing { from })?)
            })
            .on("name", async |socket: Socket<Person>, Name { name }: Name| {
                *socket.data().name.lock() = shorten(&name, NAME_LENGTH);
                who(&socket, true)
            })
            .on("here", async |socket: Socket<Person>, Here { to }: Here| {
                Ok(socket.to(to).emit("who", &Who::of(&socket, true))?)
            })
            .on("where", async |socket: Socket<Person>, ()| Ok(Served::by(&socket)))
            .on("order", async |socket: Socket<Person>, order: Order| {
                let Some(switch) = &socket.data().app.switch else {
                    return Err(EventError::new("no_switch", "these nodes are processes of their own"));
                };
                switch.order(order)
            })
            .on_disconnect(async |socket: Socket<Person>, _| who(&socket, false))
            .on_server_event("board", move |news: Picture| async move {
                merges.board.lock().merge(news);
                Ok(())
            })
            .on_server_event("board?", move |digest: u64| async move {
                let board = answers.board.lock();
                Ok((board.digest() != digest).then(|| board.picture()))
            })
            .on_server_event("member", move |report| async move {
                reported.members.lock().report(report);
                Ok(())
            })
    }

    /// Tells the pages of this node about the cluster, for as long as the node lives.
    pub(crate) async fn show_members(self: Arc<Self>, node: Node) {
        members::show(&self.node, &self.members, self.switch.as_ref(), node).await;
    }

    /// Asks the other nodes for what the board of this one has not. Those that have the same answer nothing.
    async fn catch_up(&self, namespace: &NamespaceRef) -> std::result::Result<(), EncodeError> {
        let digest = self.board.lock().digest();
        let answers = namespace.server_side_emit_with_ack::<Option<Picture>, _>("board?", &digest).await?;
        let mut board = self.board.lock();
        for (_, picture) in answers.replies {
            board.merge(picture.unwrap_or_default());
        }
        Ok(())
    }
}

/// Shows a newcomer the board as this node knows it, at once; and once more, if the others, who are asked, know more: this
/// node may have started just now, or what another has emitted already may still be on its way to this board. Whatever is
/// drawn after they were asked is emitted to the newcomer like to everybody.
async fn enter(socket: Socket<Person>) -> Result<()> {
    let app = Arc::clone(&socket.data().app);
    let id = socket.id().to_string();
    socket.emit("welcome", &Welcome { node: app.node.as_str(), color: color(&id), id })?;
    socket.emit("members", &app.members.lock().shown())?;
    let shown = show_board(&socket)?;
    who(&socket, true)?;
    // A node that has just died is waited for, and nobody should wait for that before they can draw.
    tokio::spawn(async move {
        let caught_up = async {
            app.catch_up(&socket.nsp()).await?;
            if app.board.lock().digest() != shown {
                show_board(&socket)?;
            }
            Ok::<_, EncodeError>(())
        };
        if let Err(error) = caught_up.await {
            tracing::debug!(%error, "a newcomer did not get the whole board");
        }
    });
    Ok(())
}

/// Returns the digest of what was shown.
fn show_board(socket: &Socket<Person>) -> std::result::Result<u64, EncodeError> {
    let board = socket.data().app.board.lock();
    socket.emit("board", &board.picture())?;
    Ok(board.digest())
}

async fn stroke(socket: Socket<Person>, mut stroke: Stroke) -> Result<()> {
    let app = &socket.data().app;
    stroke.color = shorten(&stroke.color, COLOR_LENGTH);
    // On the board before anybody hears of it: so a newcomer finds it there, or is told.
    let drawn = app.board.lock().draw(&app.node, now(), stroke);
    socket.broadcast().emit("stroke", &drawn)?;
    Ok(socket.nsp().server_side_emit("board", &Picture::from(drawn))?)
}

async fn clear(socket: Socket<Person>, (): ()) -> Result<()> {
    let app = &socket.data().app;
    let cleared = app.board.lock().clear(&app.node, now());
    socket.broadcast().emit("clear", &())?;
    Ok(socket.nsp().server_side_emit("board", &cleared)?)
}

async fn chat(socket: Socket<Person>, Chat { text }: Chat) -> Result<board::Stamped<Line>> {
    let app = &socket.data().app;
    let text = shorten(&text, TEXT_LENGTH);
    if text.is_empty() {
        return Err(EventError::new("empty", "say something"));
    }
    let said = app.board.lock().say(&app.node, now(), Line { from: socket.data().name(&socket), text });
    socket.broadcast().emit("chat", &said)?;
    socket.nsp().server_side_emit("board", &Picture::from(said.clone()))?;
    Ok(said)
}

fn who(socket: &Socket<Person>, joined: bool) -> Result<()> {
    Ok(socket.broadcast().emit("who", &Who::of(socket, joined))?)
}

/// How the application answers HTTP: it says which node did.
pub(crate) fn http_config(client_dir: Option<std::path::PathBuf>) -> http::Config {
    let client = client_dir.map_or(ClientFiles::Cdn, ClientFiles::Folder);
    http::Config::default().client(client).expose_node(true)
}

/// Milliseconds since 1970.
fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one place where the application reads the clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A pen for each socket, so that people differ.
fn color(id: &str) -> &'static str {
    let index = usize::from(id.bytes().last().unwrap_or_default());
    COLORS.get(index % COLORS.len()).copied().unwrap_or_default()
}

fn shorten(text: &str, length: usize) -> String {
    text.trim().chars().take(length).collect()
}

impl Person {
    fn name(&self, socket: &Socket<Self>) -> String {
        let name = self.name.lock();
        if name.is_empty() { format!("guest-{}", shorten(&socket.id().to_string(), 4)) } else { name.clone() }
    }
}

#[derive(Serialize)]
struct Welcome<'a> {
    node: &'a str,
    id: String,
    color: &'static str,
}

#[derive(Deserialize)]
struct Chat {
    text: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Here {
    to: String,
}

#[derive(Serialize)]
struct Typing {
    from: String,
}

#[derive(Serialize)]
struct Who {
    id: String,
    node: String,
    name: String,
    joined: bool,
}

impl Who {
    fn of(socket: &Socket<Person>, joined: bool) -> Self {
        let person = socket.data();
        Self {
            id: socket.id().to_string(),
            node: person.app.node.to_string(),
            name: person.name(socket),
            joined,
        }
    }
}

/// Which node owns the connection.
#[derive(Serialize)]
struct Served {
    node: String,
}

impl Served {
    fn by(socket: &Socket<Person>) -> Self {
        Self { node: socket.data().app.node.to_string() }
    }
}

const COLORS: [&str; 8] =
    ["#c2410c", "#0f766e", "#7c3aed", "#b91c1c", "#1d4ed8", "#4d7c0f", "#be185d", "#a16207"];
const NAME_LENGTH: usize = 24;
const TEXT_LENGTH: usize = 500;
const COLOR_LENGTH: usize = 32;
