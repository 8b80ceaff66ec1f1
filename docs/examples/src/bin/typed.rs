//! Typed events: one enum is everything that clients may send, another everything they may receive.

use axum::Router;
use examples::{BoxError, builder, serve};
use serde::{Deserialize, Serialize};
use socketmesh::{EventError, Namespace, Result, Socket, namespace};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let node = builder()?.namespace(app()).start().await?;
    serve(node, Router::new()).await
}

/// What a player sends: the variant is the name of the event, its content the arguments. Any other event is logged, and never
/// acked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromPlayer {
    /// `emit("enter", "forest")`
    Enter(String),
    /// `emit("walk", 1, -2)`
    Walk(i32, i32),
    /// `emit("say", { text: "hello" })`
    Say { text: String },
}

/// What players receive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ToPlayer {
    /// `on("entered", (who) => …)`
    Entered(String),
    /// `on("walked", (who, dx, dy) => …)`
    Walked(String, i32, i32),
    /// `on("said", ({ who, text }) => …)`
    Said { who: String, text: String },
}

fn app() -> Namespace {
    namespace("/game").events(async |socket: Socket, event: FromPlayer| {
        let who = socket.id().to_string();
        match event {
            FromPlayer::Enter(place) => enter(&socket, place).await,
            FromPlayer::Walk(dx, dy) => tell(&socket, &ToPlayer::Walked(who, dx, dy)),
            FromPlayer::Say { text } => tell(&socket, &ToPlayer::Said { who, text }),
        }
    })
}

/// One place at a time.
async fn enter(socket: &Socket, place: String) -> Result<()> {
    socket.leave(socket.rooms()); // all but its own, which cannot be left
    socket.join(format!("place:{place}")).await?;
    tell(socket, &ToPlayer::Entered(socket.id().to_string()))
}

/// Tells the others in this player's place.
fn tell(socket: &Socket, event: &ToPlayer) -> Result<()> {
    match socket.rooms().into_iter().find(|room| *room != socket.id()) {
        Some(place) => Ok(socket.to(place).emit_event(event)?),
        None => Err(EventError::new("nowhere", "enter a place first")),
    }
}
