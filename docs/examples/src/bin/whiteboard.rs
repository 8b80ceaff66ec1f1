//! A whiteboard: what is drawn in one browser appears in all others, on every node.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use examples::{BoxError, builder, serve};
use serde::{Deserialize, Serialize};
use socketmesh::{Args, EventError, Namespace, Result, Socket, namespace};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let node = builder()?.namespace(app()).start().await?;
    serve(node, Router::new().route("/", get(async || Html(include_str!("whiteboard.html"))))).await
}

fn app() -> Namespace {
    namespace("/")
        .on("stroke", stroke)
        .on("pointer", pointer)
        .on("clear", async |socket: Socket, ()| Ok(socket.broadcast().emit("clear", &())?))
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
