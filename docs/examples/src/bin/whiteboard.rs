//! A whiteboard: what is drawn in one browser appears in all others, on every node. Small boards are for those who are invited.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use examples::{BoxError, builder, serve};
use serde::{Deserialize, Serialize};
use socketmesh::{Args, EventError, Namespace, Result, Socket, engine, namespace};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Clients of Socket.IO 2 draw with the others.
    let sessions = engine::Config::default().allow_eio3(true);
    let node = builder()?.engine(sessions).namespace(app()).start().await?;
    serve(node, Router::new().route("/", get(async || Html(include_str!("whiteboard.html"))))).await
}

fn app() -> Namespace {
    namespace("/")
        .on("stroke", stroke)
        .on("pointer", pointer)
        .on("clear", async |socket: Socket, ()| Ok(socket.broadcast().emit("clear", &())?))
        .on("whoami", async |socket: Socket, ()| Ok(socket.id().to_string()))
        .on("invite", invite)
        .on("sketch", sketch)
}

/// A line, in parts of the board's width and height.
#[derive(Debug, Deserialize, Serialize)]
struct Stroke {
    from: Point,
    to: Point,
    color: String,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
struct Point {
    x: f32,
    y: f32,
}

/// Everybody else gets every stroke, in the order in which they were drawn.
async fn stroke(socket: Socket, stroke: Stroke) -> Result<()> {
    stroke.from.on_the_board()?;
    stroke.to.on_the_board()?;
    // It becomes part of other people's pages.
    if !COLORS.contains(&stroke.color.as_str()) {
        return Err(EventError::new("unknown_color", "no pen of this color"));
    }
    Ok(socket.broadcast().emit("stroke", &stroke)?)
}

/// Puts somebody on a small board, whichever node they are on. From its acknowledgement on they see what is drawn there.
async fn invite(socket: Socket, Args((who, board)): Args<(String, String)>) -> Result<()> {
    let applied = socket.nsp().to(who).join(small(&board)).await;
    let all = applied.missing.is_empty();
    if all { Ok(()) } else { Err(EventError::new("not_everywhere", "a node did not confirm")) }
}

/// The others on a small board get the stroke.
async fn sketch(socket: Socket, Args((board, stroke)): Args<(String, Stroke)>) -> Result<()> {
    Ok(socket.to(small(&board)).emit("sketch", &Args((&board, &stroke)))?)
}

/// A prefix keeps boards out of other rooms.
fn small(board: &str) -> String {
    format!("board:{board}")
}

/// Where somebody's pen is: whoever is slow gets the next one instead.
async fn pointer(socket: Socket, at: Point) -> Result<()> {
    at.on_the_board()?;
    Ok(socket.broadcast().volatile().emit("pointer", &Args((socket.id().to_string(), at)))?)
}

impl Point {
    fn on_the_board(self) -> Result<()> {
        let inside = (0.0..=1.0).contains(&self.x) && (0.0..=1.0).contains(&self.y);
        if inside { Ok(()) } else { Err(EventError::new("off_the_board", "x and y are from 0 to 1")) }
    }
}

const COLORS: [&str; 4] = ["black", "crimson", "royalblue", "seagreen"];
