//! A chat with rooms, as a function that gives its namespace: what `bin/chat.rs` serves and a test can start.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use socketmesh::{Args, EventError, Handshake, Namespace, Refusal, Result, Socket, namespace};

/// Somebody in the chat.
#[derive(Debug, Clone)]
pub struct Person {
    /// What others see.
    pub name: Arc<str>,
}

/// The chat. Clients connect with `auth: { name }`, and emit
///
/// - `join` and `leave`, with a room; the others there hear `joined` and `left`, with the room and who;
/// - `message`, with a room and a text: the others there hear `message`, and the sender's ack is what they heard;
/// - `typing`, with a room: a notice that may be dropped, because the next one follows soon.
pub fn app() -> Namespace<Person> {
    namespace("/")
        .auth(login)
        .on("join", async |socket: Socket<Person>, room: String| {
            // From here on everything that is said in the room on any node reaches this socket.
            socket.join(&room).await?;
            tell(&socket, "joined", &room)
        })
        .on("leave", async |socket: Socket<Person>, room: String| {
            member(&socket, &room)?;
            socket.leave(&room);
            tell(&socket, "left", &room)
        })
        .on("message", message)
        .on("typing", async |socket: Socket<Person>, room: String| {
            member(&socket, &room)?;
            let who = &*socket.data().name;
            Ok(socket.to(&room).volatile().emit("typing", &Args((&room, who)))?)
        })
}

async fn login(handshake: Handshake) -> Result<Person, Refusal> {
    #[derive(Deserialize)]
    struct Login {
        name: String,
    }
    let Login { name } = handshake.auth()?;
    match name.trim() {
        "" => Err(Refusal::new("what is your name?")),
        name => Ok(Person { name: name.into() }),
    }
}

/// One thing that was said.
#[derive(Debug, Clone, Serialize)]
pub struct Said {
    room: String,
    from: Arc<str>,
    text: String,
}

async fn message(socket: Socket<Person>, Args((room, text)): Args<(String, String)>) -> Result<Said> {
    member(&socket, &room)?;
    if text.len() > MAX_TEXT {
        return Err(EventError::new("too_long", format!("at most {MAX_TEXT} bytes")));
    }
    let said = Said { room, from: Arc::clone(&socket.data().name), text };
    socket.to(&said.room).emit("message", &said)?;
    Ok(said)
}

/// Tells the others in a room about this person.
fn tell(socket: &Socket<Person>, event: &str, room: &str) -> Result<()> {
    Ok(socket.to(room).emit(event, &Args((room, &*socket.data().name)))?)
}

/// Rooms are heard and spoken to from within only.
fn member(socket: &Socket<Person>, room: &str) -> Result<()> {
    if socket.is_in(room) { Ok(()) } else { Err(EventError::new("not_a_member", "join the room first")) }
}

/// A few pages; what a client may send at all is a matter of `engine::Config::max_payload`.
const MAX_TEXT: usize = 10_000;
